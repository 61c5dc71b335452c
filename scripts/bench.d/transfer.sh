# Suite transfer, read by scripts/bench: how blobs get from node to node. One large blob from one node
# to fifteen others over links of BENCH_MBIT (100) Mbit/s, with and without liars among them, beside
# what the source's own link allows; and what many small files cost beside their own bytes.
# BENCH_BLOB_MIB (256): how large the blob is.

say 'building the measuring program'
cargo build --quiet --locked --release -p caravan-bench-transfer
measure=$here/target/release/caravan-bench-transfer
words=$bench/transfer.log
: > "$words"
blob=${BENCH_BLOB_MIB:-256}
rate=${BENCH_MBIT:-100}

round=0
while [ "$round" -lt "$runs_long" ]; do
    round=$((round + 1))
    say "round $round of $runs_long: $blob MiB to 15 nodes at $rate Mbit/s, then with a quarter of liars"
    measured spread "$blob" 16 0 "$rate"
    measured spread "$blob" 16 4 "$rate"
    measured small 100000 4096
done

figure spread_vs_bound "size by the source's link" "at most 1.15 times"
figure seed_egress "one copy" "at most 1.1 times" MiB
figure spread_with_liars_vs_bound "size by the source's link" "at most 1.15 times"
figure seed_egress_with_liars "one copy" "at most 1.1 times" MiB
figure small_files_bytes "the files' own bytes" "at most 1.1 times" MiB
not_measured spread_vs_libtorrent 'no run beside it yet'
not_measured one_to_one_vs_tls 'no run beside it yet'
not_measured sibling_vs_casync 'no run beside it yet'

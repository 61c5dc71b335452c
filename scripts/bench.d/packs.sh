# Suite packs, read by scripts/bench: the cold form of twenty siblings of a base, against one solid
# archive of them. The archive alone takes half an hour of one processor.

words=$bench/packs.log
work=$bench/run
template=$bench/template
count=${BENCH_SIBLINGS:-20}
rm -rf --one-file-system "$work"
mkdir -p "$work"
: > "$words"
base=$(for layer in "$template"/store/layers/*; do [ ! -e "$layer/etc/debian_version" ] || echo "$layer"; done | head -n 1)
[ -n "$base" ] || fail 'there is no base yet: run scripts/bench ci first'

say 'building the measuring program'
cargo build --quiet --locked --release -p caravan-pack --example siblings
siblings=$here/target/release/examples/siblings
say "making $count siblings"
"$siblings" tar "$base" "$count" > "$work/siblings.tar"
start_clock
supervised grouped zstd -q -19 --long=31 -T1 -o "$work/siblings.zst" "$work/siblings.tar"
stop_clock versions_20_vs_zstd19 theirs "$(stat -c %s "$work/siblings.zst")"
rm -f "$work/siblings.tar"
start_clock
supervised grouped "$siblings" pack "$base" "$count" "${BENCH_PACK_LEVEL:-19}" "${BENCH_PACK_FRAME_KIB:-256}" \
    "${BENCH_PACK_DICTIONARY_KIB:-256}" "$work/siblings.pack" >> "$words"
stop_clock versions_20_vs_zstd19 ours "$(stat -c %s "$work/siblings.pack")"
round=0
while [ "$round" -lt "$runs" ]; do
    round=$((round + 1))
    start_clock
    supervised grouped "$siblings" read "$work/siblings.pack" 500 > "$bench/lines"
    stop_clock random_read ours "$(awk '/^all files:/ { for (i = 1; i < NF; i++) if ($i == "median") print $(i + 1) / 1e6 }' "$bench/lines")"
    start_clock
    # One file out of the solid form: all before it has to be expanded.
    supervised grouped sh -c "zstd -q -d --long=31 -c '$work/siblings.zst' | tar --ignore-zeros -tf - | tail -n 1" > /dev/null
    stop_clock random_read theirs
done
figure versions_20_vs_zstd19 'solid zstd -19 --long' 'ratio at most 1.6' MB 0.000001
figure random_read 'the last file out of the solid form' 'value at most 1 ms' ms 1000

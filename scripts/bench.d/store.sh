# Suite store, read by scripts/bench: what the store, its layers and its packs cost, against what
# people would use instead. Both sides have the same files in memory before the clock starts.

build_measure
work=$bench/run
words=$bench/store.log
files=${BENCH_FILES:-100000}
files_casync=${BENCH_FILES_CASYNC:-20000}
rm -rf --one-file-system "$work"
mkdir -p "$work"
: > "$words"

fresh() { rm -rf --one-file-system "$work/store" "$work/layers"; }
tree() { "$measure" tree "$1" "$2" 2>> "$words"; }

round=0
while [ "$round" -lt "$runs_long" ]; do
    round=$((round + 1))
    say "round $round of $runs_long: a tree of $files files"
    tree "$work/tree" "$files"
    tree "$work/other" "$files"
    # In pairs, so that both sides of a ratio see the machine as it is just then.
    measured peer adopt_vs_tar_zstd sh -c "tar cf - '$work/tree' 2> /dev/null | zstd -q -3 -c"
    fresh
    measured copy-in copy_in_vs_tar_zstd "$work/store" "$work/tree"
    measured copy-in-sibling copy_in_sibling "$work/store" "$work/tree" "$work/other"
    fresh
    measured adopt adopt_vs_tar_zstd "$work/store" "$work/tree"
    fresh
    rm -rf --one-file-system "$work/tree" "$work/other"
    tree "$work/tree" "$files_casync"
    measured peer ingest_vs_casync casync make "$work/tree.caidx" "$work/tree" \
        --store="$work/layers"
    fresh
    measured adopt ingest_vs_casync "$work/store" "$work/tree"
    fresh
    rm -rf --one-file-system "$work/tree" "$work/tree.caidx"
done
# Copying in is held against the same runs of tar and zstd, and the sibling against the first copy.
awk -F '\t' -v OFS='\t' '
    $1 == "adopt_vs_tar_zstd" && $2 == "theirs" { $1 = "copy_in_vs_tar_zstd"; print }
    $1 == "copy_in_vs_tar_zstd" && $2 == "ours" { $1 = "copy_in_sibling"; $2 = "theirs"; print }
' "$samples" > "$bench/lines"
cat "$bench/lines" >> "$samples"

round=0
while [ "$round" -lt "$runs" ]; do
    round=$((round + 1))
    # What the figures before have left is written first: the disk is to wait for this only.
    sync
    measured layer-commit "$work/layers" 50
    fresh
    measured cached-step "$work/layers" 2000
    fresh
done
round=0
while [ "$round" -lt "$runs_long" ]; do
    round=$((round + 1))
    measured lookups "$work/layers" 200
    fresh
done
measured build "$work/layers" 120 "$runs"
fresh

# A spec of twenty steps that have all been done, on a running node. Its own clock is the node's.
template=$bench/template
have_base=no
[ ! -d "$template/store" ] || have_base=yes
spec_20() {
    mkdir -p "$work/context"
    {
        printf '((from debian-12)\n'
        for step in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
            printf ' (run (shell "true %s"))\n' "$step"
        done
        printf ')\n'
    } > "$work/spec"
    start_node "$template"
    "$caravan" --data "$template" build -f "$work/spec" "$work/context" >> "$words" 2>&1 || return 1
    round=0
    while [ "$round" -lt "$runs" ]; do
        round=$((round + 1))
        start_clock
        supervised grouped "$caravan" --data "$template" build --json -f "$work/spec" "$work/context" \
            > "$bench/cached.json" 2>> "$words" || return 1
        # When the run began and ended by the node's clock, in milliseconds.
        wall=$(tr ',{}' '\n\n\n' < "$bench/cached.json" | awk -F ':' '
            /"started"/ && !began { began = $2 } /"finished"/ && !ended { ended = $2 }
            END { if (!began || !ended) exit 1; printf "%.4f", (ended - began) / 1000 }') || return 1
        stop_clock cached_spec_20 ours "$wall"
        start_clock
        supervised grouped "$caravan" --data "$template" node status > /dev/null
        stop_clock cached_spec_20 theirs
    done
}
cached_spec=no
if [ "$have_base" = yes ] && "$caravan" build --help > /dev/null 2>&1 && spec_20; then cached_spec=yes; fi
stop_node

figure adopt_vs_tar_zstd "tar of $files files, piped to zstd -3" 'ratio at most 0.333'
figure copy_in_vs_tar_zstd "tar of $files files, piped to zstd -3" 'ratio at most 1'
figure copy_in_sibling 'the first copy of the same tree' 'writes only what changed'
figure ingest_vs_casync "casync make of $files_casync files" 'ratio at most 0.1'
figure layer_commit '64 files written and synced one by one' 'value at most 5 ms' ms 1000
figure cached_step 'reading one small file' 'value at most 100 us' us 1000000
figure mount_200_layers 'the same files as one layer' 'value at most 10 ms' ms 1000
figure lookup_miss_200 'a plain directory' 'ratio at most 3' us 1000000
figure real_build_100_layers 'gcc over the same tree as one layer' 'ratio at most 1.05'
if [ "$cached_spec" = yes ]; then
    figure cached_spec_20 'asking the node for its status' 'value at most 5 ms' ms 1000
else
    not_measured cached_spec_20 'it needs a base, which the suite ci brings, and caravan build'
fi

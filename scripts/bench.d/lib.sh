# Read by scripts/bench with `.`: running nodes and peers under the clock, and telling the figures.

node=
child=

# Whatever a run was in the middle of: namespaces and mounts go with the processes in them.
clean() {
    for running in $child $node; do
        kill "$running" 2> /dev/null || continue
        wait "$running" 2> /dev/null || true
    done
    rm -rf --one-file-system "$bench/run"
}

# Runs a command so that a signal to this script is not held up by it.
supervised() {
    "$@" &
    child=$!
    code=0
    wait "$child" || code=$?
    child=
    return "$code"
}

now() { date +%s.%N; }
minus() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f", a - b }'; }

# Processor seconds of a process, of those below it, and of all that these have waited for.
processor_seconds() {
    cat /proc/[0-9]*/stat 2> /dev/null | awk -v root="$1" -v hertz="$(getconf CLK_TCK)" '
        { pid = $1; sub(/^.*\) /, ""); parent[pid] = $2; ticks[pid] = $12 + $13 + $14 + $15 }
        function within(pid) {
            while (pid in parent && pid != root) pid = parent[pid]
            return pid == root
        }
        END { for (pid in ticks) if (within(pid)) sum += ticks[pid]; printf "%.2f", sum / hertz }'
}

# start_node DATA: starts a node and waits until it answers.
start_node() {
    data=$1
    "$caravan" --data "$data" node run --http none > "$bench/node.log" 2>&1 9>&- &
    node=$!
    tries=0
    until "$caravan" --data "$data" node status > /dev/null 2>&1; do
        kill -0 "$node" 2> /dev/null || fail "the node ended; its words are in $bench/node.log"
        tries=$((tries + 1))
        [ "$tries" -lt 300 ] || fail 'the node does not answer'
        sleep 0.1
    done
}

stop_node() {
    [ -n "$node" ] || return 0
    kill "$node" 2> /dev/null || true
    wait "$node" || true
    node=
}

# ours FIGURE PROJECT: one `caravan ci` on the running node, as a sample.
ours() {
    processor=$(processor_seconds "$node")
    before=$(now)
    supervised "$caravan" --data "$data" ci --json "$2" > "$bench/$1.json" 2> "$bench/$1.log" \
        || fail "caravan ci failed; see $bench/$1.json and $bench/$1.log"
    after=$(now)
    sample "$1" ours "$(minus "$after" "$before")" "$(minus "$(processor_seconds "$node")" "$processor")"
}

# theirs FIGURE ROOT SCRIPT: one run of the peer in the root, as a sample; no FIGURE, no sample.
theirs() {
    rm -f "$bench/time"
    supervised unshare --mount --pid --fork --kill-child --net --ipc --uts \
        sh "$here/scripts/bench.d/in-root.sh" "$base" "$2" "$bench/time" "$3" > "$bench/theirs.log" 2>&1 \
        || fail "plain opam failed; see $bench/theirs.log"
    [ -z "$1" ] || sample "$1" theirs "$(cut -d ' ' -f 1 "$bench/time")" \
        "$(awk '{ printf "%.2f", $2 + $3 }' "$bench/time")"
}

sample() {
    printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" >> "$samples"
    say "$1, $2: $3 s (processor $4 s)"
}

# figure NAME ANCHOR LIMIT: tells the median of what was sampled, beside the anchor's.
figure() {
    awk -F '\t' -v suite="$suite" -v name="$1" -v anchor="$2" -v limit="$3" -v json="$json" '
        function median(side, column,    n, i, j, value, sorted) {
            n = count[side]
            for (i = 1; i <= n; i++) sorted[i] = seen[side, column, i]
            for (i = 2; i <= n; i++) {
                value = sorted[i]
                for (j = i - 1; j >= 1 && sorted[j] > value; j--) sorted[j + 1] = sorted[j]
                sorted[j + 1] = value
            }
            low = sorted[1]; high = sorted[n]
            return n % 2 ? sorted[(n + 1) / 2] : (sorted[n / 2] + sorted[n / 2 + 1]) / 2
        }
        $1 == name { n = ++count[$2]; seen[$2, 3, n] = $3 + 0; seen[$2, 4, n] = $4 + 0 }
        END {
            if (!count["ours"] || !count["theirs"]) exit 1
            theirs_cpu = median("theirs", 4); theirs = median("theirs", 3); theirs_low = low; theirs_high = high
            ours_cpu = median("ours", 4); ours = median("ours", 3)
            if (json == "yes") {
                printf "{\"suite\":\"%s\",\"name\":\"%s\",\"value\":%.3f,\"unit\":\"s\",\"anchor\":\"%s\",\"anchor_value\":%.3f,\"ratio\":%.3f,\"runs\":%d}\n",
                    suite, name, ours, anchor, theirs, ours / theirs, count["ours"]
                exit
            }
            printf "%s (%d runs, limit %s)\n", name, count["ours"], limit
            printf "  ours    %8.3f s  (%.3f to %.3f, processor %.2f s)\n", ours, low, high, ours_cpu
            printf "  anchor  %8.3f s  (%.3f to %.3f, processor %.2f s)  %s\n", theirs, theirs_low, theirs_high, theirs_cpu, anchor
            printf "  ratio   %8.3f    difference %+.3f s\n", ours / theirs, ours - theirs
        }' "$samples" || fail "there are no samples of $1"
}

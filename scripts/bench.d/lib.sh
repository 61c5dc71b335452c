# Read by scripts/bench with `.`: running nodes and peers under the clock, and telling the figures.

node=
child=
groups=

# Whatever a run was in the middle of: namespaces and mounts go with the processes in them.
clean() {
    for running in $child $node; do
        kill "$running" 2> /dev/null || continue
        wait "$running" 2> /dev/null || true
    done
    rm -rf --one-file-system "$bench/run"
    for place in $groups; do rmdir "$place" 2> /dev/null || true; done
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

# One control group for all that is measured, ours and theirs: its processor time is counted, and on
# a busy machine both get the same share, that of two plain processes of one thread.
make_group() {
    control=/sys/fs/cgroup name=bench-caravan
    if [ -e "$control/cpuacct/cpuacct.usage" ]; then
        groups="$control/cpuacct/$name $control/cpu/$name"
        enter=$groups
        counter=$control/cpuacct/$name/cpuacct.usage
        mkdir -p $groups
        echo 2048 > "$control/cpu/$name/cpu.shares"
    elif [ -e "$control/cgroup.controllers" ]; then
        # Version 2 wants processes in leaves only: a node makes the groups of its jobs beside its own.
        groups="$control/$name/side $control/$name"
        enter=$control/$name/side
        counter=$control/$name/cpu.stat
        mkdir -p $groups
        for place in "$control" "$control/$name"; do
            echo '+cpu +memory +pids' > "$place/cgroup.subtree_control"
        done
        echo 200 > "$control/$name/cpu.weight"
    else
        fail 'there are no control groups here to count processor time with'
    fi
}

# grouped COMMAND...: becomes that command, in the group.
grouped() {
    exec sh -c 'for place in $0; do echo $$ > "$place/cgroup.procs"; done; exec "$@"' "$enter" "$@" 9>&-
}

# Processor seconds of the group so far.
processor_seconds() {
    awk '$1 == "usage_usec" { printf "%.2f", $2 / 1e6; exit } NF == 1 { printf "%.2f", $1 / 1e9; exit }' "$counter"
}

# Processor seconds of the whole machine so far.
machine_seconds() {
    awk -v hertz="$(getconf CLK_TCK)" '$1 == "cpu" { printf "%.2f", ($2 + $3 + $4 + $7 + $8 + $9) / hertz }' /proc/stat
}

# Waits, within bounds, until others leave the processors alone.
quiet() {
    waited=0
    while [ "$waited" -lt "${BENCH_QUIET_MAX:-60}" ]; do
        machine=$(machine_seconds)
        sleep 1
        awk -v a="$(machine_seconds)" -v b="$machine" 'BEGIN { exit a - b > 0.15 }' && return
        waited=$((waited + 1))
    done
    say 'the machine stays busy: this sample says little'
}

# The clock of one sample: start_clock, then stop_clock FIGURE SIDE [WALL].
start_clock() {
    quiet
    machine=$(machine_seconds)
    processor=$(processor_seconds)
    began=$(now)
}
stop_clock() {
    wall=$(minus "$(now)" "$began")
    processor=$(minus "$(processor_seconds)" "$processor")
    others=$(minus "$(minus "$(machine_seconds)" "$machine")" "$processor")
    wall=${3:-$wall}
    printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$wall" "$processor" "$others" >> "$samples"
    say "$1, $2: $wall s (processor $processor s, others' $others s)"
}

# start_node DATA: starts a node and waits until it answers.
start_node() {
    data=$1
    grouped "$caravan" --data "$data" node run --http none > "$bench/node.log" 2>&1 &
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
    start_clock
    supervised grouped "$caravan" --data "$data" ci --json "$2" > "$bench/$1.json" 2> "$bench/$1.log" \
        || fail "caravan ci failed; see $bench/$1.json and $bench/$1.log"
    stop_clock "$1" ours
}

# in_root ROOT SCRIPT: plain opam in the root, timed from inside.
in_root() {
    rm -f "$bench/time"
    supervised grouped unshare --mount --pid --fork --kill-child --net --ipc --uts \
        sh "$here/scripts/bench.d/in-root.sh" "$base" "$1" "$bench/time" "$2" > "$bench/theirs.log" 2>&1 \
        || fail "plain opam failed; see $bench/theirs.log"
}

# theirs FIGURE ROOT SCRIPT: one run of the peer, as a sample.
theirs() {
    start_clock
    in_root "$2" "$3"
    stop_clock "$1" theirs "$(cat "$bench/time")"
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
        $1 == name { n = ++count[$2]; seen[$2, 3, n] = $3 + 0; seen[$2, 4, n] = $4 + 0; seen[$2, 5, n] = $5 + 0 }
        END {
            if (!count["ours"] || !count["theirs"]) exit 1
            theirs_cpu = median("theirs", 4); theirs_others = median("theirs", 5)
            ours_cpu = median("ours", 4); ours_others = median("ours", 5)
            theirs = median("theirs", 3); theirs_low = low; theirs_high = high
            ours = median("ours", 3)
            if (json == "yes") {
                printf "{\"suite\":\"%s\",\"name\":\"%s\",\"value\":%.3f,\"unit\":\"s\",\"anchor\":\"%s\",\"anchor_value\":%.3f,\"ratio\":%.3f,\"runs\":%d}\n",
                    suite, name, ours, anchor, theirs, ours / theirs, count["ours"]
                exit
            }
            printf "%s (%d runs, limit %s)\n", name, count["ours"], limit
            printf "  ours    %8.3f s  (%.3f to %.3f, processor %.2f s, others %.2f s)\n", ours, low, high, ours_cpu, ours_others
            printf "  anchor  %8.3f s  (%.3f to %.3f, processor %.2f s, others %.2f s)  %s\n", theirs, theirs_low, theirs_high, theirs_cpu, theirs_others, anchor
            printf "  ratio   %8.3f    difference %+.3f s\n", ours / theirs, ours - theirs
        }' "$samples" || fail "there are no samples of $1"
}

# Read by scripts/bench with `.`: running nodes and peers under the clock, and telling the figures.

node=
child=
groups=

# Whatever a run was in the middle of: namespaces and mounts go with the processes in them.
clean() {
    trap '' INT TERM
    # unshare holds other signals back; with it goes all that runs in its namespaces.
    [ -z "$child" ] || kill -KILL "$child" 2> /dev/null || true
    [ -z "$child" ] || wait "$child" 2> /dev/null || true
    stop_node
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
    # What a benchmark that was killed has left would run beside this one.
    for place in $enter; do xargs -r kill -KILL < "$place/cgroup.procs" || true; done
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

# build_measure: the program that runs under the clock where a figure is of single rooms.
build_measure() {
    say 'building the measuring program'
    cargo build --quiet --locked --release -p caravan-bench
    measure=$here/target/release/caravan-bench
}

# measured WORDS...: runs the measuring program; each line it prints is a sample.
measured() {
    sampled "$@"
    while IFS=$tab read -r figure side seconds; do
        say "$figure, $side: $seconds s (processor $processor s, others' $others s)"
    done < "$bench/lines"
}

# sampled WORDS...: the same without a word about each.
sampled() {
    start_clock
    supervised grouped "$measure" "$@" > "$bench/lines" 2>> "$words" \
        || fail "caravan-bench $1 failed; see $words"
    tab=$(printf '\t')
    processor=$(minus "$(processor_seconds)" "$processor")
    others=$(minus "$(minus "$(machine_seconds)" "$machine")" "$processor")
    while IFS=$tab read -r figure side seconds; do
        printf '%s\t%s\t%s\t%s\t%s\n' "$figure" "$side" "$seconds" "$processor" "$others" >> "$samples"
    done < "$bench/lines"
}

# not_measured NAME WHY: what could not be measured here is told as such.
not_measured() {
    if [ "$json" = yes ]; then
        printf '{"suite":"%s","name":"%s","value":null,"why":"%s"}\n' "$suite" "$1" "$2"
    else
        printf '%s: not measured: %s\n' "$1" "$2"
    fi
}

# sources_for_opam: the archives that the template has fetched, in the layout of opam's download cache.
sources_for_opam() {
    for definition in samples/hello/opam/packages/*/*/opam; do
        from=$(sed -n 's/^x-debian-source: "\(.*\) bookworm"$/\1/p' "$definition")
        [ -n "$from" ] || continue
        sum=$(sed -n 's/.*"sha256=\([0-9a-f]*\)".*/\1/p' "$definition" | head -n 1)
        sh node/effects/src/recipe/debian-source.sh "$from" bookworm "$sum" "$work/archive" "$template/fetch/debian" \
            || fail "the source of ${definition%/opam} could not be fetched"
        for kind in sha256 sha512; do
            sum=$(${kind}sum < "$work/archive" | cut -d ' ' -f 1)
            place=$work/sources/$kind/$(printf %.2s "$sum")
            mkdir -p "$place"
            cp "$work/archive" "$place/$sum"
        done
    done
}

# fresh_root NAME PROJECT: a root for opam that has the project, the sources and an empty switch.
fresh_root() {
    root=$work/$1
    rm -rf --one-file-system "$root"
    mkdir -p "$root/upper/home/opam" "$root/work" "$root/merged"
    cp scripts/bench.d/opam.sh "$root/upper/home/opam/"
    cp -R "$2/opam" "$root/upper/home/opam/repository"
    cp -R "$work/sources" "$root/upper/home/opam/sources"
    cp -R "$2" "$root/upper/home/opam/project"
    chown -R 1000:1000 "$root/upper/home/opam"
    in_root "$root" fresh_switch
}

# figure NAME ANCHOR LIMIT [UNIT PER_SECOND]: tells the median of what was sampled, beside the anchor's.
# Samples during which others took more than a tenth of our processor time are left out while each
# side has better. Without a unit the samples are seconds and told as such.
figure() {
    awk -F '\t' -v suite="$suite" -v name="$1" -v anchor="$2" -v limit="$3" -v json="$json" \
        -v unit="${4:-s}" -v per="${5:-1}" '
        function keep(set, column) { for (column = 3; column <= 5; column++) seen[set, column, count[set]] = $column * (column == 3 ? per : 1) }
        function median(side, column,    n, i, j, value, sorted) {
            n = count[set side]
            for (i = 1; i <= n; i++) sorted[i] = seen[set side, column, i]
            for (i = 2; i <= n; i++) {
                value = sorted[i]
                for (j = i - 1; j >= 1 && sorted[j] > value; j--) sorted[j + 1] = sorted[j]
                sorted[j + 1] = value
            }
            low = sorted[1]; high = sorted[n]
            if (column == 3) least[side] = low
            return n % 2 ? sorted[(n + 1) / 2] : (sorted[n / 2] + sorted[n / 2 + 1]) / 2
        }
        function line(side, words,    middle) {
            middle = median(side, 3)
            printf "  %-7s %8.3f %s  (%d of %d samples, %.3f to %.3f;", side, middle, unit, count[set side], count["all" side], low, high
            printf " processor %.2f s, of others %.2f s)%s\n", median(side, 4), median(side, 5), words
        }
        $1 == name {
            count["all" $2]++; keep("all" $2)
            if ($5 <= $4 / 10 + 0.1) { count["clean" $2]++; keep("clean" $2) }
        }
        END {
            if (!count["allours"] || !count["alltheirs"]) exit 1
            set = count["cleanours"] && count["cleantheirs"] ? "clean" : "all"
            ours = median("ours", 3); theirs = median("theirs", 3)
            if (json == "yes") {
                printf "{\"suite\":\"%s\",\"name\":\"%s\",\"value\":%.3f,\"unit\":\"%s\",\"min\":%.3f,", suite, name, ours, unit, least["ours"]
                printf "\"anchor\":\"%s\",\"anchor_value\":%.3f,\"anchor_min\":%.3f,\"ratio\":%.3f,\"runs\":%d}\n", anchor, theirs, least["theirs"], ours / theirs, count[set "ours"]
                exit
            }
            printf "%s (limit: %s)%s\n", name, limit, set == "all" ? "  DISTURBED: no sample was quiet" : ""
            line("ours", "")
            line("theirs", "  " anchor)
            printf "  ratio   %8.3f    difference %+.3f %s    processor ratio %.3f\n", ours / theirs, ours - theirs, unit, median("ours", 4) / (median("theirs", 4) + 1e-9)
        }' "$samples" || fail "there are no samples of $1"
}

# Part of suite mesh, read by scripts/bench.d/mesh.sh: ten thousand engines of membership in one
# process, against the gossip simulator of iroh-gossip with as many nodes.
# BENCH_SIM_NODES (10000), BENCH_SIM_MINUTES (60, virtual), BENCH_SIM_ROUNDS (60): how much of each.

say 'building both simulators'
cargo build --quiet --locked --release -p caravan-sim
cargo build --quiet --locked --release --manifest-path tests/bench/iroh/Cargo.toml \
    --target-dir "$here/target/iroh"
sim_nodes=${BENCH_SIM_NODES:-10000}
sim_minutes=${BENCH_SIM_MINUTES:-60}
sim_rounds=${BENCH_SIM_ROUNDS:-60}

# told FIELD: a number of the last line that a simulator printed.
told() { sed -n '$s/.*"'"$1"'":"\{0,1\}\([0-9a-f.]*\).*/\1/p' "$bench/lines"; }

# simulated COMMAND...: one run under the clock; both get huge pages, for both are all memory.
simulated() {
    start_clock
    supervised grouped env GLIBC_TUNABLES=glibc.malloc.hugetlb=1 "$@" > "$bench/lines" 2>> "$words" \
        || fail "a simulator failed; see $words"
    processor=$(minus "$(processor_seconds)" "$processor")
    others=$(minus "$(minus "$(machine_seconds)" "$machine")" "$processor")
}

# kept FIGURE SIDE VALUE: a sample of the run before.
kept() { printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$processor" "$others" >> "$samples"; }

# alone NAME LIMIT UNIT: the middle one of our samples, where nobody else can be asked.
alone() {
    awk -F '\t' '$1 == "'"$1"'" { print $3 }' "$samples" | sort -n | awk \
        -v suite="$suite" -v name="$1" -v limit="$2" -v unit="$3" -v json="$json" '
        { value[NR] = $1 }
        END {
            middle = value[int((NR + 1) / 2)]
            if (json == "yes") printf "{\"suite\":\"%s\",\"name\":\"%s\",\"value\":%.3f,\"unit\":\"%s\",\"min\":%.3f,\"runs\":%d}\n", suite, name, middle, unit, value[1], NR
            else printf "%s (limit: %s)\n  ours    %8.3f %s  (%d samples, %.3f to %.3f)\n", name, limit, middle, unit, NR, value[1], value[NR]
        }'
}

sim_trace=
sim_round=0
while [ "$sim_round" -lt "$runs_long" ]; do
    sim_round=$((sim_round + 1))
    say "round $sim_round of $runs_long: $sim_nodes nodes for $sim_minutes minutes"
    simulated "$here/target/release/caravan-sim" hour "$sim_nodes" 1 "$sim_minutes" --json
    kept sim_10k_hour ours "$(told wall_s)"
    kept sim_10k_hour_processor ours "$(told processor_s)"
    kept sim_10k_hour_rss ours "$(told peak_mib)"
    kept sim_vs_iroh_gossip ours "$(told deliveries_per_processor_s)"
    say "$(told wall_s) s, $(told deliveries) deliveries, trace $(told trace)"
    # An equal seed is an equal run.
    [ "${sim_trace:=$(told trace)}" = "$(told trace)" ] || fail 'two runs of one seed differ'
    simulated "$here/target/iroh/release/caravan-bench-iroh" "$sim_nodes" 1 "$sim_rounds"
    kept sim_vs_iroh_gossip theirs "$(told deliveries_per_processor_s)"
    say "iroh-gossip: $(told deliveries) deliveries, $(told deliveries_per_processor_s) a processor second"
done

alone sim_10k_hour "$sim_nodes nodes, $sim_minutes virtual minutes, one thread: at most 60 s" s
alone sim_10k_hour_processor 'processor time of the same runs' s
alone sim_10k_hour_rss 'largest resident memory of the same runs' MiB
figure sim_vs_iroh_gossip 'the simulator of iroh-gossip, broadcasting' 'ratio at least 10' 'deliveries a processor second'

# Suite market, read by scripts/bench: how many signed jobs a second find a node, what an assignment
# costs in messages and beside a million others, and how well many nodes do against a scheduler that
# knows everything. The anchors are beanstalkd, and that scheduler.
# BENCH_JOBS (20000), BENCH_PENDING (1000000), BENCH_TOWN (400), BENCH_MESSAGES (50 500 5000): how many.

say 'building the measuring program'
cargo build --quiet --locked --release -p caravan-bench-market
measure=$here/target/release/caravan-bench-market
work=$bench/run
words=$bench/market.log
rm -rf --one-file-system "$work"
mkdir -p "$work"
: > "$words"
jobs=${BENCH_JOBS:-20000}
pending=${BENCH_PENDING:-1000000}
town=${BENCH_TOWN:-400}
meshes=${BENCH_MESSAGES:-50 500 5000}

# only NAME LIMIT UNIT: the middle one of our samples, where nobody else can be asked.
only() {
    awk -F '\t' -v name="$1" '$1 == name { print $3 }' "$samples" | sort -n | awk \
        -v suite="$suite" -v name="$1" -v limit="$2" -v unit="$3" -v json="$json" '
        { value[NR] = $1 }
        END {
            middle = value[int((NR + 1) / 2)]
            if (json == "yes") printf "{\"suite\":\"%s\",\"name\":\"%s\",\"value\":%.3f,\"unit\":\"%s\",\"min\":%.3f,\"runs\":%d}\n", suite, name, middle, unit, value[1], NR
            else printf "%s (limit: %s)\n  ours    %8.3f %s  (%d samples, %.3f to %.3f)\n", name, limit, middle, unit, NR, value[1], value[NR]
        }'
}

# told UNIT WORDS...: a run of the measuring program whose samples are not seconds.
told() {
    unit=$1
    shift
    sampled "$@"
    while IFS=$tab read -r figure side value; do
        say "$figure, $side: $value $unit (processor $processor s, others' $others s)"
    done < "$bench/lines"
}

round=0
while [ "$round" -lt "$runs" ]; do
    round=$((round + 1))
    say "round $round of $runs: $jobs jobs among 64 nodes, and through beanstalkd"
    told 'assigned/s' assign 64 "$jobs"
    told 'assigned/s' beanstalk "$jobs"
    told s pending "$jobs" 1000 "$pending"
done

# Simulated: another seed each time says more than the same again.
round=0
while [ "$round" -lt "$runs_long" ]; do
    round=$((round + 1))
    say "round $round of $runs_long: simulated meshes"
    for nodes in $meshes; do
        told messages messages "$nodes" "$round"
    done
    told '' central "$town" 600 "$round"
    told s churn "$town" "$round"
done

figure assign_vs_beanstalkd 'beanstalkd, unsigned, one by one' 'ratio at least 0.5, and above 822' 'assigned/s'
figure pending_million 'the same beside 1,000' 'ratio at most 1.2' us 1000000
for nodes in $meshes; do
    only "messages_per_job_$nodes" 'at most 12, beats aside' messages
done
figure latency_vs_central 'a scheduler that knows everything' 'ratio at most 1.15'
figure hit_rate_vs_central 'a scheduler that knows everything' 'ratio at least 0.98' 'of all'
figure churn_makespan 'the same jobs with nobody killed' 'ratio at most 1.15, and nothing lost'

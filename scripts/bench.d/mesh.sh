# Suite mesh, read by scripts/bench: how soon nodes know of each other and of a death, what an idle node
# costs, and what a flood does to others; the anchor is serf, or this program without the flood.
# BENCH_FLEET (32): how many. BENCH_STARVE_S (300), BENCH_IDLE_S (120), BENCH_FLOOD_S (60): how long.

say 'building the measuring program'
cargo build --quiet --locked --release -p caravan-bench-mesh
measure=$here/target/release/caravan-bench-mesh
work=$bench/run
words=$bench/mesh.log
fleet=${BENCH_FLEET:-32}
rm -rf --one-file-system "$work"
mkdir -p "$work"
: > "$words"

# Namespaces on one bridge, named so that what a killed run has left is found again.
mark=cvbench
lan_down() {
    for name in $(ip netns list | sed -n "s/^\($mark-[a-z0-9]*\).*/\1/p"); do
        ip netns pids "$name" | xargs -r kill -KILL 2> /dev/null || true
        ip netns del "$name" 2> /dev/null || true
    done
}
lan_up() {
    lan_down
    ip netns add "$mark-hub"
    ip -n "$mark-hub" link add br0 type bridge mcast_snooping 0
    ip -n "$mark-hub" link set br0 up
    host=0
    while [ "$host" -lt "$1" ]; do
        name=$mark-$host
        ip netns add "$name"
        ip -n "$name" link set lo up
        ip -n "$mark-hub" link add "p$host" type veth peer name eth0 netns "$name"
        ip -n "$mark-hub" link set "p$host" master br0 up
        host=$((host + 1))
        ip -n "$name" addr add "192.0.2.$host/24" dev eth0
        ip -n "$name" link set eth0 up
    done
}
# The measuring program ends its fleet; if it was killed, this does.
fleet_down() {
    for place in $enter; do xargs -r kill -KILL < "$place/cgroup.procs" 2> /dev/null || true; done
}
trap 'fleet_down; lan_down; clean' EXIT

say "preparing: $fleet nodes join one mesh by tokens"
"$measure" prepare ours "$work/ours" "$fleet" "$caravan" 2>> "$words" || fail "nodes do not join; see $words"

round=0
while [ "$round" -lt "$runs" ]; do
    round=$((round + 1))
    say "round $round of $runs: from the first start until each of $fleet knows all"
    measured join ours "$work/ours" "$fleet"
    measured join serf "$work/serf" "$fleet"
    measured join serf-lan "$work/serf" "$fleet"
done
awk -F '\t' -v OFS='\t' '$1 == "join_32_vs_serf" && $2 == "ours" { $1 = "join_32_vs_serf_lan"; print }' \
    "$samples" > "$bench/lines"
cat "$bench/lines" >> "$samples"
say "one of $fleet is killed, $runs times: until all others know"
measured death ours "$work/ours" "$fleet" "$runs"
measured death serf "$work/serf" "$fleet" "$runs"

starve=${BENCH_STARVE_S:-300}
say "busy loops, four a core, for $starve s beside each fleet"
measured starve ours "$work/ours" "$fleet" "$starve"
measured starve serf "$work/serf" "$fleet" "$starve"

idle=${BENCH_IDLE_S:-120}
say "each fleet alone for $idle s, a network namespace a node"
lan_up "$fleet"
measured idle ours "$work/ours" "$fleet" "$idle" "$mark-"
measured idle serf-lan "$work/serf" "$fleet" "$idle" "$mark-"

flood=${BENCH_FLOOD_S:-60}
for how in messages handshakes; do
    say "questions to a node for $flood s, and again while a hostile peer sends it $how"
    measured flood ours "$work/ours" 1 "$flood" "$mark-" "$how"
done
lan_down

# counted NAME LIMIT: two counts of which either may be zero.
counted() {
    awk -F '\t' -v suite="$suite" -v name="$1" -v limit="$2" -v json="$json" '
        $1 == name { sum[$2] += $3 }
        END {
            if (json == "yes") printf "{\"suite\":\"%s\",\"name\":\"%s\",\"value\":%d,\"anchor\":\"serf\",\"anchor_value\":%d}\n", suite, name, sum["ours"], sum["theirs"]
            else printf "%s (limit: %s)\n  ours    %d\n  theirs  %d  serf\n", name, limit, sum["ours"], sum["theirs"]
        }' "$samples"
}

figure join_32_vs_serf "$fleet agents of serf with its local profile" 'value at most 4 s, ratio below 1'
figure join_32_vs_serf_lan "$fleet agents of serf with its lan profile, the quicker to join" 'told for comparison'
figure death_known_vs_serf 'serf with its local profile' 'ratio at most 0.5'
counted starved_deaths 'none of ours'
figure idle_rss 'the largest agent of serf' 'at most 60 MiB' MiB
figure idle_cpu 'an agent of serf with its lan profile' 'at most 0.5 % of a core' '%'
figure idle_bytes_s 'an agent of serf with its lan profile' 'at most 2000 B/s to and fro' B/s
figure flood_p99 'the same without a flood' 'ratio at most 2' ms 1000
figure flood_rss 'the same without a flood' 'at most 64 MiB more' MiB

# What ten thousand nodes do is simulated.
if [ -e scripts/bench.d/sim.sh ]; then . scripts/bench.d/sim.sh; fi

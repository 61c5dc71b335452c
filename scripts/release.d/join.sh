#!/bin/sh
# The scene of scripts/release --check, in namespaces of its own: see join.lib.
#   join.sh DIR OWN-PROGRAM OTHER-PROGRAM EMULATOR
set -eu
place=$1 own=$2 other=$3 emulator=$4
seconds=180

fail() {
    printf 'join: %s\n' "$*" >&2
    for log in "$place"/*.log; do
        printf -- '--- %s\n' "$log" >&2
        tail -n 30 "$log" >&2
    done
    exit 1
}
# Repeats a command until it succeeds.
until_it() {
    what=$1 left=$seconds
    shift
    until "$@" > "$place/last" 2>&1; do
        left=$((left - 1))
        if [ "$left" -le 0 ]; then
            cat "$place/last" >&2
            fail "not within $seconds s: $what"
        fi
        sleep 1
    done
}
here() { "$own" --data "$place/here" "$@"; }
# In the other's namespaces: of users, for its list of formats, and of the network.
there() { enter "$other" --data "$place/there" "$@"; }
# Both are up: one says that it is here, the other has been heard.
lists_both() { [ "$("$1" nodes --json | grep -c '"mode": "\(open\|paused\)"')" -eq 2 ]; }

# The program's first twenty bytes say whose it is; the kind, program or library, is left open.
magic=$(head -c 20 "$other" | od -An -v -tx1 | tr -d '\n' | sed 's/ /\\x/g')
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\xff\xff'
unshare --user --mount --net sleep infinity > "$place/holder.log" 2>&1 &
holder=$!
# Every user is itself there: the other node is root as on a machine of its own.
for ids in uid_map gid_map; do
    until_it "the $ids of its namespace" sh -c "echo 0 0 4294967295 > /proc/$holder/$ids"
done
enter() { nsenter --target "$holder" --user --mount --net --preserve-credentials "$@"; }
enter sh -euc '
    mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
    printf ":other:M::%s:%s:%s:F\n" "$1" "$2" "$3" > /proc/sys/fs/binfmt_misc/register
    ip link set lo up' sh "$magic" "$mask" "$emulator" > "$place/holder.log" 2>&1 \
    || fail 'no list of foreign formats of its own: Linux 6.7 is the first that has it'

ip link set lo up
ip link add cable type veth peer name cable netns "$holder"
ip address add 192.0.2.1/24 dev cable
ip link set cable up
enter ip address add 192.0.2.2/24 dev cable
enter ip link set cable up

here node run --http none --slots 1 --listen /ip4/192.0.2.1/tcp/4100 > "$place/here.log" 2>&1 &
until_it 'the node of this host answers' here node status
token=$(here invite --operator other)
there join "$token" > "$place/join.log" 2>&1 || fail 'it could not join'
cat "$place/join.log"
there node run --http none --slots 0 --listen /ip4/192.0.2.2/tcp/4100 > "$place/there.log" 2>&1 &
until_it 'the other node answers' there node status
until_it 'this host lists both' lists_both here
until_it 'the other lists both' lists_both there
for side in here there; do
    echo "--- caravan nodes, $side"
    "$side" nodes
done
echo '--- what the other said at its start'
cat "$place/there.log"
there node stop
here node stop

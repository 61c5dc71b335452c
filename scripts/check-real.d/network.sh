# shellcheck shell=sh
# The network of steps against the world: Debian's mirror as the host's apt has it, through the gate, by
# root and by sudo; and what is not listed stays away. Takes minutes, Debian's mirror, and nothing else.
. scripts/check-real.d/node.lib

mkdir -p "$place/data"
# Small, so that one part can show its end.
printf '[egress]\nbytes = "600MiB"\n' > "$place/data/config.toml"
start_node
caravan base import debian-12 > /dev/null
# Our bases name no archive: this host's own, for a step's apt.
archive_into "$place/src/debian.sources"

# apt by root, with as much at once as it likes; then by sudo, which drops variables.
built packages << 'SPEC'
((from debian-12)
 (copy (src debian.sources) (dst /etc/apt/sources.list.d/))
 (run (network host)
  (shell "apt-get update && apt-get install -y --no-install-recommends sudo curl wget git ca-certificates"))
 (run (shell "echo 'opam ALL=(ALL:ALL) NOPASSWD:ALL' > /etc/sudoers.d/opam && chmod 440 /etc/sudoers.d/opam"))
 (user (uid 1000) (gid 1000))
 (run (network host)
  (shell "sudo apt-get update && sudo apt-get install -y --no-install-recommends libsqlite3-0"))
 (run (shell "ls /etc/sudoers.d; ! sudo apt-get update -o Acquire::Retries=0 -o APT::Update::Error-Mode=any 2>&1")))
SPEC
shows 'Setting up libsqlite3-0'
! grep -q 'caravan-proxy' "$place/log" || fail 'the file for sudo is in a layer'
! grep -q 'network: refused' "$place/log" || { cat "$place/log" >&2; fail 'apt asked for what is refused'; }

# What curl, wget and git are told, each in its own way.
built refused << 'SPEC'
((from debian-12)
 (copy (src debian.sources) (dst /etc/apt/sources.list.d/))
 (run (network host)
  (shell "apt-get update && apt-get install -y --no-install-recommends curl wget git ca-certificates"))
 (run (network host)
  (shell "curl -sS http://intranet.example/ ; curl -sS https://intranet.example/ 2>&1; \
    wget -q -O- http://169.254.169.254/latest/meta-data/ ; wget -nv -O- http://10.0.0.1/ 2>&1; \
    git ls-remote https://git.example/x.git 2>&1; git ls-remote git://git.example/x.git 2>&1; \
    curl -sS -m 5 --noproxy '*' http://10.0.0.1/ 2>&1; true")))
SPEC
shows '^caravan: network: refused: intranet.example:80 is not on this node'
shows '^caravan: network: refused: intranet.example:443 is not on this node'
shows '^caravan: network: refused: 169.254.169.254:80 is not on this node'
shows '^caravan: network: refused: git.example:443 is not on this node'
shows 'CONNECT tunnel failed, response 403'
echo 'check-real: network: the listed is reached and nothing else is'

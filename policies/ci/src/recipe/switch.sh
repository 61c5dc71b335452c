# Caravan step recipe: makes the opam root and the empty switch that every package layer lies on.
# Runs once on a base, as user opam, without network and without input. Leaves no file that a later
# step rewrites, so that no two layers ever hold the same path.
set -eu
exec 2>&1
umask 022
export HOME=/home/opam PATH=/usr/local/bin:/usr/bin:/bin LC_ALL=C.UTF-8 TERM=dumb
export OPAMNODEPEXTS=1 OPAMNOSELFUPGRADE=1 OPAMYES=1 OPAMCOLOR=never OPAMNOENVNOTICE=1
root=$HOME/.opam
repo=$(mktemp -d)
printf 'opam-version: "2.0"\n' > "$repo/repo"
mkdir "$repo/packages"

opam init --bare --no-setup --bypass-checks --disable-sandboxing default "$repo"
opam switch create default --empty --no-switch
opam option --global depext=false
rm -r "$repo"

# Every step puts its own repository at repo/default, so none needs `opam update`.
rm -rf "$root/repo" "$root/download-cache"
mkdir "$root/repo"
printf 'opam-version: "2.0"\nrepositories: "default" {"file:///caravan/repo"}\n' > "$root/repo/repos-config"

# Volatile: rewritten by every opam command. What a step needs of it, package.sh writes anew.
rm -rf "$root/log" "$root/opam-init" "$root/default/.opam-switch/backup" \
    "$root/default/.opam-switch/environment" "$root/default/.opam-switch/switch-state" \
    "$root/default/.opam-switch/switch-config" "$root/default/.opam-switch/packages/cache" \
    "$root/default/.opam-switch/build" "$root/default/.opam-switch/sources"
find "$root" \( -name lock -o -name '*.lock' -o -name '*.cache' \) -type f -delete

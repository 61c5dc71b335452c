# Caravan step recipe: installs one opam package with real opam on the layers of its dependencies.
# Runs as user opam, without network. What it leaves is the package's own files, nothing shared.
#
# In:   CARAVAN_PACKAGE      NAME.VERSION
#       CARAVAN_INSTALLED    the closure below it, NAME.VERSION separated by blanks, sorted; may be empty
#       CARAVAN_POST         the solution's packages outside that closure that it or a package of the
#                            closure names as {post} dependency: opam is told that they are there
#       CARAVAN_WITH_TEST    1: run its tests as well (its with-test dependencies are in the closure)
#       /caravan/repo        read-only opam repository: the effective definition of this one package
#       /caravan/sources     read-only: this package's archives in opam's cache layout, sha256/ab/abcd...;
#                            empty when it has none
# Out:  the log on standard output, opam's exit code (20 no solution, 31 build failed, 40 source missing).
set -eu
exec 2>&1
umask 022
export HOME=/home/opam PATH=/usr/local/bin:/usr/bin:/bin LC_ALL=C.UTF-8 TERM=dumb
export OPAMROOT="$HOME/.opam" OPAMSWITCH=default OPAMYES=1 OPAMCOLOR=never OPAMUTF8=never
export OPAMNODEPEXTS=1 OPAMNOSELFUPGRADE=1 OPAMNOENVNOTICE=1
# 2 shows each command and what it prints, while it runs; the report at the end repeats a short tail.
export OPAMVERBOSE=2 OPAMERRLOGLEN=20
OPAMJOBS=$(nproc)
export OPAMJOBS
state=$OPAMROOT/default/.opam-switch

# The switch as its layers make it: exactly the closure is installed. Overlay layers cannot merge
# one file, so no layer holds this one and every step writes it anew.
{
    printf 'opam-version: "2.0"\ninstalled: ['
    for package in $CARAVAN_INSTALLED ${CARAVAN_POST:-}; do printf '"%s" ' "$package"; done
    printf ']\n'
} > "$state/switch-state"
printf 'opam-version: "2.0"\nopam-root: "%s"\n' "$OPAMROOT" > "$state/switch-config"
for package in ${CARAVAN_POST:-}; do
    mkdir "$state/packages/$package"
    printf 'opam-version: "2.0"\n' > "$state/packages/$package/opam"
done
# A copy: opam loses a package's files/ when its repository is a link.
cp -r /caravan/repo "$OPAMROOT/repo/default"
# opam 2.2 and later build on an installed package only while some repository still has it.
ln -s "$state/packages" "$OPAMROOT/repo/default/packages/@installed"
# Links in a cache of its own: opam notes there every further checksum of an archive.
cp -rs /caravan/sources "$OPAMROOT/download-cache"

test=
[ "${CARAVAN_WITH_TEST:-0}" = 0 ] || test=--with-test
opam install $test "$CARAVAN_PACKAGE" || exit $?

# Volatile: every opam command rewrites these, and no lower layer has them.
for package in ${CARAVAN_POST:-}; do rm -r "$state/packages/$package"; done
rm -rf "$OPAMROOT"/lock "$OPAMROOT"/config.lock "$OPAMROOT"/log "$OPAMROOT"/opam-init \
    "$OPAMROOT"/.last-env "$OPAMROOT"/plugins "$OPAMROOT"/download-cache "$OPAMROOT"/repo/lock \
    "$OPAMROOT"/repo/*.cache "$OPAMROOT"/repo/default \
    "$state"/lock "$state"/environment "$state"/switch-state "$state"/switch-config "$state"/backup \
    "$state"/reinstall "$state"/packages/cache "$state"/sources "$state"/build
# opam notes size and time of each installed file, and breaks lines by their length: the time would
# make every layer a new one.
changes=$state/install/${CARAVAN_PACKAGE%%.*}.changes
sed -i -e ':join' -e 'N;$!b join' -e 's/"\n *{/" {/g' -e 's/\({"F:S[0-9]*T\)[0-9.]*/\10./g' "$changes"

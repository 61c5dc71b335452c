# Caravan step recipe: builds and tests a project on the layers of its dependencies, the way that
# ocaml-ci does. Runs as user opam, without network.
#
# In:   CARAVAN_INSTALLED    the whole solution, all in the layers below: NAME.VERSION, blanks, sorted
#       CARAVAN_PACKAGES     the project's own packages to build, dependencies first
#       CARAVAN_ONLY         1: the project has further packages, which are left out
#       /caravan/src         read-only source tree of the project
# Out:  the log on standard output; /home/opam/result with one `key value` a line:
#       build (passed, failed) and tests (passed, failed, none: it has none, unrun: not got that far)
# Exit codes: 0 done, 31 build failed, 32 tests failed; for a project without dune also opam's own.
set -eu
exec 2>&1
umask 022
export HOME=/home/opam PATH=/usr/local/bin:/usr/bin:/bin LC_ALL=C.UTF-8 TERM=dumb CI=true OCAMLCI=true
export OPAMROOT="$HOME/.opam" OPAMSWITCH=default OPAMYES=1 OPAMCOLOR=never OPAMUTF8=never
export OPAMNODEPEXTS=1 OPAMNOSELFUPGRADE=1 OPAMNOENVNOTICE=1 OPAMVERBOSE=2 OPAMERRLOGLEN=20
export DUNE_CACHE=disabled
OPAMJOBS=$(nproc)
export OPAMJOBS
state=$OPAMROOT/default/.opam-switch
work=$HOME/src
result=$HOME/result

finish() {
    printf 'build %s\ntests %s\n' "$1" "$2" > "$result"
    rm -rf "$work" "$OPAMROOT"/lock "$OPAMROOT"/config.lock "$OPAMROOT"/log "$OPAMROOT"/.last-env \
        "$OPAMROOT"/repo/lock "$OPAMROOT"/repo/*.cache "$OPAMROOT"/repo/default \
        "$state"/lock "$state"/environment "$state"/switch-state "$state"/switch-config \
        "$state"/packages/cache "$state"/backup "$state"/sources "$state"/build
    exit "$3"
}

{
    printf 'opam-version: "2.0"\ninstalled: ['
    for package in $CARAVAN_INSTALLED; do printf '"%s" ' "$package"; done
    printf ']\n'
} > "$state/switch-state"
printf 'opam-version: "2.0"\nopam-root: "%s"\n' "$OPAMROOT" > "$state/switch-config"
mkdir -p "$OPAMROOT/repo/default/packages"
printf 'opam-version: "2.0"\n' > "$OPAMROOT/repo/default/repo"
ln -s "$state/packages" "$OPAMROOT/repo/default/packages/@installed"
cp -r --preserve=mode,timestamps /caravan/src "$work"
chmod u+w "$work"
cd "$work"

if [ ! -f dune-project ]; then
    # Without dune only the opam files say how to build: they make a repository of their own.
    tests=none
    wanted=
    for name in $CARAVAN_PACKAGES; do
        definition=$name.opam
        [ -f "$definition" ] || definition=opam
        mkdir -p "$OPAMROOT/repo/default/packages/$name/$name.dev"
        {
            grep -v '^version:' "$definition"
            printf '\nurl { src: "file://%s" }\n' "$work"
        } > "$OPAMROOT/repo/default/packages/$name/$name.dev/opam"
        if grep -q -e with-test -e '^run-test:' "$definition"; then tests=passed; fi
        wanted="$wanted $name.dev"
    done
    code=0
    opam install --with-test $wanted || code=$?
    [ "$code" -eq 0 ] || finish failed unrun "$code"
    finish passed "$tests" 0
fi

only=
[ "${CARAVAN_ONLY:-0}" = 0 ] || only=--only-packages=$(printf %s "$CARAVAN_PACKAGES" | tr -s ' ' ,)
environment=$(OPAMVERBOSE=0 opam env --set-switch --shell=sh) || finish failed unrun 50
eval "$environment"
# Two calls, so that a test that fails is not taken for a build that fails, and so that the second
# call's own log says whether there was anything to test: its lines `$ (cd DIR && COMMAND)` are
# actions, while the compiler's settings are asked for without a cd.
echo "+ dune build @install @check $only"
dune build --display=short @install @check $only || finish failed unrun 31
echo "+ dune build @runtest $only"
dune build @runtest $only || finish passed failed 32
if grep -q '^\$ (cd ' _build/log; then finish passed passed 0; fi
echo 'this project has no tests'
finish passed none 0

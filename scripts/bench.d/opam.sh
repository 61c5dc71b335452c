# Plain opam, read with `.` inside the base by in-root.sh: what a person without this program does.
set -eu
export HOME=/home/opam PATH=/usr/local/bin:/usr/bin:/bin LC_ALL=C.UTF-8 TERM=dumb CI=true
export OPAMYES=1 OPAMCOLOR=never OPAMNODEPEXTS=1 OPAMNOSELFUPGRADE=1 DUNE_CACHE=disabled
OPAMJOBS=$(nproc)
export OPAMJOBS
cd "$HOME"

# A fresh opam root and switch. Not under the clock: a new user of opam does it once.
fresh_switch() {
    opam init --bare --no-setup --bypass-checks --disable-sandboxing default "$HOME/repository"
    opam switch create default --empty
    cp -r "$HOME/sources" "$HOME/.opam/download-cache"
}

# The whole way of a project: dependencies with those of the tests, build, tests.
whole_project() {
    cd "$HOME/project"
    opam install --deps-only --with-test .
    opam exec -- dune build @install @check
    opam exec -- dune build @runtest
}

# The project alone, from nothing but its sources.
own_build() {
    cd "$HOME/project"
    opam exec -- dune build @install @check @runtest
}

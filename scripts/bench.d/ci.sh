# Suite ci, read by scripts/bench: a project through CI, against plain opam in the same root.
#
# Both sides have the base, an empty switch and all source archives before the clock starts; neither
# has a package. Runs of the two sides alternate.

template=$bench/template
work=$bench/run
rm -rf --one-file-system "$work"
mkdir -p "$template" "$work/sources"

say 'preparing: base, sources, projects'
samples/make-repo "$work/hello" > /dev/null
samples/make-repo "$work/second" second > /dev/null

# A project that depends on everything, with packages that build nothing: it makes a node fetch all
# sources and leaves no layer that a sample could use.
mkdir "$work/prefetch"
cp -R samples/hello/opam "$work/prefetch/opam"
cp samples/hello/caravan.toml "$work/prefetch/"
for definition in "$work"/prefetch/opam/packages/*/*/opam; do
    awk '
        /^(build|install):/ { skipping = 1 }
        skipping { depth += gsub(/\[/, "[") - gsub(/\]/, "]"); if (depth == 0) skipping = 0; next }
        { print }
        END { print "build: [\"find\" \".\" \"-name\" \"*.install\" \"-delete\"]" }' "$definition" > "$work/definition"
    cp "$work/definition" "$definition"
done
cat > "$work/prefetch/prefetch.opam" <<'OPAM'
opam-version: "2.0"
synopsis: "Everything that the samples depend on"
maintainer: "Caravan"
depends: ["alcotest" "astring" "cmdliner" "dune" "fmt" "re"]
build: ["true"]
OPAM
(
    cd "$work/prefetch"
    export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
    git init --quiet
    git add --all
    git -c user.name=bench -c user.email=bench@caravan.invalid commit --quiet --message Prefetch
)
start_node "$template"
supervised "$caravan" --data "$template" ci --base debian-12 "$work/prefetch" > "$bench/prefetch.log" 2>&1 \
    || fail "the sources could not be fetched; see $bench/prefetch.log"
tree=$("$caravan" --data "$template" base list | sed -n 's/^debian-12 .*, tree \([0-9a-f]*\)$/\1/p')
stop_node
base=$template/store/layers/$tree
[ -d "$base/home/opam" ] || fail "the base's layer is not where it was expected: $base"

sources_for_opam

# fresh_data: a node's directory with the base and the sources of the template, and no package.
fresh_data() {
    rm -rf --one-file-system "$work/data"
    mkdir -p "$work/data/store"
    for part in "$template"/store/*; do
        # Objects and layers are never written again, so the two nodes may share their files.
        case ${part##*/} in
            objects | layers) cp -a --link "$part" "$work/data/store/" ;;
            *) cp -a "$part" "$work/data/store/" ;;
        esac
    done
    for part in identity fetch; do cp -a "$template/$part" "$work/data/"; done
}

round=0
while [ "$round" -lt "$runs_long" ]; do
    round=$((round + 1))
    stop_node
    fresh_data
    start_node "$work/data"
    ours first_run_vs_opam "$work/hello"
    fresh_root hello-root "$work/hello"
    theirs first_run_vs_opam "$root" whole_project
    ours second_project_vs_opam "$work/second"
    fresh_root second-root "$work/second"
    theirs second_project_vs_opam "$root" whole_project
done

# The node now has all packages of hello, and hello-root has them in opam's switch.
inside=$work/hello-root/upper/home/opam/project
round=0
while [ "$round" -lt "$runs" ]; do
    round=$((round + 1))
    printf 'let () = ignore %s\n' "$round" >> "$work/hello/src/hello.ml"
    git -C "$work/hello" -c user.name=bench -c user.email=bench@caravan.invalid commit --quiet --all \
        --message "Change a line"
    ours one_line_change "$work/hello"
    rm -rf "$inside/_build"
    cp "$work/hello/src/hello.ml" "$inside/src/hello.ml"
    theirs one_line_change "$work/hello-root" own_build
    ours unchanged_commit "$work/hello"
    theirs unchanged_commit "$work/hello-root" own_build
done
stop_node

figure unchanged_commit 'dune build of the built project, nothing to do' 'value at most 1 s'
figure one_line_change 'plain opam exec -- dune build @install @check @runtest' 'difference at most 1 s'
figure first_run_vs_opam 'plain opam install --deps-only --with-test, dune build, dune runtest' 'ratio at most 1.05'
figure second_project_vs_opam 'plain opam install --deps-only --with-test, dune build, dune runtest' 'ratio at most 0.3'

# Suite steps, read by scripts/bench: what the sandbox and the store put around a command, against the
# kernel's own floor, runc and bubblewrap, and what they cost a real build.

build_measure
work=$bench/run
words=$bench/steps.log
template=$bench/template
rounds=${BENCH_ROUNDS:-40}
rm -rf --one-file-system "$work"
mkdir -p "$work"
: > "$words"
cc -O2 -Wall -o "$work/floor" scripts/bench.d/floor.c || fail 'the floor could not be compiled'

# What is mounted is in a namespace of the measuring program, and gone with it.
fresh() { rm -rf --one-file-system "$work/steps" "$work/real"; }

# The layers of a real build: a base, and what opam has installed for the sample.
base=$(for layer in "$template"/store/layers/*; do [ ! -e "$layer/etc/debian_version" ] || echo "$layer"; done | head -n 1)
if [ -n "$base" ]; then
    say 'preparing: what the sample needs, by plain opam'
    samples/make-repo "$work/hello" > /dev/null
    mkdir -p "$work/sources"
    sources_for_opam
    fresh_root deps "$work/hello"
    in_root "$work/deps" whole_project
    rm -rf "$work/deps/upper/home/opam/project/_build" "$work/sources"
fi

round=0
while [ "$round" -lt "$runs" ]; do
    round=$((round + 1))
    say "round $round of $runs: $rounds steps on each side, in turns"
    sampled steps "$work/steps" "$work/floor" "$rounds"
    fresh
    sampled loops "$work/steps" 200 1
    fresh
    if [ -n "$base" ]; then
        mkdir "$work/real"
        # shellcheck disable=SC2016
        measured real real_build_vs_chroot "$work/real" "$bench" "${base#"$bench/"},run/deps/upper" \
            '. /home/opam/opam.sh; own_build' 6
        fresh
    fi
done

figure step_vs_runc 'runc run of true, on a mounted root' 'ratio at most 0.167' ms 1000
figure step_vs_floor 'clone, overlay, pivot_root, /proc, exec, by a program in C' 'ratio at most 2' ms 1000
figure step_vs_bwrap 'bubblewrap --unshare-all, on a mounted root' 'ratio below 1' ms 1000
figure defence_cost 'without filter, Landlock, capabilities, covers, user namespace' 'ratio at most 1.11' ms 1000
figure parallel_scaling 'one loop' 'ratio at least 1.7' steps/s
if [ -n "$base" ]; then
    figure real_build_vs_chroot 'the same build in a chroot over the same layers' 'ratio at most 1.02'
else
    not_measured real_build_vs_chroot 'it needs a base, which the suite ci brings'
fi

# shellcheck shell=sh
# CHECK_STEPS (10000) steps through store and sandbox, half of them cancelled at every moment of their
# lives, leave no mount, descriptor, process, control group, temporary file or memory behind.
cargo build --quiet --locked --release -p caravan-bench
target/release/caravan-bench soak "$place" "${CHECK_STEPS:-10000}"

//! Gives libFuzzer the decoder of `tests/hostile` that has this program's name. The panic of a
//! broken promise is a finding.
#![no_main]

use std::sync::LazyLock;

use caravan_hostile::Target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    caravan_hostile::find(env!("CARGO_BIN_NAME")).expect("every program has its decoder")
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    TARGET.check(bytes);
});

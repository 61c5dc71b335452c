//! Steps as a node does them: `build` with the real sandbox and a real store, as root. A program of
//! its own and not a module of the node, because a sandbox's helper is this very program started
//! anew, which must happen before there is any thread. It speaks as a test program does.
#![expect(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "fetches are not tried here, and build's own unit tests run elsewhere"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a test whose ground is missing must stop at once"
)]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::Arc,
};

use caravan_sandbox::{Launcher, Sandbox};
use steps::{BOUNDS, EGRESS, Ground, OUTPUTS, TESTS};

mod build;
#[path = "tests/steps.rs"]
mod steps;
mod task;

fn main() -> ExitCode {
    caravan_sandbox::run_as_helper_if_asked();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let is = |flag: &str| args.iter().any(|arg| arg == flag);
    if is("--list") {
        if !is("--ignored") {
            TESTS
                .iter()
                .chain(&EGRESS)
                .chain(&BOUNDS)
                .chain(&OUTPUTS)
                .for_each(|(name, _)| println!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    if let Err(missing) = caravan_sandbox::probe() {
        println!("SKIPPED: steps in a real sandbox: failed to {missing}");
        return ExitCode::SUCCESS;
    }
    let launcher: Arc<dyn Sandbox> = Arc::new(Launcher::spawn().expect("the host was probed"));
    let asked: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| {
        asked.is_empty()
            || asked.iter().any(|part| match is("--exact") {
                true => name == part.as_str(),
                false => name.contains(part.as_str()),
            })
    };
    let mut failed = 0;
    for (name, test) in TESTS
        .iter()
        .chain(&EGRESS)
        .chain(&BOUNDS)
        .chain(&OUTPUTS)
        .filter(|(name, _)| wanted(name))
    {
        let ground = Ground::new(&launcher);
        let passed = catch_unwind(AssertUnwindSafe(|| test(&ground))).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += u32::from(!passed);
    }
    ExitCode::from(u8::from(failed > 0))
}

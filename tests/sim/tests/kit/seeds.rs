//! Many seeds on all processors, for both simulators: which ones, how they are shared out, and what
//! is said of the one that fails.

use std::{
    env,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

/// The number in a variable of the environment, if it is set.
pub(crate) fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
    )
}

/// Says which seed it was when an assertion inside the engine fails.
struct Named(u64, fn(u64) -> String);

impl Drop for Named {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", (self.1)(self.0));
        }
    }
}

/// Tries the seeds that the environment names, or `count` of them, until one fails; how many were
/// tried. `replay` tells people how to run a seed again.
pub(crate) fn sweep(
    count: u64,
    replay: fn(u64) -> String,
    holds: impl Fn(u64) -> Result<(), String> + Sync,
) -> u64 {
    let (first, count) = match number("CARAVAN_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("CARAVAN_SEEDS").unwrap_or(count)),
    };
    let (next, failed) = (AtomicU64::new(first), AtomicBool::new(false));
    let failures = Mutex::new(Vec::new());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return;
            }
            let _named = Named(seed, replay);
            if let Err(why) = holds(seed) {
                failed.store(true, Ordering::Relaxed);
                let mut failures = failures.lock().expect("nobody panics with it");
                failures.push(format!("{why}\n{}", replay(seed)));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let failures = failures.into_inner().expect("nobody panics with it");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    count
}

//! Many small meshes under faults, in a release build: more of them than the tests try.

use caravan_tests::{
    invariants,
    sim::{self, Plan, Told},
};

use crate::Failure;

/// Runs so many seeds from `first` on and tells those that fail; a single one is told step by step.
pub(crate) fn run(first: usize, count: usize) -> Result<(), Failure> {
    let mut failed = 0;
    for seed in first as u64..(first + count) as u64 {
        let mut watchers = invariants::all();
        if count == 1 {
            watchers.insert(0, Box::new(Told));
        }
        match sim::watch(Plan::of_seed(seed), watchers) {
            Ok(report) if count == 1 => println!("seed {seed} holds: {report:?}"),
            Ok(_) => {}
            Err(broken) => {
                let (name, what, at_ms) = (broken.invariant, broken.what, broken.at_ms);
                println!("seed {seed}: {name} is broken at {at_ms} ms: {what}");
                failed += 1;
            }
        }
    }
    println!("{failed} of {count} seeds failed");
    if failed > 0 {
        return Err("a promise was broken".into());
    }
    Ok(())
}

//! How long it takes from `kill -9` of one until all others take it for dead. Each time another one,
//! and it is back before the next.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    Failure,
    fleet::{self, Fleet},
    sample,
};

/// Time for what a start has set off to be over.
const REST: Duration = Duration::from_secs(5);

pub(crate) fn run(fleet: &mut dyn Fleet, rounds: usize) -> Result<(), Failure> {
    fleet::start_all(fleet)?;
    for round in 0..rounds {
        fleet::settled(fleet, Instant::now(), |_| true)?;
        thread::sleep(REST);
        // Never the first, which others join by.
        let victim = 1 + round * 7 % (fleet.count() - 1);
        let began = Instant::now();
        fleet.kill(victim);
        let took = fleet::settled(fleet, began, |number| number != victim)?;
        sample("death_known_vs_serf", fleet.side(), took.as_secs_f64());
        fleet.start(victim)?;
    }
    Ok(())
}

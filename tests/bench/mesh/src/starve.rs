//! How often a living one is taken for dead while busy loops, four for each core, leave little
//! processor time to anyone.

use std::{
    hint::spin_loop,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    Failure,
    fleet::{self, Fleet},
    sample,
};

const LOOPS_PER_CORE: usize = 4;

pub(crate) fn run(fleet: &mut dyn Fleet, time: Duration) -> Result<(), Failure> {
    fleet::start_all(fleet)?;
    fleet::settled(fleet, Instant::now(), |_| true)?;
    let before = fleet.deaths()?;
    let stop = Arc::new(AtomicBool::new(false));
    let cores = thread::available_parallelism()?.get();
    let loops: Vec<_> = (0..cores * LOOPS_PER_CORE)
        .map(|_| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    spin_loop();
                }
            })
        })
        .collect();
    thread::sleep(time);
    stop.store(true, Ordering::Relaxed);
    for busy in loops {
        let _ = busy.join();
    }
    let deaths = fleet.deaths()? - before;
    #[expect(clippy::cast_precision_loss, reason = "a few thousand at most")]
    sample("starved_deaths", fleet.side(), deaths as f64);
    let healed = fleet::settled(fleet, Instant::now(), |_| true)?;
    eprintln!(
        "bench: {} false deaths, all known alive {healed:?} afterwards",
        deaths
    );
    Ok(())
}

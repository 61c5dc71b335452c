//! What programs cost that have nothing to do but know each other: memory, processor time, and bytes
//! on the cable of each, those of Ethernet, IP and TCP among them.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    Failure,
    fleet::{self, Fleet},
    proc::Usage,
    sample,
};

/// Time for what the start has set off to be over.
const REST: Duration = Duration::from_secs(30);

pub(crate) fn run(fleet: &mut dyn Fleet, time: Duration) -> Result<(), Failure> {
    fleet::start_all(fleet)?;
    fleet::settled(fleet, Instant::now(), |_| true)?;
    thread::sleep(REST);
    let (began, before) = (Instant::now(), usages(fleet)?);
    thread::sleep(time);
    let (took, after) = (began.elapsed().as_secs_f64(), usages(fleet)?);
    let each = before.iter().zip(&after);
    let mut sums = (0.0, 0.0, 0.0);
    #[expect(clippy::cast_precision_loss, reason = "bytes of a few minutes")]
    for (then, now) in each {
        let bytes = (now.sent - then.sent) + (now.received - then.received);
        sums.0 += (now.processor_s - then.processor_s) / took * 100.0;
        sums.1 += bytes as f64 / took;
        sums.2 = f64::max(sums.2, now.resident as f64 / f64::from(1 << 20));
    }
    #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
    let count = after.len() as f64;
    // Of memory the largest, of what goes to and fro the mean: one's sending is another's receiving.
    sample("idle_cpu", fleet.side(), sums.0 / count);
    sample("idle_bytes_s", fleet.side(), sums.1 / count);
    sample("idle_rss", fleet.side(), sums.2);
    Ok(())
}

fn usages(fleet: &dyn Fleet) -> Result<Vec<Usage>, Failure> {
    let process = |number| fleet.process(number).ok_or("one is not running");
    (0..fleet.count())
        .map(|number| Usage::of(process(number)?))
        .collect()
}

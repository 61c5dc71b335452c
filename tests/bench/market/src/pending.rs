//! What an assignment costs beside few and beside many jobs that wait.

use std::time::Instant;

use caravan_protocol::offer::{ProjectKey, Want};
use caravan_tests::sim;

use crate::{Failure, arena::Arena, sample};

const NODES: usize = 64;
/// Projects that share the queue.
const PROJECTS: u64 = 100;

fn want(number: u64) -> Want {
    let mut want = sim::want(number, 1000);
    want.project = ProjectKey::of(&(number % PROJECTS).to_string());
    want
}

pub(crate) fn run(jobs: usize, waiting: &[usize]) -> Result<(), Failure> {
    for count in waiting {
        let mut arena = Arena::new(NODES);
        for number in 0..*count as u64 {
            arena.want(want(number))?;
        }
        // One comes for each that goes, so that as many wait all the time.
        let mut next = *count as u64;
        let mut again = || {
            next += 1;
            Some(want(next))
        };
        let warm = jobs / 10;
        arena.trade(warm, &mut again)?;
        let begun = Instant::now();
        arena.trade(warm + jobs, &mut again)?;
        let seconds = begun.elapsed().as_secs_f64() / jobs as f64;
        let side = if *count >= 1_000_000 {
            "ours"
        } else {
            "theirs"
        };
        eprintln!("{count} wait: {:.1} us an assignment", seconds * 1e6);
        sample("pending_million", side, seconds);
    }
    Ok(())
}

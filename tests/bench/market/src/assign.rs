//! How many signed jobs a second find a node, are run, claimed and believed.

use std::time::Instant;

use caravan_tests::sim;

use crate::{Failure, arena::Arena, sample};

pub(crate) fn run(nodes: usize, jobs: usize) -> Result<(), Failure> {
    let mut arena = Arena::new(nodes);
    // The first ones find cold memory.
    let warm = jobs / 10;
    for number in 0..warm {
        arena.want(sim::want(number as u64, 1000))?;
    }
    arena.trade(warm, || None)?;
    let (begun, messages) = (Instant::now(), arena.messages);
    for number in warm..warm + jobs {
        arena.want(sim::want(number as u64, 1000))?;
    }
    arena.trade(warm + jobs, || None)?;
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!(
        "{} messages a job",
        (arena.messages - messages) as f64 / jobs as f64
    );
    sample("assign_vs_beanstalkd", "ours", jobs as f64 / seconds);
    Ok(())
}

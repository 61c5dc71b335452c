//! What must hold at every moment of every run, whatever goes wrong: one promise per file.

use crate::sim::{Note, World};

mod digests_are_rare;
mod done_is_said_by_the_one_awarded;
mod honest_nodes_are_not_rejected;
mod lease_bounds_silence;
mod no_idle_slot_beside_waiting_job;
mod no_job_is_lost;
mod no_run_without_reason;
mod one_end_per_job;
mod results_of_owners_are_never_mixed;
mod runs_only_where_it_may;
mod sends_only_to_nodes_that_are_up;
mod slots_are_respected;

/// A promise that is watched from outside. It sees every event and command of every machine, in
/// order, and never asks for anything.
pub trait Invariant {
    /// Its name: what it promises.
    fn name(&self) -> &'static str;

    /// Sees one thing that happened during a step.
    fn note(&mut self, world: &World, note: &Note) -> Result<(), String> {
        let _ = (world, note);
        Ok(())
    }

    /// Sees the world after a step.
    fn step(&mut self, world: &World) -> Result<(), String> {
        let _ = world;
        Ok(())
    }

    /// Sees the world after the last step, when all has healed.
    fn end(&mut self, world: &World) -> Result<(), String> {
        let _ = world;
        Ok(())
    }
}

/// All of them, fresh.
#[must_use]
pub fn all<'a>() -> Vec<Box<dyn Invariant + 'a>> {
    vec![
        Box::new(digests_are_rare::Watch::default()),
        Box::new(done_is_said_by_the_one_awarded::Watch::default()),
        Box::new(honest_nodes_are_not_rejected::Watch::default()),
        Box::new(lease_bounds_silence::Watch::default()),
        Box::new(no_idle_slot_beside_waiting_job::Watch::default()),
        Box::new(no_job_is_lost::Watch::default()),
        Box::new(no_run_without_reason::Watch::default()),
        Box::new(one_end_per_job::Watch::default()),
        Box::new(results_of_owners_are_never_mixed::Watch),
        Box::new(runs_only_where_it_may::Watch),
        Box::new(sends_only_to_nodes_that_are_up::Watch),
        Box::new(slots_are_respected::Watch::default()),
    ]
}

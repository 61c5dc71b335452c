//! What must hold at every moment of every run, whatever goes wrong: one promise per file.

use crate::{
    plan::Plan,
    world::{Note, World},
};

mod bounded_state;
mod crashed_is_known_dead;
mod equal_seed_equal_trace;
mod left_is_not_accused;
mod live_is_not_dead_for_long;
mod no_stranger_is_heard;
mod revoked_is_gone;
mod views_converge;

/// A promise that is watched from outside. It sees what happens at every machine, in order, and
/// never asks for anything.
pub trait Invariant {
    /// Its name: what it promises.
    fn name(&self) -> &'static str;

    /// Sees one thing that happened.
    fn note(&mut self, world: &World, note: &Note) -> Result<(), String> {
        let _ = (world, note);
        Ok(())
    }

    /// The worst that was seen of what has a bound, milliseconds.
    fn worst_ms(&self) -> u64 {
        0
    }

    /// Sees the world once in a second of its time.
    fn step(&mut self, world: &World) -> Result<(), String> {
        let _ = world;
        Ok(())
    }
}

/// All that watch one run, fresh.
#[must_use]
pub fn all<'a>() -> Vec<Box<dyn Invariant + 'a>> {
    vec![
        Box::new(bounded_state::Watch::default()),
        Box::new(crashed_is_known_dead::Watch::default()),
        Box::new(left_is_not_accused::Watch::default()),
        Box::new(live_is_not_dead_for_long::Watch::default()),
        Box::new(no_stranger_is_heard::Watch),
        Box::new(revoked_is_gone::Watch::default()),
        Box::new(views_converge::Watch::default()),
    ]
}

/// The one that runs the same plan beside and compares, at the price of a second run.
#[must_use]
pub fn equal_trace<'a>(plan: Plan) -> Box<dyn Invariant + 'a> {
    Box::new(equal_seed_equal_trace::Watch::new(plan))
}

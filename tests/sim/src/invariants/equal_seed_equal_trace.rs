//! An equal seed gives an equal run: beside the run that is watched goes another of the same plan,
//! and at every second both must have delivered the same messages in the same order.

use super::Invariant;
use crate::{plan::Plan, world::World};

/// The other run.
#[derive(Debug)]
pub(super) struct Watch(World);

impl Watch {
    pub(super) fn new(plan: Plan) -> Self {
        Self(World::new(plan, false))
    }
}

impl Invariant for Watch {
    fn name(&self) -> &'static str {
        "equal_seed_equal_trace"
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        while self.0.now_ms() < world.now_ms() {
            self.0.turn();
        }
        let (one, other) = (world.report(), self.0.report());
        if one != other {
            return Err(format!(
                "two runs of one seed differ: {one:?} and {other:?}"
            ));
        }
        Ok(())
    }
}

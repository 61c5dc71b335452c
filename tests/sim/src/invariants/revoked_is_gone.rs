//! A revocation is known everywhere within its bound: a revoked node is in nobody's view, and
//! whoever knows never takes it back.

use caravan_protocol::member::Status;

use super::Invariant;
use crate::{bounds, world::World};

/// The longest that a revoked node was taken in.
#[derive(Debug, Default)]
pub(super) struct Watch {
    worst_ms: u64,
}

impl Watch {
    fn look(&mut self, world: &World, at: usize, of: usize, revoked_ms: u64) -> Result<(), String> {
        let plan = world.plan();
        let is_lossy = plan.loss + plan.delayed > 0;
        let mut bound_ms = if is_lossy {
            bounds::REVOKED_LOSSY_MS
        } else {
            bounds::REVOKED_MS
        };
        // Who has just come reads the view first.
        if !plan.machines[at].is_settled || world.hosts()[at].life > 1 {
            bound_ms += bounds::JOIN_MS;
        }
        // What the founder knew when it was cut off is told when it is back.
        let from_ms = world.fair_ms(at).max(world.fair_ms(0)).max(revoked_ms);
        let since_ms = world.now_ms().saturating_sub(from_ms);
        let is_taken_in = matches!(world.status(at, of), Status::Live | Status::Certified);
        if at == of || !world.is_member(at) || !is_taken_in {
            return Ok(());
        }
        self.worst_ms = self.worst_ms.max(since_ms);
        if since_ms > bound_ms {
            return Err(format!(
                "host {at} still takes in host {of}, which was revoked at {revoked_ms} ms"
            ));
        }
        Ok(())
    }
}

impl Invariant for Watch {
    fn name(&self) -> &'static str {
        "revoked_is_gone"
    }

    fn worst_ms(&self) -> u64 {
        self.worst_ms
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        for (of, revoked) in world.hosts().iter().enumerate() {
            if let Some(revoked_ms) = revoked.revoked_ms {
                (0..world.hosts().len()).try_for_each(|at| self.look(world, at, of, revoked_ms))?;
            }
        }
        Ok(())
    }
}

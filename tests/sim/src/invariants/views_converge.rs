//! Once nothing goes wrong any more, all members soon see the same mesh, the true one, and it
//! stays so.

use super::Invariant;
use crate::{bounds, world::World};

/// Whether all have agreed.
#[derive(Debug, Default)]
pub(super) struct Watch {
    is_settled: bool,
    /// Since when somebody has heard what others have not: a word is on its way for a moment.
    apart_since_ms: Option<u64>,
    worst_ms: u64,
}

impl Invariant for Watch {
    fn name(&self) -> &'static str {
        "views_converge"
    }

    fn worst_ms(&self) -> u64 {
        self.worst_ms
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        if !world.is_calm() {
            return Ok(());
        }
        let unsettled = world.unsettled();
        let is_late = world.now_ms() > world.plan().calm_ms + bounds::HEAL_MS;
        match unsettled {
            None if self.is_settled => self.apart_since_ms = None,
            None => {
                self.is_settled = true;
                self.worst_ms = world.now_ms() - world.plan().calm_ms;
            }
            Some(what) if self.is_settled => {
                let since_ms = *self.apart_since_ms.get_or_insert(world.now_ms());
                if world.now_ms() - since_ms > bounds::NEWS_MS {
                    return Err(format!("it does not last: {what}"));
                }
            }
            Some(what) if is_late => return Err(format!("it takes too long: {what}")),
            Some(_) => {}
        }
        Ok(())
    }
}

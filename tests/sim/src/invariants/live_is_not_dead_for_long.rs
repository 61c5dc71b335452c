//! No live node is held to be dead for longer than the bound, by anybody who could know better.

use std::collections::BTreeMap;

use caravan_protocol::member::Status;

use super::Invariant;
use crate::{bounds, world::World};

/// Since when each pair is wrong: who holds whom to be dead.
#[derive(Debug, Default)]
pub(super) struct Watch {
    wrong: BTreeMap<(usize, usize), u64>,
    worst_ms: u64,
}

impl Invariant for Watch {
    fn name(&self) -> &'static str {
        "live_is_not_dead_for_long"
    }

    fn worst_ms(&self) -> u64 {
        self.worst_ms
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let now_ms = world.now_ms();
        for at in 0..world.hosts().len() {
            for of in 0..world.hosts().len() {
                let is_wrong = world.is_member(at)
                    && world.is_member(of)
                    && world.status(at, of) == Status::Dead;
                if !is_wrong {
                    self.wrong.remove(&(at, of));
                    continue;
                }
                let since_ms = *self.wrong.entry((at, of)).or_insert(now_ms);
                let from_ms = since_ms.max(world.fair_ms(at)).max(world.fair_ms(of));
                let for_ms = now_ms.saturating_sub(from_ms);
                self.worst_ms = self.worst_ms.max(for_ms);
                if for_ms > bounds::FALSE_DEATH_MS {
                    return Err(format!(
                        "host {at} holds host {of} to be dead since {since_ms} ms"
                    ));
                }
            }
        }
        Ok(())
    }
}

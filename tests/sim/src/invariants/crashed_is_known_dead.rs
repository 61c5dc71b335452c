//! A node that is down without a farewell is known to be dead, within the bound, by everybody who
//! could know.

use caravan_protocol::member::Status;

use super::Invariant;
use crate::{bounds, host::Phase, world::World};

/// The longest that a node which was down was held to be here.
#[derive(Debug, Default)]
pub(super) struct Watch {
    worst_ms: u64,
}

impl Invariant for Watch {
    fn name(&self) -> &'static str {
        "crashed_is_known_dead"
    }

    fn worst_ms(&self) -> u64 {
        self.worst_ms
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let now_ms = world.now_ms();
        let all_fair_ms = (0..world.hosts().len())
            .filter(|at| world.is_member(*at))
            .map(|at| world.fair_ms(at))
            .max()
            .unwrap_or(0);
        for (of, crashed) in world.hosts().iter().enumerate() {
            if !matches!(crashed.phase, Phase::Down { .. }) {
                continue;
            }
            // Its observers must be able to find out, too: machines go and come around it.
            let from_ms = crashed.since_ms.max(all_fair_ms);
            let for_ms = now_ms.saturating_sub(from_ms);
            for at in 0..world.hosts().len() {
                if !world.is_member(at) || world.status(at, of) != Status::Live {
                    continue;
                }
                self.worst_ms = self.worst_ms.max(for_ms);
                if for_ms > bounds::DEATH_MS {
                    return Err(format!(
                        "host {at} holds host {of} to be here, which is down since {} ms",
                        crashed.since_ms
                    ));
                }
            }
        }
        Ok(())
    }
}

//! A node without a certificate that the founder signed is in nobody's view, nobody speaks to it,
//! and nobody relays what it says.

use super::Invariant;
use crate::world::{Note, What, World};

/// It remembers nothing.
#[derive(Debug, Default)]
pub(super) struct Watch;

impl Invariant for Watch {
    fn name(&self) -> &'static str {
        "no_stranger_is_heard"
    }

    fn note(&mut self, world: &World, note: &Note) -> Result<(), String> {
        if let What::Sent { to, .. } = note.what
            && world.hosts()[to].is_stranger
            && world.is_honest(note.host)
        {
            return Err(format!(
                "host {} speaks to host {to}, a stranger",
                note.host
            ));
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        for (at, host) in world.hosts().iter().enumerate() {
            let Some(engine) = host.engine.as_ref().filter(|_| !host.is_stranger) else {
                continue;
            };
            for slot in engine.live() {
                let known = world.host_by_slot(at, slot);
                if known.is_none_or(|of| world.hosts()[of].is_stranger) {
                    return Err(format!("host {at} believes in a stranger at slot {slot:?}"));
                }
            }
        }
        Ok(())
    }
}

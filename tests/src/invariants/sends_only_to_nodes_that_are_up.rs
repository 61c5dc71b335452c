//! A message goes only to a machine that the sender was told is up.

use caravan_protocol::offer::Command;

use super::Invariant;
use crate::sim::{Note, What, World};

/// Needs to remember nothing.
#[derive(Debug, Default)]
pub(super) struct Watch;

impl Invariant for Watch {
    fn name(&self) -> &'static str {
        "sends_only_to_nodes_that_are_up"
    }

    fn note(&mut self, world: &World, note: &Note) -> Result<(), String> {
        if let What::Command(Command::Send { to, message }) = &note.what {
            let to = world.host(*to);
            // A peer is taken from what the host sees just before its engine is told.
            if !world.hosts()[note.host].sees.contains_key(&to) {
                return Err(format!(
                    "host {} sent {message:?} to host {to}, which is not up",
                    note.host
                ));
            }
        }
        Ok(())
    }
}

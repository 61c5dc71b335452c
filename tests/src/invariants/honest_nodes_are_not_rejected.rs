//! No machine is accused of anything: all of them are honest. A machine that was restarted may be
//! answered as the one that it was before.

use std::collections::BTreeSet;

use caravan_protocol::offer::{Command, Rejection};

use super::Invariant;
use crate::sim::{Note, What, World};

/// Machines that have been restarted.
#[derive(Debug, Default)]
pub(super) struct Watch(BTreeSet<usize>);

impl Invariant for Watch {
    fn name(&self) -> &'static str {
        "honest_nodes_are_not_rejected"
    }

    fn note(&mut self, world: &World, note: &Note) -> Result<(), String> {
        match &note.what {
            What::Crashed => {
                self.0.insert(note.host);
            }
            What::Command(Command::Reject { from, reason }) => {
                let from = world.host(*from);
                let was_restarted = self.0.contains(&note.host) || self.0.contains(&from);
                let is_confusion = matches!(
                    reason,
                    Rejection::NoSuchBid { .. } | Rejection::NotAwarded { .. }
                );
                if world.hosts()[from].is_honest() && !(was_restarted && is_confusion) {
                    return Err(format!("host {} rejected {from}: {reason}", note.host));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

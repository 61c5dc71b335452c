//! A job ends by a result of an attempt that was made for its owner, or for one whose role that
//! owner took over: two that want the same at the same time, apart or not, never share one.

use caravan_protocol::offer::Command;

use super::Invariant;
use crate::sim::{Note, Said, What, World};

/// Needs to remember nothing.
#[derive(Debug, Default)]
pub(super) struct Watch;

impl Invariant for Watch {
    fn name(&self) -> &'static str {
        "results_of_owners_are_never_mixed"
    }

    fn note(&mut self, world: &World, note: &Note) -> Result<(), String> {
        if let What::Command(Command::Done {
            attempt, outcome, ..
        }) = &note.what
        {
            let made_for = Said::decode(outcome).map(|said| said.owner);
            if made_for.is_none_or(|owner| !world.inherits(note.host, owner)) {
                return Err(format!(
                    "{attempt} of host {} ended with a result made for host {made_for:?}",
                    note.host
                ));
            }
        }
        Ok(())
    }
}

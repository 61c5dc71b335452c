//! A machine never starts more than its slots, nothing while it is paused, and no attempt that it is
//! running.

use std::collections::{BTreeMap, BTreeSet};

use caravan_protocol::offer::{AttemptId, Command, Event};

use super::Invariant;
use crate::sim::{Note, What, World};

/// What runs on each machine, by its own account.
#[derive(Debug, Default)]
pub(super) struct Watch(BTreeMap<usize, BTreeSet<AttemptId>>);

impl Invariant for Watch {
    fn name(&self) -> &'static str {
        "slots_are_respected"
    }

    fn note(&mut self, world: &World, note: &Note) -> Result<(), String> {
        let host = &world.hosts()[note.host];
        let running = self.0.entry(note.host).or_default();
        match &note.what {
            What::Crashed => running.clear(),
            What::Event(Event::Finished { attempt, .. }) => {
                running.remove(attempt);
            }
            What::Command(Command::Run { attempt, .. }) => {
                if !running.insert(*attempt) {
                    return Err(format!("host {} runs {attempt} twice", note.host));
                }
                if host.paused || running.len() > host.slots as usize {
                    return Err(format!("host {} has no slot for {attempt}", note.host));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

//! What a node holds and sends stays within bounds, whatever others send to it.

use std::collections::BTreeMap;

use super::Invariant;
use crate::{
    bounds,
    world::{Note, What, World},
};

/// Members of strangers' making that a table may hold until they are forgotten.
const STRANGE_MAX: usize = 8;
/// Kinds of records that are kept of each member.
const KINDS: usize = 4;

/// What each machine has sent since the last full minute, by kind.
#[derive(Debug, Default)]
pub(super) struct Watch {
    sent: BTreeMap<usize, BTreeMap<&'static str, u64>>,
}

impl Invariant for Watch {
    fn name(&self) -> &'static str {
        "bounded_state"
    }

    fn note(&mut self, world: &World, note: &Note) -> Result<(), String> {
        if let What::Sent { word, .. } = note.what {
            let sent = self.sent.entry(note.host).or_default();
            *sent.entry(word).or_default() += u64::from(world.hosts()[note.host].flaw.copies());
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let hosts = world.hosts();
        for (at, host) in hosts.iter().enumerate() {
            if host.table.len() > hosts.len() + STRANGE_MAX {
                let len = host.table.len();
                return Err(format!("host {at} holds {len} members of {}", hosts.len()));
            }
            let (records, most) = (host.disk.records.len(), hosts.len() * KINDS);
            if records > most {
                return Err(format!(
                    "host {at} keeps {records} records, of at most {most}"
                ));
            }
        }
        let largest = world.report().largest;
        if largest > bounds::MESSAGE_BYTES {
            return Err(format!("a message has {largest} bytes"));
        }
        for (at, sent) in &self.sent {
            if sent.values().sum::<u64>() > bounds::SENT_PER_MINUTE {
                return Err(format!("host {at} sent in less than a minute: {sent:?}"));
            }
        }
        if world.now_ms().is_multiple_of(60_000) {
            self.sent.clear();
        }
        Ok(())
    }
}

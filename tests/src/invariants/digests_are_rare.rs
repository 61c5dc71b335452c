//! A machine gossips a platform's digest at most once a second, and only while something waits.

use std::collections::BTreeMap;

use caravan_protocol::{limits, offer::Command, platform::Platform};

use super::Invariant;
use crate::sim::{Note, What, World};

/// When each machine last gossiped each platform, by life.
#[derive(Debug, Default)]
pub(super) struct Watch(BTreeMap<(usize, u32, Platform), u64>);

impl Invariant for Watch {
    fn name(&self) -> &'static str {
        "digests_are_rare"
    }

    fn note(&mut self, world: &World, note: &Note) -> Result<(), String> {
        let What::Command(Command::Gossip { platform, digest }) = &note.what else {
            return Ok(());
        };
        let key = (note.host, world.hosts()[note.host].life, platform.clone());
        let now_ms = world.now_ms();
        let last = self.0.insert(key, now_ms);
        if last.is_some_and(|last| now_ms < last + limits::DIGEST_MS) {
            return Err(format!("host {} gossiped twice within a second", note.host));
        }
        if digest.jobs.is_empty() {
            return Err(format!("host {} gossiped that nothing waits", note.host));
        }
        Ok(())
    }
}

//! A job runs only on a machine that builds for its platform, that its owner lets have it, and that
//! allows what it asks for; one that must not leave its owner stays there.

use caravan_protocol::offer::Command;

use super::Invariant;
use crate::sim::{Note, What, World};

/// Needs to remember nothing.
#[derive(Debug, Default)]
pub(super) struct Watch;

impl Invariant for Watch {
    fn name(&self) -> &'static str {
        "runs_only_where_it_may"
    }

    fn note(&mut self, world: &World, note: &Note) -> Result<(), String> {
        let What::Command(Command::Run { attempt, .. }) = &note.what else {
            return Ok(());
        };
        let host = &world.hosts()[note.host];
        let want = &world.orders()[&(world.host(attempt.owner), attempt.job)].want;
        let of_it = if !host.platforms.contains(&want.platform) {
            "lacks the platform of"
        } else if !want.place.allows(host.id) {
            "is not the place for"
        } else if want.needs.within(&host.most).is_err() {
            "has no room for"
        } else if attempt.owner != host.id && !want.remote_ok {
            "is not the owner of"
        } else {
            return Ok(());
        };
        Err(format!("host {} {of_it} {attempt} and runs it", note.host))
    }
}

//! Where a job may run: what its owner asks for, and platforms that a node only emulates.

use std::{collections::BTreeSet, time::Duration};

use super::{Engine, Missing, Want, jobs::Job};
use crate::{action::TooMuch, ids::NodeId, limits, platform::Platform, time::Time};

/// Which of the nodes that could take a job may have it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// The only one.
    pub on: Option<NodeId>,
    /// None of these.
    pub not_on: BTreeSet<NodeId>,
}

impl Place {
    /// Whether a node may have the job.
    #[must_use]
    pub fn allows(&self, node: NodeId) -> bool {
        self.on.is_none_or(|on| on == node) && !self.not_on.contains(&node)
    }
}

impl Engine {
    /// Whether a node that is up may take a job, beside this one.
    pub(super) fn is_done_elsewhere(&self, want: &Want) -> bool {
        let mut there = self.crowd.of(&want.platform);
        there.any(|node| want.place.allows(node))
    }

    /// What a job asks for beyond what any node allows that could take it, as far as they have
    /// said; nothing while one of them has not.
    pub(super) fn too_much_everywhere(&self, job: &Job) -> Option<TooMuch> {
        let want = &job.want;
        let here = self.platforms.contains(&want.platform) && self.fits_here(job);
        if here || !want.remote_ok {
            return None;
        }
        let mut largest: Option<TooMuch> = None;
        for node in self.crowd.of(&want.platform) {
            if !want.place.allows(node) {
                continue;
            }
            let most = self.peers.get(&node).and_then(|peer| peer.most)?;
            let too_much = want.needs.within(&most).err()?;
            if largest.is_none_or(|held| held.most < too_much.most) {
                largest = Some(too_much);
            }
        }
        largest
    }

    /// What keeps a waiting job from this node for now, and until when: it failed here before, or
    /// its platform is emulated here and another node has it.
    pub(super) fn barred_here(&self, job: &Job, now: Time) -> Option<Time> {
        if !self.may_run(job, self.me, now) {
            return job.excluded.get(&self.me).copied();
        }
        if let Some(until) = self.left_to_others(job, now) {
            return Some(until);
        }
        let until = job.since + Duration::from_millis(limits::EMULATED_WAIT_MS);
        let waits = now < until
            && job.want.remote_ok
            && self.emulated.contains(&job.want.platform)
            && self.is_native_elsewhere(&job.want);
        waits.then_some(until)
    }

    fn is_native_elsewhere(&self, want: &Want) -> bool {
        let mut peers = self.peers.iter();
        peers.any(|(node, peer)| {
            want.place.allows(*node)
                && peer.platforms.contains(&want.platform)
                && !peer.emulated.contains(&want.platform)
        })
    }

    /// How long an attempt is thought to take here.
    pub(super) fn cost_here_ms(&self, platform: &Platform, cost_ms: u64) -> u64 {
        let cost_ms = self.load.paced(cost_ms);
        if self.emulated.contains(platform) {
            cost_ms.saturating_mul(limits::EMULATED_FACTOR)
        } else {
            cost_ms
        }
    }

    /// What a job with a place of its own misses, if it is that.
    pub(super) fn missing_place(&self, want: &Want) -> Option<Missing> {
        let (me, platform) = (self.me, &want.platform);
        match want.place.on {
            Some(node) if node != me && want.remote_ok => match self.peers.get(&node) {
                None => Some(Missing::Gone(node)),
                Some(peer) => (!peer.platforms.contains(platform)).then(|| {
                    let platform = platform.clone();
                    Missing::Unwilling { node, platform }
                }),
            },
            _ => {
                let here = want.place.allows(me) && self.platforms.contains(platform);
                let there = |node: &NodeId| {
                    let peer = self.peers.get(node);
                    peer.is_some_and(|peer| peer.platforms.contains(platform))
                };
                // Else nobody could take it anyway, and that is what is said.
                let could = want.place.not_on.iter();
                let mut could = could.filter(|node| **node == me || there(node));
                let open = here || (want.remote_ok && self.is_done_elsewhere(want));
                (!open && could.next().is_some()).then_some(Missing::Excluded)
            }
        }
    }
}

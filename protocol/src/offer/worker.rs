//! The worker's bargaining: what others offer, bids and the slots kept for them, awards.

use std::{collections::BTreeSet, time::Duration};

use super::{
    AttemptId, Command, Digest, Engine, JobId, Message, Priority, Rejection,
    alarms::Alarm,
    bargain::weight,
    engine::Turn,
    runs::{Reservation, Run, Stage},
};
use crate::{ids::NodeId, limits, platform::Platform, time::Time};

/// A job of another owner, in the order in which this node would like to have it: each node likes
/// other jobs best, so that they do not all bid for the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Hint {
    priority: Priority,
    weight: u64,
    job: JobId,
    cost_ms: u64,
    waited_ms: u64,
}

/// What an owner last offered for one platform.
#[derive(Debug)]
pub(super) struct Hints {
    seq: u64,
    at: Time,
    /// Nodes of the platform that this node knew at that time, with itself.
    crowd: u64,
    jobs: BTreeSet<Hint>,
}

impl Hints {
    /// The job that this node is to bid for now. In a large mesh only a few nodes bid for a new
    /// job, and more of them the longer it waits: its cost in messages does not grow with the mesh.
    fn first(&self, now: Time) -> Option<Hint> {
        let age_ms = u64::try_from(now.since(self.at).as_millis()).unwrap_or(u64::MAX);
        let called = |hint: &&Hint| {
            let rounds = hint.waited_ms.saturating_add(age_ms) / limits::DIGEST_MS;
            let bidders = limits::CANDIDATES << rounds.min(32);
            bidders >= self.crowd || hint.weight / bidders < u64::MAX / self.crowd
        };
        self.jobs.iter().find(called).copied()
    }
}

impl Engine {
    /// An owner's digest was heard.
    pub(super) fn heard(
        &mut self,
        turn: &mut Turn<'_>,
        from: NodeId,
        platform: &Platform,
        digest: &Digest,
    ) {
        if digest.owner != from {
            let owner = digest.owner;
            return turn.reject(from, Rejection::NotOwner { owner });
        }
        if let Err(error) = digest.check() {
            return turn.reject(from, error.into());
        }
        let others = self.peers.values();
        let crowd = 1 + others
            .filter(|peer| peer.platforms.contains(platform))
            .count() as u64;
        // Gossip also carries what nodes say that are not connected here: no bid can reach them.
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        if !self.platforms.contains(platform) {
            return;
        }
        let horizon = Duration::from_millis(limits::HINT_MS);
        if let Some(held) = peer.hints.get(platform)
            && held.seq >= digest.seq
            && turn.now.since(held.at) < horizon
        {
            return;
        }
        let busy: BTreeSet<JobId> = self.work.busy_with(from);
        let jobs = digest
            .jobs
            .iter()
            .filter(|head| !busy.contains(&head.job) && head.needs.within(&self.lent).is_ok())
            .map(|head| Hint {
                priority: head.priority,
                weight: weight(self.me, head.job),
                job: head.job,
                cost_ms: head.cost_ms,
                waited_ms: head.waited_ms,
            })
            .collect();
        let hints = Hints {
            seq: digest.seq,
            at: turn.now,
            crowd,
            jobs,
        };
        peer.hints.insert(platform.clone(), hints);
        // It looks for somebody to do what is done here: it was restarted, or has lost a beat.
        if digest
            .jobs
            .iter()
            .any(|head| self.work.is_leased(from, head.job))
        {
            self.beat(turn, from);
        }
    }

    /// Bids with every free slot while there is something to bid for.
    pub(super) fn bid(&mut self, turn: &mut Turn<'_>) {
        while self.lending && self.free() > 0 {
            let Some((owner, hint, platform)) = self.take_hint(turn.now) else {
                return;
            };
            let nonce = self.work.take_nonce();
            let used = u64::from(self.work.used());
            let cost_ms = self.cost_here_ms(&platform, hint.cost_ms);
            let load_ms = cost_ms / u64::from(self.slots.max(1));
            let eta_ms = cost_ms.saturating_add(load_ms.saturating_mul(used));
            let job = hint.job;
            self.work.bids.insert(nonce, Reservation { owner, job });
            let until = turn.now + Duration::from_millis(limits::RESERVE_MS);
            self.alarms.set(Alarm::Bid(nonce), until);
            let most = self.lent;
            let bid = Message::Bid {
                nonce,
                job,
                eta_ms,
                most,
            };
            turn.send(owner, bid);
        }
    }

    /// The job to bid for next: of equal priority, one that needs no emulation first.
    fn take_hint(&mut self, now: Time) -> Option<(NodeId, Hint, Platform)> {
        let horizon = Duration::from_millis(limits::HINT_MS);
        let fresh = |hints: &&Hints| now.since(hints.at) < horizon;
        let (hint, owner, platform) = self
            .peers
            .iter()
            .flat_map(|(owner, peer)| {
                let fresh = peer.hints.iter().filter(|(_, hints)| fresh(hints));
                fresh.filter_map(|(platform, hints)| Some((hints.first(now)?, *owner, platform)))
            })
            .min_by_key(|(hint, owner, platform)| {
                let emulated = self.emulated.contains(platform);
                (hint.priority, emulated, *hint, *owner)
            })?;
        let platform = platform.clone();
        let hints = self.peers.get_mut(&owner)?.hints.get_mut(&platform)?;
        hints.jobs.remove(&hint);
        Some((owner, hint, platform))
    }

    /// An owner gives this node an attempt.
    pub(super) fn awarded(
        &mut self,
        turn: &mut Turn<'_>,
        nonce: u64,
        id: AttemptId,
        lease_ms: u64,
        action: Vec<u8>,
    ) {
        let (owner, job, number) = (id.owner, id.job, id.number);
        let refusal = Message::Refuse { job, number };
        let kept = self.work.bids.get(&nonce).map(|bid| bid.owner);
        let is_stranger = match kept {
            Some(kept) => kept != owner,
            None => !self.work.was_issued(nonce),
        };
        if is_stranger {
            turn.reject(owner, Rejection::NoSuchBid { nonce });
            return turn.send(owner, refusal);
        }
        self.free_bid(nonce);
        match self.work.runs.get(&id).map(|run| run.stage) {
            // The owner has not heard yet that it runs.
            Some(Stage::Leased { .. }) => return self.beat(turn, owner),
            Some(_) => return turn.send(owner, refusal),
            None => {}
        }
        if self.work.is_reported(id) {
            return self.send_result(turn, id);
        }
        if kept.is_none() && self.work.has_ended(id) {
            return;
        }
        if self.free() == 0 || !self.lending {
            return turn.send(owner, refusal);
        }
        let lease_ms = lease_ms.min(limits::LEASE_MS_MAX);
        let stage = Stage::Leased { lease_ms };
        let log_bytes = 0;
        self.work.runs.insert(id, Run { stage, log_bytes });
        self.drop_hint(owner, job);
        let until = turn.now + Duration::from_millis(lease_ms);
        self.alarms.set(Alarm::Lease(id), until);
        turn.push(Command::Run {
            attempt: id,
            action,
        });
        self.beat(turn, owner);
    }

    /// The job is under way here: a bid for it would be in vain.
    fn drop_hint(&mut self, owner: NodeId, job: JobId) {
        let hints = self.peers.get_mut(&owner).into_iter();
        for hints in hints.flat_map(|peer| peer.hints.values_mut()) {
            hints.jobs.retain(|hint| hint.job != job);
        }
    }

    /// An owner has nothing for this node now; its next digest may.
    pub(super) fn declined(&mut self, turn: &mut Turn<'_>, from: NodeId, nonce: u64) {
        match self.work.bids.get(&nonce) {
            Some(bid) if bid.owner == from => {
                self.free_bid(nonce);
                if let Some(peer) = self.peers.get_mut(&from) {
                    for hints in peer.hints.values_mut() {
                        hints.jobs.clear();
                    }
                }
            }
            None if self.work.was_issued(nonce) => {}
            _ => turn.reject(from, Rejection::NoSuchBid { nonce }),
        }
    }

    /// Gives up the slot that was kept last, for work of this node's own.
    pub(super) fn preempt_bid(&mut self) {
        if let Some(nonce) = self.work.bids.keys().next_back().copied() {
            self.free_bid(nonce);
        }
    }

    /// Keeps no more slots than there are.
    pub(super) fn trim_bids(&mut self) {
        let keeps_any = self.lending && !self.paused;
        while !self.work.bids.is_empty() && (!keeps_any || self.work.used() > self.slots) {
            self.preempt_bid();
        }
    }

    /// Gives up the slot that is kept for a bid.
    pub(super) fn free_bid(&mut self, nonce: u64) {
        self.work.release(nonce);
        self.alarms.clear(&Alarm::Bid(nonce));
    }
}

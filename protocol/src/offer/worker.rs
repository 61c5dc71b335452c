//! The worker's bargaining: what others offer, bids and the slots kept for them, awards.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    AttemptId, Command, Digest, Engine, JobId, Layer, Message, Priority, Rejection,
    alarms::Alarm,
    bargain::weight,
    engine::{Peer, Turn},
    load::Spends,
    resources::Takes,
    runs::{Reservation, Run, Stage},
};
use crate::{
    ids::{NodeId, RoleId},
    limits,
    platform::Platform,
    time::Time,
};

/// What comes with an attempt.
#[derive(Debug)]
pub(super) struct Award {
    pub(super) nonce: u64,
    pub(super) lease_ms: u64,
    pub(super) takes: Takes,
    pub(super) action: Vec<u8>,
    pub(super) holders: Vec<NodeId>,
    pub(super) role: Option<RoleId>,
}

/// A job of another owner, in the order in which this node would like to have it: what it need not
/// fetch anything for first, and then each node likes other jobs best, so that they do not all bid
/// for the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Hint {
    priority: Priority,
    /// How long what is below it takes to fetch, once that is counted.
    fetch_ms: Option<u64>,
    weight: u64,
    top: Option<Layer>,
    job: JobId,
    cost_ms: u64,
    waited_ms: u64,
    takes: Takes,
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
            let waited_ms = hint.waited_ms.saturating_add(age_ms);
            let is_here = match (hint.fetch_ms, hint.top) {
                (None, _) => return false,
                (Some(fetch_ms), Some(_)) if waited_ms < fetch_ms.min(limits::HOLD_MS_MAX) => {
                    return false;
                }
                (Some(fetch_ms), top) => fetch_ms == 0 && top.is_some(),
            };
            if is_here {
                return true;
            }
            let rounds = waited_ms / limits::DIGEST_MS;
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
                fetch_ms: head.top.is_none().then_some(0),
                weight: weight(self.me, head.job),
                top: head.top,
                job: head.job,
                cost_ms: head.cost_ms,
                waited_ms: head.waited_ms,
                takes: Takes::of(&head.needs),
            })
            .collect();
        let hints = Hints {
            seq: digest.seq,
            at: turn.now,
            crowd,
            jobs,
        };
        peer.hints.insert(platform.clone(), hints);
        self.hinted.insert(from);
        self.news = true;
        // It looks for somebody to do what is done here: it was restarted, or has lost a beat.
        if digest
            .jobs
            .iter()
            .any(|head| self.work.is_leased(from, head.job))
        {
            self.beat(turn, from);
        }
    }

    /// Asks what of the jobs that it could bid for this node would have to fetch.
    fn ask_hints(&mut self, turn: &mut Turn<'_>) {
        let horizon = Duration::from_millis(limits::HINT_MS);
        let hints = self
            .hinted
            .iter()
            .filter_map(|owner| self.peers.get(owner))
            .flat_map(|peer| peer.hints.values())
            .filter(|hints| turn.now.since(hints.at) < horizon);
        let unknown = hints.flat_map(|hints| &hints.jobs);
        let unknown = unknown.filter(|hint| hint.fetch_ms.is_none());
        let asked: BTreeSet<_> = self.asked.values().map(|layer| layer.tree).collect();
        let tops: BTreeMap<_, Layer> = unknown
            .filter_map(|hint| hint.top)
            .filter(|layer| !asked.contains(&layer.tree))
            .map(|layer| (layer.tree, layer))
            .collect();
        for layer in tops.into_values() {
            // An answer that never came is not waited for by what is asked later.
            if self.asked.len() >= limits::DIGEST_JOBS_MAX {
                self.asked.pop_first();
            }
            let appraisal = self.work.take_nonce();
            self.asked.insert(appraisal, layer);
            turn.push(Command::Appraise {
                appraisal,
                lineage: vec![layer],
            });
        }
    }

    /// What jobs on top of a layer would have to fetch is counted.
    pub(super) fn hint_appraised(&mut self, appraisal: u64, missing_bytes: u64) {
        let Some(layer) = self.asked.remove(&appraisal) else {
            return;
        };
        let fetch_ms = Some(self.load.fetch_ms(missing_bytes));
        let all = self.peers.values_mut();
        for hints in all.flat_map(|peer| peer.hints.values_mut()) {
            let of = |hint: &&Hint| hint.top.is_some_and(|top| top.tree == layer.tree);
            let concerned: Vec<Hint> = hints.jobs.iter().filter(of).copied().collect();
            for hint in concerned {
                hints.jobs.remove(&hint);
                hints.jobs.insert(Hint { fetch_ms, ..hint });
            }
        }
    }

    /// Bids with every free slot while there is something to bid for.
    pub(super) fn bid(&mut self, turn: &mut Turn<'_>) {
        if self.news && self.lending && !self.paused {
            self.news = false;
            self.ask_hints(turn);
        }
        while self.lending && self.free() > 0 {
            let Some((owner, hint, platform)) = self.take_hint(turn.now) else {
                return;
            };
            if !self.has_spare(hint.takes) {
                continue;
            }
            let nonce = self.work.take_nonce();
            let used = u64::from(self.work.used());
            let cost_ms = self.cost_here_ms(&platform, hint.cost_ms);
            let load_ms = cost_ms / u64::from(self.slots.max(1));
            let fetch_ms = hint.fetch_ms.unwrap_or(0).min(limits::ATTEMPT_MS_MAX);
            let spends = Spends { cost_ms, fetch_ms };
            let eta_ms = load_ms.saturating_mul(used).saturating_add(spends.all_ms());
            let (job, takes) = (hint.job, hint.takes);
            let kept = Reservation {
                owner,
                job,
                takes,
                spends,
            };
            self.work.bids.insert(nonce, kept);
            let until = turn.now + Duration::from_millis(limits::RESERVE_MS);
            self.alarms.set(Alarm::Bid(nonce), until);
            let most = self.lent;
            let bid = Message::Bid {
                nonce,
                job,
                eta_ms,
                wait_ms: 0,
                most,
                offered: false,
            };
            turn.send(owner, bid);
        }
    }

    /// Whose job this node would bid for next.
    pub(super) fn next_owner(&self, now: Time) -> Option<NodeId> {
        self.best_hint(now).map(|(_, owner, _)| owner)
    }

    /// The job to bid for next: of equal priority, one that needs no emulation first.
    fn best_hint(&self, now: Time) -> Option<(Hint, NodeId, &Platform)> {
        let horizon = Duration::from_millis(limits::HINT_MS);
        let fresh = |hints: &Hints| now.since(hints.at) < horizon;
        self.hinted
            .iter()
            .filter_map(|owner| Some((owner, self.peers.get(owner)?)))
            .flat_map(|(owner, peer)| {
                let fresh = peer.hints.iter().filter(move |(_, hints)| fresh(hints));
                fresh.filter_map(|(platform, hints)| Some((hints.first(now)?, *owner, platform)))
            })
            .min_by_key(|(hint, owner, platform)| {
                let emulated = self.emulated.contains(platform);
                (hint.priority, emulated, *hint, *owner)
            })
    }

    fn take_hint(&mut self, now: Time) -> Option<(NodeId, Hint, Platform)> {
        let horizon = Duration::from_millis(limits::HINT_MS);
        let fresh = |hints: &&Hints| now.since(hints.at) < horizon;
        let (peers, has_any) = (&self.peers, |peer: &Peer| {
            peer.hints
                .values()
                .any(|hints| !hints.jobs.is_empty() && fresh(&hints))
        });
        self.hinted
            .retain(|owner| peers.get(owner).is_some_and(has_any));
        let (hint, owner, platform) = self.best_hint(now)?;
        let platform = platform.clone();
        let hints = self.peers.get_mut(&owner)?.hints.get_mut(&platform)?;
        hints.jobs.remove(&hint);
        Some((owner, hint, platform))
    }

    /// An owner gives this node an attempt.
    pub(super) fn awarded(&mut self, turn: &mut Turn<'_>, id: AttemptId, award: Award) {
        let Award {
            nonce,
            lease_ms,
            takes,
            ..
        } = award;
        let (owner, job, number) = (id.owner, id.job, id.number);
        let refusal = Message::Refuse { job, number };
        let kept = self.work.bids.get(&nonce).map(|bid| bid.owner);
        let kept = kept.or_else(|| self.quotes.owner(nonce));
        let is_stranger = match kept {
            Some(kept) => kept != owner,
            None => !self.work.was_issued(nonce),
        };
        if is_stranger {
            turn.reject(owner, Rejection::NoSuchBid { nonce });
            return turn.send(owner, refusal);
        }
        let quoted = self.free_bid(nonce);
        let spends = self.hinted_spends(owner, job).unwrap_or(quoted);
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
            // Of no account to an owner that knows; the first refusal may have been lost.
            return turn.send(owner, refusal);
        }
        if !self.has_spare(takes) || !self.lending {
            // Its owner gives it to somebody else: a copy that comes late must not run it, too.
            self.work.remember(id);
            return turn.send(owner, refusal);
        }
        let lease_ms = lease_ms.min(limits::LEASE_MS_MAX);
        let stage = Stage::Leased { lease_ms };
        let run = Run::new(stage, takes);
        self.work.runs.insert(id, Run { nonce, ..run });
        self.drop_hint(owner, job);
        let until = turn.now + Duration::from_millis(lease_ms);
        self.alarms.set(Alarm::Lease(id), until);
        self.load.begin(id, turn.now, spends);
        self.run_for(id, award.role);
        turn.push(Command::Run {
            attempt: id,
            action: award.action,
            holders: award.holders,
        });
        self.beat_soon(turn.now, owner);
    }

    /// The first beat to an owner tells it that its award has come. What ends before needs none,
    /// and one is enough for many.
    fn beat_soon(&mut self, now: Time, owner: NodeId) {
        let soon = now + Duration::from_millis(limits::BEAT_FIRST_MS);
        let alarm = Alarm::Beat(owner);
        if self.peers.contains_key(&owner) && self.alarms.get(&alarm).is_none_or(|at| soon < at) {
            self.alarms.set(alarm, soon);
        }
    }

    /// What waits of others than one, need not fetch anything here, and so may well come here first.
    pub(super) fn wanted_here_ms(&self, now: Time, but: NodeId) -> u64 {
        let horizon = Duration::from_millis(limits::HINT_MS);
        let others = self.hinted.iter().filter(|owner| **owner != but);
        let hints = others
            .filter_map(|owner| self.peers.get(owner))
            .flat_map(|peer| peer.hints.values())
            .filter(|hints| now.since(hints.at) < horizon)
            .flat_map(|hints| &hints.jobs);
        let here = hints.filter(|hint| hint.top.is_some() && hint.fetch_ms == Some(0));
        let all_ms = here.fold(0, |sum: u64, hint| sum.saturating_add(hint.cost_ms));
        // Others may have it, too.
        all_ms / 2 / u64::from(self.slots.max(1))
    }

    /// What a job would take here of which a digest told.
    fn hinted_spends(&self, owner: NodeId, job: JobId) -> Option<Spends> {
        let hints = self.peers.get(&owner)?.hints.iter();
        let mut hints = hints.flat_map(|(platform, hints)| {
            let all = hints.jobs.iter();
            all.map(move |hint| (platform, hint))
        });
        let (platform, hint) = hints.find(|(_, hint)| hint.job == job)?;
        Some(Spends {
            cost_ms: self.cost_here_ms(platform, hint.cost_ms),
            fetch_ms: hint.fetch_ms.unwrap_or(0),
        })
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
        while !self.work.bids.is_empty() && (!keeps_any || self.is_overbid()) {
            self.preempt_bid();
        }
    }

    /// Gives up the slot that is kept for a bid.
    /// Answers what its job was thought to take.
    pub(super) fn free_bid(&mut self, nonce: u64) -> Spends {
        self.alarms.clear(&Alarm::Bid(nonce));
        let quoted = self.quotes.remove(nonce).map(|quote| quote.spends());
        let kept = self.work.bids.remove(&nonce).map(|kept| kept.spends);
        quoted.or(kept).unwrap_or_default()
    }
}

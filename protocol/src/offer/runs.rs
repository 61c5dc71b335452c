//! What runs here: attempts with their leases and beats, and results until they are acknowledged.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::{
    AttemptId, Command, Engine, JobId, Loss, Message, Phase, Progress, alarms::Alarm, engine::Turn,
    load::Spends, owner::back_off, resources::Takes,
};
use crate::{claim::Verdict, ids::NodeId, limits, time::Time};

/// Ended attempts that are remembered, so that a doubled award does not run one again.
const ENDED_MAX: usize = 256;

/// A slot that is kept for the answer to a bid.
#[derive(Debug)]
pub(super) struct Reservation {
    pub(super) owner: NodeId,
    pub(super) job: JobId,
    pub(super) takes: Takes,
    /// How long the job would take here, and what of that is fetching.
    pub(super) spends: Spends,
}

/// How an attempt that runs here stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// An own job's.
    Own,
    /// Another owner's, under its lease.
    Leased { lease_ms: u64 },
    /// Stopped because its owner was silent: should it have passed all the same, it is told.
    Expired,
    /// Stopped because nobody wants it.
    Cancelled,
}

#[derive(Debug)]
pub(super) struct Run {
    pub(super) stage: Stage,
    /// The bid that got it; 0 where there was none.
    pub(super) nonce: u64,
    pub(super) phase: Phase,
    pub(super) takes: Takes,
}

impl Run {
    /// An attempt that has just been started.
    pub(super) const fn new(stage: Stage, takes: Takes) -> Self {
        Self {
            stage,
            nonce: 0,
            phase: Phase::FIRST,
            takes,
        }
    }
}

/// A result that its owner has not acknowledged.
#[derive(Debug)]
pub(super) struct Outgoing {
    verdict: Verdict,
    outcome: Vec<u8>,
    sends: u32,
    /// Whether its slot is kept for another job of its owner.
    room: bool,
}

/// What runs here, is kept for bids, or waits to be acknowledged.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) runs: BTreeMap<AttemptId, Run>,
    pub(super) bids: BTreeMap<u64, Reservation>,
    results: BTreeMap<AttemptId, Outgoing>,
    /// Keys of `results`, oldest first.
    result_order: VecDeque<AttemptId>,
    ended: VecDeque<AttemptId>,
    first_nonce: u64,
    next_nonce: u64,
}

impl Work {
    pub(super) fn new(seed: u64) -> Self {
        // Halved so that counting up from it never overflows.
        let first_nonce = seed / 2 + 1;
        Self {
            runs: BTreeMap::new(),
            bids: BTreeMap::new(),
            results: BTreeMap::new(),
            result_order: VecDeque::new(),
            ended: VecDeque::new(),
            first_nonce,
            next_nonce: first_nonce,
        }
    }

    pub(super) fn runs(&self) -> impl Iterator<Item = AttemptId> {
        self.runs.keys().copied()
    }

    pub(super) fn runs_len(&self) -> u32 {
        u32::try_from(self.runs.len()).unwrap_or(u32::MAX)
    }

    /// Slots that run or are kept.
    pub(super) fn used(&self) -> u32 {
        let bids = u32::try_from(self.bids.len()).unwrap_or(u32::MAX);
        self.runs_len().saturating_add(bids)
    }

    pub(super) fn progress(&mut self, attempt: AttemptId, phase: Phase) {
        if let Some(run) = self.runs.get_mut(&attempt) {
            run.phase.advance(phase);
        }
    }

    pub(super) fn start_own(&mut self, attempt: AttemptId, takes: Takes) {
        self.runs.insert(attempt, Run::new(Stage::Own, takes));
    }

    pub(super) fn is_reported(&self, attempt: AttemptId) -> bool {
        self.results.contains_key(&attempt)
    }

    /// Attempts whose results are still to be acknowledged.
    pub(super) fn owed(&self) -> impl Iterator<Item = AttemptId> {
        self.results.keys().copied()
    }

    #[cfg(any(debug_assertions, test))]
    pub(super) fn results_len(&self) -> usize {
        debug_assert_eq!(self.results.len(), self.result_order.len());
        self.results.len()
    }

    /// A number for a bid that no bid of this life had.
    pub(super) fn take_nonce(&mut self) -> u64 {
        let nonce = self.next_nonce;
        self.next_nonce += 1;
        nonce
    }

    /// Whether a bid of this life had that number.
    pub(super) fn was_issued(&self, nonce: u64) -> bool {
        (self.first_nonce..self.next_nonce).contains(&nonce)
    }

    /// Whether an attempt is among those that ended last.
    pub(super) fn has_ended(&self, attempt: AttemptId) -> bool {
        self.ended.contains(&attempt)
    }

    /// Whether a job of an owner is under way here.
    pub(super) fn is_leased(&self, owner: NodeId, job: JobId) -> bool {
        let of = |number| AttemptId { owner, job, number };
        let mut runs = self.runs.range(of(0)..=of(u32::MAX));
        runs.any(|(_, run)| matches!(run.stage, Stage::Leased { .. }))
    }

    /// Jobs of an owner that are bid for, run here, or have a result here.
    pub(super) fn busy_with(&self, owner: NodeId) -> BTreeSet<JobId> {
        let bids = self.bids.values().filter(|bid| bid.owner == owner);
        let attempts = self.runs.keys().chain(self.results.keys());
        bids.map(|bid| bid.job)
            .chain(attempts.filter(|id| id.owner == owner).map(|id| id.job))
            .collect()
    }

    pub(super) fn remember(&mut self, attempt: AttemptId) {
        if self.ended.len() >= ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back(attempt);
    }

    fn keep_result(&mut self, attempt: AttemptId, result: Outgoing) -> Option<AttemptId> {
        let mut dropped = None;
        if self.results.len() >= limits::RESULTS_MAX {
            dropped = self.result_order.front().copied();
            if let Some(oldest) = dropped {
                self.drop_result(oldest);
            }
        }
        self.results.insert(attempt, result);
        self.result_order.push_back(attempt);
        dropped
    }

    /// A result is owed to another owner from now on.
    pub(super) fn rename_result(&mut self, of: AttemptId, to: AttemptId) -> bool {
        let Some(mut result) = self.results.remove(&of) else {
            return false;
        };
        (result.sends, result.room) = (0, false);
        self.results.insert(to, result);
        for kept in self.result_order.iter_mut().filter(|kept| **kept == of) {
            *kept = to;
        }
        true
    }

    fn drop_result(&mut self, attempt: AttemptId) {
        if self.results.remove(&attempt).is_some() {
            self.result_order.retain(|kept| *kept != attempt);
        }
    }
}

impl Engine {
    /// Tells an owner what runs here for it, and again after a while.
    pub(super) fn beat(&mut self, turn: &mut Turn<'_>, owner: NodeId) {
        let attempts: Vec<Progress> = self
            .work
            .runs
            .iter()
            .filter(|(id, run)| id.owner == owner && matches!(run.stage, Stage::Leased { .. }))
            .map(|(id, run)| Progress {
                job: id.job,
                number: id.number,
                phase: run.phase,
            })
            .collect();
        if attempts.is_empty() || !self.peers.contains_key(&owner) {
            return self.alarms.clear(&Alarm::Beat(owner));
        }
        turn.send(owner, Message::Beat { attempts });
        let again = turn.now + Duration::from_millis(limits::BEAT_MS);
        self.alarms.set(Alarm::Beat(owner), again);
    }

    /// An owner answers a beat.
    pub(super) fn renewed(&mut self, turn: &mut Turn<'_>, from: NodeId, attempts: &[(JobId, u32)]) {
        for (job, number) in attempts {
            let id = AttemptId {
                owner: from,
                job: *job,
                number: *number,
            };
            if let Some(Stage::Leased { lease_ms }) = self.work.runs.get(&id).map(|run| run.stage) {
                let until = turn.now + Duration::from_millis(lease_ms);
                self.alarms.set(Alarm::Lease(id), until);
            }
        }
    }

    /// An owner does not want an attempt any more.
    pub(super) fn cancelled(&mut self, turn: &mut Turn<'_>, id: AttemptId) {
        if let Some(run) = self.work.runs.get(&id)
            && matches!(run.stage, Stage::Leased { .. })
        {
            self.stop(turn, id, Stage::Cancelled);
        }
    }

    /// An owner was silent for a whole lease.
    pub(super) fn lease_ended(&mut self, turn: &mut Turn<'_>, id: AttemptId) {
        self.stop(turn, id, Stage::Expired);
    }

    /// An own job's attempt here is of no use any more.
    pub(super) fn stop_own(&mut self, turn: &mut Turn<'_>, job: JobId, number: u32) {
        let owner = self.me;
        self.stop(turn, AttemptId { owner, job, number }, Stage::Cancelled);
    }

    fn stop(&mut self, turn: &mut Turn<'_>, id: AttemptId, stage: Stage) {
        if let Some(run) = self.work.runs.get_mut(&id) {
            run.stage = stage;
            let attempt = self.homes.begun(id);
            turn.push(Command::Stop { attempt });
        }
        self.no_longer_leased(id);
    }

    pub(super) fn no_longer_leased(&mut self, id: AttemptId) {
        self.alarms.clear(&Alarm::Lease(id));
        let leased = |(other, run): (&AttemptId, &Run)| {
            other.owner == id.owner && matches!(run.stage, Stage::Leased { .. })
        };
        if !self.work.runs.iter().any(leased) {
            self.alarms.clear(&Alarm::Beat(id.owner));
        }
    }

    /// An attempt that ran here has ended and its slot is free.
    pub(super) fn finished(
        &mut self,
        turn: &mut Turn<'_>,
        id: AttemptId,
        verdict: Verdict,
        outcome: Vec<u8>,
    ) {
        let Some(run) = self.work.runs.remove(&id) else {
            return;
        };
        self.no_longer_leased(id);
        match run.stage {
            Stage::Own if verdict == Verdict::Infra => {
                self.lose(turn, id.job, Loss::Infra, outcome);
            }
            Stage::Own => self.done(turn, (id.job, id.number), self.me, (verdict, outcome)),
            Stage::Leased { .. } => {
                let room = self.keep_for_next(turn.now, id, &run);
                self.report(turn, id, (verdict, outcome), room);
            }
            Stage::Expired if verdict != Verdict::Infra => {
                self.report(turn, id, (verdict, outcome), false);
            }
            Stage::Expired | Stage::Cancelled => self.work.remember(id),
        }
    }

    /// Keeps the slot of an attempt that has ended for another job of its owner, unless somebody
    /// else's is to have it.
    fn keep_for_next(&mut self, now: Time, id: AttemptId, run: &Run) -> bool {
        let is_due = |owner: NodeId| owner == id.owner;
        let may = run.nonce > 0
            && self.lending
            && self.peers.contains_key(&id.owner)
            && self.has_spare(run.takes)
            && self.next_owner(now).is_none_or(is_due);
        if may {
            let kept = Reservation {
                owner: id.owner,
                job: id.job,
                takes: run.takes,
                spends: self.load.last(),
            };
            self.work.bids.insert(run.nonce, kept);
            let until = now + Duration::from_millis(limits::NEXT_MS);
            self.alarms.set(Alarm::Bid(run.nonce), until);
        }
        may
    }

    fn report(
        &mut self,
        turn: &mut Turn<'_>,
        id: AttemptId,
        (verdict, outcome): (Verdict, Vec<u8>),
        room: bool,
    ) {
        // A result that cannot travel is worth no more than none.
        let (verdict, outcome) = if outcome.len() > limits::OUTCOME_BYTES_MAX {
            (Verdict::Infra, Vec::new())
        } else {
            (verdict, outcome)
        };
        let sends = 0;
        let result = Outgoing {
            verdict,
            outcome,
            sends,
            room,
        };
        if let Some(dropped) = self.work.keep_result(id, result) {
            self.alarms.clear(&Alarm::Result(dropped));
        }
        self.send_result(turn, id);
    }

    /// Sends a result and plans to send it again, a bounded number of times. While its owner is
    /// gone it is only kept.
    pub(super) fn send_result(&mut self, turn: &mut Turn<'_>, id: AttemptId) {
        let Some(result) = self.work.results.get_mut(&id) else {
            return;
        };
        if !self.peers.contains_key(&id.owner) {
            return;
        }
        if result.sends >= limits::RESULT_SENDS_MAX {
            self.work.drop_result(id);
            return self.work.remember(id);
        }
        let again = turn.now + back_off(result.sends);
        let room = result.room && result.sends == 0;
        result.sends += 1;
        turn.send(
            id.owner,
            Message::Result {
                job: id.job,
                number: id.number,
                verdict: result.verdict,
                outcome: result.outcome.clone(),
                room,
            },
        );
        self.alarms.set(Alarm::Result(id), again);
    }

    /// An owner has heard a result.
    pub(super) fn acknowledged(&mut self, id: AttemptId) {
        if self.work.is_reported(id) {
            self.work.drop_result(id);
            self.work.remember(id);
            self.alarms.clear(&Alarm::Result(id));
        }
    }

    /// An owner can be reached (again): it hears what runs here for it and what has ended.
    pub(super) fn owner_up(&mut self, turn: &mut Turn<'_>, owner: NodeId) {
        self.beat(turn, owner);
        let kept: Vec<AttemptId> = self
            .work
            .results
            .iter_mut()
            .filter(|(id, _)| id.owner == owner)
            .map(|(id, result)| {
                (result.sends, result.room) = (0, false);
                *id
            })
            .collect();
        for id in kept {
            self.send_result(turn, id);
        }
    }

    /// An owner is gone: no bid of it will be answered. Its attempts go on until their leases end.
    pub(super) fn owner_down(&mut self, owner: NodeId) {
        let nonces: Vec<u64> = self
            .work
            .bids
            .iter()
            .filter(|(_, bid)| bid.owner == owner)
            .map(|(nonce, _)| *nonce)
            .collect();
        for nonce in nonces {
            self.free_bid(nonce);
        }
        self.alarms.clear(&Alarm::Beat(owner));
        for id in self.work.result_order.iter().filter(|id| id.owner == owner) {
            self.alarms.clear(&Alarm::Result(*id));
        }
    }
}

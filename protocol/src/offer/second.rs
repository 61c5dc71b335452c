//! Second attempts: a job that has run elsewhere for much longer than it should is tried once more,
//! on a node of another operator, while there is room. The first result ends the job.
//!
//! That node is drawn by lot and never chosen by its bid: a node that made itself slow for a job
//! cannot have it again under another name, nor can a friend of it ask for the second.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::{
    Command, Engine, Failure, JobId, Loss, Message, Offer, Phase, Progress, Want,
    alarms::Alarm,
    engine::Turn,
    jobs::{Bid, Job, Lease, State},
    owner::back_off,
    seen::Seen,
};
use crate::{ids::NodeId, limits, rendezvous, time::Time};

/// How far the second attempt at a job is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Second {
    /// It is thought of when the first has taken too long.
    Planned,
    /// This node was drawn and asked whether it has room.
    Asked(NodeId),
    /// It runs.
    There(Lease),
}

#[derive(Debug)]
struct Hedge {
    second: Second,
    /// Nodes that were drawn.
    tried: BTreeSet<NodeId>,
}

/// All second attempts of an owner.
#[derive(Debug, Default)]
pub(super) struct Hedges {
    all: BTreeMap<JobId, Hedge>,
    running: usize,
    pub(super) seen: Seen,
    /// Attempts that go on after their job has ended, the oldest first.
    left: VecDeque<(JobId, u32, NodeId)>,
    seed: u64,
}

impl Hedges {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// The second attempt at a job that runs.
    pub(super) fn lease(&self, job: JobId) -> Option<&Lease> {
        match self.all.get(&job).map(|hedge| &hedge.second) {
            Some(Second::There(lease)) => Some(lease),
            _ => None,
        }
    }

    fn lease_mut(&mut self, job: JobId) -> Option<&mut Lease> {
        match self.all.get_mut(&job).map(|hedge| &mut hedge.second) {
            Some(Second::There(lease)) => Some(lease),
            _ => None,
        }
    }

    /// Whether this is the second attempt at a job, or one that goes on after it.
    pub(super) fn is_it(&self, job: JobId, number: u32, node: NodeId) -> bool {
        let of = |lease: &Lease| (lease.number, lease.node) == (number, node);
        self.lease(job).is_some_and(of)
    }

    pub(super) fn is_left(&self, attempt: (JobId, u32, NodeId)) -> bool {
        self.left.contains(&attempt)
    }

    /// An attempt that went on after its job has ended as well.
    pub(super) fn forget(&mut self, attempt: (JobId, u32, NodeId)) {
        self.left.retain(|left| *left != attempt);
    }

    /// Lets an attempt go on whose job has ended.
    pub(super) fn leave(&mut self, attempt: (JobId, u32, NodeId)) {
        if self.left.len() >= limits::SECONDS_MAX {
            self.left.pop_front();
        }
        self.left.push_back(attempt);
    }

    fn set(&mut self, job: JobId, second: Second) {
        let hedge = self.all.entry(job).or_insert(Hedge {
            second: Second::Planned,
            tried: BTreeSet::new(),
        });
        self.running -= usize::from(matches!(hedge.second, Second::There(_)));
        self.running += usize::from(matches!(second, Second::There(_)));
        if let Second::Asked(node) = second {
            hedge.tried.insert(node);
        }
        hedge.second = second;
    }

    fn take(&mut self, job: JobId) -> Option<Second> {
        let hedge = self.all.remove(&job)?;
        self.running -= usize::from(matches!(hedge.second, Second::There(_)));
        Some(hedge.second)
    }

    fn asked(&self, job: JobId) -> Option<NodeId> {
        match self.all.get(&job)?.second {
            Second::Asked(node) => Some(node),
            Second::Planned | Second::There(_) => None,
        }
    }

    /// Jobs for which a second attempt is thought of, asked for or runs.
    #[cfg(any(debug_assertions, test))]
    pub(super) fn jobs(&self) -> impl Iterator<Item = JobId> {
        self.all.keys().copied()
    }
}

fn award(want: &Want, lease: &Lease) -> Message {
    Message::Award {
        nonce: lease.nonce,
        job: want.job,
        number: lease.number,
        lease_ms: limits::LEASE_MS,
        needs: want.needs,
        action: want.action.clone(),
        holders: want.holders.clone(),
        role: want.role,
    }
}

impl Engine {
    /// A job has begun elsewhere: if it takes too long it is tried once more.
    pub(super) fn plan_second(&mut self, id: JobId) {
        let Some((job, lease)) = self.jobs.get(id).and_then(|job| Some((job, job.lease()?))) else {
            return;
        };
        let peer = self.peers.get(&lease.node);
        let emulated = peer.is_some_and(|peer| peer.emulated.contains(&job.want.platform));
        let factor = if emulated { limits::EMULATED_FACTOR } else { 1 };
        let usual_ms = self.hedges.seen.slow_ms(&job.want);
        let usual_ms = usual_ms.unwrap_or(job.want.cost_ms).saturating_mul(factor);
        let slow_ms = usual_ms.saturating_mul(2).max(limits::SECOND_MS);
        let at = lease.started + Duration::from_millis(slow_ms.min(limits::ATTEMPT_MS_MAX));
        self.hedges.take(id);
        self.hedges.set(id, Second::Planned);
        self.alarms.set(Alarm::Second(id), at);
    }

    /// A deadline of a second attempt has come.
    pub(super) fn second_due(&mut self, turn: &mut Turn<'_>, id: JobId) {
        match self.hedges.all.get(&id).map(|hedge| hedge.second.clone()) {
            None => {}
            Some(Second::Planned | Second::Asked(_)) => self.draw_second(turn, id),
            Some(Second::There(lease)) if turn.now >= lease.until => {
                self.second_lost(turn, id, Loss::Silent, Vec::new());
            }
            Some(Second::There(_)) => self.award_second(turn, id),
        }
    }

    /// Draws a node and asks it, or waits until there is one and nothing of this owner waits.
    fn draw_second(&mut self, turn: &mut Turn<'_>, id: JobId) {
        let Some(job) = self.jobs.get(id) else {
            return;
        };
        let platform = &job.want.platform;
        let is_busy = self.jobs.waiting_remote(platform).next().is_some()
            || self.hedges.running >= limits::SECONDS_MAX;
        let drawn = if is_busy {
            None
        } else {
            self.drawn(job, turn.now)
        };
        let Some(node) = drawn else {
            self.hedges.set(id, Second::Planned);
            let again = turn.now + Duration::from_millis(limits::SECOND_AGAIN_MS);
            return self.alarms.set(Alarm::Second(id), again);
        };
        let offer = Offer {
            job: id,
            platform: platform.clone(),
            priority: job.want.priority,
            cost_ms: job.want.cost_ms,
            needs: job.want.needs,
            lineage: job.want.lineage.clone(),
            candidates: 1,
        };
        turn.send(node, Message::Offer(Box::new(offer)));
        self.hedges.set(id, Second::Asked(node));
        let by = turn.now + Duration::from_millis(limits::SECOND_ANSWER_MS);
        self.alarms.set(Alarm::Second(id), by);
    }

    fn drawn(&self, job: &Job, now: Time) -> Option<NodeId> {
        let first = self.peers.get(&job.lease()?.node)?;
        let tried = self.hedges.all.get(&job.want.job).map(|hedge| &hedge.tried);
        if tried.is_some_and(|tried| tried.len() >= limits::SECOND_DRAWS_MAX) {
            return None;
        }
        let platform = &job.want.platform;
        let open = self.peers.iter().filter(|(node, peer)| {
            peer.operator != first.operator
                && peer.platforms.contains(platform)
                && job.want.place.allows(**node)
                && !job.excludes(**node, now)
                && tried.is_none_or(|tried| !tried.contains(node))
        });
        let key = [
            &self.hedges.seed.to_le_bytes()[..],
            job.want.job.action().as_bytes(),
            &job.attempts.to_le_bytes(),
        ]
        .concat();
        let lot = |node| rendezvous::weight("caravan second attempt", &key, node);
        open.map(|(node, peer)| (peer.emulated.contains(platform), *node))
            .min_by_key(|(emulated, node)| (*emulated, std::cmp::Reverse(lot(*node))))
            .map(|(_, node)| node)
    }

    /// A node answers an offer. Answers whether it is the one that was drawn for this job.
    pub(super) fn second_answered(&mut self, turn: &mut Turn<'_>, id: JobId, bid: &Bid) -> bool {
        if !bid.offered || self.hedges.asked(id) != Some(bid.node) {
            return false;
        }
        let me = self.me;
        let Some(job) = self.jobs.get_mut(id) else {
            return true;
        };
        // It has no room, or does not allow it: the lot falls anew.
        if bid.wait_ms > 0 || job.want.needs.within(&bid.most).is_err() {
            self.draw_second(turn, id);
            return true;
        }
        job.attempts += 1;
        let (number, node) = (job.attempts, bid.node);
        let attempt = job.attempt(me, number);
        let lease = Lease::new(bid, number, turn.now);
        self.hedges.set(id, Second::There(lease));
        self.award_second(turn, id);
        turn.push(Command::Placed { attempt, node });
        true
    }

    /// A node does not take a job. Answers whether it is the one that was drawn for it.
    pub(super) fn second_passed(&mut self, turn: &mut Turn<'_>, id: JobId, from: NodeId) -> bool {
        let is_it = self.hedges.asked(id) == Some(from);
        if is_it {
            self.draw_second(turn, id);
        }
        is_it
    }

    fn award_second(&mut self, turn: &mut Turn<'_>, id: JobId) {
        let Some(job) = self.jobs.get(id) else {
            return;
        };
        let Some(lease) = self.hedges.lease_mut(id) else {
            return;
        };
        let again = turn.now + back_off(lease.sends);
        let at = again.min(lease.until);
        lease.sends += 1;
        turn.send(lease.node, award(&job.want, lease));
        self.alarms.set(Alarm::Second(id), at);
    }

    /// The node that was to make the second attempt has no room for it any more.
    pub(super) fn second_refused(&mut self, turn: &mut Turn<'_>, from: NodeId, at: (JobId, u32)) {
        if self.hedges.is_it(at.0, at.1, from) {
            self.second_lost(turn, at.0, Loss::Refused, Vec::new());
        }
    }

    /// A beat about a second attempt. Answers false where it has stood still for too long.
    pub(super) fn renew_second(&mut self, turn: &mut Turn<'_>, beat: &Progress) -> bool {
        let (me, id) = (self.me, beat.job);
        let cost_ms = self.jobs.get(id).map_or(0, |job| job.want.cost_ms);
        let cost_ms = cost_ms.saturating_mul(limits::EMULATED_FACTOR);
        let Some(lease) = self.hedges.lease_mut(id) else {
            return true;
        };
        let still = Duration::from_millis(lease.phase.patience_ms(cost_ms));
        if lease.phase.advance(beat.phase) {
            lease.moved = turn.now;
            let (node, phase) = (lease.node, lease.phase);
            let attempt = super::AttemptId {
                owner: me,
                job: id,
                number: beat.number,
            };
            turn.push(Command::Progress {
                attempt,
                node,
                phase,
            });
        } else if turn.now.since(lease.moved) >= still {
            return false;
        }
        let most = lease.started + Duration::from_millis(limits::ATTEMPT_MS_MAX);
        lease.until = (turn.now + Duration::from_millis(limits::LEASE_MS)).min(most);
        let until = lease.until;
        self.alarms.set(Alarm::Second(id), until);
        true
    }

    /// The second attempt came to nothing. The first goes on, and another may follow it.
    pub(super) fn second_lost(
        &mut self,
        turn: &mut Turn<'_>,
        id: JobId,
        loss: Loss,
        outcome: Vec<u8>,
    ) {
        let me = self.me;
        let Some(lease) = self.hedges.lease(id).copied() else {
            return;
        };
        let (number, node) = (lease.number, lease.node);
        let Some(job) = self.jobs.get_mut(id) else {
            return;
        };
        let attempt = job.attempt(me, number);
        let barred = turn.now + Duration::from_millis(limits::EXCLUDE_MS);
        job.excluded.insert(node, barred);
        // It says nothing of the job that its first attempt would not say: it is not counted.
        if matches!(loss, Loss::Silent | Loss::PeerDown) {
            job.note(Failure { number, node, loss });
        }
        turn.push(Command::Lost {
            attempt,
            node,
            loss,
            outcome,
        });
        self.hedges.set(id, Second::Planned);
        let again = turn.now + Duration::from_millis(limits::SECOND_AGAIN_MS);
        self.alarms.set(Alarm::Second(id), again);
    }

    /// The first attempt came to nothing: the second takes its place, if it runs.
    pub(super) fn promote_second(&mut self, turn: &Turn<'_>, id: JobId) -> bool {
        let Some(lease) = self.hedges.lease(id).copied() else {
            return false;
        };
        self.hedges.take(id);
        self.turn_job(id, State::There(lease));
        self.alarms.set(Alarm::Job(id), lease.until);
        if lease.sends > 0 && lease.phase == Phase::FIRST {
            let again = turn.now + back_off(lease.sends);
            self.alarms.set(Alarm::Award(id), again);
        }
        self.plan_second(id);
        true
    }

    /// A job has a result. Answers whether it is that of its second attempt, which is over then.
    pub(super) fn second_won(&mut self, now: Time, id: JobId, of: (u32, NodeId)) -> bool {
        let Some(lease) = self.hedges.lease(id).copied() else {
            return false;
        };
        let is_it = (lease.number, lease.node) == of;
        if is_it {
            self.note_time(now, id, &lease);
            self.hedges.take(id);
            self.alarms.clear(&Alarm::Second(id));
        }
        is_it
    }

    /// An attempt has taken so long as it has by now.
    pub(super) fn note_time(&mut self, now: Time, id: JobId, lease: &Lease) {
        let peer = self.peers.get(&lease.node);
        if let Some(job) = self.jobs.get(id)
            && peer.is_some_and(|peer| !peer.emulated.contains(&job.want.platform))
        {
            let took = now.since(lease.started).as_millis();
            let took_ms = u64::try_from(took).unwrap_or(u64::MAX);
            self.hedges.seen.took(&job.want, took_ms);
        }
    }

    /// The job is not under way elsewhere any more: nor is its second attempt, unless it is to end
    /// by itself.
    pub(super) fn end_second(&mut self, turn: &mut Turn<'_>, id: JobId, goes_on: bool) {
        self.alarms.clear(&Alarm::Second(id));
        if let Some(Second::There(lease)) = self.hedges.take(id) {
            let (job, number) = (id, lease.number);
            if goes_on {
                self.hedges.leave((job, number, lease.node));
            } else {
                turn.send(lease.node, Message::Cancel { job, number });
            }
        }
    }

    /// A node is gone: so are the second attempts that it made or was asked to make.
    pub(super) fn second_down(&mut self, turn: &mut Turn<'_>, node: NodeId) {
        let of = |hedge: &Hedge| match &hedge.second {
            Second::Planned => false,
            Second::Asked(asked) => *asked == node,
            Second::There(lease) => lease.node == node,
        };
        let all = self.hedges.all.iter();
        let jobs: Vec<JobId> = all
            .filter(|(_, hedge)| of(hedge))
            .map(|(job, _)| *job)
            .collect();
        for job in jobs {
            if !self.second_passed(turn, job, node) {
                self.second_lost(turn, job, Loss::PeerDown, Vec::new());
            }
        }
        self.hedges.left.retain(|(_, _, held)| *held != node);
    }
}

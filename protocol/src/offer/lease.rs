//! The owner's view of attempts on other nodes: beats, silence, results.

use std::time::Duration;

use super::{
    Command, Engine, JobId, Loss, Message, Phase, Progress,
    alarms::Alarm,
    engine::Turn,
    jobs::{Bid, Job, Lease, State},
};
use crate::{claim::Verdict, ids::NodeId, limits, time::Time};

/// Highest number of an earlier life's attempt that is taken over: counting on from it never
/// overflows.
const ADOPTED_MAX: u32 = 1 << 20;

/// What a beat means for one attempt.
enum Heard {
    /// It is the live one.
    Live,
    /// It was thought lost, or given by this owner before it was restarted, and nobody else has
    /// the job yet.
    Back,
    /// The job is in other hands, or will be.
    Elsewhere,
    /// It is the second at a job whose first goes on.
    Second,
    /// It goes on by itself after its job has ended.
    Left,
    /// The job is not open.
    Unknown,
}

impl Lease {
    /// One that begins now, of who bid so.
    pub(super) fn new(bid: &Bid, number: u32, now: Time) -> Self {
        Self {
            number,
            node: bid.node,
            nonce: bid.nonce,
            started: now,
            until: now + Duration::from_millis(limits::LEASE_MS),
            sends: 0,
            eta_ms: bid.eta_ms,
            phase: Phase::FIRST,
            moved: now,
        }
    }
}

impl Engine {
    /// A node says what it runs for this owner.
    pub(super) fn beaten(&mut self, turn: &mut Turn<'_>, from: NodeId, attempts: &[Progress]) {
        let mut renewed = Vec::new();
        for beat in attempts {
            let (job, number) = (beat.job, beat.number);
            match self.judge(turn.now, from, job, number) {
                Heard::Live => {}
                Heard::Back => self.resume(turn, from, job, number),
                Heard::Elsewhere => {
                    turn.send(from, Message::Cancel { job, number });
                    continue;
                }
                Heard::Second => {
                    if self.renew_second(turn, beat) {
                        renewed.push((job, number));
                    } else {
                        turn.send(from, Message::Cancel { job, number });
                        self.second_lost(turn, job, Loss::Stuck, Vec::new());
                    }
                    continue;
                }
                Heard::Left => {
                    renewed.push((job, number));
                    continue;
                }
                Heard::Unknown => continue,
            }
            let is_fresh = self.is_fresh(turn.now, job);
            if self.renew(turn, from, beat) {
                if !is_fresh {
                    renewed.push((job, number));
                }
            } else {
                turn.send(from, Message::Cancel { job, number });
                self.lose(turn, job, Loss::Stuck, Vec::new());
            }
        }
        if !renewed.is_empty() {
            turn.send(from, Message::Renew { attempts: renewed });
        }
    }

    /// Whether a lease began just now on both sides: its node need not be told anew.
    fn is_fresh(&self, now: Time, id: JobId) -> bool {
        let lease = self.jobs.get(id).and_then(Job::lease);
        let soon = Duration::from_millis(limits::BEAT_MS / 2);
        lease.is_some_and(|lease| lease.sends > 0 && now.since(lease.started) < soon)
    }

    fn judge(&self, now: Time, from: NodeId, job: JobId, number: u32) -> Heard {
        let id = job;
        let Some(job) = self.jobs.get(id) else {
            let is_left = self.hedges.is_left((id, number, from));
            return if is_left { Heard::Left } else { Heard::Unknown };
        };
        if self.hedges.is_it(id, number, from) {
            return Heard::Second;
        }
        match job.state() {
            State::There(lease) if (lease.node, lease.number) == (from, number) => Heard::Live,
            State::There(_) | State::Here { .. } => Heard::Elsewhere,
            State::Waiting(_) | State::Resting if job.vanished(number, from) => Heard::Back,
            // Given before this owner was restarted: taken like a bid, on the same terms, so that
            // the work is not lost and nobody gets what a bid would not have got.
            State::Waiting(_)
                if number > job.attempts
                    && number <= ADOPTED_MAX
                    && self.may_award(job, from, now) =>
            {
                Heard::Back
            }
            State::Waiting(_) | State::Resting => Heard::Elsewhere,
        }
    }

    fn resume(&mut self, turn: &mut Turn<'_>, node: NodeId, id: JobId, number: u32) {
        let me = self.me;
        let Some(job) = self.jobs.get_mut(id) else {
            return;
        };
        job.attempts = job.attempts.max(number);
        let attempt = job.attempt(me, number);
        let lease = Lease {
            number,
            node,
            nonce: 0,
            started: turn.now,
            until: turn.now,
            sends: 0,
            eta_ms: 0,
            phase: Phase::FIRST,
            moved: turn.now,
        };
        self.hold(id, lease);
        turn.push(Command::Placed { attempt, node });
    }

    /// Takes in a beat about a live attempt. Answers false, and does nothing, where that has stood
    /// still for too long.
    fn renew(&mut self, turn: &mut Turn<'_>, node: NodeId, beat: &Progress) -> bool {
        let me = self.me;
        let Some(job) = self.jobs.get_mut(beat.job) else {
            return true;
        };
        let attempt = job.attempt(me, beat.number);
        let peer = self.peers.get(&node);
        let emulated = peer.is_some_and(|peer| peer.emulated.contains(&job.want.platform));
        let factor = if emulated { limits::EMULATED_FACTOR } else { 1 };
        let cost_ms = job.want.cost_ms.saturating_mul(factor);
        let Some(lease) = job.lease_mut() else {
            return true;
        };
        let still = Duration::from_millis(lease.phase.patience_ms(cost_ms));
        if lease.phase.advance(beat.phase) {
            lease.moved = turn.now;
            let phase = lease.phase;
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
        self.alarms.clear(&Alarm::Award(beat.job));
        self.alarms.set(Alarm::Job(beat.job), until);
        true
    }

    /// A node says how an attempt ended. It can end only a job that was awarded to it.
    pub(super) fn result_came(
        &mut self,
        turn: &mut Turn<'_>,
        from: NodeId,
        (id, number): (JobId, u32),
        verdict: Verdict,
        outcome: Vec<u8>,
    ) {
        let (live, vanished) = self.jobs.get(id).map_or((false, false), |job| {
            let live = job.lease().map(|lease| (lease.node, lease.number)) == Some((from, number));
            (live, job.vanished(number, from))
        });
        if live {
            self.judge_promise(turn.now, id);
        }
        let second = self.hedges.is_it(id, number, from);
        self.hedges.forget((id, number, from));
        if second && verdict == Verdict::Infra {
            return self.second_lost(turn, id, Loss::Infra, outcome);
        }
        if live && let Some(lease) = self.jobs.get(id).and_then(Job::lease).copied() {
            self.note_time(turn.now, id, &lease);
        }
        if live && verdict == Verdict::Infra {
            self.lose(turn, id, Loss::Infra, outcome);
        } else if live || second || (vanished && verdict != Verdict::Infra) {
            self.done(turn, (id, number), from, (verdict, outcome));
        } else {
            turn.push(Command::Late {
                attempt: super::AttemptId {
                    owner: self.me,
                    job: id,
                    number,
                },
                node: from,
                verdict,
                outcome,
            });
        }
    }

    /// A node is gone: so are its attempts, without waiting for their leases.
    pub(super) fn holder_down(&mut self, turn: &mut Turn<'_>, node: NodeId) {
        let held: Vec<JobId> = self.jobs.held(node).collect();
        for job in held {
            self.lose(turn, job, Loss::PeerDown, Vec::new());
        }
    }
}

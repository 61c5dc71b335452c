//! The owner's side of a job's life: wanted, placed here, lost, tried again, ended.

use std::time::Duration;

use super::{
    Command, Engine, Failure, GaveUp, JobId, Loss, Message, Missing, Want,
    alarms::Alarm,
    engine::Turn,
    jobs::{Job, State},
};
use crate::{action::TooMuch, claim::Verdict, ids::NodeId, limits, time::Time};

/// The wait before try number `tries`, which counts from 0.
pub(super) fn back_off(tries: u32) -> Duration {
    let factor = 1u64 << tries.min(16);
    Duration::from_millis((limits::RETRY_MS * factor).min(limits::RETRY_MS_MAX))
}

impl Engine {
    pub(super) fn want(&mut self, turn: &mut Turn<'_>, want: Want) {
        let job = want.job;
        if self.jobs.get(job).is_some() {
            return self.jobs.hasten(job, want.priority);
        }
        let refused = if want.action.len() > limits::ACTION_BYTES_MAX {
            let bytes = want.action.len();
            Some(GaveUp::TooLarge { bytes })
        } else if self.jobs.len() >= limits::JOBS_MAX {
            let max = limits::JOBS_MAX;
            Some(GaveUp::Full { max })
        } else {
            self.too_much(&want).map(GaveUp::TooMuch)
        };
        if let Some(reason) = refused {
            return turn.push(Command::GaveUp { job, reason });
        }
        self.gossip.freshen(&want.platform);
        self.jobs.insert(turn.now, want);
        self.say_missing(turn, job);
    }

    /// What a job asks for beyond what this node allows, if nobody else can take it.
    fn too_much(&self, want: &Want) -> Option<TooMuch> {
        let too_much = want.needs.within(&self.most).err()?;
        let is_ours = self.platforms.contains(&want.platform) && want.place.allows(self.me);
        (is_ours && !(want.remote_ok && self.is_done_elsewhere(want))).then_some(too_much)
    }

    pub(super) fn unwant(&mut self, turn: &mut Turn<'_>, job: JobId) {
        self.close(turn, job);
    }

    /// Ends a job, with whatever was going on for it.
    pub(super) fn close(&mut self, turn: &mut Turn<'_>, job: JobId) -> Option<Job> {
        let closed = self.jobs.remove(job)?;
        self.clear_alarms(job);
        if closed.attempts > 0 {
            self.jobs.remember(job, closed.attempts);
        }
        self.abandon(turn, job, closed.state().clone());
        Some(closed)
    }

    /// Ends what goes on in a state that a job has left.
    pub(super) fn abandon(&mut self, turn: &mut Turn<'_>, job: JobId, state: State) {
        match state {
            State::Waiting(bids) => self.loose.extend(bids),
            State::Resting => {}
            State::Here { number } => self.stop_own(turn, job, number),
            State::There(lease) => {
                let number = lease.number;
                turn.send(lease.node, Message::Cancel { job, number });
            }
        }
    }

    /// Moves a job to another state; the caller sets the alarms of the new one.
    pub(super) fn turn_job(&mut self, job: JobId, state: State) -> Option<State> {
        self.clear_alarms(job);
        self.jobs.turn(job, state)
    }

    fn clear_alarms(&mut self, job: JobId) {
        for alarm in [Alarm::Bids(job), Alarm::Job(job), Alarm::Award(job)] {
            self.alarms.clear(&alarm);
        }
    }

    /// Starts waiting jobs here while there are slots. A slot that is only kept for a bid counts
    /// as free: local work goes first, and the other owner hears a refusal.
    pub(super) fn place_here(&mut self, turn: &mut Turn<'_>) {
        while !self.paused && self.work.runs_len() < self.slots {
            let Some(job) = self.first_for_me(turn.now) else {
                return;
            };
            if self.free() == 0 {
                self.preempt_bid();
            }
            self.start_here(turn, job);
        }
    }

    fn first_for_me(&mut self, now: Time) -> Option<JobId> {
        let mut first: Option<&Job> = None;
        let mut barred = Vec::new();
        for platform in &self.platforms {
            for job in self.jobs.waiting(platform) {
                if !self.fits_here(job) {
                    continue;
                }
                if let Some(until) = self.barred_here(job, now) {
                    barred.push((job.want.job, until));
                } else {
                    if first.is_none_or(|held| job.rank < held.rank) {
                        first = Some(job);
                    }
                    break;
                }
            }
        }
        let first = first.map(|job| job.want.job);
        for (job, until) in barred {
            self.alarms.set(Alarm::Job(job), until);
        }
        first
    }

    fn start_here(&mut self, turn: &mut Turn<'_>, id: JobId) {
        let me = self.me;
        let Some(job) = self.jobs.get_mut(id) else {
            return;
        };
        job.attempts += 1;
        // One of an earlier wish, which was given up, may still be ending under its number.
        while self.work.runs.contains_key(&job.attempt(me, job.attempts)) {
            job.attempts += 1;
        }
        job.missing = None;
        let number = job.attempts;
        let (attempt, action) = (job.attempt(me, number), job.want.action.clone());
        if let Some(State::Waiting(bids)) = self.turn_job(id, State::Here { number }) {
            self.loose.extend(bids);
        }
        self.work.start_own(attempt);
        turn.push(Command::Run { attempt, action });
    }

    /// Whether a job asks for no more than this node allows, and may run here at all.
    pub(super) fn fits_here(&self, job: &Job) -> bool {
        job.want.needs.within(&self.most).is_ok() && job.want.place.allows(self.me)
    }

    /// Whether a node may be given a job now: it may have it at all, and is not excluded for a
    /// while, or everybody is.
    pub(super) fn may_run(&self, job: &Job, node: NodeId, now: Time) -> bool {
        if !job.want.place.allows(node) {
            return false;
        }
        if !job.excludes(node, now) {
            return true;
        }
        let here = self.platforms.contains(&job.want.platform)
            && self.fits_here(job)
            && !self.paused
            && self.slots > 0;
        let mut others = self
            .peers
            .iter()
            .filter(|(_, peer)| job.want.remote_ok && peer.platforms.contains(&job.want.platform))
            .map(|(node, _)| *node)
            .filter(|node| job.want.place.allows(*node))
            .chain(here.then_some(self.me));
        !others.any(|other| !job.excludes(other, now))
    }

    /// A job's own deadline has come.
    pub(super) fn job_due(&mut self, turn: &mut Turn<'_>, id: JobId) {
        let Some(job) = self.jobs.get(id) else {
            return;
        };
        match job.state() {
            State::Resting => self.queue_again(turn, id),
            State::There(lease) => {
                let overrun =
                    turn.now.since(lease.started).as_millis() >= u128::from(limits::ATTEMPT_MS_MAX);
                let (node, number) = (lease.node, lease.number);
                if overrun {
                    turn.send(node, Message::Cancel { job: id, number });
                    self.lose(turn, id, Loss::Overrun, Vec::new());
                } else {
                    // Not cancelled: while nobody else has the job, its node may come back with it.
                    self.lose(turn, id, Loss::Silent, Vec::new());
                }
            }
            // An exclusion of this node is over; `settle` looks at the job again.
            State::Waiting(_) | State::Here { .. } => {}
        }
    }

    /// Puts a job back into the queue.
    pub(super) fn queue_again(&mut self, turn: &mut Turn<'_>, id: JobId) {
        self.turn_job(id, State::Waiting(Vec::new()));
        if let Some(job) = self.jobs.get(id) {
            self.gossip.freshen(&job.want.platform);
        }
        self.say_missing(turn, id);
    }

    /// The live attempt of a job has come to nothing.
    pub(super) fn lose(&mut self, turn: &mut Turn<'_>, id: JobId, loss: Loss, outcome: Vec<u8>) {
        let me = self.me;
        let Some(job) = self.jobs.get_mut(id) else {
            return;
        };
        let (number, node) = match job.state() {
            State::Here { number } => (*number, me),
            State::There(lease) => (lease.number, lease.node),
            State::Waiting(_) | State::Resting => return,
        };
        let attempt = job.attempt(me, number);
        job.failures.push(Failure { number, node, loss });
        let barred = turn.now + Duration::from_millis(limits::EXCLUDE_MS);
        job.excluded.insert(node, barred);
        let (infra, vanished) = job.failed();
        turn.push(Command::Lost {
            attempt,
            node,
            loss,
            outcome,
        });
        if infra >= limits::ATTEMPTS_MAX || vanished >= limits::LOSSES_MAX {
            self.give_up(turn, id);
            return;
        }
        // The first loss tells nothing about the job, so it is tried again at once.
        let rest = match loss {
            Loss::Infra => Some(back_off(infra - 1)),
            _ => vanished.checked_sub(2).map(back_off),
        };
        match rest {
            Some(rest) => {
                self.turn_job(id, State::Resting);
                self.alarms.set(Alarm::Job(id), turn.now + rest);
            }
            None => self.queue_again(turn, id),
        }
    }

    fn give_up(&mut self, turn: &mut Turn<'_>, id: JobId) {
        self.clear_alarms(id);
        if let Some(job) = self.jobs.remove(id) {
            self.jobs.remember(id, job.attempts);
            let reason = GaveUp::Failures(job.failures);
            turn.push(Command::GaveUp { job: id, reason });
        }
    }

    /// A job has a result: it ends, and so does whatever else is going on for it.
    pub(super) fn done(
        &mut self,
        turn: &mut Turn<'_>,
        (id, number): (JobId, u32),
        node: NodeId,
        (verdict, outcome): (Verdict, Vec<u8>),
    ) {
        let me = self.me;
        let Some(job) = self.jobs.get(id) else {
            return;
        };
        let attempt = job.attempt(me, number);
        let live = match job.state() {
            State::Here { number } => Some((*number, me)),
            State::There(lease) => Some((lease.number, lease.node)),
            State::Waiting(_) | State::Resting => None,
        };
        if live == Some((number, node)) {
            let attempts = job.attempts;
            self.clear_alarms(id);
            self.jobs.remove(id);
            self.jobs.remember(id, attempts);
        } else {
            self.close(turn, id);
        }
        turn.push(Command::Done {
            attempt,
            node,
            verdict,
            outcome,
        });
    }

    /// Says what a waiting job misses, if that is news.
    fn say_missing(&mut self, turn: &mut Turn<'_>, id: JobId) {
        let Some(job) = self.jobs.get(id) else {
            return;
        };
        let missing = self.missing(job);
        let Some(job) = self.jobs.get_mut(id) else {
            return;
        };
        if job.missing != missing {
            job.missing.clone_from(&missing);
            if let Some(reason) = missing {
                turn.push(Command::Waiting { job: id, reason });
            }
        }
    }

    fn missing(&self, job: &Job) -> Option<Missing> {
        let platform = &job.want.platform;
        if let Some(missing) = self.missing_place(&job.want) {
            Some(missing)
        } else if self.platforms.contains(platform)
            && job.want.place.allows(self.me)
            && let Err(too_much) = job.want.needs.within(&self.most)
        {
            Some(Missing::Room(too_much))
        } else if job.want.remote_ok && self.is_done_elsewhere(&job.want) {
            None
        } else if self.platforms.contains(platform) {
            if self.paused {
                Some(Missing::Paused)
            } else {
                (self.slots == 0).then_some(Missing::Slots)
            }
        } else if job.want.remote_ok {
            Some(Missing::Platform(platform.clone()))
        } else {
            Some(Missing::LocalPlatform(platform.clone()))
        }
    }

    /// Nodes have come, gone or changed: says of each waiting job what it misses now.
    pub(super) fn review(&mut self, turn: &mut Turn<'_>) {
        let platforms: Vec<_> = self.jobs.platforms().cloned().collect();
        for platform in platforms {
            let waiting: Vec<JobId> = self
                .jobs
                .waiting(&platform)
                .map(|job| job.want.job)
                .collect();
            for job in waiting {
                self.say_missing(turn, job);
            }
        }
    }
}

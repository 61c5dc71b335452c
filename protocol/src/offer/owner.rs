//! The owner's side of a job's life: wanted, placed here, lost, tried again, ended.

use std::time::Duration;

use super::{
    Command, Engine, Failure, GaveUp, JobId, Loss, Message, Missing, Want,
    alarms::Alarm,
    engine::Turn,
    jobs::{Job, State},
};
use crate::{action::TooMuch, claim::Verdict, ids::NodeId, limits, rendezvous, time::Time};

/// What is told of a job to others is bounded.
fn bounded(mut want: Want) -> Want {
    let beyond = want.lineage.len().saturating_sub(limits::LINEAGE_MAX);
    want.lineage.drain(..beyond);
    want.holders.truncate(limits::HOLDERS_MAX);
    want
}

/// The wait before try number `tries`, which counts from 0.
pub(super) fn back_off(tries: u32) -> Duration {
    let factor = 1u64 << tries.min(16);
    Duration::from_millis((limits::RETRY_MS * factor).min(limits::RETRY_MS_MAX))
}

/// The rest of a job before try number `tries`: three to five quarters of that wait, so that what
/// failed together is not tried again together.
pub(super) fn rest(job: JobId, tries: u32) -> Duration {
    let key = [&job.action().as_bytes()[..], &tries.to_le_bytes()].concat();
    let drawn = rendezvous::weight("caravan retry", &key, NodeId::from_bytes([0; 32])) % 512;
    let ms = u64::try_from(back_off(tries).as_millis()).unwrap_or(limits::RETRY_MS_MAX);
    Duration::from_millis(ms * (768 + drawn) / 1024)
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
        self.jobs.insert(turn.now, bounded(want));
        self.say_missing(turn, job);
        self.reclaim(turn, job);
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
        self.end_second(turn, job, false);
        if closed.attempts > 0 {
            self.jobs.remember(job, closed.attempts);
        }
        let handed_over = self.homes.is_elsewhere(closed.want.role, self.me);
        // Else what the role's new holder takes over would be stopped.
        if !(handed_over && closed.lease().is_some()) {
            self.abandon(turn, job, closed.state().clone());
        }
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
        self.aside.remove(&job);
        self.auctions.end(job);
        for alarm in [Alarm::Bids(job), Alarm::Job(job), Alarm::Award(job)] {
            self.alarms.clear(&alarm);
        }
    }

    pub(super) fn start_here(&mut self, turn: &mut Turn<'_>, id: JobId) {
        let me = self.me;
        let Some(job) = self.jobs.get_mut(id) else {
            return;
        };
        job.attempts += 1;
        // One of an earlier wish, which was given up, may still be ending under its number.
        while self.work.runs.contains_key(&job.attempt(me, job.attempts)) {
            job.attempts += 1;
        }
        let takes = job.takes();
        let number = job.attempts;
        let (attempt, action) = (job.attempt(me, number), job.want.action.clone());
        let holders = job.want.holders.clone();
        if let Some(State::Waiting(bids)) = self.turn_job(id, State::Here { number }) {
            self.loose.extend(bids);
        }
        self.expect_own(turn.now, attempt);
        self.work.start_own(attempt, takes);
        turn.push(Command::Run {
            attempt,
            action,
            holders,
        });
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
            State::Waiting(_) => self.sort_again(id),
            State::Here { .. } => {}
        }
    }

    /// Puts a job back into the queue.
    pub(super) fn queue_again(&mut self, turn: &mut Turn<'_>, id: JobId) {
        self.end_second(turn, id, false);
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
        job.note(Failure { number, node, loss });
        let barred = turn.now + Duration::from_millis(limits::EXCLUDE_MS);
        job.excluded.insert(node, barred);
        if node != me && matches!(loss, Loss::Silent | Loss::Stuck | Loss::Overrun) {
            self.crowd.came_to_nothing(node);
        }
        let (infra, vanished, nodes) = job.failed();
        turn.push(Command::Lost {
            attempt,
            node,
            loss,
            outcome,
        });
        if self.promote_second(turn, id) {
            return;
        }
        if infra >= limits::ATTEMPTS_MAX || nodes >= limits::LOSSES_MAX {
            self.give_up(turn, id);
            return;
        }
        // The first loss tells nothing about the job, so it is tried again at once.
        let rest = match loss {
            Loss::Infra | Loss::Overrun => Some(rest(id, infra.saturating_sub(1))),
            _ => vanished.checked_sub(2).map(|tries| rest(id, tries)),
        };
        match rest {
            Some(rest) => {
                self.end_second(turn, id, false);
                self.turn_job(id, State::Resting);
                self.alarms.set(Alarm::Job(id), turn.now + rest);
            }
            None => self.queue_again(turn, id),
        }
    }

    fn give_up(&mut self, turn: &mut Turn<'_>, id: JobId) {
        self.end_second(turn, id, false);
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
        let (attempts, both) = (job.attempts, job.want.both);
        let live = match job.state() {
            State::Here { number } => Some((*number, me)),
            State::There(lease) => Some((lease.number, lease.node)),
            State::Waiting(_) | State::Resting => None,
        };
        if live == Some((number, node)) {
            self.end_second(turn, id, both);
        } else if self.second_won(turn.now, id, (number, node))
            && let Some((number, node)) = live.filter(|_| both)
        {
            self.hedges.leave((id, number, node));
        } else {
            self.close(turn, id);
        }
        if self.jobs.get(id).is_some() {
            self.clear_alarms(id);
            self.jobs.remove(id);
            self.jobs.remember(id, attempts);
        }
        turn.push(Command::Done {
            attempt,
            node,
            verdict,
            outcome,
        });
    }

    /// Says what a job misses that has begun to wait, if it misses anything.
    fn say_missing(&mut self, turn: &mut Turn<'_>, id: JobId) {
        let Some(job) = self.jobs.get(id) else {
            return;
        };
        let missing = self.missing(job);
        if self.jobs.missing(job) != missing.as_ref() {
            self.say_all_missing(turn, id, missing);
        } else if let Some(reason) = missing {
            turn.push(Command::Waiting { job: id, reason });
        }
    }

    /// Says what a waiting job misses, if that is news.
    pub(super) fn say_if_news(&mut self, turn: &mut Turn<'_>, id: JobId) {
        let Some(job) = self.jobs.get(id) else {
            return;
        };
        let missing = self.missing(job);
        if self.jobs.missing(job) != missing.as_ref() {
            self.say_all_missing(turn, id, missing);
        }
    }

    /// What all waiting jobs like this one miss has changed.
    fn say_all_missing(&mut self, turn: &mut Turn<'_>, like: JobId, missing: Option<Missing>) {
        let jobs = self.jobs.set_missing(like, missing.clone());
        if let Some(reason) = missing {
            for job in jobs {
                let reason = reason.clone();
                turn.push(Command::Waiting { job, reason });
            }
        }
    }

    fn missing(&self, job: &Job) -> Option<Missing> {
        let platform = &job.want.platform;
        if let Some(missing) = self.missing_place(&job.want) {
            Some(missing)
        } else if let Some(too_much) = self.too_much_everywhere(job) {
            Some(Missing::Nowhere(too_much))
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

    /// Nodes have come, gone or changed: says what waiting jobs miss now, where that is news. Jobs
    /// that are alike are looked at once.
    pub(super) fn review(&mut self, turn: &mut Turn<'_>) {
        for like in self.jobs.kinds() {
            let Some(job) = self.jobs.get(like) else {
                continue;
            };
            let missing = self.missing(job);
            if self.jobs.missing(job) != missing.as_ref() {
                self.say_all_missing(turn, like, missing);
            }
        }
        self.resort();
    }
}

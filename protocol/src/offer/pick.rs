//! Which waiting job is begun here next, and which room is held back for one that needs more than
//! is free.

use std::collections::BTreeSet;

use super::{
    Engine, JobId, Priority,
    alarms::Alarm,
    engine::Turn,
    jobs::{Job, State},
    queue::Rank,
    resources::Takes,
};
use crate::{limits, platform::Platform, time::Time};

/// A job that could be begun here, if there is room.
#[derive(Debug, Clone, Copy)]
struct Choice {
    rank: Rank,
    takes: Takes,
    /// Urgent first, then what needs no emulation, then the longest wanted: platforms have queues of
    /// their own, whose times say nothing to each other.
    order: (Priority, bool, u64),
}

/// What a look at the queues found.
#[derive(Debug, Default)]
struct Found {
    /// What is begun next.
    next: Option<Choice>,
    /// What would be, if there were room for it.
    first: Option<Choice>,
    /// Jobs that this node leaves to others for now, and until when.
    barred: Vec<(JobId, Time)>,
}

impl Engine {
    /// Starts waiting jobs here while there is room. What is only kept for a bid counts as free:
    /// local work goes first, and the other owner hears a refusal.
    pub(super) fn place_here(&mut self, turn: &mut Turn<'_>) {
        self.sort_waiting(turn.now);
        loop {
            let found = self.look_here(turn.now);
            for (job, until) in found.barred {
                self.set_aside(job, until);
            }
            self.held_for = self.hold_back(turn.now, found.first);
            let Some(next) = found.next else {
                return;
            };
            while !self.has_spare(next.takes) && !self.work.bids.is_empty() {
                self.preempt_bid();
            }
            self.start_here(turn, next.rank.job);
        }
    }

    /// The job whose turn it is and that has waited for long enough, with what it takes.
    fn hold_back(&self, now: Time, first: Option<Choice>) -> Option<(JobId, Takes)> {
        let first = first?;
        let job = self.jobs.get(first.rank.job)?;
        self.is_patient(job, now)
            .then_some((first.rank.job, first.takes))
    }

    fn is_patient(&self, job: &Job, now: Time) -> bool {
        !self.paused && now.since(job.since).as_millis() >= u128::from(limits::LARGE_WAIT_MS)
    }

    fn look_here(&self, now: Time) -> Found {
        let mut found = Found::default();
        if self.paused || self.room.slots() == 0 {
            return found;
        }
        let mut heads = Vec::new();
        for platform in &self.platforms {
            self.heads(platform, now, &mut heads, &mut found.barred);
        }
        heads.sort_by_key(|choice: &Choice| choice.order);
        let Some(first) = heads.first() else {
            return found;
        };
        if self.has_room(first.takes, None) {
            found.next = Some(*first);
            return found;
        }
        found.first = Some(*first);
        let job = self.jobs.get(first.rank.job);
        let held = job.filter(|job| self.is_patient(job, now));
        let held = held.map(|_| first.takes);
        let mut rest = heads.iter().skip(1);
        found.next = rest
            .find(|choice| self.has_room(choice.takes, held))
            .copied();
        found
    }

    /// The first job of a platform for each thing that jobs take.
    fn heads(
        &self,
        platform: &Platform,
        now: Time,
        heads: &mut Vec<Choice>,
        barred: &mut Vec<(JobId, Time)>,
    ) {
        let emulated = self.emulated.contains(platform);
        let Some(queue) = self.jobs.queue(platform) else {
            return;
        };
        let mut of_platform: Vec<Choice> = Vec::new();
        for (takes, ranks) in queue.heads() {
            for rank in ranks {
                let Some(job) = self.jobs.get(rank.job) else {
                    continue;
                };
                if let Some(until) = self.barred_here(job, now) {
                    barred.push((rank.job, until));
                    continue;
                }
                let order = (rank.priority, emulated, rank.seq);
                of_platform.push(Choice { rank, takes, order });
                break;
            }
        }
        // Among themselves they go by their turns, which may not be the order of their numbers.
        of_platform.sort_by_key(|choice| choice.rank);
        let mut seqs: Vec<_> = of_platform.iter().map(|choice| choice.order).collect();
        seqs.sort_unstable();
        for (choice, order) in of_platform.iter_mut().zip(seqs) {
            choice.order = order;
        }
        heads.append(&mut of_platform);
    }

    /// Says of jobs that began to wait whether this node may begin them.
    fn sort_waiting(&mut self, now: Time) {
        for id in self.jobs.take_unsorted() {
            let waits = |job: &&Job| matches!(job.state(), State::Waiting(_));
            let Some(job) = self.jobs.get(id).filter(waits) else {
                continue;
            };
            if !self.platforms.contains(&job.want.platform) || !self.fits_here(job) {
                continue;
            }
            match self.barred_here(job, now) {
                Some(until) => self.set_aside(id, until),
                None => self.jobs.set_ready(id, true),
            }
        }
    }

    /// Leaves a job to others until then.
    fn set_aside(&mut self, id: JobId, until: Time) {
        self.jobs.set_ready(id, false);
        self.aside.insert(id);
        self.alarms.set(Alarm::Job(id), until);
    }

    /// Whether this node may begin a job that it had left to others is to be looked at anew.
    pub(super) fn sort_again(&mut self, id: JobId) {
        self.aside.remove(&id);
        self.jobs.sort_again(id);
    }

    /// Nodes have come, gone or changed: so may what is left to others.
    pub(super) fn resort(&mut self) {
        for id in std::mem::take(&mut self.aside) {
            self.jobs.sort_again(id);
        }
    }

    /// What could be begun here now and is not: nothing, between two events.
    #[cfg(any(debug_assertions, test))]
    pub(super) fn idle_beside(&self, now: Time) -> Option<JobId> {
        self.look_here(now).next.map(|choice| choice.rank.job)
    }

    /// Jobs that this node leaves to others for now.
    #[cfg(any(debug_assertions, test))]
    pub(super) fn aside(&self) -> &BTreeSet<JobId> {
        &self.aside
    }
}

//! The owner's queue as it can be read: the first jobs that wait, in their order, and why each does.

use std::collections::BTreeSet;

use super::{
    Engine, JobId, Missing, Priority,
    auction::Auction,
    jobs::{Job, State},
    queue::Rank,
};
use crate::{ids::NodeId, time::Time};

/// An own job that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// The job.
    pub job: JobId,
    /// Which jobs it goes before.
    pub priority: Priority,
    /// Since when.
    pub since: Time,
    /// Attempts so far.
    pub attempts: u32,
    /// Why.
    pub waits: Waits,
}

/// Why a job waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waits {
    /// It is tried again after a while.
    Rest,
    /// More is missing than room.
    Missing(Missing),
    /// There is no room here, and others were asked.
    Asking {
        /// How many have not answered yet.
        open: usize,
    },
    /// A node that will have room is to have it.
    Kept {
        /// The node.
        node: NodeId,
        /// When it is thought to have done it.
        due: Time,
    },
    /// There is no room here, and nobody has any.
    Full,
    /// It needs more room here than has become free: what becomes free is kept for it.
    Large,
    /// There is no room here, and others before it are looked after first.
    Turn,
    /// There is no room here, and it may not leave this node.
    Stays,
}

impl Engine {
    /// How many own jobs wait, and the first so many of them in the order in which they go.
    #[must_use]
    pub fn queue(&self, most: usize) -> (usize, Vec<Queued>) {
        let mut all = 0;
        let mut first: BTreeSet<Rank> = BTreeSet::new();
        for platform in self.jobs.platforms() {
            let Some(queue) = self.jobs.queue(platform) else {
                continue;
            };
            all += queue.len();
            first.extend(queue.remote.iter().take(most));
            for (_, ranks) in queue.heads() {
                first.extend(ranks.take(most));
            }
            // Those that neither may leave nor can begin here.
            for class in queue
                .classes
                .values()
                .filter(|class| class.missing.is_some())
            {
                let jobs = class.jobs.iter().take(most);
                first.extend(jobs.filter_map(|id| Some(self.jobs.get(*id)?.rank)));
            }
        }
        let jobs = first.into_iter().take(most);
        let jobs = jobs.filter_map(|rank| self.jobs.get(rank.job));
        (all, jobs.map(|job| self.queued(job)).collect())
    }

    /// An own job that waits or rests, and why; nothing where it does neither.
    #[must_use]
    pub fn waits(&self, id: JobId) -> Option<Queued> {
        let job = self.jobs.get(id)?;
        let waits = matches!(job.state(), State::Waiting(_) | State::Resting);
        waits.then(|| self.queued(job))
    }

    fn queued(&self, job: &Job) -> Queued {
        Queued {
            job: job.want.job,
            priority: job.want.priority,
            since: job.since,
            attempts: job.attempts,
            waits: self.why(job),
        }
    }

    fn why(&self, job: &Job) -> Waits {
        if matches!(job.state(), State::Resting) {
            return Waits::Rest;
        }
        if let Some(missing) = self.jobs.missing(job) {
            return Waits::Missing(missing.clone());
        }
        let id = job.want.job;
        let is_kept = matches!(self.auctions.get(id), Some(Auction::Kept { .. }));
        if !is_kept && self.held_for.is_some_and(|(held, _)| held == id) {
            return Waits::Large;
        }
        match self.auctions.get(id) {
            Some(Auction::Asking { asked, .. }) => Waits::Asking { open: asked.len() },
            Some(Auction::Kept { node, due }) => Waits::Kept {
                node: *node,
                due: *due,
            },
            Some(Auction::Parked) => Waits::Full,
            None if !job.want.remote_ok => Waits::Stays,
            None if !self.crowd.any_ready(&job.want.platform) => Waits::Full,
            None => Waits::Turn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offer::{
        Event, Place, Want,
        tests::{bench, job, node, wanted},
    };

    #[test]
    fn the_queue_is_read_in_its_order_with_what_each_job_waits_for() {
        let mut bench = bench(1);
        for name in [10, 11, 12] {
            bench.want(name);
        }
        bench.on(Event::Want(Want {
            priority: Priority::Urgent,
            remote_ok: false,
            ..wanted(13)
        }));
        let place = Place {
            on: Some(node(9)),
            ..Place::default()
        };
        bench.on(Event::Want(Want {
            place,
            ..wanted(14)
        }));
        let (all, first) = bench.engine.queue(8);
        let jobs: Vec<JobId> = first.iter().map(|queued| queued.job).collect();
        assert_eq!((all, jobs), (4, vec![job(13), job(11), job(12), job(14)]));
        assert_eq!(first[0].waits, Waits::Stays);
        assert_eq!(first[1].waits, Waits::Full, "there is nobody else");
        assert_eq!(first[3].waits, Waits::Missing(Missing::Gone(node(9))));
        let (all, first) = bench.engine.queue(1);
        assert_eq!((all, first.len()), (4, 1));
        assert!(bench.engine.waits(job(10)).is_none(), "it runs");
    }

    #[test]
    fn a_job_about_which_others_were_asked_says_how_many_have_not_answered() {
        let mut bench = bench(1);
        bench.up(2);
        bench.up(3);
        bench.want(10);
        bench.want(11);
        let waits = bench.engine.waits(job(11)).expect("it waits").waits;
        assert_eq!(waits, Waits::Asking { open: 2 });
    }
}

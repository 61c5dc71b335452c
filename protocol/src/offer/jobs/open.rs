//! Waiting jobs that may leave this node and about which nothing goes on yet: those that are to be
//! offered.

use super::{JobId, Jobs, Platform, Rank, State};

impl Jobs {
    /// The first of them.
    pub(in super::super) fn first_open(&self, platform: &Platform) -> Option<Rank> {
        self.queues.get(platform)?.open.first().copied()
    }

    /// Something goes on about a waiting job.
    pub(in super::super) fn shelve(&mut self, job: JobId) {
        if let Some(job) = self.jobs.get(&job)
            && let Some(queue) = self.queues.get_mut(&job.want.platform)
        {
            queue.open.remove(&job.rank);
        }
    }

    /// Nothing goes on about it any more.
    pub(in super::super) fn unshelve(&mut self, job: JobId) {
        if let Some(job) = self.jobs.get(&job)
            && matches!(job.state, State::Waiting(_))
            && job.want.remote_ok
            && let Some(queue) = self.queues.get_mut(&job.want.platform)
        {
            queue.open.insert(job.rank);
        }
    }

    /// Platforms for which jobs wait.
    pub(in super::super) fn platforms(&self) -> impl Iterator<Item = &Platform> {
        self.queues.keys()
    }
}

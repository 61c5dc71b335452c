//! An owner's open jobs: each in exactly one state, with the indexes that follow from the states.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{AttemptId, Failure, JobId, Loss, Missing, Priority, Want};
use crate::{action::Limits, ids::NodeId, limits, platform::Platform, time::Time};

/// Place in the queue: retries keep theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) priority: Priority,
    pub(super) seq: u64,
    pub(super) job: JobId,
}

/// A bid at its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bid {
    pub(super) node: NodeId,
    pub(super) nonce: u64,
    pub(super) eta_ms: u64,
    /// What the bidder allows.
    pub(super) most: Limits,
}

/// An attempt on another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) number: u32,
    pub(super) node: NodeId,
    pub(super) nonce: u64,
    pub(super) started: Time,
    pub(super) until: Time,
    /// Awards sent, until the first beat.
    pub(super) sends: u32,
    pub(super) log_bytes: u64,
}

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// In the queue; with bids once somebody wants it.
    Waiting(Vec<Bid>),
    /// Out of the queue until its alarm.
    Resting,
    /// Running here.
    Here { number: u32 },
    /// Running there.
    There(Lease),
}

/// An open job.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) want: Want,
    pub(super) rank: Rank,
    pub(super) since: Time,
    /// Attempts so far, refused ones too: the last fence that was given out.
    pub(super) attempts: u32,
    pub(super) failures: Vec<Failure>,
    /// Nodes that are kept from it for a while.
    pub(super) excluded: BTreeMap<NodeId, Time>,
    /// What was last said to be missing.
    pub(super) missing: Option<Missing>,
    state: State,
}

impl Job {
    pub(super) const fn state(&self) -> &State {
        &self.state
    }

    /// The lease of its attempt on another node, if there is one.
    pub(super) const fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::There(lease) => Some(lease),
            _ => None,
        }
    }

    pub(super) const fn lease_mut(&mut self) -> Option<&mut Lease> {
        match &mut self.state {
            State::There(lease) => Some(lease),
            _ => None,
        }
    }

    /// Its bids, while it waits.
    pub(super) const fn bids_mut(&mut self) -> Option<&mut Vec<Bid>> {
        match &mut self.state {
            State::Waiting(bids) => Some(bids),
            _ => None,
        }
    }

    /// Whether this attempt was awarded to that node and vanished, so that it may come back.
    pub(super) fn vanished(&self, number: u32, node: NodeId) -> bool {
        self.failures.iter().any(|failure| {
            (failure.number, failure.node) == (number, node)
                && matches!(failure.loss, Loss::Silent | Loss::PeerDown)
        })
    }

    /// Whether the node is kept from it now, if there are others.
    pub(super) fn excludes(&self, node: NodeId, now: Time) -> bool {
        self.excluded.get(&node).is_some_and(|until| *until > now)
    }

    /// Attempts that ended as infrastructure failures, and attempts that vanished.
    pub(super) fn failed(&self) -> (u32, u32) {
        let count = |infra: bool| {
            let of_kind = |failure: &&Failure| (failure.loss == Loss::Infra) == infra;
            u32::try_from(self.failures.iter().filter(of_kind).count()).unwrap_or(u32::MAX)
        };
        (count(true), count(false))
    }

    /// Names one of its attempts.
    pub(super) const fn attempt(&self, owner: NodeId, number: u32) -> AttemptId {
        AttemptId {
            owner,
            job: self.want.job,
            number,
        }
    }
}

/// The waiting jobs of one platform.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) all: BTreeSet<Rank>,
    /// Those of them that may leave this node.
    pub(super) remote: BTreeSet<Rank>,
}

/// Closed jobs whose last attempt is remembered, while it may still be under way.
const CLOSED_MAX: usize = 1024;

/// All open jobs of an owner.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    jobs: BTreeMap<JobId, Job>,
    queues: BTreeMap<Platform, Queue>,
    held: BTreeMap<NodeId, BTreeSet<JobId>>,
    seq: u64,
    /// The last attempts of jobs that were closed over them, oldest first: should one be wanted
    /// again, words about an old attempt must not be taken for words about a new one.
    closed: VecDeque<(JobId, u32)>,
}

impl Jobs {
    pub(super) fn get(&self, job: JobId) -> Option<&Job> {
        self.jobs.get(&job)
    }

    /// To change anything but the state.
    pub(super) fn get_mut(&mut self, job: JobId) -> Option<&mut Job> {
        self.jobs.get_mut(&job)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values()
    }

    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Adds a job that waits from now on. The caller has checked that it is new and fits.
    pub(super) fn insert(&mut self, now: Time, want: Want) {
        debug_assert!(self.jobs.len() < limits::JOBS_MAX && !self.jobs.contains_key(&want.job));
        let rank = Rank {
            priority: want.priority,
            seq: self.seq,
            job: want.job,
        };
        self.seq += 1;
        let before = self.closed.iter().find(|(job, _)| *job == want.job);
        let attempts = before.map_or(0, |(_, number)| *number);
        let job = Job {
            want,
            rank,
            since: now,
            attempts,
            failures: Vec::new(),
            excluded: BTreeMap::new(),
            missing: None,
            state: State::Waiting(Vec::new()),
        };
        self.enter(&job);
        self.jobs.insert(rank.job, job);
    }

    /// Remembers the attempts of a job that is closed while one of them may be under way.
    pub(super) fn remember(&mut self, job: JobId, attempts: u32) {
        self.closed.retain(|(other, _)| *other != job);
        self.closed.push_back((job, attempts));
        if self.closed.len() > CLOSED_MAX {
            self.closed.pop_front();
        }
    }

    /// Takes a job out.
    pub(super) fn remove(&mut self, job: JobId) -> Option<Job> {
        let job = self.jobs.remove(&job)?;
        self.leave(&job);
        Some(job)
    }

    /// Moves a job to another state and gives back the one that it was in.
    pub(super) fn turn(&mut self, job: JobId, state: State) -> Option<State> {
        let mut job = self.remove(job)?;
        let old = std::mem::replace(&mut job.state, state);
        self.enter(&job);
        self.jobs.insert(job.want.job, job);
        Some(old)
    }

    /// Lets a job go before others from now on.
    pub(super) fn hasten(&mut self, job: JobId, priority: Priority) {
        if let Some(mut job) = self.remove(job) {
            job.rank.priority = job.rank.priority.min(priority);
            job.want.priority = job.rank.priority;
            self.enter(&job);
            self.jobs.insert(job.want.job, job);
        }
    }

    fn enter(&mut self, job: &Job) {
        match &job.state {
            State::Waiting(_) => {
                let queue = self.queues.entry(job.want.platform.clone()).or_default();
                queue.all.insert(job.rank);
                if job.want.remote_ok {
                    queue.remote.insert(job.rank);
                }
            }
            State::There(lease) => {
                self.held
                    .entry(lease.node)
                    .or_default()
                    .insert(job.want.job);
            }
            State::Resting | State::Here { .. } => {}
        }
    }

    fn leave(&mut self, job: &Job) {
        match &job.state {
            State::Waiting(_) => {
                if let Some(queue) = self.queues.get_mut(&job.want.platform) {
                    queue.all.remove(&job.rank);
                    queue.remote.remove(&job.rank);
                    if queue.all.is_empty() {
                        self.queues.remove(&job.want.platform);
                    }
                }
            }
            State::There(lease) => {
                if let Some(jobs) = self.held.get_mut(&lease.node) {
                    jobs.remove(&job.want.job);
                    if jobs.is_empty() {
                        self.held.remove(&lease.node);
                    }
                }
            }
            State::Resting | State::Here { .. } => {}
        }
    }

    /// Waiting jobs of a platform, first ones first.
    pub(super) fn waiting(&self, platform: &Platform) -> impl Iterator<Item = &Job> {
        let ranks = self.queues.get(platform).map(|queue| &queue.all);
        ranks
            .into_iter()
            .flatten()
            .filter_map(|rank| self.get(rank.job))
    }

    /// Those of them that may leave this node.
    pub(super) fn waiting_remote(&self, platform: &Platform) -> impl Iterator<Item = &Job> {
        let ranks = self.queues.get(platform).map(|queue| &queue.remote);
        ranks
            .into_iter()
            .flatten()
            .filter_map(|rank| self.get(rank.job))
    }

    /// Platforms for which jobs wait.
    pub(super) fn platforms(&self) -> impl Iterator<Item = &Platform> {
        self.queues.keys()
    }

    #[cfg(any(debug_assertions, test))]
    pub(super) fn queues(&self) -> impl Iterator<Item = (&Platform, &Queue)> {
        self.queues.iter()
    }

    /// Jobs whose attempts a node holds.
    pub(super) fn held(&self, node: NodeId) -> impl Iterator<Item = JobId> {
        self.held.get(&node).into_iter().flatten().copied()
    }

    /// How many of them there are.
    pub(super) fn held_len(&self, node: NodeId) -> usize {
        self.held.get(&node).map_or(0, BTreeSet::len)
    }

    #[cfg(any(debug_assertions, test))]
    pub(super) fn held_all(&self) -> usize {
        self.held.values().map(BTreeSet::len).sum()
    }
}

//! An owner's open jobs: each in exactly one state, with the indexes that follow from the states.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    AttemptId, Failure, JobId, Loss, Missing, Phase, Priority, Want,
    fair::charge,
    queue::{Kind, Queue, Rank},
    resources::Takes,
};
use crate::{action::Limits, ids::NodeId, limits, platform::Platform, time::Time};

mod open;

/// A bid at its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bid {
    pub(super) node: NodeId,
    pub(super) nonce: u64,
    pub(super) eta_ms: u64,
    pub(super) wait_ms: u64,
    /// What the bidder allows.
    pub(super) most: Limits,
    /// Whether it answers an offer.
    pub(super) offered: bool,
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
    /// How long its node has promised to take; 0 where it has promised nothing.
    pub(super) eta_ms: u64,
    /// The furthest that was heard of it.
    pub(super) phase: Phase,
    /// When it last moved.
    pub(super) moved: Time,
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

/// What became of a job's turn in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// It has none: nobody could do it, or it is new.
    Open,
    /// Its project was charged for one that is still to come.
    Charged,
    /// It has had it: should the job come back, it waits no second time.
    Had,
}

/// An open job. One that waits costs about a kilobyte beside its action, indexes and all.
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
    state: State,
    due: Due,
    /// Whether it is among those that could be done, while it waits.
    counted: bool,
    /// Whether this node may begin it, while it waits.
    ready: bool,
}

impl Job {
    pub(super) const fn state(&self) -> &State {
        &self.state
    }

    /// What it takes of the node that runs it.
    pub(super) fn takes(&self) -> Takes {
        Takes::of(&self.want.needs)
    }

    /// What it is billed for its turn.
    fn charge(&self) -> u64 {
        charge(self.want.cost_ms, self.want.rate)
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

    /// Attempts that ended as infrastructure failures, attempts that vanished, and the nodes with
    /// which they did: a node that comes and goes tells nothing of the job.
    pub(super) fn failed(&self) -> (u32, u32, u32) {
        let is_infra = |failure: &&Failure| matches!(failure.loss, Loss::Infra | Loss::Overrun);
        let infra = self.failures.iter().filter(is_infra).count();
        let vanished = self.failures.iter().filter(|failure| !is_infra(failure));
        let nodes: BTreeSet<NodeId> = vanished.map(|failure| failure.node).collect();
        let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
        let vanished = self.failures.len() - infra;
        (count(infra), count(vanished), count(nodes.len()))
    }

    /// Notes an attempt that came to nothing; of those that vanished only the last ones.
    pub(super) fn note(&mut self, failure: Failure) {
        self.failures.push(failure);
        if self.failures.len() > limits::FAILURES_MAX {
            let mut failures = self.failures.iter();
            if let Some(oldest) = failures.position(|failure| failure.loss != Loss::Infra) {
                self.failures.remove(oldest);
            }
        }
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

/// Closed jobs whose last attempt is remembered, while it may still be under way.
const CLOSED_MAX: usize = 1024;

/// All open jobs of an owner.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    jobs: BTreeMap<JobId, Job>,
    queues: BTreeMap<Platform, Queue>,
    held: BTreeMap<NodeId, BTreeSet<JobId>>,
    seq: u64,
    unsorted: Vec<JobId>,
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
            start: 0,
            seq: self.seq,
            job: want.job,
        };
        self.seq += 1;
        let before = self.closed.iter().find(|(job, _)| *job == want.job);
        let attempts = before.map_or(0, |(_, number)| *number);
        let mut job = Job {
            want,
            rank,
            since: now,
            attempts,
            failures: Vec::new(),
            excluded: BTreeMap::new(),
            state: State::Waiting(Vec::new()),
            due: Due::Open,
            counted: false,
            ready: false,
        };
        self.enter(&mut job);
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
        let mut job = self.jobs.remove(&job)?;
        self.leave(&mut job, false);
        Some(job)
    }

    /// Moves a job to another state and gives back the one that it was in.
    pub(super) fn turn(&mut self, job: JobId, state: State) -> Option<State> {
        let mut job = self.jobs.remove(&job)?;
        let begins = matches!(state, State::Here { .. } | State::There(_));
        self.leave(&mut job, begins);
        let old = std::mem::replace(&mut job.state, state);
        self.enter(&mut job);
        self.jobs.insert(job.want.job, job);
        Some(old)
    }

    /// Lets a job go before others from now on.
    pub(super) fn hasten(&mut self, job: JobId, priority: Priority) {
        let Some(mut job) = self.jobs.remove(&job) else {
            return;
        };
        if priority < job.rank.priority {
            self.leave(&mut job, false);
            job.rank.priority = priority;
            job.want.priority = priority;
            // Its turn was one among others.
            job.due = Due::Open;
            self.enter(&mut job);
        }
        self.jobs.insert(job.want.job, job);
    }

    fn enter(&mut self, job: &mut Job) {
        match &job.state {
            State::Waiting(_) => self.line_up(job),
            State::There(lease) => {
                self.held
                    .entry(lease.node)
                    .or_default()
                    .insert(job.want.job);
            }
            State::Resting | State::Here { .. } => {}
        }
    }

    fn line_up(&mut self, job: &mut Job) {
        let (id, want) = (job.want.job, &job.want);
        let queue = self.queues.entry(want.platform.clone()).or_default();
        let class = queue.classes.entry(Kind::of(want)).or_default();
        class.jobs.insert(id);
        job.counted = class.missing.is_none();
        job.ready = false;
        if job.counted {
            let clock = queue.clock(job.rank.priority);
            if job.due == Due::Had {
                let present = clock.come_back(want.project, want.rate);
                job.rank.start = job.rank.start.min(present);
            } else {
                job.rank.start = clock.arrive(want.project, want.rate, job.charge());
                job.due = Due::Charged;
            }
        }
        if want.remote_ok {
            queue.remote.insert(job.rank);
            queue.open.insert(job.rank);
        }
        self.unsorted.push(id);
    }

    fn leave(&mut self, job: &mut Job, begins: bool) {
        match &job.state {
            State::Waiting(_) => self.step_out(job, begins),
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

    fn step_out(&mut self, job: &mut Job, begins: bool) {
        let want = &job.want;
        let Some(queue) = self.queues.get_mut(&want.platform) else {
            return;
        };
        let kind = Kind::of(want);
        if let Some(class) = queue.classes.get_mut(&kind) {
            class.jobs.remove(&want.job);
            if class.jobs.is_empty() {
                queue.classes.remove(&kind);
            }
        }
        queue.remote.remove(&job.rank);
        queue.open.remove(&job.rank);
        if job.ready {
            queue.unready(job.takes(), job.rank);
        }
        if job.counted {
            let clock = queue.clock(job.rank.priority);
            match job.due {
                Due::Charged if begins => clock.serve(want.project, want.cost_ms),
                Due::Charged => clock.give_back(want.project, job.charge()),
                Due::Open | Due::Had => clock.stand_aside(want.project),
            }
        }
        job.due = match job.due {
            _ if begins => Due::Had,
            Due::Had => Due::Had,
            Due::Open | Due::Charged => Due::Open,
        };
        (job.counted, job.ready) = (false, false);
        if queue.classes.is_empty() {
            self.queues.remove(&want.platform);
        }
    }

    /// Jobs that began to wait since this was last asked: whether this node may begin them is still
    /// to be said.
    pub(super) fn take_unsorted(&mut self) -> Vec<JobId> {
        std::mem::take(&mut self.unsorted)
    }

    /// Whether this node may begin a job is to be said anew.
    pub(super) fn sort_again(&mut self, id: JobId) {
        self.unsorted.push(id);
    }

    /// Whether this node may begin a waiting job as soon as it has room.
    pub(super) fn set_ready(&mut self, id: JobId, ready: bool) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let Some(queue) = self.queues.get_mut(&job.want.platform) else {
            return;
        };
        if !matches!(job.state, State::Waiting(_)) || job.ready == ready {
            return;
        }
        job.ready = ready;
        if ready {
            queue.ready(job.takes(), job.rank);
        } else {
            queue.unready(job.takes(), job.rank);
        }
    }

    /// Says what all waiting jobs of one kind miss. They have no turns while they miss something.
    pub(super) fn set_missing(&mut self, like: JobId, missing: Option<Missing>) -> Vec<JobId> {
        let Some(like) = self.jobs.get(&like) else {
            return Vec::new();
        };
        let (platform, kind) = (like.want.platform.clone(), Kind::of(&like.want));
        let queue = self.queues.get_mut(&platform);
        let Some(class) = queue.and_then(|queue| queue.classes.get_mut(&kind)) else {
            return Vec::new();
        };
        let counts = class.missing.is_none() != missing.is_none();
        class.missing = missing;
        let jobs: Vec<JobId> = class.jobs.iter().copied().collect();
        for id in jobs.iter().filter(|_| counts) {
            self.recount(*id);
        }
        jobs
    }

    /// Counts a waiting job among those that could be done, or not any more.
    fn recount(&mut self, id: JobId) {
        let Some(mut job) = self.jobs.remove(&id) else {
            return;
        };
        let Some(queue) = self.queues.get_mut(&job.want.platform) else {
            return;
        };
        let (project, rate, bill) = (job.want.project, job.want.rate, job.charge());
        let before = job.rank;
        let clock = queue.clock(before.priority);
        job.counted = !job.counted;
        match (job.counted, job.due) {
            (true, Due::Had) => _ = clock.come_back(project, rate),
            (true, Due::Open | Due::Charged) => {
                job.rank.start = clock.arrive(project, rate, bill);
                job.due = Due::Charged;
            }
            (false, Due::Charged) => {
                clock.give_back(project, bill);
                job.due = Due::Open;
            }
            (false, Due::Open | Due::Had) => clock.stand_aside(project),
        }
        for ranks in [&mut queue.remote, &mut queue.open] {
            if ranks.remove(&before) {
                ranks.insert(job.rank);
            }
        }
        if job.ready {
            queue.unready(job.takes(), before);
            queue.ready(job.takes(), job.rank);
        }
        self.jobs.insert(id, job);
    }

    /// What was last said to be missing for a waiting job.
    pub(super) fn missing(&self, job: &Job) -> Option<&Missing> {
        let queue = self.queues.get(&job.want.platform)?;
        let class = queue.classes.get(&Kind::of(&job.want))?;
        class.missing.as_ref()
    }

    /// One waiting job of each kind.
    pub(super) fn kinds(&self) -> Vec<JobId> {
        let queues = self.queues.values();
        let classes = queues.flat_map(|queue| queue.classes.values());
        classes
            .filter_map(|class| class.jobs.first().copied())
            .collect()
    }

    /// The queue of a platform, if anything waits for it.
    pub(super) fn queue(&self, platform: &Platform) -> Option<&Queue> {
        self.queues.get(platform)
    }

    /// Waiting jobs of a platform that may leave this node, first ones first.
    pub(super) fn waiting_remote(&self, platform: &Platform) -> impl Iterator<Item = &Job> {
        let ranks = self.queues.get(platform).map(|queue| &queue.remote);
        ranks
            .into_iter()
            .flatten()
            .filter_map(|rank| self.get(rank.job))
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

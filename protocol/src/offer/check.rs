//! What always holds between two events. Asserted after each one in debug builds and tests.

#![cfg(any(debug_assertions, test))]

use super::{
    AttemptId, Engine, Loss,
    alarms::Alarm,
    auction::Auction,
    jobs::{Job, State},
    queue::Queue,
    runs::Stage,
};
use crate::{limits, time::Time};

/// Open jobs beyond which only every sixty-fourth event is checked.
const SMALL: usize = 256;

impl Engine {
    /// Checks, but not so often that large meshes crawl in debug builds.
    pub(super) fn check_some(&mut self, now: Time) {
        self.events += 1;
        if self.jobs.len() <= SMALL || self.events.is_multiple_of(64) {
            self.check(now);
        }
    }

    /// Asserts the invariants.
    pub(super) fn check(&self, now: Time) {
        for job in self.jobs.iter() {
            self.check_job(job);
        }
        self.check_indexes();
        self.check_work();
        self.check_idle(now);
        for alarm in self.alarms.iter() {
            assert!(self.has_reason(alarm), "{alarm:?} is set for nothing");
        }
        let next = self.alarms.next();
        assert!(
            next.is_none_or(|next| next > now),
            "a deadline has passed unheard"
        );
        assert!(self.loose.is_empty(), "a bid went unanswered");
        assert!(self.jobs.len() <= limits::JOBS_MAX);
        assert!(self.peers.len() <= limits::PEERS_MAX);
        assert!(self.alarms.len() <= limits::JOBS_MAX * 3 + limits::PEERS_MAX * 2);
    }

    fn check_job(&self, job: &Job) {
        let id = job.want.job;
        let is_set = |alarm| self.alarms.get(&alarm).is_some();
        let (infra, _, nodes) = job.failed();
        let goes_on = matches!(job.state(), State::There(_));
        assert!(goes_on || (infra < limits::ATTEMPTS_MAX && nodes < limits::LOSSES_MAX));
        assert!(job.failures.len() <= limits::FAILURES_MAX);
        assert!(
            job.failures
                .iter()
                .all(|failure| failure.loss != Loss::Refused)
        );
        match job.state() {
            State::Waiting(bids) => {
                assert!(bids.len() < limits::BIDS_MAX, "{id} has bids enough");
                assert!(bids.iter().all(|bid| self.peers.contains_key(&bid.node)));
                let auction = self.auctions.get(id);
                let is_over = matches!(auction, None | Some(Auction::Parked));
                assert_eq!(is_set(Alarm::Bids(id)), !is_over);
                let asks = matches!(auction, Some(Auction::Asking { .. }));
                assert!(bids.is_empty() || asks, "{id} has bids that nobody gathers");
            }
            State::Resting => assert!(is_set(Alarm::Job(id)), "{id} rests for ever"),
            State::Here { number } => {
                assert!(*number <= job.attempts);
                let (owner, number) = (self.me, *number);
                let run = self.work.runs.get(&AttemptId {
                    owner,
                    job: id,
                    number,
                });
                assert!(
                    run.is_some_and(|run| run.stage == Stage::Own),
                    "{id} is said to run here"
                );
            }
            State::There(lease) => {
                assert!(lease.number <= job.attempts && job.want.remote_ok);
                assert!(self.peers.contains_key(&lease.node), "{id} is held by none");
                assert_eq!(self.alarms.get(&Alarm::Job(id)), Some(lease.until));
            }
        }
    }

    fn check_indexes(&self) {
        let count = |is: fn(&State) -> bool| self.jobs.iter().filter(|job| is(job.state())).count();
        let waiting = count(|state| matches!(state, State::Waiting(_)));
        let queues = || self.jobs.queues().map(|(_, queue)| queue);
        assert_eq!(queues().map(Queue::len).sum::<usize>(), waiting);
        for (platform, queue) in self.jobs.queues() {
            let here = queue.here.values().flatten();
            for rank in here.chain(&queue.remote) {
                let job = self.jobs.get(rank.job).expect("queued jobs are open");
                assert!(matches!(job.state(), State::Waiting(_)));
                assert!(job.rank == *rank && job.want.platform == *platform);
            }
            let counts = queue
                .classes
                .values()
                .filter(|class| class.missing.is_none());
            let counted: usize = counts.map(|class| class.jobs.len()).sum();
            assert_eq!(queue.counted(), counted, "a turn was lost or had twice");
            for id in queue.classes.values().flat_map(|class| &class.jobs) {
                let job = self.jobs.get(*id).expect("queued jobs are open");
                assert_eq!(queue.remote.contains(&job.rank), job.want.remote_ok);
                let open = job.want.remote_ok && self.auctions.get(*id).is_none();
                assert_eq!(
                    queue.open.contains(&job.rank),
                    open,
                    "{id} is lost to offers"
                );
            }
        }
        for (id, _) in self.auctions.iter() {
            let state = self.jobs.get(*id).map(Job::state);
            assert!(
                matches!(state, Some(State::Waiting(_))),
                "{id} is offered in vain"
            );
        }
        self.quotes.check();
        self.check_homes();
        let held = count(|state| matches!(state, State::There(_)));
        for job in self.hedges.jobs() {
            let state = self.jobs.get(job).map(Job::state);
            assert!(matches!(state, Some(State::There(_))), "{job} has no first");
            assert!(self.alarms.get(&Alarm::Second(job)).is_some());
        }
        assert_eq!(self.jobs.held_all(), held);
        for node in self.peers.keys() {
            assert!(self.jobs.held_len(*node) <= limits::PEERS_MAX);
        }
    }

    fn check_work(&self) {
        for (id, run) in &self.work.runs {
            match run.stage {
                Stage::Own => {
                    let job = self.jobs.get(id.job).expect("own attempts have open jobs");
                    let here = State::Here { number: id.number };
                    assert!(id.owner == self.me && *job.state() == here);
                }
                Stage::Leased { .. } => {
                    assert_ne!(id.owner, self.me);
                    assert!(self.alarms.get(&Alarm::Lease(*id)).is_some());
                    let beats = self.alarms.get(&Alarm::Beat(id.owner)).is_some();
                    assert_eq!(beats, self.peers.contains_key(&id.owner));
                }
                Stage::Expired | Stage::Cancelled => {}
            }
            assert!(!self.work.is_reported(*id), "{id} runs and has ended");
        }
        for (nonce, bid) in &self.work.bids {
            assert!(self.peers.contains_key(&bid.owner));
            assert!(self.alarms.get(&Alarm::Bid(*nonce)).is_some());
        }
        let bids = self.work.bids.len();
        let keeps_any = self.lending && !self.paused;
        assert!(bids == 0 || (keeps_any && !self.is_overbid()));
        assert!(self.work.results_len() <= limits::RESULTS_MAX);
    }

    /// No slot is idle beside a job that may run in it.
    fn check_idle(&self, now: Time) {
        let idle = self.idle_beside(now);
        assert!(idle.is_none(), "room is idle beside {idle:?}");
        for id in self.aside() {
            let alarm = Alarm::Job(*id);
            assert!(self.alarms.get(&alarm).is_some(), "{id} is aside for ever");
        }
    }

    fn has_reason(&self, alarm: &Alarm) -> bool {
        let state = |job| self.jobs.get(job).map(Job::state);
        match alarm {
            Alarm::Bids(job) => matches!(state(*job), Some(State::Waiting(_))),
            Alarm::Peer(node) => self.peers.contains_key(node),
            Alarm::Role(_) => true,
            Alarm::Job(job) => matches!(
                state(*job),
                Some(State::Waiting(_) | State::Resting | State::There(_))
            ),
            Alarm::Second(job) => self.hedges.jobs().any(|held| held == *job),
            Alarm::Award(job) => matches!(state(*job), Some(State::There(_))),
            Alarm::Digest(platform) => self.jobs.waiting_remote(platform).next().is_some(),
            Alarm::Bid(nonce) => self.work.bids.contains_key(nonce) || self.quotes.contains(*nonce),
            Alarm::Beat(owner) => self.peers.contains_key(owner),
            Alarm::Lease(id) => self.work.runs.contains_key(id),
            Alarm::Result(id) => self.work.is_reported(*id) && self.peers.contains_key(&id.owner),
        }
    }
}

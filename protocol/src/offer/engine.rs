//! The engine's outside: what it is made of, its one entry, and what can be read of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    AttemptId, Command, Event, JobId, Message, Rejection,
    alarms::{Alarm, Alarms},
    bargain::Gossip,
    jobs::{Bid, Jobs, State},
    runs::Work,
    worker::Hints,
};
use crate::{action::Limits, ids::NodeId, limits, platform::Platform, time::Time};

/// What an engine begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// This node.
    pub me: NodeId,
    /// What this node builds for; empty for a node that builds nothing.
    pub platforms: BTreeSet<Platform>,
    /// Those of them that it only emulates: slower, and for when nobody else has time.
    pub emulated: BTreeSet<Platform>,
    /// Attempts that it runs at once.
    pub slots: u32,
    /// The most that it allows an attempt.
    pub most: Limits,
    /// The most that it allows an attempt for somebody else.
    pub lent: Limits,
    /// Random and new at each start, so that answers to an earlier life's bids are known as such.
    pub seed: u64,
}

/// Where an own job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Waiting for a slot anywhere.
    Waiting,
    /// Waiting before it is tried again.
    Resting,
    /// Running here.
    Here {
        /// The attempt.
        number: u32,
    },
    /// Running on another node.
    There {
        /// The attempt.
        number: u32,
        /// Who runs it.
        node: NodeId,
    },
}

/// A member that is up.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub(super) platforms: BTreeSet<Platform>,
    pub(super) emulated: BTreeSet<Platform>,
    /// What it last offered, by platform.
    pub(super) hints: BTreeMap<Platform, Hints>,
    /// Its latest bids, so that a doubled one is known.
    pub(super) nonces: VecDeque<u64>,
}

/// One event's time and the commands that come of it.
pub(super) struct Turn<'a> {
    pub(super) now: Time,
    out: &'a mut Vec<Command>,
}

impl Turn<'_> {
    pub(super) fn push(&mut self, command: Command) {
        self.out.push(command);
    }

    pub(super) fn send(&mut self, to: NodeId, message: Message) {
        self.push(Command::Send { to, message });
    }

    pub(super) fn reject(&mut self, from: NodeId, reason: Rejection) {
        self.push(Command::Reject { from, reason });
    }
}

/// One node's part in the market.
#[derive(Debug)]
pub struct Engine {
    pub(super) me: NodeId,
    pub(super) platforms: BTreeSet<Platform>,
    pub(super) emulated: BTreeSet<Platform>,
    pub(super) slots: u32,
    pub(super) most: Limits,
    pub(super) lent: Limits,
    pub(super) paused: bool,
    pub(super) lending: bool,
    pub(super) peers: BTreeMap<NodeId, Peer>,
    pub(super) jobs: Jobs,
    pub(super) gossip: Gossip,
    pub(super) work: Work,
    pub(super) alarms: Alarms,
    /// Bids that are still to be answered before the event is over.
    pub(super) loose: Vec<Bid>,
    woken: Option<Time>,
    #[cfg(any(debug_assertions, test))]
    pub(super) events: u64,
}

impl Engine {
    /// An engine that knows of no jobs and no peers.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        Self {
            me: setup.me,
            platforms: setup.platforms,
            emulated: setup.emulated,
            slots: setup.slots.min(limits::SLOTS_MAX),
            most: setup.most,
            lent: setup.lent,
            paused: false,
            lending: true,
            peers: BTreeMap::new(),
            jobs: Jobs::default(),
            gossip: Gossip::default(),
            work: Work::new(setup.seed),
            alarms: Alarms::default(),
            loose: Vec::new(),
            woken: None,
            #[cfg(any(debug_assertions, test))]
            events: 0,
        }
    }

    /// Takes one event in and pushes what is to be done because of it, in order.
    pub fn handle(&mut self, now: Time, event: Event, out: &mut Vec<Command>) {
        let turn = &mut Turn { now, out };
        match event {
            Event::Want(want) => self.want(turn, want),
            Event::Unwant(job) => self.unwant(turn, job),
            Event::PeerUp {
                node,
                platforms,
                emulated,
            } => self.peer_up(turn, node, (platforms, emulated)),
            Event::PeerDown(node) => self.peer_down(turn, node),
            Event::Heard {
                from,
                platform,
                digest,
            } => self.heard(turn, from, &platform, &digest),
            Event::Message { from, message } => self.message(turn, from, message),
            Event::Finished {
                attempt,
                verdict,
                outcome,
            } => self.finished(turn, attempt, verdict, outcome),
            Event::Progress { attempt, log_bytes } => self.work.progress(attempt, log_bytes),
            Event::Slots(slots) => self.resize(turn, slots),
            Event::Pause(paused) => self.pause(turn, paused),
            Event::Lend(lending) => self.lend(lending),
            Event::Tick => {}
        }
        // After the event, so that a beat that was read late still counts.
        while let Some(alarm) = self.alarms.pop(now) {
            self.ring(turn, alarm);
        }
        self.settle(turn);
        #[cfg(any(debug_assertions, test))]
        self.check_some(now);
    }

    fn message(&mut self, turn: &mut Turn<'_>, from: NodeId, message: Message) {
        if !self.peers.contains_key(&from) {
            return turn.reject(from, Rejection::NotUp(from));
        }
        if let Err(error) = message.check() {
            return turn.reject(from, error.into());
        }
        match message {
            Message::Bid {
                nonce,
                job,
                eta_ms,
                most,
            } => {
                let bid = Bid {
                    node: from,
                    nonce,
                    eta_ms,
                    most,
                };
                self.bid_came(turn, job, bid);
            }
            Message::Award {
                nonce,
                job,
                number,
                lease_ms,
                action,
            } => {
                let owner = from;
                let id = AttemptId { owner, job, number };
                self.awarded(turn, nonce, id, lease_ms, action);
            }
            Message::Decline { nonce } => self.declined(turn, from, nonce),
            Message::Refuse { job, number } => self.refused(turn, from, job, number),
            Message::Beat { attempts } => self.beaten(turn, from, &attempts),
            Message::Renew { attempts } => self.renewed(turn, from, &attempts),
            Message::Cancel { job, number } => self.cancelled(
                turn,
                AttemptId {
                    owner: from,
                    job,
                    number,
                },
            ),
            Message::Result {
                job,
                number,
                verdict,
                outcome,
            } => {
                turn.send(from, Message::Ack { job, number });
                self.result_came(turn, from, (job, number), verdict, outcome);
            }
            Message::Ack { job, number } => self.acknowledged(AttemptId {
                owner: from,
                job,
                number,
            }),
        }
    }

    fn ring(&mut self, turn: &mut Turn<'_>, alarm: Alarm) {
        match alarm {
            Alarm::Bids(job) => self.choose(turn, job),
            Alarm::Job(job) => self.job_due(turn, job),
            Alarm::Award(job) => self.award_again(turn, job),
            Alarm::Digest(platform) => self.digest(turn, platform),
            Alarm::Bid(nonce) => self.work.release(nonce),
            Alarm::Beat(owner) => self.beat(turn, owner),
            Alarm::Lease(attempt) => self.lease_ended(turn, attempt),
            Alarm::Result(attempt) => self.send_result(turn, attempt),
        }
    }

    /// What follows from any change: no slot stays idle beside a job that may run in it.
    fn settle(&mut self, turn: &mut Turn<'_>) {
        self.place_here(turn);
        self.answer_bids(turn);
        self.bid(turn);
        self.plan_digests(turn);
        let Some(next) = self.alarms.next() else {
            return;
        };
        if self
            .woken
            .is_none_or(|woken| next < woken || woken <= turn.now)
        {
            self.woken = Some(next);
            turn.push(Command::WakeAt(next));
        }
    }

    fn peer_up(
        &mut self,
        turn: &mut Turn<'_>,
        node: NodeId,
        (platforms, emulated): (BTreeSet<Platform>, BTreeSet<Platform>),
    ) {
        if node == self.me {
            return;
        }
        let known = self.peers.len();
        if known >= limits::PEERS_MAX && !self.peers.contains_key(&node) {
            return turn.reject(node, Rejection::TooManyPeers(node));
        }
        for platform in &platforms {
            self.gossip.freshen(platform);
        }
        let peer = self.peers.entry(node).or_default();
        (peer.platforms, peer.emulated) = (platforms, emulated);
        self.owner_up(turn, node);
        self.review(turn);
    }

    fn peer_down(&mut self, turn: &mut Turn<'_>, node: NodeId) {
        if self.peers.remove(&node).is_none() {
            return;
        }
        self.owner_down(node);
        self.bidder_down(node);
        self.holder_down(turn, node);
        self.review(turn);
    }

    fn resize(&mut self, turn: &mut Turn<'_>, slots: u32) {
        self.slots = slots.min(limits::SLOTS_MAX);
        self.trim_bids();
        self.review(turn);
    }

    fn pause(&mut self, turn: &mut Turn<'_>, paused: bool) {
        self.paused = paused;
        self.trim_bids();
        self.review(turn);
    }

    fn lend(&mut self, lending: bool) {
        self.lending = lending;
        self.trim_bids();
    }

    /// Where an own job stands, if it is open.
    #[must_use]
    pub fn standing(&self, job: JobId) -> Option<Standing> {
        Some(match self.jobs.get(job)?.state() {
            State::Waiting(_) => Standing::Waiting,
            State::Resting => Standing::Resting,
            State::Here { number } => Standing::Here { number: *number },
            State::There(lease) => Standing::There {
                number: lease.number,
                node: lease.node,
            },
        })
    }

    /// The open jobs of this owner, in order of their ids.
    pub fn jobs(&self) -> impl Iterator<Item = JobId> {
        self.jobs.iter().map(|job| job.want.job)
    }

    /// Attempts that run here now, stopped ones too until they have finished.
    pub fn running(&self) -> impl Iterator<Item = AttemptId> {
        self.work.runs()
    }

    /// Attempts that this node runs at once.
    #[must_use]
    pub const fn slots(&self) -> u32 {
        self.slots
    }

    /// Slots that neither run nor are kept for a bid; none while paused.
    #[must_use]
    pub fn free(&self) -> u32 {
        if self.paused {
            0
        } else {
            self.slots.saturating_sub(self.work.used())
        }
    }

    /// Whether this node starts no attempts.
    #[must_use]
    pub const fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether this node takes jobs of others.
    #[must_use]
    pub const fn is_lending(&self) -> bool {
        self.lending
    }

    /// Results that owners who are up have not acknowledged yet.
    #[must_use]
    pub fn owed(&self) -> usize {
        let owners = self.work.owed();
        owners
            .filter(|id| self.peers.contains_key(&id.owner))
            .count()
    }
}

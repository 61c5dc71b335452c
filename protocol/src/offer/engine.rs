//! The engine's outside: what it is made of, its one entry, and what can be read of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    AttemptId, Command, Event, JobId, Layer, Message, Rejection, Resources,
    alarms::{Alarm, Alarms},
    auction::Auctions,
    bargain::Gossip,
    crowd::Crowd,
    jobs::{Bid, Jobs, State},
    load::Load,
    quotes::Quotes,
    resources::Takes,
    resume::Homes,
    runs::Work,
    second::Hedges,
    worker::{Award, Hints},
};
use crate::{action::Limits, claim::Verdict, ids::NodeId, limits, platform::Platform, time::Time};

/// What an engine begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// This node.
    pub me: NodeId,
    /// What this node builds for; empty for a node that builds nothing.
    pub platforms: BTreeSet<Platform>,
    /// Those of them that it only emulates: slower, and for when nobody else has time.
    pub emulated: BTreeSet<Platform>,
    /// Usual jobs that it runs at once, until [`Event::Capacity`] says more.
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
    pub(super) operator: String,
    pub(super) platforms: BTreeSet<Platform>,
    pub(super) emulated: BTreeSet<Platform>,
    /// What it last offered, by platform.
    pub(super) hints: BTreeMap<Platform, Hints>,
    /// Its latest bids, so that a doubled one is known.
    pub(super) nonces: VecDeque<u64>,
    /// The most that it allows a job, as it said last.
    pub(super) most: Option<Limits>,
    /// How many times in a row it had no room.
    pub(super) passes: u32,
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
    /// How many usual jobs run here at once.
    pub(super) slots: u32,
    /// What this node has for jobs.
    pub(super) room: Resources,
    /// The waiting job that needs more room than is free and has waited for long: what becomes
    /// free is kept for it.
    pub(super) held_for: Option<(JobId, Takes)>,
    /// Waiting jobs that this node leaves to others for now.
    pub(super) aside: BTreeSet<JobId>,
    pub(super) most: Limits,
    pub(super) lent: Limits,
    pub(super) paused: bool,
    pub(super) lending: bool,
    pub(super) peers: BTreeMap<NodeId, Peer>,
    pub(super) jobs: Jobs,
    pub(super) hedges: Hedges,
    pub(super) gossip: Gossip,
    pub(super) crowd: Crowd,
    pub(super) auctions: Auctions,
    pub(super) quotes: Quotes,
    /// Layers below jobs of digests of which is counted what is missing here.
    pub(super) asked: BTreeMap<u64, Layer>,
    /// Whether a digest came since that was last looked at.
    pub(super) news: bool,
    pub(super) load: Load,
    /// Peers that have offered something in digests.
    pub(super) hinted: BTreeSet<NodeId>,
    pub(super) homes: Homes,
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
            room: Resources::of_slots(setup.slots),
            held_for: None,
            aside: BTreeSet::new(),
            most: setup.most,
            lent: setup.lent,
            paused: false,
            lending: true,
            peers: BTreeMap::new(),
            jobs: Jobs::default(),
            hedges: Hedges::new(setup.seed),
            gossip: Gossip::default(),
            crowd: Crowd::new(setup.seed),
            auctions: Auctions::default(),
            quotes: Quotes::default(),
            asked: BTreeMap::new(),
            news: false,
            load: Load::default(),
            homes: Homes::default(),
            hinted: BTreeSet::new(),
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
                operator,
                platforms,
                emulated,
            } => self.peer_up(turn, node, operator, (platforms, emulated)),
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
            } => {
                self.load.end(attempt, now, verdict != Verdict::Infra);
                let attempt = self.ended_here(attempt);
                self.finished(turn, attempt, verdict, outcome);
            }
            Event::Progress { attempt, phase } => {
                self.work.progress(self.homes.current(attempt), phase);
            }
            Event::Appraised {
                appraisal,
                missing_bytes,
                bytes_per_s,
            } => self.appraised(turn, appraisal, (missing_bytes, bytes_per_s)),
            Event::Holder { role, node } => self.role_held(turn, role, node),
            Event::Capacity(room) => self.resize(turn, room),
            Event::Slots(slots) => self.resize(turn, Resources::of_slots(slots)),
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
                wait_ms,
                most,
                offered,
            } => {
                let bid = Bid {
                    node: from,
                    nonce,
                    eta_ms,
                    wait_ms,
                    most,
                    offered,
                };
                self.bid_came(turn, job, bid);
            }
            Message::Award {
                nonce,
                job,
                number,
                lease_ms,
                needs,
                action,
                holders,
                role,
            } => {
                let owner = from;
                let id = AttemptId { owner, job, number };
                let award = Award {
                    nonce,
                    lease_ms,
                    takes: Takes::of(&needs),
                    action,
                    holders,
                    role,
                };
                self.awarded(turn, id, award);
            }
            Message::Decline { nonce } => self.declined(turn, from, nonce),
            Message::Refuse { job, number } => self.refused(turn, from, job, number),
            Message::Beat { attempts } => self.beaten(turn, from, &attempts),
            Message::Renew { attempts } => self.renewed(turn, from, &attempts),
            Message::Result {
                job,
                number,
                verdict,
                outcome,
                room,
            } => {
                let nonce = room.then(|| self.nonce_of(from, job, number)).flatten();
                turn.send(from, Message::Ack { job, number });
                self.result_came(turn, from, (job, number), verdict, outcome);
                self.hand_on(turn, from, nonce);
            }
            other => self.bargained(turn, from, other),
        }
    }

    /// What is said of ends, of offers, and of attempts whose role has gone elsewhere.
    fn bargained(&mut self, turn: &mut Turn<'_>, from: NodeId, message: Message) {
        let of = |job, number| AttemptId {
            owner: from,
            job,
            number,
        };
        match message {
            Message::Cancel { job, number } => self.cancelled(turn, of(job, number)),
            Message::Ack { job, number } => self.acknowledged(of(job, number)),
            Message::Offer(offer) => self.offered(turn, from, *offer),
            Message::Pass { job, why, most } => self.passed(turn, from, job, (why, most)),
            Message::Resume { role, attempts } => self.resumed(turn, from, role, &attempts),
            Message::Adopt {
                of,
                number,
                lease_ms,
            } => self.adopted(turn, from, of, (number, lease_ms)),
            Message::Release { of } => self.released(turn, from, of),
            _ => {}
        }
    }

    fn ring(&mut self, turn: &mut Turn<'_>, alarm: Alarm) {
        match alarm {
            Alarm::Bids(job) => self.auction_due(turn, job),
            Alarm::Peer(node) => self.rested(node),
            Alarm::Job(job) => self.job_due(turn, job),
            Alarm::Second(job) => self.second_due(turn, job),
            Alarm::Award(job) => self.award_again(turn, job),
            Alarm::Digest(platform) => self.digest(turn, platform),
            Alarm::Bid(nonce) => _ = self.free_bid(nonce),
            Alarm::Beat(owner) => self.beat(turn, owner),
            Alarm::Role(role) => self.go_home(turn, role),
            Alarm::Lease(attempt) => self.lease_ended(turn, attempt),
            Alarm::Result(attempt) => self.send_result(turn, attempt),
        }
    }

    /// What follows from any change: no slot stays idle beside a job that may run in it.
    fn settle(&mut self, turn: &mut Turn<'_>) {
        self.place_here(turn);
        self.answer_bids(turn);
        self.offer_waiting(turn);
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
        operator: String,
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
        peer.operator = operator;
        (peer.most, peer.passes) = (None, 0);
        self.crowd.up(node, &platforms);
        (peer.platforms, peer.emulated) = (platforms, emulated);
        self.alarms.clear(&Alarm::Peer(node));
        self.offer_parked();
        self.owner_up(turn, node);
        self.home_up(turn, node);
        self.review(turn);
    }

    fn peer_down(&mut self, turn: &mut Turn<'_>, node: NodeId) {
        if self.peers.remove(&node).is_none() {
            return;
        }
        self.crowd.down(node);
        self.alarms.clear(&Alarm::Peer(node));
        self.owner_down(node);
        self.forget_offers(node);
        self.candidate_down(turn, node);
        self.second_down(turn, node);
        self.holder_down(turn, node);
        self.review(turn);
    }

    fn resize(&mut self, turn: &mut Turn<'_>, room: Resources) {
        self.room = room;
        self.slots = room.slots();
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

    /// Usual jobs that this node runs at once.
    #[must_use]
    pub const fn slots(&self) -> u32 {
        self.slots
    }

    /// Usual jobs of others that could be begun now, beside what runs, is kept for bids and is held
    /// back for an own job; none while paused.
    #[must_use]
    pub fn free(&self) -> u32 {
        if self.paused { 0 } else { self.spare_slots() }
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

//! The actor: one task that owns the swarm and everything known about peers. It takes commands,
//! swarm events and finished answers one at a time, and never waits for the driver: events that the
//! driver is too slow for pile up to a bound, then messages among them are dropped and counted.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use caravan_protocol::{
    identity::{NodeCert, Roster, Signed},
    ids::NodeId,
    member::Revocation,
    time::Stamp,
};
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use libp2p::{
    Multiaddr, PeerId, Swarm,
    request_response::{OutboundRequestId, ResponseChannel},
    swarm::SwarmEvent,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    learned::Moved,
    peer::{Peer, Standing},
    rates::Rates,
    relays::Relays,
    waiting::Waiting,
    words::Words,
};
use crate::{
    backlog::Backlog,
    behaviour::{Behaviour, BehaviourEvent},
    book::Book,
    bulk::serve::{Shop, Slots},
    config::{Relay, Timing},
    counters::Tally,
    event::{Contact, Event},
    handle::{AskError, Command, Status},
    limits::HEARD_MAX,
    links::Heard,
    members::{Member, Members},
    membership::Membership,
    names,
    replay::Replay,
    streams,
};

mod bulk;
mod command;
mod control;
mod dials;
mod gossip;
mod greet;
mod learned;
mod member;
mod peer;
mod peers;
mod rates;
mod relays;
mod tick;
mod waiting;
mod words;

#[cfg(test)]
mod tests;

/// How often the actor looks at what only time changes.
const TICK: Duration = Duration::from_millis(250);
/// How soon it looks again at messages that wait for their turn.
const PUMP: Duration = Duration::from_millis(50);

/// What the swarm reports.
pub(crate) type Happened = SwarmEvent<BehaviourEvent>;

/// The wall clock.
pub(crate) fn stamp() -> Stamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Stamp::from_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A number that no meeting of an earlier start of this node had; it names this life as well.
fn first_meeting() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A number that no other start of any node has, most likely.
pub(crate) fn first_number() -> u64 {
    first_meeting() ^ u64::from(std::process::id()).rotate_left(48)
}

/// What is remembered of an author of gossip.
pub(crate) struct Author {
    purse: crate::purse::Purse,
    replay: Replay,
}

/// A question of ours.
pub(crate) struct Asked {
    to: NodeId,
    peer: PeerId,
    reply: oneshot::Sender<Result<Vec<u8>, AskError>>,
}

/// Something that was waited for beside the actor.
pub(crate) enum Done {
    /// The driver has decided about a stranger.
    Admission {
        channel: ResponseChannel<Vec<u8>>,
        answer: Vec<u8>,
    },
    /// The driver has answered a member.
    Question {
        channel: ResponseChannel<Vec<u8>>,
        answer: Vec<u8>,
    },
    /// A bulk stream is through.
    Served { peer: PeerId },
}

/// What an actor is made of.
pub(crate) struct Setup {
    pub(crate) me: NodeId,
    pub(crate) cert: Signed<NodeCert>,
    pub(crate) operator: String,
    pub(crate) membership: Membership,
    pub(crate) book: Book,
    pub(crate) swarm: Swarm<Behaviour>,
    pub(crate) streams: streams::Control,
    pub(crate) announced: Vec<Multiaddr>,
    pub(crate) timing: Timing,
    pub(crate) operator_connections: usize,
    pub(crate) relay: Relay,
    pub(crate) shop: Shop,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) members: watch::Sender<Arc<Members>>,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) cancel: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

pub(crate) struct Actor {
    me: NodeId,
    life: u64,
    next_meeting: u64,
    cert: Signed<NodeCert>,
    operator: String,
    membership: Membership,
    /// Who is out, as the council said it.
    revoked: Vec<Signed<Revocation>>,
    /// Up to which incarnation the driver was told to keep them for the next start.
    reserved: u32,
    moved: Moved,
    book: Book,
    swarm: Swarm<Behaviour>,
    streams: streams::Control,
    announced: Vec<Multiaddr>,
    timing: Timing,
    operator_connections: usize,
    shop: Shop,
    peers: HashMap<PeerId, Peer>,
    waiting: HashMap<PeerId, Waiting>,
    rates: Rates,
    relays: Relays,
    words: Words,
    heard: mpsc::Sender<Heard>,
    hearing: Option<mpsc::Receiver<Heard>>,
    hellos: HashMap<OutboundRequestId, PeerId>,
    batches: HashMap<OutboundRequestId, PeerId>,
    asks: HashMap<OutboundRequestId, Asked>,
    authors: HashMap<NodeId, Author>,
    admissions: usize,
    questions: usize,
    replies: FuturesUnordered<BoxFuture<'static, Done>>,
    slots: Slots,
    backlog: Backlog,
    status: watch::Sender<Status>,
    members: watch::Sender<Arc<Members>>,
    /// Whether what readers see of the members is behind, and the gate's list of them.
    members_behind: bool,
    known_behind: bool,
    /// What readers see of the members.
    view: BTreeMap<NodeId, Arc<Member>>,
    /// Since when this node says farewell, and who waits for it.
    farewell: Option<(Instant, oneshot::Sender<()>)>,
    /// When messages that wait for their turn are looked at next.
    pump_at: Option<Instant>,
    events: mpsc::Sender<Event>,
    tally: Arc<Tally>,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

impl Actor {
    pub(crate) fn new(setup: Setup) -> Self {
        let now = Instant::now();
        let life = first_meeting();
        let (heard, hearing) = mpsc::channel(HEARD_MAX);
        Self {
            me: setup.me,
            life,
            next_meeting: life,
            cert: setup.cert,
            operator: setup.operator,
            membership: setup.membership,
            revoked: Vec::new(),
            reserved: 0,
            moved: Moved::default(),
            book: setup.book,
            swarm: setup.swarm,
            streams: setup.streams,
            announced: setup.announced,
            timing: setup.timing,
            operator_connections: setup.operator_connections,
            shop: setup.shop,
            peers: HashMap::new(),
            waiting: HashMap::new(),
            rates: Rates::default(),
            relays: Relays::new(setup.relay),
            words: Words::new(now),
            heard,
            hearing: Some(hearing),
            hellos: HashMap::new(),
            batches: HashMap::new(),
            asks: HashMap::new(),
            authors: HashMap::new(),
            admissions: 0,
            questions: 0,
            replies: FuturesUnordered::new(),
            slots: Slots::default(),
            backlog: Backlog::default(),
            status: setup.status,
            members: setup.members,
            members_behind: true,
            known_behind: false,
            view: BTreeMap::new(),
            farewell: None,
            pump_at: None,
            events: setup.events,
            tally: setup.tally,
            cancel: setup.cancel,
            tasks: setup.tasks,
        }
    }

    /// Enters what is known before the first event.
    pub(crate) fn begin(
        &mut self,
        contacts: &[Contact],
        revocations: Vec<Signed<Revocation>>,
        listening: &[Multiaddr],
        early: Vec<Happened>,
    ) {
        let made = self.membership.engine().standing().incarnation;
        self.keep_ahead(made.number());
        let own = self.cert.clone();
        self.certify(&own);
        for revocation in revocations {
            self.revoke(revocation);
        }
        self.learn(contacts, true);
        for address in listening {
            self.listens(address);
        }
        for event in early {
            self.happened(event);
        }
        self.know();
    }

    /// Runs until cancelled, or until nobody reads the events.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut tick_at = Instant::now() + TICK;
        let events = self.events.clone();
        let Some(mut hearing) = self.hearing.take() else {
            return;
        };
        let sleep = tokio::time::sleep(TICK);
        tokio::pin!(sleep);
        loop {
            let wake = self.wake(tick_at);
            if sleep.deadline().into_std() != wake {
                sleep.as_mut().reset(wake.into());
            }
            tokio::select! {
                () = self.cancel.cancelled() => break,
                permit = events.reserve(), if !self.backlog.is_empty() => {
                    let (Ok(permit), Some(event)) = (permit, self.backlog.take()) else { break };
                    permit.send(event);
                }
                () = events.closed() => break,
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => break,
                },
                event = self.swarm.select_next_some() => self.happened(event),
                Some(heard) = hearing.recv() => self.linked(heard),
                Some(done) = self.replies.next(), if !self.replies.is_empty() => self.done(done),
                () = &mut sleep => {
                    let now = Instant::now();
                    if now >= tick_at {
                        tick_at = now + TICK;
                        self.tick();
                    }
                    self.woken(now);
                }
            }
        }
        // Whatever serves or fetches beside the actor ends with it.
        self.cancel.cancel();
    }

    /// When there is something to do that nothing else starts.
    fn wake(&self, tick_at: Instant) -> Instant {
        let wake = tick_at.min(self.membership.wake_at());
        self.pump_at.map_or(wake, |pump| wake.min(pump))
    }

    /// The time of something has come.
    fn woken(&mut self, now: Instant) {
        if self.membership.wake_at() <= now {
            self.tell(caravan_protocol::member::Event::Tick);
        }
        if self.pump_at.is_some_and(|at| at <= now) {
            self.pump_at = None;
            self.pump_all();
        }
    }

    fn happened(&mut self, event: Happened) {
        match event {
            SwarmEvent::Behaviour(event) => self.behaved(event),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => self.connected(peer_id, connection_id, &endpoint),
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                num_established,
                cause,
                ..
            } => {
                if let Some(cause) = cause {
                    tracing::debug!(peer = %peer_id, %cause, "a connection broke");
                }
                self.disconnected(peer_id, connection_id, num_established);
            }
            SwarmEvent::OutgoingConnectionError { peer_id, error, .. } => {
                tracing::debug!(?peer_id, %error, "a dial failed");
                self.dial_failed(peer_id, &error);
            }
            SwarmEvent::IncomingConnectionError { error, .. } => {
                tracing::trace!(%error, "a connection was not taken");
            }
            SwarmEvent::NewListenAddr { address, .. } => self.listens(&address),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.listens_no_more(&address),
            SwarmEvent::ListenerClosed {
                listener_id,
                reason,
                ..
            } => self.listener_closed(listener_id, reason),
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "a listener failed");
            }
            _ => {}
        }
    }

    fn behaved(&mut self, event: BehaviourEvent) {
        use crate::behaviour::MembersEvent;
        match event {
            BehaviourEvent::Admit(event) => self.greeting(event),
            BehaviourEvent::Older(event) => self.greeted_by_older(event),
            BehaviourEvent::Members(MembersEvent::Control(event)) => self.control(event),
            BehaviourEvent::Members(MembersEvent::Gossip(event)) => self.gossiped(event),
            BehaviourEvent::Members(MembersEvent::Streams(opened)) => self.opened(opened),
            BehaviourEvent::Members(MembersEvent::Identify(event)) => self.identified(event),
            BehaviourEvent::Members(MembersEvent::Relayed(event)) => self.relayed(&event),
            BehaviourEvent::Members(MembersEvent::Relay(event)) => self.relaying(&event),
            BehaviourEvent::Members(MembersEvent::Punch(event)) => self.punched(&event),
            BehaviourEvent::Mdns(event) => self.discovered(event),
            _ => {}
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Admission { channel, answer } => {
                self.admissions -= 1;
                self.greet(channel, answer);
            }
            Done::Question { channel, answer } => {
                self.questions -= 1;
                self.answer(channel, answer);
            }
            Done::Served { peer } => self.slots.give_back(peer),
        }
    }

    /// Queues an event for the driver.
    fn emit(&mut self, event: Event) {
        if self.backlog.is_full() && event.is_droppable() {
            self.tally.dropped_backlog.add(1);
            return;
        }
        self.backlog.put(event);
    }

    /// Whether the driver is too slow for another message.
    fn is_swamped(&self) -> bool {
        self.backlog.is_full()
    }

    fn listens(&mut self, address: &Multiaddr) {
        if names::is_circuit(address) {
            return;
        }
        self.relay_at(address);
        if let Ok(address) = names::address_with_node(&address.to_string(), self.me) {
            self.emit(Event::Listening { address });
        }
        self.readdress();
        self.show();
    }

    fn listens_no_more(&mut self, address: &Multiaddr) {
        if !names::is_circuit(address) {
            self.readdress();
        }
        self.show();
    }

    fn roster(&self) -> &Roster {
        self.membership.roster()
    }

    /// Publishes what the handle shows.
    fn show(&mut self) {
        let mut connected: Vec<NodeId> = self
            .peers
            .values()
            .filter(|peer| peer.is_member())
            .map(|peer| peer.node)
            .collect();
        connected.sort_unstable();
        self.tally.peers.set(connected.len());
        self.tally.strangers.set(self.peers.len() - connected.len());
        let listening = self
            .swarm
            .listeners()
            .filter(|address| !names::is_circuit(address))
            .filter_map(|address| names::address_with_node(&address.to_string(), self.me).ok())
            .collect();
        self.members_behind = true;
        self.status.send_replace(Status {
            connected,
            listening,
            waiting: self.words.waiting().map(str::to_owned),
            clock_ahead_ms: self.words.clock_ahead_ms(),
        });
    }

    /// Tells the gate whose keys are members'.
    fn know(&mut self) {
        self.known_behind = false;
        let now = stamp();
        let known: HashSet<PeerId> = self
            .roster()
            .members(now)
            .filter_map(|cert| names::peer_of(cert.node))
            .collect();
        self.swarm.behaviour_mut().members.set_known(known);
    }
}

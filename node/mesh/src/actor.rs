//! The actor: one task that owns the swarm and everything known about peers. It takes commands,
//! swarm events and finished answers one at a time, and never waits for the driver: events that the
//! driver is too slow for pile up to a bound, then messages among them are dropped and counted.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use caravan_protocol::{
    identity::{NodeCert, Roster, Signed},
    ids::NodeId,
    time::Stamp,
};
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use libp2p::{
    Multiaddr, PeerId, Stream, Swarm,
    request_response::{OutboundRequestId, ResponseChannel},
    swarm::{ConnectionId, SwarmEvent},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::MissedTickBehavior,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    behaviour::{Behaviour, BehaviourEvent},
    book::Book,
    bucket::Bucket,
    bulk::{BlobSource, serve::Slots},
    config::Timing,
    counters::Tally,
    event::{Contact, Event},
    handle::{AskError, Command, Status},
    limits::{BACKLOG_MAX, BURST, OVER_MAX, RATE_PER_S},
    names,
    outbox::Outbox,
    replay::Replay,
};

mod bulk;
mod command;
mod control;
mod gossip;
mod greet;
mod peers;
mod tick;

/// How often the actor looks at what only time changes.
const TICK: Duration = Duration::from_millis(250);

/// What the swarm reports.
pub(crate) type Happened = SwarmEvent<BehaviourEvent>;

/// The wall clock.
pub(crate) fn stamp() -> Stamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Stamp::from_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A number that no meeting of an earlier start of this node had.
fn first_meeting() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// How far a connected peer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has shown no certificate yet.
    Stranger {
        since: Instant,
        /// Whether this node dialled it.
        dialled: bool,
    },
    /// It is a member, and this is its number of the meeting.
    Member { meeting: u64 },
}

/// A connected peer.
pub(crate) struct Peer {
    node: NodeId,
    /// Our number of this meeting.
    meeting: u64,
    standing: Standing,
    connections: HashMap<ConnectionId, Multiaddr>,
    bucket: Bucket,
    outbox: Outbox,
    asks: usize,
    /// Bulk streams that came while its hello was under way.
    held: Vec<Stream>,
    /// When it showed last that it lives.
    alive: Instant,
    /// Bytes that bulk streams served for it have moved, and how many the last tick knew of.
    moved: Arc<AtomicU64>,
    moved_seen: u64,
    /// Its connections are being closed.
    leaving: bool,
}

impl Peer {
    fn new(node: NodeId, meeting: u64, dialled: bool, now: Instant) -> Self {
        Self {
            node,
            meeting,
            standing: Standing::Stranger {
                since: now,
                dialled,
            },
            connections: HashMap::new(),
            bucket: Bucket::new(RATE_PER_S, BURST, OVER_MAX, now),
            outbox: Outbox::new(now),
            asks: 0,
            held: Vec::new(),
            alive: now,
            moved: Arc::default(),
            moved_seen: 0,
            leaving: false,
        }
    }

    const fn is_member(&self) -> bool {
        matches!(self.standing, Standing::Member { .. })
    }

    /// Whether it has shown no sign of life for longer than `patience`.
    fn is_silent(&mut self, now: Instant, patience: Duration) -> bool {
        let moved = self.moved.load(Ordering::Relaxed);
        if moved != self.moved_seen {
            self.moved_seen = moved;
            self.alive = now;
        }
        now.saturating_duration_since(self.alive) > patience
    }

    /// Whether what it says is heard.
    const fn is_heard(&self) -> bool {
        self.is_member() && !self.leaving
    }
}

/// What is remembered of an author of gossip.
pub(crate) struct Author {
    bucket: Bucket,
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
    pub(crate) roster: Roster,
    pub(crate) book: Book,
    pub(crate) swarm: Swarm<Behaviour>,
    pub(crate) announced: Vec<Multiaddr>,
    pub(crate) timing: Timing,
    pub(crate) source: Arc<dyn BlobSource>,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) cancel: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

pub(crate) struct Actor {
    me: NodeId,
    next_meeting: u64,
    cert: Signed<NodeCert>,
    roster: Roster,
    book: Book,
    swarm: Swarm<Behaviour>,
    announced: Vec<Multiaddr>,
    timing: Timing,
    source: Arc<dyn BlobSource>,
    peers: HashMap<PeerId, Peer>,
    hellos: HashMap<OutboundRequestId, PeerId>,
    batches: HashMap<OutboundRequestId, PeerId>,
    asks: HashMap<OutboundRequestId, Asked>,
    authors: HashMap<NodeId, Author>,
    admissions: usize,
    questions: usize,
    replies: FuturesUnordered<BoxFuture<'static, Done>>,
    slots: Slots,
    backlog: VecDeque<Event>,
    status: watch::Sender<Status>,
    events: mpsc::Sender<Event>,
    tally: Arc<Tally>,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

impl Actor {
    pub(crate) fn new(setup: Setup) -> Self {
        Self {
            me: setup.me,
            next_meeting: first_meeting(),
            cert: setup.cert,
            roster: setup.roster,
            book: setup.book,
            swarm: setup.swarm,
            announced: setup.announced,
            timing: setup.timing,
            source: setup.source,
            peers: HashMap::new(),
            hellos: HashMap::new(),
            batches: HashMap::new(),
            asks: HashMap::new(),
            authors: HashMap::new(),
            admissions: 0,
            questions: 0,
            replies: FuturesUnordered::new(),
            slots: Slots::default(),
            backlog: VecDeque::new(),
            status: setup.status,
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
        listening: &[Multiaddr],
        early: Vec<Happened>,
    ) {
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
    pub(crate) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut incoming: mpsc::Receiver<(PeerId, Stream)>,
    ) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let events = self.events.clone();
        loop {
            tokio::select! {
                () = self.cancel.cancelled() => break,
                permit = events.reserve(), if !self.backlog.is_empty() => {
                    let (Ok(permit), Some(event)) = (permit, self.backlog.pop_front()) else { break };
                    permit.send(event);
                }
                () = events.closed() => break,
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => break,
                },
                event = self.swarm.select_next_some() => self.happened(event),
                Some((peer, stream)) = incoming.recv() => self.bulk_asked(peer, stream),
                Some(done) = self.replies.next(), if !self.replies.is_empty() => self.done(done),
                _ = ticks.tick() => self.tick(),
            }
        }
        // Whatever serves or fetches beside the actor ends with it.
        self.cancel.cancel();
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
            }
            SwarmEvent::NewListenAddr { address, .. } => self.listens(&address),
            SwarmEvent::ExpiredListenAddr { .. } => self.show(),
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
            BehaviourEvent::Members(MembersEvent::Control(event)) => self.control(event),
            BehaviourEvent::Members(MembersEvent::Gossip(event)) => self.gossiped(event),
            BehaviourEvent::Ping(event) => self.pinged(&event),
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
        if self.backlog.len() >= BACKLOG_MAX && event.is_droppable() {
            self.tally.dropped_backlog.add(1);
            return;
        }
        self.backlog.push_back(event);
    }

    /// Whether the driver is too slow for another message.
    fn is_swamped(&self) -> bool {
        self.backlog.len() >= BACKLOG_MAX
    }

    fn listens(&mut self, address: &Multiaddr) {
        if let Ok(address) = names::address_with_node(&address.to_string(), self.me) {
            self.emit(Event::Listening { address });
        }
        self.show();
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
            .filter_map(|address| names::address_with_node(&address.to_string(), self.me).ok())
            .collect();
        self.status.send_replace(Status {
            connected,
            listening,
        });
    }

    /// Tells the gate whose keys are members'.
    fn know(&mut self) {
        let now = stamp();
        let known: HashSet<PeerId> = self
            .roster
            .members(now)
            .filter_map(|cert| names::peer_of(cert.node))
            .collect();
        self.swarm.behaviour_mut().members.set_known(known);
    }
}

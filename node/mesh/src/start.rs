//! Start of a node's mesh: checks what it was given, takes the addresses, starts the actor.

use std::{
    collections::HashSet,
    io,
    net::{TcpListener, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use caravan_protocol::{
    identity::{Key, NodeCert, Refused, Roster},
    ids::{MeshId, NodeId},
    member::{Incarnation, Notary, Setup as EngineSetup},
    platform::Platform,
};
use futures::StreamExt as _;
use libp2p::{Multiaddr, Swarm, gossipsub, swarm::SwarmEvent};
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    actor::{self, Actor, Setup},
    behaviour::{self, Behaviour, Parts, SetupError},
    book::Book,
    bulk::{flow::Terms, serve::Shop},
    config::Config,
    counters::Tally,
    event::Event,
    handle::{Command, Handle, Readers, Status},
    limits::{COMMANDS_MAX, EVENTS_MAX},
    members::Members,
    membership::Membership,
    names::{self, AddressError, Socket},
    wire,
};

/// How long the operating system may take to open a socket.
const LISTEN_MAX: Duration = Duration::from_secs(10);
/// How long the first address may take to show where a node listens on every interface: a machine
/// without a network has none yet, and the node listens all the same.
const FIRST_ADDRESS_MAX: Duration = Duration::from_secs(1);

/// Why a node's mesh could not be started.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// An address cannot be read.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A port is in use.
    #[error(
        "listen on {address}: the port is taken, perhaps by another node on this machine; stop that \
         or choose another port"
    )]
    PortTaken {
        /// The address.
        address: String,
    },
    /// An address cannot be listened on.
    #[error("listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The node's own certificate does not hold.
    #[error("speak in the mesh with this node's certificate")]
    OwnCert(#[source] Refused),
    /// The certificate is another node's.
    #[error("speak in the mesh as {ours}: the certificate is about {certified}")]
    OtherCert {
        /// This node.
        ours: NodeId,
        /// The node in the certificate.
        certified: NodeId,
    },
    /// The network library could not be set up.
    #[error("set up the network: {reason}")]
    Setup {
        /// Its words.
        reason: String,
    },
}

impl From<SetupError> for MeshError {
    fn from(error: SetupError) -> Self {
        Self::Setup {
            reason: error.to_string(),
        }
    }
}

/// The network of a node.
#[derive(Debug)]
pub struct Mesh;

impl Mesh {
    /// Starts the network. It runs until [`Handle::shutdown`] or until the events' receiver is
    /// dropped. When this returns, all of `config.listen` is listened on.
    pub async fn start(config: Config) -> Result<(Handle, mpsc::Receiver<Event>), MeshError> {
        let made = Made::of(config).await?;
        made.tasks.spawn(made.actor.run(made.commands));
        made.tasks.close();
        Ok((made.handle, made.events))
    }
}

/// A node's network that listens, and is not run yet.
pub(crate) struct Made {
    pub(crate) actor: Actor,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) handle: Handle,
    pub(crate) events: mpsc::Receiver<Event>,
    tasks: TaskTracker,
}

impl Made {
    pub(crate) async fn of(config: Config) -> Result<Self, MeshError> {
        let mut roster = config.roster.clone();
        let own = own_cert(&config, &mut roster)?;
        let me = own.node;
        let keypair = names::keypair(&config.secret);
        let mesh = roster.mesh();
        let tally = Arc::new(Tally::default());
        let parts = Parts {
            mesh,
            timing: config.timing,
            mdns: config.mdns,
            serve_relay: config.serve_relay,
            tally: Arc::clone(&tally),
        };
        let mut swarm = behaviour::member_swarm(keypair, &parts)?;
        subscribe(&mut swarm, mesh, &config.platforms)?;
        let (listening, early) = listen(&mut swarm, &config.listen).await?;
        let streams = swarm.behaviour_mut().members.inner().streams.new_control();
        let announced = parse_all(&config.announce)?;
        let mut book = Book::new(me);
        for seed in parse_all(&config.seeds)? {
            book.seed(seed, Instant::now());
        }
        let membership = membership(&config, me, roster);

        let (commands, command_queue) = mpsc::channel(COMMANDS_MAX);
        let (events, event_queue) = mpsc::channel(EVENTS_MAX);
        let (status, status_reader) = watch::channel(Status::default());
        let (members, members_reader) = watch::channel(Arc::new(Members::default()));
        let cancel = CancellationToken::new();
        let tasks = TaskTracker::new();
        let shop = shop(&config, &tally, &cancel);
        let mut actor = Actor::new(Setup {
            me,
            cert: config.cert,
            operator: own.operator,
            membership,
            book,
            swarm,
            streams: streams.clone(),
            announced,
            timing: config.timing,
            operator_connections: config.operator_connections,
            relay: config.relay,
            shop: shop.clone(),
            status,
            members,
            events,
            tally: Arc::clone(&tally),
            cancel: cancel.clone(),
            tasks: tasks.clone(),
        });
        actor.begin(&config.contacts, config.revocations, &listening, early);
        let readers = Readers {
            status: status_reader,
            members: members_reader,
            tally,
            shelf: shop.shelf,
            me,
        };
        Ok(Self {
            actor,
            commands: command_queue,
            handle: Handle::new(commands, readers, streams, shop.terms, tasks.clone()),
            events: event_queue,
            tasks,
        })
    }
}

/// What bulk is served with.
fn shop(config: &Config, tally: &Arc<Tally>, cancel: &CancellationToken) -> Shop {
    Shop {
        source: Arc::clone(&config.source),
        shelf: Arc::default(),
        tally: Arc::clone(tally),
        terms: Terms {
            idle: config.timing.bulk_idle,
            cancel: cancel.clone(),
        },
        #[cfg(any(test, feature = "rogue"))]
        liar: config.liar.clone(),
    }
}

/// The node's own certificate, which has to hold and to be its own.
fn own_cert(config: &Config, roster: &mut Roster) -> Result<NodeCert, MeshError> {
    let me = Key::from_secret(&config.secret).node();
    let own = roster
        .admit(&config.cert, actor::stamp())
        .map_err(MeshError::OwnCert)?;
    if own.node != me {
        return Err(MeshError::OtherCert {
            ours: me,
            certified: own.node,
        });
    }
    Ok(own)
}

/// The membership engine, which knows nobody yet.
fn membership(config: &Config, me: NodeId, roster: Roster) -> Membership {
    // Nothing was ever said above what was kept, whatever the clock says and however the node ended:
    // numbers are told to the driver well ahead of their use. Only the first ones of a start may be
    // used before they are kept, if the driver is not there yet when others already are. For a node
    // killed just then, and for a directory restored from an older copy, the clock stands in: over
    // time a node says something new less than once a second. Where that fails too, for the clock
    // was set back or the second is the same, others' memory of this node looks to it like a twin's
    // word: it complains of one, and goes on above that number.
    let by_clock = u32::try_from(actor::stamp().as_ms() / 1000).unwrap_or(u32::MAX);
    let setup = EngineSetup {
        mesh: roster.mesh(),
        me,
        made: Incarnation::new(config.incarnation.max(by_clock)),
        addresses: Vec::new(),
        facts: config.facts.clone(),
        mode: config.mode,
        tuning: config.timing.tuning,
        seed: actor::first_number(),
    };
    let notary = Notary::new(Key::from_secret(&config.secret), roster);
    Membership::new(setup, notary)
}

/// Before the first connection: whoever comes is told the topics once.
fn subscribe(
    swarm: &mut Swarm<Behaviour>,
    mesh: MeshId,
    platforms: &[Platform],
) -> Result<(), MeshError> {
    for platform in platforms {
        let topic = gossipsub::IdentTopic::new(wire::topic(mesh, platform));
        let members = swarm.behaviour_mut().members.inner();
        let subscribed = members.gossip.subscribe(&topic);
        subscribed.map_err(|error| MeshError::Setup {
            reason: error.to_string(),
        })?;
    }
    Ok(())
}

fn parse_all(texts: &[String]) -> Result<Vec<Multiaddr>, AddressError> {
    texts
        .iter()
        .map(|text| names::parse_address(text))
        .collect()
}

async fn listen(
    swarm: &mut Swarm<Behaviour>,
    texts: &[String],
) -> Result<(Vec<Multiaddr>, Vec<actor::Happened>), MeshError> {
    let mut waiting = HashSet::new();
    let mut fixed = false;
    let mut listening = Vec::new();
    let mut early = Vec::new();
    for address in parse_all(texts)? {
        let refuse = |source: io::Error| {
            let address = address.to_string();
            if source.kind() == io::ErrorKind::AddrInUse {
                MeshError::PortTaken { address }
            } else {
                MeshError::Listen { address, source }
            }
        };
        probe(&address).map_err(refuse)?;
        let listener = swarm
            .listen_on(address.clone())
            .map_err(|error| refuse(io_error(error)))?;
        fixed |= names::ip_of(&address).is_some_and(|ip| !ip.is_unspecified());
        waiting.insert(listener);
    }
    let patience = if fixed { LISTEN_MAX } else { FIRST_ADDRESS_MAX };
    let deadline = tokio::time::Instant::now() + patience;
    while !waiting.is_empty() {
        let late = || MeshError::Listen {
            address: texts.join(", "),
            source: io::ErrorKind::TimedOut.into(),
        };
        let event = tokio::time::timeout_at(deadline, swarm.select_next_some()).await;
        if event.is_err() && !fixed {
            break;
        }
        match event.map_err(|_| late())? {
            SwarmEvent::NewListenAddr {
                listener_id,
                address,
            } => {
                waiting.remove(&listener_id);
                listening.push(address);
            }
            SwarmEvent::ListenerClosed {
                listener_id,
                reason: Err(source),
                ..
            } if waiting.contains(&listener_id) => {
                let address = texts.join(", ");
                return Err(MeshError::Listen { address, source });
            }
            // Peers may be faster than the rest of the start.
            other => early.push(other),
        }
    }
    Ok((listening, early))
}

/// Takes a fixed port for a moment. The library's TCP sockets share their port with others of the
/// same user, so that a second node would be started in silence.
fn probe(address: &Multiaddr) -> io::Result<()> {
    match names::socket_of(address) {
        Some(Socket::Tcp(socket)) if socket.port() != 0 => TcpListener::bind(socket).map(drop),
        Some(Socket::Udp(socket)) if socket.port() != 0 => UdpSocket::bind(socket).map(drop),
        _ => Ok(()),
    }
}

fn io_error(error: libp2p::TransportError<io::Error>) -> io::Error {
    match error {
        libp2p::TransportError::Other(error) => error,
        other => io::Error::new(io::ErrorKind::Unsupported, other.to_string()),
    }
}

//! Start of a node's mesh: checks what it was given, takes the addresses, starts the actor.

use std::{
    collections::HashSet,
    io,
    net::{TcpListener, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use caravan_protocol::{
    identity::{Key, Refused},
    ids::{MeshId, NodeId},
    platform::Platform,
};
use futures::StreamExt as _;
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, Swarm, gossipsub, swarm::SwarmEvent};
use libp2p_stream::IncomingStreams;
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    actor::{self, Actor, Setup},
    behaviour::{self, Behaviour, SetupError},
    book::Book,
    bulk::pipe::Terms,
    config::Config,
    counters::Tally,
    event::Event,
    handle::{Handle, Status},
    limits::{BULK_MAX, COMMANDS_MAX, EVENTS_MAX},
    names::{self, AddressError, Socket},
    wire,
};

/// How long the operating system may take to open a socket.
const LISTEN_MAX: Duration = Duration::from_secs(10);

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
        let me = Key::from_secret(&config.secret).node();
        let mut roster = config.roster;
        let now = actor::stamp();
        let own = roster
            .check(&config.cert, now)
            .map_err(MeshError::OwnCert)?;
        if own.node != me {
            return Err(MeshError::OtherCert {
                ours: me,
                certified: own.node,
            });
        }
        roster
            .admit(&config.cert, now)
            .map_err(MeshError::OwnCert)?;
        let keypair = names::keypair(&config.secret);
        let mesh = roster.mesh();
        let behaviour = Behaviour::new(&keypair, mesh, &config.timing, config.mdns)?;
        let mut swarm = behaviour::swarm(keypair, &config.timing, behaviour)?;
        subscribe(&mut swarm, mesh, &config.platforms)?;
        let (listening, early) = listen(&mut swarm, &config.listen).await?;
        let mut streams = swarm.behaviour_mut().members.inner().streams.new_control();
        let opened = streams
            .accept(StreamProtocol::new(wire::BLOBS))
            .expect("nothing else accepts this protocol");
        let announced = parse_all(&config.announce)?;
        let mut book = Book::default();
        for seed in parse_all(&config.seeds)? {
            book.seed(seed, Instant::now());
        }

        let (commands, command_queue) = mpsc::channel(COMMANDS_MAX);
        let (events, event_queue) = mpsc::channel(EVENTS_MAX);
        let (status, status_reader) = watch::channel(Status::default());
        let cancel = CancellationToken::new();
        let tasks = TaskTracker::new();
        let tally = Arc::new(Tally::default());
        let mut actor = Actor::new(Setup {
            me,
            cert: config.cert,
            roster,
            book,
            swarm,
            announced,
            timing: config.timing,
            source: config.source,
            status,
            events,
            tally: Arc::clone(&tally),
            cancel: cancel.clone(),
            tasks: tasks.clone(),
        });
        actor.begin(&config.contacts, &listening, early);
        let (incoming, incoming_queue) = mpsc::channel(BULK_MAX);
        tasks.spawn(hand_over(opened, incoming, cancel.clone()));
        tasks.spawn(actor.run(command_queue, incoming_queue));
        tasks.close();
        let handle = Handle::new(
            commands,
            status_reader,
            streams,
            Terms {
                idle: config.timing.bulk_idle,
                cancel,
            },
            tasks,
            tally,
        );
        Ok((handle, event_queue))
    }
}

/// Takes bulk streams as they come. The library drops those that are not taken at once, and the
/// actor has other things to do, too.
async fn hand_over(
    mut opened: IncomingStreams,
    incoming: mpsc::Sender<(PeerId, Stream)>,
    cancel: CancellationToken,
) {
    while let Some(Some(stream)) = cancel.run_until_cancelled(opened.next()).await {
        // One that finds the queue full is dropped; whoever opened it tries again.
        let _ = incoming.try_send(stream);
    }
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
        waiting.insert(listener);
    }
    let deadline = tokio::time::Instant::now() + LISTEN_MAX;
    while !waiting.is_empty() {
        let late = || MeshError::Listen {
            address: texts.join(", "),
            source: io::ErrorKind::TimedOut.into(),
        };
        let event = tokio::time::timeout_at(deadline, swarm.select_next_some()).await;
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

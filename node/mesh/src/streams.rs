//! Raw streams between members: a behaviour that opens and takes them, by protocol. It knows which
//! connections go through a relay, and a protocol that is for direct connections only is neither
//! offered nor asked for on the others. It keeps a table of connections and nothing else: what a
//! stream says is for whoever asked for it.

use std::{
    collections::{HashMap, VecDeque},
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm,
    },
};
use tokio::sync::{mpsc, oneshot};

use self::handler::Handler;
use crate::names::is_circuit;

mod handler;

/// Requests for streams that wait for the behaviour.
const REQUESTS_MAX: usize = 64;

/// Why there is no stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenError {
    /// No connection is there.
    #[error("it is not connected")]
    NotConnected,
    /// All connections go through a relay, and the protocol may not.
    #[error("it is reached through a relay only, which carries no bulk")]
    Relayed,
    /// The peer does not speak the protocol.
    #[error("it does not speak {0}")]
    Unsupported(StreamProtocol),
    /// The connection failed meanwhile.
    #[error("the connection was lost: {0}")]
    Lost(String),
}

/// A protocol that is taken.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) protocol: StreamProtocol,
    /// Whether it goes over direct connections only.
    pub(crate) direct: bool,
}

/// A wish for a stream.
#[derive(Debug)]
pub(crate) struct Wish {
    peer: PeerId,
    protocol: StreamProtocol,
    reply: oneshot::Sender<Result<Stream, OpenError>>,
}

/// A stream that a peer opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) peer: PeerId,
    pub(crate) protocol: StreamProtocol,
    pub(crate) stream: Stream,
}

/// The way to ask for streams. Clones ask the same behaviour.
#[derive(Debug, Clone)]
pub(crate) struct Control(mpsc::Sender<Wish>);

impl Control {
    /// Opens a stream over one of the connections with `peer`, a direct one where there is one. It
    /// never dials.
    pub(crate) async fn open_stream(
        &mut self,
        peer: PeerId,
        protocol: StreamProtocol,
    ) -> Result<Stream, OpenError> {
        let (reply, stream) = oneshot::channel();
        let wish = Wish {
            peer,
            protocol,
            reply,
        };
        let gone = || OpenError::Lost("it was closed".to_owned());
        self.0.send(wish).await.map_err(|_| gone())?;
        stream.await.map_err(|_| gone())?
    }
}

struct Way {
    id: ConnectionId,
    relayed: bool,
}

pub(crate) struct Behaviour {
    offers: Vec<Offer>,
    ways: HashMap<PeerId, Vec<Way>>,
    wishes: mpsc::Receiver<Wish>,
    control: Control,
    queued: VecDeque<ToSwarm<Opened, Wish>>,
}

impl Behaviour {
    pub(crate) fn new(offers: Vec<Offer>) -> Self {
        let (control, wishes) = mpsc::channel(REQUESTS_MAX);
        Self {
            offers,
            ways: HashMap::new(),
            wishes,
            control: Control(control),
            queued: VecDeque::new(),
        }
    }

    pub(crate) fn new_control(&self) -> Control {
        self.control.clone()
    }

    fn handler(&self, relayed: bool) -> Handler {
        let offered = self
            .offers
            .iter()
            .filter(|offer| !(relayed && offer.direct));
        Handler::new(offered.map(|offer| offer.protocol.clone()).collect())
    }

    /// Hands a wish to the newest fitting connection.
    fn wish(&mut self, wish: Wish) {
        let direct = self
            .offers
            .iter()
            .any(|offer| offer.direct && offer.protocol == wish.protocol);
        let ways = self.ways.get(&wish.peer).map_or(&[][..], Vec::as_slice);
        let best = ways
            .iter()
            .filter(|way| !(direct && way.relayed))
            .max_by_key(|way| (!way.relayed, way.id));
        let Some(best) = best else {
            let error = if ways.is_empty() {
                OpenError::NotConnected
            } else {
                OpenError::Relayed
            };
            // Whoever asked may have stopped waiting.
            let _ = wish.reply.send(Err(error));
            return;
        };
        self.queued.push_back(ToSwarm::NotifyHandler {
            peer_id: wish.peer,
            handler: NotifyHandler::One(best.id),
            event: wish,
        });
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Opened;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(is_circuit(local) || is_circuit(remote)))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        address: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(is_circuit(address)))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(new) => {
                let way = Way {
                    id: new.connection_id,
                    relayed: new.endpoint.is_relayed(),
                };
                self.ways.entry(new.peer_id).or_default().push(way);
            }
            FromSwarm::ConnectionClosed(closed) => {
                if let Some(ways) = self.ways.get_mut(&closed.peer_id) {
                    ways.retain(|way| way.id != closed.connection_id);
                    if ways.is_empty() {
                        self.ways.remove(&closed.peer_id);
                    }
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        let (protocol, stream) = event;
        self.queued.push_back(ToSwarm::GenerateEvent(Opened {
            peer,
            protocol,
            stream,
        }));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Opened, THandlerInEvent<Self>>> {
        loop {
            if let Some(queued) = self.queued.pop_front() {
                return Poll::Ready(queued);
            }
            match self.wishes.poll_recv(cx) {
                Poll::Ready(Some(wish)) => self.wish(wish),
                // The behaviour holds a sender itself, so the channel does not close.
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }
}

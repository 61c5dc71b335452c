//! The wall between strangers and the protocols of members. It wraps those protocols' behaviour:
//! until the actor has checked a peer's certificate and calls [`Gate::admit`], the peer's
//! connections neither offer these protocols nor read or write a byte of them. It holds the list of
//! who passes; it never decides who should.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
    },
};

use self::handler::{Guarded, Latch};

mod handler;

/// Too many strangers are connected already.
#[derive(Debug, thiserror::Error)]
#[error("{0} strangers are connected, and no more may be")]
struct Crowded(usize);

struct Guest {
    peer: PeerId,
    latch: Arc<Latch>,
}

pub(crate) struct Gate<B> {
    inner: B,
    strangers_max: usize,
    /// Keys of members. One that connects still has to say hello, but is no stranger.
    known: HashSet<PeerId>,
    admitted: HashSet<PeerId>,
    guests: HashMap<ConnectionId, Guest>,
}

impl<B> Gate<B> {
    pub(crate) fn new(inner: B, strangers_max: usize) -> Self {
        Self {
            inner,
            strangers_max,
            known: HashSet::new(),
            admitted: HashSet::new(),
            guests: HashMap::new(),
        }
    }

    pub(crate) const fn inner(&mut self) -> &mut B {
        &mut self.inner
    }

    pub(crate) fn set_known(&mut self, known: HashSet<PeerId>) {
        self.known = known;
    }

    /// Opens all connections with `peer`, those that come later too, until the last is closed.
    pub(crate) fn admit(&mut self, peer: PeerId) {
        self.admitted.insert(peer);
        for guest in self.guests.values().filter(|guest| guest.peer == peer) {
            guest.latch.open();
        }
    }

    fn strangers(&self) -> usize {
        let strangers: HashSet<&PeerId> = self
            .guests
            .values()
            .map(|guest| &guest.peer)
            .filter(|peer| !self.admitted.contains(peer) && !self.known.contains(peer))
            .collect();
        strangers.len()
    }

    fn is_stranger(&self, peer: &PeerId) -> bool {
        !self.admitted.contains(peer) && !self.known.contains(peer)
    }

    fn guard<H>(&mut self, id: ConnectionId, peer: PeerId, listens: bool, inner: H) -> Guarded<H> {
        let latch = Arc::new(Latch::default());
        if self.admitted.contains(&peer) {
            latch.open();
        }
        let guest = Guest {
            peer,
            latch: Arc::clone(&latch),
        };
        self.guests.insert(id, guest);
        Guarded::new(inner, latch, listens)
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Gate<B> {
    type ConnectionHandler = Guarded<THandler<B>>;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner
            .handle_pending_inbound_connection(id, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if self.is_stranger(&peer) && self.strangers() >= self.strangers_max {
            return Err(ConnectionDenied::new(Crowded(self.strangers_max)));
        }
        let inner = self
            .inner
            .handle_established_inbound_connection(id, peer, local, remote)?;
        let listens = self.known.contains(&peer);
        Ok(self.guard(id, peer, listens, inner))
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner
            .handle_pending_outbound_connection(id, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let inner = self
            .inner
            .handle_established_outbound_connection(id, peer, address, role, port_use)?;
        // The peer that was dialled answers the hello and may speak at once, before its answer is
        // read here. Its streams are taken, and read once it is admitted.
        Ok(self.guard(id, peer, true, inner))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match &event {
            FromSwarm::ConnectionClosed(closed) => {
                self.guests.remove(&closed.connection_id);
                if closed.remaining_established == 0 {
                    self.admitted.remove(&closed.peer_id);
                }
            }
            FromSwarm::ListenFailure(failure) => {
                self.guests.remove(&failure.connection_id);
            }
            FromSwarm::DialFailure(failure) => {
                self.guests.remove(&failure.connection_id);
            }
            _ => {}
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.inner.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<B::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(cx)
    }
}

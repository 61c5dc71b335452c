//! Who may begin a handshake. It looks at a connection before any cryptography is done for it, so
//! all it knows is the source address: each has a pace and a share of what is under way, and so have
//! all together. Peers that were cut off stand outside for a while; their key shows only after the
//! handshake, which the pace has bounded by then. It never asks who is a member.
//!
//! Over TCP a refused connection costs an accept. The library's QUIC listener has answered the first
//! packet by the time it asks, so there the pace bounds what follows.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use caravan_protocol::limits::{
    HANDSHAKE_BURST, HANDSHAKES_ALL_BURST, HANDSHAKES_ALL_PER_S, HANDSHAKES_PER_S,
};
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    multiaddr::Protocol,
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm, dummy,
    },
};

use crate::{
    bucket::{Bucket, Verdict},
    counters::Tally,
    limits::{PENDING_PER_SOURCE_MAX, SHUT_OUT, SHUT_OUT_MAX, SOURCES_MAX},
    names::is_circuit,
};

/// Why a connection is not even begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Turned {
    /// Its source is too quick.
    #[error("too many connections come from its address")]
    Source,
    /// All together are too quick.
    #[error("too many connections come at once")]
    All,
    /// The peer was cut off a moment ago.
    #[error("it was cut off a moment ago")]
    ShutOut,
}

struct Source {
    bucket: Bucket,
    pending: usize,
}

pub(crate) struct Doorman {
    sources: HashMap<IpAddr, Source>,
    all: Bucket,
    pending: HashMap<ConnectionId, IpAddr>,
    shut: HashMap<PeerId, Instant>,
    tally: Arc<Tally>,
}

/// Where a connection comes from. A network of IPv6 that is one customer's counts as one.
pub(crate) fn source_of(address: &Multiaddr) -> Option<IpAddr> {
    address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(match ip.to_ipv4_mapped() {
            Some(ip) => IpAddr::V4(ip),
            None => {
                let network = u128::from(ip) & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from(network))
            }
        }),
        _ => None,
    })
}

impl Doorman {
    pub(crate) fn new(tally: Arc<Tally>, now: Instant) -> Self {
        Self {
            sources: HashMap::new(),
            all: Bucket::new(HANDSHAKES_ALL_PER_S, HANDSHAKES_ALL_BURST, u32::MAX, now),
            pending: HashMap::new(),
            shut: HashMap::new(),
            tally,
        }
    }

    /// Does not let a peer in for a while.
    pub(crate) fn shut_out(&mut self, peer: PeerId, now: Instant) {
        if self.shut.len() >= SHUT_OUT_MAX {
            self.shut.retain(|_, until| *until > now);
        }
        if self.shut.len() < SHUT_OUT_MAX {
            self.shut.insert(peer, now + SHUT_OUT);
        }
    }

    /// A connection from there turned out to be a member's: it costs its source nothing. So a mesh
    /// behind one address may start all at once.
    pub(crate) fn forgive(&mut self, address: &Multiaddr) {
        let source = source_of(address).and_then(|ip| self.sources.get_mut(&ip));
        if let Some(source) = source {
            source.bucket.give_back();
            self.all.give_back();
        }
    }

    fn begin(&mut self, id: ConnectionId, ip: IpAddr, now: Instant) -> Result<(), Turned> {
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&ip) {
            self.sources
                .retain(|_, source| source.pending > 0 || !source.bucket.is_full(now));
            if self.sources.len() >= SOURCES_MAX {
                return Err(Turned::All);
            }
        }
        let source = self.sources.entry(ip).or_insert_with(|| Source {
            bucket: Bucket::new(HANDSHAKES_PER_S, HANDSHAKE_BURST, u32::MAX, now),
            pending: 0,
        });
        if source.pending >= PENDING_PER_SOURCE_MAX || source.bucket.take(now) != Verdict::Pass {
            return Err(Turned::Source);
        }
        if self.all.take(now) != Verdict::Pass {
            return Err(Turned::All);
        }
        source.pending += 1;
        self.pending.insert(id, ip);
        Ok(())
    }

    fn ended(&mut self, id: ConnectionId) {
        let ip = self.pending.remove(&id);
        if let Some(source) = ip.and_then(|ip| self.sources.get_mut(&ip)) {
            source.pending = source.pending.saturating_sub(1);
        }
    }

    fn turn_away(&self, why: Turned) -> ConnectionDenied {
        self.tally.handshakes_refused.add(1);
        ConnectionDenied::new(why)
    }

    /// Peers that stand outside now.
    #[cfg(test)]
    pub(crate) fn shut(&self) -> std::collections::HashSet<PeerId> {
        self.shut.keys().copied().collect()
    }
}

impl NetworkBehaviour for Doorman {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = std::convert::Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.tally.handshakes.add(1);
        // What comes through a relay was let through by that relay, at its pace.
        if is_circuit(local) || is_circuit(remote) {
            return Ok(());
        }
        let Some(ip) = source_of(remote) else {
            return Ok(());
        };
        self.begin(id, ip, Instant::now())
            .map_err(|why| self.turn_away(why))
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let now = Instant::now();
        if self.shut.get(&peer).is_some_and(|until| *until > now) {
            return Err(self.turn_away(Turned::ShutOut));
        }
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(new) => self.ended(new.connection_id),
            FromSwarm::ListenFailure(failure) => self.ended(failure.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, time::Duration};

    use super::*;

    fn doorman(now: Instant) -> Doorman {
        Doorman::new(Arc::default(), now)
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn one_source_is_slowed_and_others_are_not() {
        let now = Instant::now();
        let mut door = doorman(now);
        let mut id = 0;
        let mut knock = |door: &mut Doorman, from: u8, at: Instant| {
            id += 1;
            let id = ConnectionId::new_unchecked(id);
            let begun = door.begin(id, ip(from), at);
            door.ended(id);
            begun
        };
        for _ in 0..HANDSHAKE_BURST {
            assert_eq!(knock(&mut door, 1, now), Ok(()));
        }
        assert_eq!(knock(&mut door, 1, now), Err(Turned::Source));
        assert_eq!(knock(&mut door, 2, now), Ok(()));
        let later = now + Duration::from_secs(1);
        for _ in 0..HANDSHAKES_PER_S {
            assert_eq!(knock(&mut door, 1, later), Ok(()));
        }
        assert_eq!(knock(&mut door, 1, later), Err(Turned::Source));
        // A member's handshake is given back.
        door.forgive(&"/ip4/192.0.2.1/tcp/1".parse().expect("an address"));
        assert_eq!(knock(&mut door, 1, later), Ok(()));
    }

    #[test]
    fn handshakes_that_never_end_are_bounded_per_source() {
        let now = Instant::now();
        let mut door = doorman(now);
        for n in 0..PENDING_PER_SOURCE_MAX {
            assert_eq!(
                door.begin(ConnectionId::new_unchecked(n), ip(1), now),
                Ok(())
            );
        }
        let one_more = ConnectionId::new_unchecked(PENDING_PER_SOURCE_MAX);
        assert_eq!(door.begin(one_more, ip(1), now), Err(Turned::Source));
        door.ended(ConnectionId::new_unchecked(0));
        assert_eq!(door.begin(one_more, ip(1), now), Ok(()));
        assert_eq!(door.pending.len(), PENDING_PER_SOURCE_MAX);
    }

    #[test]
    fn the_table_of_sources_is_bounded_and_quiet_ones_are_forgotten() {
        let start = Instant::now();
        let mut door = doorman(start);
        let mut now = start;
        for n in 0..3 * u32::try_from(SOURCES_MAX).expect("it fits") {
            // Slow enough for the pace of all together.
            now += Duration::from_millis(50);
            let id = ConnectionId::new_unchecked(usize::try_from(n).expect("it fits"));
            assert_eq!(
                door.begin(id, IpAddr::from(n.to_be_bytes()), now),
                Ok(()),
                "{n}"
            );
            door.ended(id);
        }
        assert!(door.sources.len() <= SOURCES_MAX);
    }

    #[test]
    fn a_network_of_version_6_is_one_source() {
        let of = |text: &str| source_of(&text.parse().expect("an address"));
        assert_eq!(
            of("/ip6/2001:db8::1/tcp/1"),
            of("/ip6/2001:db8::2/udp/1/quic-v1")
        );
        assert_ne!(
            of("/ip6/2001:db8::1/tcp/1"),
            of("/ip6/2001:db8:0:1::1/tcp/1")
        );
        assert_eq!(
            of("/ip6/::ffff:192.0.2.1/tcp/1"),
            of("/ip4/192.0.2.1/tcp/2")
        );
    }

    #[test]
    fn peers_that_are_shut_out_are_bounded() {
        let now = Instant::now();
        let mut door = doorman(now);
        for _ in 0..2 * SHUT_OUT_MAX {
            door.shut_out(PeerId::random(), now);
        }
        assert_eq!(door.shut().len(), SHUT_OUT_MAX);
        let peer = PeerId::random();
        door.shut_out(peer, now + SHUT_OUT);
        assert_eq!(door.shut(), HashSet::from([peer]));
    }
}

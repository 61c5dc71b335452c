//! Being reached though nobody can dial this node: when members see it at an address that is not its
//! own, it is behind NAT, and asks a few members that it can dial to relay signalling to it. From a
//! relayed connection the two make a direct one if their NATs allow; bulk waits for that.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    time::{Duration, Instant},
};

use caravan_protocol::ids::NodeId;
use libp2p::{
    Multiaddr, PeerId,
    core::transport::ListenerId,
    dcutr, identify,
    multiaddr::Protocol,
    relay,
    swarm::{ConnectionId, FromSwarm, NetworkBehaviour as _, behaviour::ExternalAddrConfirmed},
};

use super::Actor;
use crate::{
    config::Relay,
    limits::{RELAY_RETRY, RELAYS_WANTED, SEEN_AS_MAX},
    names::{ip_of, is_circuit, socket_of, split_peer},
};

/// How long a reservation may take.
const RESERVE: Duration = Duration::from_secs(20);

struct Reserved {
    listener: ListenerId,
    /// Where this node is reached through the relay.
    circuit: Multiaddr,
    confirmed: bool,
    since: Instant,
}

/// The relays of this node, and what it knows of the need for them.
pub(super) struct Relays {
    wanted: Relay,
    reserved: HashMap<PeerId, Reserved>,
    /// What members that this node dialled have seen it as.
    seen_as: HashMap<PeerId, IpAddr>,
    /// Members that did not relay, and when they may be asked again.
    refused: HashMap<PeerId, Instant>,
}

impl Relays {
    pub(super) fn new(wanted: Relay) -> Self {
        Self {
            wanted,
            reserved: HashMap::new(),
            seen_as: HashMap::new(),
            refused: HashMap::new(),
        }
    }

    /// Whether a peer relays for this node.
    pub(super) fn uses(&self, peer: &PeerId) -> bool {
        self.reserved.contains_key(peer)
    }

    /// Where this node is reached through relays.
    pub(super) fn circuits(&self) -> impl Iterator<Item = &Multiaddr> {
        let confirmed = self.reserved.values().filter(|reserved| reserved.confirmed);
        confirmed.map(|reserved| &reserved.circuit)
    }

    /// Whether this node has to be relayed to, as far as it can tell.
    fn needed(&self, own: &[IpAddr]) -> bool {
        match self.wanted {
            Relay::Always => true,
            Relay::Never => false,
            Relay::Auto => self.seen_as.values().any(|seen| !own.contains(seen)),
        }
    }

    /// Whether a member may be asked.
    fn may_ask(&self, peer: &PeerId, now: Instant) -> bool {
        !self.reserved.contains_key(peer) && self.refused.get(peer).is_none_or(|at| *at <= now)
    }

    fn refuse(&mut self, peer: PeerId, now: Instant) {
        self.refused.retain(|_, at| *at > now);
        if self.refused.len() < SEEN_AS_MAX {
            self.refused.insert(peer, now + RELAY_RETRY);
        }
    }

    pub(super) fn gone(&mut self, peer: &PeerId) {
        self.seen_as.remove(peer);
    }
}

impl Actor {
    /// A member has said what it saw.
    pub(super) fn identified(&mut self, event: identify::Event) {
        let identify::Event::Received {
            peer_id,
            connection_id,
            info,
        } = event
        else {
            return;
        };
        let dialled = self
            .peers
            .get(&peer_id)
            .and_then(|entry| entry.ways.get(&connection_id))
            .is_some_and(|way| way.dialled && !way.relayed);
        let known = self.relays.seen_as.contains_key(&peer_id);
        if let Some(ip) = ip_of(&info.observed_addr)
            && dialled
            && (known || self.relays.seen_as.len() < SEEN_AS_MAX)
        {
            self.relays.seen_as.insert(peer_id, ip);
        }
    }

    /// This node can be reached at an address: those that it relays for are told so.
    pub(super) fn relay_at(&mut self, address: &Multiaddr) {
        let members = self.swarm.behaviour_mut().members.inner();
        members
            .relay
            .on_swarm_event(FromSwarm::ExternalAddrConfirmed(ExternalAddrConfirmed {
                addr: address,
            }));
    }

    /// Asks members to relay, if this node needs that and too few do.
    pub(super) fn look_for_relays(&mut self, now: Instant) {
        let own: Vec<IpAddr> = self
            .swarm
            .listeners()
            .chain(&self.announced)
            .filter_map(|address| socket_of(address).map(|socket| socket.ip()))
            .collect();
        let late: Vec<(PeerId, ListenerId)> = self
            .relays
            .reserved
            .iter()
            .filter(|(_, reserved)| {
                !reserved.confirmed && now.saturating_duration_since(reserved.since) > RESERVE
            })
            .map(|(peer, reserved)| (*peer, reserved.listener))
            .collect();
        for (peer, listener) in late {
            self.swarm.remove_listener(listener);
            self.relays.reserved.remove(&peer);
            self.relays.refuse(peer, now);
        }
        if !self.relays.needed(&own) {
            return;
        }
        let missing = RELAYS_WANTED.saturating_sub(self.relays.reserved.len());
        let mut able: Vec<(PeerId, Multiaddr, NodeId)> = self
            .peers
            .iter()
            .filter(|(peer, entry)| entry.is_heard() && self.relays.may_ask(peer, now))
            .filter_map(|(peer, entry)| {
                // What this node could dial, others can.
                let way = entry
                    .ways
                    .values()
                    .find(|way| way.dialled && !way.relayed)?;
                Some((*peer, way.address.clone(), entry.node))
            })
            .collect();
        able.retain(|(_, _, node)| !self.book.addresses(*node).iter().any(is_circuit));
        able.sort_unstable_by_key(|(_, _, node)| *node);
        for (peer, address, _) in able.into_iter().take(missing) {
            self.reserve(peer, &address, now);
        }
    }

    fn reserve(&mut self, peer: PeerId, address: &Multiaddr, now: Instant) {
        let (bare, _) = split_peer(address.clone());
        let circuit = bare.with(Protocol::P2p(peer)).with(Protocol::P2pCircuit);
        match self.swarm.listen_on(circuit.clone()) {
            Ok(listener) => {
                let reserved = Reserved {
                    listener,
                    circuit,
                    confirmed: false,
                    since: now,
                };
                self.relays.reserved.insert(peer, reserved);
            }
            Err(error) => {
                tracing::debug!(%peer, %error, "a member cannot relay");
                self.relays.refuse(peer, now);
            }
        }
    }

    /// What became of being relayed to.
    pub(super) fn relayed(&mut self, event: &relay::client::Event) {
        if let relay::client::Event::ReservationReqAccepted {
            relay_peer_id,
            renewal,
            ..
        } = event
        {
            if let Some(reserved) = self.relays.reserved.get_mut(relay_peer_id) {
                reserved.confirmed = true;
            }
            if !renewal {
                tracing::info!(relay = %relay_peer_id, "a member relays signalling to this node");
                self.readdress();
            }
        }
    }

    /// What became of relaying for others.
    pub(super) fn relaying(&mut self, event: &relay::Event) {
        match event {
            relay::Event::CircuitReqAccepted { .. } => self.tally.circuits.add(1),
            relay::Event::ReservationReqDenied { src_peer_id, .. } => {
                tracing::debug!(peer = %src_peer_id, "a reservation was denied");
            }
            _ => {}
        }
    }

    pub(super) fn listener_closed(&mut self, id: ListenerId, reason: io::Result<()>) {
        let of_relay = self
            .relays
            .reserved
            .iter()
            .find(|(_, reserved)| reserved.listener == id)
            .map(|(peer, _)| *peer);
        match of_relay {
            Some(peer) => {
                tracing::debug!(relay = %peer, ?reason, "a member relays no more");
                self.relays.reserved.remove(&peer);
                self.relays.refuse(peer, Instant::now());
                self.readdress();
            }
            None => {
                if let Err(error) = reason {
                    tracing::warn!(%error, "a listener ended");
                }
                self.show();
            }
        }
    }

    /// What became of making a direct connection out of a relayed one.
    pub(super) fn punched(&mut self, event: &dcutr::Event) {
        match &event.result {
            Ok(_) => self.tally.punched.add(1),
            Err(error) => {
                tracing::debug!(peer = %event.remote_peer_id, %error, "no direct connection was made");
            }
        }
    }

    /// Closes relayed connections with a peer once a direct one is there and has met.
    pub(super) fn prefer_direct(&mut self, peer: PeerId) {
        let Some(entry) = self.peers.get(&peer).filter(|entry| entry.is_member()) else {
            return;
        };
        if entry.is_relayed() {
            return;
        }
        let relayed: Vec<ConnectionId> = entry
            .ways
            .iter()
            .filter(|(_, way)| way.relayed)
            .map(|(id, _)| *id)
            .collect();
        for id in relayed {
            self.swarm.close_connection(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_seen_elsewhere_needs_relays() {
        let own = [IpAddr::from([10, 0, 0, 2])];
        let mut relays = Relays::new(Relay::Auto);
        assert!(!relays.needed(&own));
        relays.seen_as.insert(PeerId::random(), own[0]);
        assert!(!relays.needed(&own), "it is seen where it is");
        relays
            .seen_as
            .insert(PeerId::random(), IpAddr::from([192, 0, 2, 1]));
        assert!(relays.needed(&own));
        relays.wanted = Relay::Never;
        assert!(!relays.needed(&own));
        relays.wanted = Relay::Always;
        relays.seen_as.clear();
        assert!(relays.needed(&own));
    }
}

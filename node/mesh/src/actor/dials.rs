//! Whom to dial and where. Ring neighbours come first; in a small mesh everybody is connected in
//! time, in a large one whoever is needed. Direct addresses are tried before circuits, and TCP
//! before QUIC: a TCP connection that says nothing costs nothing, and its peer's death shows at once.

use std::{collections::HashSet, io, time::Instant};

use caravan_protocol::{
    ids::NodeId,
    member::{Event as Told, Status},
};
use libp2p::{
    Multiaddr, PeerId, TransportError,
    swarm::{
        DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};

use super::{Actor, Peer, stamp};
use crate::{
    limits::{DIALLED_PEERS_MAX, DIALS_PER_TICK_MAX, FULL_MESH_MAX, UNUSED},
    names::{Socket, is_circuit, node_of, peer_of, socket_of, split_peer},
};

/// The addresses to try first, then those to try if that fails.
pub(super) fn stage(addresses: &[Multiaddr], stage: u32) -> Vec<Multiaddr> {
    let tcp = |address: &&Multiaddr| matches!(socket_of(address), Some(Socket::Tcp(_)));
    // Whoever names a relay is hardly reached without.
    let direct = !addresses.iter().any(is_circuit);
    if stage.is_multiple_of(2) && direct && addresses.iter().any(|address| tcp(&address)) {
        addresses.iter().filter(tcp).cloned().collect()
    } else {
        addresses.to_vec()
    }
}

/// Whether a failed dial says that nobody is there: every address refused it actively.
fn refused(failures: &[(Multiaddr, TransportError<io::Error>)]) -> bool {
    let refuses = |error: &TransportError<io::Error>| match error {
        TransportError::Other(error) => {
            let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
            while let Some(error) = cause {
                let io = error.downcast_ref::<io::Error>();
                if io.is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused) {
                    return true;
                }
                // The library wraps errors in errors of its own, some of which hide the cause.
                if error.to_string().contains("Connection refused") {
                    return true;
                }
                cause = error.source();
            }
            false
        }
        TransportError::MultiaddrNotSupported(_) => false,
    };
    !failures.is_empty() && failures.iter().all(|(_, error)| refuses(error))
}

impl Actor {
    /// Connections with other members of an operator, neighbours not counted.
    pub(super) fn operator_count(&self, operator: &str, except: NodeId) -> usize {
        let near: HashSet<NodeId> = self.membership.neighbours().into_iter().collect();
        self.peers
            .values()
            .filter(|entry| entry.operator() == Some(operator) && !entry.leaving)
            .filter(|entry| entry.node != except && !near.contains(&entry.node))
            .count()
    }

    pub(super) fn dial_members(&mut self, now: Instant) {
        let members = self.peers.values().filter(|peer| peer.is_member()).count();
        let room = DIALLED_PEERS_MAX
            .saturating_sub(members)
            .min(DIALS_PER_TICK_MAX);
        if room == 0 {
            return;
        }
        let near: HashSet<NodeId> = self.membership.neighbours().into_iter().collect();
        let standing = self.membership.engine().standing();
        let everybody = standing.live <= FULL_MESH_MAX || members == 0 || !standing.joined;
        let stamp = stamp();
        let mut counts = std::collections::HashMap::new();
        for entry in self
            .peers
            .values()
            .filter(|entry| !near.contains(&entry.node))
        {
            if let Some(operator) = entry.operator() {
                *counts.entry(operator).or_insert(0usize) += 1;
            }
        }
        let (peers, membership, me) = (&self.peers, &self.membership, self.me);
        let (own, most) = (&self.operator, self.operator_connections);
        let due = self.book.due(now, room, |node| {
            if node == me || peer_of(node).is_none_or(|peer| peers.contains_key(&peer)) {
                return false;
            }
            let Some(cert) = membership.roster().member(node, stamp) else {
                return false;
            };
            let status = membership
                .slot(node)
                .map_or(Status::Unknown, |slot| membership.engine().status(slot));
            if matches!(status, Status::Left | Status::Revoked | Status::Expired) {
                return false;
            }
            near.contains(&node)
                || everybody
                    && (cert.operator == *own
                        || counts
                            .get(cert.operator.as_str())
                            .is_none_or(|had| *had < most))
        });
        for (node, addresses, tries) in due {
            self.dial_member(node, stage(&addresses, tries));
        }
    }

    pub(super) fn dial_neighbours(&mut self) {
        self.book
            .hurry(&self.membership.neighbours(), Instant::now());
        self.dial_members(Instant::now());
    }

    pub(super) fn dial_member(&mut self, node: NodeId, addresses: Vec<Multiaddr>) {
        let Some(peer) = peer_of(node) else { return };
        let opts = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            .build();
        self.dial(opts);
    }

    pub(super) fn dial_seeds(&mut self) {
        let (peers, me) = (&self.peers, self.me);
        let here = |peer: &PeerId| {
            peers.get(peer).is_some_and(Peer::is_member) || node_of(peer) == Some(me)
        };
        for (address, expected) in self.book.due_seeds(Instant::now(), here) {
            let Some(peer) = expected else {
                self.dial(DialOpts::unknown_peer_id().address(address).build());
                continue;
            };
            // One dial at a time goes to a peer, so it has to try all that is known.
            let mut addresses = vec![address];
            if let Some(node) = node_of(&peer) {
                addresses.extend_from_slice(self.book.addresses(node));
            }
            let opts = DialOpts::peer_id(peer)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .addresses(addresses)
                .build();
            self.dial(opts);
        }
    }

    pub(super) fn dial(&mut self, opts: DialOpts) {
        self.tally.dials.add(1);
        if let Err(error) = self.swarm.dial(opts) {
            tracing::debug!(%error, "a dial was not even begun");
        }
    }

    pub(super) fn dial_failed(&mut self, peer: Option<PeerId>, error: &DialError) {
        self.words.failed(error);
        if let DialError::LocalPeerId { address } = error {
            self.met_itself(address);
        }
        let Some(peer) = peer else { return };
        if self.peers.contains_key(&peer) {
            return;
        }
        if let (Some(node), DialError::Transport(failures)) = (node_of(&peer), error)
            && refused(failures)
            && self.book.knows_all(node, failures.iter().map(|(at, _)| at))
        {
            self.tell_of(node, Told::Refused);
        }
        self.wait_on(peer, &reason(error));
    }

    /// Closes connections that nobody has needed for long, where the mesh is too large to keep all.
    pub(super) fn drop_unused(&mut self, now: Instant) {
        if self.membership.engine().standing().live <= FULL_MESH_MAX {
            return;
        }
        let near: HashSet<NodeId> = self.membership.neighbours().into_iter().collect();
        let unused: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|(peer, entry)| {
                entry.is_heard()
                    && !near.contains(&entry.node)
                    && !self.relays.uses(peer)
                    && now.saturating_duration_since(entry.used) > UNUSED
                    && entry.outbox.unsent() == 0
                    && entry.asks == 0
            })
            .map(|(peer, _)| *peer)
            .collect();
        for peer in unused {
            self.close(peer, "nobody has needed it for long");
        }
    }

    /// Makes room for a member of another operator: of those of its operator that are no
    /// neighbours, the one that was used longest ago has to go.
    pub(super) fn make_room(&mut self, node: NodeId, operator: &str) {
        if operator == self.operator || self.membership.is_neighbour(node) {
            return;
        }
        if self.operator_count(operator, node) < self.operator_connections {
            return;
        }
        let near: HashSet<NodeId> = self.membership.neighbours().into_iter().collect();
        let oldest = self
            .peers
            .iter()
            .filter(|(_, entry)| entry.operator() == Some(operator) && entry.is_heard())
            .filter(|(_, entry)| entry.node != node && !near.contains(&entry.node))
            .min_by_key(|(_, entry)| entry.used)
            .map(|(peer, entry)| (*peer, entry.node));
        if let Some((peer, other)) = oldest {
            self.tally.over_operator.add(1);
            self.book.avoid(other, Instant::now() + UNUSED);
            self.close(peer, "its operator has too many connections");
        }
    }
}

/// What people know of a failed dial.
pub(super) fn reason(error: &DialError) -> String {
    match error {
        DialError::Transport(failures) => failures
            .iter()
            .map(|(address, error)| {
                let (bare, _) = split_peer(address.clone());
                format!("{bare}: {}", crate::join::root(error))
            })
            .collect::<Vec<_>>()
            .join("; "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_is_tried_first_and_circuits_always() {
        let parse = |text: &str| text.parse::<Multiaddr>().expect("an address");
        let tcp = parse("/ip4/192.0.2.1/tcp/1");
        let quic = parse("/ip4/192.0.2.1/udp/1/quic-v1");
        let relay = libp2p::PeerId::random();
        let circuit = parse(&format!("/ip4/192.0.2.2/tcp/1/p2p/{relay}/p2p-circuit"));
        let direct = [quic.clone(), tcp.clone()];
        assert_eq!(stage(&direct, 0), direct[1..]);
        assert_eq!(stage(&direct, 1), direct);
        assert_eq!(stage(&direct[..1], 0), direct[..1]);
        let all = [quic, tcp, circuit];
        assert_eq!(stage(&all, 0), all);
    }
}

//! Translation between the mesh's names and the network library's: a node id and a peer id are the
//! same Ed25519 key in two spellings, and addresses are multiaddresses in text everywhere else.

use caravan_protocol::ids::NodeId;
use libp2p::{Multiaddr, PeerId, identity, multiaddr::Protocol};

use crate::limits::ADDRESS_BYTES_MAX;

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "read {text:?} as an address: {reason}; want such as /ip4/192.0.2.7/tcp/7450 or \
     /ip4/192.0.2.7/udp/7450/quic-v1"
)]
pub struct AddressError {
    text: String,
    reason: String,
}

/// Checks that `text` is an address that can be listened on or dialled.
pub fn check_address(text: &str) -> Result<(), AddressError> {
    parse_address(text).map(drop)
}

/// `address` with the node's key at its end, so that whoever dials it notices another node there.
/// An address that names a node already is left alone.
pub fn address_with_node(address: &str, node: NodeId) -> Result<String, AddressError> {
    let parsed = parse_address(address)?;
    let (bare, named) = split_peer(parsed);
    let peer = named.or_else(|| peer_of(node));
    let Some(peer) = peer else {
        return Err(refuse(address, "the node id is not a public key"));
    };
    Ok(bare.with(Protocol::P2p(peer)).to_string())
}

pub(crate) fn parse_address(text: &str) -> Result<Multiaddr, AddressError> {
    if text.len() > ADDRESS_BYTES_MAX {
        return Err(refuse(text, "it is too long"));
    }
    let address: Multiaddr = text
        .parse()
        .map_err(|error: libp2p::multiaddr::Error| refuse(text, &error.to_string()))?;
    if is_circuit(&address) {
        return match circuit_of(&address) {
            Some(_) => Ok(address),
            None => Err(refuse(text, "it names no relay that can be reached")),
        };
    }
    if socket_of(&address).is_none() {
        return Err(refuse(text, "it is neither TCP nor QUIC on an IP address"));
    }
    Ok(address)
}

/// Whether an address goes through a relay.
pub(crate) fn is_circuit(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// The relay of an address that goes through one, and where the relay is: its own address, its key,
/// the word for a circuit, and perhaps the key of whom it leads to. Nothing else is taken for one.
pub(crate) fn circuit_of(address: &Multiaddr) -> Option<(Multiaddr, PeerId)> {
    let mut parts: Vec<Protocol<'_>> = address.iter().collect();
    if matches!(parts.last(), Some(Protocol::P2p(_))) {
        parts.pop();
    }
    if parts.pop() != Some(Protocol::P2pCircuit) {
        return None;
    }
    let Some(Protocol::P2p(relay)) = parts.pop() else {
        return None;
    };
    let bare: Multiaddr = parts.into_iter().collect();
    socket_of(&bare).map(|_| (bare, relay))
}

/// The machine that an address leads to first: the relay's where it goes through one.
pub(crate) fn ip_of(address: &Multiaddr) -> Option<std::net::IpAddr> {
    match circuit_of(address) {
        Some((relay, _)) => socket_of(&relay),
        None => socket_of(address),
    }
    .map(Socket::ip)
}

fn refuse(text: &str, reason: &str) -> AddressError {
    AddressError {
        text: text.chars().take(ADDRESS_BYTES_MAX).collect(),
        reason: reason.to_owned(),
    }
}

/// Which kind of socket an address needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Socket {
    Tcp(std::net::SocketAddr),
    Udp(std::net::SocketAddr),
}

impl Socket {
    pub(crate) const fn ip(self) -> std::net::IpAddr {
        match self {
            Self::Tcp(address) | Self::Udp(address) => address.ip(),
        }
    }
}

/// The socket of an address that this node's transports can use.
pub(crate) fn socket_of(address: &Multiaddr) -> Option<Socket> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => std::net::IpAddr::from(ip),
        Protocol::Ip6(ip) => std::net::IpAddr::from(ip),
        _ => return None,
    };
    let socket = match (parts.next()?, parts.next()) {
        (Protocol::Tcp(port), None | Some(Protocol::P2p(_))) => Socket::Tcp((ip, port).into()),
        (Protocol::Udp(port), Some(Protocol::QuicV1)) => Socket::Udp((ip, port).into()),
        _ => return None,
    };
    match parts.next() {
        None | Some(Protocol::P2p(_)) => Some(socket),
        Some(_) => None,
    }
}

/// An address and the peer that it names, apart.
pub(crate) fn split_peer(mut address: Multiaddr) -> (Multiaddr, Option<PeerId>) {
    match address.pop() {
        Some(Protocol::P2p(peer)) => (address, Some(peer)),
        Some(other) => (address.with(other), None),
        None => (address, None),
    }
}

pub(crate) fn keypair(secret: &[u8; 32]) -> identity::Keypair {
    identity::Keypair::ed25519_from_bytes(*secret).expect("any 32 bytes are an Ed25519 secret")
}

/// The peer id of a node; none if the id is not a point of the curve.
pub(crate) fn peer_of(node: NodeId) -> Option<PeerId> {
    let key = identity::ed25519::PublicKey::try_from_bytes(node.as_bytes()).ok()?;
    Some(identity::PublicKey::from(key).to_peer_id())
}

/// The node of a peer id; none if the peer's key is of another kind.
pub(crate) fn node_of(peer: &PeerId) -> Option<NodeId> {
    // Ed25519 peer ids are not hashes: they hold the key itself.
    let hash = peer.as_ref();
    if hash.code() != 0 {
        return None;
    }
    let key = identity::PublicKey::try_decode_protobuf(hash.digest()).ok()?;
    Some(NodeId::from_bytes(key.try_into_ed25519().ok()?.to_bytes()))
}

#[cfg(test)]
mod tests {
    use caravan_protocol::identity::Key;

    use super::*;

    #[test]
    fn node_and_peer_id_are_one_key() {
        let node = Key::from_secret(&[7; 32]).node();
        let peer = keypair(&[7; 32]).public().to_peer_id();
        assert_eq!(peer_of(node), Some(peer));
        assert_eq!(node_of(&peer), Some(node));
    }

    #[test]
    fn addresses_of_other_transports_are_refused() {
        for good in ["/ip4/127.0.0.1/tcp/0", "/ip6/::1/udp/7/quic-v1"] {
            assert_eq!(check_address(good), Ok(()), "{good}");
            let node = Key::from_secret(&[7; 32]).node();
            let named = address_with_node(good, node).expect("a good address");
            assert_eq!(check_address(&named), Ok(()), "{named}");
            assert_eq!(address_with_node(&named, node).as_ref(), Ok(&named));
        }
        let long = format!("/ip4/127.0.0.1/tcp/1{}", "/tcp/1".repeat(100));
        for bad in [
            "",
            "localhost:80",
            "/ip4/127.0.0.1",
            "/ip4/127.0.0.1/udp/1",
            "/dns4/x/tcp/1",
            &long,
        ] {
            assert!(check_address(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn address_through_a_relay_names_the_relay_and_where_it_is() {
        let relay = keypair(&[7; 32]).public().to_peer_id();
        let node = Key::from_secret(&[8; 32]).node();
        let text = format!("/ip4/192.0.2.7/tcp/7/p2p/{relay}/p2p-circuit");
        assert_eq!(check_address(&text), Ok(()));
        let named = address_with_node(&text, node).expect("a good address");
        let named: Multiaddr = named.parse().expect("it was printed");
        let (at, by) = circuit_of(&named).expect("it goes through a relay");
        assert_eq!(
            (at.to_string().as_str(), by),
            ("/ip4/192.0.2.7/tcp/7", relay)
        );
        assert_eq!(ip_of(&named), Some([192, 0, 2, 7].into()));
        for bad in [
            "/p2p-circuit".to_owned(),
            format!("/p2p/{relay}/p2p-circuit"),
            "/ip4/192.0.2.7/tcp/7/p2p-circuit".to_owned(),
            format!("{text}/p2p/{relay}/p2p-circuit"),
            format!("{text}/tcp/1"),
        ] {
            assert!(check_address(&bad).is_err(), "{bad:?} was taken");
        }
    }
}

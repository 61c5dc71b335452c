//! What a node's mesh is started with.

use std::{sync::Arc, time::Duration};

use caravan_protocol::{
    facts::Facts,
    identity::{Key, NodeCert, Roster, Signed},
    limits::{OPERATOR_CONNECTIONS_MAX, STRANGER_MS},
    member::{Mode, Revocation, Tuning},
    platform::Platform,
};

use crate::{bulk::BlobSource, event::Contact};

/// How long the mesh waits for what. The defaults fit any network; tests shorten them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long a stranger stays connected.
    pub stranger: Duration,
    /// How long a hello, an admission, a message or a question may take.
    pub answer: Duration,
    /// How long a bulk stream may stand still.
    pub bulk_idle: Duration,
    /// Silence after which a QUIC connection is kept alive by an empty packet; three times that is
    /// how long one without any answer lasts.
    pub keep_alive: Duration,
    /// How fast members watch each other: equal on all nodes of a mesh.
    pub tuning: Tuning,
}

/// Whether a node asks members to relay signalling to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Relay {
    /// When others see it at an address that is not its own: it is behind NAT.
    #[default]
    Auto,
    /// In any case: nobody can reach it, by a firewall for example.
    Always,
    /// Never.
    Never,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            stranger: Duration::from_millis(STRANGER_MS),
            answer: Duration::from_secs(15),
            bulk_idle: Duration::from_secs(15),
            keep_alive: Duration::from_secs(15),
            // The loss of a peer that answers nothing is to be noticed within 5 s.
            tuning: Tuning {
                period: Tuning::default().period.min(Duration::from_secs(3)),
                ..Tuning::default()
            },
        }
    }
}

/// Who this node is and where it finds the others.
pub struct Config {
    /// The node's secret key, which is the swarm's identity as well.
    pub secret: [u8; 32],
    /// The node's own certificate.
    pub cert: Signed<NodeCert>,
    /// The members known so far and the rule for others.
    pub roster: Roster,
    /// Where the blobs are that this node serves.
    pub source: Arc<dyn BlobSource>,
    /// Serves bulk in its place, for tests of what lies come to.
    #[cfg(any(test, feature = "rogue"))]
    #[doc(hidden)]
    pub liar: Option<crate::rogue::bulk::Liar>,
    /// Addresses to listen on.
    pub listen: Vec<String>,
    /// Addresses at which others reach this node, where they differ from those it listens on.
    pub announce: Vec<String>,
    /// Members and their addresses, as learnt before.
    pub contacts: Vec<Contact>,
    /// Addresses to begin with.
    pub seeds: Vec<String>,
    /// Platforms whose offers this node wants to hear.
    pub platforms: Vec<Platform>,
    /// Whether to look for members on the local network.
    pub mdns: bool,
    /// How long to wait for what.
    pub timing: Timing,
    /// What this node says of its machine from the start.
    pub facts: Facts,
    /// Whether it takes work from the start.
    pub mode: Mode,
    /// The highest incarnation that [`Event::Incarnation`](crate::Event::Incarnation) ever told of.
    pub incarnation: u32,
    /// Who is out, as learnt before.
    pub revocations: Vec<Signed<Revocation>>,
    /// Connections with members of one *other* operator at once, neighbours not counted. An
    /// operator cannot crowd out others by many nodes. Its own nodes a node does not count: a
    /// rack or a LAN of one operator would fall apart by a bound that protects nobody there.
    pub operator_connections: usize,
    /// Whether this node asks members to relay signalling to it.
    pub relay: Relay,
    /// Whether it relays signalling for members, within bounds.
    pub serve_relay: bool,
}

impl Config {
    /// A node that listens nowhere and knows nobody, to be filled in.
    #[must_use]
    pub fn new(
        key: &Key,
        cert: Signed<NodeCert>,
        roster: Roster,
        source: Arc<dyn BlobSource>,
    ) -> Self {
        Self {
            secret: key.secret(),
            cert,
            roster,
            source,
            #[cfg(any(test, feature = "rogue"))]
            liar: None,
            listen: Vec::new(),
            announce: Vec::new(),
            contacts: Vec::new(),
            seeds: Vec::new(),
            platforms: vec![Platform::here()],
            mdns: false,
            timing: Timing::default(),
            facts: Facts::default(),
            mode: Mode::Open,
            incarnation: 0,
            revocations: Vec::new(),
            operator_connections: OPERATOR_CONNECTIONS_MAX,
            relay: Relay::default(),
            serve_relay: true,
        }
    }

    /// The usual addresses: TCP and QUIC on this port of every interface.
    #[must_use]
    pub fn every_interface(port: u16) -> Vec<String> {
        vec![
            format!("/ip4/0.0.0.0/tcp/{port}"),
            format!("/ip4/0.0.0.0/udp/{port}/quic-v1"),
        ]
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("seeds", &self.seeds)
            .field("mdns", &self.mdns)
            .finish_non_exhaustive()
    }
}

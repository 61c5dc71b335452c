//! What a node's mesh is started with.

use std::{sync::Arc, time::Duration};

use caravan_protocol::{
    identity::{Key, NodeCert, Roster, Signed},
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
    /// Pause between two signs of life.
    pub ping_pause: Duration,
    /// How long a sign of life may take.
    pub ping_answer: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            stranger: Duration::from_secs(10),
            answer: Duration::from_secs(15),
            bulk_idle: Duration::from_secs(15),
            // Together below 5 s, the time in which the loss of a peer is to be noticed.
            ping_pause: Duration::from_millis(1500),
            ping_answer: Duration::from_secs(3),
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
            listen: Vec::new(),
            announce: Vec::new(),
            contacts: Vec::new(),
            seeds: Vec::new(),
            platforms: vec![Platform::here()],
            mdns: false,
            timing: Timing::default(),
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

//! The records of membership, and the form in which engines pass them on: sealed bytes with a
//! label in front that says what they are about. The label is a hint, believed only after the
//! bytes were opened.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{ADDRESS_BYTES_MAX, ADDRESSES_MAX, Incarnation};
pub use crate::identity::revocation::Revocation;
use crate::{
    facts::Facts,
    identity::{Ends, Record, Signed},
    ids::{MeshId, NodeId},
    limits,
    time::Stamp,
};

/// Whether a node takes work, by its own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It takes work.
    Open,
    /// It takes none for now and finishes what it has.
    Paused,
    /// It takes none and hands over what it has.
    Draining,
    /// It takes none and will be gone soon.
    Leaving,
    /// It is gone, and said so.
    Left,
}

impl Mode {
    /// Whether a node in this mode takes new work.
    #[must_use]
    pub const fn takes_work(self) -> bool {
        matches!(self, Self::Open)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Paused => "paused",
            Self::Draining => "draining",
            Self::Leaving => "leaving",
            Self::Left => "left",
        })
    }
}

/// A node's word about itself, signed by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// The mesh.
    pub mesh: MeshId,
    /// The node, which is also the signer.
    pub node: NodeId,
    /// Higher than in all that it said before.
    pub incarnation: Incarnation,
    /// Where it can be reached.
    pub addresses: Vec<String>,
    /// Its machine.
    pub facts: Facts,
    /// Whether it takes work.
    pub mode: Mode,
    /// When it said so, by its clock.
    pub issued: Stamp,
}

impl Record for Presence {
    const DOMAIN: &'static str = "caravan/presence/1";
    fn mesh(&self) -> MeshId {
        self.mesh
    }

    fn ends(&self) -> Ends {
        Ends::after(self.issued, limits::WORD_LIFE_MS)
    }
}

impl Presence {
    /// Whether all bounds are kept.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.incarnation > Incarnation::default()
            && self.addresses.len() <= ADDRESSES_MAX
            && self
                .addresses
                .iter()
                .all(|address| !address.is_empty() && address.len() <= ADDRESS_BYTES_MAX)
            && self.facts.check().is_ok()
    }
}

/// One observer's word that a node does not answer, signed by the observer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The mesh.
    pub mesh: MeshId,
    /// Who does not answer.
    pub subject: NodeId,
    /// As what the observer knew it: a higher incarnation makes the alert void.
    pub incarnation: Incarnation,
    /// Who found out, which is also the signer.
    pub observer: NodeId,
    /// When, by the observer's clock.
    pub at: Stamp,
}

impl Record for Alert {
    const DOMAIN: &'static str = "caravan/alert/1";
    fn mesh(&self) -> MeshId {
        self.mesh
    }

    fn ends(&self) -> Ends {
        Ends::after(self.at, limits::WORD_LIFE_MS)
    }
}

/// Enough alerts about one node: distinct observers, of distinct operators where the mesh has as
/// many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obituary {
    /// The alerts, at most [`super::ALERTS_MAX`].
    pub alerts: Vec<Signed<Alert>>,
}

/// What a sealed record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A [`crate::identity::NodeCert`]; its version is the second of its expiry.
    Cert,
    /// A [`Presence`]; its version is its incarnation.
    Presence,
    /// A [`Revocation`]; its version is zero.
    Revocation,
    /// An [`Alert`]; its version is the subject's incarnation.
    Alert,
    /// An [`Obituary`]; its version is the subject's incarnation.
    Obituary,
}

/// A record on its way: the bytes as its signer wrote them and a label that says what they are.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// What it is.
    pub kind: Kind,
    /// Whom it is about.
    pub subject: NodeId,
    /// Which of several about one node: the higher is the later.
    pub version: u32,
    /// The encoded [`Signed`] record, or [`Obituary`]: opaque to the engine.
    pub bytes: Arc<[u8]>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?}({}, {}, {} bytes)",
            self.kind,
            self.subject.fmt_short(),
            self.version,
            self.bytes.len()
        )
    }
}

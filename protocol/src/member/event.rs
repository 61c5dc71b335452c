//! What the engine is told, what it asks for, and what can be read of it.

use super::{Incarnation, Message, Mode, Sealed, Slot, Tuning};
use crate::{
    facts::Facts,
    identity::Refused,
    ids::{MeshId, NodeId},
    time::Time,
};

/// What an engine begins with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The mesh.
    pub mesh: MeshId,
    /// This node.
    pub me: NodeId,
    /// The highest incarnation that this node ever made for itself, over all its lives.
    pub made: Incarnation,
    /// Where it can be reached.
    pub addresses: Vec<String>,
    /// Its machine.
    pub facts: Facts,
    /// Whether it takes work.
    pub mode: Mode,
    /// How fast the mesh watches itself.
    pub tuning: Tuning,
    /// Random, or chosen by the simulator.
    pub seed: u64,
}

/// What the engine is told.
#[derive(Debug, Clone)]
pub enum Event {
    /// A message came from a node whose connection was admitted. Its slot is
    /// [`Directory::intern`]'s.
    Message {
        /// Who sent it.
        from: Slot,
        /// What it says.
        message: Message,
    },
    /// A connection to this node was admitted; here is the certificate that it showed. Come at
    /// first start, this is how a newcomer finds its mesh.
    Met(Sealed),
    /// Records from this node's own disk, or made here: a renewed certificate, a revocation.
    Records(Vec<Sealed>),
    /// A connection broke, without this node wanting it to.
    Lost(Slot),
    /// A node was dialled and there is nobody: its host answers and refuses. Say nothing where
    /// there is no answer at all.
    Refused(Slot),
    /// The node's machine, as it is now.
    Facts(Box<Facts>),
    /// Where the node can be reached now.
    Addresses(Vec<String>),
    /// Whether the node takes work from now on. [`Mode::Left`] says farewell.
    Mode(Mode),
    /// The time [`Engine::wake_at`] has come.
    Tick,
}

/// How a member's standing changed in this node's view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is here, for the first time or again.
    Joined,
    /// It said something new about itself, or has a new certificate.
    Updated,
    /// It said that it is gone.
    Left,
    /// Its observers agree that it is dead.
    Died,
    /// Its certificate has expired.
    Expired,
    /// It was revoked: break its connections.
    Revoked,
    /// Nothing is known of it any more; its slot may soon be another's.
    Forgotten,
}

/// What the engine asks for. To be done in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Send a message. Over the open connection if there is one; dial otherwise. May be lost.
    Send {
        /// To whom: always a node that showed a certificate.
        to: Slot,
        /// What.
        message: Message,
    },
    /// Write down, before anything that follows is sent, that this incarnation was made.
    Keep(Incarnation),
    /// A record was taken: write it down at leisure.
    Record(Sealed),
    /// A member's standing changed.
    Changed {
        /// Whose.
        who: Slot,
        /// How.
        change: Change,
    },
    /// The ring neighbours changed ([`Engine::neighbours`]): keep connections to them.
    Neighbours,
    /// Somebody speaks with this node's key: here is an incarnation that this node never made. Two
    /// machines run with one data directory.
    Twin {
        /// The incarnation that the other made.
        incarnation: Incarnation,
    },
    /// This node itself was revoked.
    Evicted,
    /// A record was not believed. The sender is a member and lies, or is damaged.
    Rejected {
        /// Who sent it.
        from: Slot,
        /// Why it was not believed.
        reason: Box<Refused>,
    },
}

/// Where a member stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Nothing is known of it.
    Unknown,
    /// It has a certificate and has not spoken for itself yet.
    Certified,
    /// It is here.
    Live,
    /// Its observers agree that it is dead.
    Dead,
    /// It said that it is gone.
    Left,
    /// Its certificate has expired.
    Expired,
    /// It was revoked.
    Revoked,
}

/// A suspicion of this node's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspicion {
    /// Who does not answer.
    pub subject: Slot,
    /// Since when.
    pub since: Time,
    /// Alerts about it so far, this node's own included.
    pub alerts: u8,
}

/// How this node stands in its mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Members that are here, this node included.
    pub live: usize,
    /// The hash of the view: equal views have equal hashes.
    pub view: u64,
    /// Whether it has met another member in this life and knows what that one knew. A founder
    /// without company has not.
    pub joined: bool,
    /// Whether it doubts itself and accuses nobody.
    pub doubts: bool,
    /// The incarnation under which it is known.
    pub incarnation: Incarnation,
}

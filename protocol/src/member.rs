//! Membership: who is here, kept equally at all nodes without a server. One [`Engine`] per node is
//! the very type that the program runs and the simulator drives.
//!
//! What is known of a node are signed *records*: a certificate (the right to be here), a presence
//! (its own word about itself; the highest incarnation counts), a revocation, and an obituary (the
//! alerts of several observers that it does not answer). Records only ever add up: all nodes that
//! hold the same records see the same members, in whatever order they came. Each node watches its
//! neighbours on a few pseudo-random rings, new records are flooded along the rings, and what a
//! flood missed is found by comparing hashes of the whole view.
//!
//! The engine owns the view of one node: a few bytes for each member, by [`Slot`]. What all views
//! have in common (names, ring positions, the records themselves) is in a [`Directory`], so that
//! ten thousand engines of one simulation share one. Signing and checking is done by a [`Crypto`].
//! The engine never reads a clock, sends, dials or draws a random number but from its seed, and
//! never speaks to a node that has shown no certificate.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::time::{Stamp, Time};

mod compare;
mod crypto;
mod directory;
mod engine;
mod event;
mod fetch;
mod message;
mod own;
mod read;
mod record;
mod rings;
mod spread;
mod suspicion;
mod take;
mod verdict;
mod view;
mod watch;

pub use crypto::{Crypto, Notary, Opened};
pub use directory::{Direction, Directory, Kept, Static, Table};
pub use engine::Engine;
pub use event::{Change, Command, Event, Setup, Standing, Status, Suspicion};
pub use message::{Batch, Buckets, Doubt, Line, Message, MessageError, Page};
pub use record::{Alert, Kind, Mode, Obituary, Presence, Revocation, Sealed};

/// Most rings of a mesh.
pub const RINGS_MAX: usize = 4;
/// Most members that a node knows, dead and revoked ones included until they are forgotten.
pub const MEMBERS_MAX: usize = 16 * 1024;
/// Largest message between two engines, bytes.
pub const MEMBER_BYTES_MAX: usize = 64 * 1024;
/// Largest sealed record, bytes.
pub const RECORD_BYTES_MAX: usize = 8 * 1024;
/// Most records in one message.
pub const RECORDS_MAX: usize = 256;
/// Bytes of records after which a message is full.
pub const BATCH_BYTES: usize = 40 * 1024;
/// Most lines about members in one message.
pub const LINES_MAX: usize = 1024;
/// Buckets by which two views are compared.
pub const BUCKETS: usize = 64;
/// Most alerts of one obituary.
pub const ALERTS_MAX: usize = 8;
/// Most addresses of one presence.
pub const ADDRESSES_MAX: usize = 16;
/// Longest address, bytes.
pub const ADDRESS_BYTES_MAX: usize = 256;

/// A member's number in a [`Directory`]. Only the node that gave it knows what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u32);

impl Slot {
    /// The slot with this number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Its number: small, so that it indexes dense arrays.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Counts what a node said of itself: the higher is the later. Zero is before anything was said.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Incarnation(u32);

impl Incarnation {
    /// The incarnation of this number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The one after it; there are four thousand million, and each costs a second.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The moment of an event, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// On the node's own clock, which only goes forward: all timing.
    pub time: Time,
    /// On the wall: the dates of records.
    pub stamp: Stamp,
}

/// How fast a mesh watches itself. Equal on all nodes of a mesh, or the slower ones are suspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// Rings on which a node has a successor to probe: at most [`RINGS_MAX`].
    pub rings: u8,
    /// Distinct observers that make a death: at most [`ALERTS_MAX`].
    pub observers: u8,
    /// Time between two probes of one successor.
    pub period: Duration,
    /// Silence after a probe that makes a suspicion.
    pub timeout: Duration,
    /// How long a suspicion that rests on silence alone lasts before it becomes an alert.
    pub patience: Duration,
    /// Least time between two floods from one node.
    pub batch: Duration,
    /// Time between two comparisons with a member drawn at random, dead ones included.
    pub compare: Duration,
    /// Lateness of the node's own ticks that makes it doubt itself.
    pub late: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            rings: 3,
            observers: 3,
            period: Duration::from_secs(4),
            timeout: Duration::from_millis(1000),
            patience: Duration::from_millis(1500),
            batch: Duration::from_millis(200),
            compare: Duration::from_secs(30),
            late: Duration::from_millis(500),
        }
    }
}

#[cfg(test)]
mod tests;

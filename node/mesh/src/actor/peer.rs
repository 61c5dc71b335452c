//! What the actor knows of a connected peer.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use caravan_protocol::{ids::NodeId, limits::MESSAGES_OVER_MAX};
use libp2p::{Multiaddr, Stream, swarm::ConnectionId};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    bucket::Bucket,
    limits::{PASSED_ON_BURST, PASSED_ON_PER_S},
    outbox::Outbox,
    purse::Purse,
};

/// How far a connected peer has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has shown no certificate yet.
    Stranger {
        since: Instant,
        /// Whether this node dialled it.
        dialled: bool,
    },
    /// It is a member, this is its number of the meeting, and that is who runs it.
    Member { meeting: u64, operator: String },
}

/// A connection with a peer.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    pub(super) address: Multiaddr,
    pub(super) dialled: bool,
    /// Whether it goes through a relay. The address of one that came in does not say so.
    pub(super) relayed: bool,
}

/// The streams of the membership protocol with a peer: one each way.
#[derive(Default)]
pub(crate) struct Link {
    pub(super) frames: Option<mpsc::Sender<Vec<u8>>>,
    /// Ends the reader when a new stream takes its place, or the peer goes.
    pub(super) reading: Option<DropGuard>,
}

impl Link {
    /// Whether nothing waits to be written.
    pub(super) fn is_idle(&self) -> bool {
        self.frames
            .as_ref()
            .is_none_or(|frames| frames.is_closed() || frames.capacity() == frames.max_capacity())
    }

    pub(super) fn read_anew(&mut self, all: &CancellationToken) -> CancellationToken {
        let cancel = all.child_token();
        self.reading = Some(cancel.clone().drop_guard());
        cancel
    }
}

/// A connected peer.
pub(crate) struct Peer {
    pub(super) node: NodeId,
    /// Our number of this meeting.
    pub(super) meeting: u64,
    pub(super) standing: Standing,
    pub(super) ways: HashMap<ConnectionId, Way>,
    pub(super) purse: Purse,
    /// Digests that it passes on.
    pub(super) passed_on: Bucket,
    pub(super) outbox: Outbox,
    pub(super) asks: usize,
    /// Bulk streams that came while its hello was under way.
    pub(super) held: Vec<Stream>,
    pub(super) link: Link,
    /// When it showed last that it lives.
    pub(super) alive: Instant,
    /// Since when a probe waits for any sign of life.
    pub(super) asked: Option<Instant>,
    /// When something other than the engines' talk used the connection.
    pub(super) used: Instant,
    /// Bytes that bulk streams served for it have moved, and how many the last tick knew of.
    pub(super) moved: Arc<AtomicU64>,
    moved_seen: u64,
    /// Its connections are being closed.
    pub(super) leaving: bool,
}

impl Peer {
    pub(super) fn new(node: NodeId, meeting: u64, dialled: bool, now: Instant) -> Self {
        Self {
            node,
            meeting,
            standing: Standing::Stranger {
                since: now,
                dialled,
            },
            ways: HashMap::new(),
            purse: Purse::of_peer(now),
            passed_on: Bucket::new(PASSED_ON_PER_S, PASSED_ON_BURST, MESSAGES_OVER_MAX, now),
            outbox: Outbox::new(now),
            asks: 0,
            held: Vec::new(),
            link: Link::default(),
            alive: now,
            asked: None,
            used: now,
            moved: Arc::default(),
            moved_seen: 0,
            leaving: false,
        }
    }

    pub(super) const fn is_member(&self) -> bool {
        matches!(self.standing, Standing::Member { .. })
    }

    /// Who runs it, once that is known.
    pub(super) fn operator(&self) -> Option<&str> {
        match &self.standing {
            Standing::Member { operator, .. } => Some(operator),
            Standing::Stranger { .. } => None,
        }
    }

    /// Whether what it says is heard.
    pub(super) const fn is_heard(&self) -> bool {
        self.is_member() && !self.leaving
    }

    /// It has shown that it lives.
    pub(super) fn lives(&mut self, now: Instant) {
        self.alive = now;
        self.asked = None;
    }

    /// Whether a probe has waited for longer than `patience` for any sign of life.
    pub(super) fn is_silent(&mut self, now: Instant, patience: Duration) -> bool {
        let moved = self.moved.load(Ordering::Relaxed);
        if moved != self.moved_seen {
            self.moved_seen = moved;
            self.used = now;
            self.lives(now);
        }
        self.asked
            .is_some_and(|asked| now.saturating_duration_since(asked) > patience)
    }

    /// Whether all its connections go through relays.
    pub(super) fn is_relayed(&self) -> bool {
        !self.ways.is_empty() && self.ways.values().all(|way| way.relayed)
    }
}

//! Counters of the network since the node started. The actor and the bulk tasks add to them,
//! anyone may read them.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// A reading of all counters.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Debug, Default)]
        pub(crate) struct Tally {
            $(pub(crate) $name: Tick,)*
            /// What went to and came from each member.
            pub(crate) traffic: crate::traffic::Traffic,
        }

        impl Tally {
            pub(crate) fn read(&self) -> Counters {
                Counters { $($name: self.$name.0.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Members connected now.
    peers,
    /// Strangers connected now.
    strangers,
    /// Bytes of messages, questions and answers sent.
    control_out_bytes,
    /// Bytes of messages, questions and answers received.
    control_in_bytes,
    /// Messages sent.
    messages_out,
    /// Messages received and handed to the driver.
    messages_in,
    /// Offer digests published.
    gossip_out,
    /// Offer digests received and handed to the driver.
    gossip_in,
    /// Bytes of blobs served.
    bulk_out_bytes,
    /// Bytes of blobs fetched.
    bulk_in_bytes,
    /// All bytes that came on bulk streams of this node's fetches.
    bulk_wire_bytes,
    /// Blobs served.
    blobs_out,
    /// Blobs fetched.
    blobs_in,
    /// Messages and digests dropped because a peer sent too many.
    dropped_rate,
    /// Messages and digests dropped because the driver did not keep up.
    dropped_backlog,
    /// Messages given up because the peer did not take them.
    dropped_outbox,
    /// Digests refused: the author is no member, or the digest was seen before.
    dropped_gossip,
    /// Bulk streams turned away because too many were open.
    bulk_busy,
    /// Peers that were sent away: strangers out of time, and members that broke the rules.
    sent_away,
    /// Connections that others began.
    handshakes,
    /// Connections that were refused before or right after the handshake, by pace.
    handshakes_refused,
    /// Hellos and admissions dropped because a peer sent too many.
    over_greetings,
    /// Messages and questions dropped because a peer sent too many.
    over_control,
    /// Frames between engines dropped because a peer sent too many.
    over_member,
    /// Digests dropped because their author or whoever passed them on sent too many.
    over_gossip,
    /// Requests for blobs dropped because a peer sent too many.
    over_bulk,
    /// What was dropped because the peers of one operator together sent too much.
    over_operator,
    /// Frames between membership engines sent.
    member_out,
    /// Their bytes.
    member_out_bytes,
    /// Frames between membership engines received.
    member_in,
    /// Their bytes.
    member_in_bytes,
    /// Frames between membership engines given up because the peer did not take them.
    dropped_member,
    /// Dials begun.
    dials,
    /// Connections closed because no sign of life came.
    silent,
    /// Connections with members that go through a relay now.
    relayed,
    /// Direct connections made by hole punching.
    punched,
    /// Circuits that this node began to relay for others.
    circuits,
}

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Tick(AtomicU64);

impl Tick {
    pub(crate) fn add(&self, by: usize) {
        self.0
            .fetch_add(u64::try_from(by).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn set(&self, to: usize) {
        self.0
            .store(u64::try_from(to).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

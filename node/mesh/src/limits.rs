//! Bounds of the network that nodes need not agree on. What they must agree on is in
//! `protocol::limits`.

use std::time::Duration;

use caravan_protocol::limits::MESSAGE_BYTES_MAX;

/// Strangers connected at once.
pub(crate) const STRANGERS_MAX: usize = 32;
/// Connections being set up at once, each way.
pub(crate) const PENDING_MAX: u32 = 64;
/// Connections with one peer: one each way, and the dead ones of a peer that has just restarted.
pub(crate) const CONNECTIONS_PER_PEER_MAX: u32 = 4;
/// Connections in all.
pub(crate) const CONNECTIONS_MAX: u32 = 1024;

/// Largest hello or admission message, bytes.
pub(crate) const GREETING_BYTES_MAX: usize = 256 * 1024;
/// Room that one certificate is given in a hello, bytes: one with 16 platforms and the longest
/// operator name takes a little more than 1.6 KiB.
pub(crate) const CERT_BYTES_MAX: usize = 2 * 1024;
/// Room that one member is given in a hello, bytes.
pub(crate) const CONTACT_BYTES_MAX: usize =
    CERT_BYTES_MAX + ADDRESSES_MAX * (ADDRESS_BYTES_MAX + 8);
/// Members named in one hello.
pub(crate) const CONTACTS_SHARED_MAX: usize = 256;
/// Addresses kept or shown for one node.
pub(crate) const ADDRESSES_MAX: usize = 8;
/// Longest address, bytes of its text.
pub(crate) const ADDRESS_BYTES_MAX: usize = 256;
/// Platforms that a joining node may name.
pub(crate) const PLATFORMS_MAX: usize = 16;
/// Questions for admission waiting for the driver at once.
pub(crate) const ADMISSIONS_MAX: usize = 8;
/// Hellos and admissions in flight on one connection.
pub(crate) const GREETING_STREAMS_MAX: usize = 4;

/// Messages in one batch.
pub(crate) const BATCH_MESSAGES_MAX: usize = 64;
/// Largest frame of the control protocol: a batch of one largest message, or of many small ones.
pub(crate) const CONTROL_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 1 + BATCH_MESSAGES_MAX * 4;
/// Control batches and questions in flight on one connection.
pub(crate) const CONTROL_STREAMS_MAX: usize = 32;
/// Messages that wait for one peer.
pub(crate) const OUTBOX_MESSAGES_MAX: usize = 1024;
/// Bytes that wait for one peer.
pub(crate) const OUTBOX_BYTES_MAX: usize = 8 * MESSAGE_BYTES_MAX;
/// Questions to one peer without an answer yet.
pub(crate) const ASKS_PER_PEER_MAX: usize = 64;
/// Questions of peers waiting for the driver at once.
pub(crate) const QUESTIONS_MAX: usize = 256;

/// Messages that a peer may send per second, over time.
pub(crate) const RATE_PER_S: u32 = 50;
/// Messages that a peer may send at once.
pub(crate) const BURST: u32 = 200;
/// Messages beyond the rate that a peer may lose before it is cut off.
pub(crate) const OVER_MAX: u32 = 400;
/// What this node allows itself, so that clocks and queues on the way never cost it a message.
pub(crate) const OWN_RATE_PER_S: u32 = 40;
/// See [`OWN_RATE_PER_S`].
pub(crate) const OWN_BURST: u32 = 150;

/// Commands waiting for the actor.
pub(crate) const COMMANDS_MAX: usize = 1024;
/// Events waiting for the driver in the channel.
pub(crate) const EVENTS_MAX: usize = 1024;
/// Events waiting behind the channel before messages and gossip are dropped.
pub(crate) const BACKLOG_MAX: usize = 4096;
/// Topics that one peer may subscribe to.
pub(crate) const TOPICS_MAX: usize = 64;

/// Members whose addresses are remembered.
pub(crate) const BOOK_MAX: usize = 4096;
/// Addresses to begin with.
pub(crate) const SEEDS_MAX: usize = 64;
/// Members dialled in one tick.
pub(crate) const DIALS_PER_TICK_MAX: usize = 8;
/// Members that this node dials of its own accord.
pub(crate) const DIALLED_PEERS_MAX: usize = 256;
/// First pause before an address is tried again.
pub(crate) const RETRY_MIN: Duration = Duration::from_millis(500);
/// Longest pause before an address is tried again.
pub(crate) const RETRY_MAX: Duration = Duration::from_secs(60);
/// How long a peer that was sent away is not dialled.
pub(crate) const SENT_AWAY: Duration = Duration::from_secs(300);

/// Blobs asked for in one request.
pub(crate) const BLOBS_PER_REQUEST_MAX: usize = 4096;
/// Bulk streams served at once for one peer.
pub(crate) const BULK_PER_PEER_MAX: usize = 4;
/// Bulk streams served at once.
pub(crate) const BULK_MAX: usize = 32;
/// Bulk streams kept while the hello with a dialled peer is under way.
pub(crate) const BULK_HELD_MAX: usize = 4;
/// Bytes moved by one system call of a bulk stream.
pub(crate) const BULK_CHUNK: usize = 128 * 1024;
/// Bytes that have to move in each idle period, unless the transfer is done sooner.
pub(crate) const BULK_PROGRESS_MIN: u64 = 16 * 1024;
/// How often a busy provider is asked again.
pub(crate) const BUSY_TRIES_MAX: u32 = 6;
/// First pause before a busy provider is asked again; it doubles.
pub(crate) const BUSY_PAUSE: Duration = Duration::from_millis(50);

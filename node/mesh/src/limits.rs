//! Bounds of the network that nodes need not agree on. What they must agree on is in
//! `protocol::limits`.

use std::time::Duration;

use caravan_protocol::limits::MESSAGE_BYTES_MAX;
// What both ends of a connection must agree on.
pub(crate) use caravan_protocol::limits::{
    ADDRESS_BYTES_MAX, ADDRESSES_MAX, BATCH_MESSAGES_MAX, BLOBS_PER_REQUEST_MAX,
    CONTACTS_SHARED_MAX, CONTROL_BYTES_MAX, GREETING_BYTES_MAX, PLATFORMS_MAX, REVOKED_SHARED_MAX,
};

/// Connections being set up at once, each way.
pub(crate) const PENDING_MAX: u32 = 64;
/// Connections with one peer: one each way, and the dead ones of a peer that has just restarted.
pub(crate) const CONNECTIONS_PER_PEER_MAX: u32 = 4;
/// Connections in all.
pub(crate) const CONNECTIONS_MAX: u32 = 1024;
/// Connections being set up at once from one source address.
pub(crate) const PENDING_PER_SOURCE_MAX: usize = 32;
/// Source addresses whose pace is remembered.
pub(crate) const SOURCES_MAX: usize = 4096;
/// How long a peer that was cut off for what it sent is not let in.
pub(crate) const SHUT_OUT: Duration = Duration::from_secs(60);
/// Peers that are not let in for a while.
pub(crate) const SHUT_OUT_MAX: usize = 1024;
/// Bytes of one QUIC stream that a peer may send ahead of being read: 100 MB/s at a round trip of
/// 40 ms. What nobody reads is held in memory, so this times strangers is what a crowd may cost.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// The same for a whole QUIC connection.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 6 * 1024 * 1024;

/// Room that one certificate is given in a hello, bytes: one with 16 platforms and the longest
/// operator name takes a little more than 1.6 KiB.
pub(crate) const CERT_BYTES_MAX: usize = 2 * 1024;
/// Room that one member is given in a hello, bytes.
pub(crate) const CONTACT_BYTES_MAX: usize =
    CERT_BYTES_MAX + ADDRESSES_MAX * (ADDRESS_BYTES_MAX + 8);
/// Bytes that they may take.
pub(crate) const REVOKED_BYTES_MAX: usize = REVOKED_SHARED_MAX * 320;
/// Questions for admission waiting for the driver at once.
pub(crate) const ADMISSIONS_MAX: usize = 8;
/// Hellos and admissions in flight on one connection.
pub(crate) const GREETING_STREAMS_MAX: usize = 4;

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

/// Operators whose purses are remembered.
pub(crate) const OPERATORS_MAX: usize = 1024;
/// Digests that one member may pass on per second over time, of all authors.
pub(crate) const PASSED_ON_PER_S: u32 = 200;
/// Digests that one member may pass on at once.
pub(crate) const PASSED_ON_BURST: u32 = 1000;

/// Records that one token of a peer's purse pays for. What is over it is found by comparison later.
pub(crate) const RECORDS_PER_TOKEN: usize = 16;
/// Frames between engines that wait for one peer; more are dropped, and the engine sends again.
pub(crate) const LINK_FRAMES_MAX: usize = 64;
/// Frames of all peers that wait for the actor.
pub(crate) const HEARD_MAX: usize = 256;
/// How long a stream between engines stays open with nothing to write.
pub(crate) const LINK_IDLE: Duration = Duration::from_secs(60);
/// Silence after a probe, in times of the engine's timeout, after which a connection is taken for
/// dead. A peer that was slow before is given more, up to [`PATIENCE_MAX`].
pub(crate) const PATIENCE_PERCENT: u32 = 150;
/// See [`PATIENCE_PERCENT`].
pub(crate) const PATIENCE_MAX: Duration = Duration::from_secs(30);

/// Members that something waits for while they are dialled.
pub(crate) const WAITING_MAX: usize = 256;
/// Frames between engines that wait for one such member.
pub(crate) const WAITING_FRAMES_MAX: usize = 16;
/// Messages that wait for one such member.
pub(crate) const WAITING_MESSAGES_MAX: usize = 256;
/// Bytes of messages that wait for one such member.
pub(crate) const WAITING_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;
/// Questions that wait for one such member.
pub(crate) const WAITING_ASKS_MAX: usize = 16;

/// A mesh of at most so many members keeps a connection between any two; in a larger one each keeps
/// those with its neighbours and those that it uses.
pub(crate) const FULL_MESH_MAX: usize = 48;
/// How long a node of the higher key leaves the first dial to the other, so that two that hear of
/// each other at once do not both dial.
pub(crate) const FIRST_DIAL_LEFT: Duration = Duration::from_secs(3);
/// How long a connection that nobody needs is kept in a larger mesh.
pub(crate) const UNUSED: Duration = Duration::from_secs(300);

/// Relays at which a node behind NAT is to be reached.
pub(crate) const RELAYS_WANTED: usize = 2;
/// Reservations and circuits that one member may ask a relay for at once.
pub(crate) const RELAY_BURST: u32 = 32;
/// Time in which one more may be asked for.
pub(crate) const RELAY_PAUSE: Duration = Duration::from_secs(2);
/// How long a member that did not relay is not asked again.
pub(crate) const RELAY_RETRY: Duration = Duration::from_secs(30);
/// Peers whose word about where this node was seen is remembered.
pub(crate) const SEEN_AS_MAX: usize = 64;

/// Nodes whose starts and clocks are remembered.
pub(crate) const LIVES_MAX: usize = 1024;
/// How long a start of a node is remembered to find out that two machines have its key.
pub(crate) const LIFE_REMEMBERED: Duration = Duration::from_secs(600);
/// Least time between two words about the same trouble.
pub(crate) const WORD_PAUSE: Duration = Duration::from_secs(60);
/// Least time between two words about one peer's clock.
pub(crate) const CLOCK_PAUSE: Duration = Duration::from_secs(3600);
/// Longest wait for a node's farewell to be written.
pub(crate) const FAREWELL_MAX: Duration = Duration::from_secs(2);
/// How long nobody may be reached before people are told.
pub(crate) const ALONE: Duration = Duration::from_secs(5);
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

/// Least time between two words about members that have moved.
pub(crate) const MOVED_PAUSE: Duration = Duration::from_secs(5);
/// Incarnations of this node that are kept ahead for its next start. When half of them are used, as
/// many again are: it makes hardly more than one a second.
pub(crate) const INCARNATIONS_AHEAD: u32 = 64;
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

/// Bulk streams served at once for one peer.
pub(crate) const BULK_PER_PEER_MAX: usize = 4;
/// Bulk streams served at once; each has one piece in memory at a time.
pub(crate) const BULK_MAX: usize = 64;
/// Bulk streams kept while the hello with a dialled peer is under way.
pub(crate) const BULK_HELD_MAX: usize = 4;
/// Bytes that have to move in each idle period, unless the transfer is done sooner.
pub(crate) const BULK_PROGRESS_MIN: u64 = 16 * 1024;
/// Largest word on a bulk stream, bytes: a request of most blobs.
pub(crate) const BULK_WORD_BYTES_MAX: usize = BLOBS_PER_REQUEST_MAX * 32 + 1024;
/// Questions of one bulk stream that wait; more are not read.
pub(crate) const BULK_ASKED_MAX: usize = 256;
/// Blobs that one bulk stream watches; of more nothing is told.
pub(crate) const WATCHED_MAX: usize = 64;
/// Pieces named in one word about what is there.
pub(crate) const HAVE_MAX: usize = 1024;
/// Least time between two words about what is there.
pub(crate) const HAVE_PAUSE: Duration = Duration::from_millis(100);
/// Blobs that are served while they are fetched.
pub(crate) const GROWING_MAX: usize = 256;
/// How long what was fetched is served from where it was put, until the store has it.
pub(crate) const LINGER: Duration = Duration::from_secs(60);
/// Bytes of outlines that are kept in memory: of 128 GiB of blobs.
pub(crate) const OUTLINES_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of one unit of a fetch.
pub(crate) const UNIT_BYTES: u64 = 256 * 1024;
/// Blobs of one unit.
pub(crate) const UNIT_BLOBS_MAX: usize = 1024;
/// Blobs up to this size are fetched whole, of one provider each.
pub(crate) const WHOLE_BYTES_MAX: u64 = 1024 * 1024;
/// Bytes asked of one provider and not here yet.
pub(crate) const FLIGHT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Units asked of one provider and not here yet.
pub(crate) const FLIGHTS_PER_PROVIDER_MAX: usize = 64;
/// Providers that are asked for one unit at once.
pub(crate) const HOLDERS_MAX: usize = 2;
/// Least time after which a unit is late and may be asked of a second provider.
pub(crate) const LATE_MIN: Duration = Duration::from_secs(2);
/// How long a source that has nothing of a node's own share is spared.
pub(crate) const DRY_PAUSE: Duration = Duration::from_secs(1);
/// Time between two looks of a fetch at what is late.
pub(crate) const FETCH_TICK: Duration = Duration::from_millis(50);
/// Providers of one fetch; those that ask for the same join while there is room.
pub(crate) const PROVIDERS_MAX: usize = 64;
/// Large blobs that one fetch brings at once.
pub(crate) const LARGE_AT_ONCE: usize = 8;
/// Untrue words about what is there after which a provider is not asked any more.
pub(crate) const STRIKES_MAX: u32 = 3;
/// How often a busy or lost provider is asked again.
pub(crate) const BUSY_TRIES_MAX: u32 = 6;
/// First pause before a busy provider is asked again; it doubles.
pub(crate) const BUSY_PAUSE: Duration = Duration::from_millis(50);

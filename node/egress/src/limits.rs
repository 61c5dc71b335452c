//! Every bound of this room.

use std::time::Duration;

use caravan_protocol::limits::FETCH_FILES_MAX;

/// Bytes that a job may move over the network, both ways together, where nothing else is said.
pub const BYTES_DEFAULT: u64 = 4 << 30;
/// What a connection costs of a job's bytes beside those that it moves: so that a job cannot knock
/// without end.
pub(crate) const CONNECTION_COST: u64 = 4 << 10;
/// Connections of one job that are served at once; more wait. Each is two descriptors of the node, so
/// jobs can never take them from each other or from the node.
pub(crate) const CONNECTIONS_MAX: usize = 32;
/// Descriptors of the node that one job's network may take: those of its connections, and each of its
/// declared files, which stays open once it was checked.
pub const DESCRIPTORS_MAX: u64 = 2 * CONNECTIONS_MAX as u64 + FETCH_FILES_MAX as u64 + 4;
/// Times that a declared file is asked for in one job until it came.
pub(crate) const TRIES_MAX: u32 = 2;
/// Heads that may announce an answer before it comes.
pub(crate) const INTERIM_MAX: usize = 8;
/// Bytes of a request's head.
pub(crate) const HEAD_BYTES_MAX: usize = 16 << 10;
/// Bytes of an answer's head.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Fields of a head.
pub(crate) const FIELDS_MAX: usize = 96;
/// Bytes of a first message of TLS.
pub(crate) const HELLO_BYTES_MAX: usize = 16 << 10;
/// Bytes of a name with its port.
pub(crate) const AUTHORITY_BYTES_MAX: usize = 300;
/// Addresses of one name that are tried.
pub(crate) const ADDRESSES_MAX: usize = 8;
/// Rules of one list.
pub(crate) const RULES_MAX: usize = 4_096;
/// Lines that a session writes into its job's log.
pub(crate) const NOTES_MAX: usize = 100;
/// Bytes moved at a time.
pub(crate) const PIECE_BYTES: usize = 64 << 10;
/// Bytes that are read and forgotten from who was answered.
pub(crate) const LINGER_BYTES_MAX: usize = 1 << 20;
/// Bytes read of one file of apt's sources, and how many files.
pub(crate) const APT_BYTES_MAX: u64 = 1 << 20;
pub(crate) const APT_FILES_MAX: usize = 256;

/// How long a session waits for what.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// For the whole head of a request.
    pub head: Duration,
    /// For the addresses of a name.
    pub resolve: Duration,
    /// For one address to take a connection.
    pub connect: Duration,
    /// For the head of an answer.
    pub answer: Duration,
    /// For any byte in either direction.
    pub idle: Duration,
    /// For an answered client to go.
    pub linger: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            resolve: Duration::from_secs(15),
            connect: Duration::from_secs(15),
            answer: Duration::from_secs(120),
            idle: Duration::from_secs(300),
            linger: Duration::from_secs(2),
        }
    }
}

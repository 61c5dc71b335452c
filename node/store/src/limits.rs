//! The store's own bounds; those that all nodes share are in `caravan_protocol::limits`.

/// Most bytes of all files of one layer, holes counted as if they were written.
pub const LAYER_BYTES_MAX: u64 = 64 * 1024 * 1024 * 1024;
/// Most claims kept for one action; the oldest goes first.
pub const CLAIMS_PER_ACTION_MAX: usize = 64;
/// Most claims kept of one signer for one action; its oldest goes first.
pub const CLAIMS_PER_SIGNER_MAX: usize = 4;
/// Largest named record, bytes.
pub const RECORD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest kind or key of a named record, bytes.
pub const RECORD_NAME_BYTES_MAX: usize = 256;
/// Most named records of one kind.
pub const RECORDS_PER_KIND_MAX: u64 = 100_000;
/// Most logs that are live at once.
pub const LOGS_MAX: usize = 4096;
/// Longest name of a live log, bytes.
pub const LOG_NAME_BYTES_MAX: usize = 256;
/// Most bytes that one read of a log returns.
pub const LOG_READ_BYTES_MAX: usize = 1024 * 1024;
/// Largest file that [`crate::TreeFiles`] shows, bytes.
pub const TREE_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Most findings that a check lists; the rest are only counted.
pub const FINDINGS_MAX: usize = 10_000;

/// Most threads that hash at once.
pub(crate) const HASHERS_MAX: usize = 16;
/// What a thread reads at once, bytes: enough for BLAKE3 to work on many chunks side by side.
pub(crate) const READ_BYTES: usize = 256 * 1024;
/// Most threads that wait for the disk at once in one commit.
pub(crate) const SYNCERS_MAX: usize = 16;
/// Up to so many new files are synced one by one, several at a time: that is quick even while other
/// jobs write much to the same file system. Beyond, the whole file system is synced.
pub(crate) const SYNC_EACH_MAX: usize = 256;

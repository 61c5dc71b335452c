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
/// Most blobs of which parts are kept to be gone on with.
pub const PARTIALS_MAX: usize = 64;
/// Most bytes of such parts; the oldest go first.
pub const PARTIAL_BYTES_MAX: u64 = 32 * 1024 * 1024 * 1024;
/// How long parts of a blob are kept that nobody goes on with, seconds.
pub const PARTIAL_AGE_S: u64 = 3 * 24 * 3600;
/// Most ranges of one such blob that are looked at; what lies behind comes anew.
pub const PARTIAL_RANGES_MAX: usize = 65_536;
/// Most pins.
pub const PINS_MAX: u64 = 10_000;
/// Longest name of a pin, bytes.
pub const PIN_NAME_BYTES_MAX: usize = 256;
/// Longest reason of a pin, bytes.
pub const PIN_WORDS_BYTES_MAX: usize = 1024;
/// Longest words about a use, bytes.
pub const USE_WORDS_BYTES_MAX: usize = 200;
/// For so long a log is collected only when nothing else is left, seconds.
pub const LOG_KEPT_S: u64 = 30 * 24 * 3600;
/// Most logs that are kept like that; of more the oldest go.
pub const LOGS_KEPT_MAX: usize = 100_000;
/// Most victims that a collection lists; the rest are only counted.
pub const VICTIMS_MAX: usize = 10_000;
/// Most rows that a listing of the store has.
pub const ROWS_MAX: usize = 50_000;
/// Layers of a stack, its base too, below which it has no image, and by which an image must do more
/// than the one that there is.
pub const IMAGE_LAYERS_MIN: usize = 8;
/// Every so many layers a stack may have an image that longer stacks share.
pub const IMAGE_STEP: usize = 16;
/// Most entries of all trees of one image.
pub const IMAGE_ENTRIES_MAX: usize = 2_000_000;
/// Most images.
pub const IMAGES_MAX: usize = 256;
/// Most bytes of all images; the least used goes first.
pub const IMAGES_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// Most images that wait to be made; what comes beyond is asked for again.
pub const IMAGES_WANTED_MAX: usize = 16;
/// Most parts of stacks of which it is remembered how often they were asked for.
pub const STACKS_SEEN_MAX: usize = 16_384;
/// Most work directories that are kept ready for steps to come.
pub const SPARES_MAX: usize = 8;
/// Most that wait to be made ready or removed; whoever has more removes it at once.
pub(crate) const SPARES_WAITING_MAX: usize = 64;
/// Most files of directories outside of the store whose content is remembered.
pub(crate) const SEEN_MAX: usize = 1_000_000;
/// Most findings that a check lists; the rest are only counted.
pub const FINDINGS_MAX: usize = 10_000;

/// Most trees that are frozen into one pack.
pub const FREEZE_TREES_MAX: usize = caravan_pack::limits::TREES_MAX as usize;
/// Most packs that are held open.
pub(crate) const OPEN_PACKS_MAX: usize = 8;
/// Most packs over which one frozen tree may be spread and still be known as frozen at a glance.
pub(crate) const FROZEN_PACKS_MAX: usize = 256;
/// Most bytes of blobs from which a collection makes one pack, so that what is dropped at once is
/// not all that there is.
pub const FREEZE_PACK_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Most bytes of blobs that one collection freezes.
pub const FREEZE_ROUND_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Longest that one collection freezes, seconds.
pub const FREEZE_ROUND_S: u64 = 10 * 60;
/// A tree that took at least so long to make for each MiB of it is frozen before it is forgotten,
/// milliseconds. Freezing a MiB takes some 50 of them, thawing it 10.
pub const FREEZE_COST_MS_PER_MIB: u64 = 500;
/// Bytes that are thawed in a millisecond, for what giving a mountable form up costs.
pub(crate) const THAW_BYTES_PER_MS: u64 = 100_000;
/// Bytes that are frozen in a millisecond, for what dropping the pack of a mountable tree costs.
pub(crate) const FREEZE_BYTES_PER_MS: u64 = 20_000;
/// Most packs that one collection looks into for what is dead in them.
pub const REPACK_PACKS_MAX: usize = 8;
/// Most bytes of blobs that one collection packs anew.
pub const REPACK_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Up to this size a blob that only a pack has is held in memory while it is packed anew, bytes.
pub(crate) const REPACK_MEMORY_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How much less urgent than everything else freezing is, as `nice` counts.
pub(crate) const FREEZE_NICE: i32 = 19;

/// Most threads that hash at once.
pub(crate) const HASHERS_MAX: usize = 16;
/// What a thread reads at once, bytes: enough for BLAKE3 to work on many chunks side by side.
pub(crate) const READ_BYTES: usize = 256 * 1024;
/// Most threads that wait for the disk at once in one commit.
pub(crate) const SYNCERS_MAX: usize = 16;
/// Up to so many new files are synced one by one, several at a time: that is quick even while other
/// jobs write much to the same file system. Beyond, the whole file system is synced.
pub(crate) const SYNC_EACH_MAX: usize = 256;
/// Up to so many bytes that wait to be written on this machine, one wait for the whole file system
/// is quicker than one for each of a layer's files and directories.
pub(crate) const UNWRITTEN_LITTLE_BYTES: u64 = 16 * 1024 * 1024;
/// Notes of uses that wait to be written together.
pub(crate) const NOTES_MAX: usize = 8192;
/// Objects that a sweep removes in one go: so long a commit may wait for it.
pub(crate) const SWEEP_MAX: usize = 1024;
/// Trees and loose blobs that a collection forgets in one go.
pub(crate) const EVICT_MAX: usize = 32;
/// Most blobs of which it is remembered that somebody has found them while a collection goes on;
/// beyond, all count as found, and nothing more is removed.
pub(crate) const FOUND_MAX: usize = 2_000_000;
/// Most blobs that one collection removes; the next goes on.
pub(crate) const GONE_MAX: usize = 4_000_000;
/// Most trees and blobs that holds keep by name; beyond, they keep everything.
pub(crate) const TOUCHED_MAX: usize = 1_000_000;

/// Most changes that wait for another to take them to the disk; one more goes by itself.
pub(crate) const SOON_MAX: u64 = 256;

/// Most caches at once.
pub const CACHES_MAX: usize = 256;
/// Most bytes of all caches together.
pub const CACHES_BYTES_MAX: u64 = 32 * 1024 * 1024 * 1024;
/// Most bytes of one cache; one that has more begins anew.
pub const CACHE_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;
/// Most layers of one cache before they are poured into one.
pub const CACHE_LAYERS_MAX: usize = 16;
/// Most files that one step may leave in a cache, or that a cache may hold.
pub(crate) const CACHE_ENTRIES_MAX: usize = 1_000_000;

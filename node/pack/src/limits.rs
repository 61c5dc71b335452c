//! Bounds of packs, for writers and for readers of packs from anywhere. Units are in the names.

/// Files up to this size are one unit and are not cut.
pub const SMALL_BYTES_MAX: u64 = 64 * 1024;
/// Largest unit, bytes.
pub const UNIT_BYTES_MAX: u32 = 128 * 1024;
/// Most bytes that a frame expands to.
pub const FRAME_BYTES_MAX: u32 = 4 * 1024 * 1024;
/// Most units of one frame.
pub const FRAME_UNITS_MAX: u32 = 64 * 1024;
/// Most dictionaries of one pack.
pub const DICTIONARIES_MAX: u32 = 16;
/// Most bytes that a dictionary expands to.
pub const DICTIONARY_BYTES_MAX: u32 = 2 * 1024 * 1024;
/// Most units of one pack, and most frames.
pub const UNITS_MAX: u32 = 2 * 1024 * 1024;
/// Most files of one pack that are cut into units.
pub const LARGE_MAX: u32 = 1024 * 1024;
/// Most units of all the large files of one pack, each counted as often as it is named.
pub const PARTS_MAX: u32 = 8 * 1024 * 1024;
/// Most units of other packs that one pack names.
pub const FOREIGN_MAX: u32 = 1024 * 1024;
/// Most other packs that one pack leans on.
pub const PACKS_MAX: u32 = 1024;
/// Most trees of which a pack says that it was made for them.
pub const TREES_MAX: u32 = 4096;
/// Most bytes that a pack's index expands to.
pub const INDEX_BYTES_MAX: u32 = 192 * 1024 * 1024;
/// Most bytes of a whole pack.
pub const PACK_BYTES_MAX: u64 = 256 * 1024 * 1024 * 1024;
/// Most threads that compress at once.
pub const THREADS_MAX: usize = 64;

/// Most bytes from which one dictionary is learnt.
pub(crate) const SAMPLE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// A dictionary is learnt only from so many times its own size.
pub(crate) const SAMPLES_PER_DICTIONARY: usize = 8;
/// Most files that are held open while a pack is written.
pub(crate) const OPEN_MAX: usize = 64;
/// Most decoders that an open pack keeps for its next readers.
pub(crate) const IDLE_DECODERS_MAX: usize = 16;

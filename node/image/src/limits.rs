//! Bounds of what an image may be; those of trees and blobs are in `caravan_protocol::limits`.

/// Most layers of one image.
pub const LAYERS_MAX: usize = 512;
/// Largest manifest or index, bytes: what registries take.
pub const MANIFEST_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Largest configuration of an image, bytes.
pub const CONFIG_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Largest layer as it is sent, bytes.
pub const LAYER_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;
/// Most bytes of all layers when they are unpacked, holes of sparse files counted.
pub const IMAGE_BYTES_MAX: u64 = 64 * 1024 * 1024 * 1024;
/// Most bytes that one compressed byte may become.
pub const RATIO_MAX: u64 = 500;
/// Unpacked bytes of a layer for which the ratio is not asked.
pub const RATIO_FREE_BYTES: u64 = 1024 * 1024;
/// Largest window of a zstd frame, as a power of two: 128 MiB.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Most memory that `xz` may use to unpack, MiB.
pub const XZ_MEMORY_MIB: u64 = 256;

/// Most indexes within indexes.
pub const INDEX_DEPTH_MAX: usize = 4;
/// Most images that one index lists.
pub const INDEX_ENTRIES_MAX: usize = 1024;
/// Most documents that are read to find one image.
pub const DOCUMENTS_MAX: usize = 64;
/// Most variables of an image's environment.
pub const ENV_MAX: usize = 1024;
/// Most bytes of an image's environment: the record of a base has room for it.
pub const ENV_BYTES_MAX: usize = 32 * 1024;

/// Largest extended header of a tar archive, bytes: all attributes of a file.
pub const PAX_BYTES_MAX: u64 = 1024 * 1024;
/// Longest name of a tar archive before it is looked at, bytes.
pub const LONG_NAME_BYTES_MAX: u64 = 16 * 1024;
/// Most pieces of one sparse file.
pub const SPARSE_PIECES_MAX: usize = 100_000;
/// Most symbolic links on the way to one file of an archive, as in Linux.
pub const SYMLINKS_MAX: usize = 40;
/// Highest owner that a file of an image may have: a sandbox has that many users.
pub const OWNER_MAX: u64 = 65_535;
/// Most members of one tar archive, whether they stay or not.
pub const MEMBERS_MAX: u64 = 4_000_000;
/// Most notes that an import keeps; the rest are counted.
pub const NOTES_MAX: usize = 20;

/// Largest answer of a registry that is no blob (tokens, errors), bytes.
pub const ANSWER_BYTES_MAX: u64 = 1024 * 1024;
/// Largest file of credentials, bytes.
pub const AUTH_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Largest file of certificate authorities, bytes.
pub const CA_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Redirections that a registry may answer with, one after the other.
pub const REDIRECTS_MAX: u32 = 8;
/// Seconds for a connection, and for the beginning of an answer.
pub const CONNECT_S: u64 = 30;
/// Seconds for which a registry may say nothing in the middle of a blob.
pub const SILENCE_S: u64 = 60;
/// Times that one blob is asked for again from where it broke off.
pub const RESUMES_MAX: u32 = 5;

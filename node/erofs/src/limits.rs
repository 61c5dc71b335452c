//! Every bound of this crate, in one place.

/// Most files of one image.
pub const NODES_MAX: usize = 4_000_000;
/// Most bytes of one image.
pub const IMAGE_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// Longest name in a directory, bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// Longest target of a symbolic link, bytes.
pub const TARGET_BYTES_MAX: usize = 4_095;
/// Most bytes of all extended attributes of one file, names included.
pub const XATTRS_BYTES_MAX: usize = 192 * 1024;

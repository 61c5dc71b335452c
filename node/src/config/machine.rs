//! How large this machine is: for defaults only, so that what cannot be read counts as nothing.

use std::path::Path;

/// Bytes of memory.
#[must_use]
pub fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit))
}

/// Bytes of the file system that holds a directory, or would hold it once it is made.
#[must_use]
pub fn disk_bytes(dir: &Path) -> u64 {
    let found = dir
        .ancestors()
        .find_map(|dir| rustix::fs::statvfs(dir).ok());
    found.map_or(0, |disk| disk.f_blocks.saturating_mul(disk.f_frsize))
}

/// What of that file system is free for this user.
#[must_use]
pub fn disk_free_bytes(dir: &Path) -> u64 {
    let found = dir
        .ancestors()
        .find_map(|dir| rustix::fs::statvfs(dir).ok());
    found.map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

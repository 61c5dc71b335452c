//! The door for tests and fuzzers to the form of logs that other nodes send.

use std::{fs::File, io::Write as _};

use rustix::fs::MemfdFlags;

use super::frames::{Table, gather};

/// Most plain bytes of a log that is read here.
const LOG_BYTES_MAX: u64 = 1 << 20;

/// A log that has ended, unpacked.
#[must_use]
pub fn log(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut file = File::from(rustix::fs::memfd_create("log", MemfdFlags::CLOEXEC).ok()?);
    file.write_all(bytes).ok()?;
    let table = Table::read(&file, bytes.len() as u64, LOG_BYTES_MAX).ok()??;
    let range = 0..table.plain();
    let mut plain = Vec::new();
    gather(&file, &table.spans(&range), &range, &mut plain).ok()?;
    assert_eq!(
        plain.len() as u64,
        table.plain(),
        "another length than the table says"
    );
    Some(plain)
}

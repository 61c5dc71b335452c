//! How much waits to be written on this machine. One wait for a whole file system is quicker than
//! one for each of many files while little else waits, and many times slower while a job writes
//! gigabytes. Nothing is decided here, and nothing depends on the answer but time.

use std::{fs::File, io::Read};

use crate::limits::UNWRITTEN_LITTLE_BYTES;

/// Longest that `/proc/meminfo` is read.
const TEXT_BYTES_MAX: u64 = 16 * 1024;

/// Whether a wait for the whole file system is short.
pub(crate) fn is_little() -> bool {
    let mut text = String::new();
    let read = File::open("/proc/meminfo")
        .and_then(|file| file.take(TEXT_BYTES_MAX).read_to_string(&mut text));
    read.is_ok() && bytes(&text).is_some_and(|bytes| bytes <= UNWRITTEN_LITTLE_BYTES)
}

/// What is changed in memory or on its way to a disk; nothing where the text does not tell.
fn bytes(text: &str) -> Option<u64> {
    let of = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let number = line.strip_prefix(':')?.strip_suffix(" kB")?;
        number.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    of("Dirty")?.checked_add(of("Writeback")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_summed_and_an_unknown_text_says_nothing() {
        let text = "MemTotal:  9 kB\nDirty:      12 kB\nWriteback:    3 kB\nWritebackTmp:  7 kB\n";
        assert_eq!(bytes(text), Some(15 * 1024));
        for text in [
            "",
            "Dirty: 1 kB",
            "Dirty: x kB\nWriteback: 1 kB",
            "Dirty: 1\nWriteback: 1",
        ] {
            assert_eq!(bytes(text), None, "{text:?}");
        }
    }
}

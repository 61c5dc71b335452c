//! What an image says of itself: the distribution, read from its `os-release`.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use caravan_protocol::ids::BlobId;

use crate::merge::Merged;

const OS_RELEASE: &[u8] = b"etc/os-release";
/// Where the file may really be.
const PLACES: [&[u8]; 2] = [OS_RELEASE, b"usr/lib/os-release"];
/// Largest `os-release` that is looked at.
const FILE_BYTES_MAX: usize = 64 * 1024;
/// Most versions of it that are kept while layers are read.
const FILES_MAX: usize = 64;
/// Longest value that is believed.
const VALUE_BYTES_MAX: usize = 100;

/// The candidates seen so far.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    seen: BTreeMap<BlobId, Vec<u8>>,
}

/// A reader that keeps what it reads, if that is of interest and small.
pub(crate) struct Capture<'a> {
    reader: &'a mut dyn Read,
    bytes: Option<Vec<u8>>,
}

impl Facts {
    /// Reads a file, and keeps its bytes if they may be the `os-release`.
    pub(crate) fn capture<'a>(&self, path: &[u8], reader: &'a mut dyn Read) -> Capture<'a> {
        let wanted = PLACES.contains(&path) && self.seen.len() < FILES_MAX;
        Capture {
            reader,
            bytes: wanted.then(Vec::new),
        }
    }

    pub(crate) fn captured(&mut self, blob: BlobId, bytes: Option<Vec<u8>>) {
        if let Some(bytes) = bytes {
            self.seen.insert(blob, bytes);
        }
    }

    /// What the image's own `os-release` says, as opam's variables.
    pub(crate) fn of(&self, merged: &Merged) -> BTreeMap<String, String> {
        let Some(entry) = merged.follow(OS_RELEASE) else {
            return BTreeMap::new();
        };
        match &entry.kind {
            caravan_protocol::tree::Kind::File { blob, .. } => {
                let bytes = self.seen.get(blob).map(Vec::as_slice);
                parse(&String::from_utf8_lossy(bytes.unwrap_or_default()))
            }
            _ => BTreeMap::new(),
        }
    }
}

impl Capture<'_> {
    pub(crate) fn into_bytes(self) -> Option<Vec<u8>> {
        self.bytes
    }
}

impl Read for Capture<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        if let Some(bytes) = &mut self.bytes {
            if bytes.len() + read > FILE_BYTES_MAX {
                self.bytes = None;
            } else {
                bytes.extend_from_slice(&buffer[..read]);
            }
        }
        Ok(read)
    }
}

fn parse(text: &str) -> BTreeMap<String, String> {
    let value = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        let value = line.trim().trim_matches(['"', '\'']);
        let plain = |b: u8| b.is_ascii_alphanumeric() || b" ._+-".contains(&b);
        let good = !value.is_empty() && value.len() <= VALUE_BYTES_MAX && value.bytes().all(plain);
        good.then(|| value.to_ascii_lowercase())
    };
    let mut facts = BTreeMap::new();
    if let Some(id) = value("ID") {
        let family = value("ID_LIKE").and_then(|like| like.split(' ').next().map(str::to_owned));
        facts.insert("os-family".to_owned(), family.unwrap_or_else(|| id.clone()));
        facts.insert("os-distribution".to_owned(), id);
    }
    if let Some(version) = value("VERSION_ID") {
        facts.insert("os-version".to_owned(), version);
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_known_by_its_release() {
        let facts = parse("NAME=\"X\"\nID=ubuntu\nID_LIKE=\"debian x\"\nVERSION_ID='24.04'\n");
        let want = [
            ("os-distribution", "ubuntu"),
            ("os-family", "debian"),
            ("os-version", "24.04"),
        ];
        let want = want.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(facts, BTreeMap::from(want));
        assert!(parse("ID=$(rm -rf /)\nVERSION_ID=\n").is_empty());
    }
}

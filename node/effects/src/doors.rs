//! Doors for tests and fuzzers to this room's decoders of bytes that nobody vouches for. Each takes
//! such bytes, and answers what was read of them as it would be written again, or nothing where they
//! are refused. Nothing else calls them; they keep no state.

use crate::archive;

/// An archive of an opam repository that is not compressed.
#[must_use]
pub fn repository(bytes: &[u8]) -> Option<Vec<u8>> {
    let files = archive::unpacked(bytes).ok()?;
    Some(files.iter().flat_map(|(path, _)| path.bytes()).collect())
}

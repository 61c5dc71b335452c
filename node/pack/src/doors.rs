//! Doors for tests and fuzzers to this room's decoders of bytes that nobody vouches for. Each takes
//! such bytes, and answers what was read of them as it would be written again, or nothing where they
//! are refused. Nothing else calls them; they keep no state.

use caravan_protocol::ids::BlobId;

use crate::{Alone, Pack, PackId, index::Index};

/// Most bytes that are read of one blob.
const BLOB_MAX: u64 = 1 << 20;
/// Most blobs that are read of one pack.
const BLOBS_MAX: usize = 64;

/// A pack, and all that can be read from it, which is what its names say.
#[must_use]
pub fn pack(bytes: &[u8]) -> Option<Vec<u8>> {
    PackId::of(&bytes).ok()?;
    let pack = Pack::open(bytes).ok()?;
    let mut hashes = Vec::new();
    for (blob, size) in pack.blobs().take(BLOBS_MAX) {
        if let Ok(read) = pack.read(blob, BLOB_MAX, &Alone) {
            assert_eq!(BlobId::of(&read), blob, "other bytes than the name says");
            assert_eq!(
                read.len() as u64,
                size,
                "another length than the index says"
            );
            hashes.extend_from_slice(blob.as_bytes());
        }
    }
    Some(hashes)
}

/// The index of a pack, expanded, behind the place in the file where it begins.
#[must_use]
pub fn index(bytes: &[u8]) -> Option<Vec<u8>> {
    let (end, columns) = bytes.split_first_chunk::<8>()?;
    let index = Index::decode(columns, u64::from_le_bytes(*end)).ok()?;
    let mut again = end.to_vec();
    again.extend(index.encode());
    Some(again)
}

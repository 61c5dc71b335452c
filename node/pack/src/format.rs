//! The frame around a pack, version 1: a header, then dictionaries and frames back to back, then
//! the index, then a footer that says where the index is and what it hashes to. There is no gap
//! between any two of them and nothing after the footer.

use std::{fmt, str::FromStr};

use caravan_protocol::ids::{BlobId, ParseIdError};

use crate::{
    error::{Doing, PackError, Result},
    io::ReadAt,
    limits::{INDEX_BYTES_MAX, PACK_BYTES_MAX},
};

/// First bytes of every pack, and backwards the last.
const MAGIC: [u8; 8] = *b"CARAPACK";
const VERSION: u32 = 1;
pub(crate) const HEADER_BYTES: u64 = 16;
pub(crate) const FOOTER_BYTES: u64 = 64;

/// Names a pack: the BLAKE3 hash of all its bytes. A pack travels as a blob, and this is its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackId(BlobId);

impl PackId {
    /// The pack as the blob that it is.
    #[must_use]
    pub const fn blob(self) -> BlobId {
        self.0
    }

    /// The bytes of the id.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl From<BlobId> for PackId {
    fn from(blob: BlobId) -> Self {
        Self(blob)
    }
}

impl fmt::Display for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for PackId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        text.parse().map(Self)
    }
}

/// The first bytes of a pack.
pub(crate) fn header() -> [u8; HEADER_BYTES as usize] {
    let mut bytes = [0; HEADER_BYTES as usize];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes
}

/// The last bytes of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Footer {
    /// Where the index begins.
    pub(crate) index_at: u64,
    /// How many bytes it has in the file.
    pub(crate) packed_bytes: u32,
    /// How many it expands to.
    pub(crate) index_bytes: u32,
    /// The hash of its bytes in the file.
    pub(crate) index_hash: [u8; 32],
}

impl Footer {
    pub(crate) fn to_bytes(self) -> [u8; FOOTER_BYTES as usize] {
        let mut bytes = [0; FOOTER_BYTES as usize];
        bytes[..8].copy_from_slice(&self.index_at.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.packed_bytes.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.index_bytes.to_le_bytes());
        bytes[16..48].copy_from_slice(&self.index_hash);
        let mut magic = MAGIC;
        magic.reverse();
        bytes[56..].copy_from_slice(&magic);
        bytes
    }

    /// Reads header and footer of a file and checks that they fit its length.
    pub(crate) fn read(file: &impl ReadAt) -> Result<Self> {
        let refuse = |reason| Err(PackError::NotAPack { reason });
        let size = file.size().doing("look at the length of a pack")?;
        if size < HEADER_BYTES + FOOTER_BYTES {
            return refuse("it is shorter than a header and a footer");
        }
        if size > PACK_BYTES_MAX {
            return Err(PackError::TooMany {
                what: "bytes",
                count: size,
                max: PACK_BYTES_MAX,
            });
        }
        let mut head = [0; HEADER_BYTES as usize];
        file.read_exact_at(&mut head, 0)
            .doing("read the header of a pack")?;
        if head[..8] != MAGIC {
            return refuse("it does not begin like a pack");
        }
        let found = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
        if found != VERSION {
            return Err(PackError::Version {
                found,
                known: VERSION,
            });
        }
        if head != header() {
            return refuse("reserved bytes of its header are set");
        }
        let mut bytes = [0; FOOTER_BYTES as usize];
        file.read_exact_at(&mut bytes, size - FOOTER_BYTES)
            .doing("read the footer of a pack")?;
        let footer = Self::from_bytes(&bytes);
        if footer.to_bytes() != bytes {
            return refuse("it does not end like a pack; it may be cut short");
        }
        if footer.index_bytes > INDEX_BYTES_MAX {
            return Err(PackError::TooMany {
                what: "bytes of index",
                count: footer.index_bytes.into(),
                max: INDEX_BYTES_MAX.into(),
            });
        }
        let end = footer.index_at.checked_add(footer.packed_bytes.into());
        if footer.index_at < HEADER_BYTES || end != Some(size - FOOTER_BYTES) {
            return refuse("its footer points to no index");
        }
        Ok(footer)
    }

    fn from_bytes(bytes: &[u8; FOOTER_BYTES as usize]) -> Self {
        let mut at = [0; 8];
        at.copy_from_slice(&bytes[..8]);
        let word = |from: usize| {
            u32::from_le_bytes([
                bytes[from],
                bytes[from + 1],
                bytes[from + 2],
                bytes[from + 3],
            ])
        };
        let mut index_hash = [0; 32];
        index_hash.copy_from_slice(&bytes[16..48]);
        Self {
            index_at: u64::from_le_bytes(at),
            packed_bytes: word(8),
            index_bytes: word(12),
            index_hash,
        }
    }
}

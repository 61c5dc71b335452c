//! What is said on a bulk stream. Whoever fetches opens it, asks and asks on without waiting; the
//! provider answers in any order, by the number of the question. A word is its length and its
//! encoding; after some answers come raw bytes whose length the asker knows.

use std::io;

use caravan_protocol::{codec, ids::BlobId};
use futures::{AsyncRead, AsyncReadExt as _};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::groups::Mask;
use crate::limits::{BLOBS_PER_REQUEST_MAX, BULK_WORD_BYTES_MAX};

/// First byte of a stream that is served.
pub(crate) const SERVED: u8 = 1;
/// First byte of one that is not, for there are too many.
pub(crate) const BUSY: u8 = 2;

/// What the asker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// What of this blob is there, now and later? Answered by [`Tell::Standing`] and then by
    /// [`Tell::Have`], unasked.
    Watch { number: u32, blob: BlobId },
    /// The outline of a blob: [`Tell::Outline`].
    Outline { number: u32, blob: BlobId },
    /// Groups of one piece: [`Tell::Piece`].
    Piece {
        number: u32,
        blob: BlobId,
        piece: u32,
        groups: Mask,
    },
    /// Whole blobs, one after the other: [`Tell::Blobs`].
    Blobs { number: u32, blobs: Vec<BlobId> },
    /// This is not wanted any more. It may come all the same.
    Cancel { number: u32 },
}

/// What the provider says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Tell {
    /// What of a watched blob is there.
    Standing { number: u32, standing: Standing },
    /// More pieces of a watched blob are there.
    Have { number: u32, pieces: Vec<u32> },
    /// The hashes of all pieces follow.
    Outline { number: u32 },
    /// The list of the piece's groups follows if it has more than one, then the groups asked for.
    Piece { number: u32 },
    /// For each blob asked for follows [`ABSENT`], or [`PRESENT`], its size, its outline if it has
    /// more than one piece, and of each piece what [`Tell::Piece`] says.
    Blobs { number: u32 },
    /// What was asked for is not here.
    No { number: u32 },
}

/// What a provider has of a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Standing {
    /// Nothing.
    Absent,
    /// All of it.
    Whole {
        /// Its size.
        size: u64,
    },
    /// Some of it, for it is being fetched: a bit for each piece, the lowest first.
    Part {
        /// Its size.
        size: u64,
        /// The bits.
        have: Vec<u8>,
    },
}

/// The blob is not here.
pub(crate) const ABSENT: u8 = 0;
/// The blob follows.
pub(crate) const PRESENT: u8 = 1;

/// A word as it goes over the stream.
pub(crate) fn frame(word: &impl Serialize) -> io::Result<Vec<u8>> {
    let bytes = codec::encode::<BULK_WORD_BYTES_MAX>(word).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    Ok([&length.to_be_bytes()[..], &bytes].concat())
}

fn damaged(words: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words)
}

/// Reads one word.
pub(crate) async fn read<T: Serialize + DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > BULK_WORD_BYTES_MAX {
        return Err(damaged(format!(
            "it sent a word of {length} bytes: at most {BULK_WORD_BYTES_MAX} are allowed"
        )));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    decode(&bytes)
}

/// A word of these bytes.
pub(crate) fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    codec::decode::<BULK_WORD_BYTES_MAX, T>(bytes)
        .map_err(|error| damaged(format!("it sent a word that cannot be read: {error}")))
}

impl Ask {
    /// Whether it keeps its bounds.
    pub(crate) fn is_good(&self) -> bool {
        match self {
            Self::Blobs { blobs, .. } => (1..=BLOBS_PER_REQUEST_MAX).contains(&blobs.len()),
            Self::Piece { groups, .. } => *groups != 0,
            Self::Watch { .. } | Self::Outline { .. } | Self::Cancel { .. } => true,
        }
    }
}

/// A bit for each of many things.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Bits {
    words: Vec<u64>,
    count: u32,
}

impl Bits {
    pub(crate) fn get(&self, at: u32) -> bool {
        let word = self.words.get(at as usize / 64).copied();
        word.unwrap_or_default() & (1 << (at % 64)) != 0
    }

    /// Sets a bit; whether it was not set.
    pub(crate) fn set(&mut self, at: u32) -> bool {
        let word = at as usize / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let is_new = self.words[word] & (1 << (at % 64)) == 0;
        self.words[word] |= 1 << (at % 64);
        self.count += u32::from(is_new);
        is_new
    }

    /// How many are set.
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    /// Those below `end` that are set.
    pub(crate) fn iter(&self, end: u32) -> impl Iterator<Item = u32> + '_ {
        (0..end).filter(|&at| self.get(at))
    }

    /// As bytes for so many things.
    pub(crate) fn to_bytes(&self, things: u32) -> Vec<u8> {
        let mut bytes = vec![0; things.div_ceil(8) as usize];
        for at in self.iter(things) {
            bytes[at as usize / 8] |= 1 << (at % 8);
        }
        bytes
    }

    /// From bytes, for so many things; none if there are not as many bytes, or bits beyond.
    pub(crate) fn from_bytes(bytes: &[u8], things: u32) -> Option<Self> {
        let mut bits = Self::default();
        if bytes.len() != things.div_ceil(8) as usize {
            return None;
        }
        for at in 0..things.div_ceil(8) * 8 {
            if bytes[at as usize / 8] & (1 << (at % 8)) != 0 {
                bits.set(at);
                if at >= things {
                    return None;
                }
            }
        }
        Some(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_back_and_stray_ones_are_refused() {
        let mut bits = Bits::default();
        for at in [0, 7, 8, 63, 64, 99] {
            assert!(bits.set(at));
            assert!(!bits.set(at));
        }
        let bytes = bits.to_bytes(100);
        assert_eq!(bytes.len(), 13);
        let back = Bits::from_bytes(&bytes, 100).expect("good");
        assert_eq!((back.count(), back.iter(100).count()), (6, 6));
        assert_eq!(Bits::from_bytes(&bytes, 99), None);
        assert_eq!(Bits::from_bytes(&bytes, 200), None);
    }

    #[test]
    fn requests_without_sense_are_refused() {
        let blob = BlobId::of(b"x");
        let none = Ask::Piece {
            number: 1,
            blob,
            piece: 0,
            groups: 0,
        };
        assert!(!none.is_good());
        let blobs = Vec::new();
        assert!(!Ask::Blobs { number: 1, blobs }.is_good());
        let blobs = vec![blob; BLOBS_PER_REQUEST_MAX + 1];
        assert!(!Ask::Blobs { number: 1, blobs }.is_good());
    }
}

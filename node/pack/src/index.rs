//! The index of a pack: which frames there are, which units they hold, and of which units the large
//! files consist. It is written as columns of little-endian numbers and of ids, so that it
//! compresses well and is read without a decoder that could be led astray.
//!
//! Offsets are not written. Frames follow each other in the file and units in their frame, so what
//! overlaps, leaves gaps or points backwards cannot even be said.

use std::collections::BTreeSet;

use caravan_protocol::{
    ids::{BlobId, TreeId},
    limits::BLOB_BYTES_MAX,
};

use crate::{
    error::{PackError, Result},
    format::{HEADER_BYTES, PackId},
    frame, limits,
};

/// A stretch of the file and what it expands to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) at: u64,
    pub(crate) packed_bytes: u32,
    pub(crate) bytes: u32,
}

/// What is compressed at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) span: Span,
    /// Which dictionary it needs, counted from one; zero for none.
    pub(crate) dictionary: u8,
    /// Its units.
    pub(crate) units: std::ops::Range<u32>,
}

/// Bytes with a name, at one place of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) id: BlobId,
    pub(crate) bytes: u32,
    pub(crate) frame: u32,
    /// Where it is in what its frame expands to.
    pub(crate) at: u32,
}

/// A unit that is in another pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Foreign {
    pub(crate) pack: u32,
    pub(crate) bytes: u32,
    pub(crate) id: BlobId,
}

/// A file that consists of several units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Large {
    pub(crate) id: BlobId,
    pub(crate) size: u64,
    /// Its stretch of [`Index::parts`].
    pub(crate) parts: std::ops::Range<u32>,
}

/// A checked index.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Index {
    pub(crate) dictionaries: Vec<Span>,
    pub(crate) frames: Vec<Frame>,
    pub(crate) units: Vec<Unit>,
    pub(crate) packs: Vec<PackId>,
    pub(crate) foreign: Vec<Foreign>,
    pub(crate) large: Vec<Large>,
    /// Numbers of units; those beyond the units are of `foreign`.
    pub(crate) parts: Vec<u32>,
    pub(crate) trees: Vec<TreeId>,
}

impl Index {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = Vec::new();
        let counts = [
            self.dictionaries.len(),
            self.frames.len(),
            self.units.len(),
            self.packs.len(),
            self.foreign.len(),
            self.large.len(),
            self.parts.len(),
            self.trees.len(),
        ];
        put(&mut to, counts.iter().map(|&count| small(count)));
        put(&mut to, self.dictionaries.iter().map(|d| d.packed_bytes));
        put(&mut to, self.dictionaries.iter().map(|d| d.bytes));
        put(&mut to, self.frames.iter().map(|f| f.span.packed_bytes));
        put(&mut to, self.frames.iter().map(|f| f.dictionary.into()));
        put(
            &mut to,
            self.frames.iter().map(|f| f.units.end - f.units.start),
        );
        put(&mut to, self.units.iter().map(|unit| unit.bytes));
        put(&mut to, self.foreign.iter().map(|foreign| foreign.pack));
        put(&mut to, self.foreign.iter().map(|foreign| foreign.bytes));
        put(
            &mut to,
            self.large.iter().map(|l| l.parts.end - l.parts.start),
        );
        put(&mut to, self.parts.iter().copied());
        let ids = self.units.iter().map(|unit| unit.id);
        let ids = ids.chain(self.packs.iter().map(|pack| pack.blob()));
        let ids = ids.chain(self.foreign.iter().map(|foreign| foreign.id));
        let ids = ids.chain(self.large.iter().map(|large| large.id));
        for id in ids.chain(self.trees.iter().map(|tree| tree.blob())) {
            to.extend_from_slice(id.as_bytes());
        }
        to
    }

    /// Reads an index whose frames fill a file from its header to `end`.
    pub(crate) fn decode(bytes: &[u8], end: u64) -> Result<Self> {
        let mut from = Columns(bytes);
        let counts = from.words(8)?;
        let bounds = [
            ("dictionaries", limits::DICTIONARIES_MAX),
            ("frames", limits::UNITS_MAX),
            ("units", limits::UNITS_MAX),
            ("other packs", limits::PACKS_MAX),
            ("units of other packs", limits::FOREIGN_MAX),
            ("large files", limits::LARGE_MAX),
            ("parts of large files", limits::PARTS_MAX),
            ("trees", limits::TREES_MAX),
        ];
        for (&count, (what, max)) in counts.iter().zip(bounds) {
            if count > max {
                return Err(PackError::TooMany {
                    what,
                    count: count.into(),
                    max: max.into(),
                });
            }
        }
        let count = |column: usize| counts[column] as usize;
        let raw = Raw {
            dictionaries: (from.words(count(0))?, from.words(count(0))?),
            frames: [(); 3].map(|()| from.words(count(1))),
            unit_bytes: from.words(count(2))?,
            foreign: (from.words(count(4))?, from.words(count(4))?),
            large_parts: from.words(count(5))?,
            parts: from.words(count(6))?,
            unit_ids: from.ids(count(2))?,
            pack_ids: from.ids(count(3))?,
            foreign_ids: from.ids(count(4))?,
            large_ids: from.ids(count(5))?,
            tree_ids: from.ids(count(7))?,
        };
        if !from.0.is_empty() {
            return Err(bad(format!("{} bytes follow its columns", from.0.len())));
        }
        raw.check(end)
    }

    /// Length of the unit or foreign unit of this number.
    pub(crate) fn part_bytes(&self, part: u32) -> Option<u32> {
        let part = part as usize;
        match self.units.get(part) {
            Some(unit) => Some(unit.bytes),
            None => Some(self.foreign.get(part - self.units.len())?.bytes),
        }
    }
}

/// Columns as they were read.
struct Raw {
    dictionaries: (Vec<u32>, Vec<u32>),
    frames: [Result<Vec<u32>>; 3],
    unit_bytes: Vec<u32>,
    foreign: (Vec<u32>, Vec<u32>),
    large_parts: Vec<u32>,
    parts: Vec<u32>,
    unit_ids: Vec<BlobId>,
    pack_ids: Vec<BlobId>,
    foreign_ids: Vec<BlobId>,
    large_ids: Vec<BlobId>,
    tree_ids: Vec<BlobId>,
}

impl Raw {
    fn check(self, end: u64) -> Result<Index> {
        let mut index = Index {
            packs: self.pack_ids.into_iter().map(PackId::from).collect(),
            parts: self.parts,
            trees: self.tree_ids.into_iter().map(TreeId::from).collect(),
            ..Index::default()
        };
        let mut at = HEADER_BYTES;
        for (&packed_bytes, &bytes) in self.dictionaries.0.iter().zip(&self.dictionaries.1) {
            let span = span(&mut at, packed_bytes, bytes, limits::DICTIONARY_BYTES_MAX)?;
            index.dictionaries.push(span);
        }
        let [packed, dictionaries, counts] = self.frames;
        let (packed, dictionaries, counts) = (packed?, dictionaries?, counts?);
        let mut units = self.unit_ids.iter().zip(&self.unit_bytes);
        for (number, &packed_bytes) in packed.iter().enumerate() {
            let first = small(index.units.len());
            let mut bytes = 0;
            for _ in 0..counts[number].min(limits::FRAME_UNITS_MAX) {
                let Some((&id, &unit_bytes)) = units.next() else {
                    return Err(bad("its frames hold more units than there are"));
                };
                if unit_bytes > limits::UNIT_BYTES_MAX {
                    return Err(bad(format!("unit {id} has {unit_bytes} bytes")));
                }
                index.units.push(Unit {
                    id,
                    bytes: unit_bytes,
                    frame: small(number),
                    at: bytes,
                });
                bytes += unit_bytes;
                if bytes > limits::FRAME_BYTES_MAX {
                    return Err(bad(format!(
                        "frame {number} has more bytes than a frame may"
                    )));
                }
            }
            let last = small(index.units.len());
            if last - first != counts[number] || first == last {
                return Err(bad(format!("frame {number} has no or too many units")));
            }
            let dictionary = u8::try_from(dictionaries[number]).unwrap_or(u8::MAX);
            if usize::from(dictionary) > index.dictionaries.len() {
                return Err(bad(format!(
                    "frame {number} names no dictionary of the pack"
                )));
            }
            index.frames.push(Frame {
                span: span(&mut at, packed_bytes, bytes, limits::FRAME_BYTES_MAX)?,
                dictionary,
                units: first..last,
            });
        }
        if units.next().is_some() {
            return Err(bad("it has units of no frame"));
        }
        if at != end {
            return Err(bad(format!(
                "its frames end at {at} and the index begins at {end}"
            )));
        }
        index.add_foreign(&self.foreign, &self.foreign_ids)?;
        index.add_large(&self.large_ids, &self.large_parts)?;
        index.check_names()?;
        Ok(index)
    }
}

impl Index {
    fn add_foreign(&mut self, columns: &(Vec<u32>, Vec<u32>), ids: &[BlobId]) -> Result<()> {
        let foreign = columns.0.iter().zip(&columns.1);
        for ((&pack, &bytes), &id) in foreign.zip(ids) {
            if pack as usize >= self.packs.len() || bytes > limits::UNIT_BYTES_MAX {
                return Err(bad(format!("unit {id} is of no other pack, or too large")));
            }
            self.foreign.push(Foreign { pack, bytes, id });
        }
        Ok(())
    }

    fn add_large(&mut self, ids: &[BlobId], counts: &[u32]) -> Result<()> {
        let mut first = 0_u32;
        for (&id, &count) in ids.iter().zip(counts) {
            let last = first
                .checked_add(count)
                .filter(|&last| last as usize <= self.parts.len());
            let last = last.ok_or_else(|| bad("its large files have more parts than there are"))?;
            let mut size = 0_u64;
            for &part in &self.parts[first as usize..last as usize] {
                let bytes = self.part_bytes(part);
                size += u64::from(bytes.ok_or_else(|| bad(format!("blob {id} names no unit")))?);
            }
            if size > BLOB_BYTES_MAX {
                return Err(bad(format!(
                    "blob {id} has {size} bytes, more than a blob may"
                )));
            }
            self.large.push(Large {
                id,
                size,
                parts: first..last,
            });
            first = last;
        }
        if first as usize != self.parts.len() {
            return Err(bad("it has parts of no large file"));
        }
        Ok(())
    }

    /// One name, one place: otherwise two readers could be told two things.
    fn check_names(&self) -> Result<()> {
        let mut ids: Vec<BlobId> = self.units.iter().map(|unit| unit.id).collect();
        ids.extend(self.large.iter().map(|large| large.id));
        ids.sort_unstable();
        if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(bad(format!("it names blob {} twice", pair[0])));
        }
        let packs: BTreeSet<&PackId> = self.packs.iter().collect();
        if packs.len() != self.packs.len() {
            return Err(bad("it names another pack twice"));
        }
        Ok(())
    }
}

fn span(at: &mut u64, packed_bytes: u32, bytes: u32, max: u32) -> Result<Span> {
    if bytes > max || packed_bytes as usize > frame::packed_bytes_max(bytes as usize) {
        return Err(bad(format!(
            "a frame of {packed_bytes} bytes that expand to {bytes} is none"
        )));
    }
    let span = Span {
        at: *at,
        packed_bytes,
        bytes,
    };
    *at += u64::from(packed_bytes);
    Ok(span)
}

/// Bytes that are taken from the front, column by column.
struct Columns<'a>(&'a [u8]);

impl<'a> Columns<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        // Before anything is made room for: the bytes must be there.
        let (taken, left) = self
            .0
            .split_at_checked(count)
            .ok_or_else(|| bad("it is shorter than its columns"))?;
        self.0 = left;
        Ok(taken)
    }

    fn words(&mut self, count: usize) -> Result<Vec<u32>> {
        let (words, _) = self.take(count * 4)?.as_chunks::<4>();
        Ok(words.iter().map(|word| u32::from_le_bytes(*word)).collect())
    }

    fn ids(&mut self, count: usize) -> Result<Vec<BlobId>> {
        let (ids, _) = self.take(count * 32)?.as_chunks::<32>();
        Ok(ids.iter().map(|id| BlobId::from_bytes(*id)).collect())
    }
}

fn put(to: &mut Vec<u8>, words: impl Iterator<Item = u32>) {
    for word in words {
        to.extend_from_slice(&word.to_le_bytes());
    }
}

/// A count that a bound keeps far below what 32 bits hold.
pub(crate) fn small(count: usize) -> u32 {
    u32::try_from(count).expect("all counts of a pack are bounded below this")
}

fn bad(reason: impl Into<String>) -> PackError {
    PackError::damaged("the index", reason)
}

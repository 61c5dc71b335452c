//! Reading an open pack: any blob of it, by one frame or a few, with a check of its hash.

use std::{io::Write, sync::OnceLock};

use caravan_protocol::ids::{BlobId, TreeId};
use zstd::zstd_safe::DDict;

use crate::{
    error::{Doing, PackError, Result},
    format::{Footer, PackId},
    frame::Decoders,
    index::{Foreign, Index, Large, Span, Unit, small},
    io::ReadAt,
};

/// The other packs that a pack leans on.
pub trait Others {
    /// The bytes of a unit that `pack` holds itself. They are checked by the caller.
    fn unit(&self, pack: PackId, unit: BlobId) -> Result<Vec<u8>>;
}

/// No other packs: for packs that stand alone.
#[derive(Debug, Clone, Copy)]
pub struct Alone;

impl Others for Alone {
    fn unit(&self, pack: PackId, unit: BlobId) -> Result<Vec<u8>> {
        Err(PackError::Other {
            pack,
            source: Box::new(PackError::Absent { blob: unit }),
        })
    }
}

/// An open pack. Reading takes `&self`, from as many threads as like.
pub struct Pack<R> {
    pub(crate) file: R,
    pub(crate) index: Index,
    /// Numbers of units and, beyond them, of large files, by id.
    by_id: Vec<u32>,
    dictionaries: Vec<OnceLock<DDict<'static>>>,
    decoders: Decoders,
}

impl<R> std::fmt::Debug for Pack<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let units = self.index.units.len();
        write!(
            f,
            "Pack({units} units, {} large files)",
            self.index.large.len()
        )
    }
}

/// The frame that was expanded last: the next unit is often in it too.
#[derive(Default)]
pub(crate) struct Last(Option<(u32, Vec<u8>)>);

impl<R: ReadAt> Pack<R> {
    /// Opens a pack, reading its index and nothing else. That the file is the pack it is named
    /// after is not checked here: every blob is checked when it is read.
    pub fn open(file: R) -> Result<Self> {
        let footer = Footer::read(&file)?;
        let mut packed = vec![0; footer.packed_bytes as usize];
        file.read_exact_at(&mut packed, footer.index_at)
            .doing("read the index of a pack")?;
        if *blake3::hash(&packed).as_bytes() != footer.index_hash {
            return Err(PackError::damaged("the index", "its hash is another"));
        }
        let decoders = Decoders::default();
        let index = decoders
            .expand(&packed, footer.index_bytes, None)
            .map_err(|reason| PackError::damaged("the index", reason))?;
        let index = Index::decode(&index, footer.index_at)?;
        let count = index.units.len() + index.large.len();
        let mut by_id: Vec<u32> = (0..small(count)).collect();
        by_id.sort_unstable_by_key(|&number| id_of(&index, number));
        Ok(Self {
            file,
            dictionaries: index.dictionaries.iter().map(|_| OnceLock::new()).collect(),
            index,
            by_id,
            decoders,
        })
    }

    /// Length of a blob of this pack. Parts of large files are blobs too.
    #[must_use]
    pub fn size(&self, blob: BlobId) -> Option<u64> {
        self.find(blob).map(|number| self.size_of(number))
    }

    /// Where a blob begins: those in ascending order are the quickest to read one after another.
    #[must_use]
    pub fn place(&self, blob: BlobId) -> Option<u32> {
        let number = self.find(blob)?;
        // Units are numbered as they lie; those in other packs come last.
        Some(self.parts_of(&number).first().copied().unwrap_or(0))
    }

    /// Every unit and every large file with its length: all that can be read from here.
    pub fn blobs(&self) -> impl Iterator<Item = (BlobId, u64)> {
        let units = self.index.units.iter();
        let units = units.map(|unit| (unit.id, u64::from(unit.bytes)));
        units.chain(self.index.large.iter().map(|large| (large.id, large.size)))
    }

    /// The units alone, which other packs may lean on.
    pub fn units(&self) -> impl Iterator<Item = BlobId> {
        self.index.units.iter().map(|unit| unit.id)
    }

    /// Sum of the lengths of the units.
    #[must_use]
    pub fn unit_bytes(&self) -> u64 {
        let units = self.index.units.iter();
        units.map(|unit| u64::from(unit.bytes)).sum()
    }

    /// The units of which a blob consists, with their lengths; those in other packs too.
    pub fn units_of(&self, blob: BlobId) -> impl Iterator<Item = (BlobId, u32)> {
        let parts = self.parts(blob).unwrap_or_default().into_iter();
        parts.map(|part| match self.index.units.get(part as usize) {
            Some(unit) => (unit.id, unit.bytes),
            None => {
                let foreign = &self.index.foreign[part as usize - self.index.units.len()];
                (foreign.id, foreign.bytes)
            }
        })
    }

    /// The trees for which the pack was made, as its writer says.
    #[must_use]
    pub fn trees(&self) -> &[TreeId] {
        &self.index.trees
    }

    /// The packs that hold parts of this one's large files.
    #[must_use]
    pub fn leans_on(&self) -> &[PackId] {
        &self.index.packs
    }

    /// A blob of at most `max` bytes.
    pub fn read(&self, blob: BlobId, max: u64, others: &impl Others) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.copy(blob, max, others, &mut bytes)?;
        Ok(bytes)
    }

    /// Writes a blob of at most `max` bytes to `to`, piece by piece. After an error, what was
    /// written is not the blob.
    pub fn copy(
        &self,
        blob: BlobId,
        max: u64,
        others: &impl Others,
        to: &mut impl Write,
    ) -> Result<()> {
        let number = self.find(blob).ok_or(PackError::Absent { blob })?;
        let size = self.size_of(number);
        if size > max {
            return Err(PackError::TooLarge { blob, size, max });
        }
        let parts = self.parts_of(&number);
        let mut hasher = blake3::Hasher::new();
        let mut last = Last::default();
        for &part in parts {
            self.part(part, others, &mut last, |bytes| {
                hasher.update(bytes);
                to.write_all(bytes).doing("write a blob of a pack")
            })?;
        }
        checked(blob, &BlobId::from_bytes(*hasher.finalize().as_bytes()))
    }

    /// Hands the bytes of a part over; the hash of the whole shows whether they are right.
    pub(crate) fn part(
        &self,
        part: u32,
        others: &impl Others,
        last: &mut Last,
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        if let Some(unit) = self.index.units.get(part as usize) {
            return take(&self.frame(unit.frame, last)?[range(unit)]);
        }
        let Foreign { pack, bytes, id } =
            self.index.foreign[part as usize - self.index.units.len()];
        let found = others.unit(self.index.packs[pack as usize], id)?;
        if found.len() != bytes as usize {
            let reason = format!("another pack has {} bytes of it, not {bytes}", found.len());
            return Err(PackError::damaged(format!("unit {id}"), reason));
        }
        take(&found)
    }

    pub(crate) fn frame<'a>(&self, frame: u32, last: &'a mut Last) -> Result<&'a [u8]> {
        if last.0.as_ref().is_none_or(|(number, _)| *number != frame) {
            // Freed first, so that one reader holds one frame and not two.
            last.0 = None;
            last.0 = Some((frame, self.expand(frame)?));
        }
        Ok(last.0.as_ref().map_or(&[], |(_, bytes)| bytes))
    }

    fn expand(&self, number: u32) -> Result<Vec<u8>> {
        let frame = &self.index.frames[number as usize];
        let dictionary = match usize::from(frame.dictionary).checked_sub(1) {
            Some(at) => Some(self.dictionary(at)?),
            None => None,
        };
        self.expand_span(&frame.span, dictionary)
            .map_err(|error| named(error, || format!("frame {number}")))
    }

    fn dictionary(&self, at: usize) -> Result<&DDict<'static>> {
        let cell = &self.dictionaries[at];
        if let Some(ready) = cell.get() {
            return Ok(ready);
        }
        let what = || format!("dictionary {}", at + 1);
        let span = &self.index.dictionaries[at];
        let bytes = self
            .expand_span(span, None)
            .map_err(|error| named(error, what))?;
        let ready = DDict::try_create(&bytes);
        let ready = ready.ok_or_else(|| PackError::damaged(what(), "it is no dictionary"))?;
        Ok(cell.get_or_init(|| ready))
    }

    fn expand_span(&self, span: &Span, dictionary: Option<&DDict<'static>>) -> Result<Vec<u8>> {
        let mut packed = vec![0; span.packed_bytes as usize];
        self.file
            .read_exact_at(&mut packed, span.at)
            .doing("read a frame of a pack")?;
        self.decoders
            .expand(&packed, span.bytes, dictionary)
            .map_err(|reason| PackError::damaged("", reason))
    }

    fn find(&self, blob: BlobId) -> Option<u32> {
        let at = self
            .by_id
            .binary_search_by_key(&blob, |&number| id_of(&self.index, number));
        Some(self.by_id[at.ok()?])
    }

    /// The parts of a blob, in order.
    pub(crate) fn parts(&self, blob: BlobId) -> Option<Vec<u32>> {
        Some(self.parts_of(&self.find(blob)?).to_vec())
    }

    fn parts_of<'a>(&'a self, number: &'a u32) -> &'a [u32] {
        match self.large(*number) {
            Some(large) => &self.index.parts[large.parts.start as usize..large.parts.end as usize],
            None => std::slice::from_ref(number),
        }
    }

    fn large(&self, number: u32) -> Option<&Large> {
        let after_units = (number as usize).checked_sub(self.index.units.len())?;
        self.index.large.get(after_units)
    }

    fn size_of(&self, number: u32) -> u64 {
        match self.large(number) {
            Some(large) => large.size,
            None => self.index.units[number as usize].bytes.into(),
        }
    }
}

fn id_of(index: &Index, number: u32) -> BlobId {
    let number = number as usize;
    match index.units.get(number) {
        Some(unit) => unit.id,
        None => index.large[number - index.units.len()].id,
    }
}

pub(crate) fn range(unit: &Unit) -> std::ops::Range<usize> {
    unit.at as usize..(unit.at + unit.bytes) as usize
}

pub(crate) fn checked(blob: BlobId, found: &BlobId) -> Result<()> {
    if *found != blob {
        let reason = format!("its bytes are those of {found}");
        return Err(PackError::damaged(format!("blob {blob}"), reason));
    }
    Ok(())
}

fn named(error: PackError, what: impl FnOnce() -> String) -> PackError {
    match error {
        PackError::Damaged { reason, .. } => PackError::damaged(what(), reason),
        other => other,
    }
}

//! Looking for damage: every byte of a pack is read and compared with what names it.

use std::collections::BTreeSet;

use caravan_protocol::ids::BlobId;

use crate::{
    error::{Doing, PackError, Result},
    format::PackId,
    io::ReadAt,
    read::{Last, Others, Pack, checked, range},
};

const READ_BYTES: usize = 256 * 1024;

/// A blob that cannot be read from a pack, and why.
#[derive(Debug)]
pub struct Flaw {
    /// Which.
    pub blob: BlobId,
    /// Why.
    pub error: PackError,
}

impl PackId {
    /// The name of these bytes, whatever they are.
    pub fn of(file: &impl ReadAt) -> Result<Self> {
        let size = file.size().doing("look at the length of a pack")?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; READ_BYTES];
        let mut at = 0;
        while at < size {
            let count = usize::try_from(size - at)
                .unwrap_or(usize::MAX)
                .min(READ_BYTES);
            file.read_exact_at(&mut buffer[..count], at)
                .doing("read a pack")?;
            hasher.update(&buffer[..count]);
            at += count as u64;
        }
        Ok(Self::from(BlobId::from_bytes(
            *hasher.finalize().as_bytes(),
        )))
    }
}

impl<R: ReadAt> Pack<R> {
    /// Reads everything and names the blobs that are damaged: units first, then large files. Parts
    /// in other packs are read as well, and a file whose part is not to be had is damaged too.
    pub fn verify(&self, others: &impl Others) -> Vec<Flaw> {
        let mut flaws = Vec::new();
        let mut bad = BTreeSet::new();
        for (frame, units) in (0..).zip(self.index.frames.iter().map(|frame| &frame.units)) {
            let mut last = Last::default();
            for number in units.clone() {
                let unit = &self.index.units[number as usize];
                let bytes = self.frame(frame, &mut last);
                let result =
                    bytes.and_then(|bytes| checked(unit.id, &BlobId::of(&bytes[range(unit)])));
                if let Err(error) = result {
                    bad.insert(number);
                    flaws.push(Flaw {
                        blob: unit.id,
                        error,
                    });
                }
            }
        }
        // The units are what they should be; that the files are too is one more hash over them.
        for large in &self.index.large {
            let result = self.copy(large.id, large.size, others, &mut std::io::sink());
            if let Err(error) = result {
                flaws.push(Flaw {
                    blob: large.id,
                    error,
                });
            }
        }
        flaws
    }
}

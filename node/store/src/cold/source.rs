//! Where the blobs of a new pack come from: objects, and other packs where only they have one.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
};

use caravan_pack::{Blobs, ReadAt};
use caravan_protocol::ids::BlobId;

use super::{Packs, failed, files, table};
use crate::{
    blobs,
    error::{Result, StoreError},
    limits::{READ_BYTES, REPACK_MEMORY_BYTES_MAX},
    store::Inner,
    work::Work,
};

/// The blobs of a store, read for as long as the work is to go on.
pub(super) struct Source<'a> {
    pub(super) inner: &'a Inner,
    pub(super) work: &'a Work,
}

/// An open blob.
pub(super) struct Open<'a> {
    medium: Medium,
    work: &'a Work,
}

enum Medium {
    File(File),
    Memory(Vec<u8>),
}

impl<'a> Blobs for Source<'a> {
    type Blob = Open<'a>;

    fn open(&self, blob: BlobId) -> io::Result<Open<'a>> {
        let medium = self.work.step(0).and_then(|()| self.medium(blob));
        Ok(Open {
            medium: medium.map_err(io::Error::other)?,
            work: self.work,
        })
    }
}

impl Source<'_> {
    fn medium(&self, blob: BlobId) -> Result<Medium> {
        if let Some((file, _, _)) = blobs::find(self.inner, blob)? {
            return Ok(Medium::File(file));
        }
        let gone = StoreError::NoBlob { blob };
        let rows = table::view(self.inner, |packed| packed.rows(blob))?;
        let Some(row) = rows.first() else {
            return Err(gone);
        };
        if row.bytes <= REPACK_MEMORY_BYTES_MAX {
            let bytes = super::read(self.inner, blob, row.bytes)?;
            return bytes.map(Medium::Memory).ok_or(gone);
        }
        let pack = files::open(self.inner, row.pack)?;
        let temp = files::Unplaced::create(self.inner)?;
        let mut to = BufWriter::with_capacity(READ_BYTES, temp.file());
        let copied = pack.copy(blob, row.bytes, &Packs(self.inner), &mut to);
        copied.map_err(failed)?;
        let what = || "copy a blob out of a pack".to_owned();
        let io = |error| StoreError::io(what(), error);
        to.flush().map_err(io)?;
        drop(to);
        // Nobody else needs a name for it.
        temp.file().try_clone().map(Medium::File).map_err(io)
    }
}

impl ReadAt for Open<'_> {
    fn size(&self) -> io::Result<u64> {
        match &self.medium {
            Medium::File(file) => file.size(),
            Medium::Memory(bytes) => bytes.size(),
        }
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let read = buffer.len() as u64;
        self.work.step(read).map_err(io::Error::other)?;
        match &self.medium {
            Medium::File(file) => ReadAt::read_exact_at(file, buffer, offset),
            Medium::Memory(bytes) => bytes.read_exact_at(buffer, offset),
        }
    }
}

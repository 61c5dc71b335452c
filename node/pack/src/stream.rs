//! Many blobs of one pack, one after another, as streams: for laying out a tree again. A frame that
//! holds several of them is expanded once if they are asked for in the order of [`Pack::place`].

use std::io::{self, Read};

use caravan_protocol::ids::BlobId;

use crate::{
    error::{PackError, Result},
    io::ReadAt,
    read::{Last, Others, Pack},
};

/// Reads blobs of one pack.
pub struct Reader<'a, R, O> {
    pack: &'a Pack<R>,
    others: &'a O,
    last: Last,
}

impl<R, O> std::fmt::Debug for Reader<'_, R, O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reader({:?})", self.pack)
    }
}

impl<'a, R: ReadAt, O: Others> Reader<'a, R, O> {
    /// A reader that has expanded nothing yet.
    pub fn new(pack: &'a Pack<R>, others: &'a O) -> Self {
        Self {
            pack,
            others,
            last: Last::default(),
        }
    }

    /// The bytes of a blob from the front. They are **not** checked: whoever takes them hashes them,
    /// as a store does with all that comes in.
    pub fn blob(&mut self, blob: BlobId) -> Result<impl Read + use<'_, 'a, R, O>> {
        let parts = self.pack.parts(blob).ok_or(PackError::Absent { blob })?;
        Ok(Stream {
            reader: self,
            parts: parts.into_iter(),
            buffer: Vec::new(),
            at: 0,
        })
    }
}

struct Stream<'r, 'a, R, O> {
    reader: &'r mut Reader<'a, R, O>,
    parts: std::vec::IntoIter<u32>,
    buffer: Vec<u8>,
    at: usize,
}

impl<R: ReadAt, O: Others> Read for Stream<'_, '_, R, O> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.at == self.buffer.len() {
            let Some(part) = self.parts.next() else {
                return Ok(0);
            };
            let Reader { pack, others, last } = &mut *self.reader;
            let buffer = &mut self.buffer;
            buffer.clear();
            self.at = 0;
            let take = |bytes: &[u8]| {
                buffer.extend_from_slice(bytes);
                Ok(())
            };
            pack.part(part, *others, last, take)
                .map_err(|error| match error {
                    PackError::Io { source, .. } => source,
                    other => io::Error::new(io::ErrorKind::InvalidData, other),
                })?;
        }
        let count = to.len().min(self.buffer.len() - self.at);
        to[..count].copy_from_slice(&self.buffer[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

//! Blobs in memory, as what a node serves and where it puts what it fetches.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    ops::Range,
    os::unix::fs::FileExt,
    sync::{Arc, Mutex, PoisonError},
};

use caravan_mesh::{BlobSink, BlobSource, Place, ReadAt, Wanted};
use caravan_protocol::ids::BlobId;
use rustix::fs::MemfdFlags;

use crate::Failure;

/// Bytes that do not compress and differ by `seed`.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

type Blobs = BTreeMap<BlobId, Arc<Vec<u8>>>;

#[derive(Default)]
pub(crate) struct Stock {
    blobs: Mutex<Blobs>,
}

struct Bytes(Arc<Vec<u8>>);

impl ReadAt for Bytes {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.0.read_exact_at(bytes, at)
    }
}

/// A large blob in a file that is in memory.
struct Grown(File);

impl ReadAt for Grown {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        FileExt::read_exact_at(&self.0, bytes, at)
    }
}

impl Place for Grown {
    fn held(&self) -> io::Result<Vec<Range<u64>>> {
        Ok(Vec::new())
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        FileExt::write_all_at(&self.0, bytes, at)
    }

    fn finish(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Stock {
    pub(crate) fn empty() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn of(blobs: impl IntoIterator<Item = Vec<u8>>) -> Result<Arc<Self>, Failure> {
        let blobs = blobs.into_iter();
        let blobs = blobs.map(|bytes| (BlobId::of(&bytes), Arc::new(bytes)));
        Ok(Arc::new(Self {
            blobs: Mutex::new(blobs.collect()),
        }))
    }

    pub(crate) fn wanted(&self) -> Vec<Wanted> {
        let blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted =
            |(id, bytes): (&BlobId, &Arc<Vec<u8>>)| Wanted::exactly(*id, bytes.len() as u64);
        blobs.iter().map(wanted).collect()
    }
}

impl BlobSource for Stock {
    fn open(&self, id: BlobId) -> io::Result<Option<(u64, Box<dyn ReadAt>)>> {
        let blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(blobs.get(&id).map(|bytes| {
            let reader: Box<dyn ReadAt> = Box::new(Bytes(Arc::clone(bytes)));
            (bytes.len() as u64, reader)
        }))
    }
}

impl BlobSink for Stock {
    fn accept(&self, id: BlobId, _: u64, reader: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        blobs.insert(id, Arc::new(bytes));
        Ok(())
    }

    fn begin(&self, _: BlobId, size: u64) -> io::Result<Arc<dyn Place>> {
        let file = rustix::fs::memfd_create("blob", MemfdFlags::CLOEXEC)?;
        let file = File::from(file);
        file.set_len(size)?;
        Ok(Arc::new(Grown(file)))
    }
}

//! Large blobs that come in parts, in any order, and over restarts: sparse files in `partial/`, each
//! named by its blob and size. Nothing says which parts of one are good: whoever goes on with it
//! checks what is there, so a crash in the middle of a write costs what was written and no more. When
//! it is whole it is hashed once more and becomes a blob without being copied.
//!
//! They are bounded in number, bytes and age; the oldest go first, and those in use stay.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    ops::Range,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use caravan_protocol::{ids::BlobId, limits::BLOB_BYTES_MAX};
use rustix::{
    fs::{FlockOperation, SeekFrom},
    io::Errno,
};

use crate::{
    blobs::Batch,
    error::{Doing, Result, StoreError},
    limits::{PARTIAL_AGE_S, PARTIAL_BYTES_MAX, PARTIAL_RANGES_MAX, PARTIALS_MAX, READ_BYTES},
    store::Store,
    temp,
};

const DIR: &str = "partial";

/// A large blob that is not whole yet. Dropped, it stays for the next time, unless the disk was full.
pub struct Partial {
    file: File,
    /// Where it is; none once it has become a blob.
    path: Mutex<Option<PathBuf>>,
    /// Whether it is to be gone on with: another of the same blob may be in use.
    is_named: bool,
    blob: BlobId,
    size: u64,
    is_full: AtomicBool,
}

impl std::fmt::Debug for Partial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Partial({}, {} bytes)", self.blob, self.size)
    }
}

impl Store {
    /// Begins a large blob, or goes on with what there is of it.
    pub fn partial(&self, blob: BlobId, size: u64) -> Result<Partial> {
        if size > BLOB_BYTES_MAX {
            return Err(StoreError::TooLarge {
                what: format!("blob {blob}"),
                max: BLOB_BYTES_MAX,
            });
        }
        let dir = self.dir().join(DIR);
        let what = || format!("begin blob {blob}");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .doing(what)?;
        prune(&dir, size).doing(what)?;
        let path = dir.join(format!("{blob}.{size}"));
        let (file, path, is_named) = match open(&path).doing(what)? {
            Some(file) => (file, path, true),
            // Somebody else brings the same: this one is for itself alone.
            None => {
                let number = self.inner.home.number();
                let path = dir.join(format!("{blob}.{size}.{number}"));
                (
                    open(&path).doing(what)?.ok_or(Errno::AGAIN).doing(what)?,
                    path,
                    false,
                )
            }
        };
        file.set_len(size).doing(what)?;
        Ok(Partial {
            file,
            path: Mutex::new(Some(path)),
            is_named,
            blob,
            size,
            is_full: AtomicBool::new(false),
        })
    }

    /// Removes what was begun and is not in use: its room is wanted.
    pub fn drop_partials(&self) -> Result<()> {
        let dir = self.dir().join(DIR);
        match prune(&dir, PARTIAL_BYTES_MAX) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            pruned => pruned.doing(|| "remove what was begun".to_owned()),
        }
    }
}

/// Opens a file and locks it; none if somebody else has.
fn open(path: &Path) -> std::io::Result<Option<File>> {
    let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags)
        .open(path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    // It may have been removed, or have become a blob, before it was locked.
    let is_there = std::fs::symlink_metadata(path)
        .is_ok_and(|now| file.metadata().is_ok_and(|ours| ours.ino() == now.ino()));
    Ok(is_there.then_some(file))
}

/// Makes room for one more of `size` bytes.
fn prune(dir: &Path, size: u64) -> std::io::Result<()> {
    let now = SystemTime::now();
    let mut kept = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let facts = entry.metadata()?;
        let age = facts
            .modified()
            .ok()
            .and_then(|at| now.duration_since(at).ok());
        kept.push((age.unwrap_or_default(), facts.blocks() * 512, entry.path()));
    }
    kept.sort();
    let (mut number, mut bytes) = (1, size);
    for (age, taken, path) in kept {
        number += 1;
        bytes = bytes.saturating_add(taken);
        if !has_number(&path)
            && age < Duration::from_secs(PARTIAL_AGE_S)
            && number <= PARTIALS_MAX
            && bytes <= PARTIAL_BYTES_MAX
        {
            continue;
        }
        // One that is in use is locked and stays.
        if let Ok(Some(_locked)) = open(&path) {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Whether a name has a number behind blob and size: nobody goes on with such a one.
fn has_number(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy());
    name.is_some_and(|name| name.matches('.').count() > 1)
}

impl Partial {
    /// The parts that may be there from an earlier time. Whoever uses them checks them.
    pub fn held(&self) -> Result<Vec<Range<u64>>> {
        let what = || format!("look at what there is of blob {}", self.blob);
        let mut held = Vec::new();
        let mut at = 0;
        while at < self.size && held.len() < PARTIAL_RANGES_MAX {
            let start = match rustix::fs::seek(&self.file, SeekFrom::Data(at)) {
                Ok(start) => start,
                Err(Errno::NXIO) => break,
                Err(error) => return Err(error).doing(what),
            };
            let end = rustix::fs::seek(&self.file, SeekFrom::Hole(start)).doing(what)?;
            held.push(start..end.min(self.size));
            at = end;
        }
        Ok(held)
    }

    /// Reads what was written.
    pub fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        self.file
            .read_exact_at(bytes, at)
            .doing(|| format!("read a part of blob {}", self.blob))
    }

    /// Writes a part that was checked.
    pub fn write_all_at(&self, bytes: &[u8], at: u64) -> Result<()> {
        let written = self.file.write_all_at(bytes, at);
        let written = written.doing(|| format!("write a part of blob {}", self.blob));
        if matches!(written, Err(StoreError::Full { .. })) {
            self.is_full.store(true, Ordering::Relaxed);
        }
        written
    }

    /// Makes it a blob of a batch. It is hashed once more: what is not the blob is removed.
    pub fn finish(&self, batch: &mut Batch) -> Result<()> {
        let mut path = self.path.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(from) = path.clone() else {
            return Ok(());
        };
        let mut reader = &self.file;
        rustix::fs::seek(&self.file, SeekFrom::Start(0))
            .doing(|| format!("read blob {}", self.blob))?;
        let mut buffer = vec![0; READ_BYTES];
        let (found, size) = temp::hash(&mut reader, self.size, &mut buffer, &mut |_| Ok(()))?;
        if found != self.blob {
            self.is_full.store(true, Ordering::Relaxed);
            return Err(StoreError::WrongBytes {
                expected: self.blob,
                found,
            });
        }
        temp::finish(&self.file)?;
        batch.take_file(&from, found, size)?;
        *path = None;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let path = self.path.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = path.take() else { return };
        let is_empty = self.file.metadata().is_ok_and(|facts| facts.blocks() == 0);
        if self.is_named && !self.is_full.load(Ordering::Relaxed) && !is_empty {
            return;
        }
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(%error, "what was begun of a blob stays until its room is wanted");
        }
    }
}

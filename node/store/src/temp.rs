//! Temporary files and directories of the work directory, gone when their owner is.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use caravan_protocol::ids::BlobId;
use rustix::fs::Mode;

use crate::{
    beneath::TIMES,
    error::{Doing, Result, StoreError},
    limits, spares,
    store::Inner,
};

/// A file in the work directory.
pub(crate) struct Temp {
    inner: Arc<Inner>,
    name: String,
}

impl Temp {
    /// Makes an empty file.
    pub(crate) fn make(inner: &Arc<Inner>) -> Result<(Self, File)> {
        let name = format!("f{}", inner.home.number());
        let file = inner.home.make_work_file(&name)?;
        let temp = Self {
            inner: Arc::clone(inner),
            name,
        };
        Ok((temp, file))
    }

    /// Moves a file of the store's file system into the work directory.
    pub(crate) fn adopt(inner: &Arc<Inner>, from: &Path) -> Result<Self> {
        let name = format!("f{}", inner.home.number());
        std::fs::rename(from, inner.home.work_path(&name))
            .doing(|| "move a new file into the store".to_owned())?;
        Ok(Self {
            inner: Arc::clone(inner),
            name,
        })
    }

    /// Its name in the work directory.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Writes all that `reader` gives, at most `max` bytes, into a new file that could be a blob.
    pub(crate) fn fill(
        inner: &Arc<Inner>,
        reader: &mut dyn Read,
        max: u64,
    ) -> Result<(Self, BlobId, u64)> {
        let (temp, mut file) = Self::make(inner)?;
        let (blob, size) = copy(reader, &mut file, max, &mut vec![0; limits::READ_BYTES])?;
        crate::crash::point();
        finish(&file)?;
        Ok((temp, blob, size))
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if let Err(error) = self
            .inner
            .home
            .remove(self.inner.home.work(), self.name.as_bytes())
        {
            tracing::warn!(%error, "a temporary file stays until the next start");
        }
    }
}

/// Gives a file that was written here the owner, mode and times of a plain object.
pub(crate) fn finish(file: &File) -> Result<()> {
    let what = || "finish a new file of the store".to_owned();
    crate::owner::to_root(file).doing(what)?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(0o644)).doing(what)?;
    rustix::fs::futimens(file, &TIMES).doing(what)
}

/// Pieces of this size that hold nothing but zeros become holes, bytes.
const HOLE_BYTES: usize = 64 * 1024;

/// Copies at most `max` bytes into a new file and says what they were. Where there is nothing but
/// zeros the file gets holes: how much room a file takes is no part of what it is.
pub(crate) fn copy(
    reader: &mut dyn Read,
    writer: &mut File,
    max: u64,
    buffer: &mut [u8],
) -> Result<(BlobId, u64)> {
    let what = || "write a blob into the store".to_owned();
    let mut at = 0;
    let copied = hash(reader, max, buffer, &mut |bytes| {
        for piece in bytes.chunks(HOLE_BYTES) {
            if piece.len() < HOLE_BYTES || piece.iter().any(|&byte| byte != 0) {
                writer.write_all_at(piece, at).doing(what)?;
            }
            at += piece.len() as u64;
        }
        Ok(())
    })?;
    writer.set_len(copied.1).doing(what)?;
    Ok(copied)
}

/// Hashes at most `max` bytes; each piece that is read is also handed to `take`.
pub(crate) fn hash(
    reader: &mut dyn Read,
    max: u64,
    buffer: &mut [u8],
    take: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<(BlobId, u64)> {
    let mut hasher = blake3::Hasher::new();
    let mut size = 0u64;
    loop {
        let read = match reader.read(buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).doing(|| "read the bytes of a blob".to_owned()),
        };
        size += read as u64;
        if size > max {
            return Err(StoreError::TooLarge {
                what: "the bytes of a blob".to_owned(),
                max,
            });
        }
        hasher.update(&buffer[..read]);
        take(&buffer[..read])?;
    }
    Ok((BlobId::from_bytes(*hasher.finalize().as_bytes()), size))
}

/// A directory of its own in the store's work directory, for one running step: the upper and work
/// directories of an overlay, on the file system of the layers. It is removed with all that is in
/// it when dropped, so no process may use it any more by then.
pub struct Workspace {
    pub(crate) inner: Arc<Inner>,
    name: String,
    /// Whether what matters has left it: then the rest is nobody's business but of the next step.
    pub(crate) is_kept: bool,
}

impl Workspace {
    pub(crate) fn make(inner: &Arc<Inner>) -> Result<Self> {
        let home = &inner.home;
        let spare = inner.spares.take();
        let workspace = Self {
            inner: Arc::clone(inner),
            name: format!("w{}", home.number()),
            is_kept: false,
        };
        let name = &workspace.name;
        if spare.is_some_and(|spare| home.recall(&spare, name).is_ok()) {
            return Ok(workspace);
        }
        home.make_work_dir(name)?;
        home.make_work_dir(&format!("{name}/work"))?;
        crate::beneath::open_dir(home.work(), name.as_bytes())
            .and_then(spares::make_upper)
            .doing(|| format!("make {}", workspace.upper().display()))?;
        Ok(workspace)
    }

    /// Name of its upper directory in the store's work directory.
    pub(crate) fn upper_name(&self) -> String {
        format!("{}/upper", self.name)
    }

    /// The directory itself, where its user may put more, such as mount points.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.inner.home.work_path(&self.name)
    }

    /// The directory that becomes a layer: an overlay's upper directory, or where a base is put.
    #[must_use]
    pub fn upper(&self) -> PathBuf {
        self.path().join("upper")
    }

    /// The overlay's own work directory.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.path().join("work")
    }
}

impl Workspace {
    /// Hands what is left to whoever makes directories ready; false if it is still here.
    fn leave(&self) -> bool {
        let home = &self.inner.home;
        let Ok(name) = home.discard(&self.name) else {
            return false;
        };
        if !self.inner.spares.give(home.trash(), &name)
            && let Err(error) = home.remove(home.trash(), &name)
        {
            tracing::warn!(%error, "a work directory stays until the next start");
        }
        true
    }
}

impl std::fmt::Debug for Workspace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Workspace({})", self.path().display())
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if self.is_kept && self.leave() {
            return;
        }
        if let Err(error) = self
            .inner
            .home
            .remove(self.inner.home.work(), self.name.as_bytes())
        {
            tracing::warn!(%error, "a work directory stays until the next start");
        }
    }
}

//! Where a layout is written: in a directory beside its place, which is renamed when all of it is
//! on disk. What a killed export left there is removed by the next to the same place.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;

use crate::{
    beneath,
    error::{Doing, ImageError, Result},
};

/// Name of the layer that is being written.
const UNFINISHED: &str = "unfinished";

/// A layout that is being written.
#[derive(Debug)]
pub(super) struct Target {
    to: PathBuf,
    staging: PathBuf,
    is_archive: bool,
    /// Holds the lock of the staging directory.
    _lock: OwnedFd,
}

impl Target {
    /// Begins a layout at `to`, where there must be nothing but an empty directory.
    pub(super) fn begin(to: &Path) -> Result<Self> {
        let refuse = |reason: &str| ImageError::Target {
            path: to.display().to_string(),
            reason: reason.to_owned(),
        };
        let name = to
            .file_name()
            .ok_or_else(|| refuse("it has no name of its own"))?;
        let is_archive = to.extension().is_some_and(|extension| extension == "tar");
        match fs::symlink_metadata(to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(there) if there.is_dir() && !is_archive => {
                let mut inside = fs::read_dir(to).doing(|| format!("look at {}", to.display()))?;
                if inside.next().is_some() {
                    return Err(refuse(
                        "there is something in it already; give another place",
                    ));
                }
            }
            Ok(_) => return Err(refuse("it is there already; give another place")),
            Err(error) => return Err(error).doing(|| format!("look at {}", to.display())),
        }
        let staging = to.with_file_name(format!(".{}.unfinished", name.to_string_lossy()));
        let shown = staging.display().to_string();
        let words = || format!("write {shown}");
        match fs::create_dir(&staging) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.doing(words)?,
        }
        let lock = beneath::root(&staging).doing(words)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| refuse("another export writes it at this moment"))?;
        let target = Self {
            to: to.to_owned(),
            staging,
            is_archive,
            _lock: lock,
        };
        target.clear().doing(words)?;
        fs::create_dir_all(target.staging.join("layout/blobs/sha256")).doing(words)?;
        Ok(target)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.staging.join("layout").join(name)
    }

    fn clear(&self) -> io::Result<()> {
        for item in fs::read_dir(&self.staging)? {
            let item = item?;
            match item.file_type()?.is_dir() {
                true => fs::remove_dir_all(item.path())?,
                false => fs::remove_file(item.path())?,
            }
        }
        Ok(())
    }

    /// Writes a small file of the layout.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let words = || format!("write {name} of {}", self.to.display());
        let mut file = File::create(self.path(name)).doing(words)?;
        file.write_all(bytes).doing(words)?;
        file.sync_all().doing(words)
    }

    /// A file for a blob whose name is not known yet.
    pub(super) fn unfinished(&self) -> Result<(PathBuf, File)> {
        let path = self.staging.join(UNFINISHED);
        let file = File::create(&path).doing(|| format!("write {}", path.display()))?;
        Ok((path, file))
    }

    /// Gives such a file its name.
    pub(super) fn place(&self, unfinished: &Path, file: &File, name: &str) -> Result<()> {
        let words = || format!("write {name} of {}", self.to.display());
        file.sync_all().doing(words)?;
        fs::rename(unfinished, self.path(name)).doing(words)
    }

    /// Puts the layout in its place.
    pub(super) fn finish(self) -> Result<()> {
        let words = || format!("write {}", self.to.display());
        let layout = self.staging.join("layout");
        if self.is_archive {
            let path = self.staging.join("archive");
            let mut file = File::create(&path).doing(words)?;
            archive(&layout, &mut file).doing(words)?;
            file.sync_all().doing(words)?;
            // Not over a file that came meanwhile.
            fs::hard_link(&path, &self.to).doing(words)?;
        } else {
            for dir in ["blobs/sha256", "blobs", ""] {
                let dir = File::open(layout.join(dir)).doing(words)?;
                dir.sync_all().doing(words)?;
            }
            fs::rename(&layout, &self.to).doing(words)?;
        }
        let parent = match self.to.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let parent = File::open(parent).doing(words)?;
        parent.sync_all().doing(words)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // What stays is removed by the next export to this place.
        let _ = self.clear();
        let _ = fs::remove_dir(&self.staging);
    }
}

/// Writes a layout as a tar archive, its files in order.
fn archive(layout: &Path, to: &mut File) -> io::Result<()> {
    let mut names: Vec<String> = Vec::new();
    for blob in fs::read_dir(layout.join("blobs/sha256"))? {
        let name = blob?.file_name();
        names.push(format!("blobs/sha256/{}", name.to_string_lossy()));
    }
    names.extend([
        crate::layout::ROOT.to_owned(),
        crate::layout::MARK.to_owned(),
    ]);
    names.sort();
    for dir in ["blobs/", "blobs/sha256/"] {
        super::writer::header(to, dir, b'5', 0o755, 0)?;
    }
    for name in names {
        let mut file = File::open(layout.join(&name))?;
        let size = file.metadata()?.len();
        super::writer::header(to, &name, b'0', 0o644, size)?;
        let copied = io::copy(&mut file, to)?;
        let padding = copied.wrapping_neg() % 512;
        io::copy(&mut io::Read::take(io::repeat(0), padding), to)?;
    }
    io::copy(&mut io::Read::take(io::repeat(0), 1024), to)?;
    Ok(())
}

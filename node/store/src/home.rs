//! The store's directory: what is where, who may use it, and names for temporary things.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, FlockOperation, Mode, OFlags},
    io::Errno,
};

use crate::{
    beneath,
    error::{Doing, Result, StoreError},
    object::Key,
    remove::Trash,
};

const LOCK: &str = "lock";
const OBJECTS: &str = "objects";
const LAYERS: &str = "layers";
const WORK: &str = "work";
const TRASH: &str = "trash";
const SPARE: &str = "spare";
/// Room that is kept back, so that a collection can write down what it removes on a full disk:
/// a part of the file system, and never more than this.
const SPARE_BYTES_MAX: u64 = 16 * 1024 * 1024;
const SPARE_PART: u64 = 16;
/// On a smaller file system nothing is kept back.
const SPARE_DISK_BYTES_MIN: u64 = 32 * 1024 * 1024;

/// The directory of one store, locked for this process.
pub(crate) struct Home {
    dir: PathBuf,
    objects: OwnedFd,
    layers: OwnedFd,
    work: OwnedFd,
    trash: OwnedFd,
    count: AtomicU64,
    /// Whether the last process that had it open did not get to close it.
    was_cut_off: bool,
    /// Whether what that process left has been looked for.
    recovered: AtomicBool,
    // Released last.
    lock: File,
}

impl Drop for Home {
    fn drop(&mut self) {
        // An empty lock file says that nothing was left in the middle, which somebody who did not
        // get to look cannot say: it may have been a later version's store.
        if self.was_cut_off && !self.recovered.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = self.lock.set_len(0) {
            tracing::debug!(%error, "the next start will look for what is unfinished");
        }
    }
}

impl Home {
    /// Opens or makes the directory, and locks it.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let what = || format!("open the store in {}", dir.display());
        private_dir(dir).doing(what)?;
        let dir = dir.canonicalize().doing(what)?;
        let (lock, was_cut_off) = lock(&dir)?;
        let open = |name: &str| {
            let path = dir.join(name);
            // Layers hold whatever owners, modes and setuid programs jobs have made: nobody but
            // the node may walk in.
            private_dir(&path).doing(what)?;
            beneath::open_trusted_dir(&path).doing(what)
        };
        let home = Self {
            objects: open(OBJECTS)?,
            layers: open(LAYERS)?,
            work: open(WORK)?,
            trash: open(&format!("{WORK}/{TRASH}"))?,
            count: AtomicU64::new(0),
            was_cut_off,
            recovered: AtomicBool::new(false),
            lock,
            dir,
        };
        for directory in [&home.objects, &home.layers, &home.work] {
            rustix::fs::fchmod(directory, Mode::RWXU).doing(what)?;
        }
        home.try_link()?;
        home.make_object_dirs().doing(what)?;
        Ok(home)
    }

    pub(crate) fn objects(&self) -> BorrowedFd<'_> {
        self.objects.as_fd()
    }

    pub(crate) fn layers(&self) -> BorrowedFd<'_> {
        self.layers.as_fd()
    }

    pub(crate) fn work(&self) -> BorrowedFd<'_> {
        self.work.as_fd()
    }

    /// Whether the last process that had it open did not get to close it.
    pub(crate) const fn was_cut_off(&self) -> bool {
        self.was_cut_off
    }

    /// To be called when nothing that was left in the middle is there any more.
    pub(crate) fn set_recovered(&self) {
        self.recovered.store(true, Ordering::Relaxed);
    }

    /// The store's directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory of all objects.
    pub(crate) fn objects_path(&self) -> PathBuf {
        self.dir.join(OBJECTS)
    }

    /// Where the layer named `id` is, or would be.
    pub(crate) fn layer_path(&self, id: &str) -> PathBuf {
        self.dir.join(LAYERS).join(id)
    }

    /// Where `name` is in the work directory.
    pub(crate) fn work_path(&self, name: &str) -> PathBuf {
        self.dir.join(WORK).join(name)
    }

    /// A new number for a temporary name.
    pub(crate) fn number(&self) -> u64 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    /// Removes `name` from `at` with all that is below it.
    pub(crate) fn remove(&self, at: impl AsFd, name: &[u8]) -> Result<()> {
        Trash::new(self.trash.as_fd(), &self.count)
            .remove(at, name)
            .doing(|| format!("remove {} from the store", String::from_utf8_lossy(name)))
    }

    /// Where things wait to be removed.
    pub(crate) fn trash(&self) -> BorrowedFd<'_> {
        self.trash.as_fd()
    }

    /// Moves the directory `name` of the work directory into the trash, which takes no time, and says
    /// its name there.
    pub(crate) fn discard(&self, name: &str) -> std::io::Result<Vec<u8>> {
        self.discard_from(self.work.as_fd(), name.as_bytes())
    }

    /// The same for a directory that is somewhere else in the store. It makes nothing, so that a full
    /// disk does not keep it from going.
    pub(crate) fn discard_from(&self, at: BorrowedFd<'_>, name: &[u8]) -> std::io::Result<Vec<u8>> {
        Trash::new(self.trash.as_fd(), &self.count).take(at, name)
    }

    /// Moves a directory of the trash back, as `name` in the work directory.
    pub(crate) fn recall(&self, discarded: &[u8], name: &str) -> std::io::Result<()> {
        Ok(rustix::fs::renameat(
            &self.trash,
            discarded,
            &self.work,
            name,
        )?)
    }

    /// Removes what an earlier process left in the work directory, and says whether there was
    /// anything.
    pub(crate) fn clear_work(&self) -> Result<bool> {
        let what = || format!("clear {}", self.dir.join(WORK).display());
        let trash = Trash::new(self.trash.as_fd(), &self.count);
        let mut found = !beneath::names(&self.trash).doing(what)?.is_empty();
        trash.clear().doing(what)?;
        for (name, _) in beneath::names(&self.work).doing(what)? {
            if name != TRASH.as_bytes() {
                found = true;
                trash.remove(&self.work, &name).doing(what)?;
            }
        }
        Ok(found)
    }

    /// Moves `name` from `at` into the work directory, which takes no time, and says its name there.
    pub(crate) fn bury(&self, at: BorrowedFd<'_>, name: &str) -> Result<Option<String>> {
        let buried = format!("g{}", self.number());
        match rustix::fs::renameat(at, name, &self.work, &buried) {
            Ok(()) => Ok(Some(buried)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error).doing(|| format!("take {name} out of the store")),
        }
    }

    /// Keeps some room back, if there is much and none is yet.
    pub(crate) fn keep_spare(&self) {
        let path = self.dir.join(SPARE);
        let Ok(disk) = rustix::fs::statvfs(&self.dir) else {
            return;
        };
        let total = disk.f_blocks.saturating_mul(disk.f_frsize);
        let size = SPARE_BYTES_MAX.min(total / SPARE_PART);
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if total < SPARE_DISK_BYTES_MIN || free < 4 * size || path.exists() {
            return;
        }
        let kept = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .and_then(|file| {
                let flags = rustix::fs::FallocateFlags::empty();
                Ok(rustix::fs::fallocate(&file, flags, 0, size)?)
            });
        if let Err(error) = kept {
            // Some file systems cannot; then a full disk is harder to get out of, and no worse.
            tracing::debug!(%error, "no room is kept back");
            self.give_spare();
        }
    }

    /// Gives that room up; false if there was none.
    pub(crate) fn give_spare(&self) -> bool {
        std::fs::remove_file(self.dir.join(SPARE)).is_ok()
    }

    /// Refuses a file system without hard links before anything is made there that needs them.
    fn try_link(&self) -> Result<()> {
        let name = "link";
        let linked = rustix::fs::linkat(
            rustix::fs::CWD,
            self.dir.join(LOCK),
            &self.work,
            name,
            AtFlags::empty(),
        );
        // Other trouble, as with a full disk, says nothing about links.
        let _ = rustix::fs::unlinkat(&self.work, name, AtFlags::empty());
        match linked {
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => Err(StoreError::NoLinks {
                dir: self.dir.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Makes the directories of objects at once, so that a commit need not wait for any.
    fn make_object_dirs(&self) -> std::io::Result<()> {
        if beneath::names(&self.objects)?.len() >= 256 {
            return Ok(());
        }
        for byte in 0..=u8::MAX {
            match rustix::fs::mkdirat(&self.objects, format!("{byte:02x}"), Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(rustix::fs::fsync(&self.objects)?)
    }

    /// The directory that holds an object, open; made if somebody has removed it.
    pub(crate) fn object_dir(&self, key: &Key) -> Result<OwnedFd> {
        let (dir, _) = key.place();
        let what = || format!("make objects/{dir} in the store");
        match beneath::open_dir(&self.objects, dir.as_bytes()) {
            Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {
                match rustix::fs::mkdirat(&self.objects, &dir, Mode::RWXU) {
                    Ok(()) => rustix::fs::fsync(&self.objects).doing(what)?,
                    Err(Errno::EXIST) => {}
                    Err(error) => return Err(error).doing(what),
                }
                beneath::open_dir(&self.objects, dir.as_bytes()).doing(what)
            }
            other => other.doing(what),
        }
    }

    /// An object's file, open for reading; `None` where there is no such file.
    pub(crate) fn open_object(&self, key: &Key) -> Result<Option<File>> {
        let path = key.path();
        match beneath::open_file(&self.objects, path.as_bytes()) {
            Ok(fd) => Ok(Some(File::from(fd))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            other => other
                .map(|fd| Some(File::from(fd)))
                .doing(|| format!("open objects/{path} of the store")),
        }
    }

    /// Makes the directory `name` in the work directory.
    pub(crate) fn make_work_dir(&self, name: &str) -> Result<()> {
        rustix::fs::mkdirat(&self.work, name, Mode::RWXU)
            .doing(|| format!("make {}", self.work_path(name).display()))
    }

    /// Makes the file `name` in the work directory, open for reading and writing.
    pub(crate) fn make_work_file(&self, name: &str) -> Result<File> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.work, name, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .doing(|| format!("make {}", self.work_path(name).display()))
    }
}

fn private_dir(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The lock file, locked, and whether its last holder has left its process id in it.
fn lock(dir: &Path) -> Result<(File, bool)> {
    let path = dir.join(LOCK);
    let what = || format!("lock {}", path.display());
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .doing(what)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let read = (&mut file).take(20).read_to_string(&mut text);
            let process = read.ok().and_then(|_| text.trim().parse::<u32>().ok());
            return Err(StoreError::Locked {
                dir: dir.to_owned(),
                holder: process.map_or_else(String::new, |id| format!(" (process {id})")),
            });
        }
        Err(error) => return Err(error).doing(what),
    }
    let was_cut_off = file.metadata().doing(what)?.len() > 0;
    file.set_len(0).doing(what)?;
    file.rewind().doing(what)?;
    writeln!(file, "{}", std::process::id()).doing(what)?;
    Ok((file, was_cut_off))
}

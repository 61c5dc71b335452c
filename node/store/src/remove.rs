//! Removing whatever a job has left: directories of any depth, with a bounded number of open
//! files and no recursion. Each directory is first moved to the top of a trash directory, so no
//! path is ever longer than one name, and no symbolic link is followed.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::{
    fd::{AsFd, BorrowedFd},
    fs::{AtFlags, FileType, Mode, OFlags, RenameFlags},
    io::Errno,
};

use crate::beneath;

/// A directory for things that are being removed.
pub(crate) struct Trash<'a> {
    dir: BorrowedFd<'a>,
    count: &'a AtomicU64,
}

impl<'a> Trash<'a> {
    pub(crate) const fn new(dir: BorrowedFd<'a>, count: &'a AtomicU64) -> Self {
        Self { dir, count }
    }

    /// Removes `name` from the directory `at`, with all that is below it. It is no error if there
    /// is no such name.
    pub(crate) fn remove(&self, at: impl AsFd, name: &[u8]) -> io::Result<()> {
        match rustix::fs::unlinkat(at.as_fd(), name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
        let mut left = vec![self.take(at.as_fd(), name)?];
        while let Some(dir) = left.pop() {
            crate::crash::point();
            self.empty(&dir, &mut left)?;
        }
        Ok(())
    }

    /// Removes everything in the trash.
    pub(crate) fn clear(&self) -> io::Result<()> {
        for (name, _) in beneath::names(self.dir)? {
            self.remove(self.dir, &name)?;
        }
        Ok(())
    }

    fn empty(&self, dir: &[u8], left: &mut Vec<Vec<u8>>) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(self.dir, dir, flags, Mode::empty());
        let fd = match open() {
            Err(Errno::ACCESS) => {
                rustix::fs::chmodat(self.dir, dir, Mode::RWXU, AtFlags::empty())?;
                open()
            }
            other => other,
        }?;
        for (name, kind) in beneath::names(&fd)? {
            crate::crash::point();
            if kind == FileType::Directory {
                left.push(self.take(fd.as_fd(), &name)?);
                continue;
            }
            match rustix::fs::unlinkat(&fd, &name, AtFlags::empty()) {
                Err(Errno::ISDIR) => left.push(self.take(fd.as_fd(), &name)?),
                other => other?,
            }
        }
        Ok(rustix::fs::unlinkat(self.dir, dir, AtFlags::REMOVEDIR)?)
    }

    /// Moves a directory to the top of the trash and returns its name there.
    pub(crate) fn take(&self, at: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<u8>> {
        let mut may_enter = false;
        loop {
            let number = self.count.fetch_add(1, Ordering::Relaxed);
            let new = format!("t{number}").into_bytes();
            match rustix::fs::renameat_with(at, name, self.dir, &new, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(new),
                Err(Errno::EXIST) => {}
                // Moving a directory writes its `..`, which its owner may have forbidden.
                Err(Errno::ACCESS) if !may_enter => {
                    may_enter = true;
                    rustix::fs::chmodat(at, name, Mode::RWXU, AtFlags::empty())?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

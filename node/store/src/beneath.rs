//! Reaching files below a directory without ever being led out of it: every path is resolved by
//! `openat2` beneath an open directory, through no symbolic link and over no mount point.

use std::io;

use caravan_protocol::tree::MTIME_S;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps},
    io::Errno,
};

/// The times that every file of the store carries.
pub(crate) const TIMES: Timestamps = Timestamps {
    last_access: Timespec {
        tv_sec: MTIME_S,
        tv_nsec: 0,
    },
    last_modification: Timespec {
        tv_sec: MTIME_S,
        tv_nsec: 0,
    },
};

const fn beneath() -> ResolveFlags {
    ResolveFlags::BENEATH
        .union(ResolveFlags::NO_SYMLINKS)
        .union(ResolveFlags::NO_MAGICLINKS)
        .union(ResolveFlags::NO_XDEV)
}

/// Opens the directory at `path` below `root`; empty for `root` itself.
pub(crate) fn open_dir(root: impl AsFd, path: &[u8]) -> io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(retry(|| {
        rustix::fs::openat2(root.as_fd(), path, flags, Mode::empty(), beneath())
    })?)
}

/// Opens the file at `path` below `root` for reading. Never blocks, whatever the file is.
pub(crate) fn open_file(root: impl AsFd, path: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(retry(|| {
        rustix::fs::openat2(root.as_fd(), path, flags, Mode::empty(), beneath())
    })?)
}

/// Opens a directory that the caller of the store names.
pub(crate) fn open_trusted_dir(path: &std::path::Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

// A rename elsewhere can make a lookup beneath a root ask to be tried again.
fn retry<T>(call: impl Fn() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    for _ in 0..16 {
        match call() {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    call()
}

/// The names in an open directory, without `.` and `..`, with their types where the file system
/// tells.
pub(crate) fn names(dir: impl AsFd) -> io::Result<Vec<(Vec<u8>, FileType)>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push((name.to_vec(), entry.file_type()));
        }
    }
    Ok(names)
}

/// A path's directory and last component.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None if path.is_empty() => (b"", b"."),
        None => (b"", path),
    }
}

/// The directories below one root, the last one used kept open: calls on neighbours, as a sorted
/// listing makes them, open each directory once.
pub(crate) struct Parents<'a> {
    root: BorrowedFd<'a>,
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl<'a> Parents<'a> {
    pub(crate) const fn new(root: BorrowedFd<'a>) -> Self {
        Self { root, last: None }
    }

    /// The directory that holds `path`, open, and its name in there (`.` for the root itself).
    pub(crate) fn of<'b>(&mut self, path: &'b [u8]) -> io::Result<(BorrowedFd<'_>, &'b [u8])> {
        let (dir, name) = split(path);
        if self.last.as_ref().is_none_or(|(last, _)| last != dir) {
            self.last = Some((dir.to_vec(), open_dir(self.root, dir)?));
        }
        let (_, fd) = self.last.as_ref().expect("it was set above");
        Ok((fd.as_fd(), name))
    }

    /// Gives the file at `path`, whatever it is, the store's times.
    pub(crate) fn clamp_times(&mut self, path: &[u8]) -> io::Result<()> {
        let (dir, name) = self.of(path)?;
        Ok(rustix::fs::utimensat(
            dir,
            name,
            &TIMES,
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }
}

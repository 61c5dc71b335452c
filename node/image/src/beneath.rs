//! Opening files below a directory that somebody else made: never through a link, never out of it,
//! and never something that is no file.

use std::{fs::File, io, path::Path};

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{FileType, Mode, OFlags, ResolveFlags},
};

/// Opens a directory that a person named.
pub(crate) fn root(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Opens a directory below `root`; the empty path is `root` itself.
pub(crate) fn dir(root: impl AsFd, path: &[u8]) -> io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    open(root, path, OFlags::DIRECTORY)
}

/// Opens a regular file below `root` and says how long it is.
pub(crate) fn file(root: impl AsFd, path: &[u8]) -> io::Result<(File, u64)> {
    // A named pipe would wait for a writer for ever.
    let file = File::from(open(root, path, OFlags::NONBLOCK)?);
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok((file, u64::try_from(stat.st_size).unwrap_or(0)))
}

fn open(root: impl AsFd, path: &[u8], more: OFlags) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | more;
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(root, path, flags, Mode::empty(), how)?)
}

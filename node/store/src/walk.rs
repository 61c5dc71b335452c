//! Listing a directory as it is: every file below it with what a tree says about it but the
//! contents. Changes nothing, follows nothing, and keeps two directories open at most.

use std::{fs::File, os::unix::fs::FileExt};

use caravan_protocol::{
    ids::BlobId,
    limits::{BLOB_BYTES_MAX, PATH_BYTES_MAX, TREE_ENTRIES_MAX},
    tree::{Entry, Kind},
};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, FileType, Stat},
};

use crate::{
    beneath::{self, Parents},
    error::{Doing, Result, StoreError},
    limits,
    xattrs::{self, Xattrs},
};

/// A file as it was found.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) path: Vec<u8>,
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) mtime_s: i64,
    pub(crate) inode: u64,
    pub(crate) version: Version,
    pub(crate) what: What,
}

/// What tells one content of a file from another as long as nobody sets the clock back: the device
/// and the number name the file, and no write goes without a new time of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    pub(crate) mtime: (i64, u32),
    pub(crate) ctime: (i64, u32),
}

impl Version {
    pub(crate) fn of(stat: &Stat) -> Self {
        let nanoseconds = |ns| u32::try_from(ns).unwrap_or(0);
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: (stat.st_mtime, nanoseconds(stat.st_mtime_nsec)),
            ctime: (stat.st_ctime, nanoseconds(stat.st_ctime_nsec)),
        }
    }
}

/// What kind of file was found.
#[derive(Debug)]
pub(crate) enum What {
    Dir(Xattrs),
    File,
    Symlink(Vec<u8>),
    Whiteout,
}

impl Item {
    /// The entry of a tree that this is; `file` is what a regular file holds.
    pub(crate) fn into_entry(self, file: Option<(BlobId, Xattrs)>) -> Entry {
        let mut entry = Entry {
            path: self.path,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            ..Entry::dir(b"", 0)
        };
        match (self.what, file) {
            (What::Dir(found), _) => {
                entry.kind = Kind::Dir {
                    opaque: found.opaque,
                };
                entry.xattrs = found.kept;
            }
            (What::Symlink(target), _) => entry.kind = Kind::Symlink { target },
            (What::File, Some((blob, found))) => {
                entry.kind = Kind::File {
                    blob,
                    size: self.size,
                };
                entry.xattrs = found.kept;
            }
            // Who made a whiteout, and with what mode, says nothing.
            (What::Whiteout | What::File, _) => {
                entry.kind = Kind::Whiteout;
                (entry.mode, entry.uid, entry.gid) = (0, 0, 0);
            }
        }
        entry
    }
}

/// Lists everything below `root`, the root itself first.
pub(crate) fn walk(root: BorrowedFd<'_>) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    let mut bytes = 0u64;
    let mut left = vec![Vec::new()];
    while let Some(dir) = left.pop() {
        let what = || format!("list the directory {:?}", String::from_utf8_lossy(&dir));
        let fd = beneath::open_dir(root, &dir).doing(what)?;
        let stat = rustix::fs::fstat(&fd).doing(what)?;
        let found = xattrs::read(&fd, &dir)?;
        for (name, _) in beneath::names(&fd).doing(what)? {
            let mut path = dir.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            let item = look(&fd, path, &name)?;
            match item {
                None => left.push(
                    [
                        dir.as_slice(),
                        if dir.is_empty() { b"" } else { b"/" },
                        name.as_slice(),
                    ]
                    .concat(),
                ),
                Some(item) => {
                    if matches!(item.what, What::File) {
                        bytes = bytes.saturating_add(item.size);
                    }
                    items.push(item);
                }
            }
            check_bounds(items.len() + left.len(), bytes)?;
        }
        items.push(Item::new(dir, &stat, What::Dir(found)));
    }
    Ok(items)
}

fn check_bounds(count: usize, bytes: u64) -> Result<()> {
    if count >= TREE_ENTRIES_MAX {
        return Err(StoreError::TooMany {
            what: "file of a layer".to_owned(),
            max: TREE_ENTRIES_MAX as u64,
        });
    }
    if bytes > limits::LAYER_BYTES_MAX {
        return Err(StoreError::TooLarge {
            what: "a layer's files".to_owned(),
            max: limits::LAYER_BYTES_MAX,
        });
    }
    Ok(())
}

/// The file called `name` in an open directory; `None` for a directory, which has its own turn.
fn look(dir: &OwnedFd, path: Vec<u8>, name: &[u8]) -> Result<Option<Item>> {
    if path.len() > PATH_BYTES_MAX {
        return Err(StoreError::refused(
            &path,
            "its path is longer than PATH_MAX",
        ));
    }
    let what = || format!("look at {:?}", String::from_utf8_lossy(name));
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).doing(what)?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => return Ok(None),
        FileType::RegularFile => {
            if u64::try_from(stat.st_size).map_or(true, |size| size > BLOB_BYTES_MAX) {
                return Err(StoreError::refused(
                    &path,
                    "it is larger than a blob may be, holes included",
                ));
            }
            What::File
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(dir, name, Vec::new()).doing(what)?;
            What::Symlink(target.into_bytes())
        }
        FileType::CharacterDevice if stat.st_rdev == 0 => What::Whiteout,
        FileType::CharacterDevice | FileType::BlockDevice => {
            return Err(StoreError::refused(&path, "it is a device"));
        }
        FileType::Fifo => return Err(StoreError::refused(&path, "it is a named pipe (FIFO)")),
        FileType::Socket => return Err(StoreError::refused(&path, "it is a socket")),
        FileType::Unknown => return Err(StoreError::refused(&path, "its kind is unknown")),
    };
    Ok(Some(Item::new(path, &stat, kind)))
}

impl Item {
    fn new(path: Vec<u8>, stat: &Stat, what: What) -> Self {
        Self {
            path,
            mode: permissions(stat),
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_s: stat.st_mtime,
            inode: stat.st_ino,
            version: Version::of(stat),
            what,
        }
    }
}

fn permissions(stat: &Stat) -> u16 {
    u16::try_from(stat.st_mode & 0o7777).expect("four octal digits fit")
}

/// Opens the regular file that [`walk`] found and reads its attributes.
pub(crate) fn open(parents: &mut Parents<'_>, item: &Item) -> Result<(File, Xattrs)> {
    let what = || format!("read {:?}", String::from_utf8_lossy(&item.path));
    let (dir, name) = parents.of(&item.path).doing(what)?;
    let fd = beneath::open_file(dir, name).doing(what)?;
    let stat = rustix::fs::fstat(fd.as_fd()).doing(what)?;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !is_file || stat.st_ino != item.inode {
        return Err(changed(item));
    }
    let found = xattrs::read(&fd, &item.path)?;
    Ok((File::from(fd), found))
}

/// The refusal of a file that is not what it was a moment ago.
pub(crate) fn changed(item: &Item) -> StoreError {
    StoreError::refused(&item.path, "it changed while it was read")
}

/// Opens the regular file that [`walk`] found, hashes it and reads its attributes.
pub(crate) fn hash(
    parents: &mut Parents<'_>,
    item: &Item,
    buffer: &mut [u8],
) -> Result<(File, BlobId, Xattrs)> {
    let what = || format!("read {:?}", String::from_utf8_lossy(&item.path));
    let (file, found) = open(parents, item)?;
    let mut hasher = blake3::Hasher::new();
    let mut at = 0;
    loop {
        let read = match file.read_at(buffer, at) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).doing(what),
        };
        at += read as u64;
        if at > item.size {
            return Err(changed(item));
        }
        hasher.update(&buffer[..read]);
    }
    if at != item.size {
        return Err(changed(item));
    }
    let blob = BlobId::from_bytes(*hasher.finalize().as_bytes());
    Ok((file, blob, found))
}

//! A root file system in a directory: read as it is, following nothing, staying on its file system.

use std::{collections::BTreeMap, io, os::fd::OwnedFd, path::Path};

use caravan_protocol::tree::{Entry, Kind};
use rustix::{
    fd::AsFd,
    fs::{AtFlags, Dir, FileType, Stat},
};

use crate::{
    beneath,
    error::{Doing, Result},
    layer::{self, Gathered, entry},
    merge,
    meter::{Meter, Metered},
};

/// Largest list of a file's attribute names, bytes (`XATTR_LIST_MAX`).
const XATTR_LIST_BYTES: usize = 64 * 1024;

/// The walk through one directory.
struct Walk<'a, 'b, 'm> {
    of: String,
    root: OwnedFd,
    device: u64,
    meter: &'a Meter<'m>,
    gathered: &'a mut Gathered<'b>,
    /// Files with several names, by inode.
    linked: BTreeMap<u64, Entry>,
}

/// Reads everything below `path` as the one layer of an image.
pub(crate) fn read(path: &Path, meter: &Meter<'_>, gathered: &mut Gathered<'_>) -> Result<()> {
    let of = path.display().to_string();
    let what = || format!("read the directory {of}");
    let root = beneath::root(path).doing(what)?;
    let stat = rustix::fs::fstat(&root).doing(what)?;
    meter.begin(&format!("reading {of}")).doing(what)?;
    let mut walk = Walk {
        of: of.clone(),
        root,
        device: stat.st_dev,
        meter,
        gathered,
        linked: BTreeMap::new(),
    };
    let mut left = vec![Vec::new()];
    while let Some(dir) = left.pop() {
        walk.list(&dir, &mut left)?;
    }
    let ended = gathered.merged.end_layer();
    ended.map_err(|reason| entry(&of, b"", reason))
}

impl Walk<'_, '_, '_> {
    fn list(&mut self, dir: &[u8], left: &mut Vec<Vec<u8>>) -> Result<()> {
        let words = || format!("list {:?}", String::from_utf8_lossy(dir));
        let fd = beneath::dir(&self.root, dir).doing(words)?;
        let stat = rustix::fs::fstat(&fd).doing(words)?;
        let mut own = self.entry(dir, &stat)?;
        own.xattrs = self.xattrs(&fd, dir, false)?;
        self.insert(dir, own)?;
        for name in Dir::read_from(&fd).doing(words)? {
            let name = name.doing(words)?;
            let name = name.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let mut path = dir.to_vec();
            merge::push(&mut path, name);
            self.look(&fd, name, path, left)?;
        }
        Ok(())
    }

    fn look(
        &mut self,
        dir: &OwnedFd,
        name: &[u8],
        path: Vec<u8>,
        left: &mut Vec<Vec<u8>>,
    ) -> Result<()> {
        let words = || format!("look at {:?}", String::from_utf8_lossy(&path));
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).doing(words)?;
        let left_out = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory | FileType::RegularFile if stat.st_dev != self.device => {
                "of another file system"
            }
            FileType::Directory => {
                left.push(path);
                return Ok(());
            }
            FileType::RegularFile => return self.file(&path, &stat),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(dir, name, Vec::new()).doing(words)?;
                let mut new = self.entry(&path, &stat)?;
                new.mode = 0o777;
                new.kind = Kind::Symlink {
                    target: target.into_bytes(),
                };
                return self.insert(&path, new);
            }
            FileType::Fifo => "a named pipe",
            FileType::Socket => "a socket",
            _ => "a device",
        };
        let of = &self.of;
        let note = || {
            let path = String::from_utf8_lossy(&path);
            format!("{path:?} of {of} is left out: it is {left_out}")
        };
        self.gathered.notes.add(note);
        Ok(())
    }

    fn file(&mut self, path: &[u8], stat: &Stat) -> Result<()> {
        if let Some(known) = self.linked.get(&stat.st_ino) {
            let known = known.clone();
            return self.insert(path, known);
        }
        let words = || format!("read {:?}", String::from_utf8_lossy(path));
        let (file, size) = beneath::file(&self.root, path).doing(words)?;
        let now = rustix::fs::fstat(&file).doing(words)?;
        if now.st_ino != stat.st_ino || now.st_dev != stat.st_dev {
            return Err(self.refuse(path, "it changed while it was read"));
        }
        self.meter.unpack(size).doing(words)?;
        let mut new = self.entry(path, &now)?;
        new.xattrs = self.xattrs(&file, path, true)?;
        let mut reader = Metered {
            inner: file,
            meter: self.meter,
        };
        let (blob, size) = layer::content(&self.of, path, &mut reader, size, self.gathered)?;
        new.kind = Kind::File { blob, size };
        if now.st_nlink > 1 {
            self.linked.insert(now.st_ino, new.clone());
        }
        self.insert(path, new)
    }

    fn entry(&self, path: &[u8], stat: &Stat) -> Result<Entry> {
        let owner = |id: u32, own: u32| {
            let id = if id == own { 0 } else { id };
            layer::owner(u64::from(id)).map_err(|reason| entry(&self.of, path, reason))
        };
        // What an ordinary user has made is what root would have made.
        let own = (rustix::process::geteuid(), rustix::process::getegid());
        Ok(Entry {
            uid: owner(stat.st_uid, own.0.as_raw())?,
            gid: owner(stat.st_gid, own.1.as_raw())?,
            ..Entry::dir(
                b"",
                u16::try_from(stat.st_mode & 0o7777).expect("four octal digits fit"),
            )
        })
    }

    fn insert(&mut self, path: &[u8], new: Entry) -> Result<()> {
        // No link of the directory is followed, so a path is where it says.
        let inserted = self.gathered.merged.insert(path.to_vec(), new);
        inserted.map_err(|reason| entry(&self.of, path, reason))
    }

    fn refuse(&self, path: &[u8], reason: &str) -> crate::error::ImageError {
        entry(&self.of, path, reason)
    }

    fn xattrs(
        &mut self,
        file: impl AsFd,
        path: &[u8],
        is_file: bool,
    ) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let words = || {
            let path = String::from_utf8_lossy(path);
            format!("read the attributes of {path:?}")
        };
        let mut kept = BTreeMap::new();
        let mut list = vec![0; XATTR_LIST_BYTES];
        let length = match rustix::fs::flistxattr(&file, list.as_mut_slice()) {
            Ok(length) => length,
            Err(rustix::io::Errno::NOTSUP) => 0,
            Err(error) => return Err(io::Error::from(error)).doing(words),
        };
        for name in list[..length]
            .split(|&b| b == 0)
            .filter(|name| !name.is_empty())
        {
            if !name.starts_with(b"user.") && name != b"security.capability" {
                continue;
            }
            let mut value = vec![0; caravan_protocol::limits::XATTR_BYTES_MAX];
            let length = rustix::fs::fgetxattr(&file, name, value.as_mut_slice()).doing(words)?;
            value.truncate(length);
            let capability = is_file && layer::is_capability(name, &value);
            if layer::is_kept(name, &value) || capability {
                kept.insert(name.to_vec(), value);
            }
        }
        if kept.len() > caravan_protocol::limits::XATTRS_MAX {
            return Err(self.refuse(path, "it has too many attributes"));
        }
        Ok(kept)
    }
}

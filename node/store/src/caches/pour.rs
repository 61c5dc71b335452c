//! Pouring layers into one: the directory that an overlay of them would show, whose files are links
//! to theirs. Layers are never written to, so sharing files with them is safe.

use std::collections::BTreeMap;

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, FileType, Gid, Mode, Stat, Timespec, Timestamps, Uid},
    io::Errno,
};

use super::weigh::join;
use crate::{
    beneath,
    error::{Doing, Result},
    home::Home,
    xattrs,
};

/// One layer in the making. Layers are added lowest first.
pub(super) struct Pouring<'a> {
    home: &'a Home,
    flat: BorrowedFd<'a>,
    /// Times of directories, given to them when nothing in them changes any more.
    times: BTreeMap<Vec<u8>, Timestamps>,
}

impl<'a> Pouring<'a> {
    pub(super) const fn new(home: &'a Home, flat: BorrowedFd<'a>) -> Self {
        Self {
            home,
            flat,
            times: BTreeMap::new(),
        }
    }

    /// Lays one more layer over those before.
    pub(super) fn add(&mut self, layer: BorrowedFd<'_>) -> Result<()> {
        let mut left = vec![Vec::new()];
        while let Some(dir) = left.pop() {
            crate::crash::point();
            self.add_dir(layer, &dir, &mut left)?;
        }
        Ok(())
    }

    fn add_dir(
        &mut self,
        layer: BorrowedFd<'_>,
        dir: &[u8],
        left: &mut Vec<Vec<u8>>,
    ) -> Result<()> {
        let what = || format!("pour {:?} of a cache", String::from_utf8_lossy(dir));
        let from = beneath::open_dir(layer, dir).doing(what)?;
        let stat = rustix::fs::fstat(&from).doing(what)?;
        let found = xattrs::read(&from, dir)?;
        let to = self.dir(dir, found.opaque)?;
        let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        rustix::fs::fchown(&to, Some(owner.0), Some(owner.1)).doing(what)?;
        rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777)).doing(what)?;
        xattrs::write(&to, &found.kept, false, dir)?;
        self.times.insert(dir.to_vec(), times_of(&stat));
        for (name, _) in beneath::names(&from).doing(what)? {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            let stat = rustix::fs::statat(&from, name.as_slice(), flags).doing(what)?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            if kind == FileType::Directory {
                left.push(join(dir, &name));
                continue;
            }
            self.home.remove(&to, &name)?;
            let is_whiteout = kind == FileType::CharacterDevice && stat.st_rdev == 0;
            if !is_whiteout {
                let name = name.as_slice();
                rustix::fs::linkat(&from, name, &to, name, AtFlags::empty()).doing(what)?;
            }
        }
        Ok(())
    }

    /// The directory at `path`, made if there is none or if what is there is hidden.
    fn dir(&self, path: &[u8], opaque: bool) -> Result<OwnedFd> {
        let what = || format!("make {:?} of a cache", String::from_utf8_lossy(path));
        if path.is_empty() {
            return beneath::open_dir(self.flat, path).doing(what);
        }
        let (above, name) = beneath::split(path);
        let above = beneath::open_dir(self.flat, above).doing(what)?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let there = match rustix::fs::statat(&above, name, flags) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
            Err(Errno::NOENT) => false,
            Err(error) => return Err(error).doing(what),
        };
        if !there || opaque {
            self.home.remove(&above, name)?;
            rustix::fs::mkdirat(&above, name, Mode::RWXU).doing(what)?;
        }
        beneath::open_dir(above.as_fd(), name).doing(what)
    }

    /// The directories get their times.
    pub(super) fn finish(self) -> Result<()> {
        for (path, times) in self.times {
            let what = || format!("finish {:?} of a cache", String::from_utf8_lossy(&path));
            match beneath::open_dir(self.flat, &path) {
                Ok(dir) => rustix::fs::futimens(dir, &times).doing(what)?,
                // A later layer has removed or replaced it.
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error).doing(what),
            }
        }
        Ok(())
    }
}

fn is_gone(error: &std::io::Error) -> bool {
    let gone = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP];
    gone.iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn times_of(stat: &Stat) -> Timestamps {
    // Signed on some processors only.
    let time = |tv_sec, nsec| Timespec {
        tv_sec,
        tv_nsec: u32::try_from(nsec).map_or(0, i64::from),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

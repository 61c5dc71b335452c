//! Counts what is in some directories, however deep, wide or hostile they are.
//!
//! One directory is open at a time, and the way back up is `..`, checked against where we came
//! from: so depth costs neither descriptors nor recursion, and a tree that is moved meanwhile
//! leads nowhere else. Links are never followed, other file systems never entered. What is kept
//! is one number pair for each level, and the names of directories still to be entered, bounded.

use std::{
    ffi::CStr,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, RawDir, openat, statat},
    io::Errno,
};

use super::{Id, Usage, id_of};
use crate::limits::{WALK_NAMES_MAX, WALK_READ_BYTES};

/// Bytes of a file with several names are shared among them in parts this fine.
const FINE: u128 = 1 << 20;
/// `st_blocks` is in these, whatever the file system's own are.
const BLOCK: u128 = 512;

/// How far a count is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// There is more to do.
    More,
    /// It is whole.
    Done,
    /// What it stood in was moved away: it saw only a part.
    Moved,
    /// There is more than can be counted.
    Endless,
}

/// A count under way.
pub(super) struct Walk {
    /// Directories still to be counted.
    tops: Vec<OwnedFd>,
    /// The one that we are in.
    here: Option<OwnedFd>,
    device: u64,
    /// It and all above it, with where the names of their directories begin.
    levels: Vec<(Id, usize)>,
    /// Directories still to be entered, each ended by a NUL; the last level's are last.
    names: Vec<u8>,
    /// Whether all of `here` has been read.
    read: bool,
    buffer: Vec<u8>,
    fine_bytes: u128,
    inodes: u64,
}

impl Walk {
    pub(super) fn of(tops: &[OwnedFd]) -> rustix::io::Result<Self> {
        Ok(Self {
            tops: tops
                .iter()
                .map(|top| open_at(top, c"."))
                .collect::<Result<_, _>>()?,
            here: None,
            device: 0,
            levels: Vec::new(),
            names: Vec::new(),
            read: false,
            buffer: Vec::with_capacity(WALK_READ_BYTES),
            fine_bytes: 0,
            inodes: 0,
        })
    }

    /// What has been counted so far. The top directories themselves are not in it.
    pub(super) fn seen(&self) -> Usage {
        Usage {
            bytes: u64::try_from(self.fine_bytes.div_ceil(FINE)).unwrap_or(u64::MAX),
            inodes: self.inodes,
        }
    }

    /// Reads one piece of a directory, or goes to the next one.
    pub(super) fn step(&mut self) -> Step {
        let Some(here) = self.here.take() else {
            return self.next_top();
        };
        let stepped = if self.read {
            self.leave(here)
        } else {
            self.read(&here).map(|()| {
                self.here = Some(here);
                Step::More
            })
        };
        match stepped {
            Ok(Step::More) if self.names.len() > WALK_NAMES_MAX => Step::Endless,
            Ok(step) => step,
            // A directory that went away while it was read: the way up is gone with it.
            Err(_) => Step::Moved,
        }
    }

    fn next_top(&mut self) -> Step {
        let Some(top) = self.tops.pop() else {
            return Step::Done;
        };
        let Ok(id) = id_of(&top) else {
            return Step::Moved;
        };
        self.device = id.0;
        self.enter(top, id);
        Step::More
    }

    fn enter(&mut self, dir: OwnedFd, id: Id) {
        self.levels.push((id, self.names.len()));
        self.here = Some(dir);
        self.read = false;
    }

    /// Counts the next entries of a directory, as many as one call gives.
    fn read(&mut self, here: &OwnedFd) -> rustix::io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let room: &mut [MaybeUninit<u8>] = buffer.spare_capacity_mut();
        let mut entries = RawDir::new(here, room);
        let mut ended = true;
        while let Some(entry) = entries.next() {
            ended = false;
            let Ok(entry) = entry else {
                // Removed while it was read: it holds nothing any more.
                ended = true;
                break;
            };
            let name = entry.file_name();
            if name != c"." && name != c".." {
                self.count(here, name);
            }
            if entries.is_buffer_empty() {
                break;
            }
        }
        self.read = ended;
        self.buffer = buffer;
        Ok(())
    }

    fn count(&mut self, here: &OwnedFd, name: &CStr) {
        // Gone meanwhile is nobody's any more.
        let Ok(stat) = statat(here, name, AtFlags::SYMLINK_NOFOLLOW) else {
            return;
        };
        self.inodes += 1;
        let bytes = u128::try_from(stat.st_blocks).unwrap_or(0) * BLOCK;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            self.fine_bytes += bytes * FINE / u128::from(stat.st_nlink.max(1));
            return;
        }
        self.fine_bytes += bytes * FINE;
        if stat.st_dev == self.device {
            self.names.extend_from_slice(name.to_bytes_with_nul());
        }
    }

    /// All of `here` is read: on into one of its directories, or up.
    fn leave(&mut self, here: OwnedFd) -> rustix::io::Result<Step> {
        let Some(&(_, names)) = self.levels.last() else {
            return Ok(Step::Moved);
        };
        if self.names.len() > names {
            let end = self.names.len() - 1;
            let start = self.names[names..end]
                .iter()
                .rposition(|byte| *byte == 0)
                .map_or(names, |at| names + at + 1);
            let below = CStr::from_bytes_with_nul(&self.names[start..])
                .map_err(|_| Errno::INVAL)
                .and_then(|name| open_at(&here, name));
            self.names.truncate(start);
            // Gone meanwhile, or no longer a directory.
            match below.and_then(|dir| Ok((id_of(&dir)?, dir))) {
                Ok((id, dir)) => self.enter(dir, id),
                Err(_) => self.here = Some(here),
            }
            return Ok(Step::More);
        }
        self.levels.pop();
        let Some(&(above, _)) = self.levels.last() else {
            return Ok(Step::More);
        };
        let up = open_at(&here, c"..")?;
        if id_of(&up)? != above {
            return Ok(Step::Moved);
        }
        self.here = Some(up);
        Ok(Step::More)
    }
}

/// Opens a directory to read it, without a trace of that in its times where we may.
pub(super) fn open_at<P: rustix::path::Arg + Copy>(
    at: impl AsFd,
    path: P,
) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&at, path, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => openat(&at, path, flags, Mode::empty()),
        other => other,
    }
}

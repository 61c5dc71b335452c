//! What the file systems of a job's directories have in use, looked at often and cheaply.
//!
//! Growth is the sum of all steps upwards: what others free elsewhere hides what a job takes only
//! if both happen between two looks. Never says whose growth it is.

use std::{io, os::fd::OwnedFd};

use rustix::fs::fstatvfs;

use super::{Usage, id_of};

/// The file systems that hold some directories.
pub(super) struct Room {
    systems: Vec<(OwnedFd, Usage)>,
    grown: Usage,
    grown_ever: Usage,
    stirred: bool,
}

impl Room {
    /// The file systems of these directories, each once.
    pub(super) fn of(dirs: &[OwnedFd]) -> io::Result<Self> {
        let mut devices = Vec::new();
        let mut systems = Vec::new();
        for dir in dirs {
            let (device, _) = id_of(dir)?;
            if !devices.contains(&device) {
                devices.push(device);
                systems.push((dir.try_clone()?, in_use(dir)?));
            }
        }
        Ok(Self {
            systems,
            grown: Usage::default(),
            grown_ever: Usage::default(),
            stirred: false,
        })
    }

    /// Notes what has changed since the last look.
    pub(super) fn look(&mut self) {
        for (dir, before) in &mut self.systems {
            let Ok(now) = in_use(dir) else { continue };
            if now != *before {
                let up = now.minus(*before);
                self.grown = self.grown.plus(up);
                self.grown_ever = self.grown_ever.plus(up);
                self.stirred = true;
                *before = now;
            }
        }
    }

    /// From here on growth and change are counted anew.
    pub(super) fn mark(&mut self) {
        self.grown = Usage::default();
        self.stirred = false;
    }

    /// Growth since the last mark.
    pub(super) fn grown(&self) -> Usage {
        self.grown
    }

    /// Growth since the beginning.
    pub(super) fn grown_ever(&self) -> Usage {
        self.grown_ever
    }

    /// Whether anything has changed since the last mark.
    pub(super) fn stirred(&self) -> bool {
        self.stirred
    }
}

/// Bytes that are free on the file system of a directory.
pub(super) fn free(dir: &OwnedFd) -> io::Result<u64> {
    let found = fstatvfs(dir)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

fn in_use(dir: &OwnedFd) -> io::Result<Usage> {
    let found = fstatvfs(dir)?;
    let blocks = found.f_blocks.saturating_sub(found.f_bfree);
    Ok(Usage {
        bytes: blocks.saturating_mul(found.f_frsize),
        // Some file systems make inodes as they go and say 0 to both.
        inodes: found.f_files.saturating_sub(found.f_ffree),
    })
}

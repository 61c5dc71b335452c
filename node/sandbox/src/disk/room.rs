//! What the file systems of a job's directories have in use, looked at often and cheaply.
//!
//! Growth is the sum of all steps upwards: what others free elsewhere hides what a job takes only
//! if both happen between two looks. Never says whose growth it is.

use std::{io, os::fd::OwnedFd};

use rustix::fs::fstatvfs;

use super::{Usage, id_of};

/// Of what was free when a job started, this much at least is never taken by one that is suspect.
const FLOOR_PERCENT: u64 = 10;

/// One file system, through a directory of it.
struct System {
    dir: OwnedFd,
    /// At the last look.
    in_use: Usage,
    /// When the job started.
    free: Usage,
}

/// The file systems that hold some directories.
pub(super) struct Room {
    systems: Vec<System>,
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
                systems.push(System {
                    dir: dir.try_clone()?,
                    in_use: in_use(dir)?,
                    free: free(dir)?,
                });
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
        for system in &mut self.systems {
            let Ok(now) = in_use(&system.dir) else {
                continue;
            };
            if now != system.in_use {
                let up = now.minus(system.in_use);
                self.grown = self.grown.plus(up);
                self.grown_ever = self.grown_ever.plus(up);
                self.stirred = true;
                system.in_use = now;
            }
        }
    }

    /// Whether little is left of what was free at the beginning.
    pub(super) fn is_short(&self) -> bool {
        self.systems.iter().any(|system| {
            let few = |now: u64, then: u64| now < then / 100 * FLOOR_PERCENT;
            free(&system.dir).is_ok_and(|now| {
                few(now.bytes, system.free.bytes) || few(now.inodes, system.free.inodes)
            })
        })
    }

    /// As if so much had been free at the beginning.
    #[cfg(test)]
    pub(super) fn had_free(&mut self, bytes: u64) {
        for system in &mut self.systems {
            system.free.bytes = bytes;
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

/// What is free on the file system of a directory.
pub(super) fn free(dir: &OwnedFd) -> io::Result<Usage> {
    let found = fstatvfs(dir)?;
    Ok(Usage {
        bytes: found.f_bavail.saturating_mul(found.f_frsize),
        inodes: found.f_favail,
    })
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

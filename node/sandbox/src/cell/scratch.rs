//! Directories whose content is the job's own business and goes with it.
//!
//! Their file systems are made before the job is known, too small for anything, and get the room that
//! it may have before it has them.

use std::{os::fd::OwnedFd, path::Path};

use rustix::{
    io::Errno,
    mount::{FsPickFlags, fsconfig_reconfigure, fsconfig_set_string, fspick},
};

use super::{
    Problem, failed,
    files::{Links, PLAIN, attach, find, new_mount},
};
use crate::{limits::RUN_BYTES, spec::Spec};

/// Path inside, mode, and whether its room is that of the job's memory.
const DIRS: [(&str, &str, bool); 3] = [
    ("tmp", "1777", true),
    ("var/tmp", "1777", true),
    ("run", "755", false),
];
/// Bytes and inodes until the job is known.
const AT_FIRST: [(&str, &str); 2] = [("size", "4k"), ("nr_inodes", "2")];

/// The file systems, attached nowhere yet.
pub(super) struct Scratch([OwnedFd; 3]);

impl Scratch {
    /// Makes them for root of the job.
    pub(super) fn make(id_base: u32) -> Result<Self, Problem> {
        let id = id_base.to_string();
        let make = |at: usize| {
            let owner = [("mode", DIRS[at].1), ("uid", &id), ("gid", &id)];
            let options: Vec<_> = AT_FIRST.into_iter().chain(owner).collect();
            new_mount("tmpfs", &options, PLAIN)
        };
        Ok(Self([make(0)?, make(1)?, make(2)?]))
    }

    /// Gives them their room and shows them to the job.
    pub(super) fn attach(self, root: &OwnedFd, spec: &Spec) -> Result<(), Problem> {
        let (memory, run) = (spec.limits.memory_bytes.to_string(), RUN_BYTES.to_string());
        let inodes = spec.limits.inodes.to_string();
        for (mount, (name, _, of_memory)) in self.0.into_iter().zip(DIRS) {
            let target = match find(root, Path::new(name), Links::Refused) {
                Ok(target) => target,
                // A link (`/var/tmp` to `/tmp`): what it leads to is mounted by its own name.
                Err(Errno::LOOP) if name == "var/tmp" => continue,
                Err(error) => {
                    return Err(Problem::Refused(format!(
                        "find /{name} in the root: {error}"
                    )));
                }
            };
            let size = if of_memory { &memory } else { &run };
            let flags = FsPickFlags::FSPICK_EMPTY_PATH | FsPickFlags::FSPICK_CLOEXEC;
            fspick(&mount, "", flags)
                .and_then(|fs| {
                    fsconfig_set_string(&fs, "size", size.as_str())?;
                    fsconfig_set_string(&fs, "nr_inodes", inodes.as_str())?;
                    fsconfig_reconfigure(&fs)
                })
                .and_then(|()| attach(mount, target))
                .map_err(failed(format!("mount /{name}")))?;
        }
        Ok(())
    }
}

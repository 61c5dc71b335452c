//! What takes the place of a defence that the helper was started without.
//!
//! Each is as a careless sandbox would have it, so that an attempt that a defence stops has
//! something to find. Nothing here is reached by a helper that has all defences.

use std::{
    os::fd::{AsFd, IntoRawFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{CWD, Mode, OFlags, open},
    mount::{MountAttrFlags, OpenTreeFlags, open_tree},
    process::{DumpableBehavior, chroot, fchdir, set_dumpable_behavior},
};

use super::{
    Problem, failed,
    files::{Links, attach, clone_of_fd, find, new_mount},
};
use crate::{
    defences::{Defence, Defences},
    sys,
};

/// A descriptor of the host's root that every program started from here inherits.
pub(super) fn leak_the_host_s_root() -> Result<(), Problem> {
    let root = open("/", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
        .map_err(failed("open the host's root"))?;
    let _stays_open = root.into_raw_fd();
    Ok(())
}

/// The host's `/tmp`, cloned before the stage covers it.
pub(super) fn host_tmp() -> Result<OwnedFd, Problem> {
    host_tree("/tmp")
}

/// The host's `/dev`, with all that is mounted in it.
pub(super) fn host_dev() -> Result<OwnedFd, Problem> {
    host_tree("/dev")
}

fn host_tree(path: &str) -> Result<OwnedFd, Problem> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, path, flags).map_err(failed(format!("clone the host's {path}")))
}

/// The kernel's own `/sys`.
pub(super) fn host_sys() -> Result<OwnedFd, Problem> {
    new_mount("sysfs", &[], MountAttrFlags::empty())
}

/// Puts the host's `/tmp` where the job's own would be.
pub(super) fn share_tmp(root: impl AsFd, tmp: &OwnedFd) -> Result<(), Problem> {
    for name in ["tmp", "var/tmp"] {
        let Ok(target) = find(&root, Path::new(name), Links::Refused) else {
            continue;
        };
        clone_of_fd(tmp)
            .and_then(|tmp| attach(tmp, target))
            .map_err(failed(format!("mount the host's /tmp on /{name}")))?;
    }
    Ok(())
}

/// Lets device files work in all that is mounted below the root.
pub(super) fn wake_device_files(root: impl AsFd) -> Result<(), Problem> {
    sys::clear_mounts(root, MountAttrFlags::MOUNT_ATTR_NODEV.bits().into())
        .map_err(failed("let device files work"))
}

/// Enters the root, with everything of the host still behind it.
pub(super) fn enter_by_chroot(root: impl AsFd) -> Result<(), Problem> {
    fchdir(root)
        .and_then(|()| chroot("."))
        .map_err(failed("enter the root"))
}

/// Lets everybody of the same user look at this process.
pub(super) fn show_init(without: Defences) -> Result<(), Problem> {
    if without.has(Defence::HiddenInit) {
        set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(failed("show init"))?;
    }
    Ok(())
}

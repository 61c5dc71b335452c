//! Small safe forms of the mount calls: detached mounts, attached by descriptor.
//!
//! Inside a root that a job may have made, a path is only ever resolved by `openat2` beneath
//! that root, and a mount is attached to what was found, never to a name.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat2},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
        fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
    },
};

use super::{Problem, failed};
use crate::sys;

/// Neither device files nor set-user-id programs.
pub(super) const PLAIN: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);

/// A new file system, attached nowhere.
pub(crate) fn new_mount(
    kind: &str,
    options: &[(&str, &str)],
    flags: MountAttrFlags,
) -> Result<OwnedFd, Problem> {
    let make = || {
        let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, value) in options {
            fsconfig_set_string(fs.as_fd(), *key, *value)?;
        }
        fsconfig_create(fs.as_fd())?;
        fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)
    };
    make().map_err(failed(format!("make a {kind} file system")))
}

/// A second view of a directory or file, attached nowhere.
pub(crate) fn clone_of(dir: impl AsFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    open_tree(
        dir,
        path,
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
    )
}

/// A second view of what a descriptor stands for.
pub(super) fn clone_of_fd(fd: impl AsFd) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(fd, "", flags)
}

/// A second view of a path of the host whose owners are those of the job: mapped by its users, or as
/// they are where the job has the ids of its node.
pub(super) fn mapped_clone(
    path: &Path,
    users: Option<BorrowedFd<'_>>,
    flags: MountAttrFlags,
) -> Result<OwnedFd, Problem> {
    let mount = clone_of(CWD, path)
        .map_err(|error| Problem::Refused(format!("open {}: {error}", path.display())))?;
    sys::set_mount(&mount, flags.bits().into(), users).map_err(failed(format!(
        "map the owners of {} (ext4, xfs, btrfs and tmpfs can, an overlay cannot)",
        path.display()
    )))?;
    Ok(mount)
}

/// Attaches a detached mount to what a descriptor stands for.
pub(crate) fn attach(mount: impl AsFd, target: impl AsFd) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", target, "", flags)
}

/// Whether symbolic links on the way are followed (inside the root) or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    Inside,
    Refused,
}

/// Finds a path inside of a root; it cannot lead out.
pub(super) fn find(root: impl AsFd, path: &Path, links: Links) -> rustix::io::Result<OwnedFd> {
    let refused = if links == Links::Refused {
        ResolveFlags::NO_SYMLINKS
    } else {
        ResolveFlags::empty()
    };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | refused;
    openat2(
        root,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        resolve,
    )
}

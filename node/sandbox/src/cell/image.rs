//! The image that stands for the lowest layers of a root, and the skeleton that fits over it.
//!
//! An image has the bytes of its files in a data-only layer, which the kernel looks into after the
//! last of all others only: so nothing can lie below an image, and the mount points that would be
//! below all layers lie right above it. Whatever the image has is then taken out of them, and their
//! directories are made to look like those of the image.

use std::{
    fs, io,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::fs::{PermissionsExt, chown},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, open,
        openat2, utimensat,
    },
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
        fsconfig_set_string, fsmount, fsopen,
    },
};

use super::{
    Problem, failed,
    files::{PLAIN, attach},
};
use crate::{spec::Image, sys};

/// Directory of the stage on which the image is mounted.
pub(super) const ON: &str = "i";
/// Directory of the stage for the mount points above it.
pub(super) const ABOVE: &str = "above";

/// Mounts the image on its directory of the stage, with the job's owners, and opens its root.
pub(super) fn show(stage: &Path, image: &Image, users: BorrowedFd<'_>) -> Result<OwnedFd, Problem> {
    let path = Path::new("s").join(&image.file);
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let file = open(stage, flags, Mode::empty())
        .and_then(|stage| openat2(stage, &path, flags, Mode::empty(), resolve))
        .and_then(|file| rustix::fs::fstat(&file))
        .map_err(failed("open the image"))?;
    if !FileType::from_raw_mode(file.st_mode).is_file() {
        return Err(Problem::Failed("open the image: it is no file".to_owned()));
    }
    let flags = PLAIN | MountAttrFlags::MOUNT_ATTR_RDONLY;
    let make = || {
        let fs = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&fs, "source", stage.join(&path).as_os_str())?;
        fsconfig_set_flag(&fs, "ro")?;
        fsconfig_create(&fs)?;
        fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, flags)
    };
    let mount = make().map_err(failed("mount the image"))?;
    sys::set_mount(&mount, flags.bits().into(), Some(users))
        .map_err(failed("map the owners of the image"))?;
    let on = stage.join(ON);
    fs::create_dir(&on).map_err(failed("fill the stage"))?;
    open(&on, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .and_then(|on| attach(mount, on))
        .and_then(|()| open(&on, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()))
        .map_err(failed("attach the image"))
}

/// Takes out of a skeleton what the image has, and makes what stays look like it.
pub(super) fn fit(skeleton: &Path, image: &OwnedFd) -> io::Result<()> {
    // Innermost first: a directory can go once it is empty.
    for path in below(skeleton)?.iter().rev() {
        let here = skeleton.join(path);
        let is_dir = fs::symlink_metadata(&here).is_ok_and(|found| found.is_dir());
        match look(image, path)? {
            Found::Nothing => {}
            Found::Directory(stat) if is_dir => {
                if fs::remove_dir(&here).is_err() {
                    dress(&here, &stat)?;
                }
            }
            Found::Directory(_) | Found::Other if is_dir => fs::remove_dir_all(&here)?,
            Found::Directory(_) | Found::Other => fs::remove_file(&here)?,
        }
    }
    Ok(())
}

/// All paths below a directory of ours, each after its parent.
fn below(top: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = Vec::new();
    let mut dirs = vec![PathBuf::new()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(top.join(&dir))? {
            let entry = entry?;
            let path = dir.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                dirs.push(path.clone());
            }
            found.push(path);
        }
    }
    Ok(found)
}

enum Found {
    Nothing,
    Directory(Stat),
    Other,
}

fn look(image: &OwnedFd, path: &Path) -> io::Result<Found> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat2(image, path, flags, Mode::empty(), resolve) {
        Ok(found) => {
            let stat = rustix::fs::fstat(&found)?;
            if FileType::from_raw_mode(stat.st_mode).is_dir() {
                Ok(Found::Directory(stat))
            } else {
                Ok(Found::Other)
            }
        }
        Err(Errno::NOENT) => Ok(Found::Nothing),
        // A link or a file on the way, or a link at its end.
        Err(Errno::LOOP | Errno::NOTDIR) => Ok(Found::Other),
        Err(error) => Err(error.into()),
    }
}

/// Gives a directory the mode, owner and time of the one that it covers.
fn dress(dir: &Path, like: &Stat) -> io::Result<()> {
    chown(dir, Some(like.st_uid), Some(like.st_gid))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(like.st_mode & 0o7777))?;
    let time = Timespec {
        tv_sec: like.st_mtime,
        tv_nsec: like.st_mtime_nsec.try_into().unwrap_or(0),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(utimensat(CWD, dir, &times, AtFlags::empty())?)
}

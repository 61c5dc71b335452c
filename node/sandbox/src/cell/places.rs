//! Places inside of a root to mount something on: those that are there, or else new ones.
//!
//! No process of the job runs yet, so nothing changes underneath. What is made belongs to root of
//! the job. Nothing here leads out of the root.

use std::{os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags, mkdirat, openat, openat2},
    io::Errno,
};

use super::{
    Problem, failed,
    files::{Links, find},
};
use crate::{spec::Spec, sys};

/// Does something as the file system's root of the job, with the rights of init: what init made in
/// layers under its own id would have no owner that the job knows.
pub(super) fn as_job_root<T>(
    what: &str,
    spec: &Spec,
    call: impl FnOnce() -> rustix::io::Result<T>,
) -> Result<T, Problem> {
    let capabilities = rustix::thread::capabilities(None).map_err(failed("read rights"))?;
    sys::set_file_ids(spec.id_base, spec.id_base);
    let done = rustix::thread::set_capabilities(None, capabilities).and_then(|()| call());
    let own = (rustix::process::geteuid(), rustix::process::getegid());
    sys::set_file_ids(own.0.as_raw(), own.1.as_raw());
    // Leaving the id 0 takes rights away, where that of init is another.
    let again = rustix::thread::set_capabilities(None, capabilities);
    done.and_then(|done| again.map(|()| done))
        .map_err(failed(what))
}

/// What is at `path`, or a new directory or empty file there: a layer may have made a directory
/// anew above it, and scratch directories start empty. Where something is to be made, links on the
/// way are only followed as `links` says.
pub(super) fn place(
    root: &OwnedFd,
    path: &Path,
    is_dir: bool,
    links: Links,
    spec: &Spec,
) -> Result<OwnedFd, Problem> {
    let refused =
        |error: Errno| Problem::Refused(format!("find bind target /{}: {error}", path.display()));
    match find(root, path, Links::Inside) {
        Ok(found) => return Ok(found),
        Err(Errno::NOENT) => {}
        Err(error) => return Err(refused(error)),
    }
    let (mut at, missing) = deepest(root, path, links).map_err(refused)?;
    let (name, dirs) = missing.split_last().ok_or_else(|| refused(Errno::NOENT))?;
    let what = format!("make /{} to mount on", path.display());
    as_job_root(&what, spec, || {
        for dir in dirs {
            at = make_dir(&at, dir)?;
        }
        if is_dir {
            return make_dir(&at, name);
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(&at, *name, flags, Mode::from_raw_mode(0o644))?;
        openat(
            &at,
            *name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
    })
}

/// The deepest directory on the way that is there, and the names after it.
fn deepest<'a>(
    root: &OwnedFd,
    path: &'a Path,
    links: Links,
) -> rustix::io::Result<(OwnedFd, Vec<&'a std::ffi::OsStr>)> {
    let mut missing = Vec::new();
    for above in path.ancestors() {
        let shown = if above == Path::new("") {
            Path::new(".")
        } else {
            above
        };
        match find(root, shown, links) {
            Ok(found) => {
                missing.reverse();
                return Ok((found, missing));
            }
            Err(Errno::NOENT) => missing.extend(above.file_name()),
            Err(error) => return Err(error),
        }
    }
    Err(Errno::NOENT)
}

fn make_dir(at: &OwnedFd, name: &std::ffi::OsStr) -> rustix::io::Result<OwnedFd> {
    mkdirat(at, name, Mode::from_raw_mode(0o755))?;
    openat2(
        at,
        name,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
    )
}

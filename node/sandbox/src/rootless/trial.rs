//! Tries, in namespaces that go at once, what every job will need and a host may refuse: so it is
//! told at the start and not by the first job.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::CWD,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsmount, fsopen,
        open_tree,
    },
    pipe::{PipeFlags, pipe_with},
};

use super::{Lack, RootlessError, trouble};
use crate::{defences::Defences, limits::RELAYED_MAX, sys};

/// What is tried: its name, and what to do where it is refused.
const TRIALS: [(&str, &str); 4] = [
    (
        "mount a /proc of a job's own",
        "parts of this host's /proc are covered, as in most containers; run the node outside of \
         it, or as root",
    ),
    (
        "mount an overlay",
        "load the overlay module with modprobe overlay; kernel 5.11 is the first that lets users",
    ),
    (
        "show a job the host's /dev/null",
        "run the node where /dev has the usual devices",
    ),
    (
        "make a user namespace inside of its own",
        "raise user.max_user_namespaces with sysctl",
    ),
];

/// What of it the host refuses.
pub(super) fn lacks() -> Result<Vec<Lack>, RootlessError> {
    let (said, say) = pipe_with(PipeFlags::CLOEXEC).map_err(trouble("make a pipe"))?;
    let child = sys::fork_with(Defences::NONE.namespaces_left(), &[say.as_fd()], || {
        tell(say.try_clone().map(fs::File::from))
    });
    drop(say);
    let child = match child {
        Ok(child) => child,
        Err(error) => return Ok(vec![Lack::namespaces(&error)]),
    };
    let words = listen(said);
    let (status, _) = sys::wait(child).map_err(trouble("wait for a trial"))?;
    let words = words.map_err(trouble("hear of a trial"))?;
    if status != 0 {
        let words = format!("a trial of namespaces ended with {status:#x}");
        return Err(trouble("try a namespace")(std::io::Error::other(words)));
    }
    let found = words.lines().filter_map(|line| {
        let (index, words) = line.split_once(' ')?;
        let (what, fix) = *TRIALS.get(index.parse::<usize>().ok()?)?;
        let words = words.to_owned();
        Some(Lack::Mount { what, words, fix })
    });
    Ok(found.collect())
}

fn listen(said: OwnedFd) -> std::io::Result<String> {
    let mut words = String::new();
    fs::File::from(said)
        .take(RELAYED_MAX)
        .read_to_string(&mut words)?;
    Ok(words)
}

/// Runs as the first process of a process namespace: one line for each thing that failed.
fn tell(say: std::io::Result<fs::File>) -> i32 {
    let Ok(mut say) = say else { return 1 };
    let tried = [
        proc().map_err(Into::into),
        fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
            .map(drop)
            .map_err(Into::into),
        device().map_err(Into::into),
        nested(),
    ];
    for (index, done) in tried.into_iter().enumerate() {
        if let Err(error) = done
            && writeln!(say, "{index} {error}").is_err()
        {
            return 1;
        }
    }
    0
}

fn proc() -> rustix::io::Result<()> {
    let fs = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(fs.as_fd())?;
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags).map(drop)
}

fn device() -> rustix::io::Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, "/dev/null", flags).map(drop)
}

fn nested() -> std::io::Result<()> {
    sys::with_new_users(|_| Ok(()))
}

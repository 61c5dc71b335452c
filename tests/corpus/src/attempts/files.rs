//! Files that give their reader power: owners, attributes, programs that change their user.

use std::{
    fs::{self, File, OpenOptions},
    os::{
        fd::AsRawFd as _,
        unix::fs::{PermissionsExt as _, chown},
    },
    process::Command,
};

use super::tools::{c, reads_token};
use crate::{
    attempt::{Attempt, Tried, attempt, no_effect},
    ground::Ground,
    raw::{self, Arg},
};

/// `FS_IOC_GETFLAGS`, `FS_IOC_SETFLAGS`, and the flags of a file that nobody can change or remove, and
/// of one that can only grow.
const GET_FLAGS: i64 = 0x8008_6601;
const SET_FLAGS: i64 = 0x4008_6602;
const IMMUTABLE: u32 = 0x10;
const APPEND: u32 = 0x20;
/// A user of the host that no job has.
const FOREIGN: u32 = 70_000;
/// A plain user of the job.
const PLAIN: u32 = 1_000;

pub(super) const ATTEMPTS: &[Attempt] = &[
    attempt(
        "file.foreign",
        "user_namespaces(7)",
        "read a file of another user of the host in an input",
        |g| reads_token(g, format!("{}/foreign", g.get("bind"))),
    ),
    attempt(
        "file.give-away",
        "setuid files of other users",
        "leave a file that belongs to another user of the host",
        |_| {
            fs::write("/etc/given", "x")?;
            chown("/etc/given", Some(FOREIGN), Some(FOREIGN))?;
            Ok("it was left".to_owned())
        },
    ),
    attempt(
        "file.setuid-program",
        "execve(2), sudo",
        "become root by a set-user-id program",
        |g| as_plain(g, "/bin/setuid"),
    ),
    attempt(
        "file.capable-program",
        "capabilities(7)",
        "gain rights by a program that carries them",
        |g| as_plain(g, "/bin/capable"),
    ),
    attempt(
        "file.setuid-bind",
        "hostile caches",
        "become root by a set-user-id program in an input",
        |g| as_plain(g, &format!("{}/setuid", g.get("bind"))),
    ),
    attempt(
        "file.setuid-tmp",
        "nosuid",
        "become root by a set-user-id program that it made in /tmp",
        |g| made_setuid(g, "/tmp/setuid"),
    ),
    attempt(
        "file.immutable",
        "files that cannot be collected or removed",
        "make a file that nobody can remove",
        |_| flag(IMMUTABLE),
    ),
    attempt(
        "file.append-only",
        "files that cannot be collected or removed",
        "make a file that can only grow",
        |_| flag(APPEND),
    ),
    attempt(
        "file.trusted-attribute",
        "overlayfs",
        "give a file a trusted attribute",
        |_| attribute("trusted.corpus"),
    ),
    attempt(
        "file.overlay-attribute",
        "overlayfs, CVE-2023-0386 class",
        "give a directory the attribute by which overlays look elsewhere",
        |_| attribute("trusted.overlay.redirect"),
    ),
    attempt(
        "file.label",
        "security modules",
        "give a file a label of a security module",
        |_| attribute("security.corpus"),
    ),
    attempt(
        "file.capability",
        "capabilities(7)",
        "give a program the rights of the host's root",
        capability,
    ),
    attempt(
        "file.host-tmp",
        "shared temporary directories",
        "read the canary's file in the host's /tmp",
        |g| reads_token(g, format!("/tmp/{}", g.get("memory"))),
    ),
    attempt(
        "file.host-tmp-link",
        "temporary directories and links",
        "leave a link in the host's /tmp for root to follow",
        |g| {
            let path = format!("/tmp/{}-link", g.get("memory"));
            std::os::unix::fs::symlink("/etc/passwd", &path)?;
            let theirs = format!("/tmp/{}", g.get("memory"));
            let shared = fs::exists(theirs).unwrap_or(false);
            let _ = fs::remove_file(&path);
            match shared {
                true => Ok("a link was left".to_owned()),
                false => Err(no_effect("it is the job's own /tmp")),
            }
        },
    ),
];

/// Runs a program as a plain user of the job and asks it who it has become.
fn as_plain(ground: &Ground, program: &str) -> Tried {
    use std::os::unix::process::CommandExt as _;
    let said = Command::new(program)
        .args(["whoami", "-"])
        .env_clear()
        .uid(PLAIN)
        .gid(PLAIN)
        .output()?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let _ = ground;
    let has = |word: &str| text.split_whitespace().any(|found| found == word);
    if has("root") || has("rights") {
        Ok(format!("it became: {}", text.trim()))
    } else {
        Err(no_effect(format!("it stayed: {}", text.trim())))
    }
}

fn made_setuid(ground: &Ground, path: &str) -> Tried {
    fs::copy("/proc/self/exe", path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o4755))?;
    as_plain(ground, path)
}

fn flag(flag: u32) -> Tried {
    let path = "/etc/flagged";
    fs::write(path, "x")?;
    let file = File::open(path)?;
    let fd = i64::from(file.as_raw_fd());
    let mut flags = [0; 8];
    raw::call(
        libc::SYS_ioctl,
        &mut [Arg::N(fd), Arg::N(GET_FLAGS), Arg::W(&mut flags)],
    )?;
    let old = flags;
    flags[..4].copy_from_slice(
        &(u32::from_ne_bytes([old[0], old[1], old[2], old[3]]) | flag).to_ne_bytes(),
    );
    raw::call(
        libc::SYS_ioctl,
        &mut [Arg::N(fd), Arg::N(SET_FLAGS), Arg::W(&mut flags)],
    )?;
    let stuck = OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(path)
        .is_err();
    let mut old = old;
    raw::call(
        libc::SYS_ioctl,
        &mut [Arg::N(fd), Arg::N(SET_FLAGS), Arg::W(&mut old)],
    )?;
    match stuck {
        true => Ok("it was made, and unmade".to_owned()),
        false => Err(no_effect("the flag has no effect")),
    }
}

fn set(path: &str, name: &str, value: &[u8]) -> std::io::Result<i64> {
    let length = i64::try_from(value.len()).unwrap_or(0);
    raw::call(
        libc::SYS_setxattr,
        &mut [
            Arg::S(&c(path)),
            Arg::S(&c(name)),
            Arg::R(value),
            Arg::N(length),
            Arg::N(0),
        ],
    )
}

fn attribute(name: &str) -> Tried {
    let path = "/etc/marked";
    fs::create_dir_all(path)?;
    set(path, name, b"/canary")?;
    let _ = fs::remove_dir(path);
    Ok(format!("{name} was set"))
}

fn capability(_: &Ground) -> Tried {
    let path = "/etc/capable";
    fs::write(path, "x")?;
    // Version 2, effective; all rights permitted. A version 3 would name its user namespace.
    let words = [0x0200_0001_u32, u32::MAX, 0, 0xff, 0];
    let value: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let done = set(path, "security.capability", &value);
    let _ = fs::remove_file(path);
    done?;
    Ok("it was given".to_owned())
}

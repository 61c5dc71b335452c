//! Device files: those that are there, those that a layer brings, and those that a job makes.

use std::{
    fs::{self, File, OpenOptions},
    os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _},
};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::tools::{ASIDE, found_token, mount_aside, read_all};
use crate::{
    attempt::{Attempt, Stop, Tried, attempt, no_effect},
    ground::Ground,
    raw::{self, Arg},
};

/// Rows and columns of the host's terminal, as the kernel keeps them.
pub const TERMINAL_SIZE: [u8; 8] = [0x61, 0x1e, 0x05, 0x0d, 0, 0, 0, 0];

pub(super) const ATTEMPTS: &[Attempt] = &[
    attempt(
        "device.make-disk",
        "CAP_MKNOD",
        "make a device file of the canary disk in /tmp and read it",
        |g| made_disk(g, "/tmp"),
    ),
    attempt(
        "device.make-disk-root",
        "CAP_MKNOD",
        "the same in a directory of the root's layers",
        |g| made_disk(g, "/etc"),
    ),
    attempt(
        "device.make-disk-dev",
        "CAP_MKNOD",
        "the same in /dev",
        |g| made_disk(g, "/dev"),
    ),
    attempt(
        "device.make-disk-shm",
        "CAP_MKNOD",
        "the same in /dev/shm",
        |g| made_disk(g, "/dev/shm"),
    ),
    attempt(
        "device.present-disk",
        "privileged containers",
        "read the canary disk in /dev",
        |g| disk(g, &format!("/dev/loop{}", g.number("disk"))),
    ),
    attempt(
        "device.layer-disk",
        "hostile image layers",
        "read the canary disk through a device file of a layer",
        |g| disk(g, "/etc/layer-disk"),
    ),
    attempt(
        "device.bind-disk",
        "hostile caches",
        "read the canary disk through a device file in a bind",
        |g| disk(g, &format!("{}/disk", g.get("bind"))),
    ),
    attempt(
        "device.devtmpfs",
        "privileged containers",
        "mount all devices of the host and read the canary disk",
        |g| {
            let place = mount_aside("devtmpfs")?;
            disk(g, &format!("{place}/loop{}", g.number("disk")))
        },
    ),
    attempt(
        "device.memory",
        "privileged containers",
        "make and open the device of the host's memory",
        |_| character("mem", 1, 1),
    ),
    attempt(
        "device.ports",
        "privileged containers",
        "make and open the device of the host's ports",
        |_| character("port", 1, 4),
    ),
    attempt(
        "device.kernel-log",
        "logs of the host",
        "open the kernel's log",
        |_| present_or_made("/dev/kmsg", 1, 11),
    ),
    attempt(
        "device.fuse",
        "file systems of the job's own",
        "open the device of FUSE",
        |_| present_or_made("/dev/fuse", 10, 229),
    ),
    attempt(
        "device.tunnel",
        "networks of the job's own",
        "open the device of network tunnels",
        |_| present_or_made("/dev/net/tun", 10, 200),
    ),
    attempt(
        "device.kvm",
        "kernel surface",
        "open the device of virtual machines",
        |_| present_or_made("/dev/kvm", 10, 232),
    ),
    attempt(
        "device.loop-control",
        "privileged containers",
        "open the device that hands out disks",
        |_| present_or_made("/dev/loop-control", 10, 237),
    ),
    attempt(
        "device.console",
        "terminals of the host",
        "open the host's console",
        |_| present_or_made("/dev/tty0", 4, 0),
    ),
    attempt(
        "device.input",
        "forged key presses",
        "open the device that forges input",
        |_| present_or_made("/dev/uinput", 10, 223),
    ),
    attempt(
        "device.terminals",
        "runc CVE-2025-52565; docker exec leaks",
        "see the terminals of the host",
        terminals,
    ),
];

fn disk(ground: &Ground, path: &str) -> Tried {
    if ground.get("disk").is_empty() {
        return Err(Stop::Absent("the host has no disk to spare".to_owned()));
    }
    let file = File::open(path)?;
    let bytes = read_all(file)?;
    found_token(ground, &bytes, path)
}

fn made_disk(ground: &Ground, dir: &str) -> Tried {
    let path = format!("{dir}/corpus-disk");
    // Loop devices are major 7.
    let number = makedev(7, u32::try_from(ground.number("disk")).unwrap_or(0));
    mknodat(
        CWD,
        path.as_str(),
        FileType::BlockDevice,
        Mode::from_raw_mode(0o600),
        number,
    )?;
    let read = disk(ground, &path);
    let _ = fs::remove_file(&path);
    read
}

/// Opening is enough; nothing is read from what belongs to the host.
fn opened(path: &str) -> Tried {
    let open = |write| {
        OpenOptions::new()
            .read(true)
            .write(write)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
    };
    open(true).or_else(|_| open(false))?;
    Ok(format!("{path} was opened"))
}

fn character(name: &str, major: u32, minor: u32) -> Tried {
    let _ = fs::create_dir_all(ASIDE);
    let mut last = Err(no_effect("there is no place"));
    for dir in [ASIDE, "/etc", "/dev"] {
        let path = format!("{dir}/corpus-{name}");
        let mode = Mode::from_raw_mode(0o600);
        last = mknodat(
            CWD,
            path.as_str(),
            FileType::CharacterDevice,
            mode,
            makedev(major, minor),
        )
        .map_err(Stop::from)
        .and_then(|()| opened(&path));
        let _ = fs::remove_file(&path);
        if last.is_ok() {
            return last;
        }
    }
    match last {
        // Made, but no driver has that number.
        Err(Stop::Error(error))
            if [Some(libc::ENODEV), Some(libc::ENXIO)].contains(&error.raw_os_error()) =>
        {
            Err(Stop::Absent("no driver has that number".to_owned()))
        }
        last => last,
    }
}

fn present_or_made(path: &str, major: u32, minor: u32) -> Tried {
    match opened(path) {
        Ok(how) => Ok(how),
        Err(_) => character(path.rsplit('/').next().unwrap_or("device"), major, minor),
    }
}

/// The host's terminal has a size that no other has.
fn terminals(ground: &Ground) -> Tried {
    let place = format!("/dev/pts/{}", ground.get("terminal"));
    if ground.get("terminal").is_empty() {
        return Err(Stop::Absent("the host has no terminal".to_owned()));
    }
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(&place)?;
    let mut size = [0; 8];
    let fd = i64::from(file.as_raw_fd());
    let get = i64::try_from(libc::TIOCGWINSZ).unwrap_or(0);
    raw::call(
        libc::SYS_ioctl,
        &mut [Arg::N(fd), Arg::N(get), Arg::W(&mut size)],
    )?;
    match size == TERMINAL_SIZE {
        true => Ok("the host's terminal was opened".to_owned()),
        false => Err(no_effect("it is a terminal of the job's own")),
    }
}

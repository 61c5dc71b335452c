//! Mounts: to uncover what is covered, to make writable what is not, to have a file system of one's own.

use std::{ffi::CStr, fs, fs::File, os::fd::AsRawFd as _};

use super::tools::{
    ASIDE, c, found_token, mount, mount_aside, mount_with, opens_to_write, read, reads_something,
};
use crate::{
    attempt::{Attempt, Stop, Tried, attempt, no_effect},
    ground::Ground,
    raw::{self, Arg},
};

/// `OPEN_TREE_CLONE` and `AT_RECURSIVE`.
const CLONE: i64 = 1;
const RECURSIVE: i64 = 0x8000;
/// `MOUNT_ATTR_RDONLY`.
const READ_ONLY: u64 = 1;
/// Mounts that a flood is: many, and little for the host.
const FLOOD: usize = 300;

pub(super) const ATTEMPTS: &[Attempt] = &[
    attempt(
        "mount.tmpfs",
        "CAP_SYS_ADMIN",
        "mount a file system in memory",
        |_| mount_aside("tmpfs").map(|place| format!("mounted on {place}")),
    ),
    attempt(
        "mount.memory-bomb",
        "memory outside of limits",
        "mount one as large as the host's memory",
        |_| mount_with("tmpfs", "tmpfs", "size=100%").map(|place| format!("mounted on {place}")),
    ),
    attempt(
        "mount.flood",
        "mounts cost kernel memory and time",
        "make hundreds of mounts",
        flood,
    ),
    attempt(
        "mount.bind",
        "CAP_SYS_ADMIN",
        "bind a directory elsewhere",
        |_| {
            aside()?;
            mount("/etc", ASIDE, "none", libc::MS_BIND, "")?;
            Ok("it was bound".to_owned())
        },
    ),
    attempt(
        "mount.read-write",
        "docker privileged containers",
        "make a read-only mount writable",
        read_write,
    ),
    attempt(
        "mount.bind-read-write",
        "read-only caches",
        "make the read-only bind writable and write to it",
        bind_read_write,
    ),
    attempt(
        "mount.uncover-proc",
        "runc CVE-2025-31133",
        "uncover a covered file of /proc",
        uncover,
    ),
    attempt(
        "mount.fresh-proc",
        "user namespaces with full /proc",
        "mount /proc anew without covers",
        fresh_proc,
    ),
    attempt(
        "mount.over-proc",
        "runc CVE-2019-16884, CVE-2023-27561",
        "mount over /proc and so mislead whoever joins",
        |_| {
            private();
            mount("tmpfs", "/proc", "tmpfs", 0, "")?;
            Ok("/proc was covered".to_owned())
        },
    ),
    attempt(
        "mount.uncover-dev",
        "runc CVE-2025-52565",
        "uncover the host's /dev",
        |_| {
            private();
            unmount(c"/dev/shm")
                .or_else(|_| unmount(c"/dev/pts"))
                .or_else(|_| unmount(c"/dev"))?;
            Ok("a mount below /dev was taken away".to_owned())
        },
    ),
    attempt(
        "mount.pivot",
        "pivot_root(2)",
        "go back to a root that is hidden",
        pivot,
    ),
    attempt(
        "mount.overlay",
        "CVE-2021-3493, CVE-2023-0386",
        "mount an overlay that copies set-user-id files",
        overlay,
    ),
    attempt(
        "mount.disk-image",
        "file system drivers' faults",
        "mount an ext4 image that the job wrote",
        |g| image(g, "ext4"),
    ),
    attempt(
        "mount.squash-image",
        "file system drivers' faults",
        "mount a squashfs image that the job wrote",
        |g| image(g, "squashfs"),
    ),
    attempt(
        "mount.canary-disk",
        "privileged containers",
        "mount the canary disk of the host",
        canary_disk,
    ),
    attempt(
        "mount.fuse",
        "file systems of the job's own",
        "mount a FUSE file system",
        |_| {
            aside()?;
            let fd = fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open("/dev/fuse")?;
            let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", fd.as_raw_fd());
            mount("corpus", ASIDE, "fuse", 0, &options)?;
            Ok("it was mounted".to_owned())
        },
    ),
    attempt(
        "mount.bpf",
        "bpf(2)",
        "mount the kernel's pinned programs",
        |_| mount_aside("bpf").map(|place| format!("mounted on {place}")),
    ),
    attempt(
        "mount.queues",
        "mq_overview(7)",
        "mount the host's message queues",
        queues,
    ),
    attempt(
        "mount.terminals",
        "runc CVE-2025-52565",
        "mount terminals of its own",
        |_| {
            mount_with("devpts", "devpts", "newinstance").map(|place| format!("mounted on {place}"))
        },
    ),
    attempt(
        "mount.propagate",
        "mount_namespaces(7)",
        "make a mount that the host sees",
        propagate,
    ),
    attempt(
        "mount.new-calls",
        "fsopen(2)",
        "mount by the newer calls",
        new_calls,
    ),
    attempt(
        "mount.clone-tree",
        "open_tree(2)",
        "clone all mounts by the newer calls",
        |_| {
            let fd = raw::call(
                libc::SYS_open_tree,
                &mut [Arg::N(-100), Arg::S(c"/"), Arg::N(CLONE | RECURSIVE)],
            )?;
            drop(raw::own(fd));
            Ok("the mounts were cloned".to_owned())
        },
    ),
    attempt(
        "mount.attributes",
        "mount_setattr(2)",
        "change the attributes of a mount by the newer call",
        attributes,
    ),
    attempt(
        "mount.idmap",
        "CVE-2023-2640 class",
        "map the owners of a mount anew",
        idmap,
    ),
    attempt(
        "mount.host-root",
        "host mount namespace",
        "see the mounts of the host",
        host_mounts,
    ),
];

/// Mounts that follow are the attempt's own where that is allowed.
fn private() {
    let _ = raw::call(libc::SYS_unshare, &mut [Arg::N(libc::CLONE_NEWNS.into())]);
    let _ = mount("none", "/", "none", libc::MS_PRIVATE | libc::MS_REC, "");
}

fn aside() -> Result<(), Stop> {
    private();
    Ok(fs::create_dir_all(ASIDE)?)
}

fn unmount(path: &CStr) -> std::io::Result<i64> {
    raw::call(
        libc::SYS_umount2,
        &mut [Arg::S(path), Arg::N(libc::MNT_DETACH.into())],
    )
}

fn read_write(_: &Ground) -> Tried {
    private();
    mount(
        "none",
        "/proc/sys",
        "none",
        libc::MS_REMOUNT | libc::MS_BIND,
        "",
    )?;
    opens_to_write("/proc/sys/kernel/core_pattern")
}

fn bind_read_write(ground: &Ground) -> Tried {
    let bind = ground.get("bind");
    let path = format!("{bind}/written");
    if fs::write(&path, "x").is_err() {
        private();
        mount("none", bind, "none", libc::MS_REMOUNT | libc::MS_BIND, "")?;
        fs::write(&path, "x")?;
    }
    let _ = fs::remove_file(&path);
    Ok("a file was written there".to_owned())
}

fn uncover(_: &Ground) -> Tried {
    private();
    unmount(c"/proc/timer_list")
        .or_else(|_| unmount(c"/proc/kcore"))
        .or_else(|_| unmount(c"/proc/sys"))?;
    reads_something("/proc/timer_list").or_else(|_| opens_to_write("/proc/sys/kernel/core_pattern"))
}

fn flood(_: &Ground) -> Tried {
    private();
    let place = c(ASIDE);
    fs::create_dir_all(ASIDE)?;
    let mut made = 0;
    let end = loop {
        match mount(ASIDE, ASIDE, "none", libc::MS_BIND, "") {
            Ok(_) if made < FLOOD => made += 1,
            end => break end,
        }
    };
    for _ in 0..=made {
        let _ = unmount(&place);
    }
    Ok(end.map(|_| format!("{made} mounts were made"))?)
}

fn fresh_proc(_: &Ground) -> Tried {
    let place = mount_aside("proc")?;
    opens_to_write(&format!("{place}/sys/kernel/core_pattern"))
}

fn pivot(ground: &Ground) -> Tried {
    private();
    fs::create_dir_all(ASIDE)?;
    mount("tmpfs", ASIDE, "tmpfs", 0, "")?;
    let old = format!("{ASIDE}/old");
    fs::create_dir_all(&old)?;
    raw::call(
        libc::SYS_pivot_root,
        &mut [Arg::S(&c(ASIDE)), Arg::S(&c(&old))],
    )?;
    match read(format!("/old{}", ground.get("canary"))) {
        Ok(bytes) => found_token(ground, &bytes, "the old root"),
        Err(_) => Ok("the root was changed".to_owned()),
    }
}

fn overlay(_: &Ground) -> Tried {
    private();
    fs::create_dir_all(ASIDE)?;
    mount("tmpfs", ASIDE, "tmpfs", 0, "")?;
    for dir in ["lower", "upper", "work", "on"] {
        fs::create_dir(format!("{ASIDE}/{dir}"))?;
    }
    let options = format!("lowerdir={ASIDE}/lower,upperdir={ASIDE}/upper,workdir={ASIDE}/work");
    mount("overlay", &format!("{ASIDE}/on"), "overlay", 0, &options)?;
    Ok("an overlay was mounted".to_owned())
}

/// Through if the driver looks at the image: only then can its faults be met.
fn image(ground: &Ground, kind: &str) -> Tried {
    private();
    let place = format!("{ASIDE}-image");
    fs::create_dir_all(&place)?;
    let disk = format!("{place}/disk");
    let number = rustix::fs::makedev(7, u32::try_from(ground.number("disk")).unwrap_or(0));
    let present = format!("/dev/loop{}", ground.number("disk"));
    let source = if fs::exists(&present).unwrap_or(false) {
        present
    } else {
        let _ = fs::remove_file(&disk);
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            disk.as_str(),
            rustix::fs::FileType::BlockDevice,
            mode,
            number,
        )?;
        disk
    };
    match mount(&source, &place, kind, libc::MS_RDONLY, "") {
        Ok(_) => Ok("it was mounted".to_owned()),
        // The driver has read it and found that it is no such file system.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            Ok("the driver read it".to_owned())
        }
        Err(error) => Err(error.into()),
    }
}

fn canary_disk(ground: &Ground) -> Tried {
    image(ground, "ext2").or_else(|_| image(ground, "erofs"))
}

fn queues(ground: &Ground) -> Tried {
    let place = mount_aside("mqueue")?;
    let name = ground.get("queue").trim_start_matches('/');
    if fs::exists(format!("{place}/{name}"))? {
        Ok("the queue of the host is seen".to_owned())
    } else {
        Err(no_effect("only the job's own queues are there"))
    }
}

fn propagate(ground: &Ground) -> Tried {
    let place = format!("{ASIDE}-shared");
    fs::create_dir_all(&place)?;
    mount("tmpfs", &place, "tmpfs", 0, "")?;
    let seen = ground.is_host_namespace("mnt") || {
        let pid = ground.canary();
        let text = read(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        String::from_utf8_lossy(&text).contains("corpus-aside-shared")
    };
    let _ = unmount(&c(&place));
    match seen {
        true => Ok("the host has that mount".to_owned()),
        false => Err(no_effect("the host does not see it")),
    }
}

fn new_calls(_: &Ground) -> Tried {
    let fs = raw::own(raw::call(
        libc::SYS_fsopen,
        &mut [Arg::S(c"tmpfs"), Arg::N(0)],
    )?);
    let fd = i64::from(fs.as_raw_fd());
    // FSCONFIG_CMD_CREATE
    raw::call(libc::SYS_fsconfig, &mut [Arg::N(fd), Arg::N(6)])?;
    let made = raw::call(libc::SYS_fsmount, &mut [Arg::N(fd)])?;
    drop(raw::own(made));
    Ok("a file system was made".to_owned())
}

fn attr(set: u64, clear: u64, users: u64) -> Vec<u8> {
    [set, clear, 0, users]
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect()
}

fn attributes(_: &Ground) -> Tried {
    private();
    let attr = attr(0, READ_ONLY, 0);
    raw::call(
        libc::SYS_mount_setattr,
        &mut [
            Arg::N(-100),
            Arg::S(c"/"),
            Arg::N(0),
            Arg::R(&attr),
            Arg::N(32),
        ],
    )?;
    Ok("the attributes were changed".to_owned())
}

/// With the users of a child: those of the first namespace are refused whatever the right.
fn idmap(_: &Ground) -> Tried {
    let Some(child) = raw::fork()? else {
        let made = raw::call(libc::SYS_unshare, &mut [Arg::N(libc::CLONE_NEWUSER.into())]);
        if made.is_ok() {
            let _ = raw::call(libc::SYS_pause, &mut []);
        }
        raw::exit(0);
    };
    let users = loop {
        let theirs = crate::ground::namespace(&child.to_string(), "user");
        if theirs.is_empty() {
            return Err(no_effect("no user namespace can be made"));
        }
        if theirs != crate::ground::namespace("self", "user") {
            break File::open(format!("/proc/{child}/ns/user"))?;
        }
        let mut status = [0; 4];
        let ended = raw::call(
            libc::SYS_wait4,
            &mut [Arg::N(child.into()), Arg::W(&mut status), Arg::N(1)],
        )?;
        if ended != 0 {
            return Err(no_effect("no user namespace can be made"));
        }
    };
    fs::write(format!("/proc/{child}/uid_map"), "0 100000 10\n")?;
    fs::write(format!("/proc/{child}/gid_map"), "0 100000 10\n")?;
    let done = map_tree(&users);
    let _ = raw::call(
        libc::SYS_kill,
        &mut [Arg::N(child.into()), Arg::N(libc::SIGKILL.into())],
    );
    done
}

fn map_tree(users: &File) -> Tried {
    let words = &mut [Arg::N(-100), Arg::S(c"/etc"), Arg::N(CLONE)];
    let tree = raw::own(raw::call(libc::SYS_open_tree, words)?);
    let fd = i64::from(tree.as_raw_fd());
    let attr = attr(
        0x0010_0000,
        0,
        u64::try_from(users.as_raw_fd()).unwrap_or(0),
    );
    let words = &mut [
        Arg::N(fd),
        Arg::S(c""),
        Arg::N(0x1000),
        Arg::R(&attr),
        Arg::N(32),
    ];
    match raw::call(libc::SYS_mount_setattr, words) {
        Ok(_) => Ok("owners were mapped".to_owned()),
        // Past the right: this file system cannot.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            Ok("past the check of the right".to_owned())
        }
        Err(error) => Err(error.into()),
    }
}

fn host_mounts(ground: &Ground) -> Tried {
    // Out of a chroot first, which shows only what is below it.
    if super::descriptors::leave_chroot().is_err() {
        let _ = rustix::process::chdir("/");
    }
    let text = read("/proc/self/mountinfo")
        .or_else(|_| read(format!("/proc/{}/mountinfo", ground.canary())))?;
    match String::from_utf8_lossy(&text).contains(" /canary ") {
        true => Ok("the canary's mount is listed".to_owned()),
        false => Err(no_effect("only the job's mounts are listed")),
    }
}

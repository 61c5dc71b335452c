//! `/dev`, `/proc` and `/sys` of a job.
//!
//! Six harmless devices, private terminals, and a `/proc` of the job's own processes whose
//! host-wide files are hidden or cannot be written.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{
        CWD, FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, makedev, mkdirat, mknodat, openat,
        symlinkat,
    },
    mount::MountAttrFlags,
};

use super::{
    Birth, Problem, failed,
    files::{Links, PLAIN, attach, clone_of, clone_of_fd, find, new_mount},
    holes,
};
use crate::{defences::Defence, limits::SHM_BYTES, sys};

/// Name, major and minor number.
const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// What of `/proc` tells about the host, its disks, its start, its kernel's memory, or what its other
/// users do now. Most kernels have a part of them. What builds ask for (`cpuinfo`, `meminfo`, `stat`,
/// `vmstat`, `loadavg`, `filesystems`, `cgroups`) stays.
const HIDDEN: [&str; 28] = [
    "acpi",
    "allocinfo",
    "asound",
    "cmdline",
    "diskstats",
    "interrupts",
    "kcore",
    "keys",
    "key-users",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "latency_stats",
    "lock_stat",
    "lockdep",
    "lockdep_chains",
    "locks",
    "pagetypeinfo",
    "partitions",
    "sched_debug",
    "scsi",
    "slabinfo",
    "softirqs",
    "swaps",
    "timer_list",
    "kallsyms",
    "vmallocinfo",
    "vmcore",
];
/// What of `/proc` changes the host.
const READ_ONLY: [&str; 9] = [
    "bus",
    "driver",
    "dynamic_debug",
    "fs",
    "irq",
    "mtrr",
    "pressure",
    "sys",
    "sysrq-trigger",
];
/// Group of terminals on Debian and most others.
const TTY_GROUP: u32 = 5;

/// The three as they wait on the stage for their root.
pub(super) struct Devices([(&'static str, OwnedFd); 3]);

impl Devices {
    /// Mounts all three onto the directories that the stage has for them.
    pub(super) fn make(stage: impl AsFd, birth: Birth) -> Result<Self, Problem> {
        let on = |name: &str| {
            let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            openat(stage.as_fd(), name, flags, Mode::empty()).map_err(failed("open the stage"))
        };
        make(on, birth)
    }

    /// Moves them onto the directories that the root has for them.
    pub(super) fn attach(&self, root: impl AsFd) -> Result<(), Problem> {
        for (name, mount) in &self.0 {
            let target = find(root.as_fd(), Path::new(name), Links::Refused)
                .map_err(|error| Problem::Refused(format!("find /{name} in the root: {error}")))?;
            attach(mount, target).map_err(failed(format!("mount /{name}")))?;
        }
        Ok(())
    }
}

fn make(on: impl Fn(&str) -> Result<OwnedFd, Problem>, birth: Birth) -> Result<Devices, Problem> {
    let without = birth.without;
    let of_host = without.has(Defence::OwnDevices);
    let dev = if of_host {
        holes::host_dev()?
    } else {
        devices(birth)?
    };
    attach(&dev, on("dev")?).map_err(failed("mount /dev"))?;
    if !of_host {
        terminals_and_memory(&dev, birth.id_base)?;
    }
    let flags = PLAIN.union(MountAttrFlags::MOUNT_ATTR_NOEXEC);
    let proc = new_mount("proc", &[], flags)?;
    attach(&proc, on("proc")?).map_err(failed("mount /proc"))?;
    let empty = new_mount(
        "tmpfs",
        &[("size", "4k"), ("nr_inodes", "2"), ("mode", "755")],
        flags,
    )?;
    sys::set_mount(
        &empty,
        MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into(),
        None,
    )
    .map_err(failed("make an empty directory read-only"))?;
    if !without.has(Defence::CoveredProc) {
        protect(&proc, &dev, &empty)?;
    }
    let sys = if without.has(Defence::EmptySys) {
        holes::host_sys()?
    } else {
        empty
    };
    attach(&sys, on("sys")?).map_err(failed("mount /sys"))?;
    Ok(Devices([("dev", dev), ("proc", proc), ("sys", sys)]))
}

fn devices(birth: Birth) -> Result<OwnedFd, Problem> {
    let id_base = birth.id_base;
    let id = id_base.to_string();
    let options = [
        ("size", "1m"),
        ("nr_inodes", "256"),
        ("mode", "755"),
        ("uid", &id),
        ("gid", &id),
    ];
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NOEXEC);
    let dev = new_mount("tmpfs", &options, flags)?;
    let mode = Mode::from_raw_mode(0o666);
    for (name, major, minor) in DEVICES {
        if birth.rootless {
            borrow(&dev, name)?;
            continue;
        }
        let number = makedev(major, minor);
        mknodat(&dev, name, FileType::CharacterDevice, mode, number)
            .and_then(|()| chmodat(&dev, name, mode, rustix::fs::AtFlags::empty()))
            .and_then(|()| own(&dev, name, id_base))
            .map_err(failed(format!("make /dev/{name}")))?;
    }
    for (name, to) in LINKS {
        symlinkat(to, &dev, name).map_err(failed(format!("make /dev/{name}")))?;
    }
    for name in ["pts", "shm"] {
        mkdirat(&dev, name, Mode::from_raw_mode(0o755))
            .and_then(|()| own(&dev, name, id_base))
            .map_err(failed(format!("make /dev/{name}")))?;
    }
    Ok(dev)
}

/// Shows the host's own device: without root nobody makes one that works.
fn borrow(dev: &OwnedFd, name: &str) -> Result<(), Problem> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    openat(dev, name, flags, Mode::empty())
        .and_then(|_| find(dev, Path::new(name), Links::Refused))
        .and_then(|on| attach(clone_of(CWD, &Path::new("/dev").join(name))?, on))
        .map_err(failed(format!("show the host's /dev/{name}")))
}

/// Gives something to root of the job.
pub(super) fn own(dir: impl AsFd, name: &str, id_base: u32) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(id_base), Gid::from_raw(id_base));
    chownat(
        dir,
        name,
        Some(uid),
        Some(gid),
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )
}

fn terminals_and_memory(dev: &OwnedFd, id_base: u32) -> Result<(), Problem> {
    let at = |name: &str| {
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        openat(dev, name, flags, Mode::empty()).map_err(failed(format!("open /dev/{name}")))
    };
    let group = (id_base + TTY_GROUP).to_string();
    let options = [
        ("ptmxmode", "0666"),
        ("mode", "0620"),
        ("gid", group.as_str()),
        ("max", "64"),
    ];
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NOEXEC);
    let pts = new_mount("devpts", &options, flags)?;
    attach(&pts, at("pts")?).map_err(failed("mount /dev/pts"))?;
    let (size, id) = (SHM_BYTES.to_string(), id_base.to_string());
    let options = [
        ("size", size.as_str()),
        ("mode", "1777"),
        ("uid", &id),
        ("gid", &id),
    ];
    let shm = new_mount("tmpfs", &options, PLAIN)?;
    attach(&shm, at("shm")?).map_err(failed("mount /dev/shm"))
}

/// Covers what would tell about the host, and makes read-only what would change it.
fn protect(proc: &OwnedFd, dev: &OwnedFd, empty: &OwnedFd) -> Result<(), Problem> {
    for name in HIDDEN {
        let Ok(target) = find(proc, Path::new(name), Links::Refused) else {
            continue;
        };
        let is_dir = rustix::fs::fstat(&target)
            .map(|stat| FileType::from_raw_mode(stat.st_mode).is_dir())
            .map_err(failed(format!("look at /proc/{name}")))?;
        // Not a clone of one that is attached nowhere: letting go of that waits for all processors.
        let cover = match is_dir {
            true => clone_of_fd(empty),
            false => clone_of(dev, Path::new("null")),
        };
        cover
            .and_then(|cover| attach(cover, target))
            .map_err(failed(format!("hide /proc/{name}")))?;
    }
    for name in READ_ONLY {
        let Ok(target) = find(proc, Path::new(name), Links::Refused) else {
            continue;
        };
        let cover = clone_of_fd(&target).map_err(failed(format!("clone /proc/{name}")))?;
        sys::set_mount(
            &cover,
            MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into(),
            None,
        )
        .map_err(failed(format!("make /proc/{name} read-only")))?;
        attach(cover, target).map_err(failed(format!("protect /proc/{name}")))?;
    }
    Ok(())
}

//! The pretend host: what attempts take for the machine. A process in namespaces of its own, over a
//! copy-on-write view of the real root, with canaries; all of it goes when its first process ends.
//!
//! Owns the canaries. Never writes to the machine but for one control group, which is removed, and one
//! loop device, which lets go by itself.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::{
    fs::{CWD, FileType, Mode, makedev, mknodat},
    mount::{
        MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change,
        unmount,
    },
    process::{chdir, pivot_root},
};

use crate::{
    Failure,
    ground::{Ground, namespace},
    plant,
    raw::{self, Arg},
};

mod canaries;

/// What the canaries hold.
const TOKEN: &str = "caravan-canary-7f3a9c";
/// Name of the pretend host.
const HOSTNAME: &str = "pretend-host";
/// Where its parts are.
pub const STORE: &str = "/store";
const CANARY: &str = "/canary";
/// Open files that a job may have.
pub const FILES: u64 = 256;
/// Addresses that a donor's machine could have.
const ADDRESSES: [&str; 8] = [
    "169.254.169.254/32",
    "10.99.0.1/32",
    "172.16.99.1/32",
    "192.168.99.1/32",
    "100.64.99.1/32",
    "203.0.113.7/32",
    "fd00:ec2::254/128",
    "fd00:99::1/128",
];
/// Character devices of its `/dev`: name, major, minor.
const DEVICES: [(&str, u32, u32); 12] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
    ("kmsg", 1, 11),
    ("fuse", 10, 229),
    ("net/tun", 10, 200),
    ("kvm", 10, 232),
    ("loop-control", 10, 237),
    ("tty0", 4, 0),
];

/// The pretend host, from inside.
pub struct Host {
    /// What attempts are told.
    pub ground: Ground,
    canary: Child,
    group: Option<PathBuf>,
    /// They live as long as the host.
    _kept: Vec<File>,
}

/// Runs `inside` as the first process of a pretend host, and waits for its end. For a process with one
/// thread.
///
/// # Errors
/// If there can be no such host.
pub fn with_host(inside: impl FnOnce() -> Result<(), Failure>) -> Result<i32, Failure> {
    let spaces = libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS;
    raw::call(libc::SYS_unshare, &mut [Arg::N(spaces.into())])?;
    let Some(pid) = raw::fork()? else {
        // PR_SET_PDEATHSIG: if whoever waits is killed, all of it ends.
        let _ = raw::call(
            libc::SYS_prctl,
            &mut [Arg::N(1), Arg::N(libc::SIGKILL.into())],
        );
        let code = match inside() {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("corpus: failed to {error}");
                1
            }
        };
        raw::exit(code)
    };
    let mut status = [0; 4];
    raw::call(
        libc::SYS_wait4,
        &mut [Arg::N(pid.into()), Arg::W(&mut status)],
    )?;
    Ok(i32::from_ne_bytes(status) >> 8 & 0xff)
}

/// For `map_err`: names what was tried.
fn told<E: std::fmt::Display>(what: impl std::fmt::Display) -> impl FnOnce(E) -> Failure {
    move |error| format!("{what}: {error}").into()
}

impl Host {
    /// Builds the host round this process and plants the canaries. `attempts` is the program that runs
    /// inside of each place.
    ///
    /// # Errors
    /// What could not be made.
    pub fn build(attempts: &Path) -> Result<Self, Failure> {
        let program = fs::read(attempts).map_err(told(format!("read {}", attempts.display())))?;
        let libraries = libraries(attempts)?;
        enter_copy().map_err(told("make the pretend host's root"))?;
        rustix::system::sethostname(HOSTNAME.as_bytes())?;
        network()?;
        let mut ground = Ground::default();
        for (key, value) in [
            ("token", TOKEN),
            ("canary", "/canary/secret"),
            ("bind", "/mnt/bind"),
            ("hostname", HOSTNAME),
            ("store", STORE),
            ("abstract", "corpus-canary"),
            ("socket", "/tmp/corpus.sock"),
            ("queue", "corpus-queue"),
            ("memory", "corpus-memory"),
            ("shm", "4207849"),
            ("port", "7001"),
            ("n-abstract", "corpus-neighbour"),
            ("n-queue", "corpus-n-queue"),
            ("n-memory", "corpus-n-memory"),
            ("n-shm", "4207850"),
            ("n-port", "7002"),
        ] {
            ground.set(key, value);
        }
        ground.set("files", FILES);
        for kind in ["net", "uts", "ipc", "mnt", "pid", "user", "cgroup"] {
            ground.set(&format!("ns-{kind}"), namespace("self", kind));
        }
        let mut kept = Vec::new();
        kept.extend(canaries::disk(&mut ground)?);
        canaries::files(&mut ground, &program)?;
        kept.extend(canaries::terminal(&mut ground));
        canaries::keys(&mut ground);
        let group = group(&mut ground);
        base(&ground, &program, &libraries).map_err(told("make the base layer"))?;
        let canary = canary(&mut ground)?;
        Ok(Self {
            ground,
            canary,
            group,
            _kept: kept,
        })
    }

    /// Whether the host is as it was: its name, its canary, its first process's child.
    pub fn is_whole(&mut self) -> Result<(), Failure> {
        let name = fs::read_to_string("/proc/sys/kernel/hostname")?;
        let token = fs::read_to_string("/canary/secret")?;
        if name.trim() != HOSTNAME || token != TOKEN || self.canary.try_wait()?.is_some() {
            return Err("find the host as it was: something of it was changed".into());
        }
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.canary.kill();
        let _ = self.canary.wait();
        for key in ["memory", "n-memory"] {
            plant::forget_key(self.ground.get(key));
        }
        if let Some(group) = &self.group {
            // Empty since all who joined it have ended.
            let _ = fs::remove_dir(group);
        }
    }
}

/// The libraries that a program names, by path.
fn libraries(program: &Path) -> Result<Vec<PathBuf>, Failure> {
    let listed = Command::new("ldd")
        .arg(program)
        .output()
        .map_err(told("run ldd"))?;
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    Ok(text
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect())
}

/// A view of the real root whose changes stay in memory, with fresh `/proc`, `/sys`, `/dev`, `/tmp`.
fn enter_copy() -> Result<(), Failure> {
    let none = MountFlags::empty();
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    let at = "/mnt";
    mount("tmpfs", at, "tmpfs", none, c"mode=755")?;
    for dir in ["upper", "work", "root"] {
        fs::create_dir(Path::new(at).join(dir))?;
    }
    mount(
        "overlay",
        "/mnt/root",
        "overlay",
        none,
        c"lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work",
    )
    .map_err(told("lay a view over the root"))?;
    let root = Path::new("/mnt/root");
    for dir in ["proc", "sys", "dev", "tmp", "run", "store", "canary", "mnt"] {
        fs::create_dir_all(root.join(dir))?;
    }
    mount("proc", root.join("proc"), "proc", none, None)?;
    mount("sysfs", root.join("sys"), "sysfs", none, None)?;
    if Path::new("/sys/fs/cgroup").is_dir() {
        mount_bind_recursive("/sys/fs/cgroup", root.join("sys/fs/cgroup"))?;
    }
    for (dir, options) in [
        ("dev", c"mode=755"),
        ("tmp", c"mode=1777"),
        ("run", c"mode=755"),
        ("store", c"mode=700"),
        ("canary", c"mode=755"),
    ] {
        mount("tmpfs", root.join(dir), "tmpfs", none, options)?;
    }
    devices(&root.join("dev"))?;
    chdir(root)?;
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    Ok(chdir("/")?)
}

/// The usual devices, and those that no job should have.
fn devices(dev: &Path) -> Result<(), Failure> {
    let none = MountFlags::empty();
    for dir in ["pts", "shm", "mqueue", "net"] {
        fs::create_dir(dev.join(dir))?;
    }
    mount(
        "devpts",
        dev.join("pts"),
        "devpts",
        none,
        c"newinstance,ptmxmode=0666,mode=620",
    )?;
    mount("tmpfs", dev.join("shm"), "tmpfs", none, c"mode=1777")?;
    mount("mqueue", dev.join("mqueue"), "mqueue", none, None)?;
    for (name, major, minor) in DEVICES {
        let path = dev.join(name);
        mknodat(
            CWD,
            &path,
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            makedev(major, minor),
        )?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    }
    for (name, to) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
    ] {
        symlink(to, dev.join(name))?;
    }
    Ok(())
}

fn network() -> Result<(), Failure> {
    let ip = |args: &[&str]| -> Result<(), Failure> {
        let done = Command::new("ip")
            .args(args)
            .output()
            .map_err(told("run ip"))?;
        match done.status.success() {
            true => Ok(()),
            false => {
                Err(format!("run ip {args:?}: {}", String::from_utf8_lossy(&done.stderr)).into())
            }
        }
    };
    ip(&["link", "set", "lo", "up"])?;
    for address in ADDRESSES {
        ip(&["address", "add", address, "dev", "lo"])?;
    }
    ip(&["route", "add", "224.0.0.0/4", "dev", "lo"])
}

/// A control group that is nobody's.
fn group(ground: &mut Ground) -> Option<PathBuf> {
    let name = format!(
        "corpus-canary-{}",
        fs::read_link("/proc/self/ns/pid").ok()?.display()
    );
    let name: String = name
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .collect();
    for place in ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"] {
        let dir = Path::new(place).join(&name);
        if fs::create_dir(&dir).is_ok() {
            if dir.join("pids.max").exists() {
                ground.set("group", dir.display());
                ground.set("group-name", &name);
                return Some(dir);
            }
            let _ = fs::remove_dir(&dir);
        }
    }
    None
}

/// The one layer of every place: the program, what it needs, and what a hostile image could bring.
fn base(ground: &Ground, program: &[u8], libraries: &[PathBuf]) -> Result<(), Failure> {
    let base = Path::new(STORE).join("base");
    for dir in [
        "bin", "etc", "tmp", "var/tmp", "proc", "sys", "dev", "run", "mnt/bind", "root",
    ] {
        fs::create_dir_all(base.join(dir))?;
    }
    for dir in ["tmp", "var/tmp"] {
        fs::set_permissions(base.join(dir), fs::Permissions::from_mode(0o1777))?;
    }
    for (name, mode) in [("attempts", 0o755), ("setuid", 0o4755), ("capable", 0o755)] {
        let path = base.join("bin").join(name);
        fs::write(&path, program)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    let capable = std::ffi::CString::new(format!("{STORE}/base/bin/capable"))?;
    let words = [0x0200_0001_u32, 1 << 21, 0, 0, 0];
    let value: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let _ = raw::call(
        libc::SYS_setxattr,
        &mut [
            Arg::S(&capable),
            Arg::S(c"security.capability"),
            Arg::R(&value),
            Arg::N(20),
            Arg::N(0),
        ],
    );
    for library in libraries {
        let to = base.join(library.strip_prefix("/")?);
        fs::create_dir_all(to.parent().ok_or("find a library's directory")?)?;
        fs::copy(library, to)?;
    }
    if !ground.get("disk").is_empty() {
        canaries::device(&format!("{STORE}/base/etc/layer-disk"), ground)?;
    }
    Ok(())
}

/// The canary process: root of the host, with the token in its memory, environment and arguments.
fn canary(ground: &mut Ground) -> Result<Child, Failure> {
    let mut canary = Command::new("/store/base/bin/attempts")
        .args(["canary", &ground.to_string()])
        .env_clear()
        .env("CANARY_TOKEN", TOKEN)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(told("start the canary process"))?;
    let out = canary.stdout.take().ok_or("hear the canary process")?;
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line)?;
    for word in line.split_whitespace() {
        if let Some((key, value)) = word.split_once('=') {
            ground.set(key, value);
        }
    }
    ground.set("pid", canary.id());
    Ok(canary)
}

//! What this host can do, told before the first job fails.
//!
//! Only looks, and asks the kernel; [`crate::trial`] runs a job. Never changes anything.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::{
    mount::{FsOpenFlags, fsopen},
    thread::{CapabilitySet, capabilities},
};
use thiserror::Error;

use crate::{
    cgroup::{Controller, Places, read_small},
    landlock::Landlock,
    rights::Rights,
    seccomp::{BLIND, Filter},
    sys,
};

/// First kernel whose overlay takes layers with mapped owners.
const KERNEL_MIN: (u32, u32) = (5, 19);
/// What the helper needs of root's rights.
const NEEDED: [(CapabilitySet, &str); 6] = [
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
    (CapabilitySet::SETUID, "CAP_SETUID"),
    (CapabilitySet::SETGID, "CAP_SETGID"),
    (CapabilitySet::CHOWN, "CAP_CHOWN"),
    (CapabilitySet::DAC_OVERRIDE, "CAP_DAC_OVERRIDE"),
    (CapabilitySet::MKNOD, "CAP_MKNOD"),
];

/// Why no job can run on this host, and what to do.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum Missing {
    /// Not root.
    #[error(
        "run jobs as user {0} outside of a user namespace: start the node with `caravan`, which makes one, or with sudo"
    )]
    Root(u32),
    /// Root of a container that has ids of its own.
    #[error(
        "run jobs as root of a container with users of its own: such a root is no more than its container; start the node as an ordinary user in it, who has subordinate ids, or outside of it"
    )]
    Contained,
    /// Root without one of root's rights, as in an unprivileged container.
    #[error(
        "run jobs without {0}: this root has no such right; run the node outside of the container, or give the container that capability"
    )]
    Capability(&'static str),
    /// User namespaces are off.
    #[error(
        "make a user namespace: the host has them off; set user.max_user_namespaces above 0 with sysctl"
    )]
    UserNamespaces,
    /// No overlay file system.
    #[error("mount an overlay: the kernel has none; load it with modprobe overlay")]
    Overlay,
    /// Too old a kernel for overlays with mapped owners.
    #[error("map the owners of layers: kernel {0} is too old; 5.19 is the first that can")]
    Kernel(String),
    /// No system call filter.
    #[error(
        "filter system calls: {0}; run a kernel with CONFIG_SECCOMP_FILTER, outside of whatever forbids its use"
    )]
    Seccomp(String),
    /// A processor on which a filter cannot do what it must.
    #[error(
        "filter system calls: {0}; a node of another processor can run jobs, this one can ask for them"
    )]
    Processor(&'static str),
    /// Everything seems to be there, and a job does not run.
    #[error("run a trial job in {dir}: {what}")]
    Trial {
        /// What went wrong.
        what: String,
        /// Where its layers were.
        dir: PathBuf,
    },
}

/// What the host can bound, for a node that can run jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abilities {
    /// `v1`, `v2`, `hybrid` or `none`.
    pub cgroups: &'static str,
    /// Whether memory is bounded for a job as a whole; else only for each of its processes.
    pub memory_limit: bool,
    /// Whether what a job has in swap is bounded with its memory; also where the host has no swap.
    pub swap_limit: bool,
    /// Whether processes are counted per job; else per user of the job.
    pub pids_limit: bool,
    /// Whether processor time per time can be bounded at all.
    pub cpu_limit: bool,
    /// Whether processor time is counted for a job as a whole.
    pub cpu_count: bool,
    /// The version of the kernel's Landlock; 0 where there is none that is of use.
    pub landlock: u32,
    /// Whether the node is an ordinary user's: then all its jobs have the same ids on the host, and
    /// roots are mounted from their layers alone.
    pub rootless: bool,
}

/// Looks at the host.
///
/// # Errors
/// The first thing without which no job can run.
pub fn probe() -> Result<Abilities, Missing> {
    probe_at(Path::new("/"))
}

/// Looks at a host whose `/proc` is below `root`, for tests.
fn probe_at(root: &Path) -> Result<Abilities, Missing> {
    let rights = Rights::own();
    match rights {
        Rights::Root | Rights::Rootless => {}
        Rights::Contained => return Err(Missing::Contained),
        Rights::User(user) => return Err(Missing::Root(user)),
    }
    let own = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    if let Some((_, name)) = NEEDED.iter().find(|(right, _)| !own.contains(*right)) {
        return Err(Missing::Capability(name));
    }
    kernel(root)?;
    let places = Places::find();
    Ok(Abilities {
        cgroups: places.flavour(),
        memory_limit: places.has(Controller::Memory),
        swap_limit: places.counts_swap() || !has_swap(root),
        pids_limit: places.has(Controller::Pids),
        cpu_limit: places.has(Controller::Cpu),
        cpu_count: places.has(Controller::CpuAcct),
        landlock: Landlock::find().version(),
        rootless: rights == Rights::Rootless,
    })
}

/// Whether the host has swap now: a line below the heading.
fn has_swap(root: &Path) -> bool {
    match read_small(&root.join("proc/swaps")) {
        Ok(text) => text.lines().count() > 1,
        // A kernel without swap has no such file.
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// What the kernel must have.
fn kernel(root: &Path) -> Result<(), Missing> {
    let read = |path: &str| read_small(&root.join(path)).unwrap_or_default();
    let namespaces = read("proc/sys/user/max_user_namespaces");
    let namespaces: u64 = namespaces.trim().parse().unwrap_or(0);
    if namespaces == 0 || fs::symlink_metadata(root.join("proc/self/ns/user")).is_err() {
        return Err(Missing::UserNamespaces);
    }
    let release = read("proc/sys/kernel/osrelease");
    if version_of(&release).is_none_or(|version| version < KERNEL_MIN) {
        return Err(Missing::Kernel(release.trim().to_owned()));
    }
    let named = read("proc/filesystems");
    let named = named
        .lines()
        .any(|line| line.trim_end().ends_with("\toverlay"));
    // A module that nobody has needed yet is loaded by the question.
    let asked = || root == Path::new("/") && fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).is_ok();
    if !named && !asked() {
        return Err(Missing::Overlay);
    }
    Filter::compile().map_err(|error| Missing::Seccomp(error.to_string()))?;
    if let Some(why) = BLIND {
        return Err(Missing::Processor(why));
    }
    if fs::metadata(root.join("proc/sys/kernel/seccomp/actions_avail")).is_err() {
        return Err(Missing::Seccomp("the kernel has no seccomp".to_owned()));
    }
    sys::filters_are_taken().map_err(|error| {
        Missing::Seccomp(format!(
            "the kernel does not answer for this process: {error}"
        ))
    })
}

/// Major and minor number of a kernel's release.
fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(['.', '-', '+']);
    Some((
        parts.next()?.trim().parse().ok()?,
        parts.next()?.trim().parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_compared_by_numbers() {
        assert_eq!(version_of("6.18.44-cloud\n"), Some((6, 18)));
        assert_eq!(version_of("5.4"), Some((5, 4)));
        assert!((5, 4) < KERNEL_MIN && (5, 19) >= KERNEL_MIN && (6, 1) > KERNEL_MIN);
        assert_eq!(version_of("strange"), None);
    }

    #[test]
    fn swap_is_there_where_a_line_follows_the_heading() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!has_swap(dir.path()));
        let path = dir.path().join("proc/swaps");
        fs::create_dir(dir.path().join("proc")).unwrap();
        let heading = "Filename\tType\tSize\tUsed\tPriority\n";
        fs::write(&path, heading).unwrap();
        assert!(!has_swap(dir.path()));
        fs::write(&path, format!("{heading}/dev/sda2 partition 1 0 -2\n")).unwrap();
        assert!(has_swap(dir.path()));
        // Nobody knows: taken as if it were there.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(has_swap(dir.path()));
    }

    /// A host's `/proc` as far as it is looked at, with one file changed.
    fn host(file: &str, text: Option<&str>) -> Result<(), Missing> {
        let dir = tempfile::tempdir().unwrap();
        let usual = [
            ("proc/sys/user/max_user_namespaces", "100\n"),
            ("proc/self/ns/user", ""),
            ("proc/sys/kernel/osrelease", "6.1.0-amd64\n"),
            ("proc/filesystems", "nodev\ttmpfs\nnodev\toverlay\n\text4\n"),
            ("proc/sys/kernel/seccomp/actions_avail", "errno allow\n"),
        ];
        assert!(file.is_empty() || usual.iter().any(|(name, _)| *name == file));
        for (name, content) in usual {
            let content = if name == file { text } else { Some(content) };
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if let Some(content) = content {
                fs::write(path, content).unwrap();
            }
        }
        kernel(dir.path())
    }

    #[test]
    fn each_thing_that_a_kernel_lacks_is_told_alone() {
        assert_eq!(host("", None), Ok(()));
        let namespaces = "proc/sys/user/max_user_namespaces";
        for text in [None, Some("0\n"), Some("many")] {
            assert_eq!(host(namespaces, text), Err(Missing::UserNamespaces));
        }
        assert_eq!(
            host("proc/self/ns/user", None),
            Err(Missing::UserNamespaces)
        );
        let old = host("proc/sys/kernel/osrelease", Some("5.10.0-28\n"));
        assert_eq!(old, Err(Missing::Kernel("5.10.0-28".to_owned())));
        for text in [None, Some("nodev\ttmpfs\n"), Some("nodev\toverlayfs2\n")] {
            assert_eq!(host("proc/filesystems", text), Err(Missing::Overlay));
        }
        let without = host("proc/sys/kernel/seccomp/actions_avail", None);
        assert!(matches!(without, Err(Missing::Seccomp(_))), "{without:?}");
    }

    #[test]
    fn every_reason_says_what_to_do() {
        let told = Missing::Root(1000).to_string();
        assert!(told.contains("1000") && told.contains("sudo"), "{told}");
        let told = Missing::Contained.to_string();
        assert!(told.contains("ordinary user"), "{told}");
    }
}

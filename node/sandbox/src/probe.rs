//! What this host can do, told before the first job fails.
//!
//! Only looks at files; the first job is the real trial.

use std::{fs, path::Path};

use rustix::thread::{CapabilitySet, capabilities};
use thiserror::Error;

use crate::{
    cgroup::{Controller, Places, read_small},
    seccomp::Filters,
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
        "run jobs as user {0}: the sandbox needs root for now; start the node with sudo (rootless comes later)"
    )]
    Root(u32),
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
    #[error("filter system calls: {0}")]
    Seccomp(String),
}

/// What the host can bound, for a node that can run jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abilities {
    /// `v1`, `v2`, `hybrid` or `none`.
    pub cgroups: &'static str,
    /// Whether memory is bounded for a job as a whole; else only for each of its processes.
    pub memory_limit: bool,
    /// Whether processes are counted per job; else per user of the job.
    pub pids_limit: bool,
    /// Whether processor time can be bounded at all.
    pub cpu_limit: bool,
}

/// Looks at the host.
///
/// # Errors
/// The first thing without which no job can run.
pub fn probe() -> Result<Abilities, Missing> {
    let user = rustix::process::geteuid();
    if !user.is_root() {
        return Err(Missing::Root(user.as_raw()));
    }
    let own = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    if let Some((_, name)) = NEEDED.iter().find(|(right, _)| !own.contains(*right)) {
        return Err(Missing::Capability(name));
    }
    let read = |path: &str| read_small(Path::new(path)).unwrap_or_default();
    let namespaces: u64 = read("/proc/sys/user/max_user_namespaces")
        .trim()
        .parse()
        .unwrap_or(0);
    if namespaces == 0 || fs::symlink_metadata("/proc/self/ns/user").is_err() {
        return Err(Missing::UserNamespaces);
    }
    let release = read("/proc/sys/kernel/osrelease");
    if version_of(&release).is_none_or(|version| version < KERNEL_MIN) {
        return Err(Missing::Kernel(release.trim().to_owned()));
    }
    if !read("/proc/filesystems")
        .lines()
        .any(|line| line.trim_end().ends_with("\toverlay"))
    {
        return Err(Missing::Overlay);
    }
    Filters::compile().map_err(|error| Missing::Seccomp(error.to_string()))?;
    if fs::metadata("/proc/sys/kernel/seccomp/actions_avail").is_err() {
        return Err(Missing::Seccomp("the kernel has no seccomp".to_owned()));
    }
    let places = Places::find();
    Ok(Abilities {
        cgroups: places.flavour(),
        memory_limit: places.has(Controller::Memory),
        pids_limit: places.has(Controller::Pids),
        cpu_limit: places.has(Controller::Cpu),
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
    fn every_reason_says_what_to_do() {
        let told = Missing::Root(1000).to_string();
        assert!(told.contains("1000") && told.contains("sudo"), "{told}");
    }
}

//! What a job may do: users, capabilities, system calls, process limits.
//!
//! After [`drop_for_good`] nothing that comes from init can get back what it gave up.

use std::{io, os::fd::BorrowedFd};

use rustix::{
    fs::{Gid, Uid},
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{
        CapabilitySet, CapabilitySets, LinkNameSpaceType, clear_ambient_capability_set,
        move_into_link_name_space, remove_capability_from_bounding_set, set_capabilities,
        set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};

use super::{Bounds, Guards, Problem, failed};
use crate::{
    defences::Defence,
    spec::{Limits, Spec},
    sys,
};

/// What package managers and tar need as root of their own users: owners, modes, other users'
/// processes, users. Nothing of networks, devices, mounts, tracing or the kernel.
pub(crate) const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SYS_CHROOT);
/// Bytes of a core dump: too few for any. Not none, because a host that pipes dumps into a program
/// does so whatever the limit is, unless it is this one.
pub(crate) const CORE_BYTES: u64 = 1;
/// What a process needs little of, and what its user would share with the host's users where the
/// kernel counts by user: locked memory, message queues, waiting signals, priorities.
pub(crate) const SMALL: [(Resource, u64); 5] = [
    (Resource::Memlock, 64 << 20),
    (Resource::Msgqueue, 1 << 20),
    (Resource::Sigpending, 16_384),
    (Resource::Nice, 0),
    (Resource::Rtprio, 0),
];
/// Numbers of capabilities that a kernel may know of.
const CAPABILITY_BITS: u32 = 63;

/// Becomes root of the job's own users.
pub(super) fn enter(users: BorrowedFd<'_>) -> Result<(), Problem> {
    move_into_link_name_space(users, Some(LinkNameSpaceType::User))
        .map_err(failed("enter the user namespace"))?;
    set_thread_groups(&[]).map_err(failed("drop the groups"))?;
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).map_err(failed("change the group"))?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).map_err(failed("change the user"))
}

/// Gives up all capabilities but a few, all files but the job's, and most system calls.
pub(super) fn drop_for_good(spec: &Spec, guards: &Guards) -> Result<(), Problem> {
    let stays = |defence| !guards.without.has(defence);
    if stays(Defence::Capabilities) {
        forget_capabilities()?;
    }
    if !spec.setuid_inside {
        set_no_new_privs(true).map_err(failed("set no_new_privs"))?;
    }
    // Both before the capabilities go: with set-user-id programs allowed, they need one of them.
    if stays(Defence::Landlock) {
        let restricted = guards.landlock.restrict();
        restricted.map_err(failed("bind the job to its files"))?;
    }
    if stays(Defence::SystemCallFilter) {
        let installed = sys::install_filter(&guards.filter.0);
        installed.map_err(failed("install the system call filter"))?;
    }
    if stays(Defence::Capabilities) {
        keep_few_capabilities()?;
    }
    Ok(())
}

/// No program that is started gets more than a few of them.
fn forget_capabilities() -> Result<(), Problem> {
    for bit in 0..=CAPABILITY_BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        // EINVAL: the kernel knows no more of them.
        if !KEPT.contains(capability) && remove_capability_from_bounding_set(capability).is_err() {
            break;
        }
    }
    clear_ambient_capability_set().map_err(failed("clear the ambient capabilities"))
}

fn keep_few_capabilities() -> Result<(), Problem> {
    let inheritable = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: KEPT,
            permitted: KEPT,
            inheritable,
        },
    )
    .map_err(failed("drop the capabilities"))
}

/// Limits of one process, and stand-ins for control groups that the host does not have.
pub(super) fn bound_process(limits: &Limits, bounds: Bounds) -> io::Result<()> {
    if bounds.without.has(Defence::NoCoreDumps) {
        let maximum = getrlimit(Resource::Core).maximum;
        let current = maximum;
        setrlimit(Resource::Core, Rlimit { current, maximum })?;
    } else {
        lower(Resource::Core, CORE_BYTES)?;
    }
    if !bounds.without.has(Defence::ProcessLimits) {
        lower(Resource::Nofile, limits.nofile)?;
        // What several files take together is watched from outside; one alone never gets there.
        lower(Resource::Fsize, limits.disk_bytes)?;
        if let Some(cpu_ms) = limits.cpu_ms {
            // Of all processes together it is counted outside, where the host does count.
            lower(Resource::Cpu, cpu_ms.div_ceil(1_000) + 1)?;
        }
        for (resource, value) in SMALL {
            lower(resource, value)?;
        }
    }
    if bounds.unguarded.memory {
        lower(Resource::As, limits.memory_bytes)?;
    }
    if bounds.unguarded.pids {
        lower(Resource::Nproc, limits.pids)?;
    }
    Ok(())
}

/// For this process and all that come from it: what they have in memory never gets to a disk. Not
/// by a limit of 0, which does not stop a program that dumps are piped into.
pub fn never_dump() -> io::Result<()> {
    lower(Resource::Core, CORE_BYTES)
}

/// Hard limits are only ever lowered: raising one needs a capability that some hosts lack.
fn lower(resource: Resource, value: u64) -> io::Result<()> {
    let hard = getrlimit(resource)
        .maximum
        .map_or(value, |hard| hard.min(value));
    setrlimit(
        resource,
        Rlimit {
            current: Some(hard),
            maximum: Some(hard),
        },
    )?;
    Ok(())
}

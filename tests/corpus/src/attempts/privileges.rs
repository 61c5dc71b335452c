//! Rights that a job gave up, or never had, and would have back.

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use crate::{
    attempt::{Attempt, Tried, attempt, no_effect},
    ground::Ground,
    raw::{self, Arg},
};

/// A user of the host that no job has.
const FOREIGN: i64 = 70_000;
/// `PR_CAP_AMBIENT`, `PR_CAPBSET_READ`, `PR_SET_MM`.
const AMBIENT: i64 = 47;
const BOUNDING_READ: i64 = 23;
const SET_MM: i64 = 35;
/// `CAP_SYS_ADMIN`.
const ADMIN: i64 = 21;

pub(super) const ATTEMPTS: &[Attempt] = &[
    attempt(
        "right.raise",
        "capset(2)",
        "raise the rights to administer, to trace and to change networks",
        |_| {
            let all =
                CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_PTRACE | CapabilitySet::NET_ADMIN;
            set_capabilities(
                None,
                CapabilitySets {
                    effective: all,
                    permitted: all,
                    inheritable: all,
                },
            )?;
            Ok("they were raised".to_owned())
        },
    ),
    attempt(
        "right.administer",
        "docker --privileged",
        "have the right to administer the system",
        |_| has(CapabilitySet::SYS_ADMIN),
    ),
    attempt(
        "right.trace",
        "container escapes by ptrace",
        "have the right to trace others",
        |_| has(CapabilitySet::SYS_PTRACE),
    ),
    attempt(
        "right.network",
        "CVE-2020-14386 (needs CAP_NET_RAW)",
        "have the right to raw packets",
        |_| has(CapabilitySet::NET_RAW),
    ),
    attempt(
        "right.network-admin",
        "CVE-2022-25636 and others in netfilter",
        "have the right to change networks",
        |_| has(CapabilitySet::NET_ADMIN),
    ),
    attempt(
        "right.make-device",
        "CAP_MKNOD of docker's default set",
        "have the right to make device files",
        |_| has(CapabilitySet::MKNOD),
    ),
    attempt(
        "right.search",
        "shocker (docker, 2014)",
        "have the right to read and search past permissions by handle",
        |_| has(CapabilitySet::DAC_READ_SEARCH),
    ),
    attempt(
        "right.file-rights",
        "CAP_SETFCAP of docker's default set",
        "have the right to give programs rights",
        |_| has(CapabilitySet::SETFCAP),
    ),
    attempt(
        "right.raw-io",
        "CAP_SYS_RAWIO",
        "have the right to the machine's ports and memory",
        |_| has(CapabilitySet::SYS_RAWIO),
    ),
    attempt(
        "right.module",
        "CAP_SYS_MODULE",
        "have the right to load kernel modules",
        |_| has(CapabilitySet::SYS_MODULE),
    ),
    attempt(
        "right.bounding",
        "capabilities(7)",
        "find a right left that a program could bring back",
        |_| match raw::call(libc::SYS_prctl, &mut [Arg::N(BOUNDING_READ), Arg::N(ADMIN)])? {
            1 => Ok("it is within the bound".to_owned()),
            _ => Err(no_effect("it is beyond the bound")),
        },
    ),
    attempt(
        "right.ambient",
        "capabilities(7)",
        "hand a right on to every program",
        |_| {
            let own = capabilities(None)?;
            set_capabilities(
                None,
                CapabilitySets {
                    inheritable: own.permitted,
                    ..own
                },
            )?;
            raw::call(
                libc::SYS_prctl,
                &mut [
                    Arg::N(AMBIENT),
                    Arg::N(2),
                    Arg::N(ADMIN),
                    Arg::N(0),
                    Arg::N(0),
                ],
            )?;
            Ok("it is handed on".to_owned())
        },
    ),
    attempt(
        "right.foreign-user",
        "user_namespaces(7)",
        "become another user of the host",
        |_| {
            raw::call(
                libc::SYS_setresuid,
                &mut [Arg::N(FOREIGN), Arg::N(FOREIGN), Arg::N(FOREIGN)],
            )?;
            Ok(format!("it is user {FOREIGN} of the host"))
        },
    ),
    attempt(
        "right.foreign-group",
        "CVE-2018-7169, CVE-2022-36109 class",
        "join a group of the host",
        |_| {
            let group = u32::try_from(FOREIGN).unwrap_or(0).to_ne_bytes();
            raw::call(libc::SYS_setgroups, &mut [Arg::N(1), Arg::R(&group)])?;
            Ok(format!("it is in group {FOREIGN} of the host"))
        },
    ),
    attempt(
        "right.host-root",
        "containers without user namespaces",
        "be root of the host",
        |g: &Ground| {
            let map = std::fs::read_to_string("/proc/self/uid_map")?;
            let outside = map.split_whitespace().nth(1).unwrap_or("");
            match outside == "0" && g.is_host_namespace("user") {
                true => Ok("user 0 inside is user 0 of the host".to_owned()),
                false => Err(no_effect(format!(
                    "user 0 inside is user {outside} outside"
                ))),
            }
        },
    ),
    attempt(
        "right.set-mm",
        "prctl(2)",
        "replace the file that it is said to run",
        |_| {
            let own = std::fs::File::open("/proc/self/exe")?;
            let fd = i64::from(std::os::fd::AsRawFd::as_raw_fd(&own));
            match raw::call(
                libc::SYS_prctl,
                &mut [Arg::N(SET_MM), Arg::N(13), Arg::N(fd), Arg::N(0), Arg::N(0)],
            ) {
                // Past the right: its own program is still mapped.
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                    Ok("past the check".to_owned())
                }
                other => Ok(format!("it returned {}", other?)),
            }
        },
    ),
];

fn has(right: CapabilitySet) -> Tried {
    let own = capabilities(None)?;
    match own.effective.contains(right) {
        true => Ok("it has it".to_owned()),
        false => Err(no_effect("it has it not")),
    }
}

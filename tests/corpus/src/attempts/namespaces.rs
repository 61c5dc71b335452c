//! Namespaces: new ones bring rights over the kernel's less tried parts, the host's bring the host.

use std::{fs, fs::File, os::fd::AsRawFd as _};

use super::tools::{c, processes, strangers};
use crate::{
    attempt::{Attempt, Stop, Tried, attempt, no_effect},
    ground::Ground,
    raw::{self, Arg},
};

pub(super) const ATTEMPTS: &[Attempt] = &[
    attempt(
        "namespace.user",
        "CVE-2022-0185, CVE-2023-32233 and most others of the kind",
        "make a user namespace and be all-powerful in it",
        |_| unshare(libc::CLONE_NEWUSER),
    ),
    attempt(
        "namespace.mount",
        "unshare(2)",
        "make a mount namespace",
        |_| unshare(libc::CLONE_NEWNS),
    ),
    attempt(
        "namespace.network",
        "CVE-2023-32233",
        "make a network namespace, in which packet filters can be set",
        |_| unshare(libc::CLONE_NEWNET),
    ),
    attempt(
        "namespace.process",
        "unshare(2)",
        "make a namespace of processes",
        |_| unshare(libc::CLONE_NEWPID),
    ),
    attempt(
        "namespace.ipc",
        "unshare(2)",
        "make a namespace of queues and shared memory",
        |_| unshare(libc::CLONE_NEWIPC),
    ),
    attempt(
        "namespace.host-name",
        "unshare(2)",
        "make a namespace of host names",
        |_| unshare(libc::CLONE_NEWUTS),
    ),
    attempt(
        "namespace.cgroup",
        "CVE-2022-0492",
        "make a namespace of control groups",
        |_| unshare(libc::CLONE_NEWCGROUP),
    ),
    attempt(
        "namespace.time",
        "unshare(2)",
        "make a namespace of clocks",
        |_| unshare(libc::CLONE_NEWTIME),
    ),
    attempt(
        "namespace.clone",
        "CVE-2022-0185",
        "make a user namespace with a new process",
        cloned,
    ),
    attempt(
        "namespace.clone3",
        "filters that cannot see through a pointer",
        "the same by the newer call, whose flags a filter cannot read",
        cloned_anew,
    ),
    attempt(
        "namespace.nested-mount",
        "CVE-2023-0386, CVE-2022-0185",
        "make a user namespace and mount in it",
        nested_mount,
    ),
    attempt(
        "namespace.nested-map",
        "user_namespaces(7)",
        "map all ids of its own in a new user namespace",
        nested_map,
    ),
    attempt(
        "namespace.enter-host",
        "nsenter",
        "enter a namespace of the canary process",
        enter,
    ),
    attempt(
        "namespace.enter-init",
        "nsenter",
        "enter the namespaces of process 1",
        enter_init,
    ),
    attempt(
        "namespace.enter-pidfd",
        "setns(2) by a process descriptor",
        "enter all namespaces of the canary process at once",
        enter_pidfd,
    ),
    attempt(
        "namespace.bind",
        "docker CVE-2018-15664 class",
        "open a namespace of another process to keep it",
        keep,
    ),
    attempt(
        "namespace.host-name-set",
        "shared UTS namespace",
        "change the host's name",
        |g| set_name(g, libc::SYS_sethostname, "hostname"),
    ),
    attempt(
        "namespace.domain-set",
        "shared UTS namespace",
        "change the host's domain name",
        |g| set_name(g, libc::SYS_setdomainname, "domainname"),
    ),
    attempt(
        "namespace.host-name-read",
        "names of the host",
        "learn the host's name",
        |g| {
            let name = fs::read_to_string("/proc/sys/kernel/hostname")?;
            match name.trim() == g.get("hostname") && g.is_host_namespace("uts") {
                true => Ok(format!("it is {}", name.trim())),
                false => Err(no_effect("it has a name of its own")),
            }
        },
    ),
    attempt(
        "namespace.outlive",
        "jobs that leave processes",
        "leave a process behind that nobody ends",
        outlive,
    ),
];

fn unshare(flag: i32) -> Tried {
    raw::call(libc::SYS_unshare, &mut [Arg::N(flag.into())])?;
    Ok("it has one".to_owned())
}

fn cloned(_: &Ground) -> Tried {
    let flags = i64::from(libc::CLONE_NEWUSER | libc::SIGCHLD);
    match raw::call(libc::SYS_clone, &mut [Arg::N(flags)])? {
        0 => raw::exit(0),
        _ => Ok("a process with one was made".to_owned()),
    }
}

fn cloned_anew(_: &Ground) -> Tried {
    // flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls
    let mut words = [0_u64; 8];
    words[0] = u64::try_from(libc::CLONE_NEWUSER).unwrap_or(0);
    words[4] = u64::try_from(libc::SIGCHLD).unwrap_or(0);
    let args: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    match raw::call(libc::SYS_clone3, &mut [Arg::R(&args), Arg::N(64)])? {
        0 => raw::exit(0),
        _ => Ok("a process with one was made".to_owned()),
    }
}

fn nested_mount(_: &Ground) -> Tried {
    let flags = i64::from(libc::CLONE_NEWUSER | libc::CLONE_NEWNS);
    raw::call(libc::SYS_unshare, &mut [Arg::N(flags)])?;
    super::tools::mount("tmpfs", "/tmp", "tmpfs", 0, "")?;
    Ok("it mounted in one".to_owned())
}

fn nested_map(_: &Ground) -> Tried {
    raw::call(libc::SYS_unshare, &mut [Arg::N(libc::CLONE_NEWUSER.into())])?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", "0 0 1\n")?;
    Ok("it is root in one".to_owned())
}

fn enter(ground: &Ground) -> Tried {
    let pid = super::tools::visible_canary(ground)?;
    enter_each(ground, &pid.to_string())
}

fn enter_init(ground: &Ground) -> Tried {
    if ground.is_host_namespace("pid") || !strangers(ground).contains(&1) {
        return enter_each(ground, "1");
    }
    // Process 1 of a namespace of its own is the sandbox's init, or the command itself.
    enter_each(ground, "1")
}

fn enter_each(ground: &Ground, pid: &str) -> Tried {
    let mut last = Err(no_effect("it is in all of them already"));
    for kind in ["net", "uts", "ipc", "mnt", "user", "cgroup"] {
        let theirs = crate::ground::namespace(pid, kind);
        if theirs == crate::ground::namespace("self", kind) && !ground.is_host_namespace(kind) {
            continue;
        }
        last = (|| -> Tried {
            let file = File::open(format!("/proc/{pid}/ns/{kind}"))?;
            raw::call(
                libc::SYS_setns,
                &mut [Arg::N(file.as_raw_fd().into()), Arg::N(0)],
            )?;
            Ok(format!("the {kind} namespace of process {pid} was entered"))
        })();
        if last.is_ok() {
            return last;
        }
    }
    last
}

fn enter_pidfd(ground: &Ground) -> Tried {
    let pid = super::tools::visible_canary(ground)?;
    let fd = raw::own(raw::call(
        libc::SYS_pidfd_open,
        &mut [Arg::N(pid.into()), Arg::N(0)],
    )?);
    let all = i64::from(libc::CLONE_NEWNET | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC);
    raw::call(
        libc::SYS_setns,
        &mut [Arg::N(fd.as_raw_fd().into()), Arg::N(all)],
    )?;
    Ok("they were entered".to_owned())
}

fn keep(ground: &Ground) -> Tried {
    let pid = super::tools::visible_canary(ground)?;
    File::open(format!("/proc/{pid}/ns/mnt"))?;
    Ok("it was opened".to_owned())
}

fn set_name(ground: &Ground, number: i64, file: &str) -> Tried {
    let path = format!("/proc/sys/kernel/{file}");
    let old = fs::read_to_string(&path)?;
    let set = |name: &str| {
        let length = i64::try_from(name.len()).unwrap_or(0);
        raw::call(number, &mut [Arg::S(&c(name)), Arg::N(length)])
    };
    set("corpus-was-here")?;
    set(old.trim())?;
    match ground.is_host_namespace("uts") {
        true => Ok("the host's was changed, and changed back".to_owned()),
        false => Err(no_effect("it is the job's own")),
    }
}

/// Through if the process that would adopt it is the host's first.
fn outlive(ground: &Ground) -> Tried {
    match ground.is_host_namespace("pid") {
        true => Ok("its orphans are the host's".to_owned()),
        false => {
            let seen = processes().len();
            Err(Stop::NoEffect(format!(
                "they die with the first of its {seen} processes"
            )))
        }
    }
}

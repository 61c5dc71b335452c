//! Power over processes that are not the job's: to look into them, to stop them, to slow them.

use std::os::fd::AsRawFd as _;

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use super::tools::{found_token, visible_canary};
use crate::{
    attempt::{Attempt, Stop, Tried, attempt, no_effect},
    ground::Ground,
    raw::{self, Arg},
};

pub(super) const ATTEMPTS: &[Attempt] = &[
    attempt(
        "trace.attach",
        "ptrace(2)",
        "attach to the canary process",
        |g| ptrace(libc::PTRACE_ATTACH.into(), pid(g)?),
    ),
    attempt(
        "trace.seize",
        "ptrace(2)",
        "seize the canary process without stopping it",
        |g| ptrace(libc::PTRACE_SEIZE.into(), pid(g)?),
    ),
    attempt("trace.init", "ptrace(2)", "attach to process 1", |_| {
        if crate::ground::namespace("1", "pid").is_empty()
            || std::fs::read("/proc/1/cmdline")? == std::fs::read("/proc/self/cmdline")?
        {
            return Err(no_effect("process 1 is hidden, or the job's own"));
        }
        ptrace(libc::PTRACE_SEIZE.into(), 1)
    }),
    attempt(
        "trace.init-plain",
        "ptrace(2) access mode",
        "attach to the sandbox's init as its own user, without the right to trace others",
        init_as_its_user,
    ),
    attempt(
        "trace.child",
        "CVE-2019-2054: filters undone by a tracer",
        "trace a process of its own past the filter",
        own_child,
    ),
    attempt(
        "trace.read",
        "process_vm_readv(2)",
        "read a token from the canary's memory by a call",
        read_memory,
    ),
    attempt(
        "trace.write",
        "process_vm_writev(2)",
        "write to the canary's memory by a call",
        write_memory,
    ),
    attempt(
        "trace.descriptor",
        "pidfd_getfd(2)",
        "take a descriptor of the canary process",
        take_descriptor,
    ),
    attempt(
        "trace.compare",
        "kcmp(2)",
        "compare its descriptors with the canary's",
        |g| {
            raw::call(
                libc::SYS_kcmp,
                &mut [Arg::N(pid(g)?), Arg::N(pid(g)?), Arg::N(1)],
            )?;
            Ok("they were compared".to_owned())
        },
    ),
    attempt(
        "trace.profile",
        "perf_event_open(2)",
        "count what the canary process does",
        profile,
    ),
    attempt(
        "trace.move-pages",
        "move_pages(2), CVE-2017-14140",
        "learn where the canary's memory is",
        |g| {
            raw::call(libc::SYS_move_pages, &mut [Arg::N(pid(g)?), Arg::N(0)])?;
            Ok("the call was allowed".to_owned())
        },
    ),
    attempt(
        "trace.migrate",
        "migrate_pages(2)",
        "move the canary's memory",
        |g| {
            let nodes = 1_u64.to_ne_bytes();
            raw::call(
                libc::SYS_migrate_pages,
                &mut [Arg::N(pid(g)?), Arg::N(2), Arg::R(&nodes), Arg::R(&nodes)],
            )?;
            Ok("the call was allowed".to_owned())
        },
    ),
    attempt(
        "trace.robust-list",
        "CVE-2012-3552 class",
        "read an address of the canary process",
        |g| {
            let (mut head, mut length) = ([0; 8], [0; 8]);
            raw::call(
                libc::SYS_get_robust_list,
                &mut [Arg::N(pid(g)?), Arg::W(&mut head), Arg::W(&mut length)],
            )?;
            Ok("it was read".to_owned())
        },
    ),
    attempt(
        "signal.kill",
        "rootless BuildKit without its sandbox",
        "send the canary process a signal",
        |g| {
            raw::call(
                libc::SYS_kill,
                &mut [Arg::N(pid(g)?), Arg::N(libc::SIGCONT.into())],
            )?;
            Ok("it was sent".to_owned())
        },
    ),
    attempt(
        "signal.queue",
        "rt_sigqueueinfo(2)",
        "send the canary process a signal with a value",
        |g| {
            let mut info = vec![0_u8; 128];
            info[..4].copy_from_slice(&libc::SIGCONT.to_ne_bytes());
            info[8..12].copy_from_slice(&(-1_i32).to_ne_bytes());
            raw::call(
                libc::SYS_rt_sigqueueinfo,
                &mut [Arg::N(pid(g)?), Arg::N(libc::SIGCONT.into()), Arg::R(&info)],
            )?;
            Ok("it was sent".to_owned())
        },
    ),
    attempt(
        "signal.pidfd",
        "pidfd_send_signal(2)",
        "send the canary process a signal by a descriptor",
        |g| {
            let fd = raw::own(raw::call(
                libc::SYS_pidfd_open,
                &mut [Arg::N(pid(g)?), Arg::N(0)],
            )?);
            raw::call(
                libc::SYS_pidfd_send_signal,
                &mut [
                    Arg::N(fd.as_raw_fd().into()),
                    Arg::N(libc::SIGCONT.into()),
                    Arg::N(0),
                    Arg::N(0),
                ],
            )?;
            Ok("it was sent".to_owned())
        },
    ),
    attempt(
        "signal.blind",
        "kill(2) by guessed numbers",
        "send a signal to the canary's number without looking",
        |g| {
            // Where the number means another process, that one is the job's own and may have it.
            let canary = g.canary();
            raw::call(
                libc::SYS_kill,
                &mut [Arg::N(canary), Arg::N(libc::SIGCONT.into())],
            )?;
            visible_canary(g).map(|_| "it was sent".to_owned())
        },
    ),
    attempt(
        "process.limits",
        "prlimit(2)",
        "change a limit of the canary process",
        |g| {
            let mut old = [0; 16];
            raw::call(
                libc::SYS_prlimit64,
                &mut [
                    Arg::N(pid(g)?),
                    Arg::N(libc::RLIMIT_CORE.into()),
                    Arg::N(0),
                    Arg::W(&mut old),
                ],
            )?;
            Ok("its limits were reached".to_owned())
        },
    ),
    attempt(
        "process.affinity",
        "sched_setaffinity(2)",
        "bind the canary process to a processor",
        |g| {
            let mut mask = vec![0; 128];
            raw::call(
                libc::SYS_sched_getaffinity,
                &mut [Arg::N(pid(g)?), Arg::N(128), Arg::W(&mut mask)],
            )?;
            raw::call(
                libc::SYS_sched_setaffinity,
                &mut [Arg::N(pid(g)?), Arg::N(128), Arg::R(&mask)],
            )?;
            Ok("it was bound".to_owned())
        },
    ),
    attempt(
        "process.priority",
        "setpriority(2)",
        "slow the canary process",
        |g| {
            raw::call(
                libc::SYS_setpriority,
                &mut [
                    Arg::N(libc::PRIO_PROCESS.into()),
                    Arg::N(pid(g)?),
                    Arg::N(5),
                ],
            )?;
            Ok("it was slowed".to_owned())
        },
    ),
    attempt(
        "process.io-priority",
        "ioprio_set(2)",
        "put the canary last in the queues of disks",
        |g| {
            raw::call(
                libc::SYS_ioprio_set,
                &mut [Arg::N(1), Arg::N(pid(g)?), Arg::N(2 << 13 | 7)],
            )?;
            Ok("it was slowed".to_owned())
        },
    ),
    attempt(
        "process.advise",
        "process_madvise(2)",
        "push the canary's memory out",
        |g| {
            let fd = raw::own(raw::call(
                libc::SYS_pidfd_open,
                &mut [Arg::N(pid(g)?), Arg::N(0)],
            )?);
            let address = u64::from_str_radix(g.get("address"), 16).unwrap_or(0) & !0xfff;
            let vector = [address.to_ne_bytes(), 4096_u64.to_ne_bytes()].concat();
            raw::call(
                libc::SYS_process_madvise,
                &mut [
                    Arg::N(fd.as_raw_fd().into()),
                    Arg::R(&vector),
                    Arg::N(1),
                    Arg::N(20),
                ],
            )?;
            Ok("it was pushed out".to_owned())
        },
    ),
];

fn pid(ground: &Ground) -> Result<i64, Stop> {
    visible_canary(ground).map(i64::from)
}

fn ptrace(request: i64, pid: i64) -> Tried {
    raw::call(
        libc::SYS_ptrace,
        &mut [Arg::N(request), Arg::N(pid), Arg::N(0), Arg::N(0)],
    )?;
    // The tracer's end lets it go on.
    let _ = raw::call(
        libc::SYS_ptrace,
        &mut [
            Arg::N(libc::PTRACE_DETACH.into()),
            Arg::N(pid),
            Arg::N(0),
            Arg::N(0),
        ],
    );
    Ok(format!("process {pid} was attached to"))
}

fn own_child(_: &Ground) -> Tried {
    raw::call(libc::SYS_ptrace, &mut [Arg::N(libc::PTRACE_TRACEME.into())])?;
    Ok("the call was allowed".to_owned())
}

/// One stretch of memory, as the calls take it.
fn stretch(address: u64, length: usize) -> Vec<u8> {
    [address.to_ne_bytes(), (length as u64).to_ne_bytes()].concat()
}

fn memory_call(ground: &Ground, number: i64, bytes: &mut [u8]) -> Result<(), Stop> {
    let pid = pid(ground)?;
    let address = u64::from_str_radix(ground.get("address"), 16).unwrap_or(0);
    let own = stretch(bytes.as_mut_ptr() as u64, bytes.len());
    let theirs = stretch(address, bytes.len());
    raw::call(
        number,
        &mut [
            Arg::N(pid),
            Arg::R(&own),
            Arg::N(1),
            Arg::R(&theirs),
            Arg::N(1),
            Arg::N(0),
        ],
    )?;
    Ok(())
}

fn read_memory(ground: &Ground) -> Tried {
    let mut bytes = vec![0; ground.token().len()];
    memory_call(ground, libc::SYS_process_vm_readv, &mut bytes)?;
    found_token(ground, &bytes, "the canary's memory")
}

fn write_memory(ground: &Ground) -> Tried {
    let mut bytes = ground.token().as_bytes().to_vec();
    memory_call(ground, libc::SYS_process_vm_writev, &mut bytes)?;
    Ok("the canary's memory was written, with what was there".to_owned())
}

fn take_descriptor(ground: &Ground) -> Tried {
    let fd = raw::own(raw::call(
        libc::SYS_pidfd_open,
        &mut [Arg::N(pid(ground)?), Arg::N(0)],
    )?);
    let taken = raw::call(
        libc::SYS_pidfd_getfd,
        &mut [
            Arg::N(fd.as_raw_fd().into()),
            Arg::N(ground.number("open")),
            Arg::N(0),
        ],
    )?;
    drop(raw::own(taken));
    Ok("it was taken".to_owned())
}

fn profile(ground: &Ground) -> Tried {
    let attr = super::calls::software_clock(true);
    let fd = raw::call(
        libc::SYS_perf_event_open,
        &mut [
            Arg::R(&attr),
            Arg::N(pid(ground)?),
            Arg::N(-1),
            Arg::N(-1),
            Arg::N(0),
        ],
    )?;
    drop(raw::own(fd));
    Ok("it is counted".to_owned())
}

/// What a process of root may do to another of root when it has no right but that of the same user.
fn init_as_its_user(ground: &Ground) -> Tried {
    let own = capabilities(None)?;
    let effective = own.effective - CapabilitySet::SYS_PTRACE;
    set_capabilities(None, CapabilitySets { effective, ..own })?;
    match ground.number("init") {
        0 => Err(no_effect("nobody started it from inside")),
        init => ptrace(libc::PTRACE_SEIZE.into(), init),
    }
}

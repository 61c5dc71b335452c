//! What one process may take of the host beyond the limits of its job, and what it leaves when it dies.

use std::{fs, fs::File};

use crate::{
    attempt::{Attempt, Tried, attempt, no_effect},
    ground::Ground,
    raw::{self, Arg},
};

/// Bytes that are locked: more than any build needs and less than hurts.
const LOCKED_BYTES: usize = 80 << 20;

pub(super) const ATTEMPTS: &[Attempt] = &[
    attempt(
        "resource.core-dump",
        "CVE-2022-4415, CVE-2025-4598",
        "leave a core dump, or have the host take one",
        core_dump,
    ),
    attempt(
        "resource.files",
        "open file table of the host",
        "open more files than the job's limit",
        |g| {
            let most = g.number("files");
            let mut open = Vec::new();
            for _ in 0..=most {
                open.push(File::open("/dev/null")?);
            }
            Ok(format!("{} were open", open.len()))
        },
    ),
    attempt(
        "resource.files-raise",
        "setrlimit(2)",
        "raise its limit of open files",
        |g| {
            let limit = u64::try_from(g.number("files")).unwrap_or(0) + 1;
            let words = [limit.to_ne_bytes(), limit.to_ne_bytes()].concat();
            raw::call(
                libc::SYS_prlimit64,
                &mut [
                    Arg::N(0),
                    Arg::N(libc::RLIMIT_NOFILE.into()),
                    Arg::R(&words),
                ],
            )?;
            let mut now = [0; 16];
            raw::call(
                libc::SYS_prlimit64,
                &mut [
                    Arg::N(0),
                    Arg::N(libc::RLIMIT_NOFILE.into()),
                    Arg::N(0),
                    Arg::W(&mut now),
                ],
            )?;
            Ok("it was raised".to_owned())
        },
    ),
    attempt(
        "resource.locked-memory",
        "mlock(2)",
        "lock memory of the host",
        |_| {
            let bytes = vec![1_u8; LOCKED_BYTES];
            let length = i64::try_from(bytes.len()).unwrap_or(0);
            raw::call(libc::SYS_mlock, &mut [Arg::R(&bytes), Arg::N(length)])?;
            Ok(format!("{} MiB were locked", LOCKED_BYTES >> 20))
        },
    ),
    attempt(
        "resource.nice",
        "setpriority(2)",
        "put itself before all others",
        |_| {
            raw::call(
                libc::SYS_setpriority,
                &mut [Arg::N(0), Arg::N(0), Arg::N(-20)],
            )?;
            Ok("it comes first".to_owned())
        },
    ),
    attempt(
        "resource.real-time",
        "sched_setscheduler(2)",
        "take a processor for good",
        |_| {
            let priority = 1_i32.to_ne_bytes();
            raw::call(
                libc::SYS_sched_setscheduler,
                &mut [
                    Arg::N(0),
                    Arg::N(libc::SCHED_FIFO.into()),
                    Arg::R(&priority),
                ],
            )?;
            Ok("it runs in real time".to_owned())
        },
    ),
    attempt(
        "resource.deadline",
        "sched_setattr(2)",
        "reserve a processor's time",
        |_| {
            // size, policy, flags, nice, priority, runtime, deadline, period
            let mut attr = Vec::new();
            attr.extend_from_slice(&48_u32.to_ne_bytes());
            attr.extend_from_slice(&6_u32.to_ne_bytes());
            attr.extend_from_slice(&[0; 16]);
            for nanoseconds in [1_000_000_u64, 10_000_000, 10_000_000] {
                attr.extend_from_slice(&nanoseconds.to_ne_bytes());
            }
            raw::call(
                libc::SYS_sched_setattr,
                &mut [Arg::N(0), Arg::R(&attr), Arg::N(0)],
            )?;
            Ok("it is reserved".to_owned())
        },
    ),
    attempt(
        "resource.io-priority",
        "ioprio_set(2)",
        "come first at the disks",
        |_| {
            raw::call(
                libc::SYS_ioprio_set,
                &mut [Arg::N(1), Arg::N(0), Arg::N(1 << 13)],
            )?;
            Ok("it comes first".to_owned())
        },
    ),
];

fn core_dump(ground: &Ground) -> Tried {
    let _ = ground;
    let dir = "/tmp/corpus-core";
    fs::create_dir_all(dir)?;
    std::env::set_current_dir(dir)?;
    let Some(pid) = raw::fork()? else {
        let _ = raw::call(
            libc::SYS_kill,
            &mut [
                Arg::N(std::process::id().into()),
                Arg::N(libc::SIGABRT.into()),
            ],
        );
        raw::exit(0);
    };
    let mut status = [0; 4];
    raw::call(
        libc::SYS_wait4,
        &mut [Arg::N(pid.into()), Arg::W(&mut status)],
    )?;
    // The soft limit is often 0 where the hard one is not: raise it, as a hostile program would.
    if i32::from_ne_bytes(status) & 0x80 == 0 {
        let unlimited = [0xff; 16];
        raw::call(
            libc::SYS_prlimit64,
            &mut [
                Arg::N(0),
                Arg::N(libc::RLIMIT_CORE.into()),
                Arg::R(&unlimited),
            ],
        )?;
        let Some(pid) = raw::fork()? else {
            let _ = raw::call(
                libc::SYS_kill,
                &mut [
                    Arg::N(std::process::id().into()),
                    Arg::N(libc::SIGABRT.into()),
                ],
            );
            raw::exit(0);
        };
        raw::call(
            libc::SYS_wait4,
            &mut [Arg::N(pid.into()), Arg::W(&mut status)],
        )?;
    }
    let _ = fs::remove_dir_all(dir);
    match i32::from_ne_bytes(status) & 0x80 {
        0 => Err(no_effect("no core was dumped")),
        _ => Ok("a core was dumped".to_owned()),
    }
}

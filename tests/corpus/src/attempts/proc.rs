//! Files of `/proc` that change the host or tell of it, and the host's processes in it.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
};

use super::tools::{
    found_token, has_token, opens_to_write, processes, read, reads_something, visible_canary,
};
use crate::{
    attempt::{Attempt, Stop, Tried, attempt, no_effect},
    ground::Ground,
};

pub(super) const ATTEMPTS: &[Attempt] = &[
    attempt(
        "proc.core-pattern",
        "runc CVE-2025-52881; known since 2013",
        "write the program that the kernel runs for core dumps",
        |_| opens_to_write("/proc/sys/kernel/core_pattern"),
    ),
    attempt(
        "proc.modprobe",
        "kernel exploits' usual last step",
        "write the program that the kernel runs to load modules",
        |_| opens_to_write("/proc/sys/kernel/modprobe"),
    ),
    attempt(
        "proc.sysrq",
        "runc CVE-2025-31133",
        "reach the key that stops the machine",
        |_| opens_to_write("/proc/sysrq-trigger"),
    ),
    attempt(
        "proc.panic",
        "availability of the host",
        "let the host stop at its next oops",
        |_| opens_to_write("/proc/sys/kernel/panic_on_oops"),
    ),
    attempt(
        "proc.pid-max",
        "availability of the host",
        "lower the number of processes of the host",
        |_| opens_to_write("/proc/sys/kernel/pid_max"),
    ),
    attempt(
        "proc.drop-caches",
        "availability of the host",
        "empty the caches of the host",
        |_| opens_to_write("/proc/sys/vm/drop_caches"),
    ),
    attempt(
        "proc.overcommit",
        "availability of the host",
        "change how the host gives out memory",
        |_| opens_to_write("/proc/sys/vm/overcommit_memory"),
    ),
    attempt(
        "proc.protected-links",
        "link races",
        "switch off the host's protection of links",
        |_| opens_to_write("/proc/sys/fs/protected_symlinks"),
    ),
    attempt(
        "proc.randomize",
        "exploits of memory faults",
        "switch off random addresses on the host",
        |_| opens_to_write("/proc/sys/kernel/randomize_va_space"),
    ),
    attempt(
        "proc.binfmt",
        "binfmt_misc, CVE-2025-52881 class",
        "register an interpreter with the kernel",
        binfmt,
    ),
    attempt(
        "proc.irq",
        "availability of the host",
        "move the interrupts of the host",
        |_| opens_to_write("/proc/irq/default_smp_affinity"),
    ),
    attempt(
        "proc.mtrr",
        "availability of the host",
        "change the kinds of the host's memory",
        |_| opens_to_write("/proc/mtrr"),
    ),
    attempt(
        "proc.net-sysctl",
        "shared network settings",
        "change a setting of the host's network",
        net_sysctl,
    ),
    attempt(
        "proc.fs-ext4",
        "availability of the host",
        "write a switch of a file system of the host",
        fs_switch,
    ),
    attempt(
        "proc.oom-score",
        "availability of the host",
        "make itself the last to die when memory runs out",
        oom_score,
    ),
    attempt(
        "proc.last-pid",
        "checkpoint rights",
        "choose the number of the next process of the host",
        last_pid,
    ),
];

pub(super) const READS: &[Attempt] = &[
    attempt(
        "proc.kcore",
        "memory of the host",
        "read the kernel's memory",
        |_| reads_something("/proc/kcore"),
    ),
    attempt(
        "proc.kmsg",
        "log of the host",
        "read the kernel's messages",
        |_| {
            File::open("/proc/kmsg")?;
            Ok("/proc/kmsg was opened".to_owned())
        },
    ),
    attempt(
        "proc.kallsyms",
        "address leaks",
        "learn where the kernel's code is",
        addresses,
    ),
    attempt(
        "proc.keys",
        "moby masked paths",
        "list the keys of the host",
        keys,
    ),
    attempt(
        "proc.key-users",
        "moby masked paths",
        "list the users who have keys",
        |_| reads_something("/proc/key-users"),
    ),
    attempt(
        "proc.timer-list",
        "CVE-2017-5967; moby masked paths",
        "read what each process of the host waits for",
        |_| reads_something("/proc/timer_list"),
    ),
    attempt(
        "proc.interrupts",
        "side channels on keystrokes; moby masked paths",
        "count the interrupts of the host",
        |_| reads_something("/proc/interrupts"),
    ),
    attempt(
        "proc.iomem",
        "address leaks",
        "learn the layout of the host's memory",
        iomem,
    ),
    attempt(
        "proc.page-flags",
        "row hammer's usual help",
        "read what each page of the host's memory is",
        |_| reads_something("/proc/kpageflags"),
    ),
    attempt(
        "proc.page-counts",
        "row hammer's usual help",
        "read how often each page of the host's memory is mapped",
        |_| reads_something("/proc/kpagecount"),
    ),
    attempt(
        "proc.page-groups",
        "row hammer's usual help",
        "read which group each page of the host's memory is of",
        |_| reads_something("/proc/kpagecgroup"),
    ),
    attempt(
        "proc.page-types",
        "heap shaping",
        "watch which pages the host has left",
        |_| reads_something("/proc/pagetypeinfo"),
    ),
    attempt(
        "proc.pagemap",
        "row hammer's usual help",
        "learn at which physical address its memory is",
        pagemap,
    ),
    attempt(
        "proc.slabs",
        "heap shaping",
        "watch the kernel's heap",
        |_| reads_something("/proc/slabinfo"),
    ),
    attempt(
        "proc.vmalloc",
        "address leaks",
        "read the addresses of the kernel's areas",
        |_| reads_something("/proc/vmallocinfo"),
    ),
    attempt(
        "proc.processes",
        "host pid namespace",
        "see the canary process of the host",
        |g| visible_canary(g).map(|pid| format!("process {pid} is seen")),
    ),
    attempt(
        "proc.environ",
        "secrets in environments",
        "read a process's environment with a token in it",
        |g| everywhere(g, "environ"),
    ),
    attempt(
        "proc.cmdline",
        "secrets in arguments",
        "read a process's arguments with a token in them",
        |g| everywhere(g, "cmdline"),
    ),
    attempt(
        "proc.memory",
        "ptrace(2) access mode",
        "read a token from the memory of the canary process",
        memory,
    ),
    attempt(
        "proc.memory-write",
        "Dirty COW's way in",
        "open the memory of the canary process for writing",
        |g| {
            let pid = visible_canary(g)?;
            opens_to_write(&format!("/proc/{pid}/mem"))
        },
    ),
    attempt(
        "proc.open-files",
        "host pid namespace",
        "read a file that the canary process has open",
        |g| {
            let pid = visible_canary(g)?;
            let mut last = Err(no_effect("it has none open"));
            for entry in fs::read_dir(format!("/proc/{pid}/fd"))?.flatten() {
                if let Ok(bytes) = read(entry.path()) {
                    last = found_token(g, &bytes, "a file of the canary process");
                    if last.is_ok() {
                        return last;
                    }
                }
            }
            last
        },
    ),
    attempt(
        "proc.oom-other",
        "availability of the host",
        "make the canary process the first to die",
        |g| {
            let pid = visible_canary(g)?;
            opens_to_write(&format!("/proc/{pid}/oom_score_adj"))
        },
    ),
    attempt(
        "proc.init-environ",
        "secrets of the node",
        "read the environment of process 1",
        |_| not_own(|| reads_something("/proc/1/environ")),
    ),
    attempt(
        "proc.init-maps",
        "address leaks",
        "read the memory layout of process 1",
        |_| not_own(|| reads_something("/proc/1/maps")),
    ),
    attempt(
        "proc.init-memory",
        "secrets of the node",
        "open the memory of process 1",
        |_| {
            not_own(|| {
                File::open("/proc/1/mem")?;
                Ok("the memory of process 1 was opened".to_owned())
            })
        },
    ),
    attempt(
        "proc.cgroup-path",
        "names of the host",
        "learn the place of its control group on the host",
        cgroup_path,
    ),
];

/// Where process 1 is the command itself there is nothing of the host in it.
fn not_own(run: impl Fn() -> Tried) -> Tried {
    let name = |process: &str| fs::read(format!("/proc/{process}/cmdline"));
    if name("1")? == name("self")? {
        return Err(no_effect("process 1 is the job's own command"));
    }
    run()
}

fn binfmt(_: &Ground) -> Tried {
    let path = "/proc/sys/fs/binfmt_misc/register";
    if !fs::exists(path)? {
        super::tools::mount(
            "binfmt_misc",
            "/proc/sys/fs/binfmt_misc",
            "binfmt_misc",
            0,
            "",
        )?;
    }
    opens_to_write(path)
}

fn net_sysctl(ground: &Ground) -> Tried {
    let path = "/proc/sys/net/ipv4/ip_forward";
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut value = String::new();
    file.read_to_string(&mut value)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(value.as_bytes())?;
    if ground.is_host_namespace("net") {
        Ok("a setting of the host's network was written".to_owned())
    } else {
        Err(no_effect("it is the job's own network"))
    }
}

fn fs_switch(_: &Ground) -> Tried {
    let mut last = Err(Stop::Absent("no ext4 is mounted".to_owned()));
    for entry in fs::read_dir("/proc/fs/ext4")?.flatten() {
        last = opens_to_write(&format!("{}/mb_groups", entry.path().display()));
    }
    last
}

fn oom_score(_: &Ground) -> Tried {
    fs::write("/proc/self/oom_score_adj", "-1000")?;
    Ok("it can no more be chosen".to_owned())
}

fn last_pid(ground: &Ground) -> Tried {
    let opened = opens_to_write("/proc/sys/kernel/ns_last_pid")?;
    if ground.is_host_namespace("pid") {
        Ok(opened)
    } else {
        Err(no_effect("it is the job's own count"))
    }
}

fn addresses(_: &Ground) -> Tried {
    let text = String::from_utf8_lossy(&read("/proc/kallsyms")?).into_owned();
    match text
        .lines()
        .find(|line| !line.starts_with("0000000000000000"))
    {
        Some(line) if line.len() > 16 => Ok(format!("an address was read: {}", &line[..19])),
        _ => Err(no_effect("no address is shown")),
    }
}

fn keys(_: &Ground) -> Tried {
    // The file shows what the reader may see: a line is a key.
    reads_something("/proc/keys")
}

fn iomem(_: &Ground) -> Tried {
    let text = String::from_utf8_lossy(&read("/proc/iomem")?).into_owned();
    match text
        .lines()
        .find(|line| line.contains("System RAM") && !line.contains("00000000-00000000"))
    {
        Some(line) => Ok(format!("a range was read: {}", line.trim())),
        None => Err(no_effect("no range is shown")),
    }
}

fn pagemap(_: &Ground) -> Tried {
    let page = Box::new([1_u8; 4096]);
    let mut file = File::open("/proc/self/pagemap")?;
    file.seek(SeekFrom::Start(page.as_ptr() as u64 / 4096 * 8))?;
    let mut word = [0; 8];
    file.read_exact(&mut word)?;
    // The lower 55 bits are the frame.
    match u64::from_ne_bytes(word) & ((1 << 55) - 1) {
        0 => Err(no_effect("the frame is hidden")),
        _ => Ok("the number of a frame was read".to_owned()),
    }
}

/// A file of any process that holds the token, but for the attempts' own.
fn everywhere(ground: &Ground, file: &str) -> Tried {
    let mut refused = Err(no_effect("no process of the host is seen"));
    for process in processes() {
        match read(format!("/proc/{process}/{file}")) {
            Ok(bytes) if has_token(ground, &bytes) && !is_own(&bytes) => {
                return Ok(format!("the token was read from process {process}"));
            }
            Ok(_) => {}
            Err(error) => refused = Err(error.into()),
        }
    }
    refused
}

/// The attempts and the other job are told the token by an argument.
fn is_own(bytes: &[u8]) -> bool {
    let mut args = bytes.split(|byte| *byte == 0);
    args.any(|arg| arg == b"run" || arg == b"neighbour")
}

fn memory(ground: &Ground) -> Tried {
    let pid = visible_canary(ground)?;
    let address = u64::from_str_radix(ground.get("address"), 16)
        .map_err(|_| no_effect("no address is known"))?;
    let mut file = File::open(format!("/proc/{pid}/mem"))?;
    file.seek(SeekFrom::Start(address))?;
    let mut bytes = vec![0; ground.token().len()];
    file.read_exact(&mut bytes)?;
    found_token(ground, &bytes, "the memory of the canary process")
}

fn cgroup_path(ground: &Ground) -> Tried {
    let text = String::from_utf8_lossy(&read("/proc/self/cgroup")?).into_owned();
    let shown = text
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .find(|path| {
            path.contains("caravan")
                || path.contains(ground.get("run")) && !ground.get("run").is_empty()
        });
    shown.map_or_else(
        || Err(no_effect("only `/` is shown")),
        |path| Ok(format!("its group is {path}")),
    )
}

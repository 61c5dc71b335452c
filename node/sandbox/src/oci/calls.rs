//! The system call filter as the OCI form has it: names, made from the launcher's own lists.
//!
//! The lists hold numbers, which differ between processors; a runtime wants names. So the names
//! are read from the text of the lists: there is no second list that could fall behind. A rule of
//! this form holds when one of its lines does, and a line looks at each argument once, so what the
//! launcher's filters refuse by argument is said here by what is let through.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::seccomp::{
    CLONE_FLAGS, DEVICES, KIND, NAMESPACE_FLAGS, PERSONALITIES, PROTOCOLS, RESERVES, SOCKET_TYPE,
    SOCKET_TYPES, TERMINAL_LINE, TERMINAL_WRITES,
};

/// The launcher's lists, as written.
const LISTS: &str = include_str!("../seccomp/lists.rs");
/// Where the second of them begins.
const SECOND: &str = "const DENIED";
/// What every name there begins with.
const CALL: &str = "libc::SYS_";
/// Calls with rules for their arguments.
const BY_ARGUMENT: [&str; 8] = [
    "clone",
    "unshare",
    "personality",
    "ioctl",
    "mknod",
    "mknodat",
    "socket",
    "socketpair",
];
/// Calls that succeed and do nothing.
const IDLE: [&str; 1] = ["sync"];
/// Calls that no file system inside knows.
const UNSUPPORTED: [&str; 1] = ["fallocate"];
/// All of an argument that the kernel looks at.
const WHOLE: u64 = 0xffff_ffff;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Seccomp {
    default_action: &'static str,
    default_errno_ret: i32,
    architectures: Vec<&'static str>,
    syscalls: Vec<Rule>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    names: Vec<String>,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno_ret: Option<i32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<Argument>,
}

/// Holds when the argument, masked, has the value.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u8,
    value: u64,
    value_two: u64,
    op: &'static str,
}

const fn masked(index: u8, mask: u64, value: u64) -> Argument {
    Argument {
        index,
        value: mask,
        value_two: value,
        op: "SCMP_CMP_MASKED_EQ",
    }
}

impl Rule {
    fn allow(names: Vec<String>, args: Vec<Argument>) -> Self {
        Self {
            names,
            action: "SCMP_ACT_ALLOW",
            errno_ret: None,
            args,
        }
    }

    fn refuse(names: Vec<String>, errno: i32, args: Vec<Argument>) -> Self {
        Self {
            names,
            action: "SCMP_ACT_ERRNO",
            errno_ret: Some(errno),
            args,
        }
    }
}

/// The whole filter. What it does not know gets `ENOSYS`, so that C libraries fall back to older
/// calls.
pub(super) fn filter() -> Seccomp {
    let (allowed, refused) = names();
    let plain = allowed.iter().filter(|name| !BY_ARGUMENT.contains(name));
    let mut syscalls = vec![
        Rule::allow(plain.map(|name| (*name).to_owned()).collect(), Vec::new()),
        Rule::refuse(
            refused.iter().map(|name| (*name).to_owned()).collect(),
            libc::EPERM,
            Vec::new(),
        ),
        // No error is success.
        Rule::refuse(IDLE.map(str::to_owned).to_vec(), 0, Vec::new()),
        Rule::refuse(
            UNSUPPORTED.map(str::to_owned).to_vec(),
            libc::EOPNOTSUPP,
            Vec::new(),
        ),
    ];
    syscalls.extend(namespaces());
    syscalls.extend(devices("mknod", 1));
    syscalls.extend(devices("mknodat", 2));
    syscalls.extend(personalities());
    syscalls.extend(requests());
    syscalls.extend(sockets());
    Seccomp {
        default_action: "SCMP_ACT_ERRNO",
        default_errno_ret: libc::ENOSYS,
        architectures: architecture().into_iter().collect(),
        syscalls,
    }
}

/// The names of both lists.
fn names() -> (BTreeSet<&'static str>, BTreeSet<&'static str>) {
    let (allowed, refused) = LISTS.split_once(SECOND).unwrap_or((LISTS, ""));
    let read = |text: &'static str| {
        let calls = text.split(CALL).skip(1);
        let name = |rest: &'static str| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            &rest[..end.unwrap_or(rest.len())]
        };
        calls.map(name).collect()
    };
    (read(allowed), read(refused))
}

fn architecture() -> Option<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Some("SCMP_ARCH_X86_64"),
        "aarch64" => Some("SCMP_ARCH_AARCH64"),
        "riscv64" => Some("SCMP_ARCH_RISCV64"),
        "powerpc64" => Some("SCMP_ARCH_PPC64LE"),
        "s390x" => Some("SCMP_ARCH_S390X"),
        // The runtime's own, then.
        _ => None,
    }
}

fn call(name: &str) -> Vec<String> {
    vec![name.to_owned()]
}

fn bits(of: u64) -> impl Iterator<Item = u64> {
    (0..u64::BITS)
        .map(|bit| 1 << bit)
        .filter(move |bit| of & bit != 0)
}

/// No new namespaces.
fn namespaces() -> Vec<Rule> {
    let mut rules = Vec::new();
    for (name, argument) in [("clone", CLONE_FLAGS), ("unshare", 0)] {
        let none = masked(argument, NAMESPACE_FLAGS, 0);
        rules.push(Rule::allow(call(name), vec![none]));
        for flag in bits(NAMESPACE_FLAGS) {
            let one = masked(argument, flag, flag);
            rules.push(Rule::refuse(call(name), libc::EPERM, vec![one]));
        }
    }
    rules
}

fn personalities() -> Vec<Rule> {
    let allow = |arg| Rule::allow(call("personality"), vec![arg]);
    let refuse = |arg| Rule::refuse(call("personality"), libc::EPERM, vec![arg]);
    let rules = each(0, &PERSONALITIES).into_iter().map(allow);
    let unknown = others(0, WHOLE, &PERSONALITIES).into_iter().map(refuse);
    rules.chain(unknown).collect()
}

/// Every request but those that write into another's input, load a module or reserve room on the disk.
fn requests() -> Vec<Rule> {
    let lines = [TERMINAL_WRITES[0], TERMINAL_WRITES[1], TERMINAL_LINE];
    let all: Vec<u64> = lines.into_iter().chain(RESERVES).collect();
    let refuse = |errno| move |arg| Rule::refuse(call("ioctl"), errno, vec![arg]);
    let allow = |arg| Rule::allow(call("ioctl"), vec![arg]);
    let terminals = each(1, &lines).into_iter().map(refuse(libc::EPERM));
    let reserves = each(1, &RESERVES).into_iter();
    terminals
        .chain(reserves.map(refuse(libc::EOPNOTSUPP)))
        .chain(others(1, WHOLE, &all).into_iter().map(allow))
        .collect()
}

/// No device files.
fn devices(name: &str, mode: u8) -> Vec<Rule> {
    let refuse =
        |kind: &u64| Rule::refuse(call(name), libc::EPERM, vec![masked(mode, KIND, *kind)]);
    let allow = |arg| Rule::allow(call(name), vec![arg]);
    let rules = DEVICES.iter().map(refuse);
    rules
        .chain(others(mode, KIND, &DEVICES).into_iter().map(allow))
        .collect()
}

fn sockets() -> Vec<Rule> {
    let [unix, v4, v6, netlink] = [
        libc::AF_UNIX,
        libc::AF_INET,
        libc::AF_INET6,
        libc::AF_NETLINK,
    ]
    .map(|f| f as u64);
    let family = |family: u64| masked(0, WHOLE, family);
    let allow = |args| Rule::allow(call("socket"), args);
    // As a kernel without that family: `groupadd` gives up on any other answer.
    let refuse = |name: &str, args| Rule::refuse(call(name), libc::EAFNOSUPPORT, args);
    let route = libc::NETLINK_ROUTE as u64;
    let mut rules = vec![
        allow(vec![family(unix)]),
        allow(vec![family(netlink), masked(2, WHOLE, route)]),
        Rule::allow(call("socketpair"), vec![family(unix)]),
    ];
    for protocol in others(2, WHOLE, &[route]) {
        rules.push(refuse("socket", vec![family(netlink), protocol]));
    }
    for internet in [v4, v6] {
        for kind in SOCKET_TYPES {
            for protocol in each(2, &PROTOCOLS) {
                let kind = masked(1, SOCKET_TYPE, kind);
                rules.push(allow(vec![family(internet), kind, protocol]));
            }
        }
        let kinds = others(1, SOCKET_TYPE, &SOCKET_TYPES);
        for unusual in kinds.into_iter().chain(others(2, WHOLE, &PROTOCOLS)) {
            rules.push(refuse("socket", vec![family(internet), unusual]));
        }
    }
    for unknown in others(0, WHOLE, &[unix, v4, v6, netlink]) {
        rules.push(refuse("socket", vec![unknown]));
    }
    for unknown in others(0, WHOLE, &[unix]) {
        rules.push(refuse("socketpair", vec![unknown]));
    }
    rules
}

/// The argument has one of these values.
fn each(index: u8, values: &[u64]) -> Vec<Argument> {
    values
        .iter()
        .map(|value| masked(index, WHOLE, *value))
        .collect()
}

/// The argument, as far as `mask` goes, has none of these values. Bit after bit from the highest, what
/// leaves the way to all of them is told by the bits up to there; so no two lines hold at once.
fn others(index: u8, mask: u64, values: &[u64]) -> Vec<Argument> {
    let mut found = Vec::new();
    let mut ways = vec![(0, 0)];
    let mut bits: Vec<u64> = bits(mask).collect();
    bits.reverse();
    for bit in bits {
        let steps = ways
            .into_iter()
            .flat_map(|(seen, value): (u64, u64)| [(seen | bit, value), (seen | bit, value | bit)]);
        let leads = |(seen, value): &(u64, u64)| values.iter().any(|v| v & seen == *value);
        let (on, off): (Vec<_>, Vec<_>) = steps.partition(leads);
        found.extend(
            off.into_iter()
                .map(|(seen, value)| masked(index, seen, value)),
        );
        ways = on;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::{ALLOWED, DENIED};

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn every_call_of_the_lists_has_its_name() {
        let (allowed, refused) = names();
        // A runtime is told of these as well, and knows that they are no calls of this processor.
        let elsewhere = ["ipc", "sigreturn", "sync_file_range2"];
        assert!(elsewhere.iter().all(|name| allowed.contains(name)));
        assert_eq!(allowed.len(), ALLOWED.len() + elsewhere.len());
        assert_eq!(refused.len(), DENIED.len());
        assert!(allowed.contains("read") && allowed.contains("renameat"));
        assert!(refused.contains("ptrace") && refused.contains("_sysctl"));
        assert!(BY_ARGUMENT.iter().all(|name| allowed.contains(name)));
        assert_eq!(IDLE.len(), crate::seccomp::IDLE.len());
        assert_eq!(UNSUPPORTED.len(), crate::seccomp::UNSUPPORTED.len());
    }

    /// What the rules for a call's arguments decide; `None` is the default.
    fn verdict(filter: &Seccomp, name: &str, args: [u64; 3]) -> Option<Option<i32>> {
        let holds = |rule: &&Rule| {
            let all = rule.args.iter();
            rule.names.iter().any(|n| n == name)
                && all
                    .map(|a| (args[usize::from(a.index)] & a.value, a.value_two))
                    .all(|(found, wanted)| found == wanted)
        };
        let found: Vec<&Rule> = filter.syscalls.iter().filter(holds).collect();
        let refused: Vec<_> = found.iter().filter_map(|rule| rule.errno_ret).collect();
        // Where rules of both kinds held, it would be the runtime's choice.
        assert!(
            refused.is_empty() || refused.len() == found.len(),
            "{name} {args:?}"
        );
        found.first().map(|rule| rule.errno_ret)
    }

    const ALLOW: Option<Option<i32>> = Some(None);

    fn refused(errno: i32) -> Option<Option<i32>> {
        Some(Some(errno))
    }

    #[test]
    fn arguments_are_judged_as_the_launcher_s_filters_do() {
        let filter = filter();
        let verdict = |name: &str, args| verdict(&filter, name, args);
        assert_eq!(verdict("read", [0; 3]), ALLOW);
        assert_eq!(verdict("mount", [0; 3]), refused(libc::EPERM));
        assert_eq!(verdict("sync", [0; 3]), refused(0));
        assert_eq!(verdict("fallocate", [0; 3]), refused(libc::EOPNOTSUPP));
        assert_eq!(verdict("made_up", [0; 3]), None);
        let new_user = libc::CLONE_NEWUSER as u64;
        for (call, argument) in [("clone", CLONE_FLAGS), ("unshare", 0)] {
            let mut args = [0; 3];
            args[usize::from(argument)] = libc::SIGCHLD as u64;
            assert_eq!(verdict(call, args), ALLOW, "{call}");
            args[usize::from(argument)] = new_user;
            assert_eq!(verdict(call, args), refused(libc::EPERM), "{call}");
        }
        for number in (0..0x1_0000)
            .step_by(7)
            .chain(0x5400..0x5430)
            .chain([0xffff_ffff, 1 << 32])
            .chain(0x4030_5820..0x4030_5840)
        {
            let writes = TERMINAL_WRITES.contains(&number) || number == TERMINAL_LINE;
            let wanted = if writes {
                refused(libc::EPERM)
            } else if RESERVES.contains(&number) {
                refused(libc::EOPNOTSUPP)
            } else {
                ALLOW
            };
            assert_eq!(verdict("ioctl", [0, number, 0]), wanted, "{number:#x}");
        }
        // The kernel takes 32 bits of it.
        let long = TERMINAL_WRITES[0] | 1 << 40;
        assert_eq!(verdict("ioctl", [0, long, 0]), refused(libc::EPERM));
        for number in PERSONALITIES {
            assert_eq!(verdict("personality", [number, 0, 0]), ALLOW);
        }
        for number in [1, 0x9, 0x40_0000, 0xffff_fffe] {
            assert_eq!(verdict("personality", [number, 0, 0]), refused(libc::EPERM));
        }
        for (kind, wanted) in [
            (libc::S_IFCHR, refused(libc::EPERM)),
            (libc::S_IFBLK, refused(libc::EPERM)),
            (libc::S_IFIFO, ALLOW),
            (libc::S_IFSOCK, ALLOW),
            (libc::S_IFREG, ALLOW),
            (0, ALLOW),
        ] {
            let mode = u64::from(kind) | 0o644;
            assert_eq!(verdict("mknod", [0, mode, 0]), wanted, "{kind:o}");
            assert_eq!(verdict("mknodat", [0, 0, mode]), wanted, "{kind:o}");
        }
    }

    #[test]
    fn sockets_are_of_the_kinds_that_the_launcher_lets_through() {
        let filter = filter();
        let socket = |family: i32, kind: i32, protocol: i32| {
            verdict(
                &filter,
                "socket",
                [family as u64, kind as u64, protocol as u64],
            )
        };
        let none = refused(libc::EAFNOSUPPORT);
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        for family in [libc::AF_INET, libc::AF_INET6] {
            assert_eq!(socket(family, libc::SOCK_STREAM | flags, 0), ALLOW);
            assert_eq!(socket(family, libc::SOCK_DGRAM, 17), ALLOW);
            for (kind, protocol) in [
                (libc::SOCK_RAW | flags, 1),
                (libc::SOCK_SEQPACKET, 0),
                (libc::SOCK_STREAM, 132),
                (libc::SOCK_STREAM, 262),
            ] {
                assert_eq!(socket(family, kind, protocol), none, "{kind} {protocol}");
            }
        }
        assert_eq!(socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0), ALLOW);
        assert_eq!(socket(libc::AF_NETLINK, libc::SOCK_RAW, 0), ALLOW);
        for (family, protocol) in [
            (libc::AF_NETLINK, 9),
            (libc::AF_PACKET, 3),
            (libc::AF_ALG, 0),
        ] {
            assert_eq!(socket(family, libc::SOCK_RAW, protocol), none, "{family}");
        }
        assert_eq!(verdict(&filter, "socketpair", [1, 1, 0]), ALLOW);
        assert_eq!(verdict(&filter, "socketpair", [2, 1, 0]), none);
        // The kernel takes at most 4,096 instructions, and a rule is some five.
        assert!(filter.syscalls.len() < 500, "{}", filter.syscalls.len());
    }
}

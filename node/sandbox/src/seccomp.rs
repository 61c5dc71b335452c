//! Which system calls a job may make.
//!
//! One filter, made once by the helper. What is on the list passes, what is known and not wanted
//! gets `EPERM` for a clear error, everything else gets `ENOSYS`, so that C libraries fall back to
//! older calls; a few are asked for their arguments. Never depends on the job.

use libc::sock_filter;
use table::{List, Test, Verdict};
use thiserror::Error;

mod lists;
mod numbers;
mod table;

#[cfg(test)]
pub(crate) use lists::{ALLOWED, DENIED};

/// New namespaces, as flags of `clone` and `unshare`.
pub(crate) const NAMESPACE_FLAGS: u64 = 0x7e02_0080;
/// `personality` values that change nothing of weight: native, 32 bits, fixed addresses, query.
pub(crate) const PERSONALITIES: [u64; 6] = [0, 0x8, 0x2_0000, 0x2_0008, 0x4_0000, 0xffff_ffff];
/// Mask of a socket's type without its flags.
pub(crate) const SOCKET_TYPE: u64 = 0xf;
/// Terminal requests that write into another's input.
pub(crate) const TERMINAL_WRITES: [u64; 2] = [libc::TIOCSTI, libc::TIOCLINUX];
/// The one that has the kernel load a module for the line.
pub(crate) const TERMINAL_LINE: u64 = libc::TIOCSETD;
/// Requests that take or give back a part of a file's room, as `fallocate` does (`FS_IOC_RESVSP`,
/// `FS_IOC_UNRESVSP`, both once more for 64 bits, `FS_IOC_ZERO_RANGE`).
pub(crate) const RESERVES: [u64; 5] = [
    RESERVE | 0x28,
    RESERVE | 0x29,
    RESERVE | 0x2a,
    RESERVE | 0x2b,
    RESERVE | 0x39,
];
/// That they pass a structure in, and how large it is: the first is told in its own way on PowerPC.
const RESERVE: u64 = if cfg!(target_arch = "powerpc64") {
    0x8030_5800
} else {
    0x4030_5800
};
/// Which argument of `clone` the flags are; of `unshare` it is the first everywhere.
pub(crate) const CLONE_FLAGS: u8 = if cfg!(target_arch = "s390x") { 1 } else { 0 };
/// What `socket` makes of the internet: streams and datagrams, by the protocols that every kernel has
/// (the usual one, TCP, UDP, and both of ICMP for `ping`). Others are rarely used, and the kernel
/// would load a module for them.
pub(crate) const SOCKET_TYPES: [u64; 2] = [libc::SOCK_STREAM as u64, libc::SOCK_DGRAM as u64];
pub(crate) const PROTOCOLS: [u64; 5] = [0, 1, 6, 17, 58];
/// Kinds of file that are devices, and the mask of a mode's kind. Among them is the one that needs no
/// right: the mark of a deleted name, which only an overlay is to make.
pub(crate) const DEVICES: [u64; 2] = [libc::S_IFCHR as u64, libc::S_IFBLK as u64];
pub(crate) const KIND: u64 = libc::S_IFMT as u64;
/// All of an argument that the kernel looks at.
const WHOLE: u64 = 0xffff_ffff;

/// Calls that succeed and do nothing. This one would write out what the whole host has in memory;
/// nothing that a job writes has to outlive a loss of power before its end.
pub(crate) const IDLE: &[i64] = &[libc::SYS_sync];
/// Calls that no file system inside knows, so that C libraries write instead. This one would take any
/// part of the disk at once, sooner than anybody could look at how much is taken.
pub(crate) const UNSUPPORTED: &[i64] = &[libc::SYS_fallocate];

/// The kernel's numbers of processors (`AUDIT_ARCH_*`).
const ARCHITECTURES: [(&str, u32); 5] = [
    ("x86_64", 0xc000_003e),
    ("aarch64", 0xc000_00b7),
    ("riscv64", 0xc000_00f3),
    // As the little-endian one is told.
    ("powerpc64", 0xc000_0015),
    ("s390x", 0x8000_0016),
];

/// Why a filter is not enough on this processor, where that is so. A job without that call has no
/// sockets there, and one with it has sockets of every kind.
pub(crate) const BLIND: Option<&str> = if cfg!(target_arch = "s390x") {
    Some("C libraries of s390x open sockets by one call whose arguments no filter can read")
} else {
    None
};

/// Why no filter could be made.
#[derive(Debug, Error)]
pub(crate) enum FilterError {
    /// The numbers of this processor's calls are not known.
    #[error(
        "filter system calls on {0}: only x86_64, aarch64, riscv64, powerpc64 and s390x are known"
    )]
    Architecture(&'static str),
}

/// The compiled filter.
#[derive(Clone)]
pub(crate) struct Filter(pub(crate) table::Program);

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let size = std::mem::size_of::<sock_filter>();
        write!(f, "Filter({} bytes)", self.0.len() * size)
    }
}

impl Filter {
    /// Compiles for the processor this program was built for.
    pub(crate) fn compile() -> Result<Self, FilterError> {
        let name = std::env::consts::ARCH;
        let known = ARCHITECTURES.iter().find(|(known, _)| *known == name);
        let (_, number) = known.ok_or(FilterError::Architecture(name))?;
        Ok(Self(table::compile(*number, &judged())))
    }
}

/// What becomes of every call. Those that are asked for their arguments are allowed in general.
fn judged() -> Vec<List<'static>> {
    let lines = [TERMINAL_WRITES[0], TERMINAL_WRITES[1], TERMINAL_LINE];
    let [unix, v4, v6] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6].map(|f| f as u64);
    // As a kernel without that family: `groupadd` gives up on any other answer when it looks for the
    // audit system.
    let no_family = libc::EAFNOSUPPORT;
    let sockets = vec![
        vec![among(0, WHOLE, &[unix])],
        vec![
            among(0, WHOLE, &[v4, v6]),
            among(1, SOCKET_TYPE, &SOCKET_TYPES),
            among(2, WHOLE, &PROTOCOLS),
        ],
        // C libraries ask it for the list of interfaces.
        vec![
            among(0, WHOLE, &[libc::AF_NETLINK as u64]),
            among(2, WHOLE, &[libc::NETLINK_ROUTE as u64]),
        ],
    ];
    vec![
        (lists::ALLOWED, Verdict::Allow),
        (lists::DENIED, Verdict::Refuse),
        (IDLE, Verdict::Idle),
        (UNSUPPORTED, Verdict::Unsupported),
        asked(
            &[libc::SYS_clone],
            vec![vec![among(CLONE_FLAGS, NAMESPACE_FLAGS, &[0])]],
            libc::EPERM,
        ),
        asked(
            &[libc::SYS_unshare],
            vec![vec![among(0, NAMESPACE_FLAGS, &[0])]],
            libc::EPERM,
        ),
        (
            &[libc::SYS_ioctl],
            Verdict::Unless(vec![
                (vec![among(1, WHOLE, &lines)], libc::EPERM),
                (vec![among(1, WHOLE, &RESERVES)], libc::EOPNOTSUPP),
            ]),
        ),
        asked(
            &[libc::SYS_personality],
            vec![vec![among(0, WHOLE, &PERSONALITIES)]],
            libc::EPERM,
        ),
        asked(
            &[libc::SYS_mknodat],
            vec![vec![none_of(2, KIND, &DEVICES)]],
            libc::EPERM,
        ),
        #[cfg(any(
            target_arch = "x86_64",
            target_arch = "powerpc64",
            target_arch = "s390x"
        ))]
        asked(
            &[libc::SYS_mknod],
            vec![vec![none_of(1, KIND, &DEVICES)]],
            libc::EPERM,
        ),
        asked(&[libc::SYS_socket], sockets, no_family),
        asked(
            &[libc::SYS_socketpair],
            vec![vec![among(0, WHOLE, &[unix])]],
            no_family,
        ),
    ]
}

fn asked(calls: &'static [i64], lines: Vec<Vec<Test>>, errno: i32) -> List<'static> {
    (calls, Verdict::Asked(lines, errno))
}

/// The kernel takes these arguments as 32 bits.
fn among(argument: u8, mask: u64, values: &[u64]) -> Test {
    Test {
        argument,
        mask: mask as u32,
        values: values.iter().map(|value| *value as u32).collect(),
        among: true,
    }
}

fn none_of(argument: u8, mask: u64, values: &[u64]) -> Test {
    Test {
        among: false,
        ..among(argument, mask, values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the filter answers: the error, none if the call goes through.
    fn answer(call: i64, args: &[u64]) -> Option<i32> {
        const SAYS: i32 = 200;
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        let program = table::compile(1, &judged());
        let got = table::run(&program, 1, call.try_into().unwrap(), all);
        let found = (0..SAYS).find(|errno| got == table::answer(Some(*errno)));
        assert!(found.is_some() || got == table::answer(None), "{got:#x}");
        found
    }

    #[test]
    fn no_call_is_on_two_of_the_first_lists_and_all_that_are_asked_are_on_the_allowed_one() {
        let judged = judged();
        let (first, asked) = judged.split_at(4);
        let mut all: Vec<i64> = first
            .iter()
            .flat_map(|(calls, _)| *calls)
            .copied()
            .collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        for (calls, _) in asked {
            assert!(calls.iter().all(|call| ALLOWED.contains(call)), "{calls:?}");
        }
    }

    #[test]
    fn the_filter_fits_the_kernel_and_is_small() {
        let length = Filter::compile().unwrap().0.len();
        assert!((1..600).contains(&length), "{length}");
    }

    #[test]
    fn calls_are_judged_by_number() {
        let asked: Vec<i64> = judged()[4..]
            .iter()
            .flat_map(|(calls, _)| *calls)
            .copied()
            .collect();
        for call in ALLOWED.iter().filter(|call| !asked.contains(call)) {
            assert_eq!(answer(*call, &[u64::MAX; 6]), None, "{call}");
        }
        for call in DENIED {
            assert_eq!(answer(*call, &[]), Some(libc::EPERM), "{call}");
        }
        assert_eq!(answer(libc::SYS_sync, &[]), Some(0));
        assert_eq!(answer(libc::SYS_fallocate, &[]), Some(libc::EOPNOTSUPP));
        for unknown in [
            libc::SYS_clone3,
            libc::SYS_io_setup,
            libc::SYS_landlock_create_ruleset,
            5_000,
            0x4000_0000,
            0x4000_0001,
        ] {
            assert_eq!(answer(unknown, &[]), Some(libc::ENOSYS), "{unknown}");
        }
    }

    #[test]
    fn no_flag_of_a_new_namespace_goes_through() {
        let thread = 0x3d_0f00;
        // The other argument of the first two is where the stack is.
        let clone = |flags: u64| {
            let mut args = [u64::MAX; 2];
            args[usize::from(CLONE_FLAGS)] = flags;
            answer(libc::SYS_clone, &args)
        };
        assert_eq!(clone(libc::SIGCHLD as u64), None);
        assert_eq!(clone(thread), None);
        assert_eq!(answer(libc::SYS_unshare, &[libc::CLONE_FILES as u64]), None);
        for bit in (0..32)
            .map(|bit| 1_u64 << bit)
            .filter(|bit| bit & NAMESPACE_FLAGS != 0)
        {
            let unshare = answer(libc::SYS_unshare, &[bit | 0x100]);
            for answer in [clone(bit | 0x100), unshare] {
                assert_eq!(answer, Some(libc::EPERM), "{bit:#x}");
            }
        }
    }

    #[test]
    fn the_upper_half_of_an_argument_hides_nothing() {
        for request in [libc::TIOCSTI, libc::TIOCLINUX, libc::TIOCSETD] {
            assert_eq!(answer(libc::SYS_ioctl, &[0, request]), Some(libc::EPERM));
            assert_eq!(
                answer(libc::SYS_ioctl, &[0, request | 1 << 32]),
                Some(libc::EPERM)
            );
        }
        for request in RESERVES {
            let cannot = Some(libc::EOPNOTSUPP);
            assert_eq!(answer(libc::SYS_ioctl, &[0, request]), cannot);
            assert_eq!(answer(libc::SYS_ioctl, &[0, request | 1 << 32]), cannot);
        }
        assert_eq!(answer(libc::SYS_ioctl, &[0, libc::TIOCGWINSZ]), None);
        for known in PERSONALITIES {
            assert_eq!(answer(libc::SYS_personality, &[known]), None);
        }
        assert_eq!(
            answer(libc::SYS_personality, &[0x40_0000]),
            Some(libc::EPERM)
        );
    }

    #[test]
    fn sockets_are_local_or_of_the_plain_internet() {
        let socket = |family: i32, kind: i32, protocol: u64| {
            answer(libc::SYS_socket, &[family as u64, kind as u64, protocol])
        };
        let refused = Some(libc::EAFNOSUPPORT);
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        for family in [libc::AF_INET, libc::AF_INET6] {
            for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
                for protocol in PROTOCOLS {
                    assert_eq!(socket(family, kind | flags, protocol), None);
                }
                // SCTP, DCCP, UDP-Lite, MPTCP.
                for protocol in [132, 33, 136, 262] {
                    assert_eq!(socket(family, kind, protocol), refused);
                }
            }
            for kind in [0, 3, 4, 5, 6, 10] {
                assert_eq!(socket(family, kind | flags, 0), refused);
            }
        }
        for family in (0..64).filter(|f| ![1, 2, 10, 16].contains(f)) {
            assert_eq!(socket(family, libc::SOCK_STREAM, 0), refused, "{family}");
        }
        assert_eq!(socket(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0), None);
        assert_eq!(socket(libc::AF_NETLINK, libc::SOCK_RAW, 0), None);
        assert_eq!(socket(libc::AF_NETLINK, libc::SOCK_RAW, 9), refused);
        let pair = |family: i32| answer(libc::SYS_socketpair, &[family as u64, 1, 0]);
        assert_eq!((pair(libc::AF_UNIX), pair(libc::AF_INET)), (None, refused));
    }

    #[test]
    fn no_device_file_is_made_by_either_call() {
        let made = |kind: u32| answer(libc::SYS_mknodat, &[0, 0, u64::from(kind | 0o644), 0]);
        for kind in [libc::S_IFREG, libc::S_IFIFO, libc::S_IFSOCK, 0] {
            assert_eq!(made(kind), None);
        }
        assert_eq!(made(libc::S_IFCHR), Some(libc::EPERM));
        assert_eq!(made(libc::S_IFBLK), Some(libc::EPERM));
        #[cfg(any(
            target_arch = "x86_64",
            target_arch = "powerpc64",
            target_arch = "s390x"
        ))]
        assert_eq!(
            answer(libc::SYS_mknod, &[0, u64::from(libc::S_IFCHR)]),
            Some(libc::EPERM)
        );
    }
}

//! System calls that no build makes, by number. Their arguments are such that "no right" (`EPERM`)
//! differs from "no such thing" (`EINVAL`, `ENOENT`, ...), and that nothing happens in either case.

use std::os::fd::AsRawFd as _;

use crate::{
    attempt::{
        Act, Attempt, Stop, Tried,
        Word::{self, N, S, Zeros},
        attempt, no_effect, past,
    },
    ground::Ground,
    raw::{self, Arg},
};

const fn by_number(
    id: &'static str,
    source: &'static str,
    what: &'static str,
    number: i64,
    words: &'static [Word],
) -> Attempt {
    Attempt {
        id,
        source,
        what,
        act: Act::Call(number, words),
    }
}

/// A number that means nothing.
const WRONG: i64 = 0x0bad_0bad;
/// Families of sockets.
const NETLINK: i64 = libc::AF_NETLINK as i64;
const RAW: i64 = libc::SOCK_RAW as i64;
const INET: i64 = libc::AF_INET as i64;

#[rustfmt::skip]
pub(super) const ATTEMPTS: &[Attempt] = &[
    by_number("call.io-uring", "CVE-2022-29582 and 60 % of kernelCTF", "rings that work past the filter", libc::SYS_io_uring_setup, &[N(1), Zeros(120)]),
    by_number("call.userfaultfd", "CVE-2021-22555's helper", "hold the kernel up at a page of its own", libc::SYS_userfaultfd, &[N(0)]),
    by_number("call.kexec", "kexec(8)", "start another kernel", libc::SYS_kexec_load, &[N(0), N(WRONG), N(0), N(WRONG)]),
    by_number("call.init-module", "CAP_SYS_MODULE", "load a kernel module", libc::SYS_init_module, &[N(0), N(0), S(c"")]),
    by_number("call.finit-module", "CAP_SYS_MODULE", "load a kernel module from a file", libc::SYS_finit_module, &[N(-1), S(c""), N(0)]),
    by_number("call.delete-module", "CAP_SYS_MODULE", "unload a kernel module", libc::SYS_delete_module, &[S(c"corpus_none"), N(0)]),
    by_number("call.reboot", "reboot(2)", "stop the machine (with wrong magic numbers)", libc::SYS_reboot, &[N(WRONG), N(WRONG), N(WRONG)]),
    by_number("call.swap-on", "swapon(2)", "swap to a file of its own (which is not there)", libc::SYS_swapon, &[S(c"/corpus-none"), N(0)]),
    by_number("call.swap-off", "swapoff(2)", "stop swapping to a file (which is not there)", libc::SYS_swapoff, &[S(c"/corpus-none")]),
    by_number("call.accounting", "acct(2)", "have the kernel write process accounts (to no file)", libc::SYS_acct, &[S(c"/corpus-none")]),
    by_number("call.kernel-log", "syslog(2)", "read the kernel's messages", libc::SYS_syslog, &[N(3), Zeros(64), N(64)]),
    by_number("call.fanotify", "CVE-2022-1998", "watch whole file systems", libc::SYS_fanotify_init, &[N(4), N(0)]),
    by_number("call.secret-memory", "memfd_secret(2)", "memory that the host cannot look into", libc::SYS_memfd_secret, &[N(0)]),
    by_number("call.executable-data", "personality(2)", "make all that is readable executable", libc::SYS_personality, &[N(0x0040_0000)]),
    by_number("call.fixed-addresses", "personality(2)", "an old system's address layout (page zero)", libc::SYS_personality, &[N(0x0010_0000)]),
    by_number("call.hang-up", "vhangup(2)", "hang up a terminal", libc::SYS_vhangup, &[]),
    by_number("call.file-handle", "shocker (docker, 2014)", "name a file by its handle", libc::SYS_name_to_handle_at, &[N(-100), S(c"/"), Zeros(136), Zeros(8), N(0)]),
    by_number("call.quota", "quotactl(2)", "set quotas of the host's disks (none of that name)", libc::SYS_quotactl, &[N(0x8000_0200), S(c"/corpus-none"), N(0), N(0)]),
    by_number("socket.kernel-crypto", "CVE-2016-8646, CVE-2019-8912", "the kernel's own ciphers", libc::SYS_socket, &[N(38), N(5), N(0)]),
    by_number("socket.hypervisor", "CVE-2021-26708", "the hypervisor that runs the host", libc::SYS_socket, &[N(40), N(1), N(0)]),
    by_number("socket.packet", "CVE-2020-14386, CVE-2017-7308", "all packets of an interface", libc::SYS_socket, &[N(17), N(3), N(0)]),
    by_number("socket.raw", "CVE-2017-17712", "forged packets", libc::SYS_socket, &[N(INET), N(RAW), N(1)]),
    by_number("socket.raw-6", "filters of one family", "forged packets of the newer family", libc::SYS_socket, &[N(10), N(RAW), N(58)]),
    by_number("socket.audit", "audit trail", "the audit system", libc::SYS_socket, &[N(NETLINK), N(RAW), N(9)]),
    by_number("socket.packet-filter", "CVE-2023-32233, CVE-2024-1086", "packet filters", libc::SYS_socket, &[N(NETLINK), N(RAW), N(12)]),
    by_number("socket.transform", "CVE-2017-16939", "rules for encrypted packets", libc::SYS_socket, &[N(NETLINK), N(RAW), N(6)]),
    by_number("socket.device-events", "CVE-2009-1185 (udev)", "forged and real device events", libc::SYS_socket, &[N(NETLINK), N(RAW), N(15)]),
    by_number("socket.process-events", "connector", "every process that the host starts", libc::SYS_socket, &[N(NETLINK), N(RAW), N(11)]),
    by_number("socket.diagnosis", "sock_diag(7)", "every connection of the host", libc::SYS_socket, &[N(NETLINK), N(RAW), N(4)]),
    by_number("socket.express", "AF_XDP", "packets past the network stack", libc::SYS_socket, &[N(44), N(3), N(0)]),
    by_number("socket.key", "PF_KEY", "keys of encrypted packets", libc::SYS_socket, &[N(15), N(RAW), N(2)]),
    by_number("socket.cluster", "CVE-2022-0435", "the network of clusters (TIPC)", libc::SYS_socket, &[N(30), N(1), N(0)]),
    by_number("socket.bluetooth", "CVE-2020-12351", "Bluetooth", libc::SYS_socket, &[N(31), N(RAW), N(1)]),
    attempt("call.bpf-map", "bpf(2)", "kernel memory for programs", |_| {
        // array, key 4, value 8, one entry
        let words = [2_u32, 4, 8, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        bpf(0, &words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>())
    }),
    attempt("call.bpf-program", "CVE-2021-3490, CVE-2022-23222", "a program in the kernel", bpf_program),
    attempt("call.performance", "CVE-2013-2094", "counters of the processor and the kernel", |_| performance(true)),
    attempt("call.performance-kernel", "CVE-2013-2094", "samples of what the kernel does", |_| performance(false)),
    attempt("call.set-time", "settimeofday(2)", "the host's clock (with a zone that there is not)", |_| {
        let zone = [100_000_i32.to_ne_bytes(), 0_i32.to_ne_bytes()].concat();
        past(raw::call(libc::SYS_settimeofday, &mut [Arg::N(0), Arg::R(&zone)]))
    }),
    attempt("call.adjust-time", "adjtimex(2)", "the pace of the host's clock (to one that there is not)", |_| {
        past(raw::call(libc::SYS_adjtimex, &mut [Arg::W(&mut timex())]))
    }),
    attempt("call.adjust-clock", "clock_adjtime(2)", "the same by the newer call", |_| {
        past(raw::call(libc::SYS_clock_adjtime, &mut [Arg::N(0), Arg::W(&mut timex())]))
    }),
    attempt("call.io-privilege", "iopl(2)", "all ports of the machine", |_| past(raw::call(libc::SYS_iopl, &mut [Arg::N(3)]))),
    attempt("call.io-ports", "ioperm(2)", "one port of the machine", |_| {
        past(raw::call(libc::SYS_ioperm, &mut [Arg::N(0x80), Arg::N(1), Arg::N(1)]))
    }),
    attempt("call.segments", "CVE-2015-5157, CVE-2014-9322", "segments of its own", |_| {
        let mut table = [0; 64];
        past(raw::call(libc::SYS_modify_ldt, &mut [Arg::N(0), Arg::W(&mut table), Arg::N(64)]))
    }),
    attempt("call.older-mode", "filters that know one architecture", "a call of the older processor mode, which has other numbers", |_| {
        match raw::old_getpid() {
            got if got > 0 => Ok(format!("it returned {got}")),
            got => Err(no_effect(format!("it returned {got}"))),
        }
    }),
    attempt("call.x32", "filters that know one architecture", "a call by its number in the x32 table", |_| {
        past(raw::call(0x4000_0000 | libc::SYS_getpid, &mut []))
    }),
    attempt("call.type-ahead", "CVE-2017-5226, CVE-2023-28100", "type into a terminal", type_ahead),
    attempt("call.console-paste", "CVE-2023-28100 (TIOCLINUX)", "paste into a console", |_| {
        let mut code = [3; 8];
        past(raw::call(libc::SYS_ioctl, &mut [Arg::N(0), Arg::N(0x541c), Arg::W(&mut code)]))
    }),
];

fn bpf(command: i64, attr: &[u8]) -> Tried {
    let length = i64::try_from(attr.len()).unwrap_or(0);
    let fd = raw::call(
        libc::SYS_bpf,
        &mut [Arg::N(command), Arg::R(attr), Arg::N(length)],
    )?;
    drop(raw::own(fd));
    Ok("it was made".to_owned())
}

fn bpf_program(_: &Ground) -> Tried {
    // r0 = 0; exit
    let program = [0xb7_u64.to_ne_bytes(), 0x95_u64.to_ne_bytes()].concat();
    let license = *b"GPL\0";
    let mut attr = Vec::new();
    // A socket filter of two instructions.
    attr.extend_from_slice(&1_u32.to_ne_bytes());
    attr.extend_from_slice(&2_u32.to_ne_bytes());
    attr.extend_from_slice(&(program.as_ptr() as u64).to_ne_bytes());
    attr.extend_from_slice(&(license.as_ptr() as u64).to_ne_bytes());
    attr.resize(120, 0);
    bpf(5, &attr)
}

/// A counter of processor time, which every machine has; with the kernel's part or without.
pub(super) fn software_clock(user_only: bool) -> Vec<u8> {
    let mut attr = vec![0; 128];
    attr[0..4].copy_from_slice(&1_u32.to_ne_bytes());
    attr[4..8].copy_from_slice(&128_u32.to_ne_bytes());
    if user_only {
        // disabled, exclude_kernel, exclude_hv
        attr[40..48].copy_from_slice(&0b110_0001_u64.to_ne_bytes());
    }
    attr
}

fn performance(user_only: bool) -> Tried {
    let attr = software_clock(user_only);
    let fd = raw::call(
        libc::SYS_perf_event_open,
        &mut [Arg::R(&attr), Arg::N(0), Arg::N(-1), Arg::N(-1), Arg::N(0)],
    )?;
    drop(raw::own(fd));
    Ok("it counts".to_owned())
}

/// `ADJ_TICK` with a tick of 0, which is refused after the right was checked.
fn timex() -> Vec<u8> {
    let mut words = vec![0; 208];
    words[0..4].copy_from_slice(&0x4000_u32.to_ne_bytes());
    words
}

/// Into a terminal of its own: the call itself is what must not work, as a terminal that the job was
/// given would take it in the same way.
fn type_ahead(_: &Ground) -> Tried {
    // The end of the terminal must not end the attempt.
    raw::ignore_signal(libc::SIGHUP, true);
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let pair = rustix::fs::open("/dev/ptmx", flags, rustix::fs::Mode::empty());
    let pair = pair.map_err(|error| match error {
        rustix::io::Errno::NOENT => Stop::Absent("there are no terminals".to_owned()),
        error => error.into(),
    })?;
    let master = i64::from(pair.as_raw_fd());
    let unlock = 0_i32.to_ne_bytes();
    raw::call(
        libc::SYS_ioctl,
        &mut [Arg::N(master), Arg::N(0x4004_5431), Arg::R(&unlock)],
    )?;
    // TIOCGPTPEER
    let peer = raw::call(
        libc::SYS_ioctl,
        &mut [
            Arg::N(master),
            Arg::N(0x5441),
            Arg::N(i64::from(libc::O_RDWR | libc::O_NOCTTY)),
        ],
    )?;
    let peer = raw::own(peer);
    let _ = raw::call(
        libc::SYS_ioctl,
        &mut [Arg::N(peer.as_raw_fd().into()), Arg::N(0x540e), Arg::N(0)],
    );
    raw::call(
        libc::SYS_ioctl,
        &mut [
            Arg::N(peer.as_raw_fd().into()),
            Arg::N(0x5412),
            Arg::R(b"x"),
        ],
    )?;
    Ok("a key was typed".to_owned())
}

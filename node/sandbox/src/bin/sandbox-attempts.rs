//! What a hostile job would try; the tests run it inside a sandbox and read what it says.
//!
//! `calls` makes each forbidden system call and prints `NAME ERRNO` (0: it went through),
//! `eat` takes memory until it is killed, `fork` makes processes until it may not,
//! `connect PORT` tries the loopback interface, `threads` starts one.

#![expect(unsafe_code, reason = "raw system calls that no wrapper would make")]

use std::{
    ffi::{CStr, c_long},
    io,
    net::TcpStream,
    process::ExitCode,
};

/// Bytes touched at a time.
const CHUNK: usize = 1 << 20;
/// More than any limit of the tests.
const EAT_MAX: usize = 4 << 10;
const FORKS_MAX: usize = 5_000;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next()) {
        (Some("calls"), _) => calls(),
        (Some("eat"), _) => eat(),
        (Some("fork"), _) => forks(),
        (Some("connect"), Some(port)) => connect(&port),
        (Some("threads"), _) => {
            let sum = std::thread::spawn(|| 40 + 2).join().unwrap_or(0);
            println!("{sum}");
        }
        _ => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

/// An argument of a system call.
#[derive(Clone, Copy)]
enum Arg {
    N(c_long),
    S(&'static CStr),
}
use Arg::{N, S};

/// Name, number and first arguments (the rest is 0) of what no job may do.
#[rustfmt::skip]
const ATTEMPTS: &[(&str, c_long, &[Arg])] = &[
    ("mount", libc::SYS_mount, &[S(c"none"), S(c"/tmp"), S(c"tmpfs")]),
    ("umount2", libc::SYS_umount2, &[S(c"/proc"), N(libc::MNT_DETACH as c_long)]),
    ("pivot_root", libc::SYS_pivot_root, &[S(c"/"), S(c"/tmp")]),
    ("fsopen", libc::SYS_fsopen, &[S(c"tmpfs")]),
    ("open_tree", libc::SYS_open_tree, &[N(-100), S(c"/"), N(1)]),
    ("mount_setattr", libc::SYS_mount_setattr, &[N(-100), S(c"/")]),
    ("unshare-users", libc::SYS_unshare, &[N(libc::CLONE_NEWUSER as c_long)]),
    ("unshare-mounts", libc::SYS_unshare, &[N(libc::CLONE_NEWNS as c_long)]),
    ("unshare-net", libc::SYS_unshare, &[N(libc::CLONE_NEWNET as c_long)]),
    ("clone-users", libc::SYS_clone, &[N((libc::CLONE_NEWUSER | libc::SIGCHLD) as c_long)]),
    ("clone3", libc::SYS_clone3, &[]),
    ("setns", libc::SYS_setns, &[]),
    ("keyctl", libc::SYS_keyctl, &[N(0), N(-3)]),
    ("add_key", libc::SYS_add_key, &[S(c"user"), S(c"a"), S(c"b"), N(1), N(-3)]),
    ("io_uring_setup", libc::SYS_io_uring_setup, &[N(1)]),
    ("bpf", libc::SYS_bpf, &[]),
    ("perf_event_open", libc::SYS_perf_event_open, &[N(0), N(0), N(-1), N(-1)]),
    ("userfaultfd", libc::SYS_userfaultfd, &[N(1)]),
    ("ptrace", libc::SYS_ptrace, &[N(libc::PTRACE_ATTACH as c_long), N(1)]),
    ("ptrace-me", libc::SYS_ptrace, &[N(libc::PTRACE_TRACEME as c_long)]),
    ("process_vm_readv", libc::SYS_process_vm_readv, &[N(1)]),
    ("pidfd_getfd", libc::SYS_pidfd_getfd, &[]),
    ("kcmp", libc::SYS_kcmp, &[N(1), N(1)]),
    ("init_module", libc::SYS_init_module, &[]),
    ("kexec_load", libc::SYS_kexec_load, &[]),
    ("reboot", libc::SYS_reboot, &[]),
    ("swapon", libc::SYS_swapon, &[S(c"/etc/old")]),
    ("settimeofday", libc::SYS_settimeofday, &[]),
    ("sethostname", libc::SYS_sethostname, &[S(c"x"), N(1)]),
    ("open_by_handle_at", libc::SYS_open_by_handle_at, &[N(-100)]),
    ("syslog", libc::SYS_syslog, &[N(3)]),
    ("memfd_secret", libc::SYS_memfd_secret, &[]),
    ("personality", libc::SYS_personality, &[N(0x0040_0000)]),
    ("vsock", libc::SYS_socket, &[N(libc::AF_VSOCK as c_long), N(1)]),
    ("alg", libc::SYS_socket, &[N(libc::AF_ALG as c_long), N(5)]),
    ("packet", libc::SYS_socket, &[N(libc::AF_PACKET as c_long), N(3)]),
    ("raw", libc::SYS_socket, &[N(libc::AF_INET as c_long), N(libc::SOCK_RAW as c_long), N(1)]),
    ("raw6", libc::SYS_socket, &[N(libc::AF_INET6 as c_long), N(libc::SOCK_RAW as c_long), N(58)]),
    ("netfilter", libc::SYS_socket, &[N(libc::AF_NETLINK as c_long), N(3), N(12)]),
    ("audit", libc::SYS_socket, &[N(libc::AF_NETLINK as c_long), N(3), N(9)]),
    ("tiocsti", libc::SYS_ioctl, &[N(0), N(libc::TIOCSTI as c_long), S(c"x")]),
    ("mknod-disk", libc::SYS_mknodat, &[N(-100), S(c"/etc/sda"), N(0o60_660), N(0x800)]),
    ("unknown", 5_000, &[]),
];

fn calls() {
    for (name, number, given) in ATTEMPTS {
        let mut args = [0; 5];
        for (arg, given) in args.iter_mut().zip(*given) {
            *arg = match given {
                N(number) => *number,
                S(text) => text.as_ptr() as c_long,
            };
        }
        println!("{name} {}", errno_of(*number, &args));
    }
}

fn errno_of(number: c_long, args: &[c_long; 5]) -> i32 {
    let [a, b, c, d, e] = *args;
    // SAFETY: pointers among the arguments are C strings of the program or null. A `clone` that
    // went through would share nothing with its parent and print the same lines once more.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, 0) };
    if result >= 0 {
        0
    } else {
        io::Error::last_os_error().raw_os_error().unwrap_or(-1)
    }
}

fn eat() {
    let mut kept = Vec::new();
    for count in 1..=EAT_MAX {
        kept.push(vec![1_u8; CHUNK]);
        if count % 16 == 0 {
            println!("{count}");
        }
    }
    println!("never killed with {} pieces", kept.len());
}

fn forks() {
    for count in 0..FORKS_MAX {
        // SAFETY: this process has one thread; the child only sleeps.
        match unsafe { libc::fork() } {
            -1 => {
                println!("refused after {count}");
                return;
            }
            // SAFETY: waits for a signal, which is what ends the child.
            0 => unsafe {
                libc::pause();
                libc::_exit(0);
            },
            _ => {}
        }
    }
    println!("never refused");
}

fn connect(port: &str) {
    let Ok(port) = port.parse::<u16>() else {
        return;
    };
    match TcpStream::connect(("127.0.0.1", port)) {
        Ok(_) => println!("connected"),
        Err(error) => println!("{error}"),
    }
}

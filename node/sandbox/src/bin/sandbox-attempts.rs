//! What a hostile job would try; the tests run it inside a sandbox and read what it says.
//!
//! `calls` makes each forbidden system call and prints `NAME ERRNO` (0: it went through),
//! `eat` takes memory until it is killed, `fork` makes processes until it may not,
//! `connect PORT` tries the loopback interface, `say PORT` says hello there and prints the answer,
//! `threads` starts one, `escape PATH` leaves a `chroot` and looks for a file, `keyring` names its
//! session's keyring, `x86` makes a call as 32-bit programs do, `sync` asks for the host's
//! memory on the disk, `storm` is a tree of processes that do not want to end, `watches` opens all watchers of
//! files that it may, as several users, and keeps them, `abstract NAME`,
//! `signal PID` and `whiteout` say whether a socket, a process, a mark of an overlay can be had. `as USER PROGRAM` becomes another
//! user's program, `without seccomp PROGRAM` (or `fsopen`) one for which the kernel has no such call.

#![expect(unsafe_code, reason = "raw system calls that no wrapper would make")]

use std::{
    ffi::{CStr, c_long},
    io::{self, Read as _, Write as _},
    net::TcpStream,
    os::{linux::net::SocketAddrExt as _, unix::net::UnixStream},
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
        (Some("as"), Some(user)) => become_user(&user, args),
        (Some("say"), Some(port)) => println!("{}", say(&port).unwrap_or_else(|e| e.to_string())),
        (Some("without"), Some(calls)) => println!("{}", without(&calls, args)),
        (Some("escape"), Some(path)) => println!("{}", escaped(&path)),
        (Some("keyring"), _) => println!("{}", keyring()),
        (Some("x86"), _) => println!("{}", x86()),
        (Some("sync"), _) => println!("{}", errno_of(libc::SYS_sync, &[0; 5])),
        (Some("storm"), _) => storm(),
        (Some("watches"), _) => watches(),
        (Some("abstract"), Some(name)) => println!("{}", meets(&name)),
        (Some("signal"), Some(pid)) => println!("{}", signals(&pid)),
        (Some("whiteout"), _) => println!("{}", whiteout()),
        (Some("threads"), _) => {
            let sum = std::thread::spawn(|| 40 + 2).join().unwrap_or(0);
            println!("{sum}");
        }
        _ => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

/// Says how many there were, and does not end.
fn watches() {
    let mut opened = 0_u32;
    for user in 0..8 {
        // SAFETY: plain calls without pointers; the descriptors stay open.
        unsafe {
            libc::seteuid(user);
            while libc::inotify_init1(libc::IN_CLOEXEC) >= 0 {
                opened += 1;
            }
            libc::seteuid(0);
        }
    }
    println!("{opened}");
    loop {
        std::thread::park();
    }
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
    ("mknod-whiteout", libc::SYS_mknodat, &[N(-100), S(c"/etc/gone"), N(0o20_000), N(0)]),
    ("tiocsetd", libc::SYS_ioctl, &[N(0), N(libc::TIOCSETD as c_long), S(c"\x15")]),
    ("sctp", libc::SYS_socket, &[N(libc::AF_INET as c_long), N(libc::SOCK_STREAM as c_long), N(132)]),
    ("seqpacket", libc::SYS_socket, &[N(libc::AF_INET as c_long), N(libc::SOCK_SEQPACKET as c_long)]),
    ("mptcp6", libc::SYS_socket, &[N(libc::AF_INET6 as c_long), N(libc::SOCK_STREAM as c_long), N(262)]),
    ("io_setup", libc::SYS_io_setup, &[N(1)]),
    ("landlock", libc::SYS_landlock_create_ruleset, &[N(0), N(0), N(1)]),
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

/// Becomes a program; returns only with the reason why it could not.
fn without(calls: &str, mut command: impl Iterator<Item = String>) -> String {
    use std::os::unix::process::CommandExt as _;

    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
    let (calls, errno) = match calls {
        "seccomp" => (vec![libc::SYS_seccomp], libc::EINVAL),
        "fsopen" => (vec![libc::SYS_fsopen], libc::ENODEV),
        other => return format!("{other} is not known"),
    };
    let refused = SeccompAction::Errno(errno.unsigned_abs());
    let rules = calls.into_iter().map(|call| (call, Vec::new())).collect();
    let arch = std::env::consts::ARCH.try_into();
    let filter =
        arch.and_then(|arch| SeccompFilter::new(rules, SeccompAction::Allow, refused, arch));
    let program: Result<BpfProgram, _> = filter.and_then(TryInto::try_into);
    match program.map(|program| apply_filter(&program)) {
        Ok(Ok(())) => {}
        other => return format!("{other:?}"),
    }
    let program = command.next().unwrap_or_default();
    std::process::Command::new(program)
        .args(command)
        .exec()
        .to_string()
}

fn become_user(user: &str, mut command: impl Iterator<Item = String>) {
    use std::os::unix::process::CommandExt as _;
    let (Ok(id), Some(program)) = (user.parse(), command.next()) else {
        return;
    };
    let mut command_line = std::process::Command::new(program);
    println!("{}", command_line.args(command).gid(id).uid(id).exec());
}

fn say(port: &str) -> io::Result<String> {
    let port = port.parse::<u16>().map_err(io::Error::other)?;
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"hello")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The oldest way out: a root within the root, and a working directory that is not in it.
/// Whether a file can be read there.
fn escaped(path: &str) -> bool {
    let up = "../".repeat(64);
    std::os::unix::fs::chroot("/etc")
        .and_then(|()| std::env::set_current_dir(up))
        .and_then(|()| std::os::unix::fs::chroot("."))
        .is_ok_and(|()| std::fs::File::open(path).is_ok())
}

/// The number of the session's keyring, or the reason why it is not told.
fn keyring() -> c_long {
    // SAFETY: `KEYCTL_GET_KEYRING_ID` of the session's keyring takes no pointer.
    unsafe { libc::syscall(libc::SYS_keyctl, 0, -3, 0) }
}

/// The process's number by the call of another architecture; a filter that counts in the wrong one
/// would let it through.
#[cfg(target_arch = "x86_64")]
fn x86() -> i32 {
    let mut number: i32 = 20;
    // SAFETY: getpid has no arguments; the call of old keeps all other registers.
    unsafe {
        std::arch::asm!("int 0x80", inout("eax") number, options(nostack));
    }
    number
}

#[cfg(not(target_arch = "x86_64"))]
fn x86() -> i32 {
    -1
}

/// Whether an abstract socket of this name answers.
fn meets(name: &str) -> bool {
    std::os::unix::net::SocketAddr::from_abstract_name(name)
        .and_then(|name| UnixStream::connect_addr(&name))
        .is_ok()
}

/// Whether a process could be sent a signal.
fn signals(pid: &str) -> bool {
    let pid = pid.parse().unwrap_or(0);
    // SAFETY: the null signal does nothing.
    pid > 1 && unsafe { libc::kill(pid, 0) } == 0
}

/// The error of making the mark of a deleted name where no overlay sees to it.
fn whiteout() -> i32 {
    let name = c"/tmp/gone".as_ptr() as c_long;
    let (here, kind) = (libc::AT_FDCWD.into(), libc::S_IFCHR.into());
    errno_of(libc::SYS_mknodat, &[here, name, kind, 0, 0])
}

/// Processes that ignore what can be ignored: one leads a session of its own, one is stopped, one is
/// dead and not buried; and as many more as may be, each of which tries to have children for ever.
fn storm() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: both are valid for every signal; those that refuse are left alone.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // SAFETY: as above; the children must stay unburied.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    for kind in 0..3 {
        // SAFETY: this process has one thread; the child only makes plain calls.
        if unsafe { libc::fork() } == 0 {
            resist(kind);
        }
    }
    let mut said = false;
    loop {
        // SAFETY: as above.
        let refused = unsafe { libc::fork() } < 0;
        // By every process that meets the bound.
        if refused && !said {
            println!("raging");
            said = true;
        }
    }
}

fn resist(kind: u32) -> ! {
    // SAFETY: plain calls of a process with one thread.
    unsafe {
        match kind {
            0 => {
                libc::setsid();
            }
            1 => {
                libc::raise(libc::SIGSTOP);
            }
            _ => libc::_exit(0),
        }
        loop {
            libc::pause();
        }
    }
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

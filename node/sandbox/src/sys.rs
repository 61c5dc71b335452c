//! The system calls that no safe wrapper offers, and all `unsafe` of this crate.
//!
//! Everything that forks is meant for the helper and what comes from it: processes with one
//! thread, where a copy of the process is a whole process. Never called in a node itself.

#![expect(
    unsafe_code,
    reason = "raw system calls; each block says why it is sound"
)]

use std::{
    ffi::{CStr, CString, c_char, c_int, c_long, c_uint, c_void},
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
};

use rustix::process::Pid;

mod landlock;

pub(crate) use landlock::{
    LandlockRules, landlock_allow, landlock_restrict, landlock_rules, landlock_version,
};

/// Exit code of a process of ours that panicked.
const EXIT_PANIC: c_int = 70;

/// The namespaces of every job but that of its users.
pub(crate) const NAMESPACES: u64 = (libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP) as u64;
/// Mounts of its own.
#[cfg(test)]
pub(crate) const MOUNTS: u64 = libc::CLONE_NEWNS as u64;
/// The new process is a sibling, so that the caller's parent may wait for it.
pub(crate) const SIBLING: u64 = libc::CLONE_PARENT as u64;

/// Moves this process into new namespaces for users and for mounts. Fails where it has more than one
/// thread.
pub(crate) fn leave_users_and_mounts() -> io::Result<()> {
    // SAFETY: plain call without pointers; no descriptor table is unshared.
    checked(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) }.into())
}

/// Runs `child` in a copy of this process, which ends with its return value, in new namespaces
/// as `flags` says. Of descriptors it has 0, 1, 2 and those of `keep`; `child` must own none of
/// the others. Only for processes with one thread.
pub(crate) fn fork_with(
    flags: u64,
    keep: &[BorrowedFd<'_>],
    child: impl FnOnce() -> c_int,
) -> io::Result<Pid> {
    // With CLONE_PARENT the kernel takes the caller's own signal and wants none named.
    let exit_signal = if flags & SIBLING == 0 {
        libc::SIGCHLD as u64
    } else {
        0
    };
    // The first version of the kernel's `clone_args`, which the C library does not have everywhere.
    let mut args = [flags, 0, 0, 0, exit_signal, 0, 0, 0];
    // SAFETY: no memory is shared (no CLONE_VM) and no pointer is passed, so this is fork(2):
    // the child has its own copy of everything, and in a process with one thread no lock of the
    // allocator or the runtime can be held by somebody who is not there.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            std::mem::size_of_val(&args),
        )
    };
    match pid {
        0 => leave_with(|| close_all_but(keep).map_or(EXIT_PANIC, |()| child())),
        _ => returned_pid(pid),
    }
}

/// Stack of a process that stands in for us, bytes: what it forks lives on a copy of it. Only what is
/// used of it takes memory.
const BORROWED_STACK: usize = 4 * 1024 * 1024;
/// Stack of a process that does nothing, bytes.
const IDLE_STACK: usize = 16 * 1024;

/// Runs `child` in a process of its own that has this one's memory, while this one stands still.
/// That spares the copy of everything that a process has mapped. Only for processes with one thread.
pub(crate) fn run_aside<T>(child: impl FnOnce() -> T) -> io::Result<T> {
    struct Order<F, T> {
        child: Option<F>,
        done: Option<T>,
    }
    extern "C" fn obey<F: FnOnce() -> T, T>(order: *mut c_void) -> c_int {
        // SAFETY: it points to the local below, whose owner stands still until this has ended.
        let order = unsafe { &mut *order.cast::<Order<F, T>>() };
        let Some(child) = order.child.take() else {
            return EXIT_PANIC;
        };
        order.done = catch_unwind(AssertUnwindSafe(child)).ok();
        0
    }
    fn entry<F: FnOnce() -> T, T>(_: &F) -> extern "C" fn(*mut c_void) -> c_int {
        obey::<F, T>
    }
    let entry = entry(&child);
    let mut order = Order {
        child: Some(child),
        done: None,
    };
    let mut stack = vec![0_u128; BORROWED_STACK / 16];
    // SAFETY: CLONE_VFORK: no two of both ever run, so the shared memory, allocator and errno included,
    // is used by one at a time. The stack is as aligned as it has to be, grows down from its end, and
    // is freed only after the child has ended, as CLONE_VFORK says.
    let pid = unsafe {
        libc::clone(
            entry,
            stack.as_mut_ptr_range().end.cast(),
            libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
            (&raw mut order).cast(),
        )
    };
    let pid = returned_pid(pid.into())?;
    wait(pid)?;
    let gone = || io::Error::other("a process of ours was killed");
    order.done.ok_or_else(gone)
}

/// Has `with` look after a new user namespace by the process that is its first, which does nothing
/// and is gone when this returns. Only for processes with one thread.
pub(crate) fn with_new_users<T>(with: impl FnOnce(Pid) -> io::Result<T>) -> io::Result<T> {
    extern "C" fn stay(parent: *mut c_void) -> c_int {
        // SAFETY: plain calls. None of them fails, so none writes to the shared errno; the last never
        // returns. Whoever made this process kills it, or dies, which kills it too.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if libc::getppid() as usize == parent.addr() {
                libc::pause();
            }
        }
        0
    }
    let mut stack = vec![0_u128; IDLE_STACK / 16];
    // SAFETY: the child uses nothing of the shared memory but its own stack, which is freed only after
    // it was waited for.
    let pid = unsafe {
        libc::clone(
            stay,
            stack.as_mut_ptr_range().end.cast(),
            libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_NEWUSER | libc::SIGCHLD,
            ptr::without_provenance_mut(libc::getpid() as usize),
        )
    };
    let pid = returned_pid(pid.into())?;
    let made = with(pid);
    // SAFETY: plain call; the child has not been waited for, so the number is its own.
    unsafe { libc::kill(pid.as_raw_nonzero().get(), libc::SIGKILL) };
    wait(pid)?;
    made
}

/// Like [`fork_with`] without namespaces, but by the older call, which the job's own system
/// call filter lets through.
pub(crate) fn fork(child: impl FnOnce() -> c_int) -> io::Result<Pid> {
    // SAFETY: as in `fork_with`: one thread.
    let pid = unsafe { libc::fork() };
    match pid {
        0 => leave_with(child),
        _ => returned_pid(pid.into()),
    }
}

fn returned_pid(pid: c_long) -> io::Result<Pid> {
    let failed = || io::Error::last_os_error();
    c_int::try_from(pid)
        .ok()
        .filter(|pid| *pid > 0)
        .and_then(Pid::from_raw)
        .ok_or_else(failed)
}

fn leave_with(child: impl FnOnce() -> c_int) -> ! {
    let code = catch_unwind(AssertUnwindSafe(child)).unwrap_or(EXIT_PANIC);
    // SAFETY: ends the process without running the parent's exit handlers.
    unsafe { libc::_exit(code) }
}

/// Kills every process that this one sees, but itself. Only for process 1 of a namespace.
pub(crate) fn kill_all_others() {
    // SAFETY: no pointers. That nobody is left to kill is as good.
    unsafe { libc::kill(-1, libc::SIGKILL) };
}

/// What a waited-for process cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) cpu_ms: u64,
    pub(crate) peak_bytes: u64,
}

/// Waits for one child and takes its raw wait status.
pub(crate) fn wait(pid: Pid) -> io::Result<(c_int, Cost)> {
    let mut status: c_int = 0;
    // SAFETY: all-zero is a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to live locals of the right type.
        let got = unsafe {
            libc::wait4(
                pid.as_raw_nonzero().get(),
                &raw mut status,
                0,
                &raw mut usage,
            )
        };
        if got >= 0 {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    let ms = |t: libc::timeval| {
        u64::try_from(t.tv_sec).unwrap_or(0) * 1_000 + u64::try_from(t.tv_usec).unwrap_or(0) / 1_000
    };
    let peak_bytes = u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1_024;
    Ok((
        status,
        Cost {
            cpu_ms: ms(usage.ru_utime) + ms(usage.ru_stime),
            peak_bytes,
        },
    ))
}

/// Replaces this process; returns only with the reason why it could not.
pub(crate) fn execute(program: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings
            .iter()
            .map(|s| s.as_ptr())
            .chain([ptr::null()])
            .collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both arrays end with a null pointer and point to strings that outlive the call.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Closes every descriptor but 0, 1, 2 and those of `keep`.
pub(crate) fn close_all_but(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut kept: Vec<c_uint> = keep
        .iter()
        .filter_map(|fd| c_uint::try_from(fd.as_raw_fd()).ok())
        .collect();
    kept.sort_unstable();
    let mut first: c_uint = 3;
    for fd in kept.into_iter().filter(|fd| *fd >= 3).chain([c_uint::MAX]) {
        if first < fd {
            // SAFETY: called in fresh copies of a process and before exec, whose owners of the
            // closed descriptors are never dropped: exec and _exit do not run them.
            checked(unsafe { libc::syscall(libc::SYS_close_range, first, fd - 1, 0) })?;
        }
        first = fd.saturating_add(1);
    }
    Ok(())
}

/// Takes ownership of descriptor 0, where the launcher put the helper's socket.
pub(crate) fn take_stdin() -> io::Result<OwnedFd> {
    // Duplicated, so that the number 0 stays taken and no later file lands on it.
    // SAFETY: plain duplication; a closed descriptor 0 is an error, not undefined.
    let fd = unsafe { libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 3) };
    checked(fd.into())?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Changes a detached mount: its flags, and whose ids its owners are mapped through.
pub(crate) fn set_mount(
    mount: impl AsFd,
    flags: u64,
    users: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let id_flag = if users.is_some() {
        libc::MOUNT_ATTR_IDMAP
    } else {
        0
    };
    let attr = libc::mount_attr {
        attr_set: flags | id_flag,
        attr_clr: 0,
        propagation: 0,
        userns_fd: users.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    // SAFETY: `attr` is a live local whose size is passed; the path is an empty C string.
    let got = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            std::mem::size_of::<libc::mount_attr>(),
        )
    };
    checked(got)
}

/// Takes flags away from a mount and from all below it.
pub(crate) fn clear_mounts(mount: impl AsFd, flags: u64) -> io::Result<()> {
    let attr = libc::mount_attr {
        attr_set: 0,
        attr_clr: flags,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: as in `set_mount`.
    let got = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attr,
            std::mem::size_of::<libc::mount_attr>(),
        )
    };
    checked(got)
}

/// Sets the user and group that new files get, without touching anything else.
pub(crate) fn set_file_ids(uid: u32, gid: u32) {
    // SAFETY: no pointers; these calls cannot fail for root, and a failure shows as EOVERFLOW
    // of the mount that follows.
    unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
    }
}

/// Whether the kernel takes system call filters from this process.
pub(crate) fn filters_are_taken() -> io::Result<()> {
    let action: u32 = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the pointer is to a live number of the type that this question takes.
    let got = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL,
            0,
            &raw const action,
        )
    };
    checked(got)
}

/// Installs a system call filter for this process and all that come from it.
pub(crate) fn install_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let filter = libc::sock_fprog {
        len,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the length is the slice's, and the kernel only reads it.
    let got = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const filter,
        )
    };
    checked(got)
}

/// Whether two threads have one table of descriptors; no where the kernel cannot tell.
pub(crate) fn same_files(one: Pid, other: Pid) -> bool {
    /// `KCMP_FILES`.
    const FILES: c_int = 2;
    let (one, other) = (one.as_raw_nonzero().get(), other.as_raw_nonzero().get());
    // SAFETY: no pointers.
    unsafe { libc::syscall(libc::SYS_kcmp, one, other, FILES, 0, 0) == 0 }
}

/// Leaves the session keyring that came from the node for a new one that is empty.
pub(crate) fn own_keyring() -> io::Result<()> {
    /// `KEYCTL_JOIN_SESSION_KEYRING`.
    const JOIN: c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    let got = unsafe { libc::syscall(libc::SYS_keyctl, JOIN, ptr::null::<c_char>()) };
    match checked(got) {
        // A kernel without keys has none to take.
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        done => done,
    }
}

/// Gives every signal its default meaning again and unblocks all; exec keeps ignored ones.
pub(crate) fn reset_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: SIG_DFL is always valid; the few signals that refuse it are left alone.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: `set` is a live local that sigemptyset makes valid.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut());
    }
}

/// Lets the kernel reap this process's children by itself, or not.
pub(crate) fn reap_children_by_kernel(yes: bool) {
    let how = if yes { libc::SIG_IGN } else { libc::SIG_DFL };
    // SAFETY: both are always valid for SIGCHLD.
    unsafe { libc::signal(libc::SIGCHLD, how) };
}

/// Brings the loopback interface of this network namespace up.
pub(crate) fn loopback_up() -> io::Result<()> {
    // SAFETY: plain call; the result is checked before it becomes a descriptor.
    let raw = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    checked(raw.into())?;
    // SAFETY: the kernel just made this descriptor for us.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = c_char::from_ne_bytes([*from]);
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: `request` is a live local of the type that this request takes.
    let got = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) };
    checked(got.into())
}

fn checked(result: c_long) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

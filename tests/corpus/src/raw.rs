//! Raw system calls: what no wrapper would make is just what the attempts are for.
//!
//! All `unsafe` of this crate. The programs here have one thread, so that `fork` is sound.

#![expect(
    unsafe_code,
    reason = "attempts are calls that no safe wrapper offers; each block says why it is sound"
)]

use std::{
    ffi::{CStr, c_int, c_long},
    io,
    os::fd::{FromRawFd, OwnedFd, RawFd},
};

/// An argument of a system call.
#[derive(Debug)]
pub enum Arg<'a> {
    /// A number.
    N(i64),
    /// A string.
    S(&'a CStr),
    /// Bytes that the kernel reads.
    R(&'a [u8]),
    /// Bytes that the kernel writes.
    W(&'a mut [u8]),
}

/// Most arguments that a call takes.
const ARGS_MAX: usize = 6;

/// Makes the call; the result, if it is not an error.
///
/// # Errors
/// What the kernel says.
pub fn call(number: c_long, args: &mut [Arg<'_>]) -> io::Result<i64> {
    let mut words: [c_long; ARGS_MAX] = [0; ARGS_MAX];
    for (word, arg) in words.iter_mut().zip(args) {
        *word = match arg {
            Arg::N(number) => *number,
            Arg::S(text) => text.as_ptr() as c_long,
            Arg::R(bytes) => bytes.as_ptr() as c_long,
            Arg::W(bytes) => bytes.as_mut_ptr() as c_long,
        };
    }
    let [a, b, c, d, e, f] = words;
    // SAFETY: pointers among the arguments are to live strings and buffers of this process, whose
    // lengths the callers pass; a call that the kernel refuses changes nothing.
    let got = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if got == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(got)
    }
}

/// A copy of this process: `None` in the copy, its id in the original.
///
/// # Errors
/// What the kernel says.
pub fn fork() -> io::Result<Option<i32>> {
    // SAFETY: the programs of this crate that fork have one thread.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(pid)),
    }
}

/// Ends the process and runs nothing more of it.
pub fn exit(code: c_int) -> ! {
    // SAFETY: no handler runs, no memory is touched.
    unsafe { libc::_exit(code) }
}

/// Takes ownership of a descriptor that a call has returned.
pub fn own(fd: i64) -> OwnedFd {
    let fd = RawFd::try_from(fd).unwrap_or(-1);
    assert!(fd >= 0, "a descriptor is not negative");
    // SAFETY: the kernel just made this descriptor, and nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// `getpid` through the door for programs of the older processor mode.
#[cfg(target_arch = "x86_64")]
pub fn old_getpid() -> i64 {
    /// Its number there.
    const GETPID: i64 = 20;
    let got: i64;
    // SAFETY: the call takes no arguments and touches no memory; a kernel without that door ends
    // the process, which is an attempt's own child.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") GETPID => got, out("r8") _, out("r9") _,
            out("r10") _, out("r11") _);
    }
    got
}

/// No other processor has such a door.
#[cfg(not(target_arch = "x86_64"))]
pub fn old_getpid() -> i64 {
    -1
}

/// Gives a signal its default meaning or has it ignored.
pub fn ignore_signal(signal: c_int, yes: bool) {
    let how = if yes { libc::SIG_IGN } else { libc::SIG_DFL };
    // SAFETY: both are always valid.
    unsafe { libc::signal(signal, how) };
}

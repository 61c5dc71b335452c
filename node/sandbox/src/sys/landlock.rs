//! The kernel's calls for Landlock, for which there is no safe wrapper here. They bind the process that
//! makes them; which rights they leave is decided elsewhere.

use std::{
    ffi::c_int,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

use super::checked;

/// What a Landlock ruleset takes away where no rule gives it back: the kernel's own bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct LandlockRules {
    pub(crate) files: u64,
    pub(crate) network: u64,
    pub(crate) scopes: u64,
}

/// The kernel's argument for one rule.
#[repr(C, packed)]
struct LandlockBeneath {
    allowed: u64,
    parent: c_int,
}

/// `LANDLOCK_CREATE_RULESET_VERSION` and `LANDLOCK_RULE_PATH_BENEATH`.
const LANDLOCK_VERSION: c_int = 1;
const LANDLOCK_BENEATH: c_int = 1;

/// The version of the kernel's Landlock, 0 where there is none or where it is off.
pub(crate) fn landlock_version() -> u32 {
    // SAFETY: with this flag the kernel takes no pointer and makes nothing.
    let got = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            ptr::null::<LandlockRules>(),
            0,
            LANDLOCK_VERSION,
        )
    };
    u32::try_from(got).unwrap_or(0)
}

/// A new ruleset; the last words may be unknown to an older kernel if they are zero.
pub(crate) fn landlock_rules(rules: &LandlockRules) -> io::Result<OwnedFd> {
    // SAFETY: the pointer is to a live struct of the kernel's layout whose size is passed.
    let got = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            ptr::from_ref(rules),
            std::mem::size_of::<LandlockRules>(),
            0,
        )
    };
    checked(got)?;
    let fd = c_int::try_from(got).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Gives rights back for everything beneath a file.
pub(crate) fn landlock_allow(
    rules: BorrowedFd<'_>,
    parent: BorrowedFd<'_>,
    allowed: u64,
) -> io::Result<()> {
    let beneath = LandlockBeneath {
        allowed,
        parent: parent.as_raw_fd(),
    };
    // SAFETY: the pointer is to a live struct of the kernel's layout for this kind of rule.
    let got = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            rules.as_raw_fd(),
            LANDLOCK_BENEATH,
            &raw const beneath,
            0,
        )
    };
    checked(got)
}

/// Puts a ruleset up for this process and all that come from it.
pub(crate) fn landlock_restrict(rules: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no pointers.
    checked(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) })
}

//! Numbers of system calls: the C library's own, and of those that it names on some processors only the
//! kernel's. Calls from 424 on have one number everywhere. Never a number that a processor does not have.
#![expect(
    non_upper_case_globals,
    reason = "they are called what the C library calls them"
)]

// What is given here goes before what the C library gives.
pub(super) use libc::*;

pub(super) const SYS_fchmodat2: c_long = 452;
pub(super) const SYS_mseal: c_long = 462;

#[cfg(target_arch = "aarch64")]
pub(super) const SYS_sync_file_range: c_long = 84;

#[cfg(target_arch = "powerpc64")]
pub(super) const SYS_fadvise64: c_long = 233;
#[cfg(target_arch = "powerpc64")]
pub(super) const SYS_pkey_alloc: c_long = 384;
#[cfg(target_arch = "powerpc64")]
pub(super) const SYS_pkey_free: c_long = 385;
#[cfg(target_arch = "powerpc64")]
pub(super) const SYS_pkey_mprotect: c_long = 386;

#[cfg(target_arch = "s390x")]
pub(super) const SYS_pkey_mprotect: c_long = 384;
#[cfg(target_arch = "s390x")]
pub(super) const SYS_pkey_alloc: c_long = 385;
#[cfg(target_arch = "s390x")]
pub(super) const SYS_pkey_free: c_long = 386;

// Both once had one call for all of these, and number them since Linux 5.1 as they do newer calls.
#[cfg(any(target_arch = "powerpc64", target_arch = "s390x"))]
pub(super) const SYS_semtimedop: c_long = 392;
#[cfg(any(target_arch = "powerpc64", target_arch = "s390x"))]
pub(super) const SYS_semget: c_long = 393;
#[cfg(any(target_arch = "powerpc64", target_arch = "s390x"))]
pub(super) const SYS_semctl: c_long = 394;
#[cfg(any(target_arch = "powerpc64", target_arch = "s390x"))]
pub(super) const SYS_shmget: c_long = 395;
#[cfg(any(target_arch = "powerpc64", target_arch = "s390x"))]
pub(super) const SYS_shmctl: c_long = 396;
#[cfg(any(target_arch = "powerpc64", target_arch = "s390x"))]
pub(super) const SYS_shmat: c_long = 397;
#[cfg(any(target_arch = "powerpc64", target_arch = "s390x"))]
pub(super) const SYS_shmdt: c_long = 398;
#[cfg(any(target_arch = "powerpc64", target_arch = "s390x"))]
pub(super) const SYS_msgget: c_long = 399;
#[cfg(any(target_arch = "powerpc64", target_arch = "s390x"))]
pub(super) const SYS_msgsnd: c_long = 400;
#[cfg(any(target_arch = "powerpc64", target_arch = "s390x"))]
pub(super) const SYS_msgrcv: c_long = 401;
#[cfg(any(target_arch = "powerpc64", target_arch = "s390x"))]
pub(super) const SYS_msgctl: c_long = 402;

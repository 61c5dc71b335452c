//! Landlock: files only beneath the job's own root, whatever descriptor leads to them.
//!
//! Put up last, when the job's root is `/`. A directory of the host or of another mount that got in
//! as a descriptor, or behind a `chroot`, is of no use then. What each version of the kernel's
//! interface can do is done; what it cannot is told by [`Landlock::version`]. Owns nothing.

use std::{io, os::fd::AsFd};

use rustix::fs::{Mode, OFlags, open};

use crate::sys::{self, LandlockRules};

/// First version whose rules let files move between directories.
const VERSION_MIN: u32 = 2;
/// Newest version whose rights are known here.
const VERSION_MAX: u32 = 7;
/// Rights on files of version 2: the lowest 14 bits. Each later one adds the next.
const FILES_V2: u64 = (1 << 14) - 1;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;
const MAKE_CHAR: u64 = 1 << 6;
const MAKE_BLOCK: u64 = 1 << 11;
/// Abstract sockets and signals stay within the job.
const SCOPES: u64 = 0b11;

/// What of Landlock the kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Landlock {
    version: u32,
}

impl Landlock {
    /// Asks the kernel.
    pub(crate) fn find() -> Self {
        Self {
            version: sys::landlock_version(),
        }
    }

    /// The version of the interface; 0 where there is none that is of use.
    pub(crate) fn version(self) -> u32 {
        if self.version < VERSION_MIN {
            0
        } else {
            self.version
        }
    }

    /// Every right that this kernel can take away, as far as it is known here.
    fn handled(self) -> LandlockRules {
        let version = self.version().min(VERSION_MAX);
        let since = |first: u32, rights: u64| if version >= first { rights } else { 0 };
        LandlockRules {
            files: since(VERSION_MIN, FILES_V2) | since(3, TRUNCATE) | since(5, IOCTL_DEV),
            network: 0,
            scopes: since(6, SCOPES),
        }
    }

    /// Binds this process, and all that come from it, to what is beneath `/` now. Needs what a system
    /// call filter needs.
    pub(crate) fn restrict(self) -> io::Result<()> {
        if self.version() == 0 {
            return Ok(());
        }
        let handled = self.handled();
        let rules = sys::landlock_rules(&handled)?;
        // Devices are made by nobody inside, and spoken to only where ours are.
        let everywhere = handled.files & !(MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV);
        let allow = |path: &str, rights: u64| -> io::Result<()> {
            let beneath = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            sys::landlock_allow(rules.as_fd(), beneath.as_fd(), rights)
        };
        allow("/", everywhere)?;
        if handled.files & IOCTL_DEV != 0 {
            allow("/dev", IOCTL_DEV)?;
        }
        sys::landlock_restrict(rules.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(version: u32) -> LandlockRules {
        Landlock { version }.handled()
    }

    #[test]
    fn each_version_handles_what_it_knows() {
        assert_eq!(Landlock { version: 1 }.version(), 0);
        assert_eq!((of(1).files, of(1).scopes), (0, 0));
        assert_eq!(of(2).files, 0x3fff);
        assert_eq!(of(3).files, 0x7fff);
        assert_eq!(of(4).files, 0x7fff);
        assert_eq!((of(5).files, of(5).scopes), (0xffff, 0));
        assert_eq!((of(6).files, of(6).scopes), (0xffff, 3));
    }

    #[test]
    fn a_newer_kernel_is_asked_for_no_more_than_is_known() {
        assert_eq!(of(99), of(VERSION_MAX));
        assert_eq!(Landlock { version: 99 }.version(), 99);
    }
}

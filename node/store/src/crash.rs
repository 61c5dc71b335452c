//! Points at which a test kills the process. In a build without tests they are nothing.

/// A moment between two changes of the disk.
#[cfg(not(test))]
#[inline]
pub(crate) const fn point() {}

/// A moment between two changes of the disk: the process ends here, as by `kill -9`, when its
/// environment names this moment's number.
#[cfg(test)]
pub(crate) fn point() {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    };
    static PASSED: AtomicU64 = AtomicU64::new(0);
    static DEADLY: OnceLock<Option<u64>> = OnceLock::new();
    let deadly = DEADLY.get_or_init(|| std::env::var(ENV).ok()?.parse().ok());
    if deadly.is_some_and(|deadly| PASSED.fetch_add(1, Ordering::SeqCst) == deadly) {
        let this = rustix::process::getpid();
        let _ = rustix::process::kill_process(this, rustix::process::Signal::KILL);
    }
}

/// Names the number of the point at which a child process ends.
#[cfg(test)]
pub(crate) const ENV: &str = "CARAVAN_STORE_TEST_CRASH_AT";

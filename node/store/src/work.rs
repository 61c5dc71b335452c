//! Long work: how far it is, and whether it is to stop. It goes on in a thread of its own, less
//! urgent than everything else, so that whoever asked can listen and change their mind.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    error::{Result, StoreError},
    limits::FREEZE_NICE,
};

/// How often whoever asked is told how far it is.
const LOOK: Duration = Duration::from_millis(100);

/// Is told how much of how much is done; says whether to go on.
pub(crate) type Tell<'a> = dyn FnMut(u64, u64) -> bool + 'a;

/// A piece of long work, as who does it sees it.
#[derive(Default)]
pub(crate) struct Work {
    done: AtomicU64,
    total: AtomicU64,
    stop: AtomicBool,
    /// When it is to stop by itself.
    end: Option<Instant>,
}

impl Work {
    /// One that ends by itself after so many seconds.
    pub(crate) fn of_at_most(seconds: u64) -> Self {
        Self {
            end: Instant::now().checked_add(Duration::from_secs(seconds)),
            ..Self::default()
        }
    }

    /// There is so much more to do.
    pub(crate) fn expect(&self, amount: u64) {
        self.total.fetch_add(amount, Ordering::Relaxed);
    }

    /// So much more is done; an error once it is to stop.
    pub(crate) fn step(&self, amount: u64) -> Result<()> {
        self.done.fetch_add(amount, Ordering::Relaxed);
        if self.is_stopped() {
            return Err(StoreError::Stopped {
                what: "freeze or thaw trees".to_owned(),
            });
        }
        Ok(())
    }

    /// Whether it is to stop.
    pub(crate) fn is_stopped(&self) -> bool {
        let is_over = self.end.is_some_and(|end| Instant::now() >= end);
        is_over || self.stop.load(Ordering::Relaxed)
    }
}

/// Does `doing` in a thread of its own, and tells of it meanwhile. It ends soon after `tell` has
/// answered `false`; what it comes to then is its own matter.
pub(crate) fn beside<T: Send>(
    work: &Work,
    tell: &mut Tell<'_>,
    doing: impl FnOnce(&Work) -> T + Send,
) -> T {
    let listener = thread::current();
    // Who has changed their mind already is not kept waiting.
    if !tell(0, 0) {
        work.stop.store(true, Ordering::Relaxed);
    }
    thread::scope(|scope| {
        let running = scope.spawn(move || {
            // Of this thread alone, and of those that it starts. Where it is refused, it is not.
            let _ = rustix::process::setpriority_process(None, FREEZE_NICE);
            let result = doing(work);
            listener.unpark();
            result
        });
        while !running.is_finished() {
            thread::park_timeout(LOOK);
            let (done, total) = (
                work.done.load(Ordering::Relaxed),
                work.total.load(Ordering::Relaxed),
            );
            if !tell(done.min(total), total) {
                work.stop.store(true, Ordering::Relaxed);
            }
        }
        running
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

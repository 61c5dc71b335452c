//! Doing one thing to many items on all processors, in order of need and with the first error
//! stopping the rest. No thread outlives the call.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use crate::{error::Result, limits};

/// What the work of a thread mostly is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// Using a processor: as many threads as there are.
    Hashing,
    /// Waiting for the disk, which answers many requests at the price of one.
    Syncing,
}

/// Results waiting to be taken by the calling thread.
const WAITING_MAX: usize = 1024;

/// Calls `work(index, buffer)` for each index below `count` and hands each result to `take` on the
/// calling thread, in no particular order. `buffer` is scratch space of one thread that hashes.
pub(crate) fn each<T: Send>(
    load: Load,
    count: usize,
    work: impl Fn(usize, &mut Vec<u8>) -> Result<T> + Sync,
    mut take: impl FnMut(usize, T),
) -> Result<()> {
    let (threads, scratch) = match load {
        Load::Hashing => {
            let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get);
            (processors.min(limits::HASHERS_MAX), limits::READ_BYTES)
        }
        Load::Syncing => (limits::SYNCERS_MAX, 0),
    };
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let (sender, results) = mpsc::sync_channel(WAITING_MAX);
    thread::scope(|scope| {
        for _ in 0..threads.min(count) {
            let (sender, next, failed, work) = (sender.clone(), &next, &failed, &work);
            scope.spawn(move || {
                let mut buffer = vec![0; scratch];
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    match work(index, &mut buffer) {
                        Ok(result) => {
                            if sender.send((index, result)).is_err() {
                                return;
                            }
                        }
                        Err(error) => {
                            next.store(count, Ordering::Relaxed);
                            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                            failed.get_or_insert(error);
                            return;
                        }
                    }
                }
            });
        }
        drop(sender);
        for (index, result) in results {
            take(index, result);
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

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

impl Load {
    fn threads(self, count: usize) -> usize {
        let processors = || thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (most, each) = match self {
            Self::Hashing => (processors().min(limits::HASHERS_MAX), 1),
            Self::Syncing => (limits::SYNCERS_MAX, SYNCS_PER_THREAD),
        };
        most.min(count.div_ceil(each))
    }
}

/// A thread costs as much as this many waits for the disk.
const SYNCS_PER_THREAD: usize = 4;
/// Most neighbouring items that a thread takes at once: waking another thread costs as much as
/// reading a small file.
const RUN_MAX: usize = 64;
/// Runs waiting to be taken by the calling thread.
const WAITING_MAX: usize = 16;

/// Calls `work(index, buffer)` for each index below `count` and hands each result to `take` on the
/// calling thread, in no particular order. `buffer` is scratch space of one thread that hashes.
pub(crate) fn each<T: Send>(
    load: Load,
    count: usize,
    work: impl Fn(usize, &mut Vec<u8>) -> Result<T> + Sync,
    take: impl FnMut(usize, T),
) -> Result<()> {
    let scratch = match load {
        Load::Hashing => limits::READ_BYTES,
        Load::Syncing => 0,
    };
    each_with(load, count, || vec![0; scratch], work, take)
}

/// The same with whatever else a thread keeps from one item to the next, which is most often its
/// neighbour.
pub(crate) fn each_with<S, T: Send>(
    load: Load,
    count: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(usize, &mut S) -> Result<T> + Sync,
    mut take: impl FnMut(usize, T),
) -> Result<()> {
    let threads = load.threads(count);
    if threads <= 1 {
        // A thread would cost more than it is worth.
        let mut state = state();
        for index in 0..count {
            take(index, work(index, &mut state)?);
        }
        return Ok(());
    }
    // Several runs for each thread, since one may have the larger items.
    let run = (count / (threads.max(1) * 8)).clamp(1, RUN_MAX);
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let (sender, results) = mpsc::sync_channel(WAITING_MAX);
    let do_run = |first: usize, state: &mut S| -> Result<Vec<T>> {
        let last = count.min(first + run);
        (first..last).map(|index| work(index, state)).collect()
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next, failed) = (sender.clone(), &next, &failed);
            let (state, do_run) = (&state, &do_run);
            scope.spawn(move || {
                let mut state = state();
                loop {
                    let first = next.fetch_add(run, Ordering::Relaxed);
                    if first >= count {
                        return;
                    }
                    match do_run(first, &mut state) {
                        Ok(done) => {
                            if sender.send((first, done)).is_err() {
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
        for (first, done) in results {
            for (at, result) in done.into_iter().enumerate() {
                take(first + at, result);
            }
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreError;

    #[test]
    fn every_item_is_done_once_and_handed_over_by_its_number() {
        for count in [0, 1, 2, 63, 64, 65, 1000, 5000] {
            for load in [Load::Hashing, Load::Syncing] {
                let mut seen = vec![0u8; count];
                let work = |index: usize, _: &mut Vec<u8>| Ok(index * 3);
                each(load, count, work, |index, result| {
                    assert_eq!(result, index * 3);
                    seen[index] += 1;
                })
                .expect("nothing fails");
                assert!(seen.iter().all(|&times| times == 1), "{count} items");
            }
        }
    }

    #[test]
    fn the_first_error_ends_the_rest() {
        let done = AtomicUsize::new(0);
        let work = |index: usize, _: &mut Vec<u8>| {
            done.fetch_add(1, Ordering::Relaxed);
            match index {
                3 => Err(StoreError::refused(b"x", "it is the third")),
                _ => Ok(()),
            }
        };
        let failed = each(Load::Hashing, 1_000_000, work, |_, ()| {});
        let words = failed.expect_err("the third fails").to_string();
        assert!(words.contains("the third"), "{words}");
        assert!(done.into_inner() < 1_000_000);
    }
}

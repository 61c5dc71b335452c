//! Work directories that are made ready for the next steps after their last step, off the way of both:
//! making and removing directories is what a short step would mostly wait for on some disks.
//!
//! Only directories whose layer has been kept come here, so nothing of weight is in them. They lie in
//! the trash, where nobody finds them and the next start removes what a killed process left. Of what a
//! job could touch nothing is used again: `upper` is always a new directory.
//!
//! The thread is the store's: it begins with the first directory, and has ended when the store is
//! closed, with all of them removed.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::AtomicU64,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use rustix::fs::Mode;

use crate::{
    beneath,
    limits::{SPARES_MAX, SPARES_WAITING_MAX},
    remove::Trash,
};

/// Numbers of the names that the thread makes in the trash: far from all others.
const FIRST: u64 = 1 << 48;

/// What is ready, and who makes it so.
#[derive(Default)]
pub(crate) struct Spares {
    ready: Arc<Mutex<Vec<Vec<u8>>>>,
    running: Mutex<Option<Running>>,
}

struct Running {
    names: SyncSender<Vec<u8>>,
    thread: JoinHandle<()>,
}

impl Spares {
    /// The name in the trash of a directory with an empty `upper` and an empty `work`.
    pub(crate) fn take(&self) -> Option<Vec<u8>> {
        lock(&self.ready).pop()
    }

    /// Takes over the directory `name` of the trash; false if the caller has to remove it, because too
    /// many wait already or there can be no thread.
    pub(crate) fn give(&self, trash: BorrowedFd<'_>, name: &[u8]) -> bool {
        let mut running = lock(&self.running);
        if running.is_none() {
            *running = self.start(trash);
        }
        let names = running.as_ref().map(|running| &running.names);
        names.is_some_and(|names| names.try_send(name.to_vec()).is_ok())
    }

    /// Ends the thread and removes all that is ready; the next directory begins anew.
    pub(crate) fn close(&self) {
        if let Some(Running { names, thread }) = lock(&self.running).take() {
            drop(names);
            // It has said what went wrong.
            let _ = thread.join();
        }
    }

    fn start(&self, trash: BorrowedFd<'_>) -> Option<Running> {
        let trash = trash.try_clone_to_owned().ok()?;
        let (names, waiting) = sync_channel(SPARES_WAITING_MAX);
        let ready = Arc::clone(&self.ready);
        let thread = std::thread::Builder::new()
            .name("store-spares".to_owned())
            .spawn(move || work(&trash, &waiting, &ready))
            .ok()?;
        Some(Running { names, thread })
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn work(trash: &OwnedFd, names: &Receiver<Vec<u8>>, ready: &Mutex<Vec<Vec<u8>>>) {
    let count = AtomicU64::new(FIRST);
    let remover = Trash::new(trash.as_fd(), &count);
    for name in names {
        // One thread adds, so there are never more.
        let has_room = lock(ready).len() < SPARES_MAX;
        let made = if has_room {
            renew(trash, &name, &remover)
        } else {
            Ok(false)
        };
        match made {
            Ok(true) => lock(ready).push(name),
            Ok(false) | Err(_) => remove(trash, &name, &remover),
        }
    }
    for name in std::mem::take(&mut *lock(ready)) {
        remove(trash, &name, &remover);
    }
}

fn remove(trash: &OwnedFd, name: &[u8], remover: &Trash<'_>) {
    if let Err(error) = remover.remove(trash, name) {
        tracing::warn!(%error, "a work directory stays until the next start");
    }
}

/// Leaves an empty `work` and a new `upper` in a directory; false if it is not what it should be.
fn renew(trash: &OwnedFd, name: &[u8], remover: &Trash<'_>) -> io::Result<bool> {
    let dir = beneath::open_dir(trash, name)?;
    for (inside, _) in beneath::names(&dir)? {
        if inside != b"work" {
            remover.remove(&dir, &inside)?;
        }
    }
    let work = beneath::open_dir(&dir, b"work")?;
    for (inside, _) in beneath::names(&work)? {
        remover.remove(&work, &inside)?;
    }
    make_upper(&dir)?;
    Ok(true)
}

/// Makes the directory that takes what a job writes: its mode and owner are those of `/` inside.
pub(crate) fn make_upper(dir: impl AsFd) -> io::Result<()> {
    rustix::fs::mkdirat(dir.as_fd(), "upper", Mode::RWXU)?;
    let upper = beneath::open_dir(dir, b"upper")?;
    crate::owner::to_root(&upper)?;
    Ok(rustix::fs::fchmod(&upper, Mode::from_raw_mode(0o755))?)
}

impl Drop for Spares {
    fn drop(&mut self) {
        self.close();
    }
}

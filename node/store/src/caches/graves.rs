//! The way of caches out of the store: into the trash by a rename, which needs no room, and from there
//! when nobody waits any more. What a killed process leaves there goes at the next start.

use std::io;

use rustix::fd::BorrowedFd;

use crate::store::Store;

/// What was taken out of caches and is in the trash. Large ones take long to remove, so they go
/// when nobody waits for the lock any more: made before it is taken, dropped after.
pub(super) struct Graves {
    store: Store,
    names: Vec<Vec<u8>>,
}

impl Graves {
    pub(super) fn of(store: &Store) -> Self {
        Self {
            store: store.clone(),
            names: Vec::new(),
        }
    }

    /// Moves `name` from `at` into the trash.
    pub(super) fn take(&mut self, at: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
        self.names
            .push(self.store.inner.home.discard_from(at, name)?);
        Ok(())
    }
}

impl Drop for Graves {
    fn drop(&mut self) {
        let home = &self.store.inner.home;
        for name in &self.names {
            crate::crash::point();
            if let Err(error) = home.remove(home.trash(), name) {
                tracing::warn!(%error, "a part of a cache stays in the trash until the next start");
            }
        }
    }
}

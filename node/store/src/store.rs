//! The store as its users hold it: a handle that is cheap to clone and safe to share.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use caravan_protocol::ids::TreeId;

use crate::{
    beneath, commit,
    error::{Doing, Result},
    home::Home,
    index::Index,
    logs,
};

/// A store of blobs, trees, layers, claims, records and logs in one directory.
///
/// Calls block on the disk and are safe from many threads at once. What a call has returned is on
/// disk: neither a kill nor a power cut takes it back.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) index: Index,
    pub(crate) logs: logs::Live,
    /// Held while files enter or leave `objects/` and `layers/` together with the index.
    pub(crate) commit: Mutex<()>,
    // Dropped last, since it holds the lock.
    pub(crate) home: Home,
}

/// What a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stat {
    /// Distinct blobs.
    pub blobs: u64,
    /// Bytes of the distinct blobs.
    pub bytes: u64,
    /// Inodes under `objects/`: a blob has one for each mode and owner that files have it with.
    pub objects: u64,
    /// Layers that can be mounted.
    pub layers: u64,
    /// Claims.
    pub claims: u64,
    /// Named records.
    pub records: u64,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.inner.home.dir().display())
    }
}

impl Store {
    /// Opens the store in `dir`, making it if there is none, and removes what a killed process
    /// left half-done. Only one process has a store open at a time.
    pub fn open(dir: &Path) -> Result<Self> {
        let home = Home::open(dir)?;
        let index = Index::open(home.dir())?;
        let store = Self {
            inner: Arc::new(Inner {
                index,
                logs: logs::Live::default(),
                commit: Mutex::new(()),
                home,
            }),
        };
        store.inner.recover()?;
        Ok(store)
    }

    /// The store's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.inner.home.dir()
    }

    /// What the store holds. The cost does not depend on how much that is.
    pub fn stat(&self) -> Result<Stat> {
        let [objects, blobs, bytes, layers, claims, records] = self.inner.index.counts()?;
        Ok(Stat {
            blobs,
            bytes,
            objects,
            layers,
            claims,
            records,
        })
    }

    /// The directory of a layer that is laid out, to be mounted as a lower directory of an overlay
    /// and never written to.
    pub fn layer(&self, tree: TreeId) -> Result<Option<PathBuf>> {
        let known = self.inner.index.layer(tree)?.is_some();
        let path = self.inner.home.layer_path(&tree.to_string());
        Ok((known && path.is_dir()).then_some(path))
    }
}

impl Inner {
    /// Removes whatever the index does not name. Layers are few, so they are always compared; the
    /// objects only when something shows that a process was stopped in the middle.
    fn recover(&self) -> Result<()> {
        let mut stopped = self.home.clear_work()?;
        let what = || format!("list {}", self.home.dir().join("layers").display());
        for (name, _) in beneath::names(self.home.layers()).doing(what)? {
            let id = std::str::from_utf8(&name)
                .ok()
                .and_then(|name| name.parse().ok());
            let known = match id {
                Some(id) => self.index.layer(id)?.is_some(),
                None => false,
            };
            if !known {
                stopped = true;
                self.home.remove(self.home.layers(), &name)?;
            }
        }
        if stopped {
            let orphans = commit::orphans(self)?;
            tracing::debug!(count = orphans.len(), "removing objects of unfinished work");
            for path in orphans {
                commit::remove_orphan(self, &path)?;
            }
        }
        Ok(())
    }
}

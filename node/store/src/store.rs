//! The store as its users hold it: a handle that is cheap to clone and safe to share.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
};

use caravan_protocol::ids::TreeId;
use serde::{Deserialize, Serialize};

use crate::{
    error::{Result, StoreError},
    home::Home,
    index::Index,
    journal::Journal,
    leases::Guards,
    logs,
    marks::Disk,
    orphans,
    stacks::Images,
    uses::{Notes, Used},
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
    pub(crate) journal: Mutex<Journal>,
    pub(crate) logs: logs::Live,
    /// Held while files enter or leave `objects/` and `layers/` together with the index.
    pub(crate) commit: Mutex<()>,
    pub(crate) whole: Whole,
    /// The disk has failed to take bytes, and says so once: nobody knows whose they were.
    pub(crate) is_sick: AtomicBool,
    pub(crate) guards: Arc<Guards>,
    pub(crate) notes: Notes,
    pub(crate) images: Images,
    pub(crate) lent: crate::caches::Lent,
    pub(crate) cold: crate::cold::Open,
    /// Held while a collection goes on: there is one at a time.
    pub(crate) collecting: Mutex<()>,
    pub(crate) spares: crate::spares::Spares,
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

/// What a store takes up on its disk, bytes, by what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Held {
    /// Distinct blobs that are objects.
    pub objects: u64,
    /// Logs among them.
    pub logs: u64,
    /// Packs.
    pub packs: u64,
    /// Images of stacks.
    pub images: u64,
    /// Caches.
    pub caches: u64,
    /// The index.
    pub index: u64,
}

impl Held {
    /// All of it that a collection can free: not the index, which stays as large as it ever was.
    #[must_use]
    pub fn all(&self) -> u64 {
        let parts = [self.objects, self.packs, self.images, self.caches];
        parts.into_iter().fold(0, u64::saturating_add)
    }
}

/// Trees that were found complete, so that a stack of large layers is not read anew for each step
/// on it. Emptied whenever anything is forgotten.
pub(crate) struct Whole(Mutex<(u64, BTreeSet<TreeId>)>, Arc<Guards>);

/// Trees that are remembered as complete.
const WHOLE_MAX: usize = 65_536;

impl Whole {
    fn new(guards: &Arc<Guards>) -> Self {
        Self(Mutex::default(), Arc::clone(guards))
    }

    /// Whether this tree is known to be complete; if not, the moment to hand to [`Whole::add`].
    pub(crate) fn has(&self, tree: TreeId) -> (bool, u64) {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, moment) = (state.1.contains(&tree), state.0);
        if known {
            self.1.found_whole(tree);
        }
        (known, moment)
    }

    /// Remembers what was found after `moment`, unless something was forgotten since.
    pub(crate) fn add(&self, tree: TreeId, moment: u64) {
        self.1.found_whole(tree);
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 == moment && state.1.len() < WHOLE_MAX {
            state.1.insert(tree);
        }
    }

    /// To be called after the index has forgotten something.
    pub(crate) fn clear(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 += 1;
        state.1.clear();
    }
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
        let guards = Arc::new(Guards::default());
        let index = Index::open(home.dir(), Arc::clone(&guards))?;
        let journal = Journal::open(home.dir(), index.journal()?)?;
        let store = Self {
            inner: Arc::new(Inner {
                index,
                journal: Mutex::new(journal),
                logs: logs::Live::default(),
                commit: Mutex::new(()),
                whole: Whole::new(&guards),
                is_sick: AtomicBool::new(false),
                guards,
                notes: Notes::default(),
                images: Images::open(home.dir())?,
                lent: crate::caches::Lent::default(),
                cold: crate::cold::Open::default(),
                collecting: Mutex::new(()),
                spares: crate::spares::Spares::default(),
                home,
            }),
        };
        store.inner.recover()?;
        store.inner.load_pins()?;
        match store.settle_claims() {
            // They are here all the same, and a collection may make room.
            Err(error @ (StoreError::Full { .. } | StoreError::ReadOnly { .. })) => {
                tracing::warn!(%error, "claims stay in their journal");
            }
            settled => settled?,
        }
        store.inner.home.keep_spare();
        Ok(store)
    }

    /// The store's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.inner.home.dir()
    }

    /// What the store holds. The cost does not depend on how much that is.
    pub fn stat(&self) -> Result<Stat> {
        let pending = self.pending_claims();
        let [objects, blobs, bytes, layers, claims, records] = self.inner.index.counts()?;
        let claims = claims + pending;
        Ok(Stat {
            blobs,
            bytes,
            objects,
            layers,
            claims,
            records,
        })
    }

    /// The file system that the store is on, and what the store holds of it.
    pub fn disk(&self) -> Result<Disk> {
        // A file system that does not tell has room for ever.
        let (total, free) = rustix::fs::statvfs(self.dir()).map_or((0, 0), |disk| {
            let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
            (bytes(disk.f_blocks), bytes(disk.f_bavail))
        });
        Ok(Disk {
            total,
            free,
            held: self.takes_up()?.all(),
        })
    }

    /// What the store takes up, but for how much of that are logs.
    fn takes_up(&self) -> Result<Held> {
        let packs = self.packs()?;
        let index = std::fs::metadata(self.dir().join("index.redb"));
        Ok(Held {
            objects: self.stat()?.bytes,
            logs: 0,
            packs: packs.iter().map(|(_, facts)| facts.bytes).sum(),
            images: self.image_bytes(),
            caches: crate::caches::Shelf::of(self).held()?.1,
            index: index.map_or(0, |index| index.len()),
        })
    }

    /// What the store takes up, by what it is. Logs are looked for one by one.
    pub fn held(&self) -> Result<Held> {
        let mut held = self.takes_up()?;
        for (blob, used) in self.uses()? {
            if used.kind == Used::Log {
                let named = self.inner.index.named(blob)?;
                held.logs += named.first().map_or(0, |(_, size)| *size);
            }
        }
        Ok(held)
    }

    /// How many caches there are.
    pub fn caches(&self) -> Result<u64> {
        Ok(crate::caches::Shelf::of(self).held()?.0)
    }

    /// How many things are leased or pinned at the moment.
    #[must_use]
    pub fn leased(&self) -> usize {
        self.inner.guards.leased_count()
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
    /// objects only when the last process did not get to close the store.
    fn recover(&self) -> Result<()> {
        let unfinished = self.home.clear_work()?;
        let layers = orphans::layers(self)?;
        let objects = if self.home.was_cut_off() || unfinished || !layers.is_empty() {
            orphans::objects(self)?
        } else {
            Vec::new()
        };
        for path in layers.iter().chain(&objects) {
            tracing::debug!(path = %String::from_utf8_lossy(path), "removing what is unfinished");
            orphans::remove(self, path)?;
        }
        crate::cold::recover(self)?;
        self.home.set_recovered();
        Ok(())
    }
}

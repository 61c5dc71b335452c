//! Caches: directories that outlive the steps that fill them, by trust domain and name.
//!
//! ```text
//! caches/<hash of domain and name>/about           both as text; its time is that of the last use
//! caches/<hash of domain and name>/3-81920         what the third release changed: a layer
//! caches/<hash of domain and name>/4-90112-whole   everything up to the fourth; hides those before
//! ```
//!
//! A cache's version is a stack of layers that nobody writes to. Each borrower has it as the lower
//! layers of an overlay with an upper directory of its own, so it costs nothing to lend and nobody
//! sees another's writes. Released, that upper directory becomes the top layer by a rename, unless
//! another borrower was first; then it is dropped. A stack that has grown tall is poured into one
//! layer, whose files are links. Caches are no part of the index, no action's result and no layer
//! of a root; losing one costs time only. This file owns them; it mounts nothing.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use graves::Graves;
use layer::{Layer, is_name, name_of};
use rustix::{
    fs::{AtFlags, Gid, Mode, OFlags, RenameFlags, Stat, Uid},
    io::Errno,
};

use crate::{
    beneath,
    error::{Doing, Result, StoreError},
    limits,
    store::Store,
    temp::Workspace,
};

mod graves;
mod layer;
mod pour;
mod room;
mod weigh;

const CACHES: &str = "caches";
const ABOUT: &str = "about";

/// The caches of one store.
#[derive(Debug, Clone)]
pub struct Caches {
    inner: Arc<Shelf>,
}

#[derive(Debug)]
pub(crate) struct Shelf {
    store: Store,
    bounds: Bounds,
}

/// Borrowers of each cache. Held while layers of any cache come or go.
pub(crate) type Lent = Mutex<BTreeMap<String, u32>>;

/// How much caches may take up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Caches at once.
    pub count: usize,
    /// Bytes of all together.
    pub bytes: u64,
    /// Bytes of one; one that has more begins anew.
    pub each_bytes: u64,
    /// Layers of one before they are poured into one.
    pub layers: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            count: limits::CACHES_MAX,
            bytes: limits::CACHES_BYTES_MAX,
            each_bytes: limits::CACHE_BYTES_MAX,
            layers: limits::CACHE_LAYERS_MAX,
        }
    }
}

/// What became of a borrower's writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Released {
    /// They are in the cache.
    Kept,
    /// Another borrower was first; they are gone.
    Overtaken,
    /// The cache is empty now: it had become larger than it may be, or could not be poured.
    Emptied {
        /// What was wrong with it.
        why: String,
    },
}

/// A cache on loan to one step. Dropped without a release, what was written is gone.
#[derive(Debug)]
pub struct LentCache {
    // Its files go before the cache counts as free.
    workspace: Workspace,
    layers: Vec<Layer>,
    loan: Loan,
}

/// That somebody has this cache.
#[derive(Debug)]
struct Loan {
    shelf: Arc<Shelf>,
    name: String,
}

impl Caches {
    /// The caches of `store`, within the usual bounds.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self::bounded(store, Bounds::default())
    }

    /// The caches of `store`. What a killed process left is removed.
    #[must_use]
    pub fn bounded(store: Store, bounds: Bounds) -> Self {
        let inner = Arc::new(Shelf { store, bounds });
        if let Err(error) = inner.sweep() {
            // Whatever it was shows again, with its words, when a cache is asked for.
            tracing::warn!(%error, "caches were not tidied up");
        }
        Self { inner }
    }

    /// Lends the cache `id` of a trust domain to a step of this user, who owns its directory. A new
    /// one is empty.
    pub fn lend(&self, domain: &str, id: &str, user: (u32, u32)) -> Result<LentCache> {
        let shelf = &self.inner;
        let workspace = shelf.store.workspace()?;
        let name = name_of(domain, id);
        let mut graves = Graves::of(&shelf.store);
        let mut lent = shelf.lock();
        let cache = shelf.open_or_make(&lent, &name, (domain, id), &mut graves)?;
        let layers = shelf.layers(&cache)?;
        *lent.entry(name.clone()).or_default() += 1;
        drop(lent);
        let lent = LentCache {
            workspace,
            layers,
            loan: Loan {
                shelf: Arc::clone(shelf),
                name,
            },
        };
        lent.dress_upper(user)?;
        Ok(lent)
    }

    /// How many caches there are, and their bytes.
    pub fn usage(&self) -> Result<(usize, u64)> {
        let _guard = self.inner.lock();
        let all = self.inner.all()?;
        Ok((all.len(), all.iter().map(|found| found.bytes).sum()))
    }

    /// Removes caches that nobody has, the least recently used first, until at most `bytes` are
    /// left, and says how many bytes went.
    pub fn shrink_to(&self, bytes: u64) -> Result<u64> {
        let mut graves = Graves::of(&self.inner.store);
        let lent = self.inner.lock();
        self.inner.evict(&lent, usize::MAX, bytes, &mut graves)
    }
}

impl LentCache {
    /// The layers that hold what is in the cache, lowest first; never to be written to.
    #[must_use]
    pub fn lowers(&self) -> Vec<PathBuf> {
        let cache = self.loan.shelf.path(&self.loan.name);
        self.layers
            .iter()
            .map(|layer| cache.join(&layer.name))
            .collect()
    }

    /// Where its borrower's writes go.
    #[must_use]
    pub fn upper(&self) -> PathBuf {
        self.workspace.upper()
    }

    /// The overlay's own directory.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.workspace.work()
    }

    /// Gives the cache back with what was written. No process may use it any more.
    pub fn release(self) -> Result<Released> {
        let shelf = Arc::clone(&self.loan.shelf);
        let upper = self.open_upper()?;
        let weight = weigh::weigh(&upper)?;
        if weight.entries == 0 && !self.layers.is_empty() {
            return Ok(Released::Kept);
        }
        let before = self.layers.iter().map(|layer| layer.bytes).sum::<u64>();
        let grown = before.saturating_add(weight.bytes) > shelf.bounds.each_bytes;
        let number = self.layers.last().map_or(0, |layer| layer.number) + 1;
        let staged = if grown || self.layers.len() + 1 > shelf.bounds.layers {
            let staged = self.workspace.path().join("whole");
            match self.pour(&staged, &upper) {
                Ok(weight) => Ok((staged, Layer::new(number, weight.bytes, true))),
                // Another try would meet the same.
                Err(error @ (StoreError::Refused { .. } | StoreError::TooMany { .. })) => {
                    Err(error.to_string())
                }
                Err(error) => return Err(error),
            }
        } else {
            let whole = self.layers.is_empty();
            Ok((self.upper(), Layer::new(number, weight.bytes, whole)))
        };
        let most = shelf.bounds.each_bytes;
        let staged = staged.and_then(|(staged, layer)| match layer.bytes > most {
            true => Err(format!("it has {} bytes and may have {most}", layer.bytes)),
            false => Ok((staged, layer)),
        });
        let mut graves = Graves::of(&shelf.store);
        let lent = shelf.lock();
        let cache = shelf.open(&self.loan.name)?;
        if shelf.layers(&cache)?.last() != self.layers.last() {
            return Ok(Released::Overtaken);
        }
        let (staged, layer) = match staged {
            Ok(staged) => staged,
            Err(why) => {
                let empty = Layer::new(number, 0, true);
                rustix::fs::mkdirat(&cache, &empty.name, Mode::from_raw_mode(0o755))
                    .doing(|| self.loan.what("begin anew"))?;
                return Ok(Released::Emptied { why });
            }
        };
        // A power cut must not leave a layer under its name with files that never reached the disk.
        rustix::fs::syncfs(&cache).doing(|| self.loan.what("write to the disk"))?;
        rustix::fs::renameat_with(
            rustix::fs::CWD,
            &staged,
            &cache,
            &layer.name,
            RenameFlags::NOREPLACE,
        )
        .doing(|| self.loan.what("keep what was written to"))?;
        crate::crash::point();
        rustix::fs::fsync(&cache).doing(|| self.loan.what("write to the disk"))?;
        shelf.evict(&lent, usize::MAX, shelf.bounds.bytes, &mut graves)?;
        Ok(Released::Kept)
    }

    /// Makes one layer of all that the borrower sees.
    fn pour(&self, to: &std::path::Path, upper: &OwnedFd) -> Result<weigh::Weight> {
        let what = || self.loan.what("pour the layers of");
        let home = &self.loan.shelf.store.inner.home;
        std::fs::create_dir(to).doing(what)?;
        let flat = beneath::open_trusted_dir(to).doing(what)?;
        let mut pouring = pour::Pouring::new(home, flat.as_fd());
        for lower in self.lowers() {
            let layer = beneath::open_trusted_dir(&lower).doing(what)?;
            pouring.add(layer.as_fd())?;
        }
        pouring.add(upper.as_fd())?;
        pouring.finish()?;
        weigh::weigh(&flat)
    }

    fn open_upper(&self) -> Result<OwnedFd> {
        beneath::open_trusted_dir(&self.upper()).doing(|| self.loan.what("open"))
    }

    /// The directory itself is the user's; its mode is what the last one left.
    fn dress_upper(&self, (uid, gid): (u32, u32)) -> Result<()> {
        let what = || self.loan.what("prepare");
        let upper = self.open_upper()?;
        let top = self.lowers().pop();
        let mode = match top {
            Some(top) => rustix::fs::stat(&top).doing(what)?.st_mode & 0o7777,
            None => 0o755,
        };
        let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::fchown(&upper, owner.0, owner.1).doing(what)?;
        rustix::fs::fchmod(&upper, Mode::from_raw_mode(mode)).doing(what)
    }
}

impl Loan {
    fn what(&self, doing: &str) -> String {
        format!("{doing} {CACHES}/{} of the store", self.name)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let mut graves = Graves::of(&self.shelf.store);
        let mut lent = self.shelf.lock();
        let count = lent.entry(self.name.clone()).or_default();
        *count = count.saturating_sub(1);
        if *count == 0 {
            lent.remove(&self.name);
            if let Err(error) = self.shelf.drop_hidden(&self.name, &mut graves) {
                tracing::warn!(%error, "old layers of a cache stay until the next start");
            }
        }
    }
}

/// A cache as it is on disk.
struct Found {
    name: String,
    used: (i64, u32),
    bytes: u64,
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, u32>> {
        let lent = &self.store.inner.lent;
        lent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.store.dir().join(CACHES).join(name)
    }

    /// The directory of all caches, made if it is not there.
    fn top(&self) -> Result<OwnedFd> {
        let path = self.store.dir().join(CACHES);
        let what = || format!("open {} in the store", path.display());
        match rustix::fs::mkdir(&path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).doing(what),
        }
        beneath::open_trusted_dir(&path).doing(what)
    }

    fn open(&self, name: &str) -> Result<OwnedFd> {
        let what = || format!("open {CACHES}/{name} of the store");
        beneath::open_dir(&self.top()?, name.as_bytes()).doing(what)
    }

    fn open_or_make(
        &self,
        lent: &BTreeMap<String, u32>,
        name: &str,
        (domain, id): (&str, &str),
        graves: &mut Graves,
    ) -> Result<OwnedFd> {
        let what = || format!("make {CACHES}/{name} in the store");
        let top = self.top()?;
        let found = rustix::fs::statat(&top, name, AtFlags::SYMLINK_NOFOLLOW);
        if matches!(found, Err(Errno::NOENT)) {
            self.evict(lent, self.bounds.count.saturating_sub(1), u64::MAX, graves)?;
            if self.all()?.len() >= self.bounds.count {
                return Err(StoreError::TooMany {
                    what: "cache, since steps that run have all others,".to_owned(),
                    max: self.bounds.count as u64,
                });
            }
            rustix::fs::mkdirat(&top, name, Mode::RWXU).doing(what)?;
        }
        let cache = self.open(name)?;
        // Written again at each use: its time is what eviction goes by.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let about =
            rustix::fs::openat(&cache, ABOUT, flags, Mode::RUSR | Mode::WUSR).doing(what)?;
        let text = format!("{domain}\n{id}\n");
        rustix::io::write(&about, text.as_bytes()).doing(what)?;
        Ok(cache)
    }

    /// The layers that are seen, lowest first.
    fn layers(&self, cache: &OwnedFd) -> Result<Vec<Layer>> {
        let mut layers = self.parsed(cache)?;
        if let Some(whole) = layers.iter().rposition(|layer| layer.whole) {
            layers.drain(..whole);
        }
        Ok(layers)
    }

    fn parsed(&self, cache: &OwnedFd) -> Result<Vec<Layer>> {
        let names = beneath::names(cache).doing(|| "list a cache of the store".to_owned())?;
        let mut layers: Vec<Layer> = names
            .iter()
            .filter_map(|(name, _)| Layer::parse(name))
            .collect();
        layers.sort();
        Ok(layers)
    }

    /// Removes layers that a whole one hides, and whatever else is not of a cache. Nobody has it.
    fn drop_hidden(&self, name: &str, graves: &mut Graves) -> Result<()> {
        let cache = self.open(name)?;
        let seen = self.layers(&cache)?;
        for (found, _) in beneath::names(&cache).doing(|| "list a cache of the store".to_owned())? {
            let is_seen = seen.iter().any(|layer| layer.name.as_bytes() == found);
            if !is_seen && found != ABOUT.as_bytes() {
                self.bury(&cache, &found, graves)?;
            }
        }
        Ok(())
    }

    fn sweep(&self) -> Result<()> {
        let mut graves = Graves::of(&self.store);
        let _guard = self.lock();
        let top = self.top()?;
        for (name, _) in beneath::names(&top).doing(|| "list the caches of the store".to_owned())? {
            match std::str::from_utf8(&name) {
                Ok(text) if is_name(text) => self.drop_hidden(text, &mut graves)?,
                _ => self.bury(&top, &name, &mut graves)?,
            }
        }
        Ok(())
    }

    fn bury(&self, at: &OwnedFd, name: &[u8], graves: &mut Graves) -> Result<()> {
        crate::crash::point();
        graves
            .take(at.as_fd(), name)
            .doing(|| format!("take {} out of {CACHES}", String::from_utf8_lossy(name)))
    }

    fn all(&self) -> Result<Vec<Found>> {
        let what = || "list the caches of the store".to_owned();
        let top = self.top()?;
        let mut all = Vec::new();
        for (name, _) in beneath::names(&top).doing(what)? {
            let Some(name) = String::from_utf8(name).ok().filter(|name| is_name(name)) else {
                continue;
            };
            match self.look(name) {
                Ok(found) => all.push(found),
                // The others can be lent, counted and collected all the same.
                Err(error) => tracing::warn!(%error, "a cache cannot be read; it is left alone"),
            }
        }
        Ok(all)
    }

    fn look(&self, name: String) -> Result<Found> {
        let cache = self.open(&name)?;
        let used = rustix::fs::statat(&cache, ABOUT, AtFlags::SYMLINK_NOFOLLOW);
        // One without its file was never lent to anybody.
        let nanoseconds = |ns| u32::try_from(ns).unwrap_or(0);
        let used = used.map_or((0, 0), |stat: Stat| {
            (stat.st_mtime, nanoseconds(stat.st_mtime_nsec))
        });
        let bytes = self.parsed(&cache)?.iter().map(|layer| layer.bytes).sum();
        Ok(Found { name, used, bytes })
    }

    /// Removes caches that nobody has, least recently used first, down to so many and so much.
    fn evict(
        &self,
        lent: &BTreeMap<String, u32>,
        count: usize,
        bytes: u64,
        graves: &mut Graves,
    ) -> Result<u64> {
        let mut all = self.all()?;
        all.sort_by(|a, b| (a.used, &a.name).cmp(&(b.used, &b.name)));
        let (mut left, mut total) = (all.len(), all.iter().map(|found| found.bytes).sum::<u64>());
        let mut gone = 0;
        let top = self.top()?;
        for found in all.iter().filter(|found| !lent.contains_key(&found.name)) {
            if left <= count && total <= bytes {
                break;
            }
            self.bury(&top, found.name.as_bytes(), graves)?;
            (left, total, gone) = (left - 1, total - found.bytes, gone + found.bytes);
        }
        Ok(gone)
    }
}

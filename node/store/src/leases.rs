//! What must not be collected just now, and what a running collection must not miss.
//!
//! All of it is in memory and of this process; what survives a restart is a pin, which counts here
//! as a lease that nobody drops. There are four words:
//!
//! - A **lease** names trees and blobs. Whoever takes one *before* looking whether they are here
//!   has them for as long as it lives.
//! - A **hold** names nothing: what is added or found whole while it lives stays until it ends. It
//!   bridges the moment between making something and knowing its id.
//! - A **flight** is a change of the store under way, from its first look to its commit. It is
//!   short, and a collection waits for those that looked before it began.
//! - A **sweep** writes down every object that anybody finds or adds meanwhile, so that it removes
//!   none that somebody now counts on; and what it has removed is found by nobody any more, not
//!   even by those who read an older state of the index.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use caravan_protocol::ids::{BlobId, TreeId};

use crate::{object::Key, store::Store};

mod sweep;
#[cfg(test)]
mod tests;

use sweep::{Bounds, Sweep};

/// How long a collection waits at a time for changes that began before it.
const LOOK: Duration = Duration::from_millis(100);
/// How long in all: changes of the store are short, so that is long.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// How long when it has ended: then only memory is at stake.
const LAST_WAIT_MAX: Duration = Duration::from_secs(5);

/// The guards of one store.
#[derive(Default)]
pub(crate) struct Guards {
    bounds: Bounds,
    state: Mutex<State>,
    landed: Condvar,
    /// Whether a sweep writes down what is found; so that finding costs nothing otherwise.
    sweeping: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Counts up with everything that has an order.
    tick: u64,
    leased: BTreeMap<BlobId, usize>,
    holds: BTreeSet<u64>,
    flights: BTreeSet<u64>,
    /// What was added or found whole while there was a hold, with when last.
    touched: BTreeMap<BlobId, u64>,
    /// When last something was to be written there and found no room: holds that are older keep
    /// everything.
    overfull: Option<u64>,
    /// The layers whose directories are being taken away.
    evicting: BTreeSet<TreeId>,
    sweep: Option<Sweep>,
}

impl State {
    fn next(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    fn touch(&mut self, blob: BlobId, max: usize) {
        if self.holds.is_empty() {
            return;
        }
        let now = self.next();
        if self.touched.len() < max || self.touched.contains_key(&blob) {
            self.touched.insert(blob, now);
        } else {
            self.overfull = Some(now);
        }
    }

    fn is_guarded(&self, blob: BlobId) -> bool {
        self.overfull.is_some()
            || self.leased.contains_key(&blob)
            || self.touched.contains_key(&blob)
    }

    fn forget_old(&mut self) {
        match self.holds.first() {
            None => {
                self.touched.clear();
                self.overfull = None;
            }
            Some(&oldest) => {
                self.touched.retain(|_, at| *at > oldest);
                self.overfull = self.overfull.filter(|at| *at > oldest);
            }
        }
    }
}

impl Guards {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a change of the store that will count on what it finds.
    pub(crate) fn flight(self: &Arc<Self>) -> Flight {
        let mut state = self.lock();
        let number = state.next();
        state.flights.insert(number);
        drop(state);
        Flight {
            guards: Arc::clone(self),
            number,
        }
    }

    fn hold(self: &Arc<Self>) -> Hold {
        let mut state = self.lock();
        let number = state.next();
        state.holds.insert(number);
        drop(state);
        Hold {
            guards: Arc::clone(self),
            number,
        }
    }

    /// A lease of nothing yet.
    pub(crate) fn lease(self: &Arc<Self>) -> Lease {
        Lease {
            guards: Arc::clone(self),
            held: BTreeSet::new(),
        }
    }

    /// Counts one lease more of something.
    pub(crate) fn take(&self, blob: BlobId) {
        let mut state = self.lock();
        *state.leased.entry(blob).or_default() += 1;
        state.touch(blob, self.bounds.touched);
    }

    /// Counts one lease less.
    pub(crate) fn give_back(&self, blob: BlobId) {
        let mut state = self.lock();
        if let Some(count) = state.leased.get_mut(&blob) {
            *count -= 1;
            if *count == 0 {
                state.leased.remove(&blob);
            }
        }
    }

    /// Whether a lease, a pin or a hold keeps this.
    pub(crate) fn is_guarded(&self, blob: BlobId) -> bool {
        self.lock().is_guarded(blob)
    }

    /// All that leases, pins and holds keep.
    pub(crate) fn guarded(&self) -> BTreeSet<BlobId> {
        let state = self.lock();
        let all = state.leased.keys().chain(state.touched.keys());
        all.copied().collect()
    }

    /// How many things are leased or pinned.
    pub(crate) fn leased_count(&self) -> usize {
        self.lock().leased.len()
    }

    /// To be asked about every object that the index names: false if a sweep has just removed it.
    pub(crate) fn found(&self, blob: BlobId) -> bool {
        if !self.sweeping.load(Ordering::SeqCst) {
            return true;
        }
        match &mut self.lock().sweep {
            Some(sweep) if sweep.gone.contains(&blob) => false,
            Some(sweep) => {
                sweep.find(blob, self.bounds.found);
                true
            }
            None => true,
        }
    }

    /// To be asked about every pack that the index names: false if it is just being dropped.
    pub(crate) fn found_pack(&self, pack: BlobId) -> bool {
        if !self.sweeping.load(Ordering::SeqCst) {
            return true;
        }
        match &mut self.lock().sweep {
            Some(sweep) if sweep.packs_gone.contains(&pack) => false,
            Some(sweep) => {
                sweep.packs_found.insert(pack);
                true
            }
            None => true,
        }
    }

    /// Whether holds keep everything, because they keep too much to name it.
    pub(crate) fn keeps_all(&self) -> bool {
        self.lock().overfull.is_some()
    }

    /// Whether a sweep can remove nothing more, because too much was found or removed.
    pub(crate) fn is_overfull(&self) -> bool {
        self.lock()
            .sweep
            .as_ref()
            .is_some_and(|sweep| sweep.overfull)
    }

    /// To be told of a tree that was found whole.
    pub(crate) fn found_whole(&self, tree: TreeId) {
        self.lock().touch(tree.blob(), self.bounds.touched);
    }

    /// To be asked about every layer that the index names: false if it is just being taken away.
    pub(crate) fn found_layer(&self, tree: TreeId) -> bool {
        let mut state = self.lock();
        if state.evicting.contains(&tree) {
            return false;
        }
        state.touch(tree.blob(), self.bounds.touched);
        true
    }

    /// To be told what a commit has added, before the next commit.
    pub(crate) fn added(&self, objects: &[(Key, u64)], layer: Option<TreeId>) {
        let mut state = self.lock();
        if let Some(tree) = layer {
            // Its blobs are kept as long as it is.
            state.touch(tree.blob(), self.bounds.touched);
        } else if !state.holds.is_empty() {
            for (key, _) in objects {
                state.touch(key.blob, self.bounds.touched);
            }
        }
        if let Some(sweep) = &mut state.sweep {
            for (key, _) in objects {
                sweep.gone.remove(&key.blob);
                sweep.find(key.blob, self.bounds.found);
            }
        }
    }

    /// Whether this layer may be taken away; from then on nobody finds it, until
    /// [`Guards::evicted`].
    pub(crate) fn may_evict(&self, tree: TreeId) -> bool {
        let mut state = self.lock();
        let may = !state.is_guarded(tree.blob());
        if may {
            state.evicting.insert(tree);
        }
        may
    }

    /// The rows of those layers are gone, or stay.
    pub(crate) fn evicted(&self) {
        self.lock().evicting.clear();
    }

    /// Begins to write down what is found, and waits for the changes that looked before. False if
    /// they do not end, and then nothing may be swept. `stop` is asked now and then.
    pub(crate) fn begin_sweep(&self, stop: &mut dyn FnMut() -> bool) -> bool {
        let mut state = self.lock();
        // One that could not end writes on; all that it knows is still true.
        state.sweep.get_or_insert_default();
        self.sweeping.store(true, Ordering::SeqCst);
        drop(state);
        self.wait(stop, WAIT_MAX)
    }

    /// Waits for the changes that began before now.
    fn wait(&self, stop: &mut dyn FnMut() -> bool, longest: Duration) -> bool {
        let mut state = self.lock();
        let now = state.next();
        let began = Instant::now();
        while began.elapsed() < longest {
            if state.flights.first().is_none_or(|first| *first > now) {
                return true;
            }
            let waited = self.landed.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if stop() {
                return false;
            }
        }
        false
    }

    /// Of these objects, takes those that nobody counts on; from then on nobody finds them.
    pub(crate) fn condemn(&self, objects: &mut Vec<Key>) {
        let mut state = self.lock();
        let State {
            leased,
            touched,
            overfull,
            sweep,
            ..
        } = &mut *state;
        let Some(sweep) = sweep.as_mut().filter(|_| overfull.is_none()) else {
            objects.clear();
            return;
        };
        sweep.overfull |= sweep.gone.len().saturating_add(objects.len()) > self.bounds.gone;
        if sweep.overfull {
            objects.clear();
            return;
        }
        objects.retain(|key| {
            let blob = key.blob;
            !leased.contains_key(&blob)
                && !touched.contains_key(&blob)
                && !sweep.found.contains(&blob)
        });
        sweep.gone.extend(objects.iter().map(|key| key.blob));
    }

    /// Takes these packs with all that only they have, unless somebody counts on one of them or on
    /// one of `trees`; from then on nobody finds anything in them.
    pub(crate) fn condemn_packs(&self, packs: &[BlobId], trees: &[BlobId]) -> bool {
        let mut state = self.lock();
        let guarded = packs.iter().chain(trees).any(|id| state.is_guarded(*id));
        let Some(sweep) = state.sweep.as_mut().filter(|_| !guarded) else {
            return false;
        };
        if packs.iter().any(|pack| sweep.packs_found.contains(pack)) {
            return false;
        }
        sweep.packs_gone.extend(packs);
        true
    }

    /// These were condemned and are still there.
    pub(crate) fn reprieve_packs(&self, packs: &[BlobId]) {
        if let Some(sweep) = &mut self.lock().sweep {
            for pack in packs {
                sweep.packs_gone.remove(pack);
            }
        }
    }

    /// These were condemned and are still there.
    pub(crate) fn reprieve(&self, objects: &[Key]) {
        if let Some(sweep) = &mut self.lock().sweep {
            for key in objects {
                sweep.gone.remove(&key.blob);
            }
        }
    }

    /// Ends a sweep once nobody reads an older state of the index any more. Until then it goes on
    /// writing down, at some cost and no harm.
    pub(crate) fn end_sweep(&self) {
        let removed = |sweep: &Sweep| !sweep.gone.is_empty() || !sweep.packs_gone.is_empty();
        let removed = self.lock().sweep.as_ref().is_some_and(removed);
        if !removed || self.wait(&mut || false, LAST_WAIT_MAX) {
            let mut state = self.lock();
            state.sweep = None;
            self.sweeping.store(false, Ordering::SeqCst);
        }
    }
}

/// A change of the store under way.
pub(crate) struct Flight {
    guards: Arc<Guards>,
    number: u64,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.guards.lock().flights.remove(&self.number);
        self.guards.landed.notify_all();
    }
}

/// While it lives, whatever is added to the store or found whole in it is not collected.
pub struct Hold {
    guards: Arc<Guards>,
    number: u64,
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hold(since {})", self.number)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.guards.lock();
        state.holds.remove(&self.number);
        state.forget_old();
    }
}

/// Trees and blobs that are not collected while it lives: the layers below a running step, what a
/// policy reads, what a reader has open. Take it first and look then whether they are here.
pub struct Lease {
    guards: Arc<Guards>,
    held: BTreeSet<BlobId>,
}

impl Lease {
    /// Adds a tree with all that it names.
    pub fn add(&mut self, tree: TreeId) {
        self.add_blob(tree.blob());
    }

    /// Adds a blob.
    pub fn add_blob(&mut self, blob: BlobId) {
        if self.held.insert(blob) {
            self.guards.take(blob);
        }
    }

    /// How many trees and blobs it keeps.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether it keeps nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lease(of {})", self.held.len())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        for blob in &self.held {
            self.guards.give_back(*blob);
        }
    }
}

impl Store {
    /// A lease of these trees.
    #[must_use]
    pub fn lease(&self, trees: &[TreeId]) -> Lease {
        let mut lease = self.inner.guards.lease();
        for tree in trees {
            lease.add(*tree);
        }
        lease
    }

    /// A hold from now on.
    #[must_use]
    pub fn hold(&self) -> Hold {
        self.inner.guards.hold()
    }
}

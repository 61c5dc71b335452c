//! Collection: making room by forgetting what is worth least. It goes on beside running steps and
//! holds the lock of commits only for the moment that each victim takes.
//!
//! 1. *Freeze.* Where it is asked to, what would go although it is dear and idle is frozen first, so
//!    that only its mountable form goes; and packs of which most is dead are packed anew.
//! 2. *Guard.* From now on whatever anybody finds or adds is written down, and changes that looked
//!    before are waited for; they are short.
//! 3. *Mark.* Every tree and loose blob that is known by its use is a unit; all objects that units
//!    name are counted, in memory, at some 16 bytes for each. A tree that is frozen and not laid out
//!    names none.
//! 4. *Evict.* What is worth least goes until enough is free, in the order of [`order`]: units out of
//!    the index first, then their directories; the mountable forms of frozen trees; packs with all
//!    that only they have; caches that nobody has. Leases, holds and pins are asked again under the
//!    lock.
//! 5. *Sweep.* Objects that no unit names any more go, a few at a time, unless somebody has found
//!    them since the second step. What is short then is made up for by images.
//!
//! Killed anywhere, it leaves a store that is whole: what the index still names is there, and what
//! it no longer names is removed by the next start.

use std::sync::PoisonError;

use caravan_pack::Options;
use caravan_protocol::ids::{BlobId, TreeId};
use serde::{Deserialize, Serialize};

use crate::{caches::Shelf, error::Result, limits::SWEEP_MAX, store::Store, uses::Used};

mod choose;
mod evict;
mod freeze;
mod mark;
mod order;
mod repack;

use choose::Choosing;
use mark::{Census, Unit};
pub(crate) use mark::{is_needed, listing, listing_anywhere};

/// What a collection is to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collect {
    /// The time, seconds since 1970.
    pub now_s: u64,
    /// Bytes to free at least. With 0 only what nothing names goes, and logs that are old.
    pub want_bytes: u64,
    /// Whether nothing is removed and only said what would be.
    pub dry_run: bool,
    /// Whether trees are frozen before they are forgotten, and which; none where room is wanted at
    /// once.
    pub freeze: Option<Freeze>,
}

/// Which trees a collection freezes instead of forgetting them, of those that are dear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freeze {
    /// Those that were not used for so long, seconds.
    pub idle_s: u64,
    /// How their packs are made.
    pub how: Options,
}

/// How far a collection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Freezing what is dear and idle. Told to stop then, it goes on without.
    Freezing,
    /// Waiting for changes that are under way.
    Waiting,
    /// Finding what is used.
    Marking,
    /// Forgetting what is worth least.
    Evicting,
    /// Removing what nothing names.
    Sweeping,
}

impl Stage {
    /// A few words for people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Freezing => "freezing what is dear and idle",
            Self::Waiting => "waiting for changes of the store",
            Self::Marking => "finding what is used",
            Self::Evicting => "forgetting what is worth least",
            Self::Sweeping => "removing what nothing names",
        }
    }
}

/// What became of a victim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Went {
    /// It is forgotten.
    Forgotten,
    /// Only its mountable form is gone; packs have all of it.
    Form,
    /// It was a pack.
    Pack,
    /// It was a cache.
    Cache,
}

/// Something that went, or would go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Victim {
    /// The tree, blob, pack or cache.
    pub blob: BlobId,
    /// What it is.
    pub kind: Used,
    /// What became of it.
    pub went: Went,
    /// Bytes that went with it.
    pub bytes: u64,
    /// When it was last used, seconds since 1970.
    pub last_s: u64,
    /// What it took to make, milliseconds.
    pub cost_ms: u64,
    /// A few words about it.
    pub words: String,
}

/// What a collection did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Collected {
    /// Bytes freed.
    pub freed_bytes: u64,
    /// Objects removed.
    pub objects: u64,
    /// Bytes among them that nothing named when it began.
    pub garbage_bytes: u64,
    /// Trees and loose blobs forgotten.
    pub evicted: u64,
    /// Frozen trees that are not mountable any more.
    pub forms: u64,
    /// Trees that were frozen before.
    pub frozen: u64,
    /// Bytes of the packs that were written for that, or in the place of others.
    pub frozen_bytes: u64,
    /// Packs dropped.
    pub packs: u64,
    /// Their bytes, among those freed.
    pub pack_bytes: u64,
    /// Bytes of caches among those freed.
    pub cache_bytes: u64,
    /// Bytes of images among those freed.
    pub image_bytes: u64,
    /// The first of them, in their order.
    pub victims: Vec<Victim>,
    /// Trees and loose blobs that stay.
    pub kept: u64,
    /// Those of them that are pinned, leased or held.
    pub guarded: u64,
    /// Bytes that were wanted and could not be freed.
    pub short_bytes: u64,
    /// Whether it was stopped before its end, or gave up waiting for a change of the store.
    pub stopped: bool,
}

/// Is told the stage, and how much of how much is done; says whether to go on.
pub(crate) type Tell<'a> = dyn FnMut(Stage, u64, u64) -> bool + 'a;

impl Store {
    /// Makes room. One collection at a time; a second caller waits for the first. `tell` hears how
    /// far it is, and ends it early by answering `false`.
    pub fn collect(
        &self,
        ask: &Collect,
        tell: &mut dyn FnMut(Stage, u64, u64) -> bool,
    ) -> Result<Collected> {
        let inner = &self.inner;
        let one = inner
            .collecting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.flush_notes() {
            // A full disk is what collections are for; the notes count in memory.
            tracing::debug!(%error, "notes of uses wait");
        }
        let mut done = Collected::default();
        let shelf = Shelf::of(self);
        if ask.dry_run {
            Run::new(self, ask, tell, &shelf).mark_and_evict(&mut done)?;
            return Ok(done);
        }
        let mut ask = *ask;
        if let Some(freeze) = ask.freeze.filter(|_| ask.want_bytes > 0) {
            freeze::first(self, &ask, &freeze, tell, &mut done)?;
            ask.want_bytes = ask.want_bytes.saturating_add(done.frozen_bytes);
        }
        let quiet = inner
            .guards
            .begin_sweep(&mut || !tell(Stage::Waiting, 0, 0));
        // From here on what is remembered as whole has been found by somebody.
        inner.whole.clear();
        let mut run = Run::new(self, &ask, tell, &shelf);
        let result = if quiet && !inner.guards.keeps_all() {
            run.all(&mut done)
        } else {
            done.stopped = true;
            Ok(())
        };
        done.stopped |= inner.guards.is_overfull();
        inner.guards.end_sweep();
        inner.home.keep_spare();
        drop(one);
        result.map(|()| done)
    }

    /// Gives the mountable form of these trees up, of those that packs have wholly and that are not
    /// pinned or in use, and says of which. Their objects go with the next collection.
    pub fn cool(&self, trees: &[TreeId]) -> Result<Vec<TreeId>> {
        let leaving = evict::Leaving {
            forms: trees.iter().map(|tree| tree.blob()).collect(),
            ..evict::Leaving::default()
        };
        let kept = evict::units(self, &leaving)?;
        let gone = trees.iter().filter(|tree| !kept.contains(&tree.blob()));
        Ok(gone.copied().collect())
    }
}

/// One collection.
struct Run<'a, 'b> {
    store: &'a Store,
    ask: &'a Collect,
    tell: &'a mut Tell<'b>,
    shelf: &'a Shelf,
}

impl<'a, 'b> Run<'a, 'b> {
    fn new(store: &'a Store, ask: &'a Collect, tell: &'a mut Tell<'b>, shelf: &'a Shelf) -> Self {
        Self {
            store,
            ask,
            tell,
            shelf,
        }
    }

    fn all(&mut self, done: &mut Collected) -> Result<()> {
        if let Some(census) = self.mark_and_evict(done)? {
            // Of objects what counts is what went in the end.
            done.freed_bytes = done.pack_bytes.saturating_add(done.cache_bytes);
            done.objects = 0;
            self.sweep(&census, done)?;
            if done.freed_bytes < self.ask.want_bytes {
                done.image_bytes = self.store.image_bytes();
                self.store.drop_images();
                done.freed_bytes = done.freed_bytes.saturating_add(done.image_bytes);
            }
            done.short_bytes = self.ask.want_bytes.saturating_sub(done.freed_bytes);
        }
        Ok(())
    }

    /// Nothing if it was told to stop.
    fn mark_and_evict(&mut self, done: &mut Collected) -> Result<Option<Census>> {
        let Some(mut marked) = mark::census(self.store, self.tell)? else {
            done.stopped = true;
            return Ok(None);
        };
        let Some((garbage, objects)) = mark::garbage(self.store, &marked.census, self.tell)? else {
            done.stopped = true;
            return Ok(None);
        };
        done.garbage_bytes = garbage;
        done.freed_bytes = garbage;
        done.objects = objects;
        done.kept = marked.units.len() as u64;
        done.guarded = marked.units.iter().filter(|unit| unit.guarded).count() as u64;
        let (store, ask) = (self.store, self.ask);
        let mut choosing = Choosing::new(store, ask, self.tell, &mut marked, self.shelf, done);
        if !choosing.run()? {
            return Ok(None);
        }
        done.short_bytes = ask.want_bytes.saturating_sub(done.freed_bytes);
        Ok(Some(marked.census))
    }

    fn sweep(&mut self, census: &Census, done: &mut Collected) -> Result<()> {
        let total = self.store.stat()?.objects;
        let mut looked = 0;
        let mut last = None;
        let mut dead = Vec::new();
        loop {
            if !(self.tell)(Stage::Sweeping, looked, total) {
                done.stopped = true;
                return Ok(());
            }
            let some = self
                .store
                .inner
                .index
                .objects_after(last.as_ref(), SWEEP_MAX)?;
            last = some.last().map(|(key, _)| *key);
            looked += some.len() as u64;
            let unnamed = some.into_iter().filter(|(key, _)| !census.has(key.blob));
            dead.extend(unnamed);
            if dead.len() >= SWEEP_MAX || last.is_none() {
                let (objects, bytes) = evict::objects(self.store, &dead)?;
                dead.clear();
                done.objects += objects;
                done.freed_bytes += bytes;
            }
            if last.is_none() {
                return Ok(());
            }
        }
    }
}

impl Unit {
    fn victim(&self, went: Went, bytes: u64) -> Victim {
        Victim {
            blob: self.id,
            kind: self.kind,
            went,
            bytes,
            last_s: self.last_s,
            cost_ms: self.cost_ms,
            words: self.words.clone(),
        }
    }
}

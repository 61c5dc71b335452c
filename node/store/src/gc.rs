//! Collection: making room by forgetting what is worth least. It goes on beside running steps and
//! holds the lock of commits only for the moment that each victim takes.
//!
//! 1. *Guard.* From now on whatever anybody finds or adds is written down, and changes that looked
//!    before are waited for; they are short.
//! 2. *Mark.* Every tree and loose blob that is known by its use is a unit; all objects that units
//!    name are counted, in memory, at some 16 bytes for each.
//! 3. *Evict.* Units go in the order of [`order`] until enough is free: out of the index first, then
//!    its directory. Leases, holds and pins are asked again under the lock.
//! 4. *Sweep.* Objects that no unit names any more go, a few at a time, unless somebody has found
//!    them since the first step.
//!
//! Killed anywhere, it leaves a store that is whole: what the index still names is there, and what
//! it no longer names is removed by the next start.

use std::{collections::BTreeSet, sync::PoisonError};

use caravan_protocol::ids::BlobId;
use serde::{Deserialize, Serialize};

use crate::{
    error::Result,
    limits::{EVICT_MAX, SWEEP_MAX, VICTIMS_MAX},
    store::Store,
    uses::Used,
};

mod evict;
mod mark;
mod order;

pub(crate) use mark::listing;
use mark::{Census, Unit};

/// What a collection is to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collect {
    /// The time, seconds since 1970.
    pub now_s: u64,
    /// Bytes to free at least. With 0 only what nothing names goes, and logs that are old.
    pub want_bytes: u64,
    /// Whether nothing is removed and only said what would be.
    pub dry_run: bool,
}

/// How far a collection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
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
            Self::Waiting => "waiting for changes of the store",
            Self::Marking => "finding what is used",
            Self::Evicting => "forgetting what is worth least",
            Self::Sweeping => "removing what nothing names",
        }
    }
}

/// Something that went, or would go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Victim {
    /// The tree or blob.
    pub blob: BlobId,
    /// What it is.
    pub kind: Used,
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
        if ask.dry_run {
            let mut run = Run::new(self, ask, tell);
            run.mark_and_evict(&mut done)?;
            return Ok(done);
        }
        let quiet = inner
            .guards
            .begin_sweep(&mut || !tell(Stage::Waiting, 0, 0));
        // From here on what is remembered as whole has been found by somebody.
        inner.whole.clear();
        let mut run = Run::new(self, ask, tell);
        let result = if quiet {
            run.all(&mut done)
        } else {
            done.stopped = true;
            Ok(())
        };
        inner.guards.end_sweep();
        inner.home.keep_spare();
        drop(one);
        result.map(|()| done)
    }
}

/// One collection.
struct Run<'a, 'b> {
    store: &'a Store,
    ask: &'a Collect,
    tell: &'a mut Tell<'b>,
}

impl<'a, 'b> Run<'a, 'b> {
    fn new(store: &'a Store, ask: &'a Collect, tell: &'a mut Tell<'b>) -> Self {
        Self { store, ask, tell }
    }

    fn all(&mut self, done: &mut Collected) -> Result<()> {
        if let Some(census) = self.mark_and_evict(done)? {
            done.freed_bytes = 0;
            done.objects = 0;
            self.sweep(&census, done)?;
            done.short_bytes = self.ask.want_bytes.saturating_sub(done.freed_bytes);
        }
        Ok(())
    }

    /// Nothing if it was told to stop.
    fn mark_and_evict(&mut self, done: &mut Collected) -> Result<Option<Census>> {
        let Some((mut census, units)) = mark::census(self.store, self.tell)? else {
            done.stopped = true;
            return Ok(None);
        };
        let Some((garbage, objects)) = mark::garbage(self.store, &census, self.tell)? else {
            done.stopped = true;
            return Ok(None);
        };
        done.garbage_bytes = garbage;
        done.freed_bytes = garbage;
        done.objects = objects;
        done.kept = units.len() as u64;
        done.guarded = units.iter().filter(|unit| unit.guarded).count() as u64;
        let (always, by_worth) = order::order(&units, self.ask.now_s);
        let total = self.ask.want_bytes;
        let mut batch = Batch::default();
        for (at, unit) in always.iter().chain(&by_worth).enumerate() {
            if at >= always.len() && done.freed_bytes >= total {
                break;
            }
            if !(self.tell)(Stage::Evicting, done.freed_bytes.min(total), total) {
                done.stopped = true;
                return Ok(None);
            }
            self.choose(&units[*unit], &mut census, done, &mut batch)?;
            if batch.len() >= EVICT_MAX {
                self.evict(&mut batch, &mut census, done)?;
            }
        }
        self.evict(&mut batch, &mut census, done)?;
        done.short_bytes = total.saturating_sub(done.freed_bytes);
        Ok(Some(census))
    }

    /// Takes a unit out of the census and lets it go with the next batch.
    fn choose<'u>(
        &mut self,
        unit: &'u Unit,
        census: &mut Census,
        done: &mut Collected,
        batch: &mut Batch<'u>,
    ) -> Result<()> {
        let members = mark::members(self.store, unit.id, unit.kind)?;
        let last: Vec<u64> = members
            .iter()
            .filter(|(blob, _)| census.release(*blob))
            .map(|(_, size)| *size)
            .collect();
        let bytes = last.iter().sum();
        done.freed_bytes += bytes;
        done.objects += last.len() as u64;
        done.evicted += 1;
        done.kept = done.kept.saturating_sub(1);
        batch.push((unit, bytes, last.len() as u64));
        Ok(())
    }

    fn evict(
        &mut self,
        batch: &mut Batch<'_>,
        census: &mut Census,
        done: &mut Collected,
    ) -> Result<()> {
        let batch = std::mem::take(batch);
        let units: Vec<&Unit> = batch.iter().map(|(unit, ..)| *unit).collect();
        let kept = match self.ask.dry_run {
            true => BTreeSet::new(),
            false => evict::units(self.store, &units)?,
        };
        for (unit, bytes, objects) in batch {
            if kept.contains(&unit.id) {
                // Somebody has taken a lease since.
                for (blob, _) in mark::members(self.store, unit.id, unit.kind)? {
                    census.add(blob);
                }
                done.freed_bytes = done.freed_bytes.saturating_sub(bytes);
                done.objects = done.objects.saturating_sub(objects);
                done.evicted -= 1;
                (done.kept, done.guarded) = (done.kept + 1, done.guarded + 1);
            } else if done.victims.len() < VICTIMS_MAX {
                done.victims.push(unit.victim(bytes));
            }
        }
        Ok(())
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

/// Units that go together, with the bytes and objects that go with each.
type Batch<'u> = Vec<(&'u Unit, u64, u64)>;

impl Unit {
    fn victim(&self, bytes: u64) -> Victim {
        Victim {
            blob: self.id,
            kind: self.kind,
            bytes,
            last_s: self.last_s,
            cost_ms: self.cost_ms,
            words: self.words.clone(),
        }
    }
}

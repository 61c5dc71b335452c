//! Choosing what goes, until enough is free: the least loss first, looked at anew after each step,
//! since what one gives up changes what others are worth.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
};

use caravan_protocol::ids::BlobId;

use super::{
    Collect, Collected, Stage, Tell, Victim, Went,
    evict::{self, Leaving},
    mark::{self, Form, Marked, Unit},
    order::{self, Rank, Turn},
};
use crate::{
    caches::Shelf,
    error::Result,
    limits::{EVICT_MAX, VICTIMS_MAX},
    store::Store,
    uses::Used,
};

/// Something that may go, by its place in what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Candidate {
    /// A tree or blob, wholly.
    Unit(usize),
    /// The mountable form of a frozen tree.
    Form(usize),
    /// A pack, with those that lean on it.
    Pack(usize),
    /// A cache.
    Cache(usize),
}

/// A candidate at its rank; of equal ones the lesser id goes first.
type Place = Reverse<(Rank, BlobId, Candidate)>;

/// Packs that go together, and what that means.
struct Group {
    packs: Vec<usize>,
    bytes: u64,
    /// Units of which they are all that there is.
    lost: Vec<usize>,
    /// Units that are mountable besides.
    copied: Vec<usize>,
}

/// A unit that goes with the next batch, and the bytes and objects that go with it.
struct Chosen {
    unit: usize,
    went: Went,
    bytes: u64,
    objects: u64,
}

/// One choosing.
pub(super) struct Choosing<'a, 'b> {
    store: &'a Store,
    ask: &'a Collect,
    tell: &'a mut Tell<'b>,
    marked: &'a mut Marked,
    shelf: &'a Shelf,
    caches: Vec<(BlobId, u64, u64)>,
    stale: BTreeSet<usize>,
    places: BinaryHeap<Place>,
    batch: Vec<Chosen>,
    done: &'a mut Collected,
}

impl<'a, 'b> Choosing<'a, 'b> {
    pub(super) fn new(
        store: &'a Store,
        ask: &'a Collect,
        tell: &'a mut Tell<'b>,
        marked: &'a mut Marked,
        shelf: &'a Shelf,
        done: &'a mut Collected,
    ) -> Self {
        let stale = order::stale_logs(&marked.units, ask.now_s);
        Self {
            store,
            ask,
            tell,
            marked,
            shelf,
            caches: Vec::new(),
            stale: stale.into_iter().collect(),
            places: BinaryHeap::new(),
            batch: Vec::new(),
            done,
        }
    }

    /// False if it was told to stop.
    pub(super) fn run(&mut self) -> Result<bool> {
        self.caches = self.shelf.unlent().unwrap_or_else(|error| {
            tracing::warn!(%error, "the caches cannot be listed; none goes");
            Vec::new()
        });
        for at in 0..self.marked.units.len() {
            self.enter_unit(at);
        }
        for at in 0..self.marked.packs.len() {
            self.enter(Candidate::Pack(at));
        }
        for at in 0..self.caches.len() {
            self.enter(Candidate::Cache(at));
        }
        let total = self.ask.want_bytes;
        while let Some(Reverse((rank, _, candidate))) = self.places.pop() {
            if rank.turn != Turn::Always && self.done.freed_bytes >= total {
                break;
            }
            if !(self.tell)(Stage::Evicting, self.done.freed_bytes.min(total), total) {
                self.done.stopped = true;
                return Ok(false);
            }
            match self.rank(candidate) {
                // It is worth more than when it took its place: others may be before it now.
                Some(now) if now > rank => self.enter(candidate),
                Some(_) => self.go(candidate)?,
                None => {}
            }
        }
        self.evict()?;
        Ok(true)
    }

    fn enter_unit(&mut self, at: usize) {
        match self.marked.units[at].form {
            Form::Warm => self.enter(Candidate::Unit(at)),
            Form::Both => self.enter(Candidate::Form(at)),
            Form::Cold | Form::Gone => {}
        }
    }

    fn enter(&mut self, candidate: Candidate) {
        if let Some(rank) = self.rank(candidate) {
            let id = match candidate {
                Candidate::Unit(at) | Candidate::Form(at) => self.marked.units[at].id,
                Candidate::Pack(at) => self.marked.packs[at].id.blob(),
                Candidate::Cache(at) => self.caches[at].0,
            };
            self.places.push(Reverse((rank, id, candidate)));
        }
    }

    /// The rank of a candidate as things are now; nothing if it cannot go.
    fn rank(&self, candidate: Candidate) -> Option<Rank> {
        let now_s = self.ask.now_s;
        let units = &self.marked.units;
        match candidate {
            Candidate::Unit(at) => {
                let unit = &units[at];
                let is_stale = self.stale.contains(&at);
                // What only packs have goes with them: without them nothing is freed.
                let frees = unit.share_bytes > 0 || !unit.lacks || unit.gone || is_stale;
                let may = unit.form == Form::Warm && !unit.guarded && frees;
                may.then(|| Rank::of_unit(unit, is_stale, now_s))
            }
            Candidate::Form(at) => {
                let may = units[at].form == Form::Both && !units[at].guarded;
                may.then(|| Rank::of_form(&units[at], now_s))
            }
            Candidate::Pack(at) => {
                let group = self.group(at)?;
                let of =
                    |ats: &[usize]| -> Vec<&Unit> { ats.iter().map(|at| &units[*at]).collect() };
                let (lost, copied) = (of(&group.lost), of(&group.copied));
                Some(Rank::of_packs(group.bytes, &lost, &copied, now_s))
            }
            Candidate::Cache(at) => {
                let (_, bytes, last_s) = self.caches[at];
                Some(Rank::of_cache(bytes, last_s, now_s))
            }
        }
    }

    /// What goes with a pack; nothing if it is gone already, or somebody needs it.
    fn group(&self, pack: usize) -> Option<Group> {
        let all = &self.marked.packs;
        if all[pack].dropped {
            return None;
        }
        let mut packs = BTreeSet::from([pack]);
        let mut left = vec![pack];
        while let Some(pack) = left.pop() {
            let leaners = all[pack].leaners.iter().filter(|at| !all[**at].dropped);
            left.extend(leaners.filter(|at| packs.insert(**at)));
        }
        let users: BTreeSet<usize> = packs
            .iter()
            .flat_map(|at| &all[*at].units)
            .copied()
            .collect();
        let (mut lost, mut copied) = (Vec::new(), Vec::new());
        for at in users {
            let unit = &self.marked.units[at];
            let is_lost = unit.form == Form::Cold || unit.lacks;
            match unit.form {
                Form::Gone => {}
                _ if is_lost && unit.guarded => return None,
                _ if is_lost => lost.push(at),
                _ => copied.push(at),
            }
        }
        Some(Group {
            bytes: packs.iter().map(|at| all[*at].bytes).sum(),
            packs: packs.into_iter().collect(),
            lost,
            copied,
        })
    }

    fn go(&mut self, candidate: Candidate) -> Result<()> {
        match candidate {
            Candidate::Unit(at) => self.choose(at, Went::Forgotten)?,
            Candidate::Form(at) => self.choose(at, Went::Form)?,
            Candidate::Pack(at) => self.drop_packs(at)?,
            Candidate::Cache(at) => self.drop_cache(at),
        }
        if self.batch.len() >= EVICT_MAX {
            self.evict()?;
        }
        Ok(())
    }

    /// Takes a unit, or its mountable form, out of the census and lets it go with the next batch.
    fn choose(&mut self, at: usize, went: Went) -> Result<()> {
        let (bytes, objects) = self.release(at)?;
        self.marked.units[at].form = match went {
            Went::Form => Form::Cold,
            _ => Form::Gone,
        };
        self.batch.push(Chosen {
            unit: at,
            went,
            bytes,
            objects,
        });
        Ok(())
    }

    /// One unit less names its objects. Bytes and number of those that nobody names now.
    fn release(&mut self, at: usize) -> Result<(u64, u64)> {
        let unit = &self.marked.units[at];
        let members = mark::members(
            self.store,
            unit.id,
            unit.kind,
            !self.marked.packs.is_empty(),
        )?;
        let (mut bytes, mut objects) = (0u64, 0);
        for (blob, size) in members.here {
            if self.marked.census.release(blob) {
                bytes = bytes.saturating_add(size);
                objects += 1;
            }
        }
        self.done.freed_bytes = self.done.freed_bytes.saturating_add(bytes);
        self.done.objects += objects;
        Ok((bytes, objects))
    }

    fn evict(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        let mut leaving = Leaving::default();
        for chosen in &batch {
            let unit = &self.marked.units[chosen.unit];
            match (chosen.went, unit.kind) {
                (Went::Form, _) => leaving.forms.push(unit.id),
                (_, Used::Tree) => leaving.trees.push(unit.id),
                (_, Used::Log | Used::Blob) => leaving.blobs.push(unit.id),
            }
        }
        let kept = match self.ask.dry_run {
            true => BTreeSet::new(),
            false => evict::units(self.store, &leaving)?,
        };
        for chosen in batch {
            if kept.contains(&self.marked.units[chosen.unit].id) {
                self.take_back(&chosen)?;
                continue;
            }
            match chosen.went {
                Went::Form => self.done.forms += 1,
                _ => self.forgotten(1),
            }
            self.tell_of(chosen.unit, chosen.went, chosen.bytes);
        }
        Ok(())
    }

    fn forgotten(&mut self, count: u64) {
        self.done.evicted += count;
        self.done.kept = self.done.kept.saturating_sub(count);
    }

    /// Somebody has taken a lease since it was chosen.
    fn take_back(&mut self, chosen: &Chosen) -> Result<()> {
        let has_packs = !self.marked.packs.is_empty();
        let unit = &mut self.marked.units[chosen.unit];
        unit.form = match chosen.went {
            Went::Form => Form::Both,
            _ => Form::Warm,
        };
        unit.guarded = true;
        for (blob, _) in mark::members(self.store, unit.id, unit.kind, has_packs)?.here {
            self.marked.census.add(blob);
        }
        self.done.freed_bytes = self.done.freed_bytes.saturating_sub(chosen.bytes);
        self.done.objects = self.done.objects.saturating_sub(chosen.objects);
        self.done.guarded += 1;
        Ok(())
    }

    fn drop_packs(&mut self, at: usize) -> Result<()> {
        // What is chosen and not gone yet may be what this turns on.
        self.evict()?;
        let Some(group) = self.group(at) else {
            return Ok(());
        };
        let units = &self.marked.units;
        let doomed: Vec<BlobId> = group.lost.iter().map(|at| units[*at].id).collect();
        let ids: Vec<_> = group
            .packs
            .iter()
            .map(|at| self.marked.packs[*at].id)
            .collect();
        if !self.ask.dry_run && !evict::packs(self.store, &ids, &doomed)? {
            return Ok(());
        }
        for at in &group.packs {
            self.marked.packs[*at].dropped = true;
            self.done.packs += 1;
            let pack = &self.marked.packs[*at];
            let (blob, bytes) = (pack.id.blob(), pack.bytes);
            self.tell_of_other(blob, Went::Pack, bytes, 0);
        }
        self.done.pack_bytes = self.done.pack_bytes.saturating_add(group.bytes);
        self.done.freed_bytes = self.done.freed_bytes.saturating_add(group.bytes);
        for at in group.lost {
            let bytes = match self.marked.units[at].form {
                Form::Warm | Form::Both => self.release(at)?.0,
                Form::Cold | Form::Gone => 0,
            };
            self.marked.units[at].form = Form::Gone;
            self.forgotten(1);
            self.tell_of(at, Went::Forgotten, bytes);
        }
        for at in group.copied {
            self.marked.units[at].form = Form::Warm;
            self.enter_unit(at);
        }
        Ok(())
    }

    fn drop_cache(&mut self, at: usize) {
        let (name, bytes, last_s) = self.caches[at];
        let gone = self.ask.dry_run
            || self
                .shelf
                .drop_one(&name.to_string())
                .unwrap_or_else(|error| {
                    // There are other ways to the room that is wanted.
                    tracing::warn!(%error, cache = %name, "a cache could not be removed; it stays");
                    false
                });
        if gone {
            self.done.cache_bytes = self.done.cache_bytes.saturating_add(bytes);
            self.done.freed_bytes = self.done.freed_bytes.saturating_add(bytes);
            self.tell_of_other(name, Went::Cache, bytes, last_s);
        }
    }

    fn tell_of(&mut self, at: usize, went: Went, bytes: u64) {
        if self.done.victims.len() < VICTIMS_MAX {
            let victim = self.marked.units[at].victim(went, bytes);
            self.done.victims.push(victim);
        }
    }

    fn tell_of_other(&mut self, blob: BlobId, went: Went, bytes: u64, last_s: u64) {
        if self.done.victims.len() < VICTIMS_MAX {
            self.done.victims.push(Victim {
                blob,
                kind: Used::Blob,
                went,
                bytes,
                last_s,
                cost_ms: 0,
                words: String::new(),
            });
        }
    }
}

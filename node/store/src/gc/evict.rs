//! Taking things out of the store while others work in it: out of the index first, then the files.

use std::collections::BTreeSet;

use caravan_pack::PackId;
use caravan_protocol::ids::{BlobId, TreeId};
use rustix::{fs::AtFlags, io::Errno};

use crate::{
    cold, commit, crash,
    error::{Doing, Result, StoreError},
    index::Change,
    object::Key,
    store::{Inner, Store},
};

/// What is to be forgotten, and what is to stay in packs alone.
#[derive(Default)]
pub(super) struct Leaving {
    pub(super) trees: Vec<BlobId>,
    pub(super) blobs: Vec<BlobId>,
    pub(super) forms: Vec<BlobId>,
}

impl Leaving {
    fn all(&self) -> impl Iterator<Item = &BlobId> {
        self.trees.iter().chain(&self.blobs).chain(&self.forms)
    }
}

/// Forgets trees and blobs, and the directories of those that are laid out; their objects stay for
/// the sweep. Says which of them stay, because somebody has come to need them.
pub(super) fn units(store: &Store, leaving: &Leaving) -> Result<BTreeSet<BlobId>> {
    let inner = &store.inner;
    let guard = commit::lock(inner);
    let mut kept = BTreeSet::new();
    for id in leaving.all() {
        if !inner.guards.may_evict((*id).into()) {
            kept.insert(*id);
        }
    }
    for id in &leaving.forms {
        // Its pack may have turned out to be damaged since.
        if !cold::is_frozen(inner, (*id).into())? {
            kept.insert(*id);
        }
    }
    let forgotten = forget(inner, leaving, &kept);
    inner.whole.clear();
    inner.guards.evicted();
    drop(guard);
    bury(inner, forgotten?)?;
    Ok(kept)
}

/// Nobody can see them any more, so nobody waits while they go.
fn bury(inner: &Inner, buried: Vec<String>) -> Result<()> {
    for name in buried {
        crash::point();
        inner.home.remove(inner.home.work(), name.as_bytes())?;
    }
    Ok(())
}

/// Says the new names of the directories.
fn forget(inner: &Inner, leaving: &Leaving, kept: &BTreeSet<BlobId>) -> Result<Vec<String>> {
    let but_kept = |ids: &[BlobId]| -> Vec<BlobId> {
        let ids = ids.iter().filter(|id| !kept.contains(id));
        ids.copied().collect()
    };
    let (trees, blobs) = (but_kept(&leaving.trees), but_kept(&leaving.blobs));
    let forms = but_kept(&leaving.forms);
    let change = Change {
        remove_layers: trees.iter().chain(&forms).map(|id| (*id).into()).collect(),
        remove_uses: trees.into_iter().chain(blobs).collect(),
        keep_uses: forms,
        ..Change::default()
    };
    if change.remove_layers.is_empty() && change.remove_uses.is_empty() {
        return Ok(Vec::new());
    }
    crash::point();
    spared(inner, || inner.index.apply(&change))?;
    for id in &change.remove_uses {
        inner.notes.forget(*id);
    }
    take_layers(inner, &change.remove_layers)
}

/// Moves the directories of these layers away, of those that have one, and says their new names.
fn take_layers(inner: &Inner, trees: &[TreeId]) -> Result<Vec<String>> {
    let mut buried = Vec::new();
    for tree in trees {
        crash::point();
        buried.extend(inner.home.bury(inner.home.layers(), &tree.to_string())?);
    }
    Ok(buried)
}

/// Drops packs with all that only they have: these trees and blobs, which are forgotten. False if
/// somebody has come to need one of them; then all stay.
pub(super) fn packs(store: &Store, packs: &[PackId], doomed: &[BlobId]) -> Result<bool> {
    let inner = &store.inner;
    // Before anybody waits: it reads their tables of content.
    let going: Vec<cold::Going> = packs.iter().map(|pack| cold::going(inner, *pack)).collect();
    let ids: Vec<BlobId> = packs.iter().map(|pack| pack.blob()).collect();
    let guard = commit::lock(inner);
    // One that has come meanwhile may lean on them.
    let is_leant_on = |(id, facts): &(PackId, cold::PackFacts)| {
        !packs.contains(id) && facts.leans_on.iter().any(|pack| ids.contains(pack))
    };
    let free = doomed.iter().all(|id| inner.guards.may_evict((*id).into()));
    let is_leant_on = cold::all(inner)?.iter().any(is_leant_on);
    if !free || is_leant_on || !inner.guards.condemn_packs(&ids, doomed) {
        inner.guards.evicted();
        return Ok(false);
    }
    let change = Change {
        remove_layers: doomed.iter().map(|id| (*id).into()).collect(),
        remove_uses: doomed.to_vec(),
        ..Change::default()
    };
    crash::point();
    let dropped = spared(inner, || {
        let also = |txn: &redb::WriteTransaction| cold::forget(txn, &going);
        inner.index.apply_with(&change, also)
    });
    inner.whole.clear();
    inner.guards.evicted();
    if let Err(error) = dropped {
        inner.guards.reprieve_packs(&ids);
        return Err(error);
    }
    for id in doomed {
        inner.notes.forget(*id);
    }
    let removed = cold::remove_files(inner, &going);
    let buried = take_layers(inner, &change.remove_layers)?;
    drop(guard);
    removed?;
    bury(inner, buried)?;
    Ok(true)
}

/// Removes those of these objects that nobody has found meanwhile: how many, and their bytes.
pub(super) fn objects(store: &Store, dead: &[(Key, u64)]) -> Result<(u64, u64)> {
    let inner = &store.inner;
    if dead.is_empty() {
        return Ok((0, 0));
    }
    let mut keys: Vec<Key> = dead.iter().map(|(key, _)| *key).collect();
    let guard = commit::lock(inner);
    inner.guards.condemn(&mut keys);
    if keys.is_empty() {
        return Ok((0, 0));
    }
    let change = Change {
        remove: keys,
        ..Change::default()
    };
    crash::point();
    let applied = spared(inner, || inner.index.apply(&change));
    inner.whole.clear();
    if let Err(error) = applied {
        inner.guards.reprieve(&change.remove);
        return Err(error);
    }
    for key in &change.remove {
        crash::point();
        let path = key.path();
        match rustix::fs::unlinkat(inner.home.objects(), &path, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            other => other.doing(|| format!("remove objects/{path}"))?,
        }
    }
    drop(guard);
    let removed: BTreeSet<&Key> = change.remove.iter().collect();
    let bytes = dead.iter().filter(|(key, _)| removed.contains(key));
    Ok((removed.len() as u64, bytes.map(|(_, size)| size).sum()))
}

/// Writes a change down; on a full disk with the room that is kept back for that.
fn spared(inner: &Inner, write: impl Fn() -> Result<()>) -> Result<()> {
    match write() {
        Err(StoreError::Full { .. }) if inner.home.give_spare() => write(),
        other => other,
    }
}

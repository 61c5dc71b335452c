//! Taking things out of the store while others work in it: out of the index first, then the files.

use std::collections::BTreeSet;

use caravan_protocol::ids::{BlobId, TreeId};
use rustix::{fs::AtFlags, io::Errno};

use super::mark::Unit;
use crate::{
    commit, crash,
    error::{Doing, Result, StoreError},
    index::Change,
    object::Key,
    store::{Inner, Store},
    uses::Used,
};

/// Forgets these units, and the directories of those that are laid out; their objects stay for the
/// sweep. Says which of them stay, because somebody has come to need them.
pub(super) fn units(store: &Store, units: &[&Unit]) -> Result<BTreeSet<BlobId>> {
    let inner = &store.inner;
    let guard = commit::lock(inner);
    let (may, kept): (Vec<&Unit>, Vec<&Unit>) = units
        .iter()
        .partition(|unit| inner.guards.may_evict(unit.id.into()));
    let forgotten = forget(inner, &may);
    inner.whole.clear();
    inner.guards.evicted();
    drop(guard);
    for buried in forgotten? {
        crash::point();
        // Nobody can see it any more, so nobody waits while it goes.
        inner.home.remove(inner.home.work(), buried.as_bytes())?;
    }
    Ok(kept.iter().map(|unit| unit.id).collect())
}

/// Says the new names of the directories.
fn forget(inner: &Inner, units: &[&Unit]) -> Result<Vec<String>> {
    if units.is_empty() {
        return Ok(Vec::new());
    }
    let trees = || units.iter().filter(|unit| unit.kind == Used::Tree);
    crash::point();
    apply(
        inner,
        &Change {
            remove_layers: trees().map(|unit| TreeId::from(unit.id)).collect(),
            remove_uses: units.iter().map(|unit| unit.id).collect(),
            ..Change::default()
        },
    )?;
    for unit in units {
        inner.notes.forget(unit.id);
    }
    let mut buried = Vec::new();
    for unit in trees() {
        crash::point();
        buried.extend(inner.home.bury(inner.home.layers(), &unit.id.to_string())?);
    }
    Ok(buried)
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
    let applied = apply(inner, &change);
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
fn apply(inner: &Inner, change: &Change) -> Result<()> {
    match inner.index.apply(change) {
        Err(StoreError::Full { .. }) if inner.home.give_spare() => inner.index.apply(change),
        other => other,
    }
}

//! Finding what is used: the units of a collection, and how many of them name each object. Reads
//! the index and listings, and says nothing to the sweep of what it sees.

use std::{
    collections::{BTreeMap, HashMap},
    io::Read,
};

use caravan_protocol::{
    ids::{BlobId, TreeId},
    limits::TREE_BYTES_MAX,
    tree::Tree,
};

use super::{Stage, Tell};
use crate::{
    error::{Doing, Result, StoreError},
    limits::SWEEP_MAX,
    store::Store,
    uses::Used,
};

/// A tree or a loose blob: it is kept or goes as one.
pub(super) struct Unit {
    pub(super) id: BlobId,
    pub(super) kind: Used,
    pub(super) last_s: u64,
    pub(super) cost_ms: u64,
    pub(super) words: String,
    /// Its bytes, those that others name too divided among them.
    pub(super) share_bytes: u64,
    pub(super) guarded: bool,
    /// Whether nothing of it is here any more.
    pub(super) gone: bool,
}

/// How many units name each blob. Blobs are told apart by eight bytes of their ids: should two be
/// alike, both stay while one of them is named.
#[derive(Default)]
pub(super) struct Census(HashMap<u64, u32>);

fn short(blob: BlobId) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&blob.as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

impl Census {
    pub(super) fn has(&self, blob: BlobId) -> bool {
        self.0.contains_key(&short(blob))
    }

    pub(super) fn add(&mut self, blob: BlobId) {
        *self.0.entry(short(blob)).or_default() += 1;
    }

    fn count(&self, blob: BlobId) -> u64 {
        self.0.get(&short(blob)).copied().unwrap_or(1).into()
    }

    /// One unit less names it; true if that was the last.
    pub(super) fn release(&mut self, blob: BlobId) -> bool {
        let Some(count) = self.0.get_mut(&short(blob)) else {
            return false;
        };
        *count -= 1;
        let last = *count == 0;
        if last {
            self.0.remove(&short(blob));
        }
        last
    }
}

/// All units, and what they name. Nothing if it was told to stop.
pub(super) fn census(store: &Store, tell: &mut Tell<'_>) -> Result<Option<(Census, Vec<Unit>)>> {
    let guarded = store.inner.guards.guarded();
    let mut units: BTreeMap<BlobId, Unit> = BTreeMap::new();
    for (id, used) in store.uses()? {
        units.insert(id, unit(id, used.kind));
        if let Some(unit) = units.get_mut(&id) {
            (unit.last_s, unit.cost_ms) = (used.last_s, used.cost_ms);
            unit.words = used.words;
        }
    }
    for tree in store.inner.index.layers()?.into_keys() {
        let id = tree.blob();
        units.entry(id).or_insert_with(|| unit(id, Used::Tree)).kind = Used::Tree;
    }
    for id in guarded {
        let known = units.entry(id).or_insert_with(|| unit(id, Used::Blob));
        known.guarded = true;
        if known.kind != Used::Tree && listing(store, id)?.is_some() {
            known.kind = Used::Tree;
        }
    }
    let mut units: Vec<Unit> = units.into_values().collect();
    let total = 2 * units.len() as u64;
    let mut census = Census::default();
    for (at, unit) in units.iter().enumerate() {
        if !tell(Stage::Marking, at as u64, total) {
            return Ok(None);
        }
        let members = members(store, unit.id, unit.kind)?;
        if unit.guarded && unit.kind == Used::Tree && is_blind(store, unit.id)? {
            return Err(StoreError::Damaged {
                what: format!("the listing of tree {}", TreeId::from(unit.id)),
                reason: "what is pinned or in use cannot be told from rubbish without it; \
                         run `caravan store check --heal` first"
                    .to_owned(),
            });
        }
        for (blob, _) in members {
            census.add(blob);
        }
    }
    let half = units.len() as u64;
    for (at, unit) in units.iter_mut().enumerate() {
        if !tell(Stage::Marking, half + at as u64, total) {
            return Ok(None);
        }
        if !unit.guarded {
            let members = members(store, unit.id, unit.kind)?;
            unit.gone = members.is_empty();
            let shares = members
                .iter()
                .map(|(blob, size)| size / census.count(*blob));
            unit.share_bytes = shares.fold(0, u64::saturating_add);
        }
    }
    Ok(Some((census, units)))
}

fn unit(id: BlobId, kind: Used) -> Unit {
    Unit {
        id,
        kind,
        last_s: 0,
        cost_ms: 0,
        words: String::new(),
        share_bytes: 0,
        guarded: false,
        gone: false,
    }
}

/// Bytes and number of the objects that no unit names. Nothing if it was told to stop.
pub(super) fn garbage(
    store: &Store,
    census: &Census,
    tell: &mut Tell<'_>,
) -> Result<Option<(u64, u64)>> {
    let (mut bytes, mut objects) = (0u64, 0);
    let mut last = None;
    loop {
        if !tell(Stage::Marking, 1, 1) {
            return Ok(None);
        }
        let some = store
            .inner
            .index
            .objects_after(last.as_ref(), 4 * SWEEP_MAX)?;
        let Some((end, _)) = some.last() else {
            return Ok(Some((bytes, objects)));
        };
        last = Some(*end);
        for (_, size) in some.iter().filter(|(key, _)| !census.has(key.blob)) {
            bytes += size;
            objects += 1;
        }
    }
}

/// The blobs that a unit names, each once, with their sizes.
pub(super) fn members(store: &Store, id: BlobId, kind: Used) -> Result<Vec<(BlobId, u64)>> {
    let own = store.inner.index.named(id)?;
    let first = own.first().map(|(_, size)| (id, *size));
    let mut members: Vec<(BlobId, u64)> = first.into_iter().collect();
    let tree = match kind {
        // Of a frozen tree only a pack may have the listing.
        Used::Tree if own.is_empty() => match store.tree(id.into()) {
            Ok(tree) => Some(tree),
            Err(StoreError::NoBlob { .. } | StoreError::Damaged { .. } | StoreError::Tree(_)) => {
                None
            }
            Err(error) => return Err(error),
        },
        Used::Tree => listing(store, id)?,
        Used::Log | Used::Blob => None,
    };
    if let Some(tree) = tree {
        members.extend(tree.blobs());
        members.sort_unstable();
        members.dedup_by_key(|(blob, _)| *blob);
    }
    Ok(members)
}

/// Whether the index names the listing of a tree, and nothing that can be read is behind it.
fn is_blind(store: &Store, id: BlobId) -> Result<bool> {
    Ok(!store.inner.index.named(id)?.is_empty() && listing(store, id)?.is_none())
}

/// The tree whose encoding this blob is, if it is one and is here undamaged.
pub(crate) fn listing(store: &Store, id: BlobId) -> Result<Option<Tree>> {
    for (key, size) in store.inner.index.named(id)? {
        if size > TREE_BYTES_MAX as u64 + 1 {
            return Ok(None);
        }
        let Some(mut file) = store.inner.home.open_object(&key)? else {
            continue;
        };
        let what = || format!("read the listing of tree {}", TreeId::from(id));
        let mut first = [0];
        // Most blobs are told from a listing by their first byte.
        if file.read(&mut first).doing(what)? == 0 || first[0] != TREE_FIRST_BYTE {
            return Ok(None);
        }
        let mut bytes = first.to_vec();
        file.take(size).read_to_end(&mut bytes).doing(what)?;
        if BlobId::of(&bytes) == id {
            return Ok(Tree::decode(&bytes).ok());
        }
    }
    Ok(None)
}

/// Version of the encoding of trees.
const TREE_FIRST_BYTE: u8 = 1;

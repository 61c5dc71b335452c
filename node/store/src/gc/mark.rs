//! Finding what is used: the units of a collection, how many of them name each object, and which
//! packs they need. Reads the index and listings, and says nothing to the sweep of what it sees.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::Read,
};

use caravan_pack::PackId;
use caravan_protocol::{
    ids::{BlobId, TreeId},
    limits::TREE_BYTES_MAX,
    tree::Tree,
};

use super::{Stage, Tell};
use crate::{
    cold::{self, FrozenTree},
    error::{Doing, Result, StoreError},
    limits::SWEEP_MAX,
    store::Store,
    uses::Used,
};

/// In which form a unit is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As objects, which it names; what is no object of it may be in packs.
    Warm,
    /// As objects, which it names, and wholly in packs besides.
    Both,
    /// In packs only; objects of its content are not its own.
    Cold,
    /// It is no more.
    Gone,
}

/// A tree or a loose blob: it is kept or goes as one.
pub(super) struct Unit {
    pub(super) id: BlobId,
    pub(super) kind: Used,
    pub(super) last_s: u64,
    pub(super) cost_ms: u64,
    pub(super) words: String,
    pub(super) form: Form,
    /// Bytes of its objects, those that others name too divided among them.
    pub(super) share_bytes: u64,
    /// All its bytes.
    pub(super) bytes: u64,
    pub(super) guarded: bool,
    /// Whether nothing of it is here any more.
    pub(super) gone: bool,
    /// Whether only packs have something of it.
    pub(super) lacks: bool,
    /// The packs that have something that it needs, or would need without its objects.
    pub(super) packs: Vec<usize>,
}

/// A pack, as a collection sees it.
pub(super) struct PackUnit {
    pub(super) id: PackId,
    pub(super) bytes: u64,
    /// The packs that lean on it.
    pub(super) leaners: Vec<usize>,
    /// The units that need it.
    pub(super) units: Vec<usize>,
    pub(super) dropped: bool,
}

/// All that was found.
pub(super) struct Marked {
    pub(super) census: Census,
    pub(super) units: Vec<Unit>,
    pub(super) packs: Vec<PackUnit>,
}

/// How many units name each blob. Blobs are told apart by eight bytes of their ids: should two be
/// alike, both stay while one of them is named.
#[derive(Default)]
pub(super) struct Census(HashMap<u64, u32>);

pub(super) fn short(blob: BlobId) -> u64 {
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

/// What of a unit is here as objects, with sizes, each once; and what is not.
#[derive(Default)]
pub(super) struct Members {
    pub(super) here: Vec<(BlobId, u64)>,
    pub(super) lacking: Vec<BlobId>,
}

/// All units, and what they name. Nothing if it was told to stop.
pub(super) fn census(store: &Store, tell: &mut Tell<'_>) -> Result<Option<Marked>> {
    let packs = packs(store)?;
    let numbers: BTreeMap<BlobId, usize> =
        (0..).zip(&packs).map(|(n, p)| (p.id.blob(), n)).collect();
    let frozen = cold::frozen(&store.inner)?;
    let (units, layers) = known(store, &numbers)?;
    let mut marked = Marked {
        census: Census::default(),
        units,
        packs,
    };
    let total = 2 * marked.units.len() as u64;
    for at in 0..marked.units.len() {
        if !tell(Stage::Marking, at as u64, total) {
            return Ok(None);
        }
        let laid_out = layers.contains(&marked.units[at].id);
        let row = frozen.get(&marked.units[at].id.into());
        marked.look(store, at, laid_out, row, &numbers)?;
    }
    let half = marked.units.len() as u64;
    let has_packs = !marked.packs.is_empty();
    for (at, unit) in marked.units.iter_mut().enumerate() {
        if !tell(Stage::Marking, half + at as u64, total) {
            return Ok(None);
        }
        if !unit.guarded && unit.form != Form::Cold {
            let members = members(store, unit.id, unit.kind, has_packs)?;
            unit.gone = members.here.is_empty() && unit.packs.is_empty();
            let shares = members.here.iter();
            let shares = shares.map(|(blob, size)| size / marked.census.count(*blob));
            unit.share_bytes = shares.fold(0, u64::saturating_add);
        }
    }
    Ok(Some(marked))
}

impl Marked {
    /// Finds out in which form a unit is here, and counts what it names.
    fn look(
        &mut self,
        store: &Store,
        at: usize,
        laid_out: bool,
        row: Option<&FrozenTree>,
        numbers: &BTreeMap<BlobId, usize>,
    ) -> Result<()> {
        let unit = &mut self.units[at];
        let may_be_cold = unit.kind == Used::Tree && !laid_out && !unit.guarded;
        let mut packs: BTreeSet<BlobId> = BTreeSet::new();
        if let Some(row) = row {
            unit.form = if may_be_cold { Form::Cold } else { Form::Both };
            unit.bytes = row.bytes;
            packs.clone_from(&row.packs);
        }
        if unit.form != Form::Cold {
            let members = members(store, unit.id, unit.kind, !self.packs.is_empty())?;
            if unit.guarded && unit.kind == Used::Tree && is_blind(store, unit.id)? {
                return Err(StoreError::Damaged {
                    what: format!("the listing of tree {}", TreeId::from(unit.id)),
                    reason: "what is pinned or in use cannot be told from rubbish without it; \
                             run `caravan store check --heal` first"
                        .to_owned(),
                });
            }
            unit.lacks = !members.lacking.is_empty();
            unit.bytes = members.here.iter().map(|(_, size)| size).sum();
            cold::peek(&store.inner, |packed| {
                for blob in &members.lacking {
                    packs.extend(packed.rows(*blob)?.iter().map(|row| row.pack.blob()));
                }
                // Nobody has said that packs have all of it, and yet they have its listing.
                if may_be_cold && members.lacking.contains(&unit.id) {
                    let mut all = true;
                    for (blob, _) in &members.here {
                        let rows = packed.rows(*blob)?;
                        all &= !rows.is_empty();
                        packs.extend(rows.iter().map(|row| row.pack.blob()));
                    }
                    if all {
                        unit.form = Form::Cold;
                    }
                }
                Ok(())
            })?;
            if unit.form != Form::Cold {
                for (blob, _) in members.here {
                    self.census.add(blob);
                }
            }
        }
        unit.packs = packs
            .iter()
            .filter_map(|pack| numbers.get(pack).copied())
            .collect();
        for pack in &unit.packs {
            self.packs[*pack].units.push(at);
        }
        Ok(())
    }
}

fn packs(store: &Store) -> Result<Vec<PackUnit>> {
    let all = cold::all(&store.inner)?;
    let mut packs: Vec<PackUnit> = all
        .iter()
        .map(|(id, facts)| PackUnit {
            id: *id,
            bytes: facts.bytes,
            leaners: Vec::new(),
            units: Vec::new(),
            dropped: false,
        })
        .collect();
    for (leaner, (_, facts)) in all.iter().enumerate() {
        for pack in packs
            .iter_mut()
            .filter(|pack| facts.leans_on.contains(&pack.id.blob()))
        {
            pack.leaners.push(leaner);
        }
    }
    Ok(packs)
}

/// All units, of which nothing is known yet but what notes say, and the trees that are laid out.
fn known(store: &Store, packs: &BTreeMap<BlobId, usize>) -> Result<(Vec<Unit>, BTreeSet<BlobId>)> {
    let guarded = store.inner.guards.guarded();
    let mut units: BTreeMap<BlobId, Unit> = BTreeMap::new();
    for (id, used) in store.uses()? {
        units.insert(id, unit(id, used.kind));
        if let Some(unit) = units.get_mut(&id) {
            (unit.last_s, unit.cost_ms) = (used.last_s, used.cost_ms);
            unit.words = used.words;
        }
    }
    let layers = store.inner.index.layers()?;
    let layers: BTreeSet<BlobId> = layers.into_keys().map(|tree| tree.blob()).collect();
    for id in &layers {
        units
            .entry(*id)
            .or_insert_with(|| unit(*id, Used::Tree))
            .kind = Used::Tree;
    }
    // Packs are leased too, and are no units.
    for id in guarded.into_iter().filter(|id| !packs.contains_key(id)) {
        let known = units.entry(id).or_insert_with(|| unit(id, Used::Blob));
        known.guarded = true;
        if known.kind != Used::Tree && listing_anywhere(store, id)?.is_some() {
            known.kind = Used::Tree;
        }
    }
    Ok((units.into_values().collect(), layers))
}

fn unit(id: BlobId, kind: Used) -> Unit {
    Unit {
        id,
        kind,
        last_s: 0,
        cost_ms: 0,
        words: String::new(),
        form: Form::Warm,
        share_bytes: 0,
        bytes: 0,
        guarded: false,
        gone: false,
        lacks: false,
        packs: Vec::new(),
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

/// The blobs that a unit names. Where there are packs, those that are no objects are told apart.
pub(super) fn members(store: &Store, id: BlobId, kind: Used, has_packs: bool) -> Result<Members> {
    let own = store.inner.index.named(id)?;
    let mut blobs: BTreeMap<BlobId, u64> = BTreeMap::new();
    let tree = match kind {
        // Of a frozen tree only a pack may have the listing.
        Used::Tree if own.is_empty() => cold::peek_tree(&store.inner, id.into())?,
        Used::Tree => listing(store, id)?,
        Used::Log | Used::Blob => None,
    };
    let is_here = !own.is_empty();
    if let Some(tree) = &tree {
        blobs = tree.blobs();
    }
    blobs.extend(own.first().map(|(_, size)| (id, *size)));
    if !has_packs {
        return Ok(Members {
            here: blobs.into_iter().collect(),
            lacking: Vec::new(),
        });
    }
    let mut lacking = store.inner.index.lacking(blobs.keys().copied())?;
    blobs.retain(|blob, _| !lacking.contains(blob));
    if !is_here {
        lacking.insert(id);
    }
    Ok(Members {
        here: blobs.into_iter().collect(),
        lacking: lacking.into_iter().collect(),
    })
}

/// Whether the index names the listing of a tree, and nothing that can be read is behind it.
fn is_blind(store: &Store, id: BlobId) -> Result<bool> {
    Ok(!store.inner.index.named(id)?.is_empty() && listing(store, id)?.is_none())
}

/// The tree of this id, if there is one; said to no sweep.
pub(crate) fn listing_anywhere(store: &Store, id: BlobId) -> Result<Option<Tree>> {
    match store.inner.index.named(id)?.is_empty() {
        true => cold::peek_tree(&store.inner, id.into()),
        false => listing(store, id),
    }
}

/// The tree whose encoding this object is, if it is one and is here undamaged.
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

/// Whether a pack alone has something that is pinned, leased or held.
pub(crate) fn is_needed(store: &Store, pack: PackId) -> Result<bool> {
    let guards = &store.inner.guards;
    if guards.is_guarded(pack.blob()) {
        return Ok(true);
    }
    for id in guards.guarded() {
        let kind = match listing_anywhere(store, id)? {
            Some(_) => Used::Tree,
            None => Used::Blob,
        };
        let members = members(store, id, kind, true)?;
        let needed = cold::peek(&store.inner, |packed| {
            for blob in &members.lacking {
                let rows = packed.rows(*blob)?;
                if !rows.is_empty() && rows.iter().all(|row| row.pack == pack) {
                    return Ok(true);
                }
            }
            Ok(false)
        })?;
        if needed {
            return Ok(true);
        }
    }
    Ok(false)
}

//! Freezing: what of some trees no pack has yet becomes one pack.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::BufWriter,
};

use caravan_pack::{Elsewhere, Hint, Options, PackId, Want};
use caravan_protocol::{
    ids::{BlobId, TreeId},
    tree::{Kind, Tree},
};

use super::{FrozenTree, Packs, failed, files, source::Source, table};
use crate::{
    error::{Result, StoreError},
    limits::{FREEZE_TREES_MAX, READ_BYTES},
    store::{Inner, Store},
    work::{self, Work},
};

/// What freezing did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Frozen {
    /// The new pack; none if packs had everything before.
    pub pack: Option<PackId>,
    /// Length of its file.
    pub bytes: u64,
    /// Blobs that it holds.
    pub blobs: u64,
    /// Sum of their lengths.
    pub blob_bytes: u64,
    /// Blobs of the trees that other packs had before.
    pub known: u64,
}

impl Store {
    /// Writes one pack with every blob of these trees that no pack has. The trees must be complete.
    /// Their objects and layers stay; when this returns, losing them loses nothing.
    pub fn freeze(&self, trees: &[TreeId], how: Options) -> Result<Frozen> {
        freeze(self, trees, how, &Work::default())
    }

    /// The same, less urgent than everything else. `tell` hears how far it is, and ends it by
    /// answering `false`: then there is no pack.
    pub fn freeze_beside(
        &self,
        trees: &[TreeId],
        how: Options,
        tell: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Frozen> {
        work::beside(&Work::default(), tell, |work| {
            freeze(self, trees, how, work)
        })
    }

    /// How many blobs of these trees, and bytes of them, no pack has. The trees must be here.
    pub fn unfrozen(&self, trees: &[TreeId]) -> Result<(u64, u64)> {
        let _lease = self.lease(trees);
        let listings = listings(self, trees)?;
        let plan = plan(self, &listings, &BTreeSet::new())?;
        Ok((plan.wants.len() as u64, plan.bytes))
    }
}

/// What is to be packed, and what is so already.
#[derive(Default)]
pub(crate) struct Plan<'a> {
    pub(crate) wants: Vec<Want<'a>>,
    /// Sum of their lengths.
    pub(crate) bytes: u64,
    /// Blobs that packs have.
    pub(crate) known: u64,
    /// The trees as they will be known, but for the new pack.
    pub(super) frozen: BTreeMap<TreeId, FrozenTree>,
    /// Those of them of which the new pack has something.
    pub(super) fresh: BTreeSet<TreeId>,
}

impl Plan<'_> {
    /// The packs that must still be there when this one is placed.
    pub(super) fn relied(&self) -> BTreeSet<BlobId> {
        let packs = self.frozen.values().flat_map(|tree| &tree.packs);
        packs.copied().collect()
    }

    /// The trees as they are known with the new pack.
    pub(super) fn frozen_in(&self, pack: PackId) -> BTreeMap<TreeId, FrozenTree> {
        let mut frozen = self.frozen.clone();
        for tree in &self.fresh {
            if let Some(tree) = frozen.get_mut(tree) {
                tree.packs.insert(pack.blob());
            }
        }
        frozen
    }
}

/// What of these trees no pack has, in their order. Packs that are `left_out` do not count.
pub(crate) fn plan<'a>(
    store: &Store,
    listings: &'a [(TreeId, Tree)],
    left_out: &BTreeSet<BlobId>,
) -> Result<Plan<'a>> {
    let mut plan = Plan::default();
    // Nor do those that may lack parts of what they are said to have.
    let mut left_out = left_out.clone();
    left_out.extend(table::lame(&store.inner)?);
    // Where each blob is; nothing for what is to be packed.
    let mut seen: BTreeMap<BlobId, Option<BlobId>> = BTreeMap::new();
    table::view(&store.inner, |packed| {
        for (id, listing) in listings {
            let blobs = listing.blobs();
            let mut tree = FrozenTree {
                bytes: blobs
                    .values()
                    .fold(0, |sum, size| sum.saturating_add(*size)),
                files: blobs.len() as u64,
                packs: BTreeSet::new(),
            };
            let files = listing
                .entries()
                .iter()
                .filter_map(|entry| match entry.kind {
                    Kind::File { blob, size } => Some((blob, size, Hint::Path(&entry.path))),
                    _ => None,
                });
            for (blob, size, hint) in [(id.blob(), 0, Hint::Tree)].into_iter().chain(files) {
                let place = match seen.get(&blob) {
                    Some(place) => *place,
                    None => {
                        let rows = packed.rows(blob)?;
                        let mut packs = rows.iter().map(|row| row.pack.blob());
                        let place = packs.find(|pack| !left_out.contains(pack));
                        seen.insert(blob, place);
                        if place.is_none() {
                            plan.wants.push(Want { blob, hint });
                            plan.bytes = plan.bytes.saturating_add(size);
                        }
                        place
                    }
                };
                match place {
                    Some(pack) => drop(tree.packs.insert(pack)),
                    None => drop(plan.fresh.insert(*id)),
                }
            }
            plan.frozen.insert(*id, tree);
        }
        Ok(())
    })?;
    plan.known = (seen.len() - plan.wants.len()) as u64;
    Ok(plan)
}

fn listings(store: &Store, trees: &[TreeId]) -> Result<Vec<(TreeId, Tree)>> {
    if trees.len() > FREEZE_TREES_MAX {
        return Err(StoreError::TooMany {
            what: "tree of one pack".to_owned(),
            max: FREEZE_TREES_MAX as u64,
        });
    }
    let listing = |tree: &TreeId| {
        let missing = store.missing(*tree)?.len();
        if missing > 0 {
            return Err(StoreError::Incomplete {
                tree: *tree,
                missing,
            });
        }
        Ok((*tree, store.tree(*tree)?))
    };
    trees.iter().map(listing).collect()
}

/// Freezes these trees, for as long as the work is to go on.
pub(crate) fn freeze(store: &Store, trees: &[TreeId], how: Options, work: &Work) -> Result<Frozen> {
    let mut lease = store.lease(trees);
    let listings = listings(store, trees)?;
    let plan = plan(store, &listings, &BTreeSet::new())?;
    for pack in plan.relied() {
        lease.add_blob(pack);
    }
    // What nobody has ever noted would be rubbish once its layer is gone.
    for tree in trees {
        store.note_use(*tree, 0)?;
    }
    replace(store, &plan, how, work, &BTreeSet::new())
}

/// Writes what is planned as a new pack, which leans on none of those that are `left_out`. There is
/// none where other packs have everything.
pub(crate) fn replace(
    store: &Store,
    plan: &Plan<'_>,
    how: Options,
    work: &Work,
    left_out: &BTreeSet<BlobId>,
) -> Result<Frozen> {
    let inner = &store.inner;
    if plan.wants.is_empty() {
        files::know(inner, plan)?;
        return Ok(Frozen {
            known: plan.known,
            ..Frozen::default()
        });
    }
    // Everything is read once to be cut and once to be written.
    work.expect(2 * plan.bytes);
    let temp = files::Unplaced::create(inner)?;
    let source = Source { inner, work };
    let others = Others { inner, left_out };
    let trees: Vec<TreeId> = plan.frozen.keys().copied().collect();
    let mut to = BufWriter::with_capacity(READ_BYTES, temp.file());
    let written =
        caravan_pack::write(&plan.wants, &trees, &source, &others, how, &mut to).map_err(failed)?;
    to.into_inner()
        .map_err(|error| StoreError::io("write a pack".to_owned(), error.into_error()))?;
    work.step(0)?;
    // What it was made of may go once it is there, so it is read before anybody counts on it.
    files::verify(inner, &temp)?;
    files::place(inner, &temp, written.id, plan)?;
    Ok(Frozen {
        pack: Some(written.id),
        bytes: written.bytes,
        blobs: written.blobs,
        blob_bytes: written.blob_bytes,
        known: plan.known,
    })
}

/// The store's packs on which a new one may lean.
struct Others<'a> {
    inner: &'a Inner,
    left_out: &'a BTreeSet<BlobId>,
}

impl Elsewhere for Others<'_> {
    fn pack_of(&self, unit: BlobId) -> Option<PackId> {
        let pack = Packs(self.inner).pack_of(unit)?;
        (!self.left_out.contains(&pack.blob())).then_some(pack)
    }
}

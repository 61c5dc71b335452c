//! Freezing before forgetting: what would go to make the room that is wanted, and is dear and idle,
//! is put into packs, so that only its mountable form goes. Trees that are alike are frozen together.

use caravan_protocol::ids::{BlobId, TreeId};

use super::{
    Collect, Collected, Freeze, Stage, Tell,
    mark::{self, Form, Marked, Unit},
    order::Rank,
    repack,
};
use crate::{
    cold,
    error::{Result, StoreError},
    limits::{
        FREEZE_COST_MS_PER_MIB, FREEZE_PACK_BYTES_MAX, FREEZE_ROUND_BYTES_MAX, FREEZE_ROUND_S,
        FREEZE_TREES_MAX,
    },
    store::Store,
    uses::Used,
    work::{self, Work},
};

const MIB: u64 = 1024 * 1024;

/// A tree that is to be frozen.
struct Idle {
    tree: TreeId,
    bytes: u64,
    /// Alike trees have mostly the same.
    kin: u64,
}

/// Freezes what is worth it, and packs anew what is mostly dead. What cannot be frozen now is left to
/// be forgotten.
pub(super) fn first(
    store: &Store,
    ask: &Collect,
    freeze: &Freeze,
    tell: &mut Tell<'_>,
    done: &mut Collected,
) -> Result<()> {
    let mut listen = |_, done, total| tell(Stage::Freezing, done, total);
    let Some(marked) = mark::census(store, &mut listen)? else {
        return Ok(());
    };
    // One for all, since the time is bounded for all.
    let work = Work::of_at_most(FREEZE_ROUND_S);
    let mut tell = |done, total| tell(Stage::Freezing, done, total);
    let doing = |work: &Work| {
        let mut made = Made::default();
        let result = repack::mostly_dead(store, &marked, freeze.how, work, &mut made)
            .and_then(|()| idle(store, &marked, ask, freeze))
            .and_then(|idle| freeze_all(store, idle, freeze, work, &mut made));
        (made, result)
    };
    let (made, result) = work::beside(&work, &mut tell, doing);
    done.frozen = made.trees;
    done.frozen_bytes = made.bytes;
    if let Err(error) = result {
        match error {
            StoreError::Stopped { .. } => {
                tracing::debug!("freezing was stopped: somebody waits for room, or the node stops")
            }
            // Room is still wanted, and there are other ways to it.
            error => tracing::warn!(%error, "what is dear and idle could not be frozen"),
        }
    }
    Ok(())
}

/// What was frozen or packed anew.
#[derive(Default)]
pub(super) struct Made {
    pub(super) trees: u64,
    /// Bytes of new packs.
    pub(super) bytes: u64,
}

/// What would go and is worth freezing, as much of it as one collection does.
fn idle(store: &Store, marked: &Marked, ask: &Collect, freeze: &Freeze) -> Result<Vec<Idle>> {
    let rank = |unit: &Unit| match unit.form {
        Form::Warm => Some(Rank::of_unit(unit, false, ask.now_s)),
        Form::Both => Some(Rank::of_form(unit, ask.now_s)),
        Form::Cold | Form::Gone => None,
    };
    let free = marked.units.iter().filter(|unit| !unit.guarded);
    let mut order: Vec<(Rank, BlobId, &Unit)> = free
        .filter_map(|unit| Some((rank(unit)?, unit.id, unit)))
        .collect();
    order.sort_by_key(|(rank, id, _)| (*rank, *id));
    let (mut freed, mut taken) = (0u64, 0u64);
    let mut idle = Vec::new();
    for (_, _, unit) in order {
        if freed >= ask.want_bytes || idle.len() >= FREEZE_TREES_MAX {
            break;
        }
        freed = freed.saturating_add(unit.share_bytes);
        let is_idle = unit.last_s.saturating_add(freeze.idle_s) <= ask.now_s;
        let is_dear = unit.cost_ms.saturating_mul(MIB)
            >= unit.share_bytes.saturating_mul(FREEZE_COST_MS_PER_MIB);
        let fits = taken.saturating_add(unit.bytes) <= FREEZE_ROUND_BYTES_MAX;
        let is_tree = unit.kind == Used::Tree && unit.form == Form::Warm && !unit.gone;
        if is_tree && is_idle && is_dear && unit.cost_ms > 0 && fits {
            taken += unit.bytes;
            idle.push(Idle {
                tree: unit.id.into(),
                bytes: unit.bytes,
                kin: kin(store, unit.id)?,
            });
        }
    }
    Ok(idle)
}

impl Store {
    /// These trees in groups that are to be frozen together: alike ones side by side, as many as one
    /// pack is made of.
    pub fn siblings(&self, trees: &[TreeId]) -> Result<Vec<Vec<TreeId>>> {
        let mut idle = Vec::new();
        for tree in trees {
            let listing = mark::listing_anywhere(self, tree.blob())?;
            idle.push(Idle {
                tree: *tree,
                bytes: listing.map_or(0, |listing| listing.size()),
                kin: kin(self, tree.blob())?,
            });
        }
        let groups = groups(idle).into_iter();
        Ok(groups.map(|(trees, _)| trees).collect())
    }
}

/// Trees that are frozen together, and their bytes.
fn groups(mut idle: Vec<Idle>) -> Vec<(Vec<TreeId>, u64)> {
    idle.sort_by_key(|idle| (idle.kin, idle.tree));
    let mut groups: Vec<(Vec<TreeId>, u64)> = Vec::new();
    for Idle { tree, bytes, .. } in idle {
        match groups.last_mut() {
            Some((trees, sum))
                if sum.saturating_add(bytes) <= FREEZE_PACK_BYTES_MAX
                    && trees.len() < FREEZE_TREES_MAX =>
            {
                trees.push(tree);
                *sum += bytes;
            }
            _ => groups.push((vec![tree], bytes)),
        }
    }
    groups
}

/// The least of the hashes of a tree's paths: of two trees it is the same as probably as a path of
/// either is one of both.
fn kin(store: &Store, id: BlobId) -> Result<u64> {
    let Some(tree) = mark::listing_anywhere(store, id)? else {
        return Ok(u64::MAX);
    };
    let paths = tree.entries().iter().filter(|entry| !entry.path.is_empty());
    let hashes = paths.map(|entry| mark::short(BlobId::of(&entry.path)));
    Ok(hashes.min().unwrap_or(u64::MAX))
}

fn freeze_all(
    store: &Store,
    idle: Vec<Idle>,
    freeze: &Freeze,
    work: &Work,
    made: &mut Made,
) -> Result<()> {
    for (group, bytes) in groups(idle) {
        freeze_group(store, &group, bytes, freeze, work, made)?;
    }
    Ok(())
}

/// Whether something of these trees or packs is gone or damaged since it was looked at: others can
/// be frozen.
pub(super) const fn is_of_these(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Incomplete { .. }
            | StoreError::NoBlob { .. }
            | StoreError::WrongBytes { .. }
            | StoreError::Pack { .. }
    )
}

fn freeze_group(
    store: &Store,
    group: &[TreeId],
    bytes: u64,
    freeze: &Freeze,
    work: &Work,
    made: &mut Made,
) -> Result<()> {
    // What is packed already may not compress at all, and builds need room meanwhile.
    if store.disk()?.free / 2 < bytes {
        tracing::debug!(bytes, "too little room to freeze anything");
        return Ok(());
    }
    match cold::freeze(store, group, freeze.how, work) {
        Ok(frozen) => {
            made.trees += group.len() as u64;
            made.bytes = made.bytes.saturating_add(frozen.bytes);
            Ok(())
        }
        Err(error) if is_of_these(&error) => {
            tracing::debug!(%error, "some trees were not frozen");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

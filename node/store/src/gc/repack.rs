//! Packing anew: a pack of which most is dead is written again with what lives. The old one is then
//! needed by nobody, and goes with the next step of the collection. A pack on which others lean is
//! written again together with them.

use std::collections::BTreeSet;

use caravan_pack::{Options, PackId};
use caravan_protocol::{
    ids::{BlobId, TreeId},
    tree::Tree,
};

use super::{
    freeze::{Made, is_of_these},
    mark::{self, Form, Marked},
};
use crate::{
    cold,
    error::Result,
    limits::{FREEZE_TREES_MAX, REPACK_BYTES_MAX, REPACK_PACKS_MAX},
    store::Store,
    work::Work,
};

/// Trees with their files.
type Listings = Vec<(TreeId, Tree)>;

/// What expands to more than so many times a pack is not most of what is in it.
const EXPANDED_MOST: u64 = 8;

/// Writes what lives of packs of which most is dead as new packs.
pub(super) fn mostly_dead(
    store: &Store,
    marked: &Marked,
    how: Options,
    work: &Work,
    made: &mut Made,
) -> Result<()> {
    // The more is known to live of one, the later it is looked at.
    let mut suspects: Vec<(u64, usize)> = (0..marked.packs.len())
        .filter_map(|at| {
            let packs = with_leaners(marked, at);
            let users = users(marked, &packs);
            let lives = users.iter().map(|unit| marked.units[*unit].bytes);
            let lives = lives.fold(0, u64::saturating_add);
            let bytes: u64 = packs.iter().map(|at| marked.packs[*at].bytes).sum();
            let is_suspect = !users.is_empty() && lives / EXPANDED_MOST < bytes;
            is_suspect.then(|| (lives / bytes.max(1), at))
        })
        .collect();
    suspects.sort_unstable();
    let mut done = BTreeSet::new();
    let mut taken = 0;
    for (_, at) in suspects.into_iter().take(REPACK_PACKS_MAX) {
        work.step(0)?;
        let packs = with_leaners(marked, at);
        if packs.iter().any(|at| done.contains(at)) {
            continue;
        }
        match one(store, marked, &packs, how, work, &mut taken) {
            Ok(Some(bytes)) => {
                made.bytes += bytes;
                done.extend(packs);
            }
            Ok(None) => {}
            Err(error) if is_of_these(&error) => {
                tracing::warn!(%error, "a pack that is mostly dead could not be packed anew");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The bytes of the pack that was written in the place of these; nothing if that is not worth it, or
/// too much beside what was `taken` before.
fn one(
    store: &Store,
    marked: &Marked,
    packs: &BTreeSet<usize>,
    how: Options,
    work: &Work,
    taken: &mut u64,
) -> Result<Option<u64>> {
    let Some((listings, lives)) = living(store, marked, packs)? else {
        return Ok(None);
    };
    if *taken + lives > REPACK_BYTES_MAX || store.disk()?.free / 2 < lives {
        return Ok(None);
    }
    *taken += lives;
    write_anew(store, marked, packs, &listings, how, work).map(Some)
}

fn with_leaners(marked: &Marked, at: usize) -> BTreeSet<usize> {
    let mut packs = BTreeSet::from([at]);
    let mut left = vec![at];
    while let Some(at) = left.pop() {
        let leaners = marked.packs[at].leaners.iter();
        left.extend(leaners.filter(|at| packs.insert(**at)));
    }
    packs
}

/// The units that need one of these packs.
fn users(marked: &Marked, packs: &BTreeSet<usize>) -> BTreeSet<usize> {
    let users = packs.iter().flat_map(|at| &marked.packs[*at].units);
    users.copied().collect()
}

/// The trees that need these packs and the bytes in them that live, if that is less than half.
fn living(
    store: &Store,
    marked: &Marked,
    packs: &BTreeSet<usize>,
) -> Result<Option<(Listings, u64)>> {
    let users = users(marked, packs);
    if users.len() > FREEZE_TREES_MAX {
        return Ok(None);
    }
    let mut listings = Vec::new();
    for at in users {
        let unit = &marked.units[at];
        // What is partly in packs has no pack of its own to go to.
        if unit.form == Form::Warm || unit.lacks && unit.form == Form::Both {
            return Ok(None);
        }
        match mark::listing_anywhere(store, unit.id)? {
            Some(tree) => listings.push((TreeId::from(unit.id), tree)),
            None => return Ok(None),
        }
    }
    let ids: Vec<PackId> = packs.iter().map(|at| marked.packs[*at].id).collect();
    let blobs: BTreeSet<BlobId> = listings
        .iter()
        .flat_map(|(id, tree)| tree.blobs().into_keys().chain([id.blob()]))
        .collect();
    let Some((lives, all)) = cold::used(&store.inner, &ids, &blobs)? else {
        return Ok(None);
    };
    Ok((lives < all / 2).then_some((listings, lives)))
}

/// The bytes of the pack that was written.
fn write_anew(
    store: &Store,
    marked: &Marked,
    packs: &BTreeSet<usize>,
    listings: &[(TreeId, Tree)],
    how: Options,
    work: &Work,
) -> Result<u64> {
    let trees: Vec<TreeId> = listings.iter().map(|(id, _)| *id).collect();
    let mut lease = store.lease(&trees);
    let left_out: BTreeSet<BlobId> = packs.iter().map(|at| marked.packs[*at].id.blob()).collect();
    for pack in &left_out {
        lease.add_blob(*pack);
    }
    let plan = cold::plan(store, listings, &left_out)?;
    let written = cold::replace(store, &plan, how, work, &left_out)?;
    tracing::info!(
        packs = packs.len(),
        bytes = written.bytes,
        "packed anew what lives of packs that were mostly dead"
    );
    Ok(written.bytes)
}

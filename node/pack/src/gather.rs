//! What a new pack will hold: every wanted blob is read once, checked, cut where it is large, and
//! its new units are put in the order in which they will lie in the pack.

use std::collections::{BTreeMap, BTreeSet};

use caravan_protocol::{ids::BlobId, limits::BLOB_BYTES_MAX};

use crate::{
    cut::{self, cut},
    error::{PackError, Result},
    format::PackId,
    io::{Blobs, ReadAt},
    limits,
    order::{Hint, Kind, Rank},
};

/// A blob that is to be packed.
#[derive(Debug, Clone, Copy)]
pub struct Want<'a> {
    /// Which.
    pub blob: BlobId,
    /// What is known of it.
    pub hint: Hint<'a>,
}

/// Units that packs have which the reader will have too.
pub trait Elsewhere {
    /// A pack that holds this unit itself.
    fn pack_of(&self, unit: BlobId) -> Option<PackId>;
}

/// No other pack: the new one stands alone.
#[derive(Debug, Clone, Copy)]
pub struct Nowhere;

impl Elsewhere for Nowhere {
    fn pack_of(&self, _unit: BlobId) -> Option<PackId> {
        None
    }
}

/// A unit that is to be written, and where its bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) id: BlobId,
    pub(crate) bytes: u32,
    pub(crate) kind: Kind,
    pub(crate) blob: BlobId,
    pub(crate) at: u64,
}

/// A file of several units.
#[derive(Debug)]
pub(crate) struct LargePlan {
    pub(crate) id: BlobId,
    pub(crate) parts: Vec<(BlobId, u32)>,
}

/// What there is to write, in order.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) large: Vec<LargePlan>,
    pub(crate) foreign: BTreeMap<BlobId, (PackId, u32)>,
    pub(crate) blobs: u64,
    pub(crate) blob_bytes: u64,
}

/// A unit with what its place in the pack depends on: the file, the part of it, the version of it.
struct Placed {
    rank: u32,
    turn: u32,
    piece: Piece,
}

/// Reads and cuts everything that is wanted. Blobs that are wanted twice are read once.
pub(crate) fn gather<B: Blobs>(
    wants: &[Want<'_>],
    from: &B,
    elsewhere: &impl Elsewhere,
) -> Result<Plan> {
    let mut plan = Plan::default();
    let mut done = BTreeSet::new();
    let mut seen: BTreeSet<BlobId> = BTreeSet::new();
    let mut ranks: Vec<Rank> = Vec::new();
    let mut placed: Vec<Placed> = Vec::new();
    for want in wants {
        if !done.insert(want.blob) {
            continue;
        }
        let whole = read(want, from)?;
        plan.blobs += 1;
        plan.blob_bytes += whole.bytes;
        let turn = count(ranks.len(), "blobs", limits::UNITS_MAX + limits::LARGE_MAX)?;
        ranks.push(whole.rank);
        let kind = ranks[turn as usize].kind;
        let mut at = 0;
        for &(id, bytes) in &whole.parts {
            // A whole file is always here: only parts of large ones may be in other packs.
            let other = match whole.parts.len() {
                1 => None,
                _ => elsewhere.pack_of(id),
            };
            let was_left_out = other.is_none() && plan.foreign.remove(&id).is_some();
            let is_new = seen.insert(id) || was_left_out;
            match other {
                Some(pack) if is_new => {
                    plan.foreign.insert(id, (pack, bytes));
                }
                None if is_new => placed.push(Placed {
                    rank: turn,
                    turn,
                    piece: Piece {
                        id,
                        bytes,
                        kind,
                        blob: want.blob,
                        at,
                    },
                }),
                _ => {}
            }
            at += u64::from(bytes);
        }
        if whole.parts.len() != 1 {
            plan.large.push(LargePlan {
                id: want.blob,
                parts: whole.parts,
            });
        }
    }
    count(placed.len(), "units", limits::UNITS_MAX)?;
    count(
        plan.foreign.len(),
        "units of other packs",
        limits::FOREIGN_MAX,
    )?;
    count(plan.large.len(), "large files", limits::LARGE_MAX)?;
    let parts = plan.large.iter().map(|large| large.parts.len()).sum();
    count(parts, "parts of large files", limits::PARTS_MAX)?;
    plan.pieces = in_order(placed, &ranks);
    Ok(plan)
}

/// Versions of one file have equal ranks and are told apart by their turn, so that equal parts of
/// them meet.
fn in_order(mut placed: Vec<Placed>, ranks: &[Rank]) -> Vec<Piece> {
    let mut order: Vec<u32> = (0..).take(ranks.len()).collect();
    order.sort_by(|&a, &b| ranks[a as usize].cmp(&ranks[b as usize]));
    let mut places = vec![0_u32; ranks.len()];
    for pair in order.windows(2) {
        let (before, this) = (pair[0] as usize, pair[1] as usize);
        places[this] = places[before] + u32::from(ranks[before] != ranks[this]);
    }
    for unit in &mut placed {
        unit.rank = places[unit.rank as usize];
    }
    placed.sort_by_key(|unit| (unit.rank, unit.piece.at, unit.turn));
    placed.into_iter().map(|unit| unit.piece).collect()
}

/// A blob as it was found.
struct Whole {
    rank: Rank,
    bytes: u64,
    parts: Vec<(BlobId, u32)>,
}

fn read<B: Blobs>(want: &Want<'_>, from: &B) -> Result<Whole> {
    let failed = |source| PackError::Blob {
        blob: want.blob,
        source,
    };
    let blob = from.open(want.blob).map_err(failed)?;
    let size = blob.size().map_err(failed)?;
    if size > BLOB_BYTES_MAX {
        return Err(PackError::TooLarge {
            blob: want.blob,
            size,
            max: BLOB_BYTES_MAX,
        });
    }
    let sizes = match want.hint {
        Hint::Tree => cut::LISTINGS,
        Hint::Path(_) => cut::FILES,
    };
    let mut hasher = blake3::Hasher::new();
    let mut rank = None;
    let mut parts = Vec::new();
    cut(&blob, size, sizes, |_, bytes: &[u8]| {
        hasher.update(bytes);
        rank.get_or_insert_with(|| Rank::of(want.hint, bytes));
        parts.push((
            BlobId::of(bytes),
            u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        ));
        Ok(())
    })
    .map_err(failed)?;
    let found = BlobId::from_bytes(*hasher.finalize().as_bytes());
    if found != want.blob {
        return Err(PackError::WrongBlob {
            expected: want.blob,
            found,
        });
    }
    Ok(Whole {
        rank: rank.unwrap_or_else(|| Rank::of(want.hint, b"")),
        bytes: size,
        parts,
    })
}

/// A count that must stay within a bound of the format.
pub(crate) fn count(count: usize, what: &'static str, max: u32) -> Result<u32> {
    match u32::try_from(count) {
        Ok(count) if count <= max => Ok(count),
        _ => Err(PackError::TooMany {
            what,
            count: count as u64,
            max: max.into(),
        }),
    }
}

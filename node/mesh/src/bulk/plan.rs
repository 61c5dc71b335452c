//! What a fetch is made of: units that are blobs or parts of them, and what is known of each large
//! blob. No network and no disk.

use std::{collections::BTreeMap, sync::Arc};

use caravan_protocol::ids::{BlobId, NodeId};

use super::{
    Size, Wanted,
    groups::{Mask, Shape},
    link::Job,
    shelf::Growing,
    swarm::{Blob, Event, Of, Unit},
    words::{Bits, Standing},
};
use crate::limits::{UNIT_BLOBS_MAX, UNIT_BYTES, WHOLE_BYTES_MAX};

/// What a unit is.
#[derive(Debug)]
pub(crate) enum Spec {
    Blobs(Vec<Wanted>),
    Outline(Blob),
    Piece(Blob, u32),
}

/// A large blob on its way.
pub(crate) struct Large {
    pub(crate) wanted: Wanted,
    pub(crate) shape: Shape,
    /// The unit that is its outline.
    pub(crate) outline: Unit,
    /// The unit that is its first piece, and the blob as it grows.
    pub(crate) grows: Option<(Unit, Arc<Growing>)>,
    /// What is missing of pieces of which some is here.
    pub(crate) rest: BTreeMap<u32, Mask>,
    /// What of it others have.
    pub(crate) parts: BTreeMap<NodeId, Option<Bits>>,
}

impl Large {
    pub(crate) const fn id(&self) -> BlobId {
        self.wanted.id
    }

    /// The groups of a piece that are missing.
    pub(crate) fn missing(&self, piece: u32) -> Mask {
        let all = self.shape.all(piece);
        self.rest.get(&piece).copied().unwrap_or(all)
    }

    /// Groups of a piece are here now; whether that is all of it.
    pub(crate) fn got(&mut self, piece: u32, groups: Mask) -> bool {
        let missing = self.missing(piece) & !groups;
        if missing == 0 {
            self.rest.remove(&piece);
        } else {
            self.rest.insert(piece, missing);
        }
        missing == 0
    }

    /// What is said of it, made an event of; none if it makes no sense.
    pub(crate) fn stands(&mut self, blob: Blob, node: NodeId, standing: Standing) -> Option<Event> {
        match standing {
            Standing::Absent => {
                self.parts.remove(&node);
                None
            }
            Standing::Whole { .. } => {
                self.parts.insert(node, None);
                Some(Event::Whole { node, blob })
            }
            Standing::Part { have, .. } => {
                let bits = Bits::from_bytes(&have, self.shape.pieces())?;
                self.parts.insert(node, Some(bits));
                self.known_of(blob, node)
            }
        }
    }

    /// More is there of it.
    pub(crate) fn more(&mut self, blob: Blob, node: NodeId, pieces: &[u32]) -> Option<Event> {
        let count = self.shape.pieces();
        let bits = self.parts.get_mut(&node)?.as_mut()?;
        for piece in pieces.iter().filter(|piece| **piece < count) {
            bits.set(*piece);
        }
        if bits.count() == count {
            self.parts.insert(node, None);
            return Some(Event::Whole { node, blob });
        }
        let first = self.grows.as_ref()?.0;
        let pieces = pieces.iter().filter(|piece| **piece < count);
        let units = pieces.map(|piece| first + piece).collect();
        Some(Event::Has { node, blob, units })
    }

    /// All that is known of what a node has.
    pub(crate) fn known_of(&self, blob: Blob, node: NodeId) -> Option<Event> {
        let Some(bits) = self.parts.get(&node)? else {
            return Some(Event::Whole { node, blob });
        };
        let mut units = vec![self.outline];
        if let Some((first, _)) = &self.grows {
            let have = bits.iter(self.shape.pieces());
            units.extend(have.map(|piece| first + piece));
        }
        Some(Event::Has { node, blob, units })
    }

    /// Whether somebody has some of it and may soon have more.
    pub(crate) fn is_hoped_for(&self) -> bool {
        self.parts.values().any(Option::is_some)
    }
}

/// Sorts what is wanted: units of small blobs, and the large blobs, which are cut up later.
pub(crate) fn sort(wanted: &[Wanted]) -> (Vec<Vec<Wanted>>, Vec<(Wanted, u64)>) {
    let (mut units, mut large) = (Vec::new(), Vec::new());
    let (mut unit, mut bytes) = (Vec::new(), 0);
    for wanted in wanted {
        match wanted.size {
            Size::Exactly(size) if size > WHOLE_BYTES_MAX => large.push((*wanted, size)),
            // Nobody knows how much that is: it goes alone.
            Size::AtMost(max) if max > UNIT_BYTES => units.push(vec![*wanted]),
            Size::Exactly(size) | Size::AtMost(size) => {
                if !unit.is_empty() && (bytes + size > UNIT_BYTES || unit.len() >= UNIT_BLOBS_MAX) {
                    units.push(std::mem::take(&mut unit));
                    bytes = 0;
                }
                unit.push(*wanted);
                bytes += size;
            }
        }
    }
    if !unit.is_empty() {
        units.push(unit);
    }
    (units, large)
}

/// How many bytes a unit of small blobs is taken for.
pub(crate) fn weight(unit: &[Wanted]) -> u32 {
    let sizes = unit.iter().map(|wanted| match wanted.size {
        Size::Exactly(size) | Size::AtMost(size) => size.min(WHOLE_BYTES_MAX) + 32,
    });
    u32::try_from(sizes.sum::<u64>()).unwrap_or(u32::MAX)
}

/// The number by which a piece's owner is drawn.
pub(crate) fn lot(id: BlobId, piece: u32) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&id.as_bytes()[..8]);
    u64::from_le_bytes(first) ^ (u64::from(piece) << 20)
}

/// The job that brings a unit.
pub(crate) fn job(spec: &Spec, unit: Unit, large: &[Large]) -> Option<Job> {
    Some(match spec {
        Spec::Blobs(wanted) => Job::Blobs {
            unit,
            wanted: wanted.clone(),
        },
        Spec::Outline(blob) => {
            let large = &large[*blob as usize];
            Job::Outline {
                unit,
                id: large.id(),
                shape: large.shape,
            }
        }
        Spec::Piece(blob, piece) => {
            let large = &large[*blob as usize];
            Job::Piece {
                unit,
                growing: Arc::clone(&large.grows.as_ref()?.1),
                piece: *piece,
                groups: large.missing(*piece),
            }
        }
    })
}

/// The event that makes a unit known.
pub(crate) fn added(spec: &Spec, large: &[Large]) -> Event {
    let (of, bytes) = match spec {
        Spec::Blobs(unit) => (Of::Anyone, weight(unit)),
        Spec::Outline(blob) => {
            let large = &large[*blob as usize];
            let of = Of::Blob(*blob, lot(large.id(), u32::MAX));
            (of, large.shape.pieces().saturating_mul(32))
        }
        Spec::Piece(blob, piece) => {
            let large = &large[*blob as usize];
            let bytes = u32::try_from(large.shape.len(*piece)).unwrap_or(u32::MAX);
            (Of::Blob(*blob, lot(large.id(), *piece)), bytes)
        }
    };
    Event::Added { of, bytes }
}

//! What the views of all nodes have in common: who has which slot, where everybody stands on the
//! rings, and the records. A real node owns its own [`Table`]; engines of one simulation share one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Kind, MEMBERS_MAX, Opened, Presence, RINGS_MAX, Sealed, Slot};
use crate::{identity::NodeCert, ids::NodeId};

/// What never changes about a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Static {
    /// The node.
    pub node: NodeId,
    /// Where it stands on each ring. The position on ring 0 is also its short name, its *seed*.
    pub positions: [u64; RINGS_MAX],
    /// Who runs it, as a number of this directory's; zero until a certificate is kept.
    pub operator: u32,
}

impl Static {
    /// A node's place, with no operator yet.
    #[must_use]
    pub fn of(node: NodeId) -> Self {
        let mut positions = [0; RINGS_MAX];
        for (ring, position) in (0_u8..).zip(&mut positions) {
            *position = position_on(ring, &node);
        }
        Self {
            node,
            positions,
            operator: 0,
        }
    }

    /// A node's short name: its position on ring 0.
    #[must_use]
    pub fn seed(node: &NodeId) -> u64 {
        position_on(0, node)
    }
}

fn position_on(ring: u8, node: &NodeId) -> u64 {
    let mut hash = blake3::Hasher::new();
    hash.update(b"caravan/ring/1\0");
    hash.update(&[ring]);
    hash.update(node.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// A record as it travels and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// As it travels.
    pub sealed: Sealed,
    /// What it says.
    pub opened: Arc<Opened>,
}

/// Which way round a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To higher positions: whom a node probes.
    Forward,
    /// To lower positions: who probes a node.
    Backward,
}

/// The slots, rings and records behind views. Slots that it gave stay what they are until they are
/// forgotten; it never judges a record, and keeps none that was not opened.
pub trait Directory {
    /// The slot of a node, if it has one.
    fn find(&self, node: &NodeId) -> Option<Slot>;
    /// The slot of a node, a new one if need be; `None` when there are [`MEMBERS_MAX`].
    fn intern(&mut self, node: &NodeId) -> Option<Slot>;
    /// What never changes about the member with a slot that this directory gave.
    fn place(&self, slot: Slot) -> &Static;
    /// The slot next to `slot` on a ring, whether its node is anybody's member or not; the ring is
    /// closed, so the last one is `slot` itself.
    fn beside(&self, slot: Slot, ring: usize, direction: Direction) -> Slot;
    /// Shows the slots with positions from `first` to `last` on ring 0, in order, until `each` says
    /// `false`.
    fn walk(&self, first: u64, last: u64, each: &mut dyn FnMut(u64, Slot) -> bool);
    /// Keeps a record. A directory of one engine drops what it replaces: the record of the same
    /// node and kind with a lower version.
    fn keep(&mut self, slot: Slot, kept: Kept);
    /// A kept record.
    fn record(&self, slot: Slot, kind: Kind, version: u32) -> Option<&Kept>;
    /// No view has this member any more. The slot may be given to another node. A directory that
    /// is shared does nothing.
    fn forget(&mut self, slot: Slot);
}

/// A directory in memory.
#[derive(Debug, Clone, Default)]
pub struct Table {
    shared: bool,
    slots: BTreeMap<NodeId, Slot>,
    members: Vec<Static>,
    records: Vec<Vec<Kept>>,
    rings: [BTreeSet<(u64, Slot)>; RINGS_MAX],
    free: Vec<Slot>,
    operators: BTreeMap<String, u32>,
}

impl Table {
    /// The directory of one engine: of each record only the latest version is kept.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The directory of many engines: all versions are kept and no slot is given twice.
    #[must_use]
    pub fn shared() -> Self {
        Self {
            shared: true,
            ..Self::default()
        }
    }

    /// The latest certificate of a member.
    #[must_use]
    pub fn cert(&self, slot: Slot) -> Option<&NodeCert> {
        self.latest(slot, Kind::Cert)
            .and_then(|kept| match &*kept.opened {
                Opened::Cert(cert) => Some(cert),
                _ => None,
            })
    }

    /// The latest word of a member about itself.
    #[must_use]
    pub fn presence(&self, slot: Slot) -> Option<&Presence> {
        self.latest(slot, Kind::Presence)
            .and_then(|kept| match &*kept.opened {
                Opened::Presence(presence) => Some(presence),
                _ => None,
            })
    }

    /// The latest record of a kind about a member.
    #[must_use]
    pub fn latest(&self, slot: Slot, kind: Kind) -> Option<&Kept> {
        self.records
            .get(slot.index())?
            .iter()
            .filter(|kept| kept.sealed.kind == kind)
            .max_by_key(|kept| kept.sealed.version)
    }

    /// All kept records, for a node that saves what it knows.
    pub fn records(&self) -> impl Iterator<Item = &Kept> {
        self.records.iter().flatten()
    }

    /// Slots in use.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether no slot is in use.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

impl Directory for Table {
    fn find(&self, node: &NodeId) -> Option<Slot> {
        self.slots.get(node).copied()
    }

    fn intern(&mut self, node: &NodeId) -> Option<Slot> {
        if let Some(slot) = self.find(node) {
            return Some(slot);
        }
        let place = Static::of(*node);
        let slot = if let Some(slot) = self.free.pop() {
            self.members[slot.index()] = place;
            slot
        } else {
            if self.members.len() >= MEMBERS_MAX {
                return None;
            }
            let slot = Slot::new(u32::try_from(self.members.len()).ok()?);
            self.members.push(place);
            self.records.push(Vec::new());
            slot
        };
        for (ring, position) in self.rings.iter_mut().zip(place.positions) {
            ring.insert((position, slot));
        }
        self.slots.insert(*node, slot);
        Some(slot)
    }

    fn place(&self, slot: Slot) -> &Static {
        &self.members[slot.index()]
    }

    fn beside(&self, slot: Slot, ring: usize, direction: Direction) -> Slot {
        let here = (self.members[slot.index()].positions[ring], slot);
        let ring = &self.rings[ring];
        let beside = match direction {
            Direction::Forward => ring
                .range((std::ops::Bound::Excluded(here), std::ops::Bound::Unbounded))
                .next()
                .or_else(|| ring.first()),
            Direction::Backward => ring.range(..here).next_back().or_else(|| ring.last()),
        };
        beside.map_or(slot, |(_, slot)| *slot)
    }

    fn walk(&self, first: u64, last: u64, each: &mut dyn FnMut(u64, Slot) -> bool) {
        let range = (first, Slot::new(0))..=(last, Slot::new(u32::MAX));
        for (seed, slot) in self.rings[0].range(range) {
            if !each(*seed, *slot) {
                break;
            }
        }
    }

    fn keep(&mut self, slot: Slot, kept: Kept) {
        if let Opened::Cert(cert) = &*kept.opened {
            let next = u32::try_from(self.operators.len() + 1).unwrap_or(u32::MAX);
            let operator = *self.operators.entry(cert.operator.clone()).or_insert(next);
            self.members[slot.index()].operator = operator;
        }
        let records = &mut self.records[slot.index()];
        let (kind, version) = (kept.sealed.kind, kept.sealed.version);
        if self.shared {
            let known = records
                .iter()
                .any(|had| had.sealed.kind == kind && had.sealed.version == version);
            if !known {
                records.push(kept);
            }
        } else {
            records.retain(|had| had.sealed.kind != kind);
            records.push(kept);
        }
    }

    fn record(&self, slot: Slot, kind: Kind, version: u32) -> Option<&Kept> {
        self.records[slot.index()]
            .iter()
            .rev()
            .find(|kept| kept.sealed.kind == kind && kept.sealed.version == version)
    }

    fn forget(&mut self, slot: Slot) {
        if self.shared {
            return;
        }
        let place = self.members[slot.index()];
        if self.slots.remove(&place.node).is_none() {
            return;
        }
        for (ring, position) in self.rings.iter_mut().zip(place.positions) {
            ring.remove(&(position, slot));
        }
        self.records[slot.index()].clear();
        self.free.push(slot);
    }
}

//! The directory that all engines of one large simulation share: every node that will ever be is
//! in it from the start, so the rings are arrays and the slot of a host is its index. It owns the
//! records of all of them, each once, and never forgets one.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use caravan_protocol::{
    ids::NodeId,
    member::{Direction, Directory, Kept, Kind, Opened, RINGS_MAX, Slot, Static},
};

/// Names are hashes already: eight bytes of one are as good as any hash of it.
#[derive(Debug, Default)]
pub struct First(u64);

impl Hasher for First {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Slots, rings and records of a whole mesh.
#[derive(Debug)]
pub struct Commons {
    slots: HashMap<NodeId, Slot, BuildHasherDefault<First>>,
    places: Vec<Static>,
    forward: [Vec<Slot>; RINGS_MAX],
    backward: [Vec<Slot>; RINGS_MAX],
    seeds: Vec<(u64, Slot)>,
    records: Vec<Vec<Kept>>,
    operators: HashMap<String, u32>,
}

impl Commons {
    /// All the nodes of a simulation: the slot of each is its index.
    #[must_use]
    pub fn new(nodes: &[NodeId]) -> Self {
        let places: Vec<Static> = nodes.iter().map(|node| Static::of(*node)).collect();
        let slot = |index: usize| Slot::new(u32::try_from(index).expect("few nodes"));
        let slots = nodes.iter().enumerate().map(|(at, node)| (*node, slot(at)));
        let mut commons = Self {
            slots: slots.collect(),
            forward: std::array::from_fn(|_| vec![slot(0); places.len()]),
            backward: std::array::from_fn(|_| vec![slot(0); places.len()]),
            seeds: Vec::new(),
            records: vec![Vec::new(); places.len()],
            operators: HashMap::new(),
            places,
        };
        for ring in 0..RINGS_MAX {
            let positions = commons.places.iter().map(|place| place.positions[ring]);
            let mut around: Vec<(u64, Slot)> = positions.zip((0..).map(slot)).collect();
            around.sort_unstable();
            for (at, (_, here)) in around.iter().enumerate() {
                let (_, next) = around[(at + 1) % around.len()];
                commons.forward[ring][here.index()] = next;
                commons.backward[ring][next.index()] = *here;
            }
            if ring == 0 {
                commons.seeds = around;
            }
        }
        commons
    }
}

impl Directory for Commons {
    fn find(&self, node: &NodeId) -> Option<Slot> {
        self.slots.get(node).copied()
    }

    fn intern(&mut self, node: &NodeId) -> Option<Slot> {
        self.find(node)
    }

    fn place(&self, slot: Slot) -> &Static {
        &self.places[slot.index()]
    }

    fn beside(&self, slot: Slot, ring: usize, direction: Direction) -> Slot {
        match direction {
            Direction::Forward => self.forward[ring][slot.index()],
            Direction::Backward => self.backward[ring][slot.index()],
        }
    }

    fn walk(&self, first: u64, last: u64, each: &mut dyn FnMut(u64, Slot) -> bool) {
        let from = self
            .seeds
            .partition_point(|(position, _)| *position < first);
        for (position, slot) in &self.seeds[from..] {
            if *position > last || !each(*position, *slot) {
                return;
            }
        }
    }

    fn keep(&mut self, slot: Slot, kept: Kept) {
        if self
            .record(slot, kept.sealed.kind, kept.sealed.version)
            .is_some()
        {
            return;
        }
        if let Opened::Cert(cert) = &*kept.opened {
            let next = u32::try_from(self.operators.len() + 1).expect("few operators");
            let operator = self.operators.entry(cert.operator.clone());
            self.places[slot.index()].operator = *operator.or_insert(next);
        }
        self.records[slot.index()].push(kept);
    }

    fn record(&self, slot: Slot, kind: Kind, version: u32) -> Option<&Kept> {
        self.records[slot.index()]
            .iter()
            .rev()
            .find(|kept| kept.sealed.kind == kind && kept.sealed.version == version)
    }

    fn forget(&mut self, _slot: Slot) {}
}

#[cfg(test)]
mod tests {
    use caravan_protocol::member::Table;

    use super::*;
    use crate::plan::node;

    fn walked(directory: &impl Directory, first: u64) -> Vec<(u64, Slot)> {
        let mut seen = Vec::new();
        directory.walk(first, u64::MAX, &mut |position, slot| {
            seen.push((position, slot));
            seen.len() < 30
        });
        seen
    }

    #[test]
    fn it_is_the_table_of_a_real_node_in_other_words() {
        let nodes: Vec<NodeId> = (0..50).map(node).collect();
        let commons = Commons::new(&nodes);
        let mut table = Table::new();
        for node in &nodes {
            table.intern(node).expect("there is room");
        }
        for node in &nodes {
            let slot = commons.find(node).expect("it is there");
            assert_eq!(table.find(node), Some(slot));
            assert_eq!(table.place(slot), commons.place(slot));
            for ring in 0..RINGS_MAX {
                for direction in [Direction::Forward, Direction::Backward] {
                    let beside = commons.beside(slot, ring, direction);
                    assert_eq!(table.beside(slot, ring, direction), beside);
                }
            }
            let seed = commons.place(slot).positions[0];
            assert_eq!(walked(&commons, seed), walked(&table, seed));
            assert_eq!(walked(&commons, seed).first(), Some(&(seed, slot)));
        }
    }
}

//! What lies below a job, for the market: its layers, what of them is not here, and who has them.

use std::{cmp::Reverse, collections::BTreeMap};

use caravan_protocol::{
    action::{Action, Work},
    ids::{NodeId, TreeId},
    limits, offer,
};

use super::live;
use crate::driver::{Driver, inputs};

/// Trees whose sizes are remembered; when there are more, all are forgotten.
const SIZES_MAX: usize = 8192;

/// What the market is told of what lies below a job.
#[derive(Debug, Default)]
pub(crate) struct Below {
    /// The last layers, the last at the end.
    pub(crate) lineage: Vec<offer::Layer>,
    /// Bytes of them that are not here, as far as they are known.
    pub(crate) missing_bytes: u64,
    /// Nodes that have them, those that have most first.
    pub(crate) holders: Vec<NodeId>,
}

/// Sizes of trees, which never change.
#[derive(Debug, Default)]
pub(crate) struct Sizes(BTreeMap<TreeId, u64>);

impl Driver {
    /// What lies below an action, as it is known here.
    pub(crate) fn below(&mut self, action: &Action) -> Below {
        let Work::Run(run) = &action.work else {
            return Below::default();
        };
        let mut trees = vec![run.base];
        trees.extend(&run.layers);
        let first = trees.len().saturating_sub(limits::LINEAGE_MAX);
        let mut below = Below::default();
        let mut held: BTreeMap<NodeId, usize> = BTreeMap::new();
        for tree in trees.drain(first..) {
            let (bytes, is_here) = self.size_of(tree);
            if !is_here {
                below.missing_bytes = below.missing_bytes.saturating_add(bytes);
            }
            below.lineage.push(offer::Layer { tree, bytes });
            for node in self.shared.gathered.holders(tree) {
                *held.entry(node).or_default() += 1;
            }
        }
        let mut nodes = live(&self.shared, held.keys().copied());
        nodes.sort_by_key(|node| Reverse(held.get(node).copied()));
        nodes.truncate(limits::HOLDERS_MAX);
        below.holders = nodes;
        below
    }

    /// The size of a tree, 0 where it is not known, and whether all of it is here.
    fn size_of(&mut self, tree: TreeId) -> (u64, bool) {
        let store = &self.shared.home.store;
        let is_here = store.missing(tree).is_ok_and(|missing| missing.is_empty());
        let sizes = &mut self.index.sizes.0;
        if let Some(bytes) = sizes.get(&tree) {
            return (*bytes, is_here);
        }
        let Ok(listed) = store.tree(tree) else {
            return (0, is_here);
        };
        if sizes.len() >= SIZES_MAX {
            sizes.clear();
        }
        sizes.insert(tree, listed.size());
        (listed.size(), is_here)
    }

    /// The owner of a job says who has what is below it.
    pub(crate) fn note_holders(&self, encoded: &[u8], holders: &[NodeId]) {
        if holders.is_empty() {
            return;
        }
        if let Ok(action) = Action::decode(encoded) {
            for tree in inputs::trees_of(&action) {
                self.shared.gathered.hint(tree, holders);
            }
        }
    }
}

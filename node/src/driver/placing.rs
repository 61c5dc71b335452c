//! Where the steps of a run may be done, as whoever asks for it says.

use std::collections::BTreeSet;

use caravan_protocol::{ids::NodeId, offer::Place};

use super::Driver;

impl Driver {
    /// The place that a request asks for, if there is one: nodes that are named have to be members,
    /// and the one that is required has to be here.
    pub(crate) fn place_of(&self, on: Option<NodeId>, not_on: &[NodeId]) -> Result<Place, String> {
        let me = self.shared.home.key.node();
        for node in on.iter().chain(not_on) {
            if *node != me && self.membership.roster.vouches(*node).is_none() {
                return Err(format!("choose the node {node}: there is no such member"));
            }
        }
        let not_on: BTreeSet<NodeId> = not_on.iter().copied().collect();
        if let Some(node) = on {
            if not_on.contains(&node) {
                let node = node.fmt_short();
                return Err(format!("run on node {node}: it is excluded as well"));
            }
            if node != me && !self.told.contains_key(&node) {
                let why = self.peers.get(&node).and_then(|peer| peer.why.clone());
                let why = why.map(|why| format!(": {why}")).unwrap_or_default();
                let node = node.fmt_short();
                return Err(format!("run on node {node}: it is not here{why}"));
            }
        }
        Ok(Place { on, not_on })
    }
}

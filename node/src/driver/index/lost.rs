//! Layers that turn out to be nowhere. A claim names a layer, its holders are gone or have dropped
//! it, and a step that stands on it cannot begin: the layer is looked for once more, and if nobody
//! has it the action that made it is done again. Bounded, and never a failure of the build.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use caravan_protocol::{
    action::Action,
    claim::{Claim, Verdict},
    ids::{ActionKey, NodeId, TreeId},
    offer,
    policy::Outcome,
};

use super::{Notice, Told, live};
use crate::driver::{Driver, inputs, jobs::Job, outcome::Reported};

/// Actions that are remembered as makers of layers that are elsewhere.
const MAKERS_MAX: usize = 2048;
/// Times that one layer is made again.
const REMADE_MAX: u32 = 3;
/// Layers that are looked for or made again at once.
const LOST_MAX: usize = 256;
/// Longest search for one layer, its transfer included.
const SEARCH: Duration = Duration::from_secs(600);

/// What is lost and what waits for it.
#[derive(Default)]
pub(crate) struct Lost {
    makers: BTreeMap<TreeId, Arc<Action>>,
    order: std::collections::VecDeque<TreeId>,
    layers: BTreeMap<TreeId, Layer>,
    remade: BTreeMap<TreeId, u32>,
}

#[derive(Default)]
struct Layer {
    /// Jobs that stand on it.
    waiting: BTreeSet<ActionKey>,
    /// The action that makes it again.
    maker: Option<ActionKey>,
}

impl Lost {
    /// An own job has made a layer, or it was found in the mesh.
    fn note_maker(&mut self, tree: TreeId, action: &Action) {
        if self.makers.insert(tree, Arc::new(action.clone())).is_some() {
            return;
        }
        self.order.push_back(tree);
        if self.order.len() > MAKERS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.makers.remove(&oldest);
            self.remade.remove(&oldest);
        }
    }
}

impl Driver {
    /// Remembers how a layer that is not here can be made again.
    pub(crate) fn note_maker(&mut self, action: &Action, outcome: &Outcome) {
        if let Some(tree) = outcome.output
            && outcome.node != self.shared.home.key.node()
        {
            self.index.lost.note_maker(tree, action);
        }
    }

    /// An attempt at an own job ended for want of a layer: whether that is taken care of.
    pub(crate) fn on_lacking(&mut self, key: ActionKey, node: NodeId, outcome: &[u8]) -> bool {
        let claim = Reported::decode(outcome)
            .and_then(|_| self.believe(key, node, outcome).ok())
            .map(|(_, claim)| claim);
        let lacking = |claim: &Claim| claim.output.filter(|_| claim.verdict == Verdict::Infra);
        let Some(tree) = claim.as_ref().and_then(lacking) else {
            return false;
        };
        let Some(job) = self.jobs.get(&key) else {
            return false;
        };
        let store = &self.shared.home.store;
        let is_whole = store.missing(tree).is_ok_and(|missing| missing.is_empty());
        // What is here was not to be had for another reason; what the job does not name is a lie.
        if is_whole || !inputs::trees_of(&job.action).contains(&tree) {
            return false;
        }
        let lost = &mut self.index.lost;
        let remade = lost.remade.get(&tree).copied().unwrap_or_default();
        if remade >= REMADE_MAX || !lost.makers.contains_key(&tree) {
            return false;
        }
        if let Some(layer) = lost.layers.get_mut(&tree) {
            layer.waiting.insert(key);
        } else if lost.layers.len() >= LOST_MAX {
            return false;
        } else {
            let waiting = BTreeSet::from([key]);
            let layer = Layer {
                waiting,
                maker: None,
            };
            lost.layers.insert(tree, layer);
            self.seek(tree);
        }
        // It is wanted again when the layer is there.
        self.market(offer::Event::Unwant(key.into()));
        self.note_trouble(
            key,
            format!(
                "layer {} is not to be had; it is looked for",
                tree.fmt_short()
            ),
        );
        true
    }

    /// Looks for a layer at all that may have it.
    fn seek(&self, tree: TreeId) {
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn("lost layer", async move {
            let mut nodes = live(&shared, shared.gathered.holders(tree));
            let connected = shared.mesh.as_ref().map(|mesh| mesh.connected());
            let connected = connected.unwrap_or_default();
            let others = connected.into_iter().filter(|node| !nodes.contains(node));
            let others: Vec<NodeId> = others.collect();
            nodes.extend(others);
            let wanted = [tree];
            let fetch = inputs::fetch_all(&shared, &wanted, &[], &nodes);
            let found = match tokio::time::timeout(SEARCH, fetch).await {
                Ok(found) => found,
                Err(_) => Err("it took too long to come".to_owned()),
            };
            let sought = Told::Sought { tree, found };
            let _ = shared.notices.send(Notice::Index(sought)).await;
        });
    }

    /// A layer was found after all, or is made again.
    pub(super) fn on_sought(&mut self, tree: TreeId, found: Result<u64, String>) {
        match found {
            Ok(bytes) => {
                self.counters.fetched_bytes += bytes;
                self.go_on(tree);
            }
            Err(why) => {
                tracing::info!(tree = %tree.fmt_short(), %why, "a layer is nowhere: it is made again");
                self.shared.gathered.forget(tree);
                self.remake(tree);
            }
        }
    }

    fn remake(&mut self, tree: TreeId) {
        let lost = &mut self.index.lost;
        let Some(action) = lost.makers.get(&tree).cloned() else {
            return self.abandon(tree, "nobody has it, and what made it is not known");
        };
        *lost.remade.entry(tree).or_default() += 1;
        let (Ok(key), Some(layer)) = (action.key(), lost.layers.get_mut(&tree)) else {
            return self.abandon(tree, "nobody has it");
        };
        layer.maker = Some(key);
        if self.jobs.contains_key(&key) {
            return;
        }
        let job = Job {
            action: Action::clone(&action),
            waiters: BTreeSet::new(),
            place: offer::Place::default(),
            trouble: Some("its layer is nowhere any more, and is made again".to_owned()),
        };
        self.jobs.insert(key, job);
        self.want_again(key, true);
    }

    /// An own job has ended: whether it has made a layer that was lost.
    pub(crate) fn on_remade(&mut self, key: ActionKey, outcome: &Outcome) {
        let layers = self.index.lost.layers.iter();
        let its = layers.filter(|(_, layer)| layer.maker == Some(key));
        let its: Vec<TreeId> = its.map(|(tree, _)| *tree).collect();
        for tree in its {
            if outcome.output == Some(tree) {
                self.go_on(tree);
            } else {
                let why = match outcome.verdict {
                    Verdict::Pass => "made again it is another; ask again, to build on that",
                    Verdict::Fail | Verdict::Infra => "it could not be made again",
                };
                self.abandon(tree, why);
            }
        }
    }

    /// A layer is there: what stands on it is wanted again.
    fn go_on(&mut self, tree: TreeId) {
        let Some(layer) = self.index.lost.layers.remove(&tree) else {
            return;
        };
        for key in layer.waiting {
            if self.jobs.contains_key(&key) {
                self.want_again(key, true);
            }
        }
    }

    /// A layer is lost for good.
    fn abandon(&mut self, tree: TreeId, why: &str) {
        let Some(layer) = self.index.lost.layers.remove(&tree) else {
            return;
        };
        for key in layer.waiting {
            let why = format!(
                "layer {}, on which it stands, is lost: {why}",
                tree.fmt_short()
            );
            self.close_infra(key, &why);
        }
    }
}

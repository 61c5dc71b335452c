//! What index nodes have told: claims about what this node wants, and who has what they name. In
//! memory only: nothing that others say gets to the disk before it is used.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use caravan_protocol::{
    action::Action,
    claim::Claim,
    identity::Signed,
    ids::{ActionKey, MeshId, NodeId, TreeId},
    index::{Found, HOLDERS_MAX},
};
use tokio_util::sync::CancellationToken;

use super::{Notice, Shared, Told, logs::Logs};
use crate::{build::chain, driver::inputs};

/// Actions and trees that are remembered; when there are more, those before the last so many are
/// forgotten.
const PAGE_MAX: usize = 8192;

/// What was gathered.
#[derive(Debug)]
pub(crate) struct Gathered {
    mesh: MeshId,
    pages: Mutex<Pages>,
    /// Logs of other nodes that are read here.
    pub(super) logs: Logs,
}

#[derive(Debug, Default)]
struct Pages {
    young: Page,
    old: Page,
}

#[derive(Debug, Default)]
struct Page {
    claims: BTreeMap<ActionKey, Vec<Signed<Claim>>>,
    trees: BTreeMap<TreeId, Whereabouts>,
}

#[derive(Debug, Clone, Default)]
struct Whereabouts {
    holders: BTreeSet<NodeId>,
    made_by: Option<ActionKey>,
}

impl Pages {
    fn turn(&mut self) {
        if self.young.claims.len() >= PAGE_MAX || self.young.trees.len() >= PAGE_MAX {
            self.old = std::mem::take(&mut self.young);
        }
    }

    fn tree(&mut self, tree: TreeId) -> &mut Whereabouts {
        self.turn();
        let known = self.old.trees.get(&tree).cloned();
        let entry = self.young.trees.entry(tree);
        entry.or_insert_with(|| known.unwrap_or_default())
    }
}

impl Gathered {
    /// Nothing yet, of this mesh.
    pub(crate) fn new(mesh: MeshId) -> Self {
        Self {
            mesh,
            pages: Mutex::default(),
            logs: Logs::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what was found, with what its claims say.
    pub(super) fn take(&self, found: &Found, said: &[Claim]) {
        let mut pages = self.lock();
        pages.turn();
        pages
            .young
            .claims
            .insert(found.action, found.claims.clone());
        let signers = found.claims.iter().map(Signed::signer);
        let nodes: BTreeSet<NodeId> = signers.chain(found.holders.iter().copied()).collect();
        for tree in said.iter().filter_map(|claim| claim.output) {
            let whereabouts = pages.tree(tree);
            whereabouts.made_by = Some(found.action);
            let room = (2 * HOLDERS_MAX).saturating_sub(whereabouts.holders.len());
            whereabouts.holders.extend(nodes.iter().take(room));
        }
    }

    /// A node has a tree that came of an action.
    pub(crate) fn holds(&self, tree: TreeId, made_by: ActionKey, node: NodeId) {
        let mut pages = self.lock();
        let whereabouts = pages.tree(tree);
        whereabouts.made_by = Some(made_by);
        whereabouts.holders.insert(node);
    }

    /// Nodes that may have a tree, as somebody else says.
    pub(super) fn hint(&self, tree: TreeId, nodes: &[NodeId]) {
        let mut pages = self.lock();
        let whereabouts = pages.tree(tree);
        let room = (2 * HOLDERS_MAX).saturating_sub(whereabouts.holders.len());
        whereabouts.holders.extend(nodes.iter().take(room));
    }

    /// Claims about an action.
    pub(crate) fn claims(&self, key: ActionKey) -> Vec<Signed<Claim>> {
        let pages = self.lock();
        let known = pages
            .young
            .claims
            .get(&key)
            .or_else(|| pages.old.claims.get(&key));
        known.cloned().unwrap_or_default()
    }

    /// Nodes that are said to have a tree.
    pub(crate) fn holders(&self, tree: TreeId) -> BTreeSet<NodeId> {
        let pages = self.lock();
        let known = pages
            .young
            .trees
            .get(&tree)
            .or_else(|| pages.old.trees.get(&tree));
        known.map(|known| known.holders.clone()).unwrap_or_default()
    }

    /// The action that made a tree, if that was heard.
    pub(super) fn made_by(&self, tree: TreeId) -> Option<ActionKey> {
        let pages = self.lock();
        let known = pages
            .young
            .trees
            .get(&tree)
            .or_else(|| pages.old.trees.get(&tree));
        known.and_then(|known| known.made_by)
    }

    /// Nobody has a tree any more, as far as is known.
    pub(super) fn forget(&self, tree: TreeId) {
        let mut pages = self.lock();
        pages.young.trees.remove(&tree);
        pages.old.trees.remove(&tree);
    }
}

impl Shared {
    /// What a claim of this mesh says.
    pub(super) fn read_claim(&self, signed: &Signed<Claim>) -> Option<Claim> {
        self.opened.open(signed, self.gathered.mesh)
    }
}

/// Of these nodes those that are here and are not this one.
pub(crate) fn live(shared: &Shared, nodes: impl IntoIterator<Item = NodeId>) -> Vec<NodeId> {
    let Some(mesh) = &shared.mesh else {
        return Vec::new();
    };
    let (members, me) = (mesh.members(), shared.home.key.node());
    let is_live =
        |node: &NodeId| *node != me && members.get(node).is_some_and(|member| member.is_live());
    nodes.into_iter().filter(is_live).collect()
}

/// Nodes to ask for what an action names: those that are known to have it, then `others`.
fn with_holders(shared: &Shared, action: &Action, others: &[NodeId]) -> Vec<NodeId> {
    let store = &shared.home.store;
    let is_whole = |tree| store.missing(tree).is_ok_and(|missing| missing.is_empty());
    let mut nodes = Vec::new();
    for tree in inputs::trees_of(action) {
        let holders = shared.gathered.holders(tree);
        if !holders.is_empty() && !is_whole(tree) {
            nodes.extend(live(shared, holders));
        }
    }
    nodes.extend(others);
    let mut seen = BTreeSet::new();
    nodes.retain(|node| seen.insert(*node));
    nodes
}

/// Why what an action names could not be brought.
pub(crate) struct Lacking {
    /// The first tree that is not here, if it is for want of that.
    pub(crate) tree: Option<TreeId>,
    /// In words.
    pub(crate) why: String,
}

/// Brings every tree that `action` names here, from those that are known to have it and from
/// `providers`. What comes is had for others, too.
pub(crate) async fn bring(
    shared: &Arc<Shared>,
    action: &Action,
    providers: &[NodeId],
    cancel: &CancellationToken,
) -> Result<u64, Lacking> {
    let nodes = with_holders(shared, action, providers);
    let brought = inputs::bring(shared, action, &nodes, cancel).await;
    let (of, action, cancel) = (Arc::clone(shared), action.clone(), cancel.clone());
    let look = move |brought: Result<u64, String>| match brought {
        Ok(0) => Ok(0),
        Ok(bytes) => {
            landed(&of, &action);
            Ok(bytes)
        }
        Err(why) => {
            let store = &of.home.store;
            let is_whole = |tree| store.missing(tree).is_ok_and(|missing| missing.is_empty());
            let mut trees = inputs::trees_of(&action).into_iter();
            // What was given up says nothing of any layer.
            let tree = trees.find(|tree| !cancel.is_cancelled() && !is_whole(*tree));
            Err(Lacking { tree, why })
        }
    };
    let looked = shared.tasks.blocking(move || look(brought)).await;
    looked.unwrap_or_else(|_| {
        Err(Lacking {
            tree: None,
            why: "the store's thread died".to_owned(),
        })
    })
}

/// What an action names has come here: this node has it from now on, for others too. Called where
/// blocking is allowed.
fn landed(shared: &Arc<Shared>, action: &Action) {
    let store = &shared.home.store;
    let mut keys = Vec::new();
    for tree in inputs::trees_of(action) {
        let Some(key) = shared.gathered.made_by(tree) else {
            continue;
        };
        let known = store.claims(key).unwrap_or_default();
        for claim in shared.gathered.claims(key) {
            let names = |said: Claim| said.output == Some(tree);
            if known.contains(&claim) || !shared.read_claim(&claim).is_some_and(names) {
                continue;
            }
            match store.put_claim(key, &claim) {
                Ok(()) => keys.push(key),
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "could not keep a claim of another node");
                }
            }
        }
    }
    if !keys.is_empty() {
        // A driver that has no room for it is told when this node starts again.
        let _ = shared.notices.try_send(Notice::Index(Told::Kept { keys }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(n: usize) -> TreeId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_le_bytes());
        TreeId::from_bytes(bytes)
    }

    #[test]
    fn what_was_heard_long_ago_is_forgotten_and_what_was_asked_for_lately_is_not() {
        let gathered = Gathered::new(MeshId::from_bytes([0; 32]));
        let node = NodeId::from_bytes([1; 32]);
        for n in 0..3 * PAGE_MAX {
            gathered.hint(tree(n), &[node]);
            let pages = gathered.lock();
            assert!(pages.young.trees.len() <= PAGE_MAX && pages.old.trees.len() <= PAGE_MAX);
        }
        assert!(gathered.holders(tree(0)).is_empty());
        assert_eq!(gathered.holders(tree(3 * PAGE_MAX - 1)).len(), 1);
    }

    #[test]
    fn a_crowd_of_holders_is_cut_short() {
        let gathered = Gathered::new(MeshId::from_bytes([0; 32]));
        for n in 0..100 {
            let nodes = [
                NodeId::from_bytes([n; 32]),
                NodeId::from_bytes([n + 100; 32]),
            ];
            gathered.hint(tree(1), &nodes);
        }
        assert!(gathered.holders(tree(1)).len() <= 2 * HOLDERS_MAX);
        gathered.forget(tree(1));
        assert!(gathered.holders(tree(1)).is_empty());
    }
}

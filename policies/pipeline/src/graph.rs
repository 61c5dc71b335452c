//! The graph: nodes, the scopes that they were made in, and the queue of those to recompute.
//!
//! Every node is higher than what it reads and higher than the node whose function made it. Work
//! is done lowest first, so a node is computed once in a round, after everything that could change
//! it or remove it. The graph owns all state; policies only hold numbers.

use std::collections::{BTreeMap, BTreeSet};

use caravan_protocol::policy::WantId;

use crate::{
    dynamic::Grow,
    limits::{LABEL_BYTES_MAX, Limits, clip},
    term::Id,
    value::{Cell, Fail},
    wish::Wishes,
};

/// The node that stands for every node beyond the limit: it has failed for good.
pub(crate) const EXHAUSTED: Id = Id(0);

/// Names a scope; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ScopeId(u64);

/// The scope of what was made from outside: never disposed.
pub(crate) const ROOT: ScopeId = ScopeId(0);

/// Computes a node from what its inputs hold.
pub(crate) type Pure = Box<dyn Fn(&[&Cell]) -> Cell + Send>;

/// How a node comes to its content.
pub(crate) enum Op {
    /// It never changes.
    Constant,
    /// It is set from outside; what was set waits here for the next round.
    Input(Option<Cell>),
    /// It is computed.
    Pure(Pure),
    /// It asks the world for what its input says.
    Action(Option<WantId>),
    /// It keeps the sub-graphs of a function, which `main` reads. The box is away while it runs.
    Grow {
        grow: Option<Box<dyn Grow>>,
        main: Id,
    },
}

pub(crate) struct Node {
    /// Empty for one that drawings do not show.
    pub(crate) label: String,
    pub(crate) op: Op,
    pub(crate) inputs: Vec<Id>,
    pub(crate) readers: BTreeSet<Id>,
    pub(crate) height: u32,
    pub(crate) queued: bool,
    pub(crate) cell: Cell,
    pub(crate) scope: ScopeId,
    /// Scopes whose nodes this one's function made.
    pub(crate) owns: BTreeSet<ScopeId>,
    /// The round in which it was last computed.
    pub(crate) round: u64,
}

pub(crate) struct ScopeData {
    pub(crate) owner: Option<Id>,
    pub(crate) depth: u32,
    pub(crate) members: BTreeSet<Id>,
}

/// A new edge would have closed a circle.
#[derive(Debug)]
pub(crate) struct Circular;

pub(crate) struct Graph {
    pub(crate) nodes: BTreeMap<Id, Node>,
    pub(crate) scopes: BTreeMap<ScopeId, ScopeData>,
    pub(crate) queue: BTreeSet<(u32, Id)>,
    pub(crate) wishes: Wishes,
    pub(crate) limits: Limits,
    /// What a reader of a disposed node finds.
    pub(crate) gone: Cell,
    next_node: u64,
    next_scope: u64,
}

impl Graph {
    pub(crate) fn new(limits: Limits) -> Self {
        let root = ScopeData {
            owner: None,
            depth: 0,
            members: BTreeSet::new(),
        };
        let mut graph = Self {
            nodes: BTreeMap::new(),
            scopes: BTreeMap::from([(ROOT, root)]),
            queue: BTreeSet::new(),
            wishes: Wishes::default(),
            limits,
            gone: Cell::failed("a term is used whose sub-graph is gone"),
            next_node: EXHAUSTED.0,
            next_scope: ROOT.0 + 1,
        };
        let text = format!(
            "the pipeline has more than {} terms; split it or raise the limit",
            limits.nodes
        );
        graph.insert(ROOT, Op::Constant, Vec::new(), Cell::failed(text));
        graph
    }

    /// Whether `count` more nodes fit.
    pub(crate) fn has_room(&self, count: usize) -> bool {
        self.nodes.len() + count <= self.limits.nodes
    }

    /// Adds a node, or gives the failed one that stands for all that do not fit.
    pub(crate) fn add(&mut self, scope: ScopeId, op: Op, inputs: Vec<Id>, cell: Cell) -> Id {
        if !self.has_room(1) || !self.scopes.contains_key(&scope) {
            return EXHAUSTED;
        }
        self.insert(scope, op, inputs, cell)
    }

    fn insert(&mut self, scope: ScopeId, op: Op, inputs: Vec<Id>, cell: Cell) -> Id {
        let id = Id(self.next_node);
        self.next_node += 1;
        let data = self.scopes.get_mut(&scope).expect("the caller looked");
        data.members.insert(id);
        let below = inputs.iter().chain(data.owner.as_ref());
        let height = below
            .filter_map(|below| self.nodes.get(below))
            .map(|below| below.height + 1)
            .max()
            .unwrap_or(0);
        for input in &inputs {
            if let Some(node) = self.nodes.get_mut(input) {
                node.readers.insert(id);
            }
        }
        let constant = matches!(op, Op::Constant);
        self.nodes.insert(
            id,
            Node {
                label: String::new(),
                op,
                inputs,
                readers: BTreeSet::new(),
                height,
                queued: false,
                cell,
                scope,
                owns: BTreeSet::new(),
                round: 0,
            },
        );
        if !constant {
            self.enqueue(id);
        }
        id
    }

    pub(crate) fn set_label(&mut self, id: Id, label: &str) {
        if id == EXHAUSTED {
            return;
        }
        if let Some(node) = self.nodes.get_mut(&id) {
            clip(label, LABEL_BYTES_MAX).clone_into(&mut node.label);
        }
    }

    /// What `id` holds; a failure if it is gone.
    pub(crate) fn cell(&self, id: Id) -> &Cell {
        self.nodes.get(&id).map_or(&self.gone, |node| &node.cell)
    }

    pub(crate) fn enqueue(&mut self, id: Id) {
        if let Some(node) = self.nodes.get_mut(&id)
            && !node.queued
        {
            node.queued = true;
            self.queue.insert((node.height, id));
        }
    }

    /// The lowest node that is to be computed.
    pub(crate) fn dequeue(&mut self) -> Option<Id> {
        let (_, id) = self.queue.pop_first()?;
        if let Some(node) = self.nodes.get_mut(&id) {
            node.queued = false;
        }
        Some(id)
    }

    /// Makes a scope for what `owner`'s function is about to make.
    pub(crate) fn open_scope(&mut self, owner: Id) -> Result<ScopeId, Fail> {
        let node = self.nodes.get_mut(&owner).expect("the owner is running");
        let depth = self.scopes[&node.scope].depth + 1;
        if depth > self.limits.depth {
            return Err(Fail::new(format!(
                "functions that make terms are nested deeper than {}",
                self.limits.depth
            )));
        }
        let id = ScopeId(self.next_scope);
        self.next_scope += 1;
        node.owns.insert(id);
        self.scopes.insert(
            id,
            ScopeData {
                owner: Some(owner),
                depth,
                members: BTreeSet::new(),
            },
        );
        Ok(id)
    }

    /// Removes a scope with everything made in it, and scopes within.
    pub(crate) fn dispose(&mut self, scope: ScopeId) {
        let mut left = vec![scope];
        while let Some(scope) = left.pop() {
            let Some(data) = self.scopes.remove(&scope) else {
                continue;
            };
            if let Some(owner) = data.owner.and_then(|owner| self.nodes.get_mut(&owner)) {
                owner.owns.remove(&scope);
            }
            for id in data.members {
                left.extend(self.remove(id));
            }
        }
    }

    fn remove(&mut self, id: Id) -> BTreeSet<ScopeId> {
        let Some(node) = self.nodes.remove(&id) else {
            return BTreeSet::new();
        };
        if node.queued {
            self.queue.remove(&(node.height, id));
        }
        for input in &node.inputs {
            if let Some(input) = self.nodes.get_mut(input) {
                input.readers.remove(&id);
            }
        }
        // Readers in the same scope go too; others must notice.
        for reader in node.readers {
            self.enqueue(reader);
        }
        if let Op::Action(Some(want)) = node.op {
            self.wishes.leave(id, want);
        }
        node.owns
    }

    /// Gives `id` other inputs and has it computed; on a circle nothing changes.
    pub(crate) fn relink(&mut self, id: Id, inputs: Vec<Id>) -> Result<(), Circular> {
        let Some(node) = self.nodes.get(&id) else {
            return Ok(());
        };
        if node.inputs == inputs {
            return Ok(());
        }
        let old: BTreeSet<Id> = node.inputs.iter().copied().collect();
        let new: BTreeSet<Id> = inputs.iter().copied().collect();
        for input in new.difference(&old) {
            if let Some(height) = self.nodes.get(input).map(|input| input.height) {
                self.raise(id, height + 1, *input)?;
            }
        }
        for input in old.difference(&new) {
            if let Some(input) = self.nodes.get_mut(input) {
                input.readers.remove(&id);
            }
        }
        for input in new.difference(&old) {
            if let Some(input) = self.nodes.get_mut(input) {
                input.readers.insert(id);
            }
        }
        let node = self.nodes.get_mut(&id).expect("it was there above");
        node.inputs = inputs;
        self.enqueue(id);
        Ok(())
    }

    /// Lifts `start` to at least `height` and keeps everything that depends on it above it. Lowest
    /// first by present height, so each node is lifted once. Reaching `below`, which `start` is
    /// about to read, would mean a circle: then all is put back.
    fn raise(&mut self, start: Id, height: u32, below: Id) -> Result<(), Circular> {
        let mut undo = Vec::new();
        let mut left: BTreeMap<(u32, Id), u32> = BTreeMap::new();
        let present = |graph: &Self, id| graph.nodes.get(&id).map(|node| node.height);
        left.extend(present(self, start).map(|old| ((old, start), height)));
        while let Some(((old, id), height)) = left.pop_first() {
            if old >= height {
                continue;
            }
            if id == below {
                for (id, old) in undo {
                    self.set_height(id, old);
                }
                return Err(Circular);
            }
            undo.push((id, old));
            self.set_height(id, height);
            for above in self.held_up_by(id) {
                if let Some(old) = present(self, above) {
                    let min = left.entry((old, above)).or_insert(0);
                    *min = (*min).max(height + 1);
                }
            }
        }
        Ok(())
    }

    /// What must be above `id`: its readers and what its function made.
    fn held_up_by(&self, id: Id) -> Vec<Id> {
        let Some(node) = self.nodes.get(&id) else {
            return Vec::new();
        };
        let made = node.owns.iter().filter_map(|scope| self.scopes.get(scope));
        let made = made.flat_map(|scope| &scope.members);
        node.readers.iter().chain(made).copied().collect()
    }

    fn set_height(&mut self, id: Id, height: u32) {
        if let Some(node) = self.nodes.get_mut(&id) {
            if node.queued {
                self.queue.remove(&(node.height, id));
                self.queue.insert((height, id));
            }
            node.height = height;
        }
    }

    /// Asserts what holds between rounds.
    pub(crate) fn check(&self) {
        assert!(self.queue.is_empty(), "something is left to compute");
        for (id, node) in &self.nodes {
            assert!(!node.queued, "{id:?} is marked as queued");
            for input in &node.inputs {
                // An input may be gone; then this node has noticed and failed.
                if let Some(input) = self.nodes.get(input) {
                    assert!(input.height < node.height, "{id:?} is not above its input");
                    assert!(
                        input.readers.contains(id),
                        "{id:?} is not known as a reader"
                    );
                }
            }
            for reader in &node.readers {
                let reader = self.nodes.get(reader).expect("readers of a live node live");
                assert!(reader.inputs.contains(id), "{id:?} has a false reader");
            }
            let scope = self.scopes.get(&node.scope).expect("a node's scope lives");
            assert!(scope.members.contains(id), "{id:?} is not in its scope");
            if let Some(owner) = scope.owner {
                let owner = self.nodes.get(&owner).expect("a scope's owner lives");
                assert!(owner.height < node.height, "{id:?} is not above its maker");
                assert!(owner.owns.contains(&node.scope), "a scope was disowned");
            }
        }
        self.wishes.check(|user, want| {
            let node = self.nodes.get(&user);
            matches!(node.map(|node| &node.op), Some(Op::Action(Some(held))) if *held == want)
        });
    }
}

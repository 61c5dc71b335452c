//! The engine: takes what has changed, brings every term that it reaches up to date in one round,
//! and says what is wanted of the world because of it.

use std::{fmt, sync::Arc};

use caravan_protocol::policy::{Command, WantId, WantState};

use crate::{
    graph::{EXHAUSTED, Graph, Op, ROOT},
    limits::{CHECKED_NODES_MAX, Limits},
    scope::Scope,
    term::{Id, Input, Term},
    value::{Cell, Fail, Status, Value},
    wish::WishView,
};

/// What the last round cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Terms that there are, hidden ones included.
    pub nodes: usize,
    /// Terms that the last round computed.
    pub recomputed: usize,
    /// Wishes that there are, ended ones included.
    pub wishes: usize,
}

/// A graph of terms. Changes take effect in [`Engine::stabilise`] and not before.
pub struct Engine {
    pub(crate) graph: Graph,
    round: u64,
    recomputed: usize,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Engine {
    /// An engine without terms.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            graph: Graph::new(limits),
            round: 0,
            recomputed: 0,
        }
    }

    /// Where the terms of the pipeline itself are made; they stay for good.
    pub fn root(&mut self) -> Scope<'_> {
        Scope::new(&mut self.graph, ROOT)
    }

    /// Sets an input for the next round. Of several settings the last one counts; one of an input
    /// that is gone does nothing.
    pub fn set<T: Value>(&mut self, input: Input<T>, value: Result<T, Fail>) {
        if let Some(node) = self.graph.nodes.get_mut(&input.id)
            && let Op::Input(next) = &mut node.op
        {
            *next = Some(Cell::of(value));
            self.graph.enqueue(input.id);
        }
    }

    /// Takes in where a wish stands, for the next round. A report about a wish that was given up
    /// does nothing: it may have been under way.
    pub fn deliver(&mut self, id: WantId, state: WantState) {
        for user in self.graph.wishes.report(id, state) {
            self.graph.enqueue(user);
        }
    }

    /// Brings every term up to date: each at most once, from inputs that are up to date.
    pub fn stabilise(&mut self) {
        self.round += 1;
        self.recomputed = 0;
        while let Some(id) = self.graph.dequeue() {
            self.recompute(id);
        }
        self.graph.wishes.settle();
        if cfg!(debug_assertions) && self.graph.nodes.len() <= CHECKED_NODES_MAX {
            self.check();
        }
    }

    /// What the world is asked for since the last call, in order: files that wishes name before
    /// them, then what is wanted, then what is not any more. To be called after each round.
    #[must_use]
    pub fn take_commands(&mut self) -> Vec<Command> {
        self.graph.wishes.take_commands()
    }

    /// The value as of the last round.
    #[must_use]
    pub fn value<T: Value>(&self, term: Term<T>) -> Option<&T> {
        self.graph.cell(term.id).value().ok()
    }

    /// Where a term stands as of the last round.
    #[must_use]
    pub fn status<T>(&self, term: Term<T>) -> Status {
        self.graph.cell(term.id).status()
    }

    /// The wish behind an action term; how it ended is in it, also where it failed.
    #[must_use]
    pub fn want_of<T>(&self, term: Term<T>) -> Option<WishView<'_>> {
        match self.graph.nodes.get(&term.id)?.op {
            Op::Action(want) => self.want(want?),
            _ => None,
        }
    }

    /// A wish by name.
    #[must_use]
    pub fn want(&self, id: WantId) -> Option<WishView<'_>> {
        self.graph.wishes.get(id)
    }

    /// All wishes, oldest first.
    pub fn wants(&self) -> impl Iterator<Item = WishView<'_>> {
        self.graph.wishes.iter()
    }

    /// Whether nothing is left to compute and every wish has ended.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let ended = |wish: WishView<'_>| matches!(wish.state, WantState::Done(_));
        self.graph.queue.is_empty() && self.wants().all(ended)
    }

    /// What the last round cost.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            // Without the one that stands for those that do not fit.
            nodes: self.graph.nodes.len() - 1,
            recomputed: self.recomputed,
            wishes: self.graph.wishes.iter().count(),
        }
    }

    /// Asserts what holds between rounds; debug builds do it after each round of a small graph.
    pub fn check(&self) {
        self.graph.check();
    }

    fn recompute(&mut self, id: Id) {
        let Some(node) = self.graph.nodes.get_mut(&id) else {
            return;
        };
        debug_assert_ne!(
            node.round, self.round,
            "{id:?} is computed twice in a round"
        );
        node.round = self.round;
        self.recomputed += 1;
        let cell = match &mut node.op {
            Op::Constant => return,
            Op::Input(next) => match next.take() {
                Some(cell) => cell,
                None => return,
            },
            Op::Pure(_) => self.compute(id),
            Op::Action(_) => self.ask(id),
            Op::Grow { .. } => self.grow(id),
        };
        self.commit(id, cell);
    }

    fn compute(&self, id: Id) -> Cell {
        let node = &self.graph.nodes[&id];
        let inputs = node.inputs.iter().map(|input| self.graph.cell(*input));
        let cells: Vec<&Cell> = inputs.collect();
        match &node.op {
            Op::Pure(function) => function(&cells),
            _ => node.cell.clone(),
        }
    }

    /// Brings the wish of an action node in line with its request.
    fn ask(&mut self, id: Id) -> Cell {
        let graph = &mut self.graph;
        let Some(node) = graph.nodes.get(&id) else {
            return Cell::BLOCKED;
        };
        let Op::Action(held) = node.op else {
            return Cell::BLOCKED;
        };
        let request = node.inputs.first().and_then(|id| graph.nodes.get(id));
        let wanted = match request.map_or(&graph.gone, |node| &node.cell).value() {
            Ok(request) => graph.wishes.join(id, request).map_err(Cell::failed),
            Err(instead) => Err(instead),
        };
        let want = wanted.as_ref().ok().copied();
        if let Some(held) = held
            && want != Some(held)
        {
            graph.wishes.leave(id, held);
        }
        if let Some(node) = graph.nodes.get_mut(&id) {
            node.op = Op::Action(want);
        }
        match wanted {
            Ok(want) => graph.wishes.cell(want),
            Err(instead) => instead,
        }
    }

    /// Brings the sub-graphs of a function in line with its input.
    fn grow(&mut self, id: Id) -> Cell {
        let graph = &mut self.graph;
        let Some(node) = graph.nodes.get_mut(&id) else {
            return Cell::BLOCKED;
        };
        let Op::Grow { grow, main } = &mut node.op else {
            return Cell::BLOCKED;
        };
        let main = *main;
        let mut grow = grow.take().expect("it is put back after each run");
        let input = graph.nodes[&id].inputs[0];
        let cell = match graph.cell(input).clone() {
            // Kept: the next value may well be the same.
            Cell::Pending { stage, .. } => Cell::Pending { stage, own: false },
            Cell::Failed(fail) => Cell::Failed(fail),
            Cell::Ok(value) => match grow.grow(graph, id, &value) {
                Err(fail) => Cell::failed(fail),
                Ok(made) => {
                    let inputs = std::iter::once(id).chain(made).collect();
                    match graph.relink(main, inputs) {
                        // The reader must look even if it reads the same terms as before.
                        Ok(()) => Cell::ok(()),
                        Err(_) => Cell::failed(
                            "a term that a function made reads the function's own result",
                        ),
                    }
                }
            },
        };
        if matches!(cell, Cell::Failed(_)) {
            grow.clear(graph);
            // Reading less can close no circle.
            let _ = graph.relink(main, vec![id]);
        }
        if let Some(node) = graph.nodes.get_mut(&id)
            && let Op::Grow { grow: place, .. } = &mut node.op
        {
            *place = Some(grow);
        }
        cell
    }

    /// Stores what a node has come to and has its readers computed if that is new.
    fn commit(&mut self, id: Id, mut cell: Cell) {
        let Some(node) = self.graph.nodes.get_mut(&id) else {
            return;
        };
        if let Cell::Failed(fail) = &cell
            && fail.origin().is_empty()
            && !node.label.is_empty()
        {
            cell = Cell::Failed(Arc::new((**fail).clone().at(&node.label)));
        }
        if node.cell.same(&cell) {
            return;
        }
        node.cell = cell;
        let readers: Vec<Id> = node.readers.iter().copied().collect();
        debug_assert!(id != EXHAUSTED, "the failed node never changes");
        for reader in readers {
            self.graph.enqueue(reader);
        }
    }
}

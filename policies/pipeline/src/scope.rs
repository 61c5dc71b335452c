//! Where terms are made: the root of an engine, or the inside of a function that makes terms. A
//! scope owns nothing; what is made through it belongs to the engine and lives as long as the
//! scope's sub-graph does.

use caravan_protocol::policy::Outcome;

use crate::{
    dynamic::{Bind, Each, Grow},
    graph::{EXHAUSTED, Graph, Op, ScopeId},
    term::{Id, Input, Term},
    value::{Cell, Fail, Status, Value, obstacle},
    wish::Request,
};

/// Makes terms. An empty label hides a term from drawings: its readers are drawn as reading what
/// it reads.
pub struct Scope<'g> {
    graph: &'g mut Graph,
    id: ScopeId,
}

impl std::fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Scope").field(&self.id).finish()
    }
}

impl<'g> Scope<'g> {
    pub(crate) const fn new(graph: &'g mut Graph, id: ScopeId) -> Self {
        Self { graph, id }
    }

    /// A term that is set from outside; blocked until it is.
    pub fn input<T: Value>(&mut self, label: &str) -> (Input<T>, Term<T>) {
        let id = self
            .graph
            .add(self.id, Op::Input(None), Vec::new(), Cell::BLOCKED);
        self.graph.set_label(id, label);
        (Input::new(id), Term::new(id))
    }

    /// A term that is `value` for good.
    pub fn ok<T: Value>(&mut self, value: T) -> Term<T> {
        self.constant(Cell::ok(value))
    }

    /// A term that has failed for good.
    pub fn fail<T: Value>(&mut self, fail: impl Into<Fail>) -> Term<T> {
        self.constant(Cell::failed(fail))
    }

    /// Shows a term in drawings under this label, or hides it with an empty one.
    pub fn show<T>(&mut self, term: Term<T>, label: &str) -> Term<T> {
        self.graph.set_label(term.id, label);
        term
    }

    /// `function` of the value. Its failure arises here; one of `a` passes through.
    pub fn map<A: Value, B: Value>(
        &mut self,
        a: Term<A>,
        label: &str,
        function: impl Fn(&A) -> Result<B, Fail> + Send + 'static,
    ) -> Term<B> {
        let term = self.pure(vec![a.id], move |cells| match cells[0].value() {
            Ok(value) => Cell::of(function(value)),
            Err(instead) => instead,
        });
        self.show(term, label)
    }

    /// Both values.
    pub fn pair<A: Value, B: Value>(&mut self, a: Term<A>, b: Term<B>) -> Term<(A, B)> {
        self.pure(vec![a.id, b.id], |cells| {
            if let Some(instead) = obstacle(cells) {
                return instead;
            }
            match (cells[0].value::<A>(), cells[1].value::<B>()) {
                (Ok(a), Ok(b)) => Cell::ok((a.clone(), b.clone())),
                (Err(instead), _) | (_, Err(instead)) => instead,
            }
        })
    }

    /// All values, in this order. It fails with the first that fails, without waiting for others.
    pub fn all<A: Value>(&mut self, terms: Vec<Term<A>>) -> Term<Vec<A>> {
        let inputs = terms.into_iter().map(|term| term.id).collect();
        self.pure(inputs, |cells| join::<A>(cells))
    }

    /// `term`, once `on` has a value; the failure of `on` if it fails. `term` itself is computed
    /// all along: to hold back an action, gate its request.
    pub fn gate<G: Value, T: Value>(&mut self, on: Term<G>, term: Term<T>) -> Term<T> {
        self.pure(vec![on.id, term.id], |cells| match cells[0] {
            Cell::Ok(_) => cells[1].passed_on(),
            other => other.passed_on(),
        })
    }

    /// How the term ended: a failure becomes a value.
    pub fn catch<T: Value>(&mut self, term: Term<T>) -> Term<Result<T, Fail>> {
        self.pure(vec![term.id], |cells| match cells[0] {
            Cell::Failed(fail) => Cell::ok(Err::<T, Fail>((**fail).clone())),
            other => match other.value::<T>() {
                Ok(value) => Cell::ok(Ok::<T, Fail>(value.clone())),
                Err(instead) => instead,
            },
        })
    }

    /// Where the term stands. It always has a value, so a summary can be computed of terms of
    /// which some are still running.
    pub fn state<T: Value>(&mut self, term: Term<T>) -> Term<Status> {
        self.pure(vec![term.id], |cells| Cell::ok(cells[0].status()))
    }

    /// Asks the world for the requested action; its outcome if it passed. An outcome that did not
    /// is a failure with the outcome's message, and carries the outcome ([`Fail::outcome`], as
    /// through [`Scope::catch`]). Terms that ask for the same action at the same level share one
    /// wish. A wish is given up as soon as its request is not known any more.
    pub fn action(&mut self, request: Term<Request>, label: &str) -> Term<Outcome> {
        let id = self
            .graph
            .add(self.id, Op::Action(None), vec![request.id], Cell::BLOCKED);
        self.show(Term::new(id), label)
    }

    /// The term that `function` makes of the value. A new value disposes what was made for the old
    /// one; an equal one keeps it, also where it was pending in between. A failure disposes it.
    pub fn bind<A: Value, B: Value>(
        &mut self,
        a: Term<A>,
        function: impl Fn(&mut Scope<'_>, &A) -> Term<B> + Send + 'static,
    ) -> Term<B> {
        self.dynamic(
            a.id,
            Box::new(Bind::<A, _>::new(function)),
            |cells| match cells {
                [Cell::Ok(_), made] => made.passed_on(),
                [other, ..] => other.passed_on(),
                [] => Cell::BLOCKED,
            },
        )
    }

    /// The terms that `function` makes, one for each key, in the order of the list. Keys that stay
    /// in the list keep what was made for them; only new ones are made, and vanished ones are
    /// disposed. A key that comes twice shares one sub-graph.
    pub fn list_map<K: Value + Ord, B: Value>(
        &mut self,
        keys: Term<Vec<K>>,
        function: impl Fn(&mut Scope<'_>, &K) -> Term<B> + Send + 'static,
    ) -> Term<Vec<B>> {
        self.dynamic(
            keys.id,
            Box::new(Each::<K, _>::new(function)),
            |cells| match cells {
                [Cell::Ok(_), made @ ..] => join::<B>(made),
                [other, ..] => other.passed_on(),
                [] => Cell::BLOCKED,
            },
        )
    }

    fn constant<T>(&mut self, cell: Cell) -> Term<T> {
        Term::new(self.graph.add(self.id, Op::Constant, Vec::new(), cell))
    }

    fn pure<T>(
        &mut self,
        inputs: Vec<Id>,
        function: impl Fn(&[&Cell]) -> Cell + Send + 'static,
    ) -> Term<T> {
        let op = Op::Pure(Box::new(function));
        Term::new(self.graph.add(self.id, op, inputs, Cell::BLOCKED))
    }

    /// Two nodes: one runs the function, the other reads what it made. What the function makes is
    /// above the first and below the second, so a change of the input removes old nodes before any
    /// of them could be computed with new and old inputs mixed.
    fn dynamic<T>(
        &mut self,
        input: Id,
        grow: Box<dyn Grow>,
        read: impl Fn(&[&Cell]) -> Cell + Send + 'static,
    ) -> Term<T> {
        if !self.graph.has_room(2) {
            return Term::new(EXHAUSTED);
        }
        let op = Op::Grow {
            grow: Some(grow),
            main: EXHAUSTED,
        };
        let maker = self.graph.add(self.id, op, vec![input], Cell::BLOCKED);
        let reader: Term<T> = self.pure(vec![maker], read);
        if let Some(node) = self.graph.nodes.get_mut(&maker)
            && let Op::Grow { main, .. } = &mut node.op
        {
            *main = reader.id;
        }
        reader
    }
}

fn join<A: Value>(cells: &[&Cell]) -> Cell {
    if let Some(instead) = obstacle(cells) {
        return instead;
    }
    let values: Result<Vec<A>, Cell> = cells.iter().map(|cell| cell.value().cloned()).collect();
    values.map_or_else(|instead| instead, Cell::ok)
}

//! The pipeline of a run: terms from the watched values to each base's verdict.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use caravan_opam::Repository;
use caravan_pipeline::{Engine, Fail, Input, Outcome, Scope, Term};
use caravan_protocol::{
    files::Files,
    ids::{BlobId, TreeId},
    policy::{Base, ProjectHead},
};

use crate::{
    analysis::{self, Definitions},
    plan::{Plan, plan},
    steps,
};

/// A project's head as a value: equal for equal files.
#[derive(Debug, Clone)]
pub(crate) struct Head(pub(crate) ProjectHead);

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        (&self.0.project, self.0.tree) == (&other.0.project, other.0.tree)
    }
}

/// opam repositories as a value: equal for equal states.
#[derive(Clone)]
pub(crate) struct Repositories {
    pub(crate) states: Vec<BlobId>,
    pub(crate) merged: Arc<Repository>,
}

impl Repositories {
    /// Lays repositories over each other, the strongest first.
    pub(crate) fn of(layers: Vec<(BlobId, Arc<dyn Files>)>) -> Self {
        let (states, files) = layers.into_iter().unzip();
        Self {
            states,
            merged: Arc::new(Repository::new(files)),
        }
    }
}

impl PartialEq for Repositories {
    fn eq(&self, other: &Self) -> bool {
        self.states == other.states
    }
}

impl fmt::Debug for Repositories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repositories({} states)", self.states.len())
    }
}

/// The terms of one base's variant, for its table.
#[derive(Debug, Clone)]
pub(crate) struct Variant {
    /// The solution, or why there is none.
    pub(crate) plan: Term<Plan>,
    /// Its steps, dependencies first.
    pub(crate) steps: Vec<Term<Outcome>>,
    /// The project's own step, once it is planned.
    pub(crate) last: Option<Term<Outcome>>,
}

/// Variants by base, as the pipeline makes them.
pub(crate) type Variants = Arc<Mutex<BTreeMap<Base, Variant>>>;

/// A run's pipeline.
pub(crate) struct Graph {
    pub(crate) engine: Engine,
    pub(crate) project: Input<Head>,
    pub(crate) repositories: Input<Repositories>,
    pub(crate) bases: Input<Vec<Base>>,
    pub(crate) definitions: Term<Definitions>,
    pub(crate) bases_term: Term<Vec<Base>>,
    pub(crate) variants: Variants,
}

impl Graph {
    /// The pipeline, with nothing known yet.
    pub(crate) fn new() -> Self {
        let mut engine = Engine::default();
        let variants = Variants::default();
        let mut root = engine.root();
        let (project, head) = root.input::<Head>("project");
        let (repositories, merged) = root.input::<Repositories>("opam repositories");
        let (bases, bases_term) = root.input::<Vec<Base>>("bases");
        let definitions = root.map(head, "(analysis)", |head| {
            analysis::analyse(head.0.files.as_ref()).map_err(|error| Fail::new(error.to_string()))
        });
        let known = Arc::clone(&variants);
        let each = root.list_map(bases_term, move |scope, base| {
            variant(scope, base, (head, definitions, merged), &known)
        });
        root.show(each, "verdict");
        Self {
            engine,
            project,
            repositories,
            bases,
            definitions,
            bases_term,
            variants,
        }
    }

    /// The variants, by base.
    pub(crate) fn variants(&self) -> BTreeMap<Base, Variant> {
        self.variants
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

type Watched = (Term<Head>, Term<Definitions>, Term<Repositories>);

fn variant(
    scope: &mut Scope<'_>,
    base: &Base,
    (head, definitions, merged): Watched,
    known: &Variants,
) -> Term<Outcome> {
    let both = scope.pair(definitions, merged);
    let on = base.clone();
    let solved = scope.map(
        both,
        &format!("solve for {}", base.name),
        move |(definitions, merged)| {
            plan(definitions, &merged.merged, &on).map_err(|error| Fail::new(error.to_string()))
        },
    );
    // The project's files, not its whole head: a new commit with the same files is the same work.
    let source = scope.map(head, "", |head| Ok((head.0.project.clone(), head.0.tree)));
    let note = |variant: Variant, known: &Variants, base: &Base| {
        known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(base.clone(), variant);
    };
    note(
        Variant {
            plan: solved,
            steps: Vec::new(),
            last: None,
        },
        known,
        base,
    );
    let (base, known) = (base.clone(), Arc::clone(known));
    scope.bind(solved, move |scope, plan| {
        let mut layers = Layers::new(scope, &base, plan);
        let last = layers.project(source);
        let steps = layers.steps;
        note(
            Variant {
                plan: solved,
                steps,
                last: Some(last),
            },
            &known,
            &base,
        );
        last
    })
}

/// Makes the terms of a plan.
struct Layers<'s, 'g> {
    scope: &'s mut Scope<'g>,
    base: Base,
    plan: Arc<Plan>,
    switch: Term<TreeId>,
    packages: Vec<Term<TreeId>>,
    steps: Vec<Term<Outcome>>,
}

impl<'s, 'g> Layers<'s, 'g> {
    fn new(scope: &'s mut Scope<'g>, base: &Base, plan: &Plan) -> Self {
        let wanted = scope.ok(steps::switch(base));
        let made = scope.action(wanted, &format!("switch on {}", base.name));
        let switch = layer(scope, made);
        let (base, plan) = (base.clone(), Arc::new(plan.clone()));
        let mut layers = Self {
            scope,
            base,
            plan,
            switch,
            packages: Vec::new(),
            steps: vec![made],
        };
        for place in 0..layers.plan.packages.len() {
            layers.package(place);
        }
        layers
    }

    /// The term of one package's layer: asked for as soon as its source and closure are there.
    fn package(&mut self, place: usize) {
        let plan = Arc::clone(&self.plan);
        let own = &plan.packages[place];
        let below = self.below(&own.closure);
        let source = match steps::fetch(&self.base, own) {
            Some(wanted) => {
                let label = wanted.label.clone();
                let wanted = self.scope.ok(wanted);
                let fetched = self.scope.action(wanted, &label);
                self.steps.push(fetched);
                let tree = layer(self.scope, fetched);
                self.scope.map(tree, "", |tree| Ok(Some(*tree)))
            }
            None => self.scope.ok(None),
        };
        let inputs = self.scope.pair(below, source);
        let (base, all) = (self.base.clone(), Arc::clone(&plan));
        let wanted = self.scope.map(inputs, "", move |(layers, source)| {
            steps::package(&base, &all, place, layers, *source)
        });
        let made = self.scope.action(wanted, &own.package.to_string());
        self.steps.push(made);
        let tree = layer(self.scope, made);
        self.packages.push(tree);
    }

    fn project(&mut self, source: Term<(String, TreeId)>) -> Term<Outcome> {
        let all: Vec<usize> = (0..self.packages.len()).collect();
        let below = self.below(&all);
        let inputs = self.scope.pair(below, source);
        let (base, plan) = (self.base.clone(), Arc::clone(&self.plan));
        let wanted = self.scope.map(inputs, "", move |(layers, (name, source))| {
            Ok(steps::project(&base, &plan, (name, *source), layers))
        });
        let made = self
            .scope
            .action(wanted, &format!("build and test on {}", self.base.name));
        self.steps.push(made);
        made
    }

    /// The switch with the layers of these packages above it.
    fn below(&mut self, places: &[usize]) -> Term<Vec<TreeId>> {
        let packages = places.iter().map(|place| self.packages[*place]);
        let layers = std::iter::once(self.switch).chain(packages).collect();
        self.scope.all(layers)
    }
}

fn layer(scope: &mut Scope<'_>, made: Term<Outcome>) -> Term<TreeId> {
    scope.map(made, "", |outcome| {
        outcome
            .output
            .ok_or_else(|| Fail::new("the step passed and left no layer"))
    })
}

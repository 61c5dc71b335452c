//! Tests of the build policy: plans as text, and the policy between a node's events.

use caravan_protocol::{
    action::{Action, CopyFrom, CopyTo, Network, Work as ActionWork},
    claim::Verdict,
    ids::{ActionKey, BlobId, NodeId, TreeId},
    level::Level,
    platform::Platform,
    policy::{
        Base, Command, Event, Factory, Found, Outcome, Params, Policy, SpecHead, WantId, WantState,
        Watched,
    },
    spec::{Image, Spec},
    tree::Tree,
    view::State,
};

use crate::{Build, BuildFactory, Line, Plan, Problem, stack};

mod plans;
mod refused;
mod runs;

fn parse(text: &str) -> Spec {
    text.parse().expect("a spec")
}

fn plan(text: &str) -> Plan {
    Plan::of(&parse(text)).expect("a plan")
}

fn problem(ops: &str) -> Problem {
    let spec = parse(&format!("((from base) {ops})"));
    Plan::of(&spec).expect_err("no plan").problem
}

/// A tree that stands for something.
fn tree(name: &str) -> TreeId {
    TreeId::from_bytes(*BlobId::of(name.as_bytes()).as_bytes())
}

fn found(name: &str) -> Found {
    let env = [("PATH", "/bin"), ("LANG", "C")];
    Found {
        base: Base {
            name: name.to_owned(),
            platform: Platform::here(),
            tree: tree(name),
            facts: Default::default(),
            env: env
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        },
        homes: [(0, "/root".to_owned()), (1000, "/home/opam".to_owned())].into(),
    }
}

fn head(text: &str) -> SpecHead {
    let spec = parse(text);
    let copies = spec.context_copies().len();
    let images = spec.images().into_iter();
    SpecHead {
        project: "/srv/project".to_owned(),
        context: (0..copies)
            .map(|at| tree(&format!("context {at}")))
            .collect(),
        images: images
            .map(|image| (image.clone(), found(image.as_str())))
            .collect(),
        spec: spec.into(),
    }
}

/// A policy with the wishes that it has.
struct World {
    policy: Box<dyn Policy>,
    /// What was asked for and is not done, in order.
    open: Vec<(WantId, Action)>,
    /// What was given up.
    unwanted: Vec<WantId>,
}

impl World {
    fn new(text: &str) -> Self {
        let mut world = Self {
            policy: BuildFactory.start(&Params::default()),
            open: Vec::new(),
            unwanted: Vec::new(),
        };
        world.tell(Event::Watched(Watched::Spec(head(text))));
        world
    }

    fn tell(&mut self, event: Event) {
        let mut out = Vec::new();
        self.policy.handle(event, &mut out);
        for command in out {
            match command {
                Command::Want { id, action, .. } => {
                    action.key().expect("a good action");
                    self.open.push((id, action));
                }
                Command::Unwant(id) => {
                    self.open.retain(|(open, _)| *open != id);
                    self.unwanted.push(id);
                }
                other => panic!("asked for {other:?}"),
            }
        }
    }

    fn asked(&self) -> Vec<u64> {
        self.open.iter().map(|(id, _)| id.0).collect()
    }

    /// Ends the open wish of this number.
    fn end(&mut self, id: u64, verdict: Verdict) -> Action {
        self.end_with(id, verdict, tree(&format!("layer {id}")))
    }

    /// Lets the open wish of this number pass with this layer.
    fn leave(&mut self, id: u64, layer: TreeId) -> Action {
        self.end_with(id, Verdict::Pass, layer)
    }

    fn end_with(&mut self, id: u64, verdict: Verdict, layer: TreeId) -> Action {
        let at = self.open.iter().position(|(open, _)| open.0 == id);
        let (id, action) = self.open.remove(at.expect("it was asked for"));
        let passed = verdict == Verdict::Pass;
        let outcome = Outcome {
            action: action.key().expect("a good action"),
            verdict,
            output: passed.then_some(layer),
            outputs: Default::default(),
            log: None,
            level: Level::Local,
            node: NodeId::from_bytes([1; 32]),
            cached: false,
            wall_ms: 1,
            message: (!passed).then(|| "it exited with 7\nwords".to_owned()),
        };
        let state = WantState::Done(outcome);
        self.tell(Event::Want { id, state });
        action
    }

    fn pass(&mut self, id: u64) -> Action {
        self.end(id, Verdict::Pass)
    }

    fn states(&self) -> Vec<(String, State)> {
        let variants = self.policy.view().variants.into_iter();
        variants
            .map(|variant| (variant.name, variant.state))
            .collect()
    }
}

fn key(action: &Action) -> ActionKey {
    action.key().expect("a good action")
}

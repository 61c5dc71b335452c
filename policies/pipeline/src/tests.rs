use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use caravan_protocol::{
    action::{Action, Limits as ActionLimits, Network, Profile, Run, TrustDomain, Work},
    claim::Verdict,
    ids::{BlobId, NodeId, TreeId},
    level::Level,
    platform::Platform,
    tree::Tree,
    view::State,
};

use super::*;

mod bounds;
mod combinators;
mod drawing;
mod dynamic;
mod random;
mod wishes;

fn action(name: &str) -> Action {
    Action {
        platform: Platform::new("linux", "x86_64").unwrap(),
        domain: TrustDomain::packages(),
        work: Work::Run(Run {
            base: TreeId::from_bytes([1; 32]),
            layers: Vec::new(),
            inputs: Vec::new(),
            argv: vec![name.to_owned()],
            env: Vec::new(),
            user: (1000, 1000),
            workdir: "/".to_owned(),
            network: Network::None,
            keep_layer: true,
            outputs: Default::default(),
            secrets: Vec::new(),
            profile: Profile::Strict,
        }),
        limits: ActionLimits::default(),
        sources: Vec::new(),
        caches: Vec::new(),
    }
}

fn request(name: &str) -> Request {
    Request {
        label: name.to_owned(),
        action: action(name),
        level: Level::Claimed,
        provide: Vec::new(),
    }
}

fn outcome(name: &str, verdict: Verdict) -> Outcome {
    Outcome {
        action: action(name).key().unwrap(),
        verdict,
        output: None,
        outputs: Default::default(),
        log: Some(BlobId::of(name.as_bytes())),
        level: Level::Claimed,
        node: node(),
        cached: false,
        wall_ms: 7,
        message: (verdict != Verdict::Pass).then(|| format!("{name} broke")),
    }
}

fn done(name: &str, verdict: Verdict) -> WantState {
    WantState::Done(outcome(name, verdict))
}

fn node() -> NodeId {
    NodeId::from_bytes([5; 32])
}

/// One round; what it says in short: `want 0 a`, `unwant 0`, `provide 1`.
fn round(engine: &mut Engine) -> Vec<String> {
    engine.stabilise();
    let commands = engine.take_commands();
    commands.iter().map(short).collect()
}

fn short(command: &Command) -> String {
    match command {
        Command::Provide { blobs, .. } => format!("provide {}", blobs.len()),
        Command::Want { id, label, .. } => format!("want {} {label}", id.0),
        Command::Unwant(id) => format!("unwant {}", id.0),
        other => panic!("the engine never asks for {other:?}"),
    }
}

/// Counts calls of a function.
#[derive(Clone, Default)]
struct Calls(Arc<AtomicUsize>);

impl Calls {
    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

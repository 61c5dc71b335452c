//! A mesh with projects as they look in real life: passed, failed, under way and not yet begun.

use std::collections::BTreeMap;

use caravan_gateway::FixedSource;
use caravan_protocol::{
    identity::{NodeCert, Tier},
    ids::{ActionKey, BlobId, MeshId, NodeId, RunId, TreeId},
    level::Level,
    platform::Platform,
    policy::{Base, WantId},
    time::Stamp,
    view::{
        Counters, ModeView, NodeView, OfferView, PolicyView, RoleState, RoleView, RunView,
        SeatView, Snapshot, State, StepView, StoreView, TermView, VariantView,
    },
};

mod overview;
mod shapes;
mod words;

pub(crate) use overview::overview;
use shapes::{SHAPES, Shape};
use words::{FAILED_LOG, package_log, recipe};

/// A fixed moment: 2026-11-22 18:00 UTC.
pub(crate) const NOW_MS: u64 = 1_795_370_400_000;

fn bytes(name: &str) -> [u8; 32] {
    *BlobId::of(name.as_bytes()).as_bytes()
}

fn node(name: &str) -> NodeId {
    NodeId::from_bytes(bytes(name))
}

fn platform(text: &str) -> Platform {
    text.parse().expect("a platform of the sample")
}

/// The id of a run of the sample.
pub(crate) fn run_id(name: &str) -> RunId {
    RunId::from_bytes(bytes(name))
}

const PACKAGES: [(&str, &[&str]); 12] = [
    ("ocaml-base-compiler.5.3.0", &[]),
    ("ocaml.5.3.0", &["ocaml-base-compiler.5.3.0"]),
    ("dune.3.20.2", &["ocaml.5.3.0"]),
    ("ocamlfind.1.9.8", &["ocaml.5.3.0"]),
    ("ocamlbuild.0.16.1", &["ocamlfind.1.9.8"]),
    ("topkg.1.0.8", &["ocamlbuild.0.16.1", "ocamlfind.1.9.8"]),
    ("fmt.0.10.0", &["topkg.1.0.8"]),
    ("astring.0.8.5", &["topkg.1.0.8"]),
    ("re.1.13.2", &["dune.3.20.2"]),
    ("uutf.1.0.4", &["topkg.1.0.8"]),
    ("stdlib-shims.0.3.0", &["dune.3.20.2"]),
    (
        "alcotest.1.9.0",
        &[
            "fmt.0.10.0",
            "astring.0.8.5",
            "re.1.13.2",
            "uutf.1.0.4",
            "stdlib-shims.0.3.0",
        ],
    ),
];

const VARIANTS: [&str; 5] = [
    "debian-12-5.3_opam-2.3",
    "debian-12-4.14_opam-2.3",
    "debian-13-5.4_opam-2.4",
    "alpine-3.22-5.3_opam-2.3",
    "debian-12-5.3_arm64_opam-2.3",
];

/// State of a variant and of its last step, by the state of its run.
fn variant_state(run: State, at: usize) -> State {
    match (run, at) {
        (State::Failed, 2) => State::Failed,
        (State::Failed, 3) | (State::Ok, _) => State::Ok,
        (State::Running, 0) => State::Ok,
        (State::Running, 1 | 2) => State::Running,
        (State::Running, 3) => State::Ready,
        (State::Running, _) => State::Blocked,
        (State::Failed, _) => State::Ok,
        (state, _) => state,
    }
}

fn step(want: u64, label: &str, state: State, wall_ms: u64) -> StepView {
    let done = matches!(state, State::Ok | State::Failed);
    let began = done || state == State::Running;
    let (who, level) = match want % 5 {
        0 => ("tarides-2", Level::Claimed),
        3 => ("cam-trusted", Level::Confirmed),
        _ => ("here", Level::Local),
    };
    StepView {
        want: WantId(want),
        label: label.to_owned(),
        action: ActionKey::from_bytes(bytes(&format!("action {label} {want}"))),
        state,
        node: began.then(|| node(who)),
        level: done.then_some(level),
        cached: done && want % 3 == 1,
        infra: false,
        attempt: if want % 17 == 5 { 2 } else { 1 },
        wall_ms: if began { wall_ms } else { 0 },
        log: done.then(|| BlobId::of(label.as_bytes())),
        output: (state == State::Ok)
            .then(|| TreeId::from_bytes(bytes(&format!("out {label} {want}")))),
        message: (state == State::Failed)
            .then(|| "dune build @runtest exited with code 1 (3 of 48 tests failed)".to_owned()),
    }
}

struct Made {
    policy: PolicyView,
    steps: BTreeMap<WantId, StepView>,
}

fn term(id: u64, label: &str, state: State, inputs: Vec<u32>, want: Option<WantId>) -> TermView {
    TermView {
        id: u32::try_from(id).unwrap_or(0),
        label: label.to_owned(),
        state,
        inputs,
        want,
    }
}

fn make(run: State) -> Made {
    let mut made = Made {
        policy: PolicyView::default(),
        steps: BTreeMap::new(),
    };
    let waiting = matches!(run, State::Blocked | State::Ready);
    let first = if waiting { run } else { State::Ok };
    made.policy
        .terms
        .push(term(1, "head of project", first, vec![], None));
    made.policy
        .terms
        .push(term(2, "opam repositories", first, vec![], None));
    made.policy
        .terms
        .push(term(3, "(analysis)", first, vec![1], Some(WantId(1))));
    if waiting {
        return made;
    }
    let lint = |made: &mut Made, at: u64, name: &str, state: State| {
        made.steps
            .insert(WantId(at), step(at, name, state, 2_300 * at));
        made.policy.variants.push(VariantView {
            name: name.to_owned(),
            state,
            message: None,
            wants: vec![WantId(at)],
            recipe: None,
        });
    };
    lint(&mut made, 1, "(analysis)", State::Ok);
    lint(
        &mut made,
        2,
        "(lint-fmt)",
        if run == State::Failed {
            State::Cancelled
        } else {
            State::Ok
        },
    );
    lint(&mut made, 4, "(lint-opam)", State::Ok);
    made.policy.terms.push(term(
        4,
        "(lint-fmt)",
        made.steps[&WantId(2)].state,
        vec![3],
        Some(WantId(2)),
    ));
    made.policy
        .terms
        .push(term(5, "(lint-opam)", State::Ok, vec![3], Some(WantId(4))));
    for (at, name) in VARIANTS.iter().enumerate() {
        add_variant(&mut made, name, at, variant_state(run, at));
    }
    let states: Vec<State> = made.policy.variants.iter().map(|v| v.state).collect();
    let count = |state| states.iter().filter(|s| **s == state).count();
    made.policy.summary = format!("{} ok, {} failed", count(State::Ok), count(State::Failed));
    made
}

fn add_variant(made: &mut Made, name: &str, at: usize, state: State) {
    let base = 100 * (at as u64 + 1);
    let solve = term(
        base,
        &format!("solve {name}"),
        if state == State::Blocked {
            State::Blocked
        } else {
            State::Ok
        },
        vec![2, 3],
        None,
    );
    made.policy.terms.push(solve);
    let mut ids = BTreeMap::new();
    let mut wants = Vec::new();
    for (k, (package, needs)) in PACKAGES.iter().enumerate() {
        let want = base + k as u64 + 1;
        let own = match state {
            State::Running if k > 8 => State::Blocked,
            State::Running if k > 6 => State::Running,
            State::Ready if k == 0 => State::Ready,
            State::Ready | State::Blocked => State::Blocked,
            _ => State::Ok,
        };
        made.steps.insert(
            WantId(want),
            step(want, package, own, 900 * (k as u64 * 7 % 11 + 1)),
        );
        let mut inputs: Vec<u32> = needs.iter().map(|need| ids[need]).collect();
        inputs.push(u32::try_from(base).unwrap_or(0));
        ids.insert(*package, u32::try_from(want).unwrap_or(0));
        made.policy
            .terms
            .push(term(want, package, own, inputs, Some(WantId(want))));
        wants.push(WantId(want));
    }
    let last = base + 50;
    let own = if matches!(state, State::Running | State::Ready) {
        State::Blocked
    } else {
        state
    };
    made.steps
        .insert(WantId(last), step(last, "build and test", own, 18_400));
    let inputs = ["alcotest.1.9.0", "dune.3.20.2"]
        .map(|need| ids[need])
        .to_vec();
    made.policy.terms.push(term(
        last,
        &format!("build {name}"),
        own,
        inputs,
        Some(WantId(last)),
    ));
    wants.push(WantId(last));
    made.policy.variants.push(VariantView {
        name: name.to_owned(),
        state,
        message: (state == State::Failed)
            .then(|| "dune build @runtest exited with code 1 (3 of 48 tests failed)".to_owned()),
        wants,
        recipe: Some(recipe(name)),
    });
}

fn run(shape: &Shape) -> RunView {
    let Made { policy, steps } = make(shape.state);
    let started = NOW_MS - shape.age_ms;
    let executed = steps
        .values()
        .filter(|step| !step.cached && step.state.is_final())
        .count();
    RunView {
        id: run_id(shape.name),
        role: "ci".to_owned(),
        project: shape.project.to_owned(),
        branch: shape.branch.to_owned(),
        commit: if shape.state == State::Blocked {
            String::new()
        } else {
            RunId::from_bytes(bytes(&format!("commit {}", shape.name))).to_string()[..40].to_owned()
        },
        title: if shape.state == State::Blocked {
            String::new()
        } else {
            shape.title.to_owned()
        },
        state: shape.state,
        message: (shape.state == State::Cancelled)
            .then(|| "A newer commit of this branch took its place.".to_owned()),
        notes: Vec::new(),
        started: Stamp::from_ms(started),
        finished: shape
            .state
            .is_final()
            .then(|| Stamp::from_ms(started + shape.took_ms)),
        executed: u32::try_from(executed).unwrap_or(0),
        policy,
        steps,
    }
}

fn member(
    name: &str,
    operator: &str,
    tier: Tier,
    platforms: &[&str],
    load: (u32, u32),
) -> NodeView {
    let cert = NodeCert {
        mesh: MeshId::from_bytes(bytes("mesh")),
        node: node(name),
        operator: operator.to_owned(),
        tier,
        platforms: platforms.iter().map(|text| platform(text)).collect(),
        not_before: Stamp::from_ms(NOW_MS - 200_000_000),
        expires: Stamp::from_ms(NOW_MS + 400_000_000),
    };
    let mut view = NodeView::of(&cert);
    view.here = name == "here";
    view.connected = true;
    (view.running, view.slots) = load;
    view.cores = load.1;
    view.memory_bytes = u64::from(load.1) << 32;
    view.disk_bytes = 1 << 40;
    view.disk_free_bytes = 700 << 30;
    view.abilities = ["own-root", "namespaces", "system-call-filter", "landlock"]
        .map(str::to_owned)
        .into();
    view.labels = [format!("site={operator}")].into();
    view.version = "0.1.0".to_owned();
    view.since = Some(Stamp::from_ms(NOW_MS - 260_000_000));
    view.heard = Some(Stamp::from_ms(NOW_MS - 1_000));
    view.mode = ModeView::Open;
    view
}

/// A member that takes no work, and why.
fn idle(mut view: NodeView, mode: ModeView, why: &str) -> NodeView {
    view.connected = !matches!(mode, ModeView::Away | ModeView::Dead | ModeView::Left);
    (view.mode, view.why) = (mode, Some(why.to_owned()));
    view.running = 0;
    view
}

/// One that also emulates a platform.
fn emulating(mut view: NodeView, text: &str) -> NodeView {
    view.platforms.push(platform(text));
    view.offers.push(OfferView {
        platform: platform(text),
        variant: String::new(),
        emulated: true,
    });
    view
}

fn base(name: &str, ocaml: &str) -> Base {
    let facts = [
        ("ocaml", ocaml),
        ("opam", "2.3.0"),
        ("os-distribution", name.split('-').next().unwrap_or(name)),
        ("os-version", name.rsplit('-').next().unwrap_or(name)),
        ("arch", "x86_64"),
    ];
    Base {
        name: name.to_owned(),
        platform: platform("linux-x86_64"),
        tree: TreeId::from_bytes(bytes(name)),
        facts: facts
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        env: Vec::new(),
    }
}

/// Its members: some take work, the others say why not.
fn nodes() -> Vec<NodeView> {
    vec![
        emulating(
            member("here", "ann", Tier::Council, &["linux-x86_64"], (3, 4)),
            "linux-riscv64",
        ),
        member(
            "cam-trusted",
            "cambridge",
            Tier::Trusted,
            &["linux-x86_64", "linux-arm64"],
            (11, 16),
        ),
        member(
            "tarides-2",
            "tarides",
            Tier::Trusted,
            &["linux-x86_64"],
            (32, 32),
        ),
        idle(
            member("risc", "cambridge", Tier::Donor, &["linux-riscv64"], (0, 2)),
            ModeView::Paused,
            "outside of its hours (22:00-06:00): it takes work again at 22:00",
        ),
        idle(
            member("lab", "cambridge", Tier::Donor, &["linux-arm64"], (0, 16)),
            ModeView::Cordoned,
            "cordoned by the council (ann): its disk is being changed",
        ),
        idle(
            member("away", "bob", Tier::Donor, &["freebsd-x86_64"], (0, 8)),
            ModeView::Away,
            "not heard of for 3 h",
        ),
    ]
}

/// The snapshot of the sample.
pub(crate) fn snapshot() -> Snapshot {
    Snapshot {
        mesh: MeshId::from_bytes(bytes("mesh")),
        node: node("here"),
        version: "0.1.0".to_owned(),
        started: Stamp::from_ms(NOW_MS - 260_000_000),
        nodes: nodes(),
        seats: vec![
            SeatView {
                role: "ci".to_owned(),
                holder: node("here"),
                epoch: 4,
                since: Stamp::from_ms(NOW_MS - 7_000_000),
            },
            SeatView {
                role: "images".to_owned(),
                holder: node("cam-trusted"),
                epoch: 2,
                since: Stamp::from_ms(NOW_MS - 86_000_000),
            },
        ],
        roles: vec![
            RoleView {
                role: "ci".to_owned(),
                project: SHAPES[0].project.to_owned(),
                run: Some(run_id("failed")),
                holder: Some(node("cam-trusted")),
                since: Some(Stamp::from_ms(NOW_MS - 90_000)),
                next: vec![node("here")],
                state: RoleState::Held,
            },
            RoleView {
                role: "ci".to_owned(),
                project: "https://example.org/elsewhere".to_owned(),
                run: None,
                holder: Some(node("here")),
                since: None,
                next: Vec::new(),
                state: RoleState::Idle,
            },
        ],
        bases: vec![
            base("debian-12", "5.3.0"),
            base("debian-13", "5.4.0"),
            base("alpine-3.22", "5.3.0"),
        ],
        runs: SHAPES.iter().map(run).map(Into::into).collect(),
        store: StoreView {
            blobs: 218_934,
            bytes: 9_482_113_024,
            layers: 1_310,
            claims: 2_877,
        },
        counters: Counters {
            executed: 1_204,
            cached: 8_031,
            infra: 3,
            remote: 411,
            fetched_bytes: 2_911_884_221,
            saved_ms: 93_812_000,
            spared_bytes: 48_318_382_080,
        },
        running: 3,
        slots: 4,
        sandbox: caravan_protocol::view::SandboxView::default(),
        standing: None,
        notices: vec!["this machine's clock is 3 hours behind the mesh's: set it".to_owned()],
    }
}

/// The sample with its logs.
pub(crate) fn source() -> FixedSource {
    let snapshot = snapshot();
    let source = FixedSource::new(snapshot.clone());
    source.set_overview(overview(&snapshot));
    for run in &snapshot.runs {
        for step in run.steps.values() {
            match step.state {
                State::Failed => source.set_log(run.id, step.want, FAILED_LOG.as_bytes(), false),
                State::Ok => source.set_log(
                    run.id,
                    step.want,
                    package_log(&step.label).as_bytes(),
                    false,
                ),
                State::Running => {
                    source.set_log(run.id, step.want, package_log(&step.label).as_bytes(), true)
                }
                _ => {}
            }
        }
    }
    source
}

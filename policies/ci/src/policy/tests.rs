use std::{collections::BTreeMap, path::Path};

use caravan_protocol::{
    action::{Action, Work},
    claim::Verdict,
    files::MemFiles,
    ids::{NodeId, TreeId},
    level::Level,
    platform::Platform,
    policy::{Base, Outcome, WantId, WantState},
    view::State,
};

use super::*;
use crate::steps::RESULT;

/// A world in which every wish can be answered.
struct World {
    ci: Ci,
    wants: BTreeMap<WantId, (String, Action)>,
    provided: usize,
    watched: Vec<String>,
    bases: u32,
}

impl World {
    fn new(params: Params) -> Self {
        Self {
            ci: Ci::new(params),
            wants: BTreeMap::new(),
            provided: 0,
            watched: Vec::new(),
            bases: 0,
        }
    }

    fn tell(&mut self, event: Event) {
        let mut commands = Vec::new();
        self.ci.handle(event, &mut commands);
        for command in commands {
            match command {
                Command::Want {
                    id, label, action, ..
                } => {
                    assert!(
                        self.wants.insert(id, (label, action)).is_none(),
                        "{id:?} was asked twice"
                    );
                }
                Command::Unwant(id) => drop(self.wants.remove(&id)),
                Command::Provide { .. } => self.provided += 1,
                Command::WatchRepositories(names) => self.watched = names,
                Command::WatchBases => self.bases += 1,
            }
        }
    }

    fn labels(&self) -> Vec<&str> {
        self.wants
            .values()
            .map(|(label, _)| label.as_str())
            .collect()
    }

    /// Ends the wish of this label.
    fn end(&mut self, label: &str, verdict: Verdict, result: &str) {
        let found = self.wants.iter().find(|(_, (known, _))| known == label);
        let (id, action) = found
            .map(|(id, (_, action))| (*id, action.clone()))
            .expect("wanted");
        let outcome = Outcome {
            action: action.key().expect("good"),
            verdict,
            output: Some(TreeId::from(BlobId::of(label.as_bytes()))),
            outputs: BTreeMap::from([(RESULT.to_owned(), result.as_bytes().to_vec())]),
            log: None,
            level: Level::Claimed,
            node: NodeId::from_bytes([1; 32]),
            cached: false,
            wall_ms: 1,
            message: (verdict != Verdict::Pass).then(|| format!("{label} broke")),
        };
        self.tell(Event::Want {
            id,
            state: WantState::Done(outcome),
        });
        self.wants.remove(&id);
    }

    /// Ends all wishes well until none is left; answers all labels in the order of their ends.
    fn end_all(&mut self, result: &str) -> Vec<String> {
        let mut ended = Vec::new();
        while let Some(label) = self.wants.values().next().map(|(label, _)| label.clone()) {
            self.end(&label, Verdict::Pass, result);
            ended.push(label);
        }
        ended
    }

    fn variant(&self) -> (State, String) {
        let view = self.ci.view();
        let variant = view.variants.last().expect("one base");
        (variant.state, variant.message.clone().unwrap_or_default())
    }
}

fn sample() -> MemFiles {
    let mut files = MemFiles::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples/hello");
    add(&root, "", &mut files);
    assert!(!files.is_empty(), "the sample is not at {}", root.display());
    files
}

fn add(dir: &Path, name: &str, files: &mut MemFiles) {
    for item in std::fs::read_dir(dir).expect("the sample is there") {
        let item = item.expect("readable");
        let child = item.file_name().into_string().expect("plain names");
        let child = if name.is_empty() {
            child
        } else {
            format!("{name}/{child}")
        };
        if item.path().is_dir() {
            add(&item.path(), &child, files);
        } else {
            files.insert(child, std::fs::read(item.path()).expect("readable"));
        }
    }
}

fn head(files: MemFiles) -> ProjectHead {
    let listed: Vec<_> = files
        .iter()
        .map(|(path, bytes)| (path.to_owned(), BlobId::of(bytes), bytes.len() as u64))
        .collect();
    let listed = listed
        .iter()
        .map(|(path, blob, size)| (path.as_str(), *blob, *size));
    let tree = caravan_protocol::tree::Tree::of_files(listed).expect("good");
    ProjectHead {
        project: "/p".to_owned(),
        branch: "main".to_owned(),
        commit: "c".repeat(40),
        title: "t".to_owned(),
        notes: Vec::new(),
        tree: tree.seal().expect("small").0,
        files: Arc::new(files),
    }
}

fn base() -> Base {
    let facts = [
        ("ocaml", "4.13.1"),
        ("opam", "2.1.2"),
        ("os-family", "debian"),
        ("os-distribution", "debian"),
        ("os-version", "12"),
        ("suite", "bookworm"),
    ];
    Base {
        name: "debian-12".to_owned(),
        platform: Platform::new("linux", "x86_64").expect("good"),
        tree: TreeId::from_bytes([7; 32]),
        facts: facts
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        env: Vec::new(),
    }
}

fn started(files: MemFiles) -> World {
    let mut world = World::new(Params::default());
    world.tell(Event::Watched(Watched::Bases(vec![base()])));
    world.tell(Event::Watched(Watched::Project(head(files))));
    world
}

/// The actions that a whole run wants, by label.
fn actions(files: MemFiles) -> BTreeMap<String, Action> {
    let mut world = started(files);
    let mut all = BTreeMap::new();
    while let Some((label, action)) = world.wants.values().next().cloned() {
        world.end(&label, Verdict::Pass, "build passed\ntests passed\n");
        all.insert(label, action);
    }
    all
}

#[test]
fn the_sample_is_taken_through_its_matrix() {
    let mut world = started(sample());
    assert!(
        world.watched.is_empty(),
        "the sample names repositories of its own alone"
    );
    let labels = world.labels();
    assert!(
        labels.contains(&"switch on debian-12") && labels.contains(&"fetch dune.2.9.3"),
        "{labels:?}"
    );
    assert!(
        !labels.contains(&"dune.2.9.3"),
        "a package was asked for before its source: {labels:?}"
    );
    let order = world.end_all("build passed\ntests passed\n");
    let at = |label: &str| {
        order
            .iter()
            .position(|ended| ended == label)
            .expect("ended")
    };
    assert!(at("ocaml.4.13.1") < at("ocamlfind.1.9.6"));
    assert!(at("dune.2.9.3") < at("re.1.10.4"));
    assert_eq!(order.last().map(String::as_str), Some("build and test"));
    assert!(
        world.provided > 10,
        "each package needs a repository of its own"
    );
    let view = world.ci.view();
    let names: Vec<&str> = view
        .variants
        .iter()
        .map(|variant| variant.name.as_str())
        .collect();
    assert_eq!(names, ["(analysis)", "debian-12-4.13_opam-2.1"]);
    assert_eq!(world.variant(), (State::Ok, String::new()));
    assert!(world.ci.is_settled());
    let recipe = view.variants[1].recipe.clone().expect("there");
    assert!(
        recipe.contains("FROM debian:bookworm") && recipe.contains("dune.2.9.3"),
        "{recipe}"
    );
}

#[test]
fn equal_inputs_want_equal_actions_and_one_line_changes_only_the_projects_own_step() {
    let before = actions(sample());
    assert_eq!(actions(sample()), before);
    let mut files = sample();
    files.insert("src/hello.ml", *b"let greet _ = \"changed\"");
    let after = actions(files);
    let changed: Vec<&String> = after
        .iter()
        .filter(|(label, action)| before.get(*label) != Some(action))
        .map(|(label, _)| label)
        .collect();
    assert_eq!(changed, ["build and test"]);
}

#[test]
fn a_package_is_the_same_work_in_every_project() {
    let hello = actions(sample());
    let mut files = sample();
    let all: Vec<String> = files.iter().map(|(path, _)| path.to_owned()).collect();
    assert!(all.iter().any(|path| path == "hello-bin.opam"));
    // Another project: one package that needs little, whose names sort elsewhere.
    let opam = "opam-version: \"2.0\"\ndepends: [\"dune\" \"uutf\" \"base-threads\"]\n";
    files.insert("hello.opam", opam.as_bytes());
    files.insert("hello-bin.opam", *b"");
    let other = actions(files);
    for package in [
        "dune.2.9.3",
        "ocamlfind.1.9.6",
        "ocamlbuild.0.14.1",
        "topkg.1.0.7",
        "ocaml.4.13.1",
    ] {
        let key = |all: &BTreeMap<String, Action>| all[package].key().expect("good");
        assert_eq!(key(&hello), key(&other), "{package} would be built twice");
    }
    assert!(!other.contains_key("alcotest.1.6.0"));
}

#[test]
fn a_changed_bound_changes_the_plan() {
    let with = |bound: &str| {
        let mut files = sample();
        let opam = files
            .iter()
            .find(|(path, _)| *path == "hello.opam")
            .map(|(_, bytes)| bytes.clone());
        let text = String::from_utf8(opam.expect("there").to_vec()).expect("text");
        let text = text.replace("\"re\" {>= \"1.9.0\"}", bound);
        files.insert("hello.opam", text.into_bytes());
        files
    };
    let without: Vec<String> = actions(with("\"astring\"")).into_keys().collect();
    assert!(without.contains(&"astring.0.8.5".to_owned()));
    let mut unsolvable = started(with("\"re\" {>= \"99\"}"));
    unsolvable.end_all("");
    let (state, message) = unsolvable.variant();
    assert_eq!(state, State::Failed);
    assert!(
        message.contains("re") && message.contains("99"),
        "{message}"
    );
    assert!(unsolvable.ci.is_settled());
}

#[test]
fn a_failed_package_fails_the_variant_in_its_own_words() {
    let mut world = started(sample());
    world.end("fetch dune.2.9.3", Verdict::Infra, "");
    world.end_all("");
    let (state, message) = world.variant();
    assert_eq!(state, State::Failed);
    assert!(message.contains("fetch dune.2.9.3 broke"), "{message}");
    assert!(
        world.ci.is_settled(),
        "something is still wanted: {:?}",
        world.labels()
    );
}

#[test]
fn what_executed_nothing_is_never_a_pass() {
    let mut world = started(sample());
    world.end_all("");
    assert_eq!(world.variant().0, State::Failed);
    let mut untested = started(sample());
    untested.end_all("build passed\ntests none\n");
    let (state, message) = untested.variant();
    assert!(
        state == State::Ok && message.contains("no tests"),
        "{message}"
    );
}

#[test]
fn a_project_without_settings_asks_for_the_nodes_repositories() {
    let mut files = MemFiles::new();
    files.insert("a.opam", *b"opam-version: \"2.0\"");
    let mut world = started(files);
    assert_eq!(world.watched, [DEFAULT_REPOSITORY]);
    assert!(
        !world.ci.is_settled(),
        "it settled before it knew its repositories"
    );
    world.tell(Event::Watched(Watched::Unavailable(
        "no such place".to_owned(),
    )));
    assert_eq!(world.variant(), (State::Failed, "no such place".to_owned()));
    assert!(world.ci.is_settled());
}

#[test]
fn flags_go_before_what_the_project_says() {
    let params = Params {
        repositories: vec!["/r".to_owned()],
        overlays: vec!["/o".to_owned()],
    };
    let mut world = World::new(params);
    world.tell(Event::Watched(Watched::Project(head(sample()))));
    assert_eq!(world.watched, ["/o", "/r"]);
}

#[test]
fn a_broken_commit_says_what_is_broken() {
    let mut files = MemFiles::new();
    files.insert("a.opam", *b"depends: [");
    let world = started(files);
    let view = world.ci.view();
    assert_eq!(view.variants[0].state, State::Failed);
    let message = view.variants[0].message.clone().expect("there");
    assert!(message.contains("a.opam"), "{message}");
    assert_eq!(world.bases, 0, "a base was asked for in vain");
    assert!(world.ci.is_settled(), "{}", world.ci.drawing());
}

#[test]
fn only_the_fetches_look_anywhere_and_every_command_is_offline() {
    for (label, action) in actions(sample()) {
        match &action.work {
            Work::Run(run) => {
                assert_eq!(
                    run.network,
                    caravan_protocol::action::Network::None,
                    "{label}"
                );
                assert!(action.sources.is_empty(), "{label}");
            }
            Work::Fetch(_) => assert!(!action.sources.is_empty(), "{label}"),
            Work::Copy(_) => panic!("{label}: a project's run copies nothing"),
        }
    }
}

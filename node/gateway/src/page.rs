//! Pages: what each template is given. A page is made from one snapshot and the moment it is asked
//! for, and only from text that was made harmless.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use caravan_protocol::{
    ids::{BlobId, NodeId, RunId},
    level::Level,
    policy::WantId,
    time::Stamp,
    view::{NodeView, RunView, Snapshot, State, VariantView},
};

use crate::{
    slug,
    text::{self, Text, When},
};

pub(crate) mod assets;
pub(crate) mod error;
pub(crate) mod home;
pub(crate) mod nodes;
pub(crate) mod project;
pub(crate) mod queue;
pub(crate) mod roles;
pub(crate) mod run;
pub(crate) mod step;
pub(crate) mod variant;

/// One state of the node at one moment.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) now: Stamp,
}

impl View {
    /// The run named by an id or by an unambiguous beginning of one.
    pub(crate) fn run(&self, name: &str) -> Option<&RunView> {
        if let Ok(id) = name.parse::<RunId>() {
            return self.snapshot.runs().find(|run| run.id == id);
        }
        if name.len() < SHORT_ID_DIGITS || !name.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let mut found = self
            .snapshot
            .runs()
            .filter(|run| run.id.to_string().starts_with(name));
        found.next().filter(|_| found.next().is_none())
    }

    /// A node as a table shows it.
    pub(crate) fn who(&self, node: NodeId) -> Who {
        let known = self.snapshot.nodes.iter().find(|view| view.node == node);
        Who {
            short: node.fmt_short(),
            operator: Text::new(known.map_or("", |view: &NodeView| &view.operator)),
            here: node == self.snapshot.node,
        }
    }

    /// What every page has around it.
    pub(crate) fn shell(&self, title: &str, place: Place) -> Shell {
        Shell {
            title: Text::new(title),
            place,
            icon: None,
            live: false,
            mesh: self.snapshot.mesh.fmt_short(),
            node: self.snapshot.node.fmt_short(),
            version: Text::new(&self.snapshot.version),
            running: self.snapshot.running,
            slots: self.snapshot.slots,
        }
    }
}

const SHORT_ID_DIGITS: usize = 10;

/// Where a page stands in the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Projects,
    Queue,
    Nodes,
    Roles,
    Elsewhere,
}

/// What stands around every page.
#[derive(Debug, Clone)]
pub(crate) struct Shell {
    pub(crate) title: Text,
    pub(crate) place: Place,
    /// The state in the tab's icon.
    pub(crate) icon: Option<State>,
    /// Whether what the page shows is still changing.
    pub(crate) live: bool,
    pub(crate) mesh: String,
    pub(crate) node: String,
    pub(crate) version: Text,
    pub(crate) running: u32,
    pub(crate) slots: u32,
}

impl Shell {
    pub(crate) const fn showing(mut self, state: State) -> Self {
        self.icon = Some(state);
        self.live = !state.is_final();
        self
    }

    pub(crate) fn in_projects(&self) -> bool {
        self.place == Place::Projects
    }

    pub(crate) fn in_queue(&self) -> bool {
        self.place == Place::Queue
    }

    pub(crate) fn in_roles(&self) -> bool {
        self.place == Place::Roles
    }

    pub(crate) fn in_nodes(&self) -> bool {
        self.place == Place::Nodes
    }

    /// Colour of the tab's icon.
    pub(crate) fn icon_colour(&self) -> &'static str {
        match self.icon {
            Some(State::Ok) => "%231a7f47",
            Some(State::Failed) => "%23c6362f",
            Some(State::Running) => "%231f66c9",
            Some(State::Ready | State::Blocked | State::Cancelled) => "%23777267",
            None => "%23b4531a",
        }
    }

    /// Shape of the tab's icon, as the path of a 16 by 16 picture.
    pub(crate) fn icon_path(&self) -> &'static str {
        match self.icon {
            Some(State::Ok) => "M4 8.5l2.7 2.7L12 5.5",
            Some(State::Failed) => "M5 5l6 6M11 5l-6 6",
            Some(State::Running) => "M6 4.5l5 3.5-5 3.5z",
            Some(State::Ready | State::Blocked | State::Cancelled) => "M4.5 8h7",
            None => "M3.5 11.5c3 0 2-7 4.5-7s1.5 7 4.5 7",
        }
    }

    pub(crate) fn css(&self) -> &'static str {
        static CSS: LazyLock<String> = LazyLock::new(|| asset_link("style.css"));
        &CSS
    }

    pub(crate) fn script(&self) -> &'static str {
        static SCRIPT: LazyLock<String> = LazyLock::new(|| asset_link("caravan.js"));
        &SCRIPT
    }
}

fn asset_link(name: &str) -> String {
    let hash = assets::find(name).map_or_else(String::new, |asset| {
        BlobId::of(asset.body.as_bytes()).fmt_short()
    });
    format!("/assets/{name}?v={hash}")
}

/// A node in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) short: String,
    pub(crate) operator: Text,
    pub(crate) here: bool,
}

/// A level with its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trust {
    pub(crate) name: &'static str,
    pub(crate) meaning: &'static str,
}

impl From<Level> for Trust {
    fn from(level: Level) -> Self {
        let (name, meaning) = match level {
            Level::Local => ("L0", "local: this node ran it itself"),
            Level::Claimed => ("L1", "claimed: one member says so, nobody has confirmed it"),
            Level::Confirmed => (
                "L2",
                "confirmed: two operators agree, or a trusted node says so",
            ),
            Level::Precious => (
                "L3",
                "precious: a trusted node ran it, and all of its inputs are precious too",
            ),
        };
        Self { name, meaning }
    }
}

/// All levels, for a legend.
pub(crate) fn all_levels() -> [Trust; 4] {
    [
        Level::Local,
        Level::Claimed,
        Level::Confirmed,
        Level::Precious,
    ]
    .map(Trust::from)
}

/// How many variants stand where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) ok: usize,
    pub(crate) failed: usize,
    pub(crate) running: usize,
    pub(crate) waiting: usize,
    pub(crate) cancelled: usize,
}

impl Counts {
    pub(crate) fn of(states: impl Iterator<Item = State>) -> Self {
        let mut counts = Self::default();
        for state in states {
            *match state {
                State::Ok => &mut counts.ok,
                State::Failed => &mut counts.failed,
                State::Running => &mut counts.running,
                State::Blocked | State::Ready => &mut counts.waiting,
                State::Cancelled => &mut counts.cancelled,
            } += 1;
        }
        counts
    }

    /// The counts that are not zero, with the state whose colour they have and their word.
    pub(crate) fn parts(&self) -> Vec<(usize, State, &'static str)> {
        [
            (self.failed, State::Failed, "failed"),
            (self.running, State::Running, "running"),
            (self.waiting, State::Ready, "waiting"),
            (self.ok, State::Ok, "ok"),
            (self.cancelled, State::Cancelled, "cancelled"),
        ]
        .into_iter()
        .filter(|(count, _, _)| *count > 0)
        .collect()
    }
}

/// A variant as one mark in a row.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    pub(crate) state: State,
    pub(crate) name: Text,
    pub(crate) url: String,
}

/// A run as one row of a list.
#[derive(Debug, Clone)]
pub(crate) struct RunRow {
    pub(crate) url: String,
    pub(crate) role: Text,
    pub(crate) branch: Text,
    pub(crate) commit: Text,
    pub(crate) title: Text,
    pub(crate) state: State,
    pub(crate) message: Option<Text>,
    pub(crate) counts: Counts,
    pub(crate) marks: Vec<Mark>,
    pub(crate) more_marks: usize,
    pub(crate) duration: String,
    pub(crate) when: When,
}

const MARKS_MAX: usize = 40;

impl RunRow {
    pub(crate) fn new(run: &RunView, now: Stamp) -> Self {
        let url = run_url(run.id);
        let variants = &run.policy.variants;
        Self {
            role: Text::new(&run.role),
            branch: Text::new(&run.branch),
            commit: short_commit(&run.commit),
            title: Text::line(&run.title),
            state: run.state,
            message: run.message.as_deref().map(Text::line),
            counts: Counts::of(variants.iter().map(|variant| variant.state)),
            marks: variants
                .iter()
                .take(MARKS_MAX)
                .map(|variant| Mark {
                    state: variant.state,
                    name: Text::new(&variant.name),
                    url: variant_url(run.id, &variant.name),
                })
                .collect(),
            more_marks: variants.len().saturating_sub(MARKS_MAX),
            duration: text::duration(wall_ms(run, now)),
            when: When::new(run.started, now),
            url,
        }
    }
}

/// A run's duration, or its age while it goes on.
pub(crate) fn wall_ms(run: &RunView, now: Stamp) -> u64 {
    let end = run.finished.unwrap_or(now);
    end.as_ms().saturating_sub(run.started.as_ms())
}

/// The first digits of a commit.
pub(crate) fn short_commit(commit: &str) -> Text {
    Text::new(&commit.chars().take(10).collect::<String>())
}

/// A project's name as its last part and what stands before that.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ProjectName {
    pub(crate) short: Text,
    pub(crate) full: Text,
    pub(crate) url: String,
}

impl ProjectName {
    pub(crate) fn new(project: &str) -> Self {
        let trimmed = project.trim_end_matches('/');
        let last = trimmed.rsplit('/').next().unwrap_or(trimmed);
        let last = last
            .strip_suffix(".git")
            .filter(|name| !name.is_empty())
            .unwrap_or(last);
        let last = if last.trim().is_empty() {
            "(no name)"
        } else {
            last
        };
        Self {
            short: Text::new(last),
            full: Text::new(project),
            url: project_url(project),
        }
    }
}

pub(crate) fn project_url(project: &str) -> String {
    format!("/projects/{}", slug::of(project))
}

pub(crate) fn run_url(run: RunId) -> String {
    format!("/run/{run}")
}

pub(crate) fn variant_url(run: RunId, name: &str) -> String {
    format!("/run/{run}/variant/{}", slug::of(name))
}

pub(crate) fn step_url(run: RunId, want: WantId) -> String {
    format!("/run/{run}/step/{}", want.0)
}

/// The variant of `run` that a slug names.
pub(crate) fn find_variant<'a>(run: &'a RunView, name: &str) -> Option<&'a VariantView> {
    run.policy
        .variants
        .iter()
        .find(|variant| variant.name == name || slug::of(&variant.name) == name)
}

/// The runs of each project, newest first, projects by their newest run.
pub(crate) fn by_project(snapshot: &Snapshot) -> Vec<(&str, Vec<&RunView>)> {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut projects: Vec<(&str, Vec<&RunView>)> = Vec::new();
    for run in snapshot.runs() {
        let at = *places.entry(&run.project).or_insert_with(|| {
            projects.push((&run.project, Vec::new()));
            projects.len() - 1
        });
        projects[at].1.push(run);
    }
    projects
}

/// The runs of the project that a slug names, newest first.
pub(crate) fn of_project<'a>(snapshot: &'a Snapshot, name: &str) -> Vec<&'a RunView> {
    let mut slugs: BTreeMap<&str, bool> = BTreeMap::new();
    snapshot
        .runs()
        .filter(|run| {
            *slugs
                .entry(&run.project)
                .or_insert_with(|| slug::of(&run.project) == name)
        })
        .collect()
}

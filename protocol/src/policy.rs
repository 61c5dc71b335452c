//! What a role's code looks like to the node that hosts it: a state machine over watched values.
//! The node knows this trait and not one policy by name.
//!
//! A policy is told what it watches and how its wishes fare; it asks for actions, and derives its
//! drawing, tables and verdict from its own terms. It touches nothing: small files of its own
//! making leave through [`Command::Provide`] and are named by content like everything else.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    action::Action,
    claim::Verdict,
    files::Files,
    ids::{ActionKey, BlobId, NodeId, TreeId},
    level::Level,
    platform::Platform,
    spec::{Image, Spec},
    tree::Tree,
    view::PolicyView,
};

/// Names one wish of a policy: stable for the life of the policy, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WantId(pub u64);

/// A commit that a policy is to look at.
#[derive(Debug, Clone)]
pub struct ProjectHead {
    /// The project: its URL or path, as its user names it.
    pub project: String,
    /// Branch or ref that was resolved.
    pub branch: String,
    /// The commit, 40 or 64 hexadecimal digits.
    pub commit: String,
    /// First line of the commit's message.
    pub title: String,
    /// What its user should know, such as changes that are not committed.
    pub notes: Vec<String>,
    /// All files of the commit.
    pub tree: TreeId,
    /// The same files, to read.
    pub files: Arc<dyn Files>,
}

/// An opam repository at one state; several may overlay each other.
#[derive(Debug, Clone)]
pub struct RepositoryHead {
    /// What a user sees: URL, directory or archive, with its commit where it has one.
    pub name: String,
    /// Names the state: equal for equal content.
    pub state: BlobId,
    /// `repo` and `packages/`.
    pub files: Arc<dyn Files>,
}

/// A base image that is pinned on this node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Base {
    /// `debian-12`, as ocaml-ci names distributions.
    pub name: String,
    /// What it runs on.
    pub platform: Platform,
    /// Its files.
    pub tree: TreeId,
    /// What is in it: `ocaml`, `opam`, `os-distribution`, `os-version`, `os-family`, `arch`, ...
    pub facts: BTreeMap<String, String>,
    /// Environment that it starts every command with, as the configuration of an OCI image says.
    pub env: Vec<(String, String)>,
}

/// An image that a build starts from, found by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What the name stands for on this node.
    pub base: Base,
    /// Home directories that its `/etc/passwd` gives to users, by their numbers.
    pub homes: BTreeMap<u32, String>,
}

/// A build spec with everything that it needs from outside.
#[derive(Debug, Clone)]
pub struct SpecHead {
    /// Whose it is, as its user names it: part of every key, so that projects keep apart.
    pub project: String,
    /// What is to be done.
    pub spec: Arc<Spec>,
    /// For each copy from the directory that came with the spec, in the order of
    /// [`Spec::context_copies`]: what it copies, at the places where it was, without what it
    /// leaves out.
    pub context: Vec<TreeId>,
    /// The images of [`Spec::images`], by their names there.
    pub images: BTreeMap<Image, Found>,
}

/// A new value of something that the policy watches.
#[derive(Debug, Clone)]
pub enum Watched {
    /// The head of its project.
    Project(ProjectHead),
    /// The opam repositories, first one first.
    Repositories(Vec<RepositoryHead>),
    /// The bases to test on.
    Bases(Vec<Base>),
    /// The spec to build.
    Spec(SpecHead),
    /// A watched thing could not be had; the text says why and what to do.
    Unavailable(String),
}

/// How a wanted action ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The action.
    pub action: ActionKey,
    /// How it ended.
    pub verdict: Verdict,
    /// What it made.
    pub output: Option<TreeId>,
    /// Its named outputs: their bytes, small.
    pub outputs: BTreeMap<String, Vec<u8>>,
    /// Its log.
    pub log: Option<BlobId>,
    /// How far the result can be relied on.
    pub level: Level,
    /// Who ran it.
    pub node: NodeId,
    /// Whether it was there before it was asked for.
    pub cached: bool,
    /// Wall clock of the run, milliseconds.
    pub wall_ms: u64,
    /// One line for a failure: the last words of its log, or the infrastructure's trouble.
    pub message: Option<String>,
}

/// Where a wanted action stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WantState {
    /// Waiting for a node.
    Queued,
    /// Running on a node.
    Running(NodeId),
    /// Ended.
    Done(Outcome),
}

/// What a policy is told.
#[derive(Debug, Clone)]
pub enum Event {
    /// Something it watches has a value, for the first time or a new one.
    Watched(Watched),
    /// One of its wishes moved on.
    Want {
        /// Which.
        id: WantId,
        /// Where it stands now.
        state: WantState,
    },
}

/// What a policy asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Watch these opam repositories, first one first: paths, archives, git URLs, or
    /// [`DEFAULT_REPOSITORY`]. Asked again, the newer list counts.
    WatchRepositories(Vec<String>),
    /// Watch the bases of the run. A base may take minutes to make, so nobody asks in vain.
    WatchBases,
    /// Keep these small files of the policy's own making, before any later wish that names them.
    Provide {
        /// The tree.
        tree: Tree,
        /// The bytes of its blobs.
        blobs: Vec<Vec<u8>>,
    },
    /// Have this action's result. Asked again for the same id, nothing happens.
    Want {
        /// Names the wish.
        id: WantId,
        /// A few words for people: `astring.0.8.5`.
        label: String,
        /// The work.
        action: Action,
        /// How far the result must be reliable.
        level: Level,
    },
    /// The result is no longer of interest.
    Unwant(WantId),
}

/// Stands for the opam repositories that the node is configured with.
pub const DEFAULT_REPOSITORY: &str = "default";

/// What the person who asks for a run may say about it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Params {
    /// opam repositories instead of those that the project names; empty for those.
    pub repositories: Vec<String>,
    /// opam repositories laid over whichever are used.
    pub overlays: Vec<String>,
}

/// A role's code, hosted by the node that holds the role.
///
/// Promises: `handle` never blocks on anything but computation, asks for a given id once, and given
/// the same events in the same order asks for the same things on every node.
pub trait Policy: fmt::Debug + Send {
    /// The role, as in `ci`.
    fn role(&self) -> &'static str;

    /// Takes one event in and pushes what is wanted because of it.
    fn handle(&mut self, event: Event, out: &mut Vec<Command>);

    /// The present state, for people.
    fn view(&self) -> PolicyView;

    /// Whether everything that can be known is known: no wish is open and a verdict stands.
    fn is_settled(&self) -> bool;

    /// Whether it may end well without a single step. For most, nothing done is nothing proved.
    fn may_do_nothing(&self) -> bool {
        false
    }
}

/// Makes policies of one role. `bootstrap` hands these to the node.
pub trait Factory: fmt::Debug + Send + Sync {
    /// The role.
    fn role(&self) -> &'static str;

    /// A fresh policy for one subject.
    fn start(&self, params: &Params) -> Box<dyn Policy>;
}

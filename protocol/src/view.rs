//! What people are shown: plain snapshots that the driver publishes and that the CLI, the gateway
//! and JSON readers all get alike. Reading one never touches a role holder.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    identity::Tier,
    ids::{ActionKey, BlobId, MeshId, NodeId, RunId, TreeId},
    level::Level,
    platform::Platform,
    policy::{Base, WantId},
    time::Stamp,
};

/// State of a term, a step, a variant or a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// An input is not there yet.
    Blocked,
    /// Waiting for a node.
    Ready,
    /// Under way.
    Running,
    /// Done and good.
    Ok,
    /// Done and bad.
    Failed,
    /// Given up by request.
    Cancelled,
}

impl State {
    /// Whether it will not change by itself.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Ok | Self::Failed | Self::Cancelled)
    }

    /// The word for people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A node of a policy's drawing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermView {
    /// Its number in this drawing.
    pub id: u32,
    /// What it is.
    pub label: String,
    /// Where it stands.
    pub state: State,
    /// The terms that it reads.
    pub inputs: Vec<u32>,
    /// The wish behind it, if it is one.
    pub want: Option<WantId>,
}

/// A row of a policy's table: one variant, as ocaml-ci names them, or one lint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariantView {
    /// `debian-12-4.13_opam-2.1`, `(analysis)`, ...
    pub name: String,
    /// Where it stands.
    pub state: State,
    /// Why it failed, in the words of what failed.
    pub message: Option<String>,
    /// Its steps, dependencies first.
    pub wants: Vec<WantId>,
    /// How to do the same by hand.
    pub recipe: Option<String>,
}

/// What a policy shows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PolicyView {
    /// Its variants, in order.
    pub variants: Vec<VariantView>,
    /// Its drawing.
    pub terms: Vec<TermView>,
    /// What it would say in one line: `2 ok, 1 failed`.
    pub summary: String,
}

/// A step of a run as the driver knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepView {
    /// The wish.
    pub want: WantId,
    /// A few words.
    pub label: String,
    /// Its action.
    pub action: ActionKey,
    /// Where it stands.
    pub state: State,
    /// Who runs or ran it.
    pub node: Option<NodeId>,
    /// How far its result can be relied on.
    pub level: Option<Level>,
    /// Whether the result was there before.
    pub cached: bool,
    /// Whether it failed by the infrastructure and not by itself.
    pub infra: bool,
    /// The attempt at hand, from 1.
    pub attempt: u32,
    /// Wall clock so far or in all, milliseconds.
    pub wall_ms: u64,
    /// The log, once it is whole.
    pub log: Option<BlobId>,
    /// What it made.
    pub output: Option<TreeId>,
    /// Why it failed.
    pub message: Option<String>,
}

/// One run of a policy over one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunView {
    /// Its name.
    pub id: RunId,
    /// Its role, as in `ci`.
    pub role: String,
    /// The project, as its user names it.
    pub project: String,
    /// Branch or ref.
    pub branch: String,
    /// The commit; empty while it is being looked up.
    pub commit: String,
    /// First line of the commit's message.
    pub title: String,
    /// Where it stands.
    pub state: State,
    /// Why it could not begin or was given up.
    pub message: Option<String>,
    /// What its user should know about it.
    pub notes: Vec<String>,
    /// When it was asked for.
    pub started: Stamp,
    /// When it ended.
    pub finished: Option<Stamp>,
    /// Steps that had to be run, of all.
    pub executed: u32,
    /// What the policy shows.
    pub policy: PolicyView,
    /// Its steps by wish.
    pub steps: BTreeMap<WantId, StepView>,
}

/// A member of the mesh as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// The node.
    pub node: NodeId,
    /// Who runs it.
    pub operator: String,
    /// What it may do.
    pub tier: Tier,
    /// What it builds for.
    pub platforms: Vec<Platform>,
    /// Whether it is this node.
    pub here: bool,
    /// Whether it is connected (this node always is).
    pub connected: bool,
    /// Attempts that it runs now, as far as known.
    pub running: u32,
    /// Attempts that it can run at once, as far as known.
    pub slots: u32,
}

/// What the store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StoreView {
    /// Blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Layers that can be mounted.
    pub layers: u64,
    /// Claims.
    pub claims: u64,
}

/// Counters since the node started, for `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Actions executed here.
    pub executed: u64,
    /// Actions answered from claims.
    pub cached: u64,
    /// Attempts that ended as infrastructure failures.
    pub infra: u64,
    /// Attempts that other nodes did for this one.
    pub remote: u64,
    /// Bytes fetched from other nodes.
    pub fetched_bytes: u64,
}

/// Everything a reader may see of this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The mesh.
    pub mesh: MeshId,
    /// This node.
    pub node: NodeId,
    /// Version of the program.
    pub version: String,
    /// When the node started.
    pub started: Stamp,
    /// Members.
    pub nodes: Vec<NodeView>,
    /// Roles with their holders and epochs.
    pub seats: Vec<SeatView>,
    /// Bases that are pinned here.
    pub bases: Vec<Base>,
    /// Runs, newest first.
    pub runs: Vec<Arc<RunView>>,
    /// The store.
    pub store: StoreView,
    /// Counters.
    pub counters: Counters,
    /// Attempts under way here.
    pub running: u32,
    /// Attempts that this node runs at once.
    pub slots: u32,
    /// What it runs them in.
    #[serde(default)]
    pub sandbox: SandboxView,
}

/// What a node promises of the jobs that it runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SandboxView {
    /// What its claims say of where a job ran.
    pub profile: String,
    /// What starts the commands: `own`, an OCI runtime, or `none`.
    pub runtime: String,
    /// What is kept.
    pub kept: Vec<PromiseView>,
    /// What is not, each with what there is instead and what to do.
    pub lacking: Vec<String>,
}

/// One promise that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromiseView {
    /// Of what.
    pub name: String,
    /// By what.
    pub by: String,
}

impl Snapshot {
    /// The runs, newest first.
    pub fn runs(&self) -> impl DoubleEndedIterator<Item = &RunView> {
        self.runs.iter().map(Arc::as_ref)
    }
}

/// A role and who holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeatView {
    /// The role.
    pub role: String,
    /// Its holder.
    pub holder: NodeId,
    /// The holder's epoch.
    pub epoch: u64,
    /// Since when.
    pub since: Stamp,
}

//! What people are shown: plain snapshots that the driver publishes and that the CLI, the gateway
//! and JSON readers all get alike. Reading one never touches a role holder.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    identity::{NodeCert, Tier},
    ids::{ActionKey, BlobId, MeshId, NodeId, RunId, TreeId},
    level::Level,
    platform::Platform,
    policy::{Base, WantId},
    time::Stamp,
};

mod history;
mod overview;

pub use history::{AttemptView, BidView, JobStep, JobView, PassView, PhaseTime, Why};
pub use overview::{
    CacheView, LinkView, OVERVIEW_LINKS_MAX, OVERVIEW_NODES_MAX, OVERVIEW_RUNNING_MAX,
    OVERVIEW_WAITING_MAX, Overview, PhaseView, RunningView, WaitingView,
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
    /// What it builds for, each with how.
    pub offers: Vec<OfferView>,
    /// Its processor cores; 0 where it has not said so, as with all figures of it.
    pub cores: u32,
    /// Its memory.
    pub memory_bytes: u64,
    /// The disk that its store is on.
    pub disk_bytes: u64,
    /// What of that was free when it last looked.
    pub disk_free_bytes: u64,
    /// What its sandbox keeps, by name.
    pub abilities: Vec<String>,
    /// Words that its operator gave it.
    pub labels: BTreeSet<String>,
    /// Version of its program; empty where it has not said so.
    pub version: String,
    /// Since when it is up without a break, or was when it was last heard.
    pub since: Option<Stamp>,
    /// When this node last heard of it.
    pub heard: Option<Stamp>,
    /// Until when its certificate is valid.
    pub expires: Option<Stamp>,
    /// Whether it takes work.
    pub mode: ModeView,
    /// Why it takes none, or none of some kind.
    pub why: Option<String>,
}

impl NodeView {
    /// A member of which no more is known than its certificate says.
    #[must_use]
    pub fn of(cert: &NodeCert) -> Self {
        let offer = |platform: &Platform| OfferView {
            platform: platform.clone(),
            variant: String::new(),
            emulated: false,
        };
        Self {
            node: cert.node,
            operator: cert.operator.clone(),
            tier: cert.tier,
            platforms: cert.platforms.clone(),
            here: false,
            connected: false,
            running: 0,
            slots: 0,
            offers: cert.platforms.iter().map(offer).collect(),
            cores: 0,
            memory_bytes: 0,
            disk_bytes: 0,
            disk_free_bytes: 0,
            abilities: Vec::new(),
            labels: BTreeSet::new(),
            version: String::new(),
            since: None,
            heard: None,
            expires: Some(cert.expires),
            mode: ModeView::Away,
            why: None,
        }
    }

    /// The platforms that it only emulates.
    #[must_use]
    pub fn emulated(&self) -> BTreeSet<Platform> {
        let emulated = self.offers.iter().filter(|offer| offer.emulated);
        emulated.map(|offer| offer.platform.clone()).collect()
    }
}

/// A platform as a node offers it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OfferView {
    /// The platform.
    pub platform: Platform,
    /// The processors' variant, such as `v3` of x86_64; empty where there is none to tell.
    pub variant: String,
    /// Whether it is emulated: slower, and asked last.
    pub emulated: bool,
}

/// Whether a node takes work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModeView {
    /// It does.
    Open,
    /// It takes none for now, as its operator or its hours say.
    Paused,
    /// It takes none, as the council says.
    Cordoned,
    /// It ends what it has and takes nothing new.
    Draining,
    /// It is on its way out.
    Leaving,
    /// It went in order.
    Left,
    /// It cannot be reached, or was not met yet.
    Away,
    /// It is known to be gone without a word.
    Dead,
    /// It is no member any more.
    Revoked,
}

impl ModeView {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Open,
        Self::Paused,
        Self::Cordoned,
        Self::Draining,
        Self::Leaving,
        Self::Left,
        Self::Away,
        Self::Dead,
        Self::Revoked,
    ];

    /// The word for people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Paused => "paused",
            Self::Cordoned => "cordoned",
            Self::Draining => "draining",
            Self::Leaving => "leaving",
            Self::Left => "left",
            Self::Away => "away",
            Self::Dead => "dead",
            Self::Revoked => "revoked",
        }
    }
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
    /// How long what was answered from claims took when it was done, milliseconds.
    #[serde(default)]
    pub saved_ms: u64,
    /// Bytes of layers that were here when a claim named them as a result that is wanted.
    #[serde(default)]
    pub spared_bytes: u64,
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
    /// Elected roles that this node has to do with.
    #[serde(default)]
    pub roles: Vec<RoleView>,
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
    /// Why this node takes no work now, if it takes none.
    #[serde(default)]
    pub standing: Option<String>,
    /// What its operator should know and do something about.
    #[serde(default)]
    pub notices: Vec<String>,
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

/// An elected role of one project, as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleView {
    /// The role.
    pub role: String,
    /// The project.
    pub project: String,
    /// A run of it that is open.
    pub run: Option<RunId>,
    /// Who holds that run, or would hold the next one.
    pub holder: Option<NodeId>,
    /// Since when, where there is a run whose holder was heard.
    pub since: Option<Stamp>,
    /// Who would take it over, first one first.
    pub next: Vec<NodeId>,
    /// Where it stands.
    pub state: RoleState,
}

/// Where an elected role stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoleState {
    /// It has no run.
    Idle,
    /// Its run is held.
    Held,
    /// Its run is on its way to the holder shown.
    Moving,
    /// Its run is this node's alone.
    Local,
}

impl RoleState {
    /// The word for people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Held => "held",
            Self::Moving => "moving",
            Self::Local => "local",
        }
    }
}

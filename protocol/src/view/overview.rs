//! What a node is at right now: members, what waits and why, what runs, what goes over the wire and
//! what the cache has saved. `caravan top` and the gateway's page of the queue show this.

use serde::{Deserialize, Serialize};

use super::NodeView;
use crate::{
    ids::{ActionKey, MeshId, NodeId},
    platform::Platform,
    time::Stamp,
};

/// Members that an overview names.
pub const OVERVIEW_NODES_MAX: usize = 512;
/// Jobs that wait that an overview names, the first of them.
pub const OVERVIEW_WAITING_MAX: usize = 256;
/// Attempts under way that an overview names.
pub const OVERVIEW_RUNNING_MAX: usize = 512;
/// Members that bytes went to or came from that an overview names.
pub const OVERVIEW_LINKS_MAX: usize = 64;

/// Everything at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// The moment.
    pub at: Stamp,
    /// The mesh.
    pub mesh: MeshId,
    /// This node.
    pub node: NodeId,
    /// Version of the program.
    pub version: String,
    /// When the node started.
    pub started: Stamp,
    /// Members: this node first, then those that are here, by operator; the first of them.
    pub nodes: Vec<NodeView>,
    /// Members in all.
    pub nodes_all: u32,
    /// Own jobs that wait, in all.
    pub waiting: u64,
    /// The first of them, in the order in which they go.
    pub queue: Vec<WaitingView>,
    /// Attempts under way, in all: own ones anywhere, and those that run here for others.
    pub running_all: u32,
    /// The first of them, the oldest first.
    pub running: Vec<RunningView>,
    /// What went over the wire, the busiest first.
    pub links: Vec<LinkView>,
    /// What the cache was good for.
    pub cache: CacheView,
    /// Why this node takes no work now, if it takes none.
    pub standing: Option<String>,
    /// What its operator should know and do something about.
    pub notices: Vec<String>,
}

impl Overview {
    /// An overview of a node of which nothing is known yet.
    #[must_use]
    pub fn empty(mesh: MeshId, node: NodeId) -> Self {
        Self {
            at: Stamp::from_ms(0),
            mesh,
            node,
            version: String::new(),
            started: Stamp::from_ms(0),
            nodes: Vec::new(),
            nodes_all: 0,
            waiting: 0,
            queue: Vec::new(),
            running_all: 0,
            running: Vec::new(),
            links: Vec::new(),
            cache: CacheView::default(),
            standing: None,
            notices: Vec::new(),
        }
    }

    /// Who runs a node, as far as it is among the members that are named.
    #[must_use]
    pub fn operator(&self, node: NodeId) -> Option<&str> {
        let known = self.nodes.iter().find(|view| view.node == node);
        known.map(|view| view.operator.as_str())
    }
}

/// An own job that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingView {
    /// The job.
    pub job: ActionKey,
    /// A few words.
    pub label: String,
    /// Whose it is.
    pub project: String,
    /// What it runs on.
    pub platform: Platform,
    /// Whether it goes before all that are not urgent.
    pub urgent: bool,
    /// Since when it is wanted.
    pub since: Stamp,
    /// Why it waits.
    pub reason: String,
}

/// An attempt under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningView {
    /// The job.
    pub job: ActionKey,
    /// A few words; empty where the job is another node's, which tells no more than its key.
    pub label: String,
    /// Whose it is; empty where the job is another node's.
    pub project: String,
    /// Who wants it.
    pub owner: NodeId,
    /// The attempt.
    pub number: u32,
    /// Who runs it.
    pub node: NodeId,
    /// Since when it has the job.
    pub began: Stamp,
    /// What it is at.
    pub phase: PhaseView,
    /// Since when it is at that.
    pub phase_began: Stamp,
    /// How long it was thought to take in all, milliseconds, if anybody said.
    pub estimate_ms: Option<u64>,
    /// Whether another attempt at the job was under way when it began.
    pub hedge: bool,
}

/// What an attempt is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PhaseView {
    /// It was given to its node, which has not said anything yet.
    Placed,
    /// What it runs on is fetched.
    Fetching {
        /// Bytes so far.
        bytes: u64,
        /// Bytes in all; 0 where that is not known.
        of_bytes: u64,
    },
    /// Its command runs.
    Running {
        /// Size of its log so far.
        log_bytes: u64,
        /// Processor time so far, milliseconds; 0 where the node cannot tell.
        cpu_ms: u64,
    },
    /// What it made is kept.
    Keeping,
}

impl PhaseView {
    /// The word for people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Fetching { .. } => "fetching",
            Self::Running { .. } => "running",
            Self::Keeping => "keeping",
        }
    }
}

/// What went over the wire between this node and a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkView {
    /// The member; nobody for what went to all members together.
    pub node: Option<NodeId>,
    /// Bytes of blobs fetched from it since this node started.
    pub in_bytes: u64,
    /// Bytes of blobs given to it since this node started.
    pub out_bytes: u64,
    /// Bytes a second that came of late.
    pub in_per_s: u64,
    /// Bytes a second that went of late.
    pub out_per_s: u64,
}

/// What the cache was good for since the node started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CacheView {
    /// Actions answered from claims.
    pub hits: u64,
    /// Actions executed here.
    pub executed: u64,
    /// Attempts that other nodes did for this one.
    pub remote: u64,
    /// How long what was answered from claims took when it was done, milliseconds.
    pub saved_ms: u64,
    /// Bytes of layers that were here when a claim named them as a result that is wanted.
    pub spared_bytes: u64,
    /// Bytes fetched from other nodes.
    pub fetched_bytes: u64,
}

impl CacheView {
    /// Actions answered from claims of all that were wanted, in percent; nothing where none was.
    #[must_use]
    pub fn hit_percent(&self) -> Option<u64> {
        let all = self.hits + self.executed + self.remote;
        (self.hits * 100).checked_div(all)
    }
}

//! The control socket: how the CLI talks to the node of the same user. The socket is a file that
//! only its owner can open, and every connection's user is checked again. One connection carries
//! one request and its answers, each a length-prefixed frame of the one codec.

use std::sync::Arc;

use caravan_protocol::{
    ids::{NodeId, RunId, TreeId},
    policy::{Base, WantId},
    time::Stamp,
    view::{JobView, NodeView, Overview, RunView, Snapshot},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

pub mod client;
mod log;
pub mod server;
pub mod wire;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Everything that a reader may see. Answer: [`Reply::Snapshot`].
    Status,
    /// Take a project through CI. Answers: [`Reply::Run`] whenever something changed, until the run
    /// is final.
    Ci(CiRequest),
    /// One run. Answer: [`Reply::Run`].
    Run(RunId),
    /// Give a run up. Answer: [`Reply::Done`].
    Cancel(RunId),
    /// A step's log from any place in it. Answers: [`Reply::Log`], until its end; with `follow` it
    /// waits for a live log to go on, and [`Reply::LogAnew`] tells that another attempt writes it.
    Log {
        /// The run.
        run: RunId,
        /// The step.
        want: WantId,
        /// Where to begin.
        from: LogFrom,
        /// Whether to wait for more.
        follow: bool,
    },
    /// Make an invite. Answer: [`Reply::Invite`].
    Invite(crate::invites::InviteAsk),
    /// The invites that were made. Answer: [`Reply::Invites`].
    Invites,
    /// Take an invite back: by the first digits of its id, or by its token. Answer: [`Reply::Done`].
    Withdraw(String),
    /// Strike a node out. Answer: [`Reply::Done`].
    Revoke(NodeId),
    /// Import a base anew and pin it. Answers: [`Reply::Progress`], then [`Reply::Base`].
    ImportBase(String),
    /// Check the store. Answers: [`Reply::Progress`], then [`Reply::Check`].
    CheckStore {
        /// Whether damage is forgotten, so that it can be made or fetched again.
        heal: bool,
    },
    /// Stop the node. Answer: [`Reply::Done`].
    Stop,
    /// Build a spec. Answers: [`Reply::Run`] whenever something changed, until the run is final,
    /// and in between [`Reply::Image`] and [`Reply::Progress`]; or [`Reply::Refused`].
    Build(BuildRequest),
    /// Look into the store or look after it. Answers: as the question says.
    Store(crate::keeping::StoreAsk),
    /// Import an image as a base. Answers: [`Reply::Progress`], then [`Reply::ImageTold`].
    ImportImage(crate::images::ImageImport),
    /// Export an image. Answers: [`Reply::Progress`], then [`Reply::ImageTold`].
    ExportImage(crate::images::ImageExport),
    /// Take no new work until [`Request::Resume`], over restarts too; what runs goes on. Answer:
    /// [`Reply::Standing`].
    Pause {
        /// Why, for people; it may be empty.
        why: String,
    },
    /// Take work again, and give a drain up. Answer: [`Reply::Standing`].
    Resume,
    /// Take nothing new, end what goes on here, leave the mesh in order, and stop. Answers:
    /// [`Reply::Progress`], then [`Reply::Done`] just before the end. It goes on if nobody listens.
    Drain {
        /// Whether the membership is given up for good.
        leave: bool,
        /// Whether what goes on is ended; else it is given up.
        wait: bool,
    },
    /// Let a member take no work, by the founding node's word. Answer: [`Reply::Done`].
    Cordon {
        /// The member.
        node: NodeId,
        /// Why, for people; it may be empty.
        why: String,
    },
    /// Let it take work again. Answer: [`Reply::Done`].
    Uncordon {
        /// The member.
        node: NodeId,
    },
    /// Renew this node's certificate now. Answer: [`Reply::Renewed`].
    Renew,
    /// All members. Answer: [`Reply::Nodes`].
    Nodes,
    /// What waits, what runs and what goes over the wire now. Answer: [`Reply::Overview`].
    Overview,
    /// What became of the job whose key begins so. Answer: [`Reply::Job`], or
    /// [`Reply::Refused`].
    Job(String),
    /// Take what a run asked for through once more, what has passed kept. Answers: as of
    /// [`Request::Ci`].
    Again {
        /// The run.
        run: RunId,
        /// The only node on which its steps run.
        on: Option<NodeId>,
        /// Nodes on which none of its steps runs.
        not_on: Vec<NodeId>,
    },
}

/// A project to take through CI.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CiRequest {
    /// Path or URL.
    pub project: String,
    /// Branch, tag or commit; the head by default.
    pub reference: Option<String>,
    /// opam repositories instead of those that the project or the node names.
    pub repositories: Vec<String>,
    /// Directories laid over the repositories.
    pub overlays: Vec<String>,
    /// Bases instead of the node's.
    pub bases: Vec<String>,
    /// Whether failures of earlier runs are tried again.
    pub rebuild: bool,
    /// The only node on which its steps run. What it fetches is fetched here all the same.
    pub on: Option<NodeId>,
    /// Nodes on which none of its steps runs.
    pub not_on: Vec<NodeId>,
}

/// A spec to build.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BuildRequest {
    /// Absolute path of the directory that comes with it.
    pub dir: String,
    /// Whose it is: projects share neither results nor caches.
    pub project: String,
    /// What people call the spec: its file's name.
    pub name: String,
    /// Its text.
    pub spec: String,
    /// The secrets that it asks for.
    pub secrets: Vec<SecretValue>,
    /// Whether every step is run again, even one that passed.
    pub rebuild: bool,
    /// The only node on which its steps run, but for those that reach out or are shown a secret.
    pub on: Option<NodeId>,
    /// Nodes on which none of its steps runs.
    pub not_on: Vec<NodeId>,
}

/// A secret on its way to the node. It is never shown and never kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretValue {
    /// What the spec calls it.
    pub id: String,
    /// What it is.
    pub value: Vec<u8>,
}

/// Largest secret, bytes.
pub const SECRET_BYTES_MAX: usize = 512 * 1024;

impl Drop for SecretValue {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretValue({:?}, not shown)", self.id)
    }
}

/// Where in a log to begin. All are of the bytes that the step printed, live and later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogFrom {
    /// At this offset.
    Start(u64),
    /// So many bytes before what is its end now.
    BeforeEnd(u64),
    /// At the first of so many last lines.
    LastLines(u64),
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Everything that a reader may see.
    Snapshot(Box<Snapshot>),
    /// A run as it is now.
    Run(Arc<RunView>),
    /// Bytes of a log.
    Log {
        /// The bytes.
        bytes: Vec<u8>,
        /// Offset behind them.
        next: u64,
    },
    /// An invite to hand on.
    Invite(String),
    /// Invites that were made.
    Invites(Vec<crate::invites::InviteView>),
    /// How far long work is.
    Progress {
        /// What is being done.
        what: String,
        /// Units done.
        done: u64,
        /// Units in all; 0 where unknown.
        total: u64,
    },
    /// A base that was imported.
    Base(Base),
    /// What a check of the store found.
    Check(Checked),
    /// It is done.
    Done,
    /// It could not be done; the text says why and what to do.
    Error(String),
    /// It is not begun, for what was asked is wrong; the text says what and what to do.
    Refused(String),
    /// What the name of an image stands for.
    Image {
        /// The name.
        name: String,
        /// Its files.
        tree: TreeId,
        /// Whether it was here before it was asked for.
        cached: bool,
    },
    /// The attempt whose log was followed has been given up; what comes now is the next one's log
    /// from its beginning.
    LogAnew,
    /// What the store answers.
    Store(Box<crate::keeping::StoreTold>),
    /// Bytes of a file or an archive.
    Bytes(Vec<u8>),
    /// What became of an image.
    ImageTold(Box<crate::images::ImageTold>),
    /// Why the node takes no work now; nothing if it takes work.
    Standing(Option<String>),
    /// The certificate was renewed.
    Renewed {
        /// Until when the new one is valid.
        expires: Stamp,
    },
    /// The members of the mesh.
    Nodes(Vec<NodeView>),
    /// What waits, what runs and what goes over the wire now.
    Overview(Arc<Overview>),
    /// What became of a job.
    Job(Box<JobView>),
}

/// What a check of the store found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Checked {
    /// Objects and layers looked at.
    pub checked: u64,
    /// Whether everything that the store names is whole.
    pub clean: bool,
    /// What was found, a line each.
    pub findings: Vec<String>,
    /// Things forgotten to heal it.
    pub forgotten: u64,
    /// What came of asking members for what pinned trees lack, a line each.
    pub healed: Vec<String>,
}

impl From<caravan_store::Report> for Checked {
    fn from(report: caravan_store::Report) -> Self {
        let line = |found: &caravan_store::Finding| format!("{}: {}", found.path, found.reason);
        Self {
            checked: report.checked,
            clean: report.is_clean(),
            findings: report.findings.iter().map(line).collect(),
            forgotten: report.forgotten,
            healed: Vec::new(),
        }
    }
}

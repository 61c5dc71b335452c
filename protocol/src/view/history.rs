//! What became of a job: each attempt at it with who was asked, what they said, why the market chose
//! as it did, what the attempt was at when, and how it ended.

use serde::{Deserialize, Serialize};

use super::{PhaseView, State};
use crate::{
    ids::{ActionKey, NodeId, RunId},
    platform::Platform,
    policy::WantId,
    time::Stamp,
};

/// A job, under way or ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobView {
    /// The job.
    pub job: ActionKey,
    /// A few words; empty where the job is another node's.
    pub label: String,
    /// Whose it is; empty where the job is another node's.
    pub project: String,
    /// What it runs on, where that is known.
    pub platform: Option<Platform>,
    /// Where it stands.
    pub state: State,
    /// When it was first asked for, as far as that is remembered.
    pub wanted: Option<Stamp>,
    /// Why it waits, if it does.
    pub waits: Option<String>,
    /// How long it was thought to take, milliseconds, if anybody said.
    pub cost_ms: Option<u64>,
    /// Steps of runs that it is, the newest run first.
    pub steps: Vec<JobStep>,
    /// Attempts that are remembered, oldest first.
    pub attempts: Vec<AttemptView>,
    /// Attempts before these that were forgotten.
    pub forgotten: u32,
    /// What is known of its end beside its attempts: that it was answered from claims, given up, or
    /// is not remembered.
    pub note: Option<String>,
}

/// A step of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStep {
    /// The run.
    pub run: RunId,
    /// The step.
    pub want: WantId,
    /// What the run calls it.
    pub label: String,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptView {
    /// Who wanted the job.
    pub owner: NodeId,
    /// From 1.
    pub number: u32,
    /// Who ran it.
    pub node: NodeId,
    /// Who runs that node; empty where it is not known any more.
    pub operator: String,
    /// When it was given to it.
    pub placed: Stamp,
    /// Why to it.
    pub why: Why,
    /// What those said who were asked, the lowest estimate first.
    pub bids: Vec<BidView>,
    /// Who did not want it.
    pub passes: Vec<PassView>,
    /// What it was at when, oldest first.
    pub phases: Vec<PhaseTime>,
    /// When it ended.
    pub ended: Option<Stamp>,
    /// How it ended, in one line.
    pub end: Option<String>,
    /// Whether its result is the job's.
    pub won: bool,
}

/// Why an attempt is where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// This node had a slot, and nobody else was asked.
    Here,
    /// Others were asked, and none of them would have been done sooner than this node.
    Sooner,
    /// It bid, and its estimate was the lowest.
    Lowest,
    /// It bid, and lower estimates are believed less: their nodes took longer than they had said.
    Believed,
    /// It had bid for another job, and this one waited.
    Spare,
    /// It is the only node that the job may run on.
    Only,
    /// Another attempt was under way and slow: whichever ends first counts.
    Hedge,
    /// It was thought lost and came back with the attempt.
    Back,
    /// It had begun it for an earlier life of the owner, or an earlier holder of its role.
    Adopted,
    /// It runs here for another node, which chose this one.
    Lent,
}

impl Why {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Here,
        Self::Sooner,
        Self::Lowest,
        Self::Believed,
        Self::Spare,
        Self::Only,
        Self::Hedge,
        Self::Back,
        Self::Adopted,
        Self::Lent,
    ];

    /// The words for people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Here => "a slot was free here, and nobody else was asked",
            Self::Sooner => {
                "none of those that were asked would have been done sooner than this node"
            }
            Self::Lowest => "its estimate was the lowest",
            Self::Believed => {
                "lower estimates are believed less: their nodes took longer than they said"
            }
            Self::Spare => "it had room and bid for another job, and this one waited",
            Self::Only => "it is the only node that the job may run on",
            Self::Hedge => "another attempt was slow: whichever ends first counts",
            Self::Back => "it was thought lost and came back with the attempt",
            Self::Adopted => {
                "it had begun it for an earlier owner, or for this one before a restart"
            }
            Self::Lent => "another node wants the job and chose this one",
        }
    }
}

/// What a node said that would do a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BidView {
    /// The node.
    pub node: NodeId,
    /// When it would be done, milliseconds from then.
    pub eta_ms: u64,
    /// When it would begin, milliseconds from then.
    pub wait_ms: u64,
}

/// A node that did not want a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassView {
    /// The node.
    pub node: NodeId,
    /// Why not.
    pub why: String,
}

/// What an attempt was at from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseTime {
    /// What, as far as it came with that.
    pub phase: PhaseView,
    /// Since when.
    pub began: Stamp,
}

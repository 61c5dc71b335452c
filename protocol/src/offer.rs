//! The market: how a job finds a node. One [`Engine`] per node is owner of its own jobs and worker
//! for everybody's, and is the very type that the program runs and the simulator drives.
//!
//! The owner runs a job here where a slot is free, without a word to anybody. What waits is named
//! in a digest, gossiped per platform and bounded in rate; nodes with a free slot bid, one is
//! awarded an attempt under a lease, beats while it runs and sends a result until it is
//! acknowledged. A node that vanishes costs a retry, never a job.
//!
//! The engine owns queue, attempts, bids and slots. It never reads a clock, sends, runs, checks a
//! signature or looks into an action or an outcome: those are bytes that it passes on.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    action::{Limits, TooMuch},
    claim::Verdict,
    ids::{ActionKey, NodeId, ParseIdError},
    platform::Platform,
    time::Time,
};

mod alarms;
mod bargain;
mod check;
mod engine;
mod jobs;
mod lease;
mod message;
mod owner;
mod place;
mod runs;
mod worker;

pub use engine::{Engine, Setup, Standing};
pub use message::{Digest, Head, Message, MessageError, Progress};
pub use place::Place;

/// Names a job: the action that is wanted. An owner wants an action once, whoever asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId(ActionKey);

impl JobId {
    /// The action that the job is about.
    #[must_use]
    pub const fn action(self) -> ActionKey {
        self.0
    }

    /// The first ten hexadecimal digits, for tables and logs.
    #[must_use]
    pub fn fmt_short(&self) -> String {
        self.0.fmt_short()
    }
}

impl From<ActionKey> for JobId {
    fn from(action: ActionKey) -> Self {
        Self(action)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        text.parse().map(Self)
    }
}

/// Names one try at a job: unique while its owner's engine wants the job. The number is the fence:
/// each award has a higher one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    /// Who wants the job.
    pub owner: NodeId,
    /// The job.
    pub job: JobId,
    /// From 1.
    pub number: u32,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (job, owner) = (self.job.fmt_short(), self.owner.fmt_short());
        write!(f, "{job}#{} of {owner}", self.number)
    }
}

/// Which jobs go first. Equal ones go in the order in which they were wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Somebody waits for it.
    Urgent,
    /// Everything else.
    Normal,
}

/// A job as its owner's driver asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The job.
    pub job: JobId,
    /// What it runs on.
    pub platform: Platform,
    /// Which jobs it goes before.
    pub priority: Priority,
    /// How long it is thought to take, milliseconds.
    pub cost_ms: u64,
    /// Whether another node may run it.
    pub remote_ok: bool,
    /// What it asks for of the node that runs it.
    pub needs: Limits,
    /// Where it may run of all the nodes that could take it.
    pub place: Place,
    /// The encoded action: opaque here.
    pub action: Vec<u8>,
}

/// What the engine is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Have this job done. Wanted again while it is open, at most its priority rises.
    Want(Want),
    /// The job's result is no longer of interest.
    Unwant(JobId),
    /// A member can be reached, or what it builds for has changed.
    PeerUp {
        /// The member.
        node: NodeId,
        /// What it may build for; nothing while it takes no work.
        platforms: BTreeSet<Platform>,
        /// Those of them that it only emulates.
        emulated: BTreeSet<Platform>,
    },
    /// A member can no longer be reached.
    PeerDown(NodeId),
    /// A digest was gossiped.
    Heard {
        /// Who signed it.
        from: NodeId,
        /// The platform on whose topic it came.
        platform: Platform,
        /// What it says.
        digest: Digest,
    },
    /// A message came from a member that is up.
    Message {
        /// Who sent it.
        from: NodeId,
        /// What it says.
        message: Message,
    },
    /// An attempt that [`Command::Run`] started, whether stopped since or not, has ended and left
    /// nothing running. Exactly one follows each `Run`.
    Finished {
        /// Which.
        attempt: AttemptId,
        /// How it ended.
        verdict: Verdict,
        /// The signed claim: opaque here.
        outcome: Vec<u8>,
    },
    /// An attempt that runs here has written this much log.
    Progress {
        /// Which.
        attempt: AttemptId,
        /// Size of its log so far.
        log_bytes: u64,
    },
    /// This node runs so many attempts at once from now on; those that run are not stopped.
    Slots(u32),
    /// Whether this node starts no attempts; those that run are not stopped.
    Pause(bool),
    /// Whether this node takes jobs of others; those that run are not stopped.
    Lend(bool),
    /// The time asked for by [`Command::WakeAt`] has come.
    Tick,
}

/// What the engine asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run this action here and report [`Event::Finished`]. Never asked twice for one attempt that
    /// has not finished.
    Run {
        /// Which; its owner may be this node or another.
        attempt: AttemptId,
        /// The encoded action.
        action: Vec<u8>,
    },
    /// Stop an attempt that runs here. [`Event::Finished`] is still due, with any verdict.
    Stop {
        /// Which.
        attempt: AttemptId,
    },
    /// Send a message to a member that is up.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Gossip a digest on the platform's topic.
    Gossip {
        /// The platform.
        platform: Platform,
        /// The digest.
        digest: Digest,
    },
    /// Give [`Event::Tick`] at this time. A later `WakeAt` replaces an earlier one.
    WakeAt(Time),
    /// An own job was given to another node.
    Placed {
        /// The attempt.
        attempt: AttemptId,
        /// Who runs it.
        node: NodeId,
    },
    /// An own job's attempt on another node has written this much log.
    Progress {
        /// The attempt.
        attempt: AttemptId,
        /// Who runs it.
        node: NodeId,
        /// Size of its log so far.
        log_bytes: u64,
    },
    /// An own job waits for more than a free slot. Said once per reason.
    Waiting {
        /// The job.
        job: JobId,
        /// What is missing.
        reason: Missing,
    },
    /// An own job's attempt came to nothing; the job goes on.
    Lost {
        /// The attempt.
        attempt: AttemptId,
        /// Who ran it.
        node: NodeId,
        /// What happened.
        loss: Loss,
        /// What the node says about it; empty where it said nothing.
        outcome: Vec<u8>,
    },
    /// An own job has ended. Said once per wanted job, and nothing follows about it but `Late`.
    Done {
        /// The attempt that ended it.
        attempt: AttemptId,
        /// Who ran it.
        node: NodeId,
        /// `Pass` or `Fail`.
        verdict: Verdict,
        /// The signed claim, not yet believed.
        outcome: Vec<u8>,
    },
    /// An own job was given up. Said instead of `Done`.
    GaveUp {
        /// The job.
        job: JobId,
        /// Why.
        reason: GaveUp,
    },
    /// A result came that closes nothing: its claim may be of use all the same.
    Late {
        /// The attempt as its sender names it.
        attempt: AttemptId,
        /// Who sent it.
        node: NodeId,
        /// What it says.
        verdict: Verdict,
        /// The signed claim, not yet believed.
        outcome: Vec<u8>,
    },
    /// A member said something that no honest member says. Nothing was changed by it.
    Reject {
        /// Who.
        from: NodeId,
        /// What was wrong.
        reason: Rejection,
    },
}

/// What a waiting job misses beyond a free slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// No node that is known and up builds for the platform.
    Platform(Platform),
    /// This node does not build for the platform, and the job may not leave it.
    LocalPlatform(Platform),
    /// This node is paused, and no other node may or can take the job.
    Paused,
    /// This node has no slots at all, and no other node may or can take the job.
    Slots,
    /// The job asks for more than this node allows: another has to take it.
    Room(TooMuch),
    /// The one node that the job must run on is not up.
    Gone(NodeId),
    /// The one node that the job must run on takes no work for its platform now.
    Unwilling {
        /// The node.
        node: NodeId,
        /// The platform.
        platform: Platform,
    },
    /// All nodes that could take the job are those that it must not run on.
    Excluded,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platform(platform) => write!(f, "no known node builds for {platform}"),
            Self::LocalPlatform(platform) => write!(
                f,
                "this node does not build for {platform} and the job may not leave it"
            ),
            Self::Paused => f.write_str("this node is paused and no other node can take the job"),
            Self::Slots => f.write_str("this node has no slots and no other node can take the job"),
            Self::Room(too_much) => {
                write!(f, "{too_much}: it waits for a node that allows more")
            }
            Self::Gone(node) => {
                let node = node.fmt_short();
                write!(
                    f,
                    "node {node}, the only one it may run on, is not here; it waits"
                )
            }
            Self::Unwilling { node, platform } => {
                let node = node.fmt_short();
                write!(
                    f,
                    "node {node}, the only one it may run on, takes no work for {platform} now"
                )
            }
            Self::Excluded => f.write_str("no node can take it but those that it must not run on"),
        }
    }
}

/// How an attempt came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// Its node was not heard of for the length of the lease.
    Silent,
    /// Its node can no longer be reached.
    PeerDown,
    /// It was beaten longer than any attempt may take.
    Overrun,
    /// Its node reported an infrastructure failure.
    Infra,
    /// Its node had no slot for it any more. Not counted as a failure.
    Refused,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "the node was silent for longer than its lease",
            Self::PeerDown => "the node could no longer be reached",
            Self::Overrun => "the attempt took longer than any may",
            Self::Infra => "the node reported an infrastructure failure",
            Self::Refused => "the node had no free slot any more",
        })
    }
}

/// One attempt that came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Its number.
    pub number: u32,
    /// Who ran it.
    pub node: NodeId,
    /// What happened.
    pub loss: Loss,
}

/// Why a job was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GaveUp {
    /// Too many attempts failed by infrastructure or vanished; all of them, oldest first.
    Failures(Vec<Failure>),
    /// More jobs are open than an engine holds.
    Full {
        /// The bound.
        max: usize,
    },
    /// The job asks for more than this node allows, and no other node may or can take it.
    TooMuch(TooMuch),
    /// The encoded action is larger than any may be.
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures(failures) => {
                write!(f, "infrastructure failed {} attempts:", failures.len())?;
                for (at, failure) in failures.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ";" };
                    let node = failure.node.fmt_short();
                    write!(f, "{comma} #{} on {node}: {}", failure.number, failure.loss)?;
                }
                Ok(())
            }
            Self::Full { max } => write!(f, "{max} jobs are open already, the most that may be"),
            Self::TooMuch(too_much) => too_much.fmt(f),
            Self::TooLarge { bytes } => write!(f, "its action takes {bytes} bytes, too many"),
        }
    }
}

/// What a member said that no honest member says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It is not a member that is up, or there are too many.
    #[error("take a message from {0}: it is not up")]
    NotUp(NodeId),
    /// More members are up than the market knows.
    #[error("take up {0}: more members are up than allowed")]
    TooManyPeers(NodeId),
    /// The message breaks a bound.
    #[error("take a message")]
    Malformed(#[from] MessageError),
    /// A digest names another owner than its signer.
    #[error("take a digest of {owner}: somebody else signed it")]
    NotOwner {
        /// The owner that it names.
        owner: NodeId,
    },
    /// A bid for a platform that the bidder does not build for.
    #[error("take a bid for {job}: its platform is {platform}")]
    OtherPlatform {
        /// The job.
        job: JobId,
        /// The job's platform.
        platform: Platform,
    },
    /// An award or decline that answers no bid of ours to that owner.
    #[error("take an answer to bid {nonce}: no such bid was made to it")]
    NoSuchBid {
        /// The number in the answer.
        nonce: u64,
    },
    /// Something about an attempt that another node holds.
    #[error("take word of attempt {number} at {job}: it was awarded to another node")]
    NotAwarded {
        /// The job.
        job: JobId,
        /// The attempt.
        number: u32,
    },
}

#[cfg(test)]
mod tests;

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

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    action::TooMuch,
    ids::{ActionKey, NodeId, ParseIdError},
    platform::Platform,
};

mod alarms;
mod auction;
mod bargain;
mod check;
mod crowd;
mod engine;
mod event;
mod fair;
mod jobs;
mod lease;
mod load;
mod look;
mod message;
mod owner;
mod pick;
mod place;
mod progress;
mod queue;
mod quotes;
mod resources;
mod resume;
mod runs;
mod second;
mod seen;
mod share;
mod worker;

pub use engine::{Engine, Setup, Standing};
pub use event::{Command, Event, Layer, Want};
pub use look::{Queued, Waits};
pub use message::{Digest, Head, Message, MessageError, Offer, Reluctance};
pub use place::Place;
pub use progress::{Phase, Progress};
pub use resources::Resources;
pub use share::{ProjectKey, Rate};

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
    /// No node that is known and could take the job allows as much; what the largest allows.
    Nowhere(TooMuch),
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
            Self::Nowhere(too_much) => {
                let (asks, allows) = (too_much.asks(), too_much.allows());
                write!(
                    f,
                    "no known node allows {asks}, the most is {allows}; it waits"
                )
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
    /// Its node was heard of all the time, and the attempt did not move.
    Stuck,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "the node was silent for longer than its lease",
            Self::PeerDown => "the node could no longer be reached",
            Self::Overrun => "the attempt took longer than any may",
            Self::Infra => "the node reported an infrastructure failure",
            Self::Refused => "the node had no free slot any more",
            Self::Stuck => "the node was heard of and the attempt did not move",
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
    /// Somebody takes over an attempt of a role that it does not hold.
    #[error("take over attempt {of}: its role is held by another node")]
    NotHolder {
        /// The attempt.
        of: AttemptId,
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

//! What nodes say to each other about jobs, and its bounds. Decoding checks every bound that can
//! be checked without knowing the state of the market; variants are only ever appended.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{AttemptId, JobId, Layer, Priority, Progress};
use crate::{
    action::Limits,
    claim::Verdict,
    codec::{self, CodecError},
    ids::{NodeId, RoleId},
    limits,
    platform::Platform,
};

/// Why a message or digest is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It has no encoding within the limits, or its bytes are damaged.
    #[error("encode or decode a message of the market")]
    Codec(#[from] CodecError),
    /// Something in it is out of bounds.
    #[error("take a message of the market: {0}")]
    Invalid(&'static str),
}

/// A job in a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The job.
    pub job: JobId,
    /// Which jobs it goes before.
    pub priority: Priority,
    /// How long it is thought to take, milliseconds.
    pub cost_ms: u64,
    /// How long it has waited, milliseconds.
    pub waited_ms: u64,
    /// What it asks for of the node that runs it.
    pub needs: Limits,
    /// The layer that it runs on, where its owner knows who has it: for whoever would have to
    /// fetch it the job is of interest only when it has waited for longer than that takes.
    pub top: Option<Layer>,
}

/// What an owner gossips about the jobs of one platform that wait: the first of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Whose jobs they are.
    pub owner: NodeId,
    /// Grows with each digest that the owner makes, over restarts too; the highest is the latest.
    pub seq: u64,
    /// The jobs, urgent before normal, longest waiting first.
    pub jobs: Vec<Head>,
}

impl Digest {
    /// The bytes by which a digest is gossiped.
    pub fn encode(&self) -> Result<Vec<u8>, MessageError> {
        self.check()?;
        Ok(codec::encode::<{ limits::GOSSIP_BYTES_MAX }>(self)?)
    }

    /// Reads and checks a digest from anywhere.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let digest: Self = codec::decode::<{ limits::GOSSIP_BYTES_MAX }, _>(bytes)?;
        digest.check()?;
        Ok(digest)
    }

    pub(super) fn check(&self) -> Result<(), MessageError> {
        if self.jobs.len() > limits::DIGEST_JOBS_MAX {
            return Err(MessageError::Invalid(
                "a digest names more jobs than allowed",
            ));
        }
        let jobs: BTreeSet<JobId> = self.jobs.iter().map(|head| head.job).collect();
        if jobs.len() < self.jobs.len() {
            return Err(MessageError::Invalid("a digest names a job twice"));
        }
        Ok(())
    }
}

/// What two nodes say to each other. The sender is known from the connection, so that a message
/// never names its own sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Worker to owner: what doing this job here would take. A slot is kept for it, or for another
    /// of that owner, unless it answers an offer.
    Bid {
        /// Names the bid in the owner's answer.
        nonce: u64,
        /// The job that the worker would rather have.
        job: JobId,
        /// When it would be done, milliseconds from now, all of the wait and of what has to be
        /// fetched included.
        eta_ms: u64,
        /// When it would begin, milliseconds from now; 0 where there is a slot.
        wait_ms: u64,
        /// The most that the worker allows a job.
        most: Limits,
        /// Whether it answers an offer: no slot is kept then, and nobody waits for an answer.
        offered: bool,
    },
    /// Owner to worker: run this. Sent again until the first beat or result.
    Award {
        /// The bid that it answers.
        nonce: u64,
        /// The job; not always the one that was bid for.
        job: JobId,
        /// The attempt.
        number: u32,
        /// Silence after which either side gives the attempt up, milliseconds.
        lease_ms: u64,
        /// What it asks for: the room that it takes follows from it.
        needs: Limits,
        /// The encoded action.
        action: Vec<u8>,
        /// Nodes that are thought to have what is below it.
        holders: Vec<NodeId>,
        /// In whose name it is run.
        role: Option<RoleId>,
    },
    /// Owner to worker: nothing for you now.
    Decline {
        /// The bid that it answers.
        nonce: u64,
    },
    /// Worker to owner: no slot for that award any more.
    Refuse {
        /// The job.
        job: JobId,
        /// The attempt.
        number: u32,
    },
    /// Worker to owner: these attempts of yours are under way here.
    Beat {
        /// All of them.
        attempts: Vec<Progress>,
    },
    /// Owner to worker: the answer to a beat.
    Renew {
        /// Those attempts of the beat whose leases begin anew.
        attempts: Vec<(JobId, u32)>,
    },
    /// Owner to worker: this attempt is of no use any more.
    Cancel {
        /// The job.
        job: JobId,
        /// The attempt.
        number: u32,
    },
    /// Worker to owner: the attempt has ended. Sent again until acknowledged.
    Result {
        /// The job.
        job: JobId,
        /// The attempt.
        number: u32,
        /// How it ended.
        verdict: Verdict,
        /// The signed claim.
        outcome: Vec<u8>,
        /// Whether the slot is kept for a moment for another job of that owner, as for the bid by
        /// which it got this one.
        room: bool,
    },
    /// Owner to worker: the result was heard.
    Ack {
        /// The job.
        job: JobId,
        /// The attempt.
        number: u32,
    },
    /// Owner to worker: what would it take to do this there? A bid or a pass is the answer.
    Offer(Box<Offer>),
    /// Worker to owner: not here.
    Pass {
        /// The job that was offered.
        job: JobId,
        /// Why not.
        why: Reluctance,
        /// The most that the worker allows a job.
        most: Limits,
    },
    /// Worker to the holder of a role: these attempts of an earlier holder go on here.
    Resume {
        /// The role.
        role: RoleId,
        /// The attempts, by the names that they have.
        attempts: Vec<AttemptId>,
    },
    /// Holder of a role to worker: this attempt is mine from now on.
    Adopt {
        /// Its name so far.
        of: AttemptId,
        /// Its number among the new owner's attempts at the job.
        number: u32,
        /// As in an award.
        lease_ms: u64,
    },
    /// Holder of a role to worker: this attempt is of no use to the role any more.
    Release {
        /// Its name.
        of: AttemptId,
    },
}

/// What is asked of a candidate for a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The job.
    pub job: JobId,
    /// What it runs on.
    pub platform: Platform,
    /// Which jobs it goes before.
    pub priority: Priority,
    /// How long it is thought to take, milliseconds.
    pub cost_ms: u64,
    /// What it asks for of the node that runs it.
    pub needs: Limits,
    /// What it runs on top of, the layer that was made last at the end.
    pub lineage: Vec<Layer>,
    /// How many are asked, the owner itself included.
    pub candidates: u8,
}

/// Why a candidate does not bid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reluctance {
    /// It has too much to do now.
    Busy,
    /// It does not do such jobs.
    Unfit,
}

impl Message {
    /// The bytes by which a message travels.
    pub fn encode(&self) -> Result<Vec<u8>, MessageError> {
        self.check()?;
        Ok(codec::encode::<{ limits::MESSAGE_BYTES_MAX }>(self)?)
    }

    /// Reads and checks a message from anywhere.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let message: Self = codec::decode::<{ limits::MESSAGE_BYTES_MAX }, _>(bytes)?;
        message.check()?;
        Ok(message)
    }

    pub(super) fn check(&self) -> Result<(), MessageError> {
        let bad = |reason| Err(MessageError::Invalid(reason));
        let attempts_max = limits::SLOTS_MAX as usize;
        let number = match self {
            Self::Bid { .. } | Self::Decline { .. } => 1,
            Self::Beat { attempts } if attempts.len() > attempts_max => {
                return bad("a beat names more attempts than a node may run");
            }
            Self::Renew { attempts } if attempts.len() > attempts_max => {
                return bad("a renewal names more attempts than a node may run");
            }
            Self::Offer(offer) if offer.lineage.len() > limits::LINEAGE_MAX => {
                return bad("an offer names more layers than allowed");
            }
            Self::Resume { attempts, .. } if attempts.len() > attempts_max => {
                return bad("a worker resumes more attempts than a node may run");
            }
            Self::Beat { .. } | Self::Renew { .. } | Self::Offer(_) | Self::Pass { .. } => 1,
            Self::Resume { attempts, .. } => attempts.iter().map(|of| of.number).min().unwrap_or(1),
            Self::Award {
                lease_ms,
                action,
                holders,
                ..
            } if *lease_ms == 0
                || action.len() > limits::ACTION_BYTES_MAX
                || holders.len() > limits::HOLDERS_MAX =>
            {
                return bad("an award has no lease, too large an action or too many holders");
            }
            Self::Adopt { lease_ms: 0, .. } => return bad("an adoption has no lease"),
            Self::Adopt { of, number, .. } => of.number.min(*number),
            Self::Release { of } => of.number,
            Self::Result { outcome, .. } if outcome.len() > limits::OUTCOME_BYTES_MAX => {
                return bad("a result is larger than allowed");
            }
            Self::Award { number, .. }
            | Self::Refuse { number, .. }
            | Self::Cancel { number, .. }
            | Self::Result { number, .. }
            | Self::Ack { number, .. } => *number,
        };
        if number == 0 {
            return bad("attempts are counted from 1");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

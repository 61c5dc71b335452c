//! What nodes say to each other about jobs, and its bounds. Decoding checks every bound that can
//! be checked without knowing the state of the market; variants are only ever appended.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{JobId, Priority};
use crate::{
    action::Limits,
    claim::Verdict,
    codec::{self, CodecError},
    ids::NodeId,
    limits,
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

/// How far one attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub number: u32,
    /// Size of its log so far.
    pub log_bytes: u64,
}

/// What two nodes say to each other. The sender is known from the connection, so that a message
/// never names its own sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Worker to owner: a slot is kept for this job of yours, or for another.
    Bid {
        /// Names the bid in the owner's answer.
        nonce: u64,
        /// The job that the worker would rather have.
        job: JobId,
        /// When it would be done, milliseconds from now.
        eta_ms: u64,
        /// The most that the worker allows a job.
        most: Limits,
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
        /// The encoded action.
        action: Vec<u8>,
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
    },
    /// Owner to worker: the result was heard.
    Ack {
        /// The job.
        job: JobId,
        /// The attempt.
        number: u32,
    },
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
            Self::Beat { .. } | Self::Renew { .. } => 1,
            Self::Award {
                lease_ms, action, ..
            } if *lease_ms == 0 || action.len() > limits::ACTION_BYTES_MAX => {
                return bad("an award has no lease or too large an action");
            }
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

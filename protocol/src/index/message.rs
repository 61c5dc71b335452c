//! What members ask of an index node, and what it answers. Variants are only ever appended.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{ANNOUNCED_MAX, CLAIMS_MAX, HOLDERS_MAX, INDEX_BYTES_MAX, KEYS_MAX};
use crate::{
    claim::Claim,
    codec::{self, CodecError},
    identity::Signed,
    ids::{ActionKey, NodeId},
};

/// Why a question or an answer is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// It has no encoding within the limits, or its bytes are damaged.
    #[error("encode or decode a message of the index")]
    Codec(#[from] CodecError),
    /// Something in it is out of bounds.
    #[error("take a message of the index: {0}")]
    Invalid(&'static str),
}

/// A claim that its sender keeps, of whoever signed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// The claim.
    pub claim: Signed<Claim>,
    /// Whether the sender has all that it names.
    pub holds: bool,
}

/// What is known of one action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The action.
    pub action: ActionKey,
    /// Claims about it.
    pub claims: Vec<Signed<Claim>>,
    /// Nodes that said that they have what it made.
    pub holders: Vec<NodeId>,
}

/// What is asked of an index node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// Keep these claims for whoever asks. Answer: [`Answer::Taken`].
    Announce(Vec<Announced>),
    /// What is claimed of these actions? Answer: [`Answer::Found`].
    Find(Vec<ActionKey>),
}

/// What an index node answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// They were looked at, and those that are fit are kept.
    Taken,
    /// What is known; nothing of actions of which nothing is known.
    Found(Vec<Found>),
}

impl Question {
    /// The bytes by which it travels.
    pub fn encode(&self) -> Result<Vec<u8>, IndexError> {
        self.check()?;
        Ok(codec::encode::<INDEX_BYTES_MAX>(self)?)
    }

    /// Reads and checks a question from anywhere.
    pub fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        let question: Self = codec::decode::<INDEX_BYTES_MAX, _>(bytes)?;
        question.check()?;
        Ok(question)
    }

    fn check(&self) -> Result<(), IndexError> {
        let bad = |reason| Err(IndexError::Invalid(reason));
        match self {
            Self::Announce(claims) if claims.len() > ANNOUNCED_MAX => {
                bad("an announcement has more claims than allowed")
            }
            Self::Find(keys) if keys.len() > KEYS_MAX => {
                bad("a question names more actions than allowed")
            }
            Self::Find(keys) if !are_distinct(keys.iter()) => {
                bad("a question names an action twice")
            }
            Self::Announce(_) | Self::Find(_) => Ok(()),
        }
    }
}

impl Answer {
    /// The bytes by which it travels.
    pub fn encode(&self) -> Result<Vec<u8>, IndexError> {
        self.check()?;
        Ok(codec::encode::<INDEX_BYTES_MAX>(self)?)
    }

    /// Reads and checks an answer from anywhere.
    pub fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        let answer: Self = codec::decode::<INDEX_BYTES_MAX, _>(bytes)?;
        answer.check()?;
        Ok(answer)
    }

    fn check(&self) -> Result<(), IndexError> {
        let bad = |reason| Err(IndexError::Invalid(reason));
        let Self::Found(found) = self else {
            return Ok(());
        };
        if found.len() > KEYS_MAX || !are_distinct(found.iter().map(|found| &found.action)) {
            return bad("an answer names an action twice, or more than were asked for");
        }
        let large =
            |found: &Found| found.claims.len() > CLAIMS_MAX || found.holders.len() > HOLDERS_MAX;
        if found.iter().any(large) {
            return bad("an answer has more claims or nodes of one action than allowed");
        }
        Ok(())
    }
}

fn are_distinct<'a>(keys: impl Iterator<Item = &'a ActionKey>) -> bool {
    let mut seen = BTreeSet::new();
    keys.into_iter().all(|key| seen.insert(key))
}

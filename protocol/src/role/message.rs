//! What nodes say to each other about roles, and its bounds. Variants are only ever appended.

use serde::{Deserialize, Serialize};

use super::{Charge, limits};
use crate::{
    codec::{self, CodecError},
    identity::Signed,
    ids::{NodeId, RunId},
    time::Stamp,
};

/// What every message of roles begins with, so that it is none of the market's.
const MARK: &[u8; 4] = b"rol1";

/// Why a message is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It has no encoding within the limits, or its bytes are damaged.
    #[error("encode or decode a message of roles")]
    Codec(#[from] CodecError),
    /// Something in it is out of bounds.
    #[error("take a message of roles: {0}")]
    Invalid(&'static str),
}

/// What two nodes say to each other. The sender is known from the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Keep this charge. Sent again until [`Message::Kept`].
    Keep {
        /// What is to be run.
        charge: Signed<Charge>,
        /// Who holds it, or should, as the sender sees it.
        lead: Option<NodeId>,
    },
    /// The charge of this run is kept here; tell me of it.
    Kept {
        /// The run.
        run: RunId,
    },
    /// This node does not run it: it lacks something, or has too much.
    Unable {
        /// The run.
        run: RunId,
    },
    /// Holder to keepers: these run here, each since then.
    Hold {
        /// The runs.
        runs: Vec<(RunId, Stamp)>,
    },
    /// To one that says that it holds a run: another does.
    Held {
        /// The run.
        run: RunId,
        /// Who.
        by: NodeId,
    },
    /// Holder to the next one: this node goes. Take it over now.
    Yield {
        /// The run.
        run: RunId,
    },
    /// The run has come to its end. Sent again until [`Message::Noted`].
    Settled {
        /// The run.
        run: RunId,
    },
    /// Requester to keepers: the run is not wanted any more. Sent again until [`Message::Noted`].
    Cancel {
        /// The run.
        run: RunId,
    },
    /// The run's end is known here.
    Noted {
        /// The run.
        run: RunId,
    },
    /// Holder to keepers: what of a run's view is new.
    Shown {
        /// The run.
        run: RunId,
        /// Names what the receiver has with it: one more than what it builds on, and one for a
        /// first piece, which builds on nothing.
        seq: u64,
        /// The change, encoded.
        patch: Vec<u8>,
    },
    /// The answer to [`Message::Shown`]: all up to this is here. Zero asks to begin anew.
    Seen {
        /// The run.
        run: RunId,
        /// The newest that is here.
        seq: u64,
    },
}

impl Message {
    /// Whether these bytes are meant to be one.
    #[must_use]
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(MARK)
    }

    /// The bytes by which a message travels.
    pub fn encode(&self) -> Result<Vec<u8>, MessageError> {
        self.check()?;
        let mut bytes = MARK.to_vec();
        bytes.extend(codec::encode::<{ limits::MESSAGE_BYTES_MAX }>(self)?);
        Ok(bytes)
    }

    /// Reads and checks a message from anywhere.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let Some(bytes) = bytes.strip_prefix(MARK) else {
            return Err(MessageError::Invalid("it is of another kind or version"));
        };
        let message: Self = codec::decode::<{ limits::MESSAGE_BYTES_MAX }, _>(bytes)?;
        message.check()?;
        Ok(message)
    }

    fn check(&self) -> Result<(), MessageError> {
        match self {
            Self::Hold { runs } if runs.len() > limits::HOLD_MAX => Err(MessageError::Invalid(
                "it names more runs than one may hold",
            )),
            Self::Hold { runs } if !runs.is_sorted_by(|a, b| a.0 < b.0) => Err(
                MessageError::Invalid("it names a run twice, or out of order"),
            ),
            Self::Shown { patch, .. } if patch.len() > limits::SHOWN_BYTES_MAX => {
                Err(MessageError::Invalid("it shows more than allowed at once"))
            }
            _ => Ok(()),
        }
    }
}

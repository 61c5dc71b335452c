//! What two engines say to each other, and its bounds. The sender is known from the connection.
//! Every message begins with the version of this encoding; variants are only ever appended.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    BUCKETS, Incarnation, LINES_MAX, MEMBER_BYTES_MAX, RECORD_BYTES_MAX, RECORDS_MAX, Sealed,
};
use crate::{
    codec::{self, CodecError},
    ids::NodeId,
};

/// The version of this encoding.
const VERSION: u8 = 1;

/// Why a message is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It has no encoding within the limits, or its bytes are damaged.
    #[error("encode or decode a message of membership")]
    Codec(#[from] CodecError),
    /// It is of a version that this program does not speak.
    #[error("read a message of membership of version {0}; this program speaks version {VERSION}")]
    Version(u8),
    /// Something in it is out of bounds.
    #[error("take a message of membership: {0}")]
    Invalid(&'static str),
}

/// Records on their way, shared by all to whom they go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch(pub Arc<[Sealed]>);

/// A page of the whole view, in the order of ring 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// All records of some members.
    pub records: Batch,
    /// Where the next page begins; none after the last.
    pub next: Option<u64>,
}

/// What a node knows of one member, in brief.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The member: its position on ring 0.
    pub seed: u64,
    /// The version of its certificate.
    pub cert: u32,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Whether there is an obituary of that incarnation.
    pub dead: bool,
    /// Whether there is a revocation.
    pub revoked: bool,
}

/// One hash for each bucket of members.
pub type Buckets = Box<[u64]>;

/// A question about, or good word for, a node that somebody suspects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// The suspect.
    pub subject: NodeId,
    /// As what it is known.
    pub incarnation: Incarnation,
}

/// What two engines say to each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Are you there?
    Probe {
        /// Comes back in the answer.
        number: u32,
        /// The hash of the sender's view.
        view: u64,
    },
    /// Yes.
    Ack {
        /// Of the probe.
        number: u32,
        /// The hash of the sender's view.
        view: u64,
    },
    /// Records that the receiver may lack.
    Records(Batch),
    /// Does this node answer you? It does not answer me.
    Doubt(Box<Doubt>),
    /// It does.
    Vouch(Box<Doubt>),
    /// A page of your view, please, from here.
    Fetch {
        /// Position on ring 0.
        after: u64,
    },
    /// Here it is.
    Page(Box<Page>),
    /// The hashes of my buckets: send lines of those that differ.
    Compare(Buckets),
    /// What I know of the members of these buckets: send what is newer, ask for what is older.
    Lines {
        /// One bit for each bucket that the lines cover whole.
        covers: u64,
        /// In the order of ring 0.
        lines: Box<[Line]>,
    },
    /// All your records of these members, please.
    Want(Box<[u64]>),
}

impl Message {
    /// The bytes in which it travels.
    pub fn encode(&self) -> Result<Vec<u8>, MessageError> {
        self.check()?;
        Ok(codec::encode::<MEMBER_BYTES_MAX>(&(VERSION, self))?)
    }

    /// Reads and checks a message from anywhere.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        match bytes.first() {
            Some(&VERSION) => {}
            Some(&other) => return Err(MessageError::Version(other)),
            None => return Err(MessageError::Invalid("it is empty")),
        }
        let (_, message): (u8, Self) = codec::decode::<MEMBER_BYTES_MAX, _>(bytes)?;
        message.check()?;
        Ok(message)
    }

    fn check(&self) -> Result<(), MessageError> {
        let batch = |records: &Batch| {
            records.0.len() <= RECORDS_MAX
                && records
                    .0
                    .iter()
                    .all(|record| record.bytes.len() <= RECORD_BYTES_MAX)
        };
        let fits = match self {
            Self::Records(records) => batch(records),
            Self::Page(page) => batch(&page.records),
            Self::Compare(buckets) => buckets.len() == BUCKETS,
            Self::Lines { lines, .. } => lines.len() <= LINES_MAX,
            Self::Want(seeds) => seeds.len() <= LINES_MAX,
            Self::Probe { .. }
            | Self::Ack { .. }
            | Self::Doubt(_)
            | Self::Vouch(_)
            | Self::Fetch { .. } => true,
        };
        if fits {
            Ok(())
        } else {
            Err(MessageError::Invalid("it holds more than is allowed"))
        }
    }
}

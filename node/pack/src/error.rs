//! Why a pack was not written, opened or read.

use std::io;

use caravan_protocol::ids::BlobId;

use crate::format::PackId;

/// Result of this crate's calls.
pub type Result<T, E = PackError> = std::result::Result<T, E>;

/// What went wrong with a pack, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The medium failed.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// A blob that was to be packed could not be read.
    #[error("read blob {blob} to pack it")]
    Blob {
        /// Which.
        blob: BlobId,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// A blob that was to be packed is not what it is said to be.
    #[error("pack blob {expected}: its bytes are those of {found}")]
    WrongBlob {
        /// What was wanted.
        expected: BlobId,
        /// What the bytes hash to.
        found: BlobId,
    },
    /// The bytes are no pack at all, or one that was cut short.
    #[error("open a pack: {reason}")]
    NotAPack {
        /// What is wrong with them.
        reason: &'static str,
    },
    /// The pack is of a version that this program does not know.
    #[error(
        "open a pack: its version {found} is not known here, only {known} is; this node may be older than the one that wrote it"
    )]
    Version {
        /// The pack's.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The pack contradicts itself or its name.
    #[error("read a pack: {what} is damaged: {reason}")]
    Damaged {
        /// Which part of it.
        what: String,
        /// How that shows.
        reason: String,
    },
    /// A bound was reached.
    #[error("handle a pack with {count} {what}: at most {max} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: u64,
        /// How many may be.
        max: u64,
    },
    /// The pack has no such blob.
    #[error("read blob {blob} from a pack: the pack does not have it")]
    Absent {
        /// Which.
        blob: BlobId,
    },
    /// The blob is larger than the caller takes.
    #[error("read blob {blob} from a pack: it has {size} bytes and at most {max} are taken")]
    TooLarge {
        /// Which.
        blob: BlobId,
        /// Its size.
        size: u64,
        /// What the caller takes.
        max: u64,
    },
    /// A part of a blob is in another pack that could not be asked.
    #[error("read a part of a blob from pack {pack}, on which this pack leans")]
    Other {
        /// The other pack.
        pack: PackId,
        /// Why it gave nothing.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The compressor refused its input or its settings.
    #[error("compress a frame: {reason}")]
    Compress {
        /// Its words.
        reason: String,
    },
}

impl PackError {
    pub(crate) fn damaged(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Damaged {
            what: what.into(),
            reason: reason.into(),
        }
    }
}

/// Says what was being done when the medium failed.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str) -> Result<T> {
        self.map_err(|source| PackError::Io { doing, source })
    }
}

//! Blobs between members: a request names many blobs, the provider sends those that it has down the
//! same stream, one after the other. The store is reached through two small traits, called where
//! blocking is allowed. This room bounds sizes and time; whether bytes match their id is for the
//! sink to say, and what it refuses is held against the provider.

use std::io::{self, Read};

use caravan_protocol::{
    ids::{BlobId, NodeId},
    limits::BLOB_BYTES_MAX,
};

pub(crate) mod fetch;
pub(crate) mod pipe;
pub(crate) mod serve;

/// Where blobs are read that this node serves.
pub trait BlobSource: Send + Sync + 'static {
    /// The size of a blob and its bytes; none if it is not here.
    fn open(&self, id: BlobId) -> io::Result<Option<(u64, Box<dyn Read + Send>)>>;
}

/// Where fetched blobs go.
pub trait BlobSink: Send + Sync + 'static {
    /// Takes a blob of `size` bytes. The sink checks that the bytes match the id and answers
    /// [`io::ErrorKind::InvalidData`] if they do not: the provider is blamed and another is tried.
    /// An error of `reader` is to be handed back as it is. Any other error ends the fetch.
    fn accept(&self, id: BlobId, size: u64, reader: &mut dyn Read) -> io::Result<()>;
}

/// What is known of a blob's size before it is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// It has just so many bytes.
    Exactly(u64),
    /// It has no more bytes than this.
    AtMost(u64),
}

impl Size {
    const fn allows(self, size: u64) -> bool {
        size <= BLOB_BYTES_MAX
            && match self {
                Self::Exactly(wanted) => size == wanted,
                Self::AtMost(max) => size <= max,
            }
    }
}

/// A blob to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Which.
    pub id: BlobId,
    /// How large it may be; anything else is refused before it is read.
    pub size: Size,
}

impl Wanted {
    /// The blob `id`, of just `size` bytes.
    #[must_use]
    pub const fn exactly(id: BlobId, size: u64) -> Self {
        Self {
            id,
            size: Size::Exactly(size),
        }
    }

    /// The blob `id`, of at most `max` bytes.
    #[must_use]
    pub const fn at_most(id: BlobId, max: u64) -> Self {
        Self {
            id,
            size: Size::AtMost(max),
        }
    }
}

/// What a fetch brought.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fetched {
    /// Blobs that the sink took.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that no provider gave, in the order in which they were wanted.
    pub missing: Vec<BlobId>,
    /// Providers that failed, and how. A provider that just lacks a blob has not failed.
    pub failures: Vec<(NodeId, String)>,
}

/// Why a fetch was given up, whatever the providers have.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The sink could not take a blob, through no fault of the provider.
    #[error("keep blob {id}")]
    Sink {
        /// The blob.
        id: BlobId,
        /// The sink's error.
        #[source]
        source: io::Error,
    },
    /// The mesh was shut down.
    #[error("fetch blobs: the mesh is shut down")]
    Closed,
}

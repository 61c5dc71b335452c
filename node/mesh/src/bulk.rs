//! Blobs between members, checked as they come. A blob's id is the root of a tree of hashes
//! (`groups`), so a part of it can be taken from anybody; whoever fetches one asks several members
//! for different parts at once (`swarm`, `fetch`, `link`), and serves what it has checked of it to
//! others that want the same (`shelf`, `serve`). Small blobs come many in one answer. Wrong bytes
//! are refused in the group that has them, their sender is blamed, and another is asked.
//!
//! The store is reached through a few small traits, called where blocking is allowed.

use std::{
    fs::File,
    io::{self, Read},
    ops::Range,
    sync::{Arc, atomic::AtomicU64},
};

use caravan_protocol::{
    ids::{BlobId, NodeId},
    limits::BLOB_BYTES_MAX,
};

pub(crate) mod answer;
pub(crate) mod fetch;
pub(crate) mod flow;
pub(crate) mod groups;
pub(crate) mod link;
pub(crate) mod plan;
pub(crate) mod serve;
pub(crate) mod shelf;
pub(crate) mod swarm;
pub(crate) mod words;

/// Bytes that are read where somebody wants.
pub trait ReadAt: Send + Sync + 'static {
    /// Fills `bytes` from what begins at `at`.
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, bytes, at)
    }
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        let at = usize::try_from(at).map_err(io::Error::other)?;
        let found = self.get(at..at.saturating_add(bytes.len()));
        bytes.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Where blobs are read that this node serves.
pub trait BlobSource: Send + Sync + 'static {
    /// The size of a blob and its bytes; none if it is not here.
    fn open(&self, id: BlobId) -> io::Result<Option<(u64, Box<dyn ReadAt>)>>;
}

/// Where fetched blobs go.
pub trait BlobSink: Send + Sync + 'static {
    /// Takes a small blob whose bytes have been checked. An error ends the fetch.
    fn accept(&self, id: BlobId, size: u64, reader: &mut dyn Read) -> io::Result<()>;

    /// A place for a large blob, that is filled in any order. An error ends the fetch.
    fn begin(&self, id: BlobId, size: u64) -> io::Result<Arc<dyn Place>>;
}

/// Where a large blob grows. Only checked bytes are written to it.
pub trait Place: ReadAt {
    /// Parts that may be here from an earlier time. They are checked before they count.
    fn held(&self) -> io::Result<Vec<Range<u64>>>;

    /// Writes checked bytes.
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// All of it is here and becomes a blob; it can still be read. Called once. What a dropped place
    /// that was not finished has may be there the next time.
    fn finish(&self) -> io::Result<()>;
}

/// What is to be fetched, and from whom.
pub struct Order {
    /// Members that may have it, in no order.
    pub providers: Vec<NodeId>,
    /// What is wanted.
    pub wanted: Vec<Wanted>,
    /// Where it goes.
    pub sink: Arc<dyn BlobSink>,
    /// Bytes that have come and been checked are added here.
    pub progress: Arc<AtomicU64>,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Order")
            .field("providers", &self.providers)
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
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

//! Why the store could not do something, by what the caller can do about it.

use std::{
    io,
    path::{Path, PathBuf},
};

use caravan_protocol::{
    codec::CodecError,
    ids::{BlobId, TreeId},
    tree::TreeError,
};
use rustix::io::Errno;

/// Shorthand of this crate.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// What is said when the disk is full, so that whoever hears of it through others knows it.
pub const FULL_WORDS: &str = "the disk that holds the store is full";

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has this store open.
    #[error(
        "open the store in {}: another node has it open{holder}; stop that node or give this one \
         a directory of its own", dir.display()
    )]
    Locked {
        /// The store's directory.
        dir: PathBuf,
        /// Its process, as far as known: ` (process 12)`.
        holder: String,
    },
    /// The store was written by a later version of this program.
    #[error(
        "open the store in {}: its layout is version {found} and this program knows up to \
         {known}; use the newer program or another directory", dir.display()
    )]
    Newer {
        /// The store's directory.
        dir: PathBuf,
        /// The version found.
        found: u32,
        /// The version that this program writes.
        known: u32,
    },
    /// No space is left on the store's file system. Nothing was half-done.
    #[error("{what}: {}; free some space and try again", FULL_WORDS)]
    Full {
        /// What was being done.
        what: String,
        /// The system's words.
        source: io::Error,
    },
    /// The store's file system takes no changes. Nothing was half-done.
    #[error(
        "{what}: its file system is read-only; mount it writable, or give the store a directory \
         on another"
    )]
    ReadOnly {
        /// What was being done.
        what: String,
        /// The system's words.
        source: io::Error,
    },
    /// The store's file system cannot give one file two names, on which layers rest.
    #[error(
        "open the store in {}: its file system has no hard links; give the store a directory on \
         one that has, such as ext4, xfs or btrfs", dir.display()
    )]
    NoLinks {
        /// The store's directory.
        dir: PathBuf,
    },
    /// The system refused something.
    #[error("{what}")]
    Io {
        /// What was being done.
        what: String,
        /// The system's words.
        source: io::Error,
    },
    /// The index file failed.
    #[error("use the store's index")]
    Index {
        /// The index's words.
        source: Box<redb::Error>,
    },
    /// Bytes that were said to be a certain blob are not.
    #[error("take bytes as blob {expected}: they are {found}")]
    WrongBytes {
        /// The blob that was wanted.
        expected: BlobId,
        /// The blob that came.
        found: BlobId,
    },
    /// Something is larger than its bound.
    #[error("take {what}: it has more than {max} bytes")]
    TooLarge {
        /// What.
        what: String,
        /// The bound.
        max: u64,
    },
    /// There are more of something than its bound.
    #[error("take one more {what}: there may be {max}")]
    TooMany {
        /// Of what.
        what: String,
        /// The bound.
        max: u64,
    },
    /// The store does not have this blob.
    #[error("find blob {blob}: it is not in the store")]
    NoBlob {
        /// The blob.
        blob: BlobId,
    },
    /// The store does not have all of this tree.
    #[error("lay out tree {tree}: {missing} of its blobs are not in the store")]
    Incomplete {
        /// The tree.
        tree: TreeId,
        /// How many blobs are missing.
        missing: usize,
    },
    /// An abbreviated id begins several, or none.
    #[error("find {text:?} in the store: {reason}")]
    NotFound {
        /// What was looked for.
        text: String,
        /// Why that is nothing.
        reason: &'static str,
    },
    /// The bytes on disk are not what they were. They have been forgotten.
    #[error("read {what}: {reason}")]
    Damaged {
        /// What.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// A pack could not be written or read.
    #[error("use a pack of the store")]
    Pack {
        /// The pack's words.
        source: Box<caravan_pack::PackError>,
    },
    /// It was told to stop, and has left nothing half-done.
    #[error("{what}: it was stopped")]
    Stopped {
        /// What was being done.
        what: String,
    },
    /// A pack is the only one that has something which is pinned or in use.
    #[error("drop pack {pack}: what it holds is pinned or in use")]
    Needed {
        /// The pack.
        pack: BlobId,
    },
    /// A pack holds parts of files of other packs.
    #[error("drop pack {pack}: other packs lean on it; drop those first")]
    Leaned {
        /// The pack.
        pack: BlobId,
    },
    /// A file that a job or a tree holds cannot be kept.
    #[error("keep {path:?}: {reason}")]
    Refused {
        /// The file's path, lossily.
        path: String,
        /// Why not.
        reason: &'static str,
    },
    /// A name or a record is not one that the store takes.
    #[error("keep a {what}: {reason}")]
    Unfit {
        /// What.
        what: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// Entries or bytes do not make a tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A value has no encoding, or bytes of the index are not one.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl StoreError {
    pub(crate) fn io(what: String, source: io::Error) -> Self {
        match Errno::from_io_error(&source) {
            Some(Errno::NOSPC | Errno::DQUOT) => Self::Full { what, source },
            Some(Errno::ROFS) => Self::ReadOnly { what, source },
            _ => Self::Io { what, source },
        }
    }

    /// The same with the name of the index's file, which the index's own errors do not know.
    pub(crate) fn of_index(self, path: &Path) -> Self {
        match self {
            Self::Full { what, source }
            | Self::ReadOnly { what, source }
            | Self::Io { what, source }
                if what == WRITE_INDEX =>
            {
                Self::io(format!("write {}", path.display()), source)
            }
            other => other,
        }
    }

    pub(crate) fn refused(path: &[u8], reason: &'static str) -> Self {
        Self::Refused {
            path: String::from_utf8_lossy(path).into_owned(),
            reason,
        }
    }
}

/// Says what was being done when the system refused.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| StoreError::io(what(), error.into()))
    }
}

const WRITE_INDEX: &str = "write the store's index";

fn from_index(error: redb::Error) -> StoreError {
    match error {
        redb::Error::Io(source) => StoreError::io(WRITE_INDEX.to_owned(), source),
        error => StoreError::Index {
            source: Box::new(error),
        },
    }
}

macro_rules! from_redb {
    ($($kind:ident),*) => {
        $(impl From<redb::$kind> for StoreError {
            fn from(error: redb::$kind) -> Self {
                from_index(error.into())
            }
        })*
    };
}

from_redb!(
    StorageError,
    TableError,
    TransactionError,
    CommitError,
    DatabaseError
);

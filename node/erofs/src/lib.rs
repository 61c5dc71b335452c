//! Images of the read-only file system EROFS, made from a listing of files.
//!
//! An image holds names, kinds, modes, owners, attributes, link targets and lengths: everything but
//! the bytes of regular files, which whoever mounts it has elsewhere and finds by attributes. Equal
//! listings give equal bytes. This crate computes; it opens no file, mounts nothing and knows
//! neither overlays nor stores. Its images are for the machine that made them: it never reads one.
#![warn(missing_docs)]

mod dirs;
mod inode;
pub mod limits;
mod plan;
mod write;

#[cfg(test)]
mod tests;

pub use write::write;

/// One file of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node<'a> {
    /// Path below the root, `/`-separated; empty for the root itself.
    pub path: &'a [u8],
    /// Permission bits (`07777`).
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Extended attributes by full name (`user.…`, `trusted.…`, `security.…`), each name once.
    pub xattrs: Vec<(&'a [u8], &'a [u8])>,
    /// The kind.
    pub kind: Kind<'a>,
}

/// What kind of file a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A directory.
    Dir,
    /// A regular file of this length; its bytes are not in the image and read as zeros.
    File {
        /// Length, bytes.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: &'a [u8],
    },
    /// A character device with the numbers 0, 0: an overlay's word for "deleted".
    Whiteout,
}

/// Why a listing has no image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A node that cannot be in an image.
    #[error("put {path:?} into an image: {reason}")]
    Node {
        /// Its path, lossily.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// More nodes than an image may have.
    #[error("make an image of {count} files: at most {max} are allowed")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many may be.
        max: usize,
    },
    /// More bytes than an image may have.
    #[error("make an image of {bytes} bytes: at most {max} are allowed")]
    TooLarge {
        /// How many it would have.
        bytes: u64,
        /// How many it may have.
        max: u64,
    },
    /// The image could not be written.
    #[error("write an image")]
    Write(#[from] std::io::Error),
}

impl Error {
    pub(crate) fn node(path: &[u8], reason: &'static str) -> Self {
        Self::Node {
            path: String::from_utf8_lossy(path).into_owned(),
            reason,
        }
    }
}

//! Why an image could not be imported or exported.

use std::{error::Error, io};

use caravan_protocol::tree::TreeError;

/// What somebody else's error is held as.
pub type Cause = Box<dyn Error + Send + Sync>;

/// Result of this room.
pub type Result<T> = std::result::Result<T, ImageError>;

/// Why an image could not be imported or exported. Nothing is kept of an image that failed.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A text names no image.
    #[error("take {text:?} as an image: {reason}")]
    Source {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// A manifest, index or configuration says what it may not say.
    #[error("read {what}: {reason}")]
    Document {
        /// Which document.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Bytes are not those that were named.
    #[error("check {what}: want {expected}, got {found}")]
    Mismatch {
        /// Of what.
        what: String,
        /// What its descriptor says.
        expected: String,
        /// What came.
        found: String,
    },
    /// Something is larger than it may be.
    #[error("take {what}: it has more than {max} {unit}")]
    TooMuch {
        /// What.
        what: String,
        /// How much it may have.
        max: u64,
        /// Of what.
        unit: &'static str,
    },
    /// A file of a layer or directory may not be in an image.
    #[error("take {path:?} of {of}: {reason}")]
    Entry {
        /// The layer, archive or directory.
        of: String,
        /// The file, lossily.
        path: String,
        /// Why not.
        reason: String,
    },
    /// The image is not there for the platform.
    #[error("find an image for {wanted} in {what}: there is {there}")]
    NoPlatform {
        /// Where it was looked for.
        what: String,
        /// The platform asked for.
        wanted: String,
        /// What there is.
        there: String,
    },
    /// A registry said no, or nothing.
    #[error("ask {host} for {what}: {reason}")]
    Registry {
        /// The registry.
        host: String,
        /// What was asked for.
        what: String,
        /// Its words, or the network's.
        reason: String,
    },
    /// Whoever keeps contents could not keep or give one.
    #[error("{what}")]
    Kept {
        /// What was to be kept or given.
        what: String,
        /// Its words.
        #[source]
        source: Cause,
    },
    /// The files make no tree.
    #[error("make a tree of the image")]
    Tree(#[from] TreeError),
    /// The target of an export is taken.
    #[error("export to {path}: {reason}")]
    Target {
        /// Where to.
        path: String,
        /// Why not.
        reason: String,
    },
}

/// Words for an input or output error.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| ImageError::Io {
            what: what(),
            source: source.into(),
        })
    }
}

/// A document that says what it may not say.
pub(crate) fn document(what: &str, reason: impl Into<String>) -> ImageError {
    ImageError::Document {
        what: what.to_owned(),
        reason: reason.into(),
    }
}

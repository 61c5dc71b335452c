//! What can be wrong with the syntax of an opam file, and where.

use thiserror::Error;

use super::value::Position;
use crate::limits::{FILE_BYTES_MAX, NESTING_MAX};

/// A file that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("read {path}:{at}: {syntax}")]
pub struct FileError {
    /// The path that the caller gave.
    pub path: String,
    /// Where the fault is.
    pub at: Position,
    /// What it is.
    pub syntax: Syntax,
}

/// What is wrong at one place.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Syntax {
    /// Another token was needed.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What would have been right.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// A string or comment has no end.
    #[error("this {0} has no end")]
    Unterminated(&'static str),
    /// A backslash is not followed by a known escape.
    #[error("illegal escape sequence in this string")]
    Escape,
    /// The text, or a string after its escapes, is not UTF-8.
    #[error("expected UTF-8 text")]
    Encoding,
    /// A number does not fit 64 bits.
    #[error("expected an integer of at most 64 bits, found {0}")]
    Integer(String),
    /// Values or sections are nested too deeply.
    #[error("nested more than {NESTING_MAX} levels deep")]
    Deep,
    /// The file is larger than any real one.
    #[error("{0} bytes: at most {FILE_BYTES_MAX} are allowed")]
    Large(usize),
}

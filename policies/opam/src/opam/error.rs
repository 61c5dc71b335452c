//! What can be wrong with an opam file.

use thiserror::Error;

use crate::file::{FileError, Position, Value};

/// An opam file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpamError {
    /// The syntax is wrong.
    #[error(transparent)]
    Syntax(#[from] FileError),
    /// A field has a value of the wrong kind.
    #[error("read {path}:{at}: field {field}: expected {expected}, found {found}")]
    Field {
        /// The path that the caller gave.
        path: String,
        /// Where the value is.
        at: Position,
        /// The field, or the kind of the section.
        field: String,
        /// What would have been right.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
}

/// A value of the wrong kind, before file and field are known.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{at}: expected {expected}, found {found}")]
pub struct Mismatch {
    /// Where the value is.
    pub at: Position,
    /// What would have been right.
    pub expected: &'static str,
    /// What stands there.
    pub found: String,
}

/// Characters of a wrong value that are shown.
const FOUND_CHARS_MAX: usize = 40;

impl Mismatch {
    /// `value` is not what was `expected`.
    #[must_use]
    pub fn new(value: &Value, expected: &'static str) -> Self {
        let text = value.to_string();
        let short: String = text.chars().take(FOUND_CHARS_MAX).collect();
        let more = if short.len() < text.len() { ".." } else { "" };
        let found = format!("{} {short}{more}", value.kind.describe());
        Self {
            at: value.at,
            expected,
            found,
        }
    }

    /// The same fault with the place it was found in.
    #[must_use]
    pub fn in_field(self, path: &str, field: String) -> OpamError {
        let Self {
            at,
            expected,
            found,
        } = self;
        OpamError::Field {
            path: path.to_owned(),
            at,
            field,
            expected,
            found,
        }
    }
}

//! The syntax of opam files: fields, sections and values, before anything is known of their meaning.
//!
//! Text becomes a [`File`] by [`File::parse`] and text again by its `Display`; reading what was
//! printed gives an equal file. Comments and layout are not kept.

mod error;
mod lexer;
mod parser;
mod printer;
mod value;

pub use self::{
    error::{FileError, Syntax},
    parser::parse_value,
    printer::quoted,
    value::{EnvOp, Field, Item, Kind, Position, Section, Value},
};

/// A parsed opam file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct File {
    /// Fields and sections in the order of the file.
    pub items: Vec<Item>,
}

impl File {
    /// Reads a file; `path` is only used in the error.
    pub fn parse(bytes: &[u8], path: &str) -> Result<Self, FileError> {
        parser::parse(bytes)
            .map(|items| Self { items })
            .map_err(|(at, syntax)| FileError {
                path: path.to_owned(),
                at,
                syntax,
            })
    }

    /// The value of the first field of this name outside any section.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Value> {
        value::field(&self.items, name)
    }
}

#[cfg(test)]
mod tests;

//! Names of packages (and of conflict classes, which share their rules).

use std::{fmt, str::FromStr, sync::Arc};

use thiserror::Error;

use crate::limits::IDENTIFIER_CHARS_MAX;

/// Why a text is no package name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// A name has at least one letter.
    #[error("read package name {0:?}: it has no letter")]
    NoLetter(String),
    /// A name is longer than any real one.
    #[error("read a package name of {0} characters: at most {IDENTIFIER_CHARS_MAX} are allowed")]
    Long(usize),
    /// A character outside `A-Za-z0-9-_+`.
    #[error("read package name {text:?}: character {bad:?} is not allowed")]
    Character {
        /// The whole text.
        text: String,
        /// The first character that is not allowed.
        bad: char,
    },
}

/// The name of a package.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > IDENTIFIER_CHARS_MAX {
            return Err(NameError::Long(text.len()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_+".contains(c);
        if let Some(bad) = text.chars().find(|c| !allowed(*c)) {
            return Err(NameError::Character {
                text: text.to_owned(),
                bad,
            });
        }
        if !text.bytes().any(|b| b.is_ascii_alphabetic()) {
            return Err(NameError::NoLetter(text.to_owned()));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_names_are_read_and_paths_are_refused() {
        for text in [
            "0install",
            "ocaml-base-compiler",
            "conf-g++",
            "BetterErrors",
            "a_b",
        ] {
            assert_eq!(text.parse::<Name>().unwrap().to_string(), text);
        }
        for text in ["", "..", "a/b", "a.b", "1-2", "a b", "é"] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }
}

//! OBuilder's build language: what to start from and what to do, in order, written as one
//! s-expression. Here it is read, checked, printed so that it reads back to the same value, and
//! turned into a Dockerfile.
//!
//! The language is OBuilder's, accidents included; what differs on purpose is refused, never
//! understood otherwise: text that is not UTF-8 or holds a NUL byte, ids of users that Linux does
//! not have, and whatever is beyond the limits of [`crate::limits`].
//!
//! Invariant: the text of every [`Spec`] reads back to an equal one. Nothing here knows what a
//! step costs, where images come from or what a path means; nothing recurses deeper than
//! [`crate::limits::SPEC_BUILD_DEPTH_MAX`] builds.

use std::{fmt, str::FromStr};

use crate::limits::{SPEC_BYTES_MAX, SPEC_IMAGE_BYTES_MAX, SPEC_NAME_BYTES_MAX};

mod dockerfile;
mod error;
mod fields;
mod hint;
mod layout;
mod lexer;
mod needs;
mod ops;
mod print;
mod read;
mod sexp;
#[cfg(test)]
mod tests;

pub use self::{
    dockerfile::{Dockerfile, Escape},
    error::{Error, Position, Problem},
    needs::LeadsOut,
    ops::{Copy, Mount, Op, Run, Source, User},
};

/// Names a nested build: what `(copy (from (build NAME)))` asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// Checks that a build can be called so.
    pub fn new(name: impl Into<String>) -> Result<Self, Problem> {
        let name = name.into();
        bounded("the name of a build", &name, SPEC_NAME_BYTES_MAX)?;
        Ok(Self(name))
    }

    /// The name as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Names the image that a build starts from, exactly as its author wrote it. What it resolves to
/// is the node's business.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Image(String);

impl Image {
    /// Checks that an image can be called so.
    pub fn new(image: impl Into<String>) -> Result<Self, Problem> {
        let image = image.into();
        if image.is_empty() {
            return Err(Problem::Empty {
                what: "the name of an image",
            });
        }
        bounded("the name of an image", &image, SPEC_IMAGE_BYTES_MAX)?;
        Ok(Self(image))
    }

    /// The name as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = Problem;

    fn from_str(name: &str) -> Result<Self, Problem> {
        Self::new(name)
    }
}

impl FromStr for Image {
    type Err = Problem;

    fn from_str(image: &str) -> Result<Self, Problem> {
        Self::new(image)
    }
}

/// A checked build spec.
///
/// Its nested builds come first: each may copy from those before it and from those that enclose
/// it, so a nested build taken out of its spec need not be valid on its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Spec {
    child_builds: Vec<(Name, Spec)>,
    from: Image,
    ops: Vec<Op>,
}

impl Spec {
    /// Puts a spec together and checks it as [`Spec::parse`] would; the error has no position.
    pub fn new(child_builds: Vec<(Name, Spec)>, from: Image, ops: Vec<Op>) -> Result<Self, Error> {
        let spec = Self {
            child_builds,
            from,
            ops,
        };
        // What reads back is a spec; so reading holds the only list of rules.
        match read::spec(spec.to_string().as_bytes()) {
            Ok(same) => {
                debug_assert_eq!(same, spec, "a printed spec reads back to itself");
                Ok(same)
            }
            Err(error) => Err(error.without_position()),
        }
    }

    /// Reads a spec. Any bytes may be given: what is no spec is refused by line and column.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let spec = read::spec(text)?;
        let bytes = spec.to_string().len();
        if bytes > SPEC_BYTES_MAX {
            return Err(Error::from(Problem::TooMany {
                what: "bytes in its printed form",
                count: bytes,
                max: SPEC_BYTES_MAX,
            }));
        }
        Ok(spec)
    }

    /// The nested builds in their order. A name may come twice: the later one counts from there.
    #[must_use]
    pub fn child_builds(&self) -> &[(Name, Spec)] {
        &self.child_builds
    }

    /// What the build starts from.
    #[must_use]
    pub fn from(&self) -> &Image {
        &self.from
    }

    /// What is done, in order.
    #[must_use]
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// The Dockerfile that does the same, as far as Docker can.
    pub fn to_dockerfile(&self, form: Dockerfile) -> Result<String, Problem> {
        dockerfile::convert(self, form)
    }
}

impl FromStr for Spec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text.as_bytes())
    }
}

/// One op per line, laid out as OBuilder lays it out; without a line end at the end.
impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print::spec(self))
    }
}

/// Refuses a name that is longer than `max` bytes.
fn bounded(what: &'static str, text: &str, max: usize) -> Result<(), Problem> {
    if text.len() > max {
        return Err(Problem::TooLong {
            what,
            bytes: text.len(),
            max,
        });
    }
    if text.contains('\0') {
        return Err(Problem::Nul);
    }
    Ok(())
}

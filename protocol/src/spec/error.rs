//! Why a text is no spec: where it went wrong, what was expected and what was found.

use std::fmt;

/// Longest piece of the text at fault that an error repeats, characters.
const QUOTE_CHARS_MAX: usize = 60;

/// A place in the text of a spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Counts from 1.
    pub line: u32,
    /// Counts from 1, in characters.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// A spec that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Where, unless the spec never was text or is wrong as a whole.
    pub at: Option<Position>,
    /// What is wrong there.
    pub problem: Problem,
}

impl Error {
    /// The same trouble of a spec that never was text.
    pub(super) fn without_position(self) -> Self {
        Self::from(self.problem)
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self { at: None, problem }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "read the spec at {at}: {}", self.problem),
            None => write!(f, "read the spec: {}", self.problem),
        }
    }
}

impl std::error::Error for Error {}

/// What is wrong with a spec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Something else is to stand here.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What fits.
        expected: &'static str,
        /// What is there, shortened.
        found: String,
    },
    /// The text ends too early.
    #[error("{what} is not closed before the end")]
    Unclosed {
        /// What began here.
        what: &'static str,
    },
    /// A closing parenthesis too many.
    #[error("there is no open parenthesis to close")]
    Unopened,
    /// A backslash in a quoted string that means nothing.
    #[error("expected {expected} after the backslash in a quoted string")]
    Escape {
        /// What fits.
        expected: &'static str,
    },
    /// A carriage return that ends no line.
    #[error("expected a line feed after a carriage return")]
    BareReturn,
    /// `#|` or `|#` where it would be mistaken for a comment.
    #[error("expected an atom without `#|` and `|#`: put it in quotes")]
    CommentInAtom,
    /// `#;` with nothing behind it.
    #[error("expected something for `#;` to comment out")]
    EmptyComment,
    /// An atom that is no text.
    #[error("expected UTF-8 text, found {found}")]
    NotUtf8 {
        /// What is there, shortened.
        found: String,
    },
    /// An atom that no program could be given.
    #[error("expected text without NUL bytes")]
    Nul,
    /// Something without a name.
    #[error("{what} is empty")]
    Empty {
        /// Of what kind.
        what: &'static str,
    },
    /// More bytes than fit.
    #[error("{what} is {bytes} bytes long, at most {max} are allowed")]
    TooLong {
        /// Of what kind.
        what: &'static str,
        /// How long.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// More of something than fits.
    #[error("it has {count} {what}, at most {max} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// At least how many.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// A word that names no op.
    #[error("unknown op {name:?}, {hint}")]
    UnknownOp {
        /// The word.
        name: String,
        /// Which op was meant, or which there are.
        hint: String,
    },
    /// A word that names no field here.
    #[error("unknown field {name:?} in {place}, {hint}")]
    UnknownField {
        /// The word.
        name: String,
        /// Which op or entry it stands in.
        place: &'static str,
        /// Which field was meant, or which there are.
        hint: String,
    },
    /// A field for the second time.
    #[error("duplicate field {name:?} in {place}, given first at {first}")]
    DuplicateField {
        /// The field.
        name: String,
        /// Which op or entry it stands in.
        place: &'static str,
        /// Where it was given first.
        first: Position,
    },
    /// A field that has no default.
    #[error("missing field {name:?} in {place}: expected {expected}")]
    MissingField {
        /// The field.
        name: &'static str,
        /// Which op or entry lacks it.
        place: &'static str,
        /// What it looks like.
        expected: &'static str,
    },
    /// A copy from a build that is not in scope.
    #[error("unknown build {name:?} in {op}, {hint}")]
    UnknownBuild {
        /// The build.
        name: String,
        /// The op, shortened.
        op: String,
        /// Which build was meant, or which there are.
        hint: String,
    },
    /// A number that is no user or group.
    #[error("expected {what} from 0 to {max}, found {found}")]
    BadId {
        /// User id or group id.
        what: &'static str,
        /// The highest.
        max: u32,
        /// What is there, shortened.
        found: String,
    },
    /// A cache or secret in a BuildKit Dockerfile whose user has a name instead of a number.
    #[error(
        "write {what} {id:?} for BuildKit: it needs the number of its user, and {user:?} is a name"
    )]
    NoUid {
        /// Cache or secret.
        what: &'static str,
        /// Which.
        id: String,
        /// The user.
        user: String,
    },
}

impl Problem {
    /// This problem at a place.
    pub(super) fn at(self, at: Position) -> Error {
        Error {
            at: Some(at),
            problem: self,
        }
    }
}

/// A piece of text fit for one line of an error: escaped, and cut where it is long.
pub(super) fn shorten(text: &str) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == QUOTE_CHARS_MAX {
            out.push_str("...");
            break;
        }
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

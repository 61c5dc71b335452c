//! Values, fields and sections of an opam file. Equality ignores positions, so that a file equals
//! itself after printing and reading.

use std::fmt;

use crate::relop::Relop;

/// A place in a file; both numbers count from 1, columns in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value and where it starts.
#[derive(Debug, Clone)]
pub struct Value {
    /// Where it starts.
    pub at: Position,
    /// What it is.
    pub kind: Kind,
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl Eq for Value {}

/// What a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A string, in either form of quotes, with its escapes resolved.
    String(Box<str>),
    /// An identifier, as in `with-test` or `ocaml:version`.
    Ident(Box<str>),
    /// `[ .. ]`
    List(Vec<Value>),
    /// `( .. )`
    Group(Vec<Value>),
    /// `value { .. }`
    Option(Box<Value>, Vec<Value>),
    /// At least two values joined by `&`.
    All(Vec<Value>),
    /// At least two values joined by `|`.
    Any(Vec<Value>),
    /// `left >= right`
    Compare(Relop, Box<(Value, Value)>),
    /// `>= right`
    Prefix(Relop, Box<Value>),
    /// `!value`
    Not(Box<Value>),
    /// `?value`
    Defined(Box<Value>),
    /// `VARIABLE += value`
    Update(EnvOp, Box<(Value, Value)>),
}

impl Kind {
    /// What the value is, for error messages.
    #[must_use]
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "an integer",
            Self::String(_) => "a string",
            Self::Ident(_) => "an identifier",
            Self::List(_) => "a list",
            Self::Group(_) => "a group",
            Self::Option(..) => "a value with braces",
            Self::All(_) | Self::Any(_) => "a logical formula",
            Self::Compare(..) | Self::Prefix(..) => "a comparison",
            Self::Not(_) | Self::Defined(_) => "a prefixed value",
            Self::Update(..) => "an environment update",
        }
    }
}

/// How an environment variable is updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EnvOp {
    /// `+=`: put before, with a separator.
    Prepend,
    /// `:=`: put before, keeping an empty entry.
    PrependColon,
    /// `=+`: put after, with a separator.
    Append,
    /// `=:`: put after, keeping an empty entry.
    AppendColon,
    /// `=+=`: put where an earlier value of ours was.
    Replace,
}

impl EnvOp {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prepend => "+=",
            Self::PrependColon => ":=",
            Self::Append => "=+",
            Self::AppendColon => "=:",
            Self::Replace => "=+=",
        }
    }
}

/// `name: value`
#[derive(Debug, Clone)]
pub struct Field {
    /// Where it starts.
    pub at: Position,
    /// Its name.
    pub name: Box<str>,
    /// Its value.
    pub value: Value,
}

impl PartialEq for Field {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.value == other.value
    }
}

impl Eq for Field {}

/// `kind "name" { .. }`
#[derive(Debug, Clone)]
pub struct Section {
    /// Where it starts.
    pub at: Position,
    /// Its kind, as `url` or `extra-source`.
    pub kind: Box<str>,
    /// Its name, where it has one.
    pub name: Option<Box<str>>,
    /// Its fields and sections.
    pub items: Vec<Item>,
}

impl PartialEq for Section {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.name == other.name && self.items == other.items
    }
}

impl Eq for Section {}

impl Section {
    /// The value of the first field of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Value> {
        field(&self.items, name)
    }
}

/// A field or a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A field.
    Field(Field),
    /// A section.
    Section(Section),
}

pub(super) fn field<'a>(items: &'a [Item], name: &str) -> Option<&'a Value> {
    items.iter().find_map(|item| match item {
        Item::Field(field) if &*field.name == name => Some(&field.value),
        _ => None,
    })
}

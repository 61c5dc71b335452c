//! Updates of environment variables in `setenv` and `build-env`.

use super::{Filtered, Mismatch, fields::filtered};
use crate::{
    file::{EnvOp, Kind, Value},
    filter::Filter,
    relop::Relop,
};

/// How a variable is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// `=`
    Set,
    /// Any of the updates of a list of paths.
    Update(EnvOp),
}

/// A change of one environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvUpdate {
    /// The variable.
    pub name: Box<str>,
    /// How it is changed.
    pub change: Change,
    /// The text, in which `%{variable}%` is replaced.
    pub value: Box<str>,
    /// When it counts; always where there is none.
    pub filter: Option<Filter>,
}

impl EnvUpdate {
    /// Reads one update or a list of updates, each alone or in a list of its own.
    pub(super) fn list(value: &Value) -> Result<Vec<Self>, Mismatch> {
        let Kind::List(values) = &value.kind else {
            return Ok(vec![Self::one(value)?]);
        };
        values.iter().map(Self::one).collect()
    }

    fn one(value: &Value) -> Result<Self, Mismatch> {
        let Filtered {
            value: outer,
            filter,
        } = filtered(value)?;
        let inner = match &outer.kind {
            // A second string is a comment for the user.
            Kind::List(values) if !values.is_empty() => &values[0],
            _ => outer,
        };
        let (change, sides) = match &inner.kind {
            Kind::Update(op, sides) => (Change::Update(*op), sides),
            Kind::Compare(Relop::Equal, sides) => (Change::Set, sides),
            _ => return Err(Mismatch::new(inner, "an update such as PATH += \"dir\"")),
        };
        let (Kind::Ident(name), Kind::String(text)) = (&sides.0.kind, &sides.1.kind) else {
            return Err(Mismatch::new(inner, "a variable name and a string"));
        };
        Ok(Self {
            name: name.clone(),
            change,
            value: text.clone(),
            filter,
        })
    }
}

//! Commands of `build`, `install`, `run-test` and `remove`.

use super::{Filtered, Mismatch, fields::filtered};
use crate::{
    file::{Kind, Value},
    filter::{Filter, interpolate},
    vars::Vars,
};

/// One word of a command before its variables are replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// A string, in which `%{variable}%` is replaced.
    String(Box<str>),
    /// A variable.
    Variable(Box<str>),
}

/// A word that a filter may switch off.
pub type Argument = Filtered<Word>;

/// One command with its filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments.
    pub arguments: Vec<Argument>,
    /// When the command is run; always where there is none.
    pub filter: Option<Filter>,
}

impl Command {
    /// Reads one command or a list of commands.
    pub(super) fn list(value: &Value) -> Result<Vec<Self>, Mismatch> {
        let Kind::List(values) = &value.kind else {
            return Ok(vec![Self::one(value)?]);
        };
        let is_list = |value: &Value| match &value.kind {
            Kind::List(_) => true,
            Kind::Option(inner, _) => matches!(inner.kind, Kind::List(_)),
            _ => false,
        };
        match values.first() {
            None => Ok(Vec::new()),
            Some(first) if is_list(first) => values.iter().map(Self::one).collect(),
            Some(_) => Ok(vec![Self::one(value)?]),
        }
    }

    fn one(value: &Value) -> Result<Self, Mismatch> {
        let Filtered {
            value: words,
            filter,
        } = filtered(value)?;
        let words = match &words.kind {
            Kind::List(words) => words.as_slice(),
            _ => std::slice::from_ref(words),
        };
        let arguments = words.iter().map(argument).collect::<Result<_, _>>()?;
        Ok(Self { arguments, filter })
    }

    /// The words of the command, or none where its filter is not true.
    #[must_use]
    pub fn expand(&self, vars: &dyn Vars) -> Vec<String> {
        if !self.filter.as_ref().is_none_or(|filter| filter.holds(vars)) {
            return Vec::new();
        }
        let counts = |argument: &&Argument| {
            argument
                .filter
                .as_ref()
                .is_none_or(|filter| filter.holds(vars))
        };
        self.arguments
            .iter()
            .filter(counts)
            .map(|argument| match &argument.value {
                Word::String(text) => interpolate(text, vars),
                Word::Variable(name) => Filter::Variable(name.clone())
                    .eval(vars)
                    .map(|value| value.to_string())
                    .unwrap_or_default(),
            })
            .collect()
    }

    /// The commands that are run, each with its words.
    #[must_use]
    pub fn expand_all(commands: &[Self], vars: &dyn Vars) -> Vec<Vec<String>> {
        commands
            .iter()
            .map(|command| command.expand(vars))
            .filter(|words| !words.is_empty())
            .collect()
    }
}

fn argument(value: &Value) -> Result<Argument, Mismatch> {
    let Filtered { value, filter } = filtered(value)?;
    let value = match &value.kind {
        Kind::String(text) => Word::String(text.clone()),
        Kind::Ident(name) => Word::Variable(name.clone()),
        _ => return Err(Mismatch::new(value, "a string or variable")),
    };
    Ok(Argument { value, filter })
}

//! Errors of the command line: their kind decides the exit code, and every hint is something that a
//! person can do.

use std::{error::Error, process::ExitCode};

/// What kind of error it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The command cannot be done as it was given. Exit code 4.
    User,
    /// A configuration file is wrong. Exit code 4.
    Config,
    /// The node or another node failed. Exit code 3.
    Node,
}

/// An error with what to do about it.
#[derive(Debug)]
pub(crate) struct CliError {
    kind: Kind,
    text: String,
    hints: Vec<String>,
}

impl CliError {
    pub(crate) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
            hints: Vec::new(),
        }
    }

    pub(crate) fn user(text: impl Into<String>) -> Self {
        Self::new(Kind::User, text)
    }

    /// An error of the node, with its causes.
    pub(crate) fn node(error: &dyn Error) -> Self {
        Self::new(Kind::Node, chain(error))
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    pub(crate) fn print(&self) {
        eprintln!("caravan: failed to {}", self.text);
        for hint in &self.hints {
            eprintln!("  hint: {hint}");
        }
    }

    pub(crate) fn code(&self) -> ExitCode {
        match self.kind {
            Kind::User | Kind::Config => ExitCode::from(4),
            Kind::Node => ExitCode::from(3),
        }
    }
}

/// An error with its causes in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

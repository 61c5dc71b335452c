//! What is said when there is no page to show: what is missing and what to do about it.

use askama::Template;

use super::Shell;

/// Why there is no page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: u16,
    pub(crate) what: String,
    pub(crate) hint: &'static str,
}

impl Problem {
    pub(crate) fn not_found(what: impl Into<String>, hint: &'static str) -> Self {
        Self {
            status: 404,
            what: what.into(),
            hint,
        }
    }

    pub(crate) fn no_page() -> Self {
        Self::not_found(
            "There is no page at this address.",
            "Check the address for a typing error, or start from the list of projects.",
        )
    }

    pub(crate) fn no_run() -> Self {
        Self::not_found(
            "This node knows no such run.",
            "It may have been forgotten, or another node has it. Look for the project in the list, or ask the \
             node that you started the run on.",
        )
    }

    pub(crate) fn no_project() -> Self {
        Self::not_found(
            "This node has run nothing for such a project.",
            "Look for it in the list of projects, or start a run with `caravan ci PATH-OR-URL`.",
        )
    }

    pub(crate) fn no_variant() -> Self {
        Self::not_found(
            "This run has no such variant.",
            "It may appear once the run has been analysed. The run's own page lists all variants.",
        )
    }

    pub(crate) fn no_log() -> Self {
        Self::not_found(
            "There is no log of this step here.",
            "A step has a log once it has begun; a log that another node keeps is shown when it has been fetched.",
        )
    }

    pub(crate) fn busy() -> Self {
        Self {
            status: 503,
            what: "This node is busy.".to_owned(),
            hint: "Wait a few seconds and load the page again.",
        }
    }

    pub(crate) fn broken() -> Self {
        Self {
            status: 500,
            what: "The page could not be put together.".to_owned(),
            hint: "The node's own log says why. Please report it with the address of this page.",
        }
    }

    pub(crate) fn method() -> Self {
        Self {
            status: 405,
            what: "These pages can only be read.".to_owned(),
            hint: "Use GET or HEAD. To start, cancel or repeat a run, use the `caravan` command on the node.",
        }
    }

    pub(crate) fn too_long() -> Self {
        Self {
            status: 414,
            what: "The address is too long.".to_owned(),
            hint: "Start from the list of projects.",
        }
    }

    /// The word for a status line.
    pub(crate) const fn word(&self) -> &'static str {
        match self.status {
            404 => "Not found",
            405 => "Read only",
            414 => "Too long",
            503 => "Busy",
            _ => "Broken",
        }
    }
}

#[derive(Debug, Template)]
#[template(path = "error.html")]
pub(crate) struct Page {
    pub(crate) shell: Shell,
    pub(crate) problem: Problem,
}

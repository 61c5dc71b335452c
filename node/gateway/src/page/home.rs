//! `/`: the projects with their latest runs.

use askama::Template;

use super::{Place, ProjectName, RunRow, Shell, View};
use crate::{limits, text::Text};

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) project: ProjectName,
    pub(crate) run: RunRow,
    pub(crate) runs: usize,
}

#[derive(Debug, Template)]
#[template(path = "home.html")]
pub(crate) struct Page {
    pub(crate) shell: Shell,
    pub(crate) query: Text,
    pub(crate) rows: Vec<Row>,
    pub(crate) left_out: usize,
    pub(crate) known: usize,
}

/// Whether a project answers to a search: every word of it stands in the project's name.
pub(crate) fn matches(project: &str, query: &str) -> bool {
    let project = project.to_lowercase();
    query
        .to_lowercase()
        .split_whitespace()
        .all(|word| project.contains(word))
}

impl Page {
    pub(crate) fn new(view: &View, query: &str) -> Self {
        let projects = super::by_project(&view.snapshot);
        let known = projects.len();
        let found: Vec<_> = projects
            .into_iter()
            .filter(|(project, _)| matches(project, query))
            .collect();
        let rows: Vec<Row> = found
            .iter()
            .take(limits::ROWS_MAX)
            .filter_map(|(project, runs)| {
                Some(Row {
                    project: ProjectName::new(project),
                    run: RunRow::new(runs.first()?, view.now),
                    runs: runs.len(),
                })
            })
            .collect();
        let mut shell = view.shell("Projects", Place::Projects);
        shell.live = rows.iter().any(|row| !row.run.state.is_final());
        Self {
            shell,
            query: Text::new(query),
            left_out: found.len() - rows.len(),
            rows,
            known,
        }
    }
}

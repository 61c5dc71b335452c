//! `/roles`: the elected roles, who holds them, since when, and who would take them over.

use askama::Template;
use caravan_protocol::view::{RoleState, RoleView};

use super::{Place, Shell, View, Who};
use crate::{
    limits, slug,
    text::{Text, When},
};

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) role: Text,
    pub(crate) project: Text,
    pub(crate) slug: Text,
    /// The state of a run whose sign and colour it has.
    pub(crate) state: &'static str,
    pub(crate) word: &'static str,
    pub(crate) holder: Option<Who>,
    pub(crate) since: Option<When>,
    pub(crate) next: Vec<Who>,
    /// The run, whole and short, and whether it is shown here.
    pub(crate) run: Option<(String, String, bool)>,
    /// Whether a page of the project is here.
    pub(crate) has_page: bool,
}

#[derive(Debug, Template)]
#[template(path = "roles.html")]
pub(crate) struct Page {
    pub(crate) shell: Shell,
    pub(crate) rows: Vec<Row>,
    pub(crate) left_out: usize,
    pub(crate) held: usize,
}

impl Page {
    pub(crate) fn new(view: &View) -> Self {
        let mut roles: Vec<&RoleView> = view.snapshot.roles.iter().collect();
        roles.sort_by_key(|role| (role.run.is_none(), &role.role, &role.project));
        let rows: Vec<Row> = roles
            .iter()
            .take(limits::ROWS_MAX)
            .map(|role| row(view, role))
            .collect();
        Self {
            shell: view.shell("Roles", Place::Roles),
            left_out: roles.len() - rows.len(),
            held: roles.iter().filter(|role| role.run.is_some()).count(),
            rows,
        }
    }
}

fn row(view: &View, role: &RoleView) -> Row {
    let known = |id| view.snapshot.runs().any(|run| run.id == id);
    Row {
        role: Text::new(&role.role),
        project: Text::line(&role.project),
        slug: Text::new(&slug::of(&role.project)),
        state: match role.state {
            RoleState::Held | RoleState::Local => "running",
            RoleState::Moving => "ready",
            RoleState::Idle => "blocked",
        },
        word: role.state.word(),
        holder: role.holder.map(|node| view.who(node)),
        since: role.since.map(|since| When::new(since, view.now)),
        next: role.next.iter().map(|node| view.who(*node)).collect(),
        run: role
            .run
            .map(|run| (run.to_string(), run.fmt_short(), known(run))),
        has_page: view.snapshot.runs().any(|run| run.project == role.project),
    }
}

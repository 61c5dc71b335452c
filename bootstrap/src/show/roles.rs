//! Elected roles, a line each.

use caravan_protocol::{
    ids::NodeId,
    time::Stamp,
    view::{RoleState, RoleView, Snapshot},
};

use super::{
    grid::{Cell, Column, Paint, Screen},
    members::ago,
    plain,
};

const COLUMNS: [Column; 7] = [
    ("ROLE", 0),
    ("PROJECT", 0),
    ("STATE", 0),
    ("HOLDER", 0),
    ("SINCE", 2),
    ("NEXT", 1),
    ("RUN", 3),
];

/// The table of roles: those with a run first.
pub(crate) fn table(snapshot: &Snapshot, now: Stamp) -> String {
    let mut roles: Vec<&RoleView> = snapshot.roles.iter().collect();
    roles.sort_by_key(|role| (role.run.is_none(), &role.role, &role.project));
    let rows: Vec<Vec<Cell>> = roles
        .into_iter()
        .map(|role| row(snapshot, role, now))
        .collect();
    Screen::own().render(&COLUMNS, &rows)
}

fn row(snapshot: &Snapshot, role: &RoleView, now: Stamp) -> Vec<Cell> {
    let holder = role.holder.map(|node| who(snapshot, node));
    let since = role.since.map(|since| ago(since, now)).unwrap_or_default();
    let next: Vec<String> = role.next.iter().map(|node| who(snapshot, *node)).collect();
    vec![
        plain(&role.role).as_str().into(),
        plain(&role.project).as_str().into(),
        state(role.state),
        holder.unwrap_or_default().into(),
        Cell::painted(since, Paint::Dim),
        next.join(", ").into(),
        role.run
            .map(|run| run.fmt_short())
            .unwrap_or_default()
            .into(),
    ]
}

/// A node by its id, with who runs it.
fn who(snapshot: &Snapshot, node: NodeId) -> String {
    let known = snapshot.nodes.iter().find(|known| known.node == node);
    let short = node.fmt_short();
    match known {
        Some(known) if known.here => format!("{short} (here)"),
        Some(known) => format!("{short} ({})", plain(&known.operator)),
        None => short,
    }
}

fn state(state: RoleState) -> Cell {
    let paint = match state {
        RoleState::Held | RoleState::Local => Paint::Good,
        RoleState::Moving => Paint::Warn,
        RoleState::Idle => Paint::Dim,
    };
    Cell::painted(state.word(), paint)
}

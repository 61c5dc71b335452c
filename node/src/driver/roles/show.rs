//! Roles for people.

use caravan_protocol::view::{RoleState, RoleView, State};

use super::super::Driver;

/// Followers of a holder that are shown.
const NEXT: usize = 2;

impl Driver {
    /// The roles that this node has to do with: who holds what, and who is next.
    pub(crate) fn role_views(&mut self) -> Vec<RoleView> {
        let me = self.shared.home.key.node();
        let mut views = Vec::new();
        for known in self.roles.engine.roles() {
            let heard = known.since.is_some();
            views.push(RoleView {
                role: known.role,
                project: known.project,
                run: known.run,
                holder: known.holder,
                since: known.since,
                next: known.next.into_iter().take(NEXT).collect(),
                state: match (known.run, heard) {
                    (None, _) => RoleState::Idle,
                    (Some(_), true) => RoleState::Held,
                    (Some(_), false) => RoleState::Moving,
                },
            });
        }
        // Runs that nobody else was told of.
        for run in self.runs.values() {
            let view = &run.view;
            let listed = self.roles.engine.charge(view.id).is_some();
            if run.policy.is_none() || listed || view.state != State::Running {
                continue;
            }
            let same = |known: &RoleView| {
                known.run.is_none() && known.role == view.role && known.project == view.project
            };
            views.retain(|known| !same(known));
            views.push(RoleView {
                role: view.role.clone(),
                project: view.project.clone(),
                run: Some(view.id),
                holder: Some(me),
                since: Some(view.started),
                next: Vec::new(),
                state: RoleState::Local,
            });
        }
        views.sort_by(|a, b| (&a.role, &a.project, a.run).cmp(&(&b.role, &b.project, b.run)));
        views
    }
}

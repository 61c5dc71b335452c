//! Roles for people.

use std::collections::BTreeSet;

use caravan_protocol::view::{RoleState, RoleView, State};

use super::{super::Driver, hold::CHARGEABLE};

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
        self.add_idle(&mut views);
        views.sort_by(|a, b| (&a.role, &a.project, a.run).cmp(&(&b.role, &b.project, b.run)));
        views
    }
    /// Adds the roles of the runs that are remembered here and that nobody holds now.
    fn add_idle(&mut self, views: &mut Vec<RoleView>) {
        let name = |role: &str, project: &str| (role.to_owned(), project.to_owned());
        let mut listed: BTreeSet<(String, String)> = views
            .iter()
            .map(|view| name(&view.role, &view.project))
            .collect();
        // A build of a spec is nobody's role: it stays where it was asked for.
        let elected = self
            .runs
            .values()
            .filter(|run| CHARGEABLE.contains(&&*run.view.role));
        for run in elected {
            let (role, project) = name(&run.view.role, &run.view.project);
            if !listed.insert((role.clone(), project.clone())) {
                continue;
            }
            let known = self.roles.engine.idle(role, project);
            views.push(RoleView {
                role: known.role,
                project: known.project,
                run: None,
                holder: known.holder,
                since: None,
                next: known.next.into_iter().take(NEXT).collect(),
                state: RoleState::Idle,
            });
        }
    }
}

//! Snapshots: what readers get, made at most twenty times a second and only when something changed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use caravan_protocol::{
    ids::NodeId,
    time::Stamp,
    view::{NodeView, RunView, SeatView, Snapshot, State, StoreView},
};

use super::{
    Driver,
    following::{UNHEARD, show_facts},
};
use crate::clock;

/// Shortest time between two snapshots.
pub(crate) const PERIOD: Duration = Duration::from_millis(50);

/// How often running steps show how long they have run.
pub(crate) const TICK: Duration = Duration::from_secs(1);

impl Driver {
    /// Lets running steps show how long they have run so far.
    fn count_time(&mut self) {
        let now = clock::now();
        for run in self
            .runs
            .values_mut()
            .filter(|run| run.view.finished.is_none())
        {
            let view = Arc::make_mut(&mut run.view);
            for (want, step) in &mut view.steps {
                if step.state != State::Running {
                    run.began.remove(want);
                    continue;
                }
                let since = *run.began.entry(*want).or_insert(now);
                step.wall_ms = u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX);
            }
        }
    }

    /// All members, with what is known of each.
    pub(super) fn nodes(&self, now: Stamp, running: u32) -> BTreeMap<NodeId, NodeView> {
        let own = self.shared.home.key.node();
        let mut nodes: BTreeMap<NodeId, NodeView> = self.peers.clone();
        for peer in nodes.values_mut().filter(|peer| peer.connected) {
            // Its neighbours hear it all the time, and would have said so.
            peer.heard = Some(now);
        }
        for cert in self.membership.roster.members(now) {
            nodes.entry(cert.node).or_insert_with(|| NodeView {
                why: Some(UNHEARD.to_owned()),
                ..NodeView::of(cert)
            });
        }
        let roster = &self.membership.roster;
        if let Some(cert) = roster.vouches(own) {
            let mut here = NodeView::of(cert);
            show_facts(&mut here, &self.stance.facts);
            (here.here, here.connected) = (true, true);
            (here.running, here.slots) = (running, self.shared.config.slots);
            (here.since, here.heard) = (Some(self.started), Some(now));
            here.mode = self.stance.standing.view;
            here.why.clone_from(&self.stance.standing.why);
            nodes.insert(own, here);
        }
        nodes
    }

    pub(crate) fn publish(&mut self) {
        self.changed = false;
        self.show_roles();
        let own = self.shared.home.key.node();
        let now = clock::stamp();
        let running = u32::try_from(self.flights.len()).unwrap_or(u32::MAX);
        let nodes = self.nodes(now, running);
        self.count_time();
        self.watch_links();
        let runs = self.runs.values().map(|run| Arc::clone(&run.view));
        let mut runs: Vec<Arc<RunView>> = runs.collect();
        runs.sort_by_key(|run| std::cmp::Reverse((run.started, run.id)));
        let roles = self.role_views();
        let seats = self.membership.seats.iter().map(|seat| SeatView {
            role: seat.role.clone(),
            holder: seat.holder,
            epoch: seat.epoch,
            since: seat.since,
        });
        let stat = self.shared.home.store.stat().unwrap_or_default();
        let snapshot = Snapshot {
            mesh: self.membership.roster.mesh(),
            node: own,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.started,
            nodes: nodes.into_values().collect(),
            seats: seats.collect(),
            roles,
            bases: self.bases.clone(),
            runs,
            store: StoreView {
                blobs: stat.blobs,
                bytes: stat.bytes,
                layers: stat.layers,
                claims: stat.claims,
            },
            counters: self.counters,
            running,
            slots: self.shared.config.slots,
            sandbox: self.shared.sandbox.clone(),
            standing: self.stance.standing.why.clone(),
            notices: self.notices(),
        };
        self.snapshots.send_replace(Arc::new(snapshot));
    }
}

//! Snapshots: what readers get, made at most twenty times a second and only when something changed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use caravan_protocol::{
    ids::NodeId,
    view::{NodeView, RunView, SeatView, Snapshot, State, StoreView},
};

use super::Driver;
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

    pub(crate) fn publish(&mut self) {
        self.changed = false;
        let own = self.shared.home.key.node();
        let now = clock::stamp();
        let mut nodes: BTreeMap<NodeId, NodeView> = self.peers.clone();
        let running = u32::try_from(self.flights.len()).unwrap_or(u32::MAX);
        for cert in self.membership.roster.members(now) {
            let here = cert.node == own;
            let seen = nodes.entry(cert.node).or_insert_with(|| NodeView {
                node: cert.node,
                operator: cert.operator.clone(),
                tier: cert.tier,
                platforms: cert.platforms.clone(),
                here,
                connected: here,
                running: 0,
                slots: 0,
            });
            if here {
                (seen.running, seen.slots) = (running, self.shared.config.slots);
            }
        }
        self.count_time();
        let runs = self.runs.values().map(|run| Arc::clone(&run.view));
        let mut runs: Vec<Arc<RunView>> = runs.collect();
        runs.sort_by_key(|run| std::cmp::Reverse((run.started, run.id)));
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
        };
        self.snapshots.send_replace(Arc::new(snapshot));
    }
}

//! Runs that are held elsewhere, shown here: the holder tells its keepers what is new, one piece at a
//! time, and the next one only when the last has come. Who asked for the run is told most often.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use caravan_mesh::Wanted;
use caravan_protocol::{
    ids::{NodeId, RunId},
    limits,
    role::{Event, Message},
    time::Time,
    view::RunView,
};

use super::{
    super::{Driver, inputs, runs::Run, weigh::Reuse},
    hold::first_view,
    patch::Patch,
};
use crate::clock;

/// Least time between two pieces to whoever asked for the run.
const TOLD: Duration = Duration::from_millis(200);
/// Least time between two pieces to other keepers.
const TOLD_KEEPERS: Duration = Duration::from_secs(1);
/// How long an answer to a piece is waited for before all is told anew.
const LOST: Duration = Duration::from_secs(3);
/// How long a run that has ended waits for its keepers to see it.
const ENDING: Duration = Duration::from_secs(5);

/// Logs that are brought here of a run that another node held.
const LOGS_MAX: usize = 512;

/// One that is shown a run.
#[derive(Default)]
pub(super) struct Viewer {
    seq: u64,
    had: Option<Arc<RunView>>,
    /// What it has once it answers, and when it was told.
    sent: Option<(Arc<RunView>, Time)>,
    next: Time,
}

impl Driver {
    /// Tells those who keep the runs of this node what is new of them.
    pub(crate) fn show_roles(&mut self) {
        let now = clock::now();
        let held: Vec<RunId> = self.roles.kept.keys().copied().collect();
        let mut told = Vec::new();
        for id in held {
            if !self.roles.engine.holds(id) {
                continue;
            }
            let (Some(run), Some(charge)) = (self.runs.get(&id), self.roles.engine.charge(id))
            else {
                continue;
            };
            let (view, requester) = (Arc::clone(&run.view), charge.requester);
            let keepers = self.roles.engine.keepers(id);
            let viewers = self.roles.viewers.entry(id).or_default();
            viewers.retain(|node, _| keepers.contains(node));
            for to in keepers {
                let viewer = viewers.entry(to).or_default();
                let every = if to == requester { TOLD } else { TOLD_KEEPERS };
                match viewer.tell(now, every, &view) {
                    Telling::Now(seq, patch) => told.push((
                        to,
                        Message::Shown {
                            run: id,
                            seq,
                            patch,
                        },
                    )),
                    // Looked at again with the next snapshot.
                    Telling::Later => self.changed = true,
                    Telling::Nothing => {}
                }
            }
        }
        for (to, message) in told {
            self.send_role(to, &message);
        }
    }

    /// A keeper has seen a piece.
    pub(super) fn on_seen(&mut self, from: NodeId, run: RunId, seq: u64) {
        let viewers = self.roles.viewers.get_mut(&run);
        let Some(viewer) = viewers.and_then(|viewers| viewers.get_mut(&from)) else {
            return;
        };
        match viewer.sent.take() {
            Some((view, _)) if seq == viewer.seq => viewer.had = Some(view),
            _ if seq == 0 => {
                let next = viewer.next;
                *viewer = Viewer {
                    next,
                    ..Viewer::default()
                };
            }
            sent => viewer.sent = sent,
        }
        self.changed = true;
        self.look_at_endings();
    }

    /// The holder of a run shows what is new of it.
    pub(super) fn on_shown(&mut self, from: NodeId, id: RunId, (seq, patch): (u64, &[u8])) {
        let lead = self.roles.engine.lead(id).map(|(lead, _)| lead);
        if lead != Some(from) || self.roles.engine.holds(id) {
            return;
        }
        let known = self.roles.mirrors.get(&id).copied();
        let have = known.filter(|(by, _)| *by == from).map(|(_, seq)| seq);
        let answer = |seq| Message::Seen { run: id, seq };
        if seq != 1 && have == Some(seq) {
            return self.send_role(from, &answer(seq));
        }
        if seq != 1 && have.and_then(|have| have.checked_add(1)) != Some(seq) {
            return self.send_role(from, &answer(0));
        }
        let Some(charge) = self.roles.engine.charge(id) else {
            return;
        };
        let patch = match Patch::decode(patch) {
            Ok(patch) => patch,
            Err(error) => {
                tracing::debug!(peer = %from.fmt_short(), %error, "what it shows of a run is damaged");
                return;
            }
        };
        let first = first_view(charge);
        let run = self
            .runs
            .entry(id)
            .or_insert_with(|| Run::new(first.clone(), Reuse::Any, None));
        if run.view.finished.is_some() {
            // Its end is known here, and does not change.
            return self.send_role(from, &answer(seq));
        }
        let view = run.shown();
        if seq == 1 {
            *view = first;
        }
        patch.apply(view);
        let ended = view.finished.is_some();
        let asked_here = charge.requester == self.shared.home.key.node();
        self.roles.mirrors.insert(id, (from, seq));
        self.changed = true;
        if ended {
            self.publish();
            self.forget_runs();
            self.keep_run(id);
            if asked_here {
                self.fetch_logs(from, id);
            }
        }
        self.send_role(from, &answer(seq));
    }

    /// Whoever asked for a run may want to read what its steps said.
    fn fetch_logs(&self, from: NodeId, id: RunId) {
        let Some(run) = self.runs.get(&id) else {
            return;
        };
        let log_max = caravan_store::log_blob_bytes_max(limits::LOG_BYTES_MAX);
        let done = run.view.steps.values().filter(|step| !step.cached);
        let logs = done.filter_map(|step| step.log).take(LOGS_MAX);
        let logs: Vec<Wanted> = logs.map(|log| Wanted::at_most(log, log_max)).collect();
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn("logs of a run", async move {
            if let Err(error) = inputs::fetch_all(&shared, &[], &logs, &[from]).await {
                tracing::info!(%error, "the logs of a run are not all here");
            }
        });
    }

    /// A run that is held here has ended: it is settled once its keepers have seen that.
    pub(crate) fn role_run_ended(&mut self, id: RunId, cancelled: bool) {
        let me = self.shared.home.key.node();
        let requester = self.roles.engine.charge(id).map(|charge| charge.requester);
        if requester == Some(me) && cancelled {
            return self.role(Event::Cancelled(id));
        }
        if requester.is_some() && self.roles.engine.holds(id) {
            self.roles.ending.insert(id, clock::now() + ENDING);
            self.show_roles();
            self.look_at_endings();
        }
    }

    pub(super) fn look_at_endings(&mut self) {
        let now = clock::now();
        let ending: Vec<(RunId, Time)> = self
            .roles
            .ending
            .iter()
            .map(|(id, at)| (*id, *at))
            .collect();
        for (id, until) in ending {
            let empty = BTreeMap::new();
            let viewers = self.roles.viewers.get(&id).unwrap_or(&empty);
            let saw = |node: &NodeId| {
                let had = viewers.get(node).and_then(|viewer| viewer.had.as_ref());
                had.is_some_and(|view| view.finished.is_some())
            };
            if now >= until || self.roles.engine.keepers(id).iter().all(saw) {
                self.roles.ending.remove(&id);
                self.role(Event::Settled(id));
            }
        }
    }
}

enum Telling {
    Now(u64, Vec<u8>),
    Later,
    Nothing,
}

impl Viewer {
    fn tell(&mut self, now: Time, every: Duration, view: &Arc<RunView>) -> Telling {
        if let Some((_, at)) = self.sent {
            if now.since(at) < LOST {
                return Telling::Nothing;
            }
            *self = Self::default();
        }
        if self.had.as_ref() == Some(view) {
            return Telling::Nothing;
        }
        // The end is told at once.
        if now < self.next && view.finished.is_none() {
            return Telling::Later;
        }
        match Patch::make(self.had.as_deref(), view) {
            Ok((patch, then)) if self.had.as_ref() != Some(&then) => {
                self.seq += 1;
                self.sent = Some((then, now));
                self.next = now + every;
                Telling::Now(self.seq, patch)
            }
            Ok(_) => Telling::Nothing,
            Err(error) => {
                tracing::warn!(%error, "what is new of a run cannot be told");
                Telling::Nothing
            }
        }
    }
}

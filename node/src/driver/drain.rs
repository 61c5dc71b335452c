//! A node that goes away in order: it takes nothing new, ends what it has and what was asked of it,
//! hands its results over, says farewell, and stops.

use std::time::Duration;

use caravan_protocol::time::Time;
use tokio::sync::{mpsc, oneshot};

use super::{Driver, Notice, runs::Run};
use crate::{build::chain, clock, control::Reply, mode::Going};

/// How long owners are waited for that do not acknowledge results.
const OWED: Duration = Duration::from_secs(60);
/// Between the answer to whoever asked and the end: the answer has to get through.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// Most that listen to one drain.
const LISTENERS_MAX: usize = 16;

/// Whoever asked for a drain, and waits.
pub(crate) struct Listener {
    pub(crate) progress: mpsc::Sender<Reply>,
    pub(crate) reply: oneshot::Sender<Result<Reply, String>>,
}

/// A drain under way.
pub(crate) struct Drain {
    /// Whether the membership is given up as well.
    leave: bool,
    listeners: Vec<Listener>,
    /// Since when only acknowledgements are waited for.
    owed: Option<Time>,
    /// The most that was still to be ended.
    most: u64,
}

impl Driver {
    /// Begins to go away, or listens to a drain that has begun. One that leaves outdoes one that
    /// does not.
    pub(crate) fn drain(&mut self, leave: bool, wait: bool, listener: Listener) {
        if leave && self.is_founder() && self.has_others() {
            let text = "leave the mesh: this is its founding node, whose key signs all others; revoke \
                        them first, or drain it without leaving";
            drop(listener.reply.send(Err(text.to_owned())));
            return;
        }
        let drain = self.stance.drain.get_or_insert_with(|| Drain {
            leave,
            listeners: Vec::new(),
            owed: None,
            most: 0,
        });
        drain.leave |= leave;
        if drain.listeners.len() >= LISTENERS_MAX {
            let text = "wait for the drain: too many do already; it goes on".to_owned();
            drop(listener.reply.send(Err(text)));
            return;
        }
        drain.listeners.push(listener);
        if self.stance.reasons.going.is_none() {
            self.stance.reasons.going = Some(Going::Draining);
            self.stand();
        }
        if !wait {
            self.give_up_all();
        }
        self.look_at_drain();
    }

    fn has_others(&self) -> bool {
        let mut members = self.membership.roster.members(clock::stamp());
        let me = self.shared.home.key.node();
        members.any(|cert| cert.node != me)
    }

    /// Its operator has thought better of it.
    pub(crate) fn stop_draining(&mut self) {
        self.stance.reasons.going = None;
        let listeners = self.stance.drain.take().map(|drain| drain.listeners);
        for listener in listeners.into_iter().flatten() {
            let text = "drain the node: it was told to take work again".to_owned();
            drop(listener.reply.send(Err(text)));
        }
    }

    /// Whether it is done, and how far it is.
    pub(crate) fn look_at_drain(&mut self) {
        if self.stance.reasons.going != Some(Going::Draining) {
            return;
        }
        let runs = self.runs.values();
        let runs = runs.filter(|run| self.is_owed(run)).count() as u64;
        let attempts = self.flights.len() as u64;
        let owed = self.engine.owed() as u64;
        let now = clock::now();
        let Some(drain) = &mut self.stance.drain else {
            return;
        };
        let left = runs + attempts;
        if left > 0 {
            drain.owed = None;
        } else if owed == 0 || now.since(*drain.owed.get_or_insert(now)) >= OWED {
            return self.say_farewell();
        }
        drain.most = drain.most.max(left + owed);
        let what = match left {
            0 => format!("handing over {owed} results"),
            _ => format!("ending {attempts} attempts and {runs} runs"),
        };
        for listener in &drain.listeners {
            // Progress is for the eye: what finds no room is left out.
            let _ = listener.progress.try_send(Reply::Progress {
                what: what.clone(),
                done: drain.most - (left + owed),
                total: drain.most,
            });
        }
    }

    /// Whether a run that has not ended is this node's to end, or to show to whoever asked here.
    fn is_owed(&self, run: &Run) -> bool {
        let me = self.shared.home.key.node();
        let charge = self.roles.engine.charge(run.view.id);
        let asked_here = charge.is_none_or(|charge| charge.requester == me);
        run.view.finished.is_none() && (asked_here || run.policy.is_some())
    }

    /// Nothing is left to do: the others are told, then this is over.
    fn say_farewell(&mut self) {
        self.stance.reasons.going = Some(Going::Leaving);
        self.stand();
        let shared = std::sync::Arc::clone(&self.shared);
        self.shared.tasks.spawn_to_end("farewell", async move {
            if let Some(mesh) = &shared.mesh {
                // Else they find out by themselves.
                let _ = mesh.leave().await;
            }
            let _ = shared.notices.send(Notice::Farewell).await;
        });
    }

    /// The others know. Whoever asked hears of it, then the node stops.
    pub(crate) fn on_farewell(&mut self) {
        self.stance.reasons.going = Some(Going::Gone);
        self.stance.standing = self.stance.reasons.standing();
        let Some(drain) = self.stance.drain.take() else {
            return;
        };
        let mut done = Ok(());
        if drain.leave {
            done = self.shared.home.leave().map_err(|error| chain(&error));
        }
        for listener in drain.listeners {
            drop(listener.reply.send(done.clone().map(|()| Reply::Done)));
        }
        self.publish();
        let stop = self.shared.tasks.stopping();
        self.shared.tasks.spawn("end of a drain", async move {
            tokio::time::sleep(LAST_WORDS).await;
            stop.cancel();
        });
    }
}

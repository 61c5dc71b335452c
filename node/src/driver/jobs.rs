//! Jobs: wanted actions, each once however many wishes there are for it. A wish is answered from
//! claims where they suffice and what they name is here; else the market is asked.

use std::collections::{BTreeMap, BTreeSet};

use caravan_protocol::{
    action::{Action, Network, Work},
    claim::Verdict,
    ids::{ActionKey, RunId},
    level::Level,
    offer::{self, Priority},
    policy::{Outcome, WantId, WantState},
    view::{State, StepView},
};

use super::Driver;
use crate::{build::Built, clock};

/// A wish of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Waiter {
    pub(crate) run: RunId,
    pub(crate) want: WantId,
}

/// An action that is wanted and not yet done.
pub(crate) struct Job {
    pub(crate) action: Action,
    pub(crate) waiters: BTreeSet<Waiter>,
    /// Where it may run, as the first who wanted it said.
    pub(crate) place: offer::Place,
    /// Words about the last attempt that came to nothing.
    pub(crate) trouble: Option<String>,
}

/// Cost of a command that has no source to build, milliseconds.
const COST_LEAST_MS: u64 = 500;
/// Bytes of source that are thought to take a millisecond to build.
const COST_BYTES_PER_MS: u64 = 40;

impl Driver {
    /// Takes in what a policy wants at once: what claims answer is answered, and of the rest the
    /// longest begins first, so that it does not stand alone at the end.
    pub(crate) fn want_all(&mut self, wanted: Vec<(Waiter, String, Action)>) {
        let mut open: Vec<offer::Want> = Vec::new();
        for (waiter, label, action) in wanted {
            open.extend(self.want(waiter, label, action));
        }
        open.sort_by_key(|want| std::cmp::Reverse(want.cost_ms));
        for want in open
            .into_iter()
            .filter(|want| self.jobs.contains_key(&want.job.action()))
            .collect::<Vec<_>>()
        {
            self.market(offer::Event::Want(want));
        }
    }

    /// How long an action is thought to take: by the size of what it is given to build.
    fn cost_ms(&self, action: &Action) -> u64 {
        let Work::Run(run) = &action.work else {
            return COST_LEAST_MS;
        };
        let store = &self.shared.home.store;
        let sizes = run
            .inputs
            .iter()
            .filter_map(|input| Some(store.tree(input.tree).ok()?.size()));
        COST_LEAST_MS + sizes.fold(0, u64::saturating_add) / COST_BYTES_PER_MS
    }

    /// Answers a wish from claims or from a job that is open already; else gives what the market is
    /// to be asked for.
    fn want(&mut self, waiter: Waiter, label: String, action: Action) -> Option<offer::Want> {
        let key = match action.key() {
            Ok(key) => key,
            Err(error) => {
                self.end_run(waiter.run, State::Failed, Some(error.to_string()));
                return None;
            }
        };
        let run = self.runs.get_mut(&waiter.run)?;
        let (reuse, place, role) = (run.reuse, run.place.clone(), run.role);
        let project = offer::ProjectKey::of(&run.view.project);
        run.wants.insert(waiter.want, key);
        run.shown()
            .steps
            .insert(waiter.want, new_step(waiter.want, label, key));
        // What is found whole from here on stays until the run itself keeps it.
        let _held = self.shared.home.store.hold();
        self.shared.keeping.wanted(waiter.run, &action);
        if let Some(job) = self.jobs.get_mut(&key) {
            job.waiters.insert(waiter);
            self.show_standing(key);
            return None;
        }
        if let Some(outcome) = self.scales().anywhere().claimed(key, &action, reuse) {
            self.note_maker(&action, &outcome);
            self.counters.cached += 1;
            self.note_hit(&outcome);
            self.finish(&BTreeSet::from([waiter]), &outcome);
            return None;
        }
        let encoded = match action.encode() {
            Ok(encoded) => encoded,
            Err(error) => {
                self.end_run(waiter.run, State::Failed, Some(error.to_string()));
                return None;
            }
        };
        // What is fetched is fetched by whoever was asked for it: nobody's line is lent. Nor does a
        // secret ever leave this node. No place is chosen for either.
        let remote_ok = is_lendable(&action);
        let below = self.below(&action);
        let place = if remote_ok {
            place
        } else {
            offer::Place::default()
        };
        let want = offer::Want {
            job: key.into(),
            platform: action.platform.clone(),
            priority: Priority::Normal,
            project,
            rate: offer::Rate::USUAL,
            both: false,
            cost_ms: self.cost_ms(&action),
            remote_ok,
            needs: action.needs(),
            place: place.clone(),
            lineage: below.lineage,
            missing_bytes: below.missing_bytes,
            holders: below.holders,
            role,
            action: encoded,
        };
        self.jobs.insert(
            key,
            Job {
                action,
                waiters: BTreeSet::from([waiter]),
                place,
                trouble: None,
            },
        );
        Some(want)
    }

    pub(crate) fn unwant(&mut self, waiter: Waiter) {
        let Some(run) = self.runs.get_mut(&waiter.run) else {
            return;
        };
        let Some(key) = run.wants.remove(&waiter.want) else {
            return;
        };
        if let Some(step) = run.shown().steps.get_mut(&waiter.want) {
            step.state = State::Cancelled;
        }
        let Some(job) = self.jobs.get_mut(&key) else {
            return;
        };
        job.waiters.remove(&waiter);
        if job.waiters.is_empty() {
            self.jobs.remove(&key);
            self.market(offer::Event::Unwant(key.into()));
        }
    }

    /// An own job has a result that is believed and here.
    pub(crate) fn close(&mut self, key: ActionKey, outcome: &Outcome) {
        let Some(job) = self.jobs.remove(&key) else {
            return;
        };
        self.note_maker(&job.action, outcome);
        self.finish(&job.waiters, outcome);
        self.on_remade(key, outcome);
    }

    fn finish(&mut self, waiters: &BTreeSet<Waiter>, outcome: &Outcome) {
        for waiter in waiters {
            self.shared.keeping.got(waiter.run, outcome);
            if !outcome.cached
                && let Some(run) = self.runs.get_mut(&waiter.run)
            {
                run.shown().executed += 1;
            }
            let done = WantState::Done(outcome.clone());
            self.move_on(*waiter, done, |step| show_done(step, outcome));
        }
    }

    /// Takes in a wish of a policy that has heard already what claims say of it.
    pub(crate) fn answered(
        &mut self,
        waiter: Waiter,
        label: String,
        action: &Action,
        outcome: &Outcome,
    ) {
        self.note_maker(action, outcome);
        let Some(run) = self.runs.get_mut(&waiter.run) else {
            return;
        };
        let mut step = new_step(waiter.want, label, outcome.action);
        show_done(&mut step, outcome);
        run.shown().steps.insert(waiter.want, step);
        self.counters.cached += 1;
        self.note_hit(outcome);
    }

    /// Shows everybody who waits for an action where it stands with the market.
    pub(crate) fn show_standing(&mut self, key: ActionKey) {
        let Some(job) = self.jobs.get(&key) else {
            return;
        };
        let own = self.shared.home.key.node();
        let (state, node, attempt) = match self.engine.standing(key.into()) {
            None | Some(offer::Standing::Waiting | offer::Standing::Resting) => {
                (State::Ready, None, 0)
            }
            Some(offer::Standing::Here { number }) => (State::Running, Some(own), number),
            Some(offer::Standing::There { number, node }) => (State::Running, Some(node), number),
        };
        let trouble = job.trouble.clone();
        for waiter in job.waiters.clone() {
            let told = node.map_or(WantState::Queued, WantState::Running);
            let trouble = trouble.clone();
            self.move_on(waiter, told, move |step| {
                step.state = state;
                step.node = node;
                step.attempt = attempt;
                step.message = trouble;
            });
        }
    }

    /// Notes trouble that a job had on its way, for those who look.
    pub(crate) fn note_trouble(&mut self, key: ActionKey, trouble: String) {
        if let Some(job) = self.jobs.get_mut(&key) {
            tracing::info!(job = %key.fmt_short(), %trouble, "a job goes on after trouble");
            job.trouble = Some(trouble);
            self.show_standing(key);
        }
    }

    /// The infrastructure's last word on a job.
    pub(crate) fn close_infra(&mut self, key: ActionKey, why: &str) {
        let trouble = self.jobs.get(&key).and_then(|job| job.trouble.clone());
        let message = trouble.map_or_else(|| why.to_owned(), |last| format!("{why}: {last}"));
        let message = format!("infrastructure failure, not the project's: {message}");
        self.close_undone(key, message);
    }

    /// A job that nobody does, for the reason that the message gives.
    pub(crate) fn close_undone(&mut self, key: ActionKey, message: String) {
        let outcome = Outcome {
            action: key,
            verdict: Verdict::Infra,
            output: None,
            outputs: BTreeMap::new(),
            log: None,
            level: Level::Local,
            node: self.shared.home.key.node(),
            cached: false,
            wall_ms: 0,
            message: Some(message),
        };
        self.close(key, &outcome);
    }
}

/// Whether others may do it: what reaches out or is shown a secret is done here.
pub(super) fn is_lendable(action: &Action) -> bool {
    matches!(&action.work, Work::Run(run)
        if run.secrets.is_empty() && run.network == Network::None)
}

fn new_step(want: WantId, label: String, action: ActionKey) -> StepView {
    StepView {
        want,
        label,
        action,
        state: State::Ready,
        node: None,
        level: None,
        cached: false,
        infra: false,
        attempt: 0,
        wall_ms: 0,
        log: None,
        output: None,
        message: None,
    }
}

fn show_done(step: &mut StepView, done: &Outcome) {
    step.state = match done.verdict {
        Verdict::Pass => State::Ok,
        Verdict::Fail | Verdict::Infra => State::Failed,
    };
    step.node = Some(done.node);
    step.level = Some(done.level);
    step.cached = done.cached;
    step.infra = done.verdict == Verdict::Infra;
    step.wall_ms = done.wall_ms;
    step.log = done.log;
    step.output = done.output;
    step.message.clone_from(&done.message);
}

/// What of an attempt's end is worth telling the owner's users, beside its claim.
pub(crate) fn words(built: &Built) -> Option<String> {
    built
        .message
        .as_ref()
        .map(|words| words.chars().take(4000).collect())
}

/// When an attempt that took so long began.
pub(crate) fn began(wall_ms: u64) -> caravan_protocol::time::Stamp {
    caravan_protocol::time::Stamp::from_ms(clock::stamp().as_ms().saturating_sub(wall_ms))
}

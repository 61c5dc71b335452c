//! Runs: one policy over one subject, and what it has come to.

use std::{collections::BTreeMap, sync::Arc};

use caravan_protocol::{
    ids::{ActionKey, RoleId, RunId},
    offer::Place,
    policy::{
        Base, Command, Event, Params, ProjectHead, RepositoryHead, WantId, WantState, Watched,
    },
    role::run_id,
    time::Time,
    view::{PolicyView, RunView, State, StepView},
};
use caravan_store::{Edit, Lease};
use tokio::sync::mpsc;

use super::{
    Driver, RUNS_MAX,
    host::{self, PolicyStep, Said, Told},
    jobs::Waiter,
    roles::{self, Heads},
    weigh::Reuse,
};
use crate::{
    build::chain,
    clock,
    control::{CiRequest, SecretValue},
};

/// A hosted run.
pub(crate) struct Run {
    /// Shared with the snapshots that were published; changed by [`Run::shown`].
    pub(crate) view: Arc<RunView>,
    /// Where the policy hears; gone once the run has ended.
    pub(crate) policy: Option<mpsc::Sender<Told>>,
    pub(crate) wants: BTreeMap<WantId, ActionKey>,
    /// When steps that run now were first seen running.
    pub(crate) began: BTreeMap<WantId, Time>,
    pub(crate) reuse: Reuse,
    /// Where its steps may run.
    pub(crate) place: Place,
    /// Bases that were asked for by name; none for the node's.
    pub(crate) bases: Vec<String>,
    /// How it was asked for, if it is a run of CI that was asked for here in this life.
    pub(crate) request: Option<CiRequest>,
    /// What its steps may be shown; gone with the run.
    pub(crate) secrets: Vec<SecretValue>,
    /// Keeps what its subject names, until it has ended.
    pub(crate) lease: Option<Lease>,
    /// What the person who asked said.
    pub(crate) params: Params,
    /// In whose name its steps run, where others may take it over.
    pub(crate) role: Option<RoleId>,
    /// What it watches, where that is known from its charge.
    pub(crate) given: Option<Heads>,
}

/// What a run begins with.
pub(crate) struct Opening {
    pub(crate) role: &'static str,
    pub(crate) project: String,
    pub(crate) branch: String,
    pub(crate) commit: String,
    pub(crate) title: String,
    pub(crate) params: Params,
    pub(crate) reuse: Reuse,
}

impl Run {
    /// A run of which nothing is asked yet.
    pub(crate) fn new(view: RunView, reuse: Reuse, policy: Option<mpsc::Sender<Told>>) -> Self {
        Self {
            view: Arc::new(view),
            policy,
            wants: BTreeMap::new(),
            began: BTreeMap::new(),
            reuse,
            place: Place::default(),
            bases: Vec::new(),
            request: None,
            secrets: Vec::new(),
            lease: None,
            params: Params::default(),
            role: None,
            given: None,
        }
    }

    /// What is shown of it, to be changed: no snapshot that is out changes with it.
    pub(crate) fn shown(&mut self) -> &mut RunView {
        Arc::make_mut(&mut self.view)
    }
}

impl Driver {
    pub(crate) fn start_run(&mut self, request: CiRequest) -> Result<RunId, String> {
        let place = self.place_of(request.on, &request.not_on)?;
        let elsewhere = self.is_held_elsewhere("ci", &request.project);
        let params = roles::params(&request);
        let id = self.open_run(Opening {
            role: "ci",
            project: request.project.clone(),
            branch: request.reference.clone().unwrap_or_default(),
            commit: String::new(),
            title: String::new(),
            params: params.clone(),
            reuse: match request.rebuild {
                true => Reuse::Passed,
                false => Reuse::Any,
            },
        })?;
        if let Some(run) = self.runs.get_mut(&id) {
            run.bases.clone_from(&request.bases);
            run.place = place;
            run.request = Some(request.clone());
            if elsewhere {
                run.policy = None;
            }
        }
        if elsewhere {
            self.draft_elsewhere(id, request);
        } else {
            self.draft(id, params);
            self.find_subject(id, request);
        }
        // Whoever asked looks for the run at once.
        self.publish();
        Ok(id)
    }

    /// Makes a run whose policy waits for its subject.
    pub(crate) fn open_run(&mut self, opening: Opening) -> Result<RunId, String> {
        if self.stance.reasons.going.is_some() {
            let text = "begin a run: this node is draining; ask another, or `caravan node resume`";
            return Err(text.to_owned());
        }
        let role = opening.role;
        let factory = self
            .shared
            .factories
            .iter()
            .find(|factory| factory.role() == role);
        let factory =
            factory.ok_or_else(|| format!("this node has no policy for the role {role}"))?;
        let policy = factory.start(&opening.params);
        let me = self.shared.home.key.node();
        let mut started = clock::stamp();
        let name = |started| run_id(me, role, &opening.project, started);
        while self.runs.contains_key(&name(started)) {
            started = started.after(std::time::Duration::from_millis(1));
        }
        let id = name(started);
        let (inbox, events) = mpsc::channel(host::INBOX_MAX);
        self.host(id, policy, opening.reuse, events);
        let view = RunView {
            id,
            role: role.to_owned(),
            project: opening.project,
            branch: opening.branch,
            commit: opening.commit,
            title: opening.title,
            state: State::Running,
            message: None,
            notes: Vec::new(),
            started,
            finished: None,
            executed: 0,
            policy: PolicyView::default(),
            steps: BTreeMap::new(),
        };
        let mut run = Run::new(view, opening.reuse, Some(inbox));
        run.params = opening.params;
        self.runs.insert(id, run);
        Ok(id)
    }

    pub(crate) fn on_subject(&mut self, id: RunId, found: Result<ProjectHead, String>) {
        match found {
            Ok(head) => {
                let Some(run) = self.runs.get_mut(&id) else {
                    return;
                };
                let view = run.shown();
                view.branch.clone_from(&head.branch);
                view.commit.clone_from(&head.commit);
                view.title.clone_from(&head.title);
                view.notes.clone_from(&head.notes);
                self.keep_run(id);
                self.watched(id, Watched::Project(head));
            }
            Err(text) => self.end_run(id, State::Failed, Some(text)),
        }
    }

    pub(crate) fn on_repositories(
        &mut self,
        id: RunId,
        found: Result<Vec<RepositoryHead>, String>,
    ) {
        let watched = match found {
            Ok(heads) => Watched::Repositories(heads),
            Err(text) => Watched::Unavailable(text),
        };
        self.watched(id, watched);
    }

    fn watched(&mut self, id: RunId, watched: Watched) {
        self.draft_found(id, &watched);
        self.tell(id, Event::Watched(watched));
    }

    pub(crate) fn on_bases(&mut self, id: RunId, found: Result<Vec<Base>, String>) {
        match found {
            Ok(bases) => self.watched(id, Watched::Bases(bases)),
            Err(text) => self.end_run(id, State::Failed, Some(text)),
        }
    }

    pub(crate) fn on_policy(&mut self, id: RunId, step: PolicyStep) {
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        if run.policy.is_none() {
            return;
        }
        run.shown().policy = step.view;
        self.changed = true;
        if let Some(trouble) = step.trouble {
            return self.end_run(id, State::Failed, Some(trouble));
        }
        let mut wanted = Vec::new();
        for Said { command, answer } in step.said {
            self.draft_asked(id, &command);
            let given = self.runs.get(&id).and_then(|run| run.given.as_ref());
            match command {
                Command::WatchRepositories(_) if given.is_some() => {
                    let heads = given.map(|given| given.repositories.clone());
                    let heads = heads.unwrap_or_default();
                    self.watched(id, Watched::Repositories(heads));
                }
                Command::WatchBases if given.is_some() => {
                    let bases = given.map(|given| given.bases.clone()).unwrap_or_default();
                    self.watched(id, Watched::Bases(bases));
                }
                Command::WatchRepositories(names) => self.find_repositories(id, names),
                Command::WatchBases => self.find_bases(id),
                // Done before the driver heard of the step.
                Command::Provide { .. } => {}
                Command::Want {
                    id: want,
                    label,
                    action,
                    level: _,
                } => {
                    let waiter = Waiter { run: id, want };
                    match answer {
                        Some(outcome) => self.answered(waiter, label, &action, &outcome),
                        None => wanted.push((waiter, label, action)),
                    }
                }
                Command::Unwant(want) => {
                    wanted.retain(|(waiter, ..)| waiter.want != want);
                    self.unwant(Waiter { run: id, want });
                }
            }
        }
        self.draft_stepped(id);
        self.want_all(wanted);
        let open = self.runs.get(&id).is_some_and(|run| !run.wants.is_empty());
        if step.settled && !open {
            // Nothing executed is no pass, unless nothing was to be done.
            let bad = |run: &Run| {
                let mut variants = run.view.policy.variants.iter();
                (run.view.steps.is_empty() && !step.may_do_nothing)
                    || variants.any(|variant| variant.state != State::Ok)
            };
            let failed = self.runs.get(&id).is_none_or(bad);
            self.end_run(id, if failed { State::Failed } else { State::Ok }, None);
        }
    }

    /// Tells a run's policy something.
    pub(crate) fn tell(&mut self, id: RunId, event: Event) {
        let Some(run) = self.runs.get(&id) else {
            return;
        };
        let Some(policy) = &run.policy else { return };
        let roster = Arc::clone(&self.membership.roster);
        if policy.try_send(Told { event, roster }).is_err() {
            self.end_run(
                id,
                State::Failed,
                Some("the policy is overwhelmed or has died".to_owned()),
            );
        }
    }

    /// Moves a wish of a run on, in its view and for its policy.
    pub(crate) fn move_on(
        &mut self,
        waiter: Waiter,
        state: WantState,
        change: impl FnOnce(&mut StepView),
    ) {
        let Some(run) = self.runs.get_mut(&waiter.run) else {
            return;
        };
        if let Some(step) = run.shown().steps.get_mut(&waiter.want) {
            change(step);
        }
        if matches!(state, WantState::Done(_)) {
            run.wants.remove(&waiter.want);
        }
        self.changed = true;
        self.tell(
            waiter.run,
            Event::Want {
                id: waiter.want,
                state,
            },
        );
    }

    pub(crate) fn cancel_run(&mut self, id: RunId, why: &str) -> Result<(), String> {
        let run = self.runs.get(&id).ok_or("there is no such run")?;
        if run.view.finished.is_none() {
            self.end_run(id, State::Cancelled, Some(why.to_owned()));
        }
        Ok(())
    }

    pub(crate) fn end_run(&mut self, id: RunId, state: State, message: Option<String>) {
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        if run.view.finished.is_some() {
            return;
        }
        run.policy = None;
        run.secrets.clear();
        run.lease = None;
        let view = run.shown();
        view.state = state;
        view.message = message;
        view.finished = Some(clock::stamp());
        let open: Vec<WantId> = run.wants.keys().copied().collect();
        for want in open {
            self.unwant(Waiter { run: id, want });
        }
        if let Some(run) = self.runs.get_mut(&id) {
            let view = run.shown();
            let steps = view.steps.values_mut();
            for step in steps.filter(|step| !step.state.is_final()) {
                step.state = State::Cancelled;
            }
            let variants = view.policy.variants.iter_mut();
            for variant in variants.filter(|variant| !variant.state.is_final()) {
                variant.state = State::Cancelled;
            }
        }
        // Whoever waits for its end hears of it at once; its record is for later lives.
        self.publish();
        self.forget_runs();
        self.keep_run(id);
        self.shared.keeping.end_run(id);
        self.draft_ended(id);
        self.role_run_ended(id, state == State::Cancelled);
    }

    /// Keeps the record of a run.
    pub(crate) fn keep_run(&self, id: RunId) {
        let edits: Vec<Edit> = self.record(id).into_iter().collect();
        self.keep_records(&edits);
    }

    /// Forgets the oldest runs, here and in the records.
    pub(crate) fn forget_runs(&mut self) {
        let edits = self.forget_oldest();
        self.keep_records(&edits);
    }

    /// At shutdown: every run ends, and what runs is stopped.
    pub(crate) fn give_up_all(&mut self) {
        let open: Vec<RunId> = self
            .runs
            .values()
            .filter(|run| run.view.finished.is_none())
            .map(|run| run.view.id)
            .collect();
        let me = self.shared.home.key.node();
        for id in open {
            let charge = self.roles.engine.charge(id);
            if charge.is_some_and(|charge| charge.requester != me) {
                // It goes on with the next one.
                self.let_go(id);
            } else {
                self.end_run(id, State::Cancelled, Some(STOPPED.to_owned()));
            }
        }
        self.flights.cancel_all();
        self.publish();
    }

    /// Runs of earlier lives, for the pages; those that were open then were cut off.
    pub(crate) fn load_history(&mut self) {
        let records = self.shared.home.store.records("run").unwrap_or_default();
        for (_, bytes) in records {
            let Ok(mut view) = decode(&bytes) else {
                continue;
            };
            if view.finished.is_none() {
                view.state = State::Cancelled;
                view.message = Some(STOPPED.to_owned());
                view.finished = Some(view.started);
            }
            self.runs.insert(view.id, Run::new(view, Reuse::Any, None));
        }
        let edits = self.forget_oldest();
        self.keep_records(&edits);
    }

    /// The record of a run, for later lives.
    fn record(&self, id: RunId) -> Option<Edit> {
        let run = self.runs.get(&id)?;
        match caravan_protocol::codec::encode::<RUN_BYTES_MAX>(&*run.view) {
            Ok(bytes) => Some(Edit::Put {
                kind: "run".to_owned(),
                key: id.to_string(),
                bytes,
            }),
            Err(error) => {
                tracing::warn!(%error, run = %id.fmt_short(), "could not keep the run's record");
                None
            }
        }
    }

    /// Forgets the runs beyond the bound that ended first; gives what that changes of the records.
    fn forget_oldest(&mut self) -> Vec<Edit> {
        let mut edits = Vec::new();
        while self.runs.len() > RUNS_MAX {
            let ended = self.runs.values().filter(|run| run.view.finished.is_some());
            let first = ended.min_by_key(|run| run.view.finished);
            let Some(id) = first.map(|run| run.view.id) else {
                break;
            };
            self.runs.remove(&id);
            edits.push(Edit::Remove {
                kind: "run".to_owned(),
                key: id.to_string(),
            });
        }
        edits
    }

    /// Changes the records of runs, all for one wait for the disk.
    fn keep_records(&self, edits: &[Edit]) {
        if edits.is_empty() {
            return;
        }
        if let Err(error) = self.shared.home.store.edit_records(edits) {
            tracing::warn!(error = %chain(&error), "could not keep the records of runs");
        }
    }
}

const STOPPED: &str = "the node stopped; ask again: finished steps are kept";
const RUN_BYTES_MAX: usize = 4 * 1024 * 1024;

pub(super) fn decode(bytes: &[u8]) -> Result<RunView, caravan_protocol::codec::CodecError> {
    // Rows of a run are larger in memory than in bytes, and the largest run that was kept is read.
    caravan_protocol::codec::decode::<{ 4 * RUN_BYTES_MAX }, _>(bytes)
}

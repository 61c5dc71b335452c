//! The `build` policy: between the events of a node and a plan.

use std::collections::BTreeMap;

use caravan_protocol::{
    claim::Verdict,
    ids::TreeId,
    level::Level,
    policy::{
        Command, Event, Factory, Found, Outcome, Params, Policy, SpecHead, WantId, WantState,
        Watched,
    },
    view::{PolicyView, State},
};

use crate::{
    actions::{self, Root},
    plan::{From, Plan, Work},
    show,
};

/// Makes `build` policies.
#[derive(Debug, Clone, Copy, Default)]
pub struct BuildFactory;

impl Factory for BuildFactory {
    fn role(&self) -> &'static str {
        "build"
    }

    fn start(&self, _params: &Params) -> Box<dyn Policy> {
        Box::new(Build::default())
    }
}

/// One spec's run.
#[derive(Debug, Default)]
pub struct Build {
    going: Option<Going>,
    /// Why it cannot be done, if it cannot.
    trouble: Option<String>,
}

/// A plan under way.
#[derive(Debug)]
pub(crate) struct Going {
    pub(crate) plan: Plan,
    head: SpecHead,
    /// How far each build of the plan is.
    pub(crate) progress: Vec<Progress>,
    /// Where each step stands that was asked for.
    pub(crate) states: BTreeMap<WantId, State>,
    /// The step that failed, with its words.
    pub(crate) failed: Option<(WantId, String)>,
}

/// How far a build is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// How many of its steps are done.
    done: usize,
    /// What they came to.
    layers: Vec<TreeId>,
    /// Whether the step after them is asked for.
    asked: bool,
}

impl Going {
    fn new(head: SpecHead) -> Result<Self, String> {
        let plan = Plan::of(&head.spec).map_err(|error| error.to_string())?;
        let copies = head.spec.context_copies().len();
        let lacks = |image: &_| !head.images.contains_key(image);
        if copies != head.context.len() || head.spec.images().into_iter().any(lacks) {
            return Err("plan the build: the node did not bring all that it needs".to_owned());
        }
        Ok(Self {
            progress: vec![Progress::default(); plan.builds.len()],
            plan,
            head,
            states: BTreeMap::new(),
            failed: None,
        })
    }

    fn found(&self, at: usize) -> &Found {
        let image = &self.plan.builds[at].image;
        self.head.images.get(image).expect("every image was found")
    }

    fn root(&self, at: usize) -> Root<'_> {
        Root {
            found: self.found(at),
            layers: &self.progress[at].layers,
        }
    }

    fn is_done(&self, at: usize) -> bool {
        self.progress[at].done == self.plan.builds[at].steps.len()
    }

    pub(crate) fn is_all_done(&self) -> bool {
        (0..self.progress.len()).all(|at| self.is_done(at))
    }

    /// Asks for every step that can be done now.
    fn advance(&mut self, out: &mut Vec<Command>) {
        if self.failed.is_some() {
            return;
        }
        for at in 0..self.progress.len() {
            if self.progress[at].asked || self.is_done(at) {
                continue;
            }
            let made = &self.plan.builds[at];
            let step = &made.steps[self.progress[at].done];
            if let Work::Copy {
                from: From::Build(other),
                ..
            } = step.work
                && !self.is_done(other)
            {
                continue;
            }
            let root_of = |at| self.root(at);
            out.push(Command::Want {
                id: step.want,
                label: step.label.clone(),
                action: actions::action(&self.head, made, step, self.root(at), root_of),
                level: Level::Local,
            });
            self.states.insert(step.want, State::Ready);
            self.progress[at].asked = true;
        }
    }

    fn on_done(&mut self, id: WantId, outcome: &Outcome, out: &mut Vec<Command>) {
        let at = |at: &usize| {
            self.plan.builds[*at]
                .steps
                .iter()
                .any(|step| step.want == id)
        };
        let Some(at) = (0..self.progress.len()).find(at) else {
            return;
        };
        let awaited = self.plan.builds[at].steps.get(self.progress[at].done);
        if !self.progress[at].asked || awaited.is_none_or(|step| step.want != id) {
            return;
        }
        match (outcome.verdict, outcome.output) {
            (Verdict::Pass, Some(layer)) => {
                self.states.insert(id, State::Ok);
                let progress = &mut self.progress[at];
                actions::put(&mut progress.layers, layer);
                progress.done += 1;
                progress.asked = false;
            }
            (Verdict::Pass, None) => self.fail(id, "it passed and left no layer", out),
            (Verdict::Fail | Verdict::Infra, _) => {
                let words = outcome.message.as_deref();
                self.fail(id, words.unwrap_or("it failed and says nothing"), out);
            }
        }
    }

    /// The first failure ends the whole build: what else is under way is given up.
    fn fail(&mut self, id: WantId, words: &str, out: &mut Vec<Command>) {
        self.states.insert(id, State::Failed);
        self.failed = Some((id, words.to_owned()));
        for (want, state) in &mut self.states {
            if !state.is_final() {
                *state = State::Cancelled;
                out.push(Command::Unwant(*want));
            }
        }
    }

    fn on_want(&mut self, id: WantId, state: &WantState, out: &mut Vec<Command>) {
        let known = self.states.get(&id).copied();
        if self.failed.is_some() || known.is_none_or(State::is_final) {
            return;
        }
        match state {
            WantState::Queued => drop(self.states.insert(id, State::Ready)),
            WantState::Running(_) => drop(self.states.insert(id, State::Running)),
            WantState::Done(outcome) => {
                self.on_done(id, outcome, out);
                self.advance(out);
            }
        }
    }
}

impl Policy for Build {
    fn role(&self) -> &'static str {
        "build"
    }

    fn handle(&mut self, event: Event, out: &mut Vec<Command>) {
        match event {
            Event::Watched(Watched::Spec(head)) if self.going.is_none() => match Going::new(head) {
                Ok(mut going) => {
                    going.advance(out);
                    self.going = Some(going);
                }
                Err(why) => self.trouble = Some(why),
            },
            Event::Watched(Watched::Unavailable(why)) => self.trouble = Some(why),
            // A spec does not change under its run, and the rest is of other roles.
            Event::Watched(_) => {}
            Event::Want { id, state } => {
                if let Some(going) = &mut self.going {
                    going.on_want(id, &state, out);
                }
            }
        }
    }

    fn view(&self) -> PolicyView {
        show::view(self.going.as_ref(), self.trouble.as_deref())
    }

    fn is_settled(&self) -> bool {
        let going = self.going.as_ref();
        let ended = going.is_some_and(|going| going.failed.is_some() || going.is_all_done());
        ended || self.trouble.is_some()
    }

    fn may_do_nothing(&self) -> bool {
        true
    }
}

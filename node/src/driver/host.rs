//! Where a policy lives: a task of its own takes in what it is told, keeps what it provides and
//! answers the wishes that claims answer, all before the driver hears of it. So a run whose steps
//! have all been done costs the driver one notice and not one for each step. It changes no state of
//! the driver's.

use std::{collections::BTreeSet, sync::Arc};

use caravan_protocol::{
    identity::Roster,
    ids::RunId,
    policy::{Command, Event, Outcome, Policy, WantId, WantState},
    view::PolicyView,
};
use caravan_store::{FULL_WORDS, Store, StoreError};
use tokio::sync::mpsc;

use super::{
    Driver, Notice, Shared, index,
    keeping::make_room,
    weigh::{Reuse, Scales},
};
use crate::build::chain;

/// Events that may wait for a policy.
pub(super) const INBOX_MAX: usize = 8192;
/// Wishes that are answered before the driver hears of any: whoever looks at a long run is to see
/// it move, and a policy that never stops wanting is not alone for long.
const ANSWERS_MAX: usize = 256;

/// Something that a policy is told.
pub(crate) struct Told {
    pub(crate) event: Event,
    /// The members whose claims count just then.
    pub(crate) roster: Arc<Roster>,
}

/// What a policy wants, and what it has been answered already.
pub(crate) struct Said {
    pub(crate) command: Command,
    /// What claims say of a wish. The policy knows.
    pub(crate) answer: Option<Outcome>,
}

/// What a policy did with what it was told.
pub(crate) struct PolicyStep {
    pub(crate) said: Vec<Said>,
    pub(crate) view: PolicyView,
    pub(crate) settled: bool,
    pub(crate) may_do_nothing: bool,
    /// Why what the policy provides could not be kept.
    pub(crate) trouble: Option<String>,
}

/// What a policy's task may use.
struct Host {
    shared: Arc<Shared>,
    run: RunId,
    reuse: Reuse,
}

impl Driver {
    /// A policy may think for a second (a solve), so it has a task of its own.
    pub(super) fn host(
        &self,
        run: RunId,
        policy: Box<dyn Policy>,
        reuse: Reuse,
        mut told: mpsc::Receiver<Told>,
    ) {
        let shared = Arc::clone(&self.shared);
        shared.keeping.begin_run(run, &shared.home.store);
        let host = Arc::new(Host { shared, run, reuse });
        self.shared.tasks.spawn("policy", async move {
            let shared = Arc::clone(&host.shared);
            let mut policy = policy;
            while let Some(first) = told.recv().await {
                let mut roster = first.roster;
                let mut events = vec![first.event];
                while let Ok(next) = told.try_recv() {
                    roster = next.roster;
                    events.push(next.event);
                }
                let host = Arc::clone(&host);
                let work = shared.tasks.blocking(move || {
                    let step = host.step(policy.as_mut(), events, &roster);
                    (policy, step)
                });
                let (back, step) = match work.await {
                    Ok(told) => told,
                    Err(died) if died.is_panic() => {
                        let trouble = "its policy died, which is a fault of this program; the \
                                       node's own log has the words";
                        let notice = Notice::Policy {
                            run,
                            step: PolicyStep {
                                said: Vec::new(),
                                view: PolicyView::default(),
                                settled: false,
                                may_do_nothing: false,
                                trouble: Some(trouble.to_owned()),
                            },
                        };
                        let _ = shared.notices.send(notice).await;
                        return;
                    }
                    // The node stops.
                    Err(_) => return,
                };
                policy = back;
                let is_full = |words: &String| words.contains(FULL_WORDS);
                if step.trouble.as_ref().is_some_and(is_full) {
                    make_room(&shared, true).await;
                }
                let notice = Notice::Policy { run, step };
                if shared.notices.send(notice).await.is_err() {
                    return;
                }
            }
        });
    }
}

impl Host {
    fn step(&self, policy: &mut dyn Policy, events: Vec<Event>, roster: &Roster) -> PolicyStep {
        let mut trouble = None;
        let kept = |commands: &[Command]| {
            self.shared.keeping.provided(self.run, commands);
            let kept = provide(&self.shared.home.store, commands);
            trouble = kept.err().map(|error| chain(&error));
            trouble.is_none()
        };
        let answer = |command: &Command| self.answer(command, roster);
        let said = converse(policy, events, kept, answer, |open| self.look_up(open));
        PolicyStep {
            said,
            view: policy.view(),
            settled: policy.is_settled(),
            may_do_nothing: policy.may_do_nothing(),
            trouble,
        }
    }

    /// Asks the mesh for wishes that nothing here answers. Says whether there is anything new.
    fn look_up(&self, open: &[&Command]) -> bool {
        if self.reuse == Reuse::Nothing {
            return false;
        }
        let actions = open.iter().filter_map(|command| match command {
            Command::Want { action, .. } => Some(action),
            _ => None,
        });
        index::look_up(&self.shared, &actions.collect::<Vec<_>>())
    }

    /// What claims say of a wish, if that can be used.
    fn answer(&self, command: &Command, roster: &Roster) -> Option<Outcome> {
        let Command::Want { action, .. } = command else {
            return None;
        };
        // The driver says why an action is none.
        let key = action.key().ok()?;
        // What is found whole from here on stays until the run itself keeps it.
        let _held = self.shared.home.store.hold();
        let keeping = &self.shared.keeping;
        keeping.wanted(self.run, action);
        let scales = Scales::new(&self.shared, roster).anywhere();
        let outcome = scales.claimed(key, action, self.reuse)?;
        keeping.got(self.run, &outcome);
        Some(outcome)
    }
}

/// Tells a policy these events, and of each wish that is answered at once, until it has heard all.
/// What it says is `kept` before any wish is answered; if it cannot be, the talk ends. What nothing
/// answers is looked up, all of one round at once, and asked for once more if that gave anything.
fn converse(
    policy: &mut dyn Policy,
    mut events: Vec<Event>,
    mut kept: impl FnMut(&[Command]) -> bool,
    mut answer: impl FnMut(&Command) -> Option<Outcome>,
    mut look_up: impl FnMut(&[&Command]) -> bool,
) -> Vec<Said> {
    let mut said: Vec<Said> = Vec::new();
    let mut answers = 0;
    while !events.is_empty() {
        let mut commands = Vec::new();
        for event in events.drain(..) {
            policy.handle(event, &mut commands);
        }
        if !kept(&commands) {
            break;
        }
        // What was wished and given up in one breath is not looked for.
        let dropped: BTreeSet<WantId> = commands.iter().filter_map(unwanted).collect();
        let is_open = |command: &Command| matches!(command, Command::Want { id, .. } if !dropped.contains(id));
        let mut round: Vec<Said> = Vec::new();
        for command in commands {
            let may = is_open(&command) && answers < ANSWERS_MAX;
            let found = if may { answer(&command) } else { None };
            answers += usize::from(found.is_some());
            round.push(Said {
                command,
                answer: found,
            });
        }
        let is_unanswered = |said: &&Said| said.answer.is_none() && is_open(&said.command);
        let open: Vec<&Command> = round
            .iter()
            .filter(is_unanswered)
            .map(|said| &said.command)
            .collect();
        if !open.is_empty() && look_up(&open) {
            for said in &mut round {
                if answers < ANSWERS_MAX && said.answer.is_none() && is_open(&said.command) {
                    said.answer = answer(&said.command);
                    answers += usize::from(said.answer.is_some());
                }
            }
        }
        for Said { command, answer } in &round {
            if let (Command::Want { id, .. }, Some(outcome)) = (command, answer) {
                let state = WantState::Done(outcome.clone());
                events.push(Event::Want { id: *id, state });
            }
        }
        said.append(&mut round);
    }
    said
}

fn unwanted(command: &Command) -> Option<WantId> {
    match command {
        Command::Unwant(id) => Some(*id),
        _ => None,
    }
}

/// Keeps the small trees that a policy makes, all of them for one wait for the disk.
fn provide(store: &Store, commands: &[Command]) -> Result<(), StoreError> {
    let mut batch = store.batch();
    let mut any = false;
    for command in commands {
        let Command::Provide { tree, blobs } = command else {
            continue;
        };
        let (id, _) = tree.seal()?;
        if store.missing(id)?.is_empty() {
            continue;
        }
        any = true;
        for blob in blobs {
            batch.put_blob(blob)?;
        }
        batch.put_tree(tree)?;
    }
    if any { batch.commit() } else { Ok(()) }
}

#[cfg(test)]
mod tests;

//! What of a run's view is new: as much of it as fits into one message. Pure.

use std::sync::Arc;

use caravan_protocol::{
    codec::{self, CodecError},
    role::limits::SHOWN_BYTES_MAX,
    time::Stamp,
    view::{PolicyView, RunView, State, StepView},
};
use serde::{Deserialize, Serialize};

/// Most bytes of one patch that are steps.
const STEPS_BYTES: usize = SHOWN_BYTES_MAX / 2;
/// Most bytes of one patch that are the policy's own view.
const POLICY_BYTES: usize = SHOWN_BYTES_MAX / 4;
/// Most steps that are taken of one run from another node.
const STEPS_MAX: usize = 8192;
/// Longest words of one step, characters; and most that are taken.
const WORDS_MAX: usize = 1000;

/// A change of a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Patch {
    state: State,
    message: Option<String>,
    notes: Vec<String>,
    finished: Option<Stamp>,
    executed: u32,
    policy: Option<PolicyView>,
    steps: Vec<StepView>,
}

impl Patch {
    /// The change from what the viewer has, encoded, and what it has then. The end of a run is in
    /// the last one only.
    pub(super) fn make(
        had: Option<&RunView>,
        view: &RunView,
    ) -> Result<(Vec<u8>, Arc<RunView>), CodecError> {
        let mut then = had.cloned().unwrap_or_else(|| RunView {
            policy: PolicyView::default(),
            steps: std::collections::BTreeMap::new(),
            ..view.clone()
        });
        let mut room = STEPS_BYTES;
        let mut steps = Vec::new();
        let mut whole = true;
        for (want, step) in &view.steps {
            let mut step = step.clone();
            shorten(&mut step);
            if then.steps.get(want) == Some(&step) {
                continue;
            }
            let bytes = codec::encode::<STEPS_BYTES>(&step)?.len();
            let Some(left) = room.checked_sub(bytes) else {
                whole = false;
                break;
            };
            room = left;
            then.steps.insert(*want, step.clone());
            steps.push(step);
        }
        let policy = (then.policy != view.policy).then(|| fitting(&view.policy));
        if policy.is_some() {
            // So that it is not told again and again where it had to be cut.
            then.policy = view.policy.clone();
        }
        let end = whole.then_some(view.finished).flatten();
        let patch = Self {
            state: if whole { view.state } else { State::Running },
            message: view.message.as_ref().map(|words| short(words)),
            notes: view.notes.iter().take(8).map(|note| short(note)).collect(),
            finished: end,
            executed: view.executed,
            policy,
            steps,
        };
        let bytes = codec::encode::<SHOWN_BYTES_MAX>(&patch)?;
        then.state = patch.state;
        then.message.clone_from(&view.message);
        then.notes.clone_from(&view.notes);
        (then.finished, then.executed) = (end, view.executed);
        Ok((bytes, Arc::new(then)))
    }

    /// Reads what another node made.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode::<SHOWN_BYTES_MAX, _>(bytes)
    }

    /// Changes a view.
    pub(super) fn apply(self, view: &mut RunView) {
        view.state = self.state;
        view.message = self.message.as_deref().map(short);
        view.notes = self.notes;
        (view.finished, view.executed) = (self.finished, self.executed);
        if let Some(policy) = self.policy {
            view.policy = policy;
        }
        for mut step in self.steps {
            shorten(&mut step);
            if view.steps.len() < STEPS_MAX || view.steps.contains_key(&step.want) {
                view.steps.insert(step.want, step);
            }
        }
    }
}

fn short(words: &str) -> String {
    words.chars().take(WORDS_MAX).collect()
}

fn shorten(step: &mut StepView) {
    step.label = short(&step.label);
    step.message = step.message.as_deref().map(short);
}

/// A policy's view as large as it may be: without its drawing, or without its table if need be.
fn fitting(policy: &PolicyView) -> PolicyView {
    let fits = |policy: &PolicyView| codec::encode::<POLICY_BYTES>(policy).is_ok();
    if fits(policy) {
        return policy.clone();
    }
    let mut less = PolicyView {
        terms: Vec::new(),
        ..policy.clone()
    };
    if !fits(&less) {
        less.variants.clear();
        less.summary = short(&less.summary);
    }
    less
}

#[cfg(test)]
mod tests;

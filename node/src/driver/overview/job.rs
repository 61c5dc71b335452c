//! What became of one job, and a run that is asked for once more.

use std::collections::{BTreeMap, BTreeSet};

use caravan_protocol::{
    ids::{ActionKey, NodeId, RunId},
    time::Stamp,
    view::{AttemptView, JobStep, JobView, State},
};

use super::super::{Driver, history::Attempt};
use crate::clock;

/// Steps of runs that are named with a job.
const STEPS_MAX: usize = 16;
/// Fewest digits that name a job.
const PREFIX_MIN: usize = 4;

impl Driver {
    /// What became of the job whose key begins so.
    pub(in crate::driver) fn job_view(&self, prefix: &str) -> Result<JobView, String> {
        let key = self.find_job(prefix)?;
        let record = self.history.get(key);
        let open = self.history.open(key);
        let steps = self.steps_of(key);
        let (mut label, mut project) = self.called(key).unwrap_or_default();
        if let Some(record) = record.filter(|_| label.is_empty()) {
            label.clone_from(&record.label);
            project.clone_from(&record.project);
        }
        let ended = self.step_end(key);
        if let Some((named, _)) = steps.first().filter(|_| label.is_empty()) {
            label.clone_from(&named.label);
        }
        if project.is_empty() {
            let run = steps.first().and_then(|(step, _)| self.runs.get(&step.run));
            project = run.map(|run| run.view.project.clone()).unwrap_or_default();
        }
        let operators: BTreeMap<NodeId, String> = self
            .nodes(clock::stamp(), 0)
            .into_values()
            .map(|node| (node.node, node.operator))
            .collect();
        let queued = self.engine.waits(key.into());
        let attempts: Vec<AttemptView> = record
            .into_iter()
            .flat_map(|record| &record.attempts)
            .map(|attempt| attempt_view(attempt, &operators))
            .collect();
        let live = attempts.iter().any(|attempt| attempt.ended.is_none());
        let remembered = record.and_then(|record| record.end.clone());
        let state = match (&queued, live, &remembered, &ended) {
            (Some(_), ..) => State::Ready,
            (None, true, ..) => State::Running,
            (None, false, Some((state, _)), _) => *state,
            (None, false, None, Some((state, _))) => *state,
            (None, false, None, None) if open.is_some() => State::Ready,
            (None, false, None, None) => State::Cancelled,
        };
        let note = match (remembered, ended) {
            (Some((_, words)), _) if !words.is_empty() => Some(words),
            (_, Some((_, words))) if attempts.is_empty() => Some(words),
            _ => None,
        };
        Ok(JobView {
            job: key,
            label,
            project,
            platform: open
                .map(|open| open.platform.clone())
                .or_else(|| record.and_then(|record| record.platform.clone())),
            state,
            wanted: open
                .map(|open| open.wanted)
                .or_else(|| record.and_then(|record| record.wanted)),
            waits: queued.map(|queued| self.reason(&queued, &operators)),
            cost_ms: open
                .map(|open| open.cost_ms)
                .or_else(|| record.and_then(|record| record.cost_ms)),
            steps: steps.into_iter().map(|(step, _)| step).collect(),
            attempts,
            forgotten: record.map_or(0, |record| record.forgotten),
            note,
        })
    }

    fn find_job(&self, prefix: &str) -> Result<ActionKey, String> {
        if prefix.len() < PREFIX_MIN || !prefix.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!(
                "find job {prefix}: give at least the first {PREFIX_MIN} digits of its key"
            ));
        }
        let prefix = prefix.to_ascii_lowercase();
        let mut found: BTreeSet<ActionKey> = self.history.find(&prefix);
        for run in self.runs.values() {
            let keys = run.view.steps.values().map(|step| step.action);
            found.extend(keys.filter(|key| key.to_string().starts_with(&prefix)));
        }
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some(key), None) => Ok(key),
            (Some(_), Some(_)) => Err(format!(
                "find job {prefix}: several begin so; give more digits"
            )),
            (None, _) => Err(format!(
                "find job {prefix}: this node knows none of that name, or has forgotten it; \
                 `caravan job show RUN` names the jobs of a run"
            )),
        }
    }

    /// Steps of runs that are a job, the newest run first.
    fn steps_of(&self, key: ActionKey) -> Vec<(JobStep, Stamp)> {
        let mut steps: Vec<(JobStep, Stamp)> = Vec::new();
        for (id, run) in &self.runs {
            let of_it = run.view.steps.values().filter(|step| step.action == key);
            steps.extend(of_it.map(|step| {
                let step = JobStep {
                    run: *id,
                    want: step.want,
                    label: step.label.clone(),
                };
                (step, run.view.started)
            }));
        }
        steps.sort_by_key(|(_, started)| std::cmp::Reverse(*started));
        steps.truncate(STEPS_MAX);
        steps
    }

    /// How the newest step that is a job ended, and what is known of that beside its attempts.
    fn step_end(&self, key: ActionKey) -> Option<(State, String)> {
        let (step, _) = self.steps_of(key).into_iter().next()?;
        let run = self.runs.get(&step.run)?;
        let step = run.view.steps.get(&step.want)?;
        let node = step.node.map(|node| node.fmt_short()).unwrap_or_default();
        let words = if step.cached {
            format!("it was not run: node {node} had done it before, and its claim was used")
        } else if step.state.is_final() {
            format!("its attempts are not remembered any more; node {node} ran it")
        } else {
            String::new()
        };
        Some((step.state, words)).filter(|(state, _)| state.is_final())
    }

    /// Takes what a run asked for through once more: what failed is tried again.
    pub(in crate::driver) fn run_again(
        &mut self,
        id: RunId,
        on: Option<NodeId>,
        not_on: &[NodeId],
    ) -> Result<RunId, String> {
        let run = self
            .runs
            .get(&id)
            .ok_or_else(|| format!("run {} again: there is no such run", id.fmt_short()))?;
        let view = &run.view;
        let Some(request) = &run.request else {
            let hint = match view.role.as_str() {
                "build" => format!("`caravan build --rebuild -f SPEC {}`", view.project),
                _ => format!(
                    "`caravan ci {} --ref {} --rebuild`",
                    view.project, view.branch
                ),
            };
            let id = id.fmt_short();
            return Err(format!(
                "run {id} again: how it was asked for is not remembered; ask with {hint}"
            ));
        };
        let mut request = request.clone();
        // The very commit, whatever its branch is at by now.
        if !view.commit.is_empty() {
            request.reference = Some(view.commit.clone());
        }
        request.rebuild = true;
        request.on = on;
        request.not_on = not_on.to_vec();
        self.start_run(request)
    }
}

fn attempt_view(attempt: &Attempt, operators: &BTreeMap<NodeId, String>) -> AttemptView {
    AttemptView {
        owner: attempt.id.owner,
        number: attempt.id.number,
        node: attempt.node,
        operator: operators.get(&attempt.node).cloned().unwrap_or_default(),
        placed: attempt.placed,
        why: attempt.why,
        bids: attempt.bids.clone(),
        passes: attempt.passes.clone(),
        phases: attempt.phases.clone(),
        ended: attempt.ended,
        end: attempt.end.clone(),
        won: attempt.won,
    }
}

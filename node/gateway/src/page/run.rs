//! `/run/{id}`: one run of a policy over a commit.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use caravan_protocol::{
    policy::WantId,
    view::{RunView, State, VariantView},
};

use super::{Counts, Place, ProjectName, RunRow, Shell, Trust, View, Who, step};
use crate::{
    drawing::{self, Drawing},
    limits,
    text::{self, Text},
};

/// A variant in the table.
#[derive(Debug)]
pub(crate) struct VariantRow {
    pub(crate) name: Text,
    pub(crate) url: String,
    pub(crate) state: State,
    pub(crate) message: Option<Text>,
    pub(crate) steps_done: usize,
    pub(crate) steps: usize,
    pub(crate) cached: usize,
    pub(crate) who: Option<Who>,
    pub(crate) level: Option<Trust>,
    pub(crate) duration: Option<String>,
}

impl VariantRow {
    fn new(view: &View, run: &RunView, variant: &VariantView) -> Self {
        let steps: Vec<_> = variant
            .wants
            .iter()
            .filter_map(|want| run.steps.get(want))
            .collect();
        let last = steps.iter().rev().find(|step| step.node.is_some());
        let own: u64 = steps
            .iter()
            .filter(|step| !step.cached)
            .map(|step| step.wall_ms)
            .sum();
        Self {
            name: Text::new(&variant.name),
            url: super::variant_url(run.id, &variant.name),
            state: variant.state,
            message: variant.message.as_deref().map(Text::line),
            steps_done: steps.iter().filter(|step| step.state == State::Ok).count(),
            steps: variant.wants.len(),
            cached: steps.iter().filter(|step| step.cached).count(),
            who: last.and_then(|step| step.node).map(|node| view.who(node)),
            level: last.and_then(|step| step.level).map(Trust::from),
            duration: (own > 0).then(|| text::duration(own)),
        }
    }
}

#[derive(Debug, Template)]
#[template(path = "run.html")]
pub(crate) struct Page {
    pub(crate) shell: Shell,
    pub(crate) project: ProjectName,
    pub(crate) run: RunRow,
    pub(crate) commit: Text,
    pub(crate) id: String,
    pub(crate) summary: Text,
    pub(crate) executed: u32,
    pub(crate) cached: usize,
    pub(crate) steps_all: usize,
    pub(crate) finished: bool,
    pub(crate) variants: Vec<VariantRow>,
    pub(crate) variants_left_out: usize,
    pub(crate) steps: Vec<step::Row>,
    pub(crate) steps_left_out: usize,
    pub(crate) step_counts: Counts,
    pub(crate) drawing: Drawing,
    pub(crate) levels: [Trust; 4],
}

impl Page {
    pub(crate) fn new(view: &View, run: &RunView) -> Self {
        let row = RunRow::new(run, view.now);
        let name = ProjectName::new(&run.project);
        let title = format!("{} · {} · {}", run.state.word(), name.short, row.branch);
        let wants = in_reading_order(run);
        let steps = step_rows(view, run, &wants);
        Self {
            shell: view.shell(&title, Place::Projects).showing(run.state),
            project: name,
            commit: Text::new(&run.commit),
            id: run.id.to_string(),
            summary: Text::line(&run.policy.summary),
            executed: run.executed,
            cached: run.steps.values().filter(|step| step.cached).count(),
            steps_all: run.steps.len(),
            finished: run.finished.is_some(),
            variants: run
                .policy
                .variants
                .iter()
                .take(limits::ROWS_MAX)
                .map(|variant| VariantRow::new(view, run, variant))
                .collect(),
            variants_left_out: run.policy.variants.len().saturating_sub(limits::ROWS_MAX),
            steps_left_out: wants.len() - steps.len(),
            steps,
            step_counts: Counts::of(run.steps.values().map(|step| step.state)),
            drawing: drawing::draw(&run.policy.terms, |want| super::step_url(run.id, want)),
            levels: super::all_levels(),
            run: row,
        }
    }
}

/// The rows of the first steps, each with the variants that it is part of.
fn step_rows(view: &View, run: &RunView, wants: &[WantId]) -> Vec<step::Row> {
    let mut within: BTreeMap<WantId, (&str, usize)> = BTreeMap::new();
    for variant in &run.policy.variants {
        for want in &variant.wants {
            within
                .entry(*want)
                .and_modify(|(_, more)| *more += 1)
                .or_insert((&variant.name, 0));
        }
    }
    let steps = wants
        .iter()
        .take(limits::ROWS_MAX)
        .filter_map(|want| run.steps.get(want));
    steps
        .map(|step| {
            let mut row = step::Row::new(view, run, step);
            let part = within
                .get(&step.want)
                .filter(|(name, _)| *name != step.label);
            if let Some((name, more)) = part {
                (row.within, row.within_more) = (Some(Text::new(name)), *more);
            }
            row
        })
        .collect()
}

/// The steps as a reader wants them: failed ones first, then those under way, then the others,
/// each as the variants list them.
fn in_reading_order(run: &RunView) -> Vec<WantId> {
    let mut seen = BTreeSet::new();
    let listed = run
        .policy
        .variants
        .iter()
        .flat_map(|variant| variant.wants.iter());
    let mut wants: Vec<WantId> = listed
        .chain(run.steps.keys())
        .copied()
        .filter(|want| run.steps.contains_key(want) && seen.insert(*want))
        .collect();
    wants.sort_by_key(|want| match run.steps[want].state {
        State::Failed => 0,
        State::Running => 1,
        _ => 2,
    });
    wants
}

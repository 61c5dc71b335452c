//! `/projects/{slug}`: the runs of a project by branch, and how they went over time.

use std::collections::BTreeMap;

use askama::Template;
use caravan_protocol::view::{RunView, State};

use super::{Place, ProjectName, RunRow, Shell, View};
use crate::{
    limits, slug,
    text::{self, Text},
};

/// The newest runs of a branch.
#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) name: Text,
    pub(crate) badge: String,
    pub(crate) runs: Vec<RunRow>,
    pub(crate) left_out: usize,
}

/// One run in the chart, oldest first.
#[derive(Debug)]
pub(crate) struct Bar {
    pub(crate) url: String,
    pub(crate) state: State,
    pub(crate) x: usize,
    pub(crate) y: u64,
    pub(crate) height: u64,
    pub(crate) label: String,
}

#[derive(Debug, Template)]
#[template(path = "project.html")]
pub(crate) struct Page {
    pub(crate) shell: Shell,
    pub(crate) project: ProjectName,
    pub(crate) branches: Vec<Branch>,
    pub(crate) left_out: usize,
    pub(crate) bars: Vec<Bar>,
    pub(crate) chart_width: usize,
    pub(crate) runs: usize,
    pub(crate) reliability: Option<String>,
    pub(crate) average: Option<String>,
    pub(crate) api: String,
}

const CHART_HEIGHT: u64 = 56;
const BAR_STEP: usize = 14;

impl Page {
    /// The page of the project that `name` is the slug of, if there is one.
    pub(crate) fn new(view: &View, name: &str) -> Option<Self> {
        let runs = super::of_project(&view.snapshot, name);
        let project = &runs.first()?.project;
        let (branches, left_out) = branches(view, &runs);
        let bars = bars(view, &runs);
        let ended: Vec<u64> = runs
            .iter()
            .filter(|run| matches!(run.state, State::Ok | State::Failed))
            .map(|run| super::wall_ms(run, view.now))
            .collect();
        let good = runs.iter().filter(|run| run.state == State::Ok).count();
        let mut shell = view.shell(ProjectName::new(project).short.as_str(), Place::Projects);
        shell.live = runs.iter().any(|run| !run.state.is_final());
        shell.icon = runs.first().map(|run| run.state);
        Some(Self {
            shell,
            project: ProjectName::new(project),
            branches,
            left_out,
            chart_width: bars.len() * BAR_STEP,
            bars,
            runs: runs.len(),
            reliability: (!ended.is_empty())
                .then(|| format!("{} % of {}", good * 100 / ended.len(), ended.len())),
            average: (!ended.is_empty())
                .then(|| text::duration(ended.iter().sum::<u64>() / ended.len() as u64)),
            api: format!("/api{}", super::project_url(project)),
        })
    }
}

fn branches(view: &View, runs: &[&RunView]) -> (Vec<Branch>, usize) {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut branches: Vec<(&RunView, Vec<&RunView>)> = Vec::new();
    for run in runs {
        let at = *places.entry(&run.branch).or_insert_with(|| {
            branches.push((run, Vec::new()));
            branches.len() - 1
        });
        branches[at].1.push(run);
    }
    let left_out = branches
        .len()
        .saturating_sub(limits::ROWS_MAX / limits::BRANCH_RUNS_MAX);
    let shown = branches.len() - left_out;
    let branches = branches
        .into_iter()
        .take(shown)
        .map(|(first, runs)| Branch {
            name: Text::new(if first.branch.is_empty() {
                "(no branch)"
            } else {
                &first.branch
            }),
            badge: format!(
                "/badge/{}/{}",
                slug::of(&first.project),
                slug::of(&first.branch)
            ),
            left_out: runs.len().saturating_sub(limits::BRANCH_RUNS_MAX),
            runs: runs
                .iter()
                .take(limits::BRANCH_RUNS_MAX)
                .map(|run| RunRow::new(run, view.now))
                .collect(),
        });
    (branches.collect(), left_out)
}

fn bars(view: &View, runs: &[&RunView]) -> Vec<Bar> {
    let mut shown: Vec<&&RunView> = runs.iter().take(limits::CHART_RUNS_MAX).collect();
    shown.reverse();
    let longest = shown
        .iter()
        .map(|run| super::wall_ms(run, view.now))
        .max()
        .unwrap_or(1)
        .max(1);
    let bar = |(at, run): (usize, &&&RunView)| {
        let ms = super::wall_ms(run, view.now);
        let height = u64::try_from(u128::from(ms) * u128::from(CHART_HEIGHT) / u128::from(longest))
            .unwrap_or(CHART_HEIGHT)
            .max(3);
        Bar {
            url: super::run_url(run.id),
            state: run.state,
            x: at * BAR_STEP,
            y: CHART_HEIGHT - height.min(CHART_HEIGHT),
            height,
            label: Text::new(&format!(
                "{} {}: {} in {}",
                run.branch,
                super::short_commit(&run.commit),
                run.state.word(),
                text::duration(ms)
            ))
            .to_string(),
        }
    };
    shown.iter().enumerate().map(bar).collect()
}

//! `/run/{id}/step/{want}`: one step with its log; also the rows of steps in other pages.

use askama::Template;
use caravan_protocol::{
    policy::WantId,
    view::{RunView, State, StepView},
};

use super::{Place, ProjectName, Shell, Trust, View, Who};
use crate::{
    limits,
    log::{self, LogPart},
    source::Source,
    text::{self, Text},
};

/// A step in a table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) want: u64,
    pub(crate) url: String,
    pub(crate) label: Text,
    pub(crate) state: State,
    pub(crate) who: Option<Who>,
    pub(crate) level: Option<Trust>,
    pub(crate) cached: bool,
    pub(crate) attempt: u32,
    pub(crate) duration: Option<String>,
    pub(crate) message: Option<Text>,
    pub(crate) action: String,
    pub(crate) action_short: String,
    pub(crate) output: Option<String>,
    /// The first variant that has it, where that is worth saying.
    pub(crate) within: Option<Text>,
    /// Variants that have it besides that one.
    pub(crate) within_more: usize,
}

impl Row {
    pub(crate) fn new(view: &View, run: &RunView, step: &StepView) -> Self {
        let began = !matches!(step.state, State::Blocked | State::Ready);
        Self {
            want: step.want.0,
            url: super::step_url(run.id, step.want),
            label: Text::new(&step.label),
            state: step.state,
            who: step.node.map(|node| view.who(node)),
            level: step.level.map(Trust::from),
            cached: step.cached,
            attempt: step.attempt,
            duration: (began && !step.cached).then(|| text::duration(step.wall_ms)),
            message: step.message.as_deref().map(Text::line),
            action: step.action.to_string(),
            action_short: step.action.fmt_short(),
            output: step.output.map(|tree| tree.to_string()),
            within: None,
            within_more: 0,
        }
    }
}

#[derive(Debug, Template)]
#[template(path = "step.html")]
pub(crate) struct Page {
    pub(crate) shell: Shell,
    pub(crate) project: ProjectName,
    pub(crate) branch: Text,
    pub(crate) commit: Text,
    pub(crate) run_url: String,
    pub(crate) step: Row,
    pub(crate) used_by: Vec<(Text, String)>,
    pub(crate) log: Option<LogPart>,
    pub(crate) levels: [Trust; 4],
}

impl Page {
    /// The page of a step, if the run has it.
    pub(crate) fn new(
        view: &View,
        source: &dyn Source,
        run: &RunView,
        want: WantId,
    ) -> Option<Self> {
        let step = run.steps.get(&want)?;
        let log = log::tail(source, run.id, want, limits::LOG_PAGE_BYTES)
            .map(|window| LogPart::new(&window, ""));
        Some(Self {
            shell: view.shell(&step.label, Place::Projects).showing(step.state),
            project: ProjectName::new(&run.project),
            branch: Text::new(&run.branch),
            commit: super::short_commit(&run.commit),
            run_url: super::run_url(run.id),
            step: Row::new(view, run, step),
            used_by: run
                .policy
                .variants
                .iter()
                .filter(|variant| variant.wants.contains(&want))
                .take(limits::ROWS_MAX)
                .map(|variant| {
                    (
                        Text::new(&variant.name),
                        super::variant_url(run.id, &variant.name),
                    )
                })
                .collect(),
            log,
            levels: super::all_levels(),
        })
    }

    pub(crate) fn key(&self) -> String {
        format!("{}{}", self.step.state.is_final(), self.log.is_some())
    }
}

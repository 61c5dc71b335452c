//! `/run/{id}/variant/{name}`: the steps of one variant with their logs, what failed first.

use askama::Template;
use caravan_protocol::{
    policy::WantId,
    view::{RunView, State, VariantView},
};

use super::{Place, ProjectName, Shell, Trust, View, step};
use crate::{
    limits,
    log::{self, LogPart},
    source::Source,
    text::{self, Html, Text},
};

/// A step with its log.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) step: step::Row,
    /// Whether this is the step that the page is about.
    pub(crate) focus: bool,
    pub(crate) log: Option<LogPart>,
    /// Whether there is a log that found no place on this page.
    pub(crate) log_elsewhere: bool,
}

/// What went wrong, to be read first.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) label: Option<Text>,
    pub(crate) message: Option<Text>,
    pub(crate) excerpt: Html,
    pub(crate) lines: Vec<u64>,
}

#[derive(Debug, Template)]
#[template(path = "variant.html")]
pub(crate) struct Page {
    pub(crate) shell: Shell,
    pub(crate) project: ProjectName,
    pub(crate) branch: Text,
    pub(crate) commit: Text,
    pub(crate) title: Text,
    pub(crate) run_url: String,
    pub(crate) name: Text,
    pub(crate) state: State,
    pub(crate) message: Option<Text>,
    pub(crate) recipe: Option<String>,
    pub(crate) trouble: Option<Trouble>,
    pub(crate) sections: Vec<Section>,
    pub(crate) left_out: usize,
    pub(crate) work: String,
    pub(crate) api: String,
    pub(crate) siblings: Vec<super::Mark>,
    pub(crate) levels: [Trust; 4],
}

impl Page {
    /// The page of a variant; without `logs` it has all but the lines of the logs, for a script
    /// that has those already.
    pub(crate) fn new(
        view: &View,
        source: &dyn Source,
        run: &RunView,
        variant: &VariantView,
        logs: bool,
    ) -> Self {
        let wants: Vec<WantId> = variant
            .wants
            .iter()
            .copied()
            .filter(|want| run.steps.contains_key(want))
            .take(limits::ROWS_MAX)
            .collect();
        let focus = focus(run, &wants);
        let mut sections: Vec<Section> = wants
            .iter()
            .map(|want| Section {
                step: step::Row::new(view, run, &run.steps[want]),
                focus: Some(*want) == focus,
                log: None,
                log_elsewhere: false,
            })
            .collect();
        let trouble = fill(source, run, variant, &mut sections, logs);
        let own = wants
            .iter()
            .map(|want| &run.steps[want])
            .filter(|step| !step.cached);
        let title = format!("{} · {}", variant.state.word(), variant.name);
        let url = super::variant_url(run.id, &variant.name);
        Self {
            shell: view.shell(&title, Place::Projects).showing(variant.state),
            project: ProjectName::new(&run.project),
            branch: Text::new(&run.branch),
            commit: super::short_commit(&run.commit),
            title: Text::line(&run.title),
            run_url: super::run_url(run.id),
            name: Text::new(&variant.name),
            state: variant.state,
            message: variant.message.as_deref().map(Text::line),
            recipe: variant.recipe.as_deref().map(text::block),
            trouble,
            left_out: variant.wants.len() - sections.len(),
            work: text::duration(own.map(|step| step.wall_ms).sum()),
            sections,
            api: format!("/api{url}"),
            siblings: super::RunRow::new(run, view.now).marks,
            levels: super::all_levels(),
        }
    }

    /// Changes whenever more than marks and numbers of the page do.
    pub(crate) fn key(&self) -> String {
        let mut key = self.state.word().to_owned();
        for section in &self.sections {
            let log = section.log.is_some() || section.log_elsewhere;
            key.push_str(if section.step.state.is_final() {
                "f"
            } else {
                "o"
            });
            key.push_str(if log { "l" } else { "-" });
        }
        key
    }
}

/// The step that a reader came for: what failed, else what runs, else what came last.
fn focus(run: &RunView, wants: &[WantId]) -> Option<WantId> {
    let of = |state| wants.iter().find(|want| run.steps[want].state == state);
    of(State::Failed)
        .or_else(|| of(State::Running))
        .or_else(|| {
            wants
                .iter()
                .rev()
                .find(|want| run.steps[want].state == State::Ok)
        })
        .or_else(|| wants.last())
        .copied()
}

/// Reads the logs: the focus first, the others from the last one on, as far as the page's bound
/// goes.
fn fill(
    source: &dyn Source,
    run: &RunView,
    variant: &VariantView,
    sections: &mut [Section],
    logs: bool,
) -> Option<Trouble> {
    let mut order: Vec<usize> = (0..sections.len()).rev().collect();
    order.sort_by_key(|at| !sections[*at].focus);
    let mut left = limits::LOG_PAGE_BYTES;
    let mut trouble = None;
    for at in order {
        let section = &mut sections[at];
        let want = WantId(section.step.want);
        let max = if section.focus {
            left
        } else {
            left.min(limits::LOG_FOLDED_BYTES)
        };
        if max == 0 || !logs {
            section.log_elsewhere = source.log(run.id, want, 0, 0).is_some();
            continue;
        }
        let Some(window) = log::tail(source, run.id, want, max) else {
            continue;
        };
        left = left.saturating_sub(window.bytes.len() as u64);
        let prefix = if section.focus {
            String::new()
        } else {
            format!("s{}-", want.0)
        };
        let part = LogPart::new(&window, &prefix);
        if section.focus && section.step.state == State::Failed {
            trouble = Some(Trouble {
                label: Some(section.step.label.clone()),
                message: section.step.message.clone(),
                excerpt: Html(log::excerpt(&window, &part.errors)),
                lines: part.errors.clone(),
            });
        }
        section.log = Some(part);
    }
    let failed = variant.state == State::Failed && logs;
    trouble.or_else(|| failed.then(|| without_log(variant, sections)))
}

fn without_log(variant: &VariantView, sections: &[Section]) -> Trouble {
    let focus = sections
        .iter()
        .find(|section| section.focus && section.step.state == State::Failed);
    Trouble {
        label: focus.map(|section| section.step.label.clone()),
        message: focus
            .and_then(|section| section.step.message.clone())
            .or_else(|| variant.message.as_deref().map(Text::line)),
        excerpt: Html::default(),
        lines: Vec::new(),
    }
}

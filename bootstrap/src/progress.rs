//! How a run goes, while it goes: bars on a terminal, plain lines elsewhere. All of it is on
//! standard error, so that what is piped on is the result alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::IsTerminal,
    time::Duration,
};

use caravan_protocol::{
    policy::WantId,
    view::{RunView, State, StepView, VariantView},
};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::show;

/// Labels of running steps in one line.
const RUNNING_SHOWN: usize = 4;

/// Shows a run.
pub(crate) struct Progress {
    shown: bool,
    bars: Option<MultiProgress>,
    variants: BTreeMap<String, ProgressBar>,
    steps: BTreeSet<WantId>,
    ended: BTreeSet<String>,
    begun: bool,
    waiting: Option<ProgressBar>,
    troubles: BTreeSet<String>,
}

impl Progress {
    /// Shows nothing at all unless `shown`.
    pub(crate) fn new(shown: bool) -> Self {
        let bars = (shown && std::io::stderr().is_terminal()).then(MultiProgress::new);
        let waiting = bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new_spinner());
            bar.set_message("looking at the project");
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self {
            shown,
            bars,
            variants: BTreeMap::new(),
            steps: BTreeSet::new(),
            ended: BTreeSet::new(),
            begun: false,
            waiting,
            troubles: BTreeSet::new(),
        }
    }

    /// Shows what is new.
    pub(crate) fn update(&mut self, run: &RunView) {
        if !self.shown {
            return;
        }
        if !self.begun && !run.commit.is_empty() {
            self.begun = true;
            for note in &run.notes {
                self.line(&format!("note: {note}"));
            }
            self.line(&format!(
                "{} {} {} {}",
                run.project,
                run.branch,
                short(&run.commit),
                run.title
            ));
        }
        let planned = run
            .policy
            .variants
            .iter()
            .any(|variant| !variant.wants.is_empty());
        if let Some(waiting) = &self.waiting {
            if planned {
                waiting.finish_and_clear();
                self.waiting = None;
            } else if !run.commit.is_empty() {
                waiting.set_message(
                    "getting ready: bases and opam repositories (a first base takes minutes)",
                );
            }
        }
        for step in run.steps.values() {
            self.step(run, step);
        }
        for variant in &run.policy.variants {
            self.variant(run, variant);
        }
    }

    /// Takes the bars away.
    pub(crate) fn finish(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            waiting.finish_and_clear();
        }
        for bar in self.variants.values() {
            bar.finish_and_clear();
        }
    }

    fn step(&mut self, run: &RunView, step: &StepView) {
        if let (State::Ready | State::Running, Some(trouble)) = (step.state, &step.message)
            && self.troubles.insert(format!("{} {trouble}", step.label))
        {
            self.line(&format!("  {}: {trouble}", step.label));
        }
        if !step.state.is_final() || !self.steps.insert(step.want) || step.cached {
            return;
        }
        let by = step.node.map(|node| node.fmt_short()).unwrap_or_default();
        let level = step
            .level
            .map(|level| level.to_string())
            .unwrap_or_default();
        let (mark, word) = (show::mark(step.state), step.state.word());
        let done = run
            .steps
            .values()
            .filter(|step| step.state.is_final())
            .count();
        self.line(&format!(
            "  {mark} [{done}/{}] {:<28} {word} in {} by {by} ({level})",
            run.steps.len(),
            step.label,
            show::duration(step.wall_ms),
        ));
    }

    fn variant(&mut self, run: &RunView, variant: &VariantView) {
        let ended = variant.state.is_final();
        if ended && self.ended.insert(variant.name.clone()) {
            if let Some(bar) = self.variants.remove(&variant.name) {
                bar.finish_and_clear();
            }
            let message = variant
                .message
                .as_deref()
                .and_then(|text| text.lines().next())
                .unwrap_or("");
            let (mark, word) = (show::mark(variant.state), variant.state.word());
            self.line(&format!("{mark} {} {word} {message}", variant.name));
        }
        let Some(bars) = self
            .bars
            .as_ref()
            .filter(|_| !ended && !variant.wants.is_empty())
        else {
            return;
        };
        let bar = self
            .variants
            .entry(variant.name.clone())
            .or_insert_with(|| {
                let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg}");
                let bar = bars.add(ProgressBar::new(0));
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
                bar.set_prefix(variant.name.clone());
                bar
            });
        let steps = || variant.wants.iter().filter_map(|want| run.steps.get(want));
        bar.set_length(variant.wants.len() as u64);
        bar.set_position(steps().filter(|step| step.state.is_final()).count() as u64);
        let running = steps().filter(|step| step.state == State::Running);
        let labels: Vec<&str> = running
            .map(|step| step.label.as_str())
            .take(RUNNING_SHOWN)
            .collect();
        bar.set_message(labels.join(", "));
    }

    fn line(&self, text: &str) {
        let text = &show::plain(text);
        match &self.bars {
            // A terminal that went away is no reason to stop the run.
            Some(bars) => drop(bars.println(text)),
            None => eprintln!("{text}"),
        }
    }
}

fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}

/// How far one long piece of work is.
pub(crate) struct Bar {
    bar: Option<ProgressBar>,
    said: String,
}

impl Bar {
    pub(crate) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| ProgressBar::new(0));
        Self {
            bar,
            said: String::new(),
        }
    }

    pub(crate) fn update(&mut self, what: &str, done: u64, total: u64) {
        match &self.bar {
            Some(bar) => {
                bar.set_length(total);
                bar.set_position(done);
                bar.set_message(what.to_owned());
            }
            None if self.said != what => {
                eprintln!("{what}");
                what.clone_into(&mut self.said);
            }
            None => {}
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

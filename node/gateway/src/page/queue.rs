//! `/queue`: what waits and why, what runs, what goes over the wire and what the cache has saved. The
//! same as `caravan top` shows.

use askama::Template;
use caravan_protocol::{
    ids::ActionKey,
    time::Stamp,
    view::{
        CacheView, LinkView, ModeView, NodeView, Overview, PhaseView, RunningView, State,
        WaitingView,
    },
};

use super::{Place, ProjectName, Shell, View, Who, step_url};
use crate::{
    limits,
    text::{self, Text, When},
};

/// A job that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) place: usize,
    pub(crate) label: Text,
    pub(crate) job: String,
    pub(crate) url: Option<String>,
    pub(crate) project: ProjectName,
    pub(crate) platform: String,
    pub(crate) urgent: bool,
    pub(crate) since: When,
    pub(crate) reason: Text,
}

/// An attempt under way.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) label: Text,
    pub(crate) job: String,
    pub(crate) url: Option<String>,
    pub(crate) project: Option<ProjectName>,
    /// Who wants it, if that is not this node.
    pub(crate) owner: Option<Who>,
    pub(crate) who: Who,
    pub(crate) number: u32,
    pub(crate) hedge: bool,
    pub(crate) phase: &'static str,
    pub(crate) detail: String,
    pub(crate) elapsed: String,
    pub(crate) estimate: Option<String>,
    /// Width of the done part of a bar that is 100 wide.
    pub(crate) done: u64,
    pub(crate) late: bool,
}

/// A member in brief.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) who: Who,
    pub(crate) mode: &'static str,
    pub(crate) state: &'static str,
    pub(crate) platforms: String,
    pub(crate) why: Option<Text>,
    pub(crate) running: u32,
    pub(crate) slots: u32,
    pub(crate) used: u64,
    pub(crate) heard: Option<When>,
}

/// What went over the wire.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) who: Option<Who>,
    pub(crate) came: String,
    pub(crate) went: String,
    pub(crate) came_all: String,
    pub(crate) went_all: String,
}

#[derive(Debug, Template)]
#[template(path = "queue.html")]
pub(crate) struct Page {
    pub(crate) shell: Shell,
    pub(crate) standing: Option<Text>,
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) waiting_more: u64,
    pub(crate) waiting_all: String,
    pub(crate) running: Vec<Running>,
    pub(crate) running_more: usize,
    pub(crate) running_all: u32,
    pub(crate) members: Vec<Member>,
    pub(crate) members_more: usize,
    pub(crate) members_all: u32,
    pub(crate) links: Vec<Link>,
    pub(crate) cache: Vec<(&'static str, String)>,
}

const PLATFORMS_MAX: usize = 8;

impl Page {
    pub(crate) fn new(view: &View, overview: &Overview) -> Self {
        let busy = !overview.running.is_empty() || !overview.queue.is_empty();
        let shell = view.shell("Queue", Place::Queue);
        let waiting: Vec<Waiting> = overview
            .queue
            .iter()
            .take(limits::ROWS_MAX)
            .enumerate()
            .map(|(at, job)| waiting(view, at, job))
            .collect();
        let shown = overview.running.iter().take(limits::ROWS_MAX);
        let running: Vec<Running> = shown.map(|run| running(view, overview, run)).collect();
        let nodes = overview.nodes.iter().take(limits::ROWS_MAX);
        let members: Vec<Member> = nodes.map(|node| member(view, node)).collect();
        let all = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        Self {
            shell: if busy {
                shell.showing(State::Running)
            } else {
                shell
            },
            standing: overview.standing.as_deref().map(Text::line),
            waiting_more: overview.waiting.saturating_sub(waiting.len() as u64),
            waiting_all: text::number(overview.waiting),
            waiting,
            running_more: all(overview.running_all).saturating_sub(running.len()),
            running_all: overview.running_all,
            running,
            members_more: all(overview.nodes_all).saturating_sub(members.len()),
            members_all: overview.nodes_all,
            members,
            links: overview
                .links
                .iter()
                .take(limits::ROWS_MAX)
                .map(|moved| link(view, moved))
                .collect(),
            cache: cache(&overview.cache),
        }
    }

    pub(crate) fn waiting_more_text(&self) -> String {
        text::number(self.waiting_more)
    }
}

fn named(label: &str, job: ActionKey) -> Text {
    if label.trim().is_empty() {
        Text::new(&job.fmt_short())
    } else {
        Text::line(label)
    }
}

/// The page of the step that wants a job, if one of the runs that are shown does.
fn url_of(view: &View, job: ActionKey) -> Option<String> {
    let runs = view.snapshot.runs().filter(|run| run.finished.is_none());
    let mut steps = runs.flat_map(|run| run.steps.values().map(move |step| (run.id, step)));
    let (run, step) = steps.find(|(_, step)| step.action == job)?;
    Some(step_url(run, step.want))
}

fn waiting(view: &View, at: usize, job: &WaitingView) -> Waiting {
    Waiting {
        place: at + 1,
        label: named(&job.label, job.job),
        job: job.job.to_string(),
        url: url_of(view, job.job),
        project: ProjectName::new(&job.project),
        platform: job.platform.to_string(),
        urgent: job.urgent,
        since: When::new(job.since, view.now),
        reason: Text::line(&job.reason),
    }
}

fn running(view: &View, overview: &Overview, run: &RunningView) -> Running {
    let elapsed_ms = view.now.as_ms().saturating_sub(run.began.as_ms());
    let part = |estimate: u64| elapsed_ms.saturating_mul(100) / estimate.max(1);
    Running {
        label: named(&run.label, run.job),
        job: run.job.to_string(),
        url: url_of(view, run.job),
        project: (!run.project.is_empty()).then(|| ProjectName::new(&run.project)),
        owner: (run.owner != overview.node).then(|| view.who(run.owner)),
        who: view.who(run.node),
        number: run.number,
        hedge: run.hedge,
        phase: run.phase.word(),
        detail: detail(run.phase),
        elapsed: text::duration(elapsed_ms),
        estimate: run.estimate_ms.map(text::duration),
        done: run
            .estimate_ms
            .map_or(0, |estimate| part(estimate).min(100)),
        late: run.estimate_ms.is_some_and(|estimate| part(estimate) > 150),
    }
}

/// How far a phase is, in words.
fn detail(phase: PhaseView) -> String {
    match phase {
        PhaseView::Placed | PhaseView::Keeping => String::new(),
        PhaseView::Fetching {
            bytes: 0,
            of_bytes: 0,
        } => String::new(),
        PhaseView::Fetching { bytes, of_bytes: 0 } => text::bytes(bytes),
        PhaseView::Fetching { bytes, of_bytes } => {
            format!("{} of {}", text::bytes(bytes), text::bytes(of_bytes))
        }
        PhaseView::Running { log_bytes: 0, .. } => String::new(),
        PhaseView::Running { log_bytes, .. } => format!("{} of log", text::bytes(log_bytes)),
    }
}

fn member(view: &View, node: &NodeView) -> Member {
    let offers = node.offers.iter().take(PLATFORMS_MAX);
    let offers = offers.map(|offer| match offer.emulated {
        true => format!("({})", offer.platform),
        false => offer.platform.to_string(),
    });
    let heard = |stamp: Stamp| When::new(stamp, view.now);
    Member {
        who: view.who(node.node),
        mode: node.mode.word(),
        state: match node.mode {
            ModeView::Open => "ok",
            ModeView::Paused | ModeView::Cordoned | ModeView::Draining | ModeView::Leaving => {
                "ready"
            }
            ModeView::Left | ModeView::Away => "blocked",
            ModeView::Dead | ModeView::Revoked => "failed",
        },
        platforms: offers.collect::<Vec<_>>().join(" "),
        why: node.why.as_deref().map(Text::line),
        running: node.running,
        slots: node.slots,
        used: (u64::from(node.running) * 100 / u64::from(node.slots.max(1))).min(100),
        heard: node.heard.filter(|_| !node.here).map(heard),
    }
}

fn link(view: &View, moved: &LinkView) -> Link {
    let rate = |per_s: u64| match per_s {
        0 => String::new(),
        per_s => format!("{}/s", text::bytes(per_s)),
    };
    Link {
        who: moved.node.map(|node| view.who(node)),
        came: rate(moved.in_per_s),
        went: rate(moved.out_per_s),
        came_all: text::bytes(moved.in_bytes),
        went_all: text::bytes(moved.out_bytes),
    }
}

fn cache(cache: &CacheView) -> Vec<(&'static str, String)> {
    let percent = cache.hit_percent().map_or_else(
        || "nothing wanted yet".to_owned(),
        |part| format!("{part} %"),
    );
    vec![
        ("Work not done", text::duration(cache.saved_ms)),
        ("Answered from claims", text::number(cache.hits)),
        ("Of all that was wanted", percent),
        ("Executed here", text::number(cache.executed)),
        ("Done by other nodes", text::number(cache.remote)),
        ("Bytes that were here", text::bytes(cache.spared_bytes)),
        ("Bytes fetched", text::bytes(cache.fetched_bytes)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_says_how_far_it_is_as_far_as_it_knows() {
        let fetching = |bytes, of_bytes| detail(PhaseView::Fetching { bytes, of_bytes });
        assert_eq!(fetching(0, 0), "");
        assert_eq!(fetching(1 << 20, 0), "1.0 MiB");
        assert_eq!(fetching(1 << 20, 1 << 21), "1.0 MiB of 2.0 MiB");
        let running = PhaseView::Running {
            log_bytes: 2048,
            cpu_ms: 9,
        };
        assert_eq!(detail(running), "2.0 KiB of log");
        assert_eq!(detail(PhaseView::Keeping), "");
    }
}

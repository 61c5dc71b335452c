//! The rows of each panel: text and paint, before there is a place for them.

use caravan_protocol::view::{
    LinkView, ModeView, NodeView, Overview, PhaseView, RunningView, WaitingView,
};

use crate::show::{
    bytes, duration,
    grid::Paint,
    job::far,
    overview::{named, other_end, rate, short, whose},
    plain,
};

/// Cells of a bar.
const BAR: usize = 8;

/// A column: its head, its greatest width, and how soon it goes where there is too little room: 0
/// never, then the highest first. The widest of those that never go takes what is left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) head: &'static str,
    pub(super) most: u16,
    pub(super) goes: u8,
}

const fn column(head: &'static str, most: u16, goes: u8) -> Column {
    Column { head, most, goes }
}

/// A row's cells.
pub(super) type Row = Vec<(String, Paint)>;

/// A panel's columns and rows.
pub(super) struct Rows {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
    /// Beside the title.
    pub(super) count: String,
    /// In place of rows, where there are none.
    pub(super) empty: &'static str,
}

pub(super) fn running(overview: &Overview) -> Rows {
    Rows {
        columns: vec![
            column("JOB", 28, 0),
            column("NODE", 20, 2),
            column("PHASE", 9, 0),
            column("", 8, 3),
            column("ELAPSED", 12, 0),
            column("OF", 12, 4),
            column("FAR", 28, 6),
            column("PROJECT", 18, 5),
        ],
        rows: overview
            .running
            .iter()
            .map(|run| running_row(overview, run))
            .collect(),
        count: overview.running_all.to_string(),
        empty: "nothing runs",
    }
}

fn running_row(overview: &Overview, run: &RunningView) -> Row {
    let elapsed = overview.at.as_ms().saturating_sub(run.began.as_ms());
    let node = match overview.operator(run.node) {
        Some(operator) => format!("{} {}", run.node.fmt_short(), plain(operator)),
        None => run.node.fmt_short(),
    };
    let mut label = named(&run.label, run.job);
    if run.number > 1 {
        label.push_str(&format!(" #{}", run.number));
    }
    if run.hedge {
        label.push_str(" hedge");
    }
    let late = run
        .estimate_ms
        .is_some_and(|estimate| elapsed > estimate.saturating_mul(3) / 2);
    let paint = match run.phase {
        PhaseView::Placed | PhaseView::Keeping => Paint::Dim,
        PhaseView::Fetching { .. } => Paint::Warn,
        PhaseView::Running { .. } => Paint::Good,
    };
    vec![
        (label, Paint::None),
        (node, Paint::Dim),
        (run.phase.word().to_owned(), paint),
        (
            bar(part(run, elapsed)),
            if late { Paint::Bad } else { Paint::None },
        ),
        (
            duration(elapsed),
            if late { Paint::Bad } else { Paint::None },
        ),
        (
            run.estimate_ms.map(duration).unwrap_or_default(),
            Paint::Dim,
        ),
        (far(run.phase).unwrap_or_default(), Paint::Dim),
        (whose(overview, run), Paint::Dim),
    ]
}

/// How much of a bar is full, in eighths of a cell; nothing where nobody knows.
fn part(run: &RunningView, elapsed: u64) -> Option<usize> {
    let all = (BAR * 8) as u64;
    let of = |done: u64, whole: u64| {
        let part = done.saturating_mul(all).checked_div(whole)?;
        usize::try_from(part.min(all)).ok()
    };
    match run.phase {
        PhaseView::Fetching { bytes, of_bytes } if of_bytes > 0 => of(bytes, of_bytes),
        _ => of(elapsed, run.estimate_ms?),
    }
}

/// A bar of which so many eighths of a cell are full.
pub(super) fn bar(eighths: Option<usize>) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let Some(eighths) = eighths else {
        return String::new();
    };
    let (full, rest) = (eighths / 8, PARTS[eighths % 8]);
    let mut text = "█".repeat(full.min(BAR));
    if full < BAR {
        text.push_str(rest);
    }
    let used = full + usize::from(!rest.is_empty());
    text.push_str(&"·".repeat(BAR.saturating_sub(used)));
    text
}

pub(super) fn queue(overview: &Overview) -> Rows {
    Rows {
        columns: vec![
            column("#", 4, 5),
            column("JOB", 28, 0),
            column("", 6, 3),
            column("PLATFORM", 15, 4),
            column("WAITED", 12, 1),
            column("PROJECT", 18, 2),
            column("WAITS BECAUSE", 200, 0),
        ],
        rows: overview
            .queue
            .iter()
            .enumerate()
            .map(|(at, job)| queue_row(overview, at, job))
            .collect(),
        count: overview.waiting.to_string(),
        empty: "nothing waits",
    }
}

fn queue_row(overview: &Overview, at: usize, job: &WaitingView) -> Row {
    let waited = overview.at.as_ms().saturating_sub(job.since.as_ms());
    let urgent = if job.urgent { "urgent" } else { "" };
    vec![
        ((at + 1).to_string(), Paint::Dim),
        (named(&job.label, job.job), Paint::None),
        (urgent.to_owned(), Paint::Warn),
        (job.platform.to_string(), Paint::Dim),
        (duration(waited), Paint::None),
        (short(&job.project), Paint::Dim),
        (plain(&job.reason), Paint::None),
    ]
}

pub(super) fn nodes(overview: &Overview) -> Rows {
    Rows {
        columns: vec![
            column("NODE", 10, 0),
            column("STATE", 14, 0),
            column("OPERATOR", 16, 1),
            column("RUNS", 9, 0),
            column("", 8, 5),
            column("PLATFORMS", 30, 4),
            column("HEARD", 8, 3),
            column("NO WORK BECAUSE", 200, 2),
        ],
        rows: overview
            .nodes
            .iter()
            .map(|node| node_row(overview, node))
            .collect(),
        count: overview.nodes_all.to_string(),
        empty: "no member is known",
    }
}

fn node_row(overview: &Overview, node: &NodeView) -> Row {
    let (word, paint) = match (node.here, node.mode) {
        (true, ModeView::Open) => ("here".to_owned(), Paint::Good),
        (false, ModeView::Open) => ("up".to_owned(), Paint::Good),
        (true, mode) => (format!("here, {}", mode.word()), Paint::Warn),
        (false, ModeView::Dead | ModeView::Revoked) => (node.mode.word().to_owned(), Paint::Bad),
        (false, mode) => (mode.word().to_owned(), Paint::Warn),
    };
    let offers = node.offers.iter().map(|offer| match offer.emulated {
        true => format!("({})", offer.platform),
        false => offer.platform.to_string(),
    });
    let heard = node.heard.filter(|_| !node.here).map(|heard| {
        let ms = overview.at.as_ms().saturating_sub(heard.as_ms());
        match ms / 1000 {
            0..5 => "now".to_owned(),
            seconds @ 5..120 => format!("{seconds} s"),
            seconds @ 120..7200 => format!("{} min", seconds / 60),
            seconds => format!("{} h", seconds / 3600),
        }
    });
    let slots = usize::try_from(node.slots).unwrap_or(usize::MAX);
    let running = usize::try_from(node.running).unwrap_or(usize::MAX);
    let used = running
        .saturating_mul(BAR * 8)
        .checked_div(slots)
        .map(|used| used.min(BAR * 8));
    let runs = match slots {
        0 => String::new(),
        slots => format!("{running}/{slots}"),
    };
    vec![
        (node.node.fmt_short(), Paint::None),
        (word, paint),
        (plain(&node.operator), Paint::None),
        (runs, Paint::None),
        (bar(used), Paint::Dim),
        (offers.collect::<Vec<_>>().join(" "), Paint::Dim),
        (heard.unwrap_or_default(), Paint::Dim),
        (plain(node.why.as_deref().unwrap_or_default()), Paint::Warn),
    ]
}

pub(super) fn transfers(overview: &Overview) -> Rows {
    Rows {
        columns: vec![
            column("MEMBER", 24, 0),
            column("IN", 12, 0),
            column("OUT", 12, 0),
            column("IN ALL", 10, 1),
            column("OUT ALL", 10, 1),
        ],
        rows: overview
            .links
            .iter()
            .map(|link| link_row(overview, link))
            .collect(),
        count: String::new(),
        empty: "nothing went over the wire yet",
    }
}

fn link_row(overview: &Overview, link: &LinkView) -> Row {
    let moving = |per_s: u64| if per_s > 0 { Paint::Good } else { Paint::Dim };
    vec![
        (other_end(overview, link), Paint::None),
        (rate(link.in_per_s), moving(link.in_per_s)),
        (rate(link.out_per_s), moving(link.out_per_s)),
        (bytes(link.in_bytes), Paint::Dim),
        (bytes(link.out_bytes), Paint::Dim),
    ]
}

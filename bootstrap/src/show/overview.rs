//! What `caravan top` shows, as plain text: for pipes, files and terminals that can do no more.

use caravan_protocol::view::{CacheView, LinkView, Overview, RunningView, WaitingView};

use super::{
    bytes, duration,
    grid::{Cell, Column, Paint, Screen},
    job::far,
    members,
};

const RUNNING: [Column; 6] = [
    ("JOB", 0),
    ("NODE", 1),
    ("PHASE", 0),
    ("ELAPSED", 0),
    ("ESTIMATE", 2),
    ("PROJECT", 3),
];
const WAITING: [Column; 6] = [
    ("JOB", 0),
    ("", 4),
    ("PLATFORM", 3),
    ("SINCE", 1),
    ("PROJECT", 2),
    ("WAITS BECAUSE", 0),
];
const LINKS: [Column; 5] = [
    ("MEMBER", 0),
    ("IN NOW", 0),
    ("OUT NOW", 0),
    ("IN SO FAR", 1),
    ("OUT SO FAR", 1),
];

/// One moment as text.
pub(crate) fn text(overview: &Overview) -> String {
    let screen = Screen::own();
    let mut text = String::new();
    let mut part = |head: String, body: &str| {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&head);
        text.push('\n');
        text.push_str(body);
    };
    let nodes = format!("nodes: {}", overview.nodes_all);
    part(nodes, &members::table(&overview.nodes, overview.at));
    let rows: Vec<_> = overview
        .running
        .iter()
        .map(|run| running(overview, run))
        .collect();
    let body = match rows.is_empty() {
        true => String::new(),
        false => screen.render(&RUNNING, &rows),
    };
    part(format!("running: {}", overview.running_all), &body);
    let rows: Vec<_> = overview
        .queue
        .iter()
        .map(|job| waiting(overview, job))
        .collect();
    let body = match rows.is_empty() {
        true => String::new(),
        false => screen.render(&WAITING, &rows),
    };
    part(format!("waiting: {}", overview.waiting), &body);
    if !overview.links.is_empty() {
        let rows: Vec<_> = overview
            .links
            .iter()
            .map(|link| moved(overview, link))
            .collect();
        part("transfers".to_owned(), &screen.render(&LINKS, &rows));
    }
    let mut lines = cache(&overview.cache).join("\n");
    lines.push('\n');
    part("cache".to_owned(), &lines);
    text
}

/// What a job is called.
pub(crate) fn named(label: &str, job: caravan_protocol::ids::ActionKey) -> String {
    match super::plain(label).trim() {
        "" => job.fmt_short(),
        label => label.to_owned(),
    }
}

/// The last part of a project's name.
pub(crate) fn short(project: &str) -> String {
    let trimmed = project.trim_end_matches('/');
    let last = trimmed.rsplit('/').next().unwrap_or(trimmed);
    super::plain(last)
}

fn running(overview: &Overview, run: &RunningView) -> Vec<Cell> {
    let elapsed = overview.at.as_ms().saturating_sub(run.began.as_ms());
    let phase = match far(run.phase) {
        Some(far) => format!("{} {far}", run.phase.word()),
        None => run.phase.word().to_owned(),
    };
    vec![
        named(&run.label, run.job).into(),
        run.node.fmt_short().into(),
        phase.into(),
        duration(elapsed).into(),
        run.estimate_ms.map(duration).unwrap_or_default().into(),
        whose(overview, run).into(),
    ]
}

/// Whose job an attempt is at.
pub(crate) fn whose(overview: &Overview, run: &RunningView) -> String {
    if run.owner == overview.node {
        return short(&run.project);
    }
    match overview.operator(run.owner) {
        Some(operator) => format!("for {}", super::plain(operator)),
        None => format!("for {}", run.owner.fmt_short()),
    }
}

fn waiting(overview: &Overview, job: &WaitingView) -> Vec<Cell> {
    let waited = overview.at.as_ms().saturating_sub(job.since.as_ms());
    vec![
        named(&job.label, job.job).into(),
        Cell::painted(if job.urgent { "urgent" } else { "" }, Paint::Warn),
        job.platform.to_string().into(),
        duration(waited).into(),
        short(&job.project).into(),
        job.reason.as_str().into(),
    ]
}

/// Bytes a second; a dash for none.
pub(crate) fn rate(per_s: u64) -> String {
    match per_s {
        0 => "-".to_owned(),
        per_s => format!("{}/s", bytes(per_s)),
    }
}

/// Who is at the other end of a link.
pub(crate) fn other_end(overview: &Overview, link: &LinkView) -> String {
    match link.node {
        None => "all members".to_owned(),
        Some(node) => match overview.operator(node) {
            Some(operator) => format!("{} {}", node.fmt_short(), super::plain(operator)),
            None => node.fmt_short(),
        },
    }
}

fn moved(overview: &Overview, link: &LinkView) -> Vec<Cell> {
    vec![
        other_end(overview, link).into(),
        rate(link.in_per_s).into(),
        rate(link.out_per_s).into(),
        bytes(link.in_bytes).into(),
        bytes(link.out_bytes).into(),
    ]
}

/// What the cache has saved, a line each.
pub(crate) fn cache(cache: &CacheView) -> Vec<String> {
    let percent = cache
        .hit_percent()
        .map(|part| format!(" ({part} % of what was wanted)"))
        .unwrap_or_default();
    vec![
        format!("{} of work not done", long(cache.saved_ms)),
        format!("{} answered from claims{percent}", cache.hits),
        format!(
            "{} executed here, {} elsewhere",
            cache.executed, cache.remote
        ),
        format!(
            "{} were here, {} were fetched",
            bytes(cache.spared_bytes),
            bytes(cache.fetched_bytes)
        ),
    ]
}

/// A span of time that may be days: `12 min`, `3 h 12 min`, `5 d 4 h`.
fn long(ms: u64) -> String {
    match ms / 60_000 {
        0..2 => duration(ms),
        minutes @ 2..60 => format!("{minutes} min"),
        minutes @ 60..2880 => format!("{} h {} min", minutes / 60, minutes % 60),
        minutes => format!("{} d {} h", minutes / 1440, minutes % 1440 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_reads_well() {
        let told = [30_000, 600_000, 11_520_000, 446_400_000].map(long);
        assert_eq!(told, ["30 s", "10 min", "3 h 12 min", "5 d 4 h"]);
    }

    #[test]
    fn an_overview_of_nothing_says_so_without_empty_tables() {
        let (mesh, node) = (
            caravan_protocol::ids::MeshId::from_bytes([1; 32]),
            caravan_protocol::ids::NodeId::from_bytes([2; 32]),
        );
        let text = text(&Overview::empty(mesh, node));
        assert!(text.contains("running: 0\n\nwaiting: 0\n"), "{text}");
        assert!(!text.contains("WAITS BECAUSE"), "{text}");
    }
}

//! Tables and verdicts as text.

use caravan_node::control::Checked;
use caravan_protocol::{
    policy::Base,
    time::Stamp,
    view::{
        JobView, NodeView, Overview, RunView, Snapshot, State, StepView, StoreView, VariantView,
    },
};

pub(crate) mod grid;
pub(crate) mod job;
mod members;
pub(crate) mod overview;
mod roles;

/// Members of the mesh.
pub(crate) fn nodes(nodes: &[NodeView], now: Stamp) {
    print(&members::table(nodes, now));
}

/// Elected roles.
pub(crate) fn roles(snapshot: &Snapshot, now: Stamp) {
    print(&roles::table(snapshot, now));
}

/// What waits and what runs, at one moment.
pub(crate) fn overview(overview: &Overview) {
    print(&overview::text(overview));
}

/// What became of a job.
pub(crate) fn job(job: &JobView) {
    for (line, _) in job::lines(job, crate::commands::now()) {
        say!("{line}");
    }
}

fn print(text: &str) {
    for line in text.lines() {
        say!("{line}");
    }
}

/// A sign for a state that does not need colour to be told apart.
pub(crate) const fn mark(state: State) -> &'static str {
    match state {
        State::Blocked => ".",
        State::Ready => "-",
        State::Running => ">",
        State::Ok => "✓",
        State::Failed => "✗",
        State::Cancelled => "/",
    }
}

/// `0.4 s`, `12 s`, `3 min 20 s`.
pub(crate) fn duration(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        10_000..120_000 => format!("{} s", ms / 1000),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
    }
}

/// `1.2 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == "B" {
        format!("{count} B")
    } else {
        format!("{value:.1} {unit}")
    }
}

/// `2026-01-31 12:00:00`.
pub(crate) fn date(stamp: Stamp) -> String {
    let ms = i64::try_from(stamp.as_ms()).unwrap_or(0);
    jiff::Timestamp::from_millisecond(ms)
        .map(|time| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
        .unwrap_or_default()
}

/// Rows in columns as wide as their widest cell.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let print = |cells: Vec<&str>| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        say!("{}", padded.collect::<Vec<_>>().join("  ").trim_end());
    };
    print(head.to_vec());
    for row in rows {
        print(row.iter().map(String::as_str).collect());
    }
}

/// How a run ended: the table of its variants, then the words of what failed and how to do the same
/// by hand.
pub(crate) fn verdict(run: &RunView) {
    if let Some(message) = &run.message {
        eprintln!("caravan: failed to run: {message}");
        if run.policy.variants.is_empty() {
            return;
        }
    }
    say!();
    variants(run);
    let failed = run
        .policy
        .variants
        .iter()
        .filter(|variant| variant.state == State::Failed);
    for variant in failed {
        failure(variant);
    }
    say!();
    let all = run.steps.len();
    let took = run
        .finished
        .map_or(0, |end| end.as_ms().saturating_sub(run.started.as_ms()));
    if all == 0 {
        say!("no step was run ({})", duration(took));
    } else if run.executed as usize == all {
        say!("all {all} steps were run ({})", duration(took));
    } else if run.executed == 0 {
        say!(
            "nothing had to be done: all {all} steps were there already ({})",
            duration(took)
        );
    } else {
        say!(
            "{} of {all} steps were run, the others were there already ({})",
            run.executed,
            duration(took)
        );
    }
    say!("run {}", run.id.fmt_short());
}

fn failure(variant: &VariantView) {
    say!("\n✗ {}", variant.name);
    for line in variant
        .message
        .as_deref()
        .unwrap_or("it failed and says nothing")
        .lines()
    {
        say!("  {}", plain(line));
    }
    if let Some(recipe) = &variant.recipe {
        say!("\n  to do the same by hand:");
        for line in recipe.lines() {
            say!("    {}", plain(line));
        }
    }
}

/// Text of strangers for a terminal: nothing in it moves a cursor.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

fn variants(run: &RunView) {
    let row = |variant: &VariantView| {
        let steps = || variant.wants.iter().filter_map(|want| run.steps.get(want));
        let ran = steps()
            .filter(|step| step.state.is_final() && !step.cached)
            .count();
        let message = variant
            .message
            .as_deref()
            .and_then(|text| text.lines().next())
            .unwrap_or("");
        vec![
            mark(variant.state).to_owned(),
            variant.name.clone(),
            variant.state.word().to_owned(),
            if variant.wants.is_empty() {
                String::new()
            } else {
                format!("{ran}/{}", variant.wants.len())
            },
            plain(message).chars().take(100).collect(),
        ]
    };
    let rows: Vec<_> = run.policy.variants.iter().map(row).collect();
    table(&["", "VARIANT", "STATE", "RUN/STEPS", ""], &rows);
}

/// One run with its steps.
pub(crate) fn run(run: &RunView) {
    say!("run      {}", run.id);
    say!("project  {}", run.project);
    say!(
        "commit   {} {} {}",
        run.branch,
        run.commit,
        plain(&run.title)
    );
    say!(
        "state    {}{}",
        run.state.word(),
        run.message
            .as_ref()
            .map(|m| format!(": {}", plain(m)))
            .unwrap_or_default()
    );
    say!("started  {}\n", date(run.started));
    variants(run);
    say!();
    let row = |step: &StepView| {
        vec![
            step.want.0.to_string(),
            mark(step.state).to_owned(),
            step.label.clone(),
            step.state.word().to_owned(),
            if step.cached {
                "cached".to_owned()
            } else {
                duration(step.wall_ms)
            },
            step.level
                .map(|level| level.to_string())
                .unwrap_or_default(),
            step.node.map(|node| node.fmt_short()).unwrap_or_default(),
            plain(
                step.message
                    .as_deref()
                    .unwrap_or("")
                    .lines()
                    .next()
                    .unwrap_or(""),
            ),
        ]
    };
    let rows: Vec<_> = run.steps.values().map(row).collect();
    table(
        &["#", "", "STEP", "STATE", "TOOK", "LEVEL", "NODE", ""],
        &rows,
    );
}

/// Runs, newest first.
pub(crate) fn runs(snapshot: &Snapshot) {
    let row = |run: &RunView| {
        vec![
            run.id.fmt_short(),
            mark(run.state).to_owned(),
            run.state.word().to_owned(),
            date(run.started),
            run.project.clone(),
            run.branch.clone(),
            run.commit.chars().take(10).collect(),
            run.policy.summary.clone(),
        ]
    };
    let rows: Vec<_> = snapshot.runs().map(row).collect();
    table(
        &[
            "RUN",
            "",
            "STATE",
            "STARTED (UTC)",
            "PROJECT",
            "BRANCH",
            "COMMIT",
            "VARIANTS",
        ],
        &rows,
    );
}

/// A node and its mesh.
pub(crate) fn status(snapshot: &Snapshot) {
    say!("node     {}", snapshot.node);
    say!("mesh     {}", snapshot.mesh);
    say!("version  {}", snapshot.version);
    say!("started  {} UTC", date(snapshot.started));
    let own = snapshot.nodes.iter().find(|node| node.here);
    if let Some(own) = own {
        say!("operator {}, {}", own.operator, own.tier);
        if let Some(expires) = own.expires {
            say!("member   until {} UTC, and renewed before", date(expires));
        }
    }
    let takes = match &snapshot.standing {
        Some(why) => format!("no work: {}", plain(why)),
        None => "work".to_owned(),
    };
    say!(
        "takes    {takes}; {} of {} slots run",
        snapshot.running,
        snapshot.slots
    );
    for notice in &snapshot.notices {
        say!("mind     {}", plain(notice));
    }
    say!("sandbox  {}", snapshot.sandbox.runtime);
    for lack in &snapshot.sandbox.lacking {
        say!("         {lack}");
    }
    say!(
        "work     {} executed, {} from claims, {} by other nodes, {} infrastructure failures\n",
        snapshot.counters.executed,
        snapshot.counters.cached,
        snapshot.counters.remote,
        snapshot.counters.infra
    );
    store(&snapshot.store);
    say!();
    nodes(&snapshot.nodes, crate::commands::now());
    say!();
    let rows: Vec<_> = snapshot
        .seats
        .iter()
        .map(|seat| {
            vec![
                seat.role.clone(),
                seat.holder.fmt_short(),
                seat.epoch.to_string(),
                date(seat.since),
            ]
        })
        .collect();
    table(&["ROLE", "HOLDER", "EPOCH", "SINCE (UTC)"], &rows);
}

/// What the store holds, in one line.
fn store(stat: &StoreView) {
    say!(
        "store    {} blobs, {}, {} mountable layers, {} claims",
        stat.blobs,
        bytes(stat.bytes),
        stat.layers,
        stat.claims
    );
}

/// What a check found.
pub(crate) fn checked(checked: &Checked, heal: bool) {
    for finding in &checked.findings {
        say!("{finding}");
    }
    let word = if checked.clean {
        "the store is whole"
    } else {
        "the store is damaged"
    };
    say!("{} objects and layers read: {word}", checked.checked);
    if heal {
        say!(
            "{} damaged things forgotten; they are made or fetched again when wanted",
            checked.forgotten
        );
    } else if !checked.clean {
        say!("`caravan store check --heal` forgets what is damaged");
    }
}

/// Bases with what they were made from.
pub(crate) fn bases(bases: &[Base]) {
    for base in bases {
        say!("{} on {}, tree {}", base.name, base.platform, base.tree);
        for (name, value) in &base.facts {
            say!("  {name} {value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_well() {
        assert_eq!(
            [duration(420), duration(61_000), duration(200_000)],
            ["0.4 s", "61 s", "3 min 20 s"]
        );
        assert_eq!(
            [bytes(10), bytes(1536), bytes(5 << 30)],
            ["10 B", "1.5 KiB", "5.0 GiB"]
        );
    }

    #[test]
    fn a_strangers_text_moves_no_cursor() {
        assert_eq!(plain("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
    }
}

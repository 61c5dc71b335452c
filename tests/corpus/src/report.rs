//! Tables of the verdicts, for people and for the guide.
//!
//! Decides nothing about a verdict; says which attempts were never seen to succeed, and why.

use std::{collections::BTreeMap, fmt::Write as _, path::Path, process::ExitCode};

use caravan_sandbox::Defence;

use crate::{
    Failure,
    attempt::Verdict,
    attempts, bombs, driver,
    driver::Table,
    gate, leavings,
    places::{Place, roots},
};

/// Places that are shown side by side, with their headings.
const SHOWN: [(Place, &str); 6] = [
    (Place::Ours, "ours"),
    (Place::RuncHost, "runc, host network"),
    (Place::Runc, "runc"),
    (Place::Bubblewrap, "bubblewrap"),
    (Place::Chroot, "chroot"),
    (Place::Bare, "ours, all defences off"),
];
/// What no place here lets succeed although the kernel could, and why.
const NEVER: [(&str, &str); 5] = [
    ("fd.cwd", "no place here leaks its working directory"),
    (
        "gate.localhost-dot",
        "the host's own resolver does not know the name so spelled",
    ),
    (
        "mount.propagate",
        "no place here shares its mounts with the host",
    ),
    (
        "proc.oom-score",
        "needs CAP_SYS_RESOURCE, which root of this host has not",
    ),
    (
        "right.set-mm",
        "needs CAP_SYS_RESOURCE, which root of this host has not",
    ),
];

/// One attempt of any part, for people.
pub struct Entry {
    /// Its name.
    pub id: &'static str,
    /// What it re-creates.
    pub source: &'static str,
    /// What it tries.
    pub what: &'static str,
}

impl Entry {
    fn class(&self) -> &'static str {
        self.id.split_once('.').map_or(self.id, |(class, _)| class)
    }
}

/// Every attempt of every part.
pub fn entries() -> Vec<Entry> {
    let inside = attempts::all()
        .into_iter()
        .map(|a| (a.id, a.source, a.what));
    let roots = roots::ROOTS.iter().map(|r| (r.id, r.source, r.what));
    let leavings = leavings::LEAVINGS.iter().map(|l| (l.id, l.source, l.what));
    let requests = gate::REQUESTS.iter().map(|r| (r.id, r.source, r.what));
    let bombs = bombs::BOMBS.iter().map(|b| (b.id, b.source, b.what));
    let all = inside
        .chain(roots)
        .chain(leavings)
        .chain(requests)
        .chain(bombs);
    all.map(|(id, source, what)| Entry { id, source, what })
        .collect()
}

/// The attempts that get through with no defence, and that this one alone stops.
pub fn stopped_alone(table: &Table, defence: Defence) -> Vec<&str> {
    let through = table.through(Place::Bare);
    let only = |id: &&str| {
        matches!(
            table.verdict(Place::Only(defence), id),
            Some(Verdict::Stopped(_))
        )
    };
    through.into_iter().filter(only).collect()
}

/// Whether an attempt was seen to succeed anywhere but in our sandbox as it is.
pub fn is_seen(table: &Table, id: &str) -> bool {
    let others = table.places.keys().filter(|place| **place != Place::Ours);
    others.into_iter().any(|place| table.is_through(*place, id))
}

/// Why an attempt was never seen to succeed, as far as it is known.
pub fn why_never(table: &Table, id: &str) -> Option<String> {
    if let Some((_, why)) = NEVER.iter().find(|(known, _)| *known == id) {
        return Some((*why).to_owned());
    }
    match table.verdict(Place::Bare, id)? {
        Verdict::Absent(what) => Some(format!("the kernel lacks it: {what}")),
        Verdict::Stopped(why)
            if ["ENOSYS", "EAFNOSUPPORT", "EPROTONOSUPPORT", "ENOENT"].contains(&why.as_str()) =>
        {
            Some(format!("the kernel lacks it: {why}"))
        }
        _ => None,
    }
}

/// Prints how many attempts of each class got through in each place, what each defence stops, and what
/// was never seen to succeed. The exit code says whether all is well: nothing through in ours, and no
/// defence that stops nothing.
///
/// # Errors
/// If the corpus could not be run.
pub fn table(driver: &Path) -> Result<ExitCode, Failure> {
    let table = driver::run_all(driver, true)?;
    print!(
        "{}",
        [classes(&table), defences(&table), never(&table)].join("\n")
    );
    let through = table.through(Place::Ours);
    let idle: Vec<&str> = Defence::ALL
        .iter()
        .filter(|defence| stopped_alone(&table, **defence).is_empty())
        .map(|defence| defence.name())
        .collect();
    if through.is_empty() && idle.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("corpus: through in our sandbox: {through:?}; defences that stop nothing: {idle:?}");
    Ok(ExitCode::FAILURE)
}

/// Prints the same as the guide has it, with a line for each attempt.
///
/// # Errors
/// If the corpus could not be run.
pub fn markdown(driver: &Path) -> Result<ExitCode, Failure> {
    let table = driver::run_all(driver, false)?;
    let parts = [
        classes(&table),
        defences(&table),
        never(&table),
        lines(&table),
    ];
    print!("{}", parts.join("\n"));
    Ok(ExitCode::SUCCESS)
}

/// How many attempts of each class got through where.
pub fn classes(table: &Table) -> String {
    let mut counts: BTreeMap<&str, (usize, [usize; SHOWN.len()], [usize; SHOWN.len()])> =
        BTreeMap::new();
    for entry in entries() {
        for class in [entry.class(), "~all"] {
            let (all, made, through) = counts.entry(class).or_default();
            *all += 1;
            for (at, (place, _)) in SHOWN.iter().enumerate() {
                made[at] += usize::from(table.verdict(*place, entry.id).is_some());
                through[at] += usize::from(table.is_through(*place, entry.id));
            }
        }
    }
    let heads: Vec<&str> = SHOWN.iter().map(|(_, head)| *head).collect();
    let mut text = format!(
        "| attempts through | of | {} |\n|---|---|{}\n",
        heads.join(" | "),
        "---|".repeat(heads.len())
    );
    for (class, (all, made, through)) in counts {
        let cells: Vec<String> = (0..SHOWN.len())
            .map(|at| match made[at] {
                0 => "-".to_owned(),
                few if few < all => format!("{} of {few}", through[at]),
                _ => through[at].to_string(),
            })
            .collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {all} | {} |",
            class.trim_start_matches('~'),
            cells.join(" | ")
        );
    }
    text
}

/// What each defence stops alone of what gets through without any, and what gets through without it.
pub fn defences(table: &Table) -> String {
    let mut text =
        "| defence | alone stops | such as | without it alone, through |\n|---|---|---|---|\n"
            .to_owned();
    for defence in Defence::ALL {
        let stopped = stopped_alone(table, *defence);
        let without = Place::Without(*defence);
        let through = table.through(without);
        let shown = match table.places.contains_key(&without) {
            false => "-".to_owned(),
            true if through.is_empty() => "0".to_owned(),
            true => format!(
                "{} ({})",
                through.len(),
                through[..through.len().min(3)].join(", ")
            ),
        };
        let few = &stopped[..stopped.len().min(3)];
        let _ = writeln!(
            text,
            "| {defence} | {} | {} | {shown} |",
            stopped.len(),
            few.join(", ")
        );
    }
    text
}

/// The attempts that were seen to succeed nowhere.
pub fn never(table: &Table) -> String {
    let mut text = "| never seen through | why |\n|---|---|\n".to_owned();
    for entry in entries().iter().filter(|entry| !is_seen(table, entry.id)) {
        let why = why_never(table, entry.id).unwrap_or_else(|| "unknown".to_owned());
        let _ = writeln!(text, "| {} | {why} |", entry.id);
    }
    text
}

/// A line for each attempt: what it is, who lets it through, and which defences stop it alone.
fn lines(table: &Table) -> String {
    let mut text = "| attempt | tries | re-creates | each stops it alone | runc | bubblewrap |\n|---|---|---|---|---|---|\n".to_owned();
    for entry in entries() {
        let alone: Vec<&str> = Defence::ALL
            .iter()
            .filter(|defence| stopped_alone(table, **defence).contains(&entry.id))
            .map(|defence| defence.name())
            .collect();
        let alone = match (alone.is_empty(), table.verdict(Place::Ours, entry.id)) {
            (false, _) => alone.join(", "),
            (true, Some(Verdict::Stopped(why))) => format!("({why})"),
            (true, _) => String::new(),
        };
        let word = |places: &[Place]| {
            let made: Vec<&Verdict> = places
                .iter()
                .filter_map(|place| table.verdict(*place, entry.id))
                .collect();
            match (
                made.is_empty(),
                made.iter().any(|verdict| verdict.is_through()),
            ) {
                (true, _) => "-",
                (false, true) => "**through**",
                (false, false) => "stopped",
            }
        };
        let runc = word(&[Place::Runc, Place::RuncHost]);
        let bubblewrap = word(&[Place::Bubblewrap]);
        let (what, source) = (entry.what.replace('|', "/"), entry.source);
        let _ = writeln!(
            text,
            "| `{}` | {what} | {source} | {alone} | {runc} | {bubblewrap} |",
            entry.id
        );
    }
    text
}

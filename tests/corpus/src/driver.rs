//! Runs the corpus in its places, each set of places in a pretend host of its own, and gathers the
//! verdicts.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use caravan_sandbox::Defence;

use crate::{
    Failure,
    attempt::Verdict,
    bombs,
    host::{self, Host},
    places::Place,
};

/// First word of a line that says where the next verdicts are from.
const AT: &str = "at";

/// What became of each attempt in each place.
#[derive(Debug, Default, Clone)]
pub struct Table {
    /// By place, then by attempt.
    pub places: BTreeMap<Place, BTreeMap<String, Verdict>>,
}

impl Table {
    /// The verdict of one attempt in one place.
    pub fn verdict(&self, place: Place, id: &str) -> Option<&Verdict> {
        self.places.get(&place)?.get(id)
    }

    /// Whether an attempt got through there.
    pub fn is_through(&self, place: Place, id: &str) -> bool {
        self.verdict(place, id).is_some_and(Verdict::is_through)
    }

    /// The attempts that got through there.
    pub fn through(&self, place: Place) -> Vec<&str> {
        let all = self.places.get(&place).into_iter().flatten();
        all.filter(|(_, verdict)| verdict.is_through())
            .map(|(id, _)| id.as_str())
            .collect()
    }
}

impl Table {
    /// Takes over what another part of the corpus found.
    pub fn join(&mut self, other: Self) {
        for (place, verdicts) in other.places {
            self.places.entry(place).or_default().extend(verdicts);
        }
    }
}

/// Runs every part in the places that it is for, as far as this host has them.
///
/// # Errors
/// As of [`run`].
pub fn run_all(driver: &Path, strict: bool) -> Result<Table, Failure> {
    let there = |places: &[Place]| {
        places
            .iter()
            .copied()
            .filter(|place| place.is_there())
            .collect::<Vec<_>>()
    };
    let whole = there(&[
        Place::Ours,
        Place::Bare,
        Place::Chroot,
        Place::Runc,
        Place::RuncHost,
        Place::Bubblewrap,
    ]);
    let only = Defence::ALL.iter().copied().map(Place::Only);
    let without = Defence::ALL
        .iter()
        .copied()
        .map(Place::Without)
        .filter(|_| strict);
    let each: Vec<Place> = only.chain(without).collect();
    // Only bombs try against limits.
    let is_tried = |place: &Place| !matches!(place, Place::Only(only) if bombs::is_limit(*only));
    let tried: Vec<Place> = whole
        .iter()
        .chain(&each)
        .copied()
        .filter(is_tried)
        .collect();
    let mut table = run(driver, "attempts", &tried)?;
    table.join(run(driver, "roots", &whole)?);
    for part in ["leavings", "gate"] {
        table.join(run(driver, part, &[Place::Ours, Place::Chroot])?);
    }
    table.join(run(
        driver,
        "bombs",
        &[vec![Place::Ours, Place::Bare], each].concat(),
    )?);
    Ok(table)
}

/// Starts `driver` (the program of this crate) once more as a pretend host and reads its verdicts.
///
/// # Errors
/// If the host could not be made or ended badly.
pub fn run(driver: &Path, part: &str, places: &[Place]) -> Result<Table, Failure> {
    let names = places.iter().map(Place::to_string);
    let done = Command::new(driver)
        .args(["inside", part])
        .args(names)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| format!("start {}: {error}", driver.display()))?;
    let text = String::from_utf8_lossy(&done.stdout);
    if !done.status.success() {
        let told = String::from_utf8_lossy(&done.stderr);
        return Err(format!(
            "run the corpus: {}{told}",
            text.lines().last().unwrap_or_default()
        )
        .into());
    }
    let mut table = Table::default();
    let mut at = None;
    for line in text.lines() {
        let Some((word, rest)) = line.split_once('\t') else {
            continue;
        };
        if word == AT {
            at = Some(rest.parse::<Place>()?);
        } else if let (Some(place), Some(verdict)) = (at, Verdict::parse(rest)) {
            table
                .places
                .entry(place)
                .or_default()
                .insert(word.to_owned(), verdict);
        }
    }
    Ok(table)
}

/// The other side of [`run`]: makes the host, runs the part in each place, prints.
///
/// # Errors
/// What could not be made.
pub fn inside(part: &str, places: &[Place]) -> Result<i32, Failure> {
    let attempts = attempts_program()?;
    let (part, places) = (part.to_owned(), places.to_owned());
    host::with_host(move || {
        let mut host = Host::build(&attempts)?;
        for place in places {
            let found = in_place(&host, &part, place)?;
            println!("{AT}\t{place}");
            for (id, verdict) in found {
                println!("{id}\t{verdict}");
            }
            host.is_whole()?;
        }
        Ok(())
    })
}

fn in_place(host: &Host, part: &str, place: Place) -> Result<Vec<(String, Verdict)>, Failure> {
    match part {
        "gate" => crate::gate::run(host, place),
        "bombs" => crate::bombs::run(host, place),
        "roots" => crate::places::roots::run(host, place),
        "leavings" => crate::collect::run(place),
        prefix => place.run(host, prefix.trim_start_matches("attempts")),
    }
}

/// It is built beside this program.
fn attempts_program() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()?;
    let beside = own.with_file_name("corpus-attempts");
    match beside.is_file() {
        true => Ok(beside),
        false => Err(format!(
            "find {}: build the package caravan-corpus",
            beside.display()
        )
        .into()),
    }
}

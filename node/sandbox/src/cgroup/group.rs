//! One job's control groups: its bounds, what the kernel counts, what it has stopped.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use rustix::process::Pid;

use super::{
    Controller, Place, Version, read_small,
    removal::{kill_all, remove},
    swap_file,
};
use crate::{
    limits::{GROUPS_BELOW_MAX, MEMBERS_MAX},
    sandbox::Limit,
    spec::Limits,
    sys::Cost,
};

/// Period over which processor time is counted.
const CPU_PERIOD_US: u64 = 100_000;
/// The most of the processors that a group may have beside others, in either version's measure.
const CPU_SHARES_MOST: &str = "262144";
const CPU_WEIGHT_MOST: &str = "10000";

/// Lists the processes of a job, as they are when it is called.
pub(crate) type Members = Box<dyn Fn() -> Vec<Pid> + Send>;

/// One job's directories; removed when dropped.
#[derive(Debug)]
pub(crate) struct Group {
    places: Vec<Place>,
    name: String,
    pub(super) dirs: Vec<PathBuf>,
}

impl Group {
    /// A new directory in each of the parents.
    pub(super) fn make(places: Vec<Place>, parents: &[&Path], name: String) -> io::Result<Self> {
        let mut group = Self {
            places,
            name,
            dirs: Vec::new(),
        };
        for parent in parents {
            let dir = parent.join(&group.name);
            // Whoever had this process id before us is dead.
            remove(&dir)?;
            fs::create_dir(&dir)?;
            group.dirs.push(dir);
        }
        Ok(group)
    }

    /// The name of its directories.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Moves a process in; its children are born inside.
    pub(crate) fn admit(&self, pid: Pid) -> io::Result<()> {
        for dir in &self.dirs {
            fs::write(dir.join("cgroup.procs"), pid.as_raw_nonzero().to_string())?;
        }
        Ok(())
    }

    /// Writes the bounds; before anything of the job runs.
    pub(crate) fn bound(&self, limits: &Limits) -> io::Result<()> {
        for place in &self.places {
            let dir = place.parent.join(&self.name);
            let set = |file: &str, value: String| {
                let said =
                    |error: io::Error| io::Error::new(error.kind(), format!("{file}: {error}"));
                // Never made: what the kernel does not have is told apart from what it refuses.
                let mut open = fs::OpenOptions::new();
                let written = open.write(true).open(dir.join(file));
                let written = written.and_then(|mut open| open.write_all(value.as_bytes()));
                written.map_err(said)
            };
            let set_if_there = |file: &str, value: String| match set(file, value) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                done => done,
            };
            match (place.controller, place.version) {
                (Controller::Memory, Version::V1) => {
                    set("memory.limit_in_bytes", limits.memory_bytes.to_string())?;
                    // Absent where the kernel does not count swap, which is found before any job.
                    let both = limits.memory_bytes.to_string();
                    set_if_there(swap_file(place.version), both)?;
                }
                (Controller::Memory, Version::V2) => {
                    set("memory.max", limits.memory_bytes.to_string())?;
                    set_if_there(swap_file(place.version), "0".to_owned())?;
                    set_if_there("memory.oom.group", "1".to_owned())?;
                }
                (Controller::Pids, _) => set("pids.max", limits.pids.to_string())?,
                (Controller::Cpu, version) => bound_cpu(version, limits.cpu_millis, set)?,
                (Controller::CpuAcct, _) => {}
            }
        }
        Ok(())
    }

    /// Lets killed processes die: each has to run once more for that, which it would do late where
    /// hundreds share what the job may have of the processors.
    pub(crate) fn hurry(&self) {
        let Some((dir, version)) = self.dir_of(Controller::Cpu) else {
            return;
        };
        // What does not work makes it no slower than it was.
        let set = |file: &str, value: &str| drop(fs::write(dir.join(file), value));
        match version {
            Version::V1 => {
                set("cpu.cfs_quota_us", "-1");
                set("cpu.shares", CPU_SHARES_MOST);
            }
            Version::V2 => {
                set("cpu.max", "max");
                set("cpu.weight", CPU_WEIGHT_MOST);
            }
        }
    }

    /// Kills every process of the job, whatever it descends from. The kernel may count that as if the
    /// job had met its bound on processes.
    pub(crate) fn kill(&self) {
        let at_once = |dir: &&PathBuf| dir.join("cgroup.kill").exists();
        // Each has all processes; in one they cannot be replaced while they are killed one by one.
        let dir = self.dirs.iter().find(at_once).cloned();
        let dir = dir.or_else(|| Some(self.dir_of(Controller::Pids)?.0));
        if let Some(dir) = dir.as_ref().or(self.dirs.first()) {
            kill_all(dir);
        }
    }

    /// The bound of the kernel's that the job has met, if any.
    pub(crate) fn ran_out(&self) -> Option<Limit> {
        if self.ran_out_of_memory() {
            Some(Limit::Memory)
        } else {
            self.ran_out_of_pids().then_some(Limit::Pids)
        }
    }

    /// The processes of the job, of which `init` is the first: as the host counts them, or else
    /// those that come from `init`.
    pub(crate) fn members(&self, init: Pid) -> Members {
        let group = self.dirs.first().cloned();
        Box::new(move || {
            let listed = group.as_deref().and_then(|dir| listed(dir).ok());
            listed.unwrap_or_else(|| descendants(init))
        })
    }

    /// Whether the kernel killed a process of the job for want of memory.
    fn ran_out_of_memory(&self) -> bool {
        self.keyed(
            Controller::Memory,
            "memory.oom_control",
            "memory.events",
            "oom_kill",
        ) > 0
    }

    /// Whether a process could not be made.
    fn ran_out_of_pids(&self) -> bool {
        self.keyed(Controller::Pids, "pids.events", "pids.events", "max") > 0
    }

    /// What all processes of the job have cost, if the host counts it.
    pub(crate) fn cost(&self) -> Option<Cost> {
        Some(Cost {
            cpu_ms: self.cpu_ms()?,
            peak_bytes: self.peak_memory()?,
        })
    }

    /// The most memory at one time, if the host counts it.
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        let (dir, version) = self.dir_of(Controller::Memory)?;
        let file = if version == Version::V1 {
            "memory.max_usage_in_bytes"
        } else {
            "memory.peak"
        };
        read_small(&dir.join(file)).ok()?.trim().parse().ok()
    }

    /// Processor time of all processes, if the host counts it.
    pub(crate) fn cpu_ms(&self) -> Option<u64> {
        let (dir, version) = self.dir_of(Controller::CpuAcct)?;
        cpu_ms_in(&dir, version)
    }

    fn keyed(&self, controller: Controller, v1: &str, v2: &str, key: &str) -> u64 {
        let read = || {
            let (dir, version) = self.dir_of(controller)?;
            let file = if version == Version::V1 { v1 } else { v2 };
            value_of(&read_small(&dir.join(file)).ok()?, key)
        };
        read().unwrap_or(0)
    }

    fn dir_of(&self, controller: Controller) -> Option<(PathBuf, Version)> {
        let place = self
            .places
            .iter()
            .find(|place| place.controller == controller)?;
        Some((place.parent.join(&self.name), place.version))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for dir in &self.dirs {
            if fs::remove_dir(dir).is_err() {
                // What a job leaves behind ends with it.
                self.kill();
                // A directory that stays is found again by `clean`.
                let _ = remove(dir);
            }
        }
    }
}

fn pids(text: &str) -> impl Iterator<Item = Pid> {
    text.split_ascii_whitespace()
        .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
}

/// The processes of a group and of those below it, where a runtime may put the command.
fn listed(group: &Path) -> io::Result<Vec<Pid>> {
    let of = |dir: &Path| read_small(&dir.join("cgroup.procs"));
    let mut found: Vec<Pid> = pids(&of(group)?).take(MEMBERS_MAX).collect();
    let mut dirs = vec![group.to_owned()];
    let mut next = 0;
    while next < dirs.len() {
        for below in fs::read_dir(&dirs[next]).into_iter().flatten().flatten() {
            let is_dir = below.file_type().is_ok_and(|kind| kind.is_dir());
            if is_dir && dirs.len() <= GROUPS_BELOW_MAX {
                let left = MEMBERS_MAX - found.len();
                // Gone meanwhile is empty.
                found.extend(pids(&of(&below.path()).unwrap_or_default()).take(left));
                dirs.push(below.path());
            }
        }
        next += 1;
    }
    Ok(found)
}

/// A process and all that come from it. Whoever loses its parent in there comes to be the child of
/// the first.
fn descendants(first: Pid) -> Vec<Pid> {
    let mut found = vec![first];
    let mut next = 0;
    while next < found.len() && found.len() < MEMBERS_MAX {
        let tasks = format!("/proc/{}/task", found[next].as_raw_nonzero());
        next += 1;
        for task in fs::read_dir(tasks).into_iter().flatten().flatten() {
            let children = read_small(&task.path().join("children")).unwrap_or_default();
            found.extend(pids(&children));
        }
    }
    found
}

fn bound_cpu(
    version: Version,
    millis: Option<u64>,
    set: impl Fn(&str, String) -> io::Result<()>,
) -> io::Result<()> {
    let Some(millis) = millis else { return Ok(()) };
    let quota = millis.saturating_mul(CPU_PERIOD_US) / 1_000;
    if version == Version::V2 {
        return set("cpu.max", format!("{quota} {CPU_PERIOD_US}"));
    }
    set("cpu.cfs_period_us", CPU_PERIOD_US.to_string())?;
    set("cpu.cfs_quota_us", quota.to_string())
}

/// Processor time of all processes that are or were in a group, if the host counts it.
pub(super) fn cpu_ms_in(dir: &Path, version: Version) -> Option<u64> {
    if version == Version::V2 {
        let us = value_of(&read_small(&dir.join("cpu.stat")).ok()?, "usage_usec")?;
        return Some(us / 1_000);
    }
    let ns: u64 = read_small(&dir.join("cpuacct.usage"))
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(ns / 1_000_000)
}

fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        line.strip_prefix(key)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    })
}

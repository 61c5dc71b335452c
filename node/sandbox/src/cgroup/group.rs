//! One job's control groups: its bounds, what the kernel counts, what it has stopped.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::process::Pid;

use super::{Controller, Place, Version, read_small, removal::remove};
use crate::{limits::MEMBERS_MAX, sandbox::Limit, spec::Limits};

/// Period over which processor time is counted.
const CPU_PERIOD_US: u64 = 100_000;
/// The most of the processors that a group may have beside others, in either version's measure.
const CPU_SHARES_MOST: &str = "262144";
const CPU_WEIGHT_MOST: &str = "10000";

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
                fs::write(dir.join(file), value).map_err(said)
            };
            match (place.controller, place.version) {
                (Controller::Memory, Version::V1) => {
                    set("memory.limit_in_bytes", limits.memory_bytes.to_string())?;
                    // Absent where the kernel does not count swap.
                    let _ = set(
                        "memory.memsw.limit_in_bytes",
                        limits.memory_bytes.to_string(),
                    );
                }
                (Controller::Memory, Version::V2) => {
                    set("memory.max", limits.memory_bytes.to_string())?;
                    let _ = set("memory.swap.max", "0".to_owned());
                    let _ = set("memory.oom.group", "1".to_owned());
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
    pub(crate) fn members(&self, init: Pid) -> Vec<Pid> {
        let listed = self.dirs.first().map(|dir| dir.join("cgroup.procs"));
        let text = listed.and_then(|file| read_small(&file).ok());
        match text {
            Some(text) => pids(&text).take(MEMBERS_MAX).collect(),
            None => descendants(init),
        }
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
            // A directory that stays is found again by `clean`.
            let _ = remove(dir);
        }
    }
}

fn pids(text: &str) -> impl Iterator<Item = Pid> {
    text.split_ascii_whitespace()
        .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
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

fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        line.strip_prefix(key)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    })
}

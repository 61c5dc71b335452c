//! Control groups of version 1, 2, or both: one set of directories per job.
//!
//! [`Places`] is what the host offers, found once; a [`Group`] is one job's directories and
//! removes them. Names start with the node's tag, so that a successor can clear what a killed
//! node left. Never fails for a controller that is not there: it is reported as missing.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    limits::{CGROUP_REMOVE_MS, GROUPS_MAX, SMALL_FILE_MAX},
    spec::{JobName, Limits},
};

/// First part of the name of every directory of ours.
const PREFIX: &str = "caravan-";
/// Period over which processor time is counted.
const CPU_PERIOD_US: u64 = 100_000;

/// What a directory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Controller {
    Memory,
    Pids,
    Cpu,
    CpuAcct,
}

const CONTROLLERS: [(Controller, &str); 4] = [
    (Controller::Memory, "memory"),
    (Controller::Pids, "pids"),
    (Controller::Cpu, "cpu"),
    (Controller::CpuAcct, "cpuacct"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    controller: Controller,
    version: Version,
    parent: PathBuf,
}

/// Where on this host a job's directories can be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Places(Vec<Place>);

impl Places {
    /// Looks at this process's own groups; what cannot be written is left out.
    pub(crate) fn find() -> Self {
        let read = |path| read_small(Path::new(path)).unwrap_or_default();
        let (groups, mounts) = (read("/proc/self/cgroup"), read("/proc/self/mountinfo"));
        let mut places = Self::parse(&groups, &mounts, Path::new("/"));
        places.0.retain(|place| is_writable(&place.parent));
        places
    }

    /// `root` is where absolute paths begin, for tests.
    fn parse(groups: &str, mounts: &str, root: &Path) -> Self {
        let v2 = v2_parent(groups, mounts, root);
        let place = |(controller, name): (Controller, &str)| {
            if let Some(dir) = v1_parent(groups, mounts, name) {
                return Some(Place {
                    controller,
                    version: Version::V1,
                    parent: under(root, &dir),
                });
            }
            let (parent, on) = v2.as_ref()?;
            // Version 2 counts processor time in every group, asked for or not.
            let has = controller == Controller::CpuAcct || on.iter().any(|c| c == name);
            has.then(|| Place {
                controller,
                version: Version::V2,
                parent: parent.clone(),
            })
        };
        Self(CONTROLLERS.into_iter().filter_map(place).collect())
    }

    pub(crate) fn has(&self, controller: Controller) -> bool {
        self.0.iter().any(|place| place.controller == controller)
    }

    /// `v1`, `v2`, `hybrid` or `none`, for people.
    pub(crate) fn flavour(&self) -> &'static str {
        let any = |version| self.0.iter().any(|place| place.version == version);
        match (any(Version::V1), any(Version::V2)) {
            (true, true) => "hybrid",
            (true, false) => "v1",
            (false, true) => "v2",
            (false, false) => "none",
        }
    }

    /// Distinct directories that hold jobs' directories.
    fn parents(&self) -> Vec<&Path> {
        let mut parents: Vec<&Path> = Vec::new();
        for place in &self.0 {
            if !parents.contains(&place.parent.as_path()) {
                parents.push(&place.parent);
            }
        }
        parents
    }

    /// Makes one job's directories.
    ///
    /// Named by the tag and the caller's process id. The tag cannot hold the dot, so no tag's
    /// directories are another's.
    pub(crate) fn make(&self, tag: &JobName) -> io::Result<Group> {
        let name = format!("{PREFIX}{tag}.{}", std::process::id());
        let mut group = Group {
            places: self.0.clone(),
            name,
            dirs: Vec::new(),
        };
        for parent in self.parents() {
            let dir = parent.join(&group.name);
            // Whoever had this process id before us is dead.
            remove(&dir)?;
            fs::create_dir(&dir)?;
            group.dirs.push(dir);
        }
        Ok(group)
    }

    /// Kills and removes every group that an earlier holder of this tag left; says how many.
    /// It may have run in another group than this process: the whole hierarchy is searched.
    pub(crate) fn clean(&self, tag: &JobName) -> io::Result<usize> {
        let prefix = format!("{PREFIX}{tag}.");
        let mut found: Vec<PathBuf> = Vec::new();
        for parent in self.parents() {
            for dir in groups_named(top_of(parent), &prefix) {
                if !found.contains(&dir) {
                    found.push(dir);
                }
            }
        }
        for dir in &found {
            kill_all(dir);
            remove(dir)?;
        }
        Ok(found.len())
    }
}

/// The highest directory of a hierarchy that is visible here.
fn top_of(group: &Path) -> &Path {
    let is_group = |dir: &&Path| dir.join("cgroup.procs").exists();
    group
        .ancestors()
        .take_while(is_group)
        .last()
        .unwrap_or(group)
}

/// Every group at or below `top` whose name starts with `prefix`.
fn groups_named(top: &Path, prefix: &str) -> Vec<PathBuf> {
    let (mut found, mut todo, mut seen) = (Vec::new(), vec![top.to_owned()], 0);
    while let Some(dir) = todo.pop() {
        // A group may go while it is looked at.
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if !is_dir || seen == GROUPS_MAX {
                continue;
            }
            seen += 1;
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                found.push(entry.path());
            } else {
                todo.push(entry.path());
            }
        }
    }
    found
}

/// One job's directories; removed when dropped.
#[derive(Debug)]
pub(crate) struct Group {
    places: Vec<Place>,
    name: String,
    dirs: Vec<PathBuf>,
}

impl Group {
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
            let set = |file: &str, value: String| fs::write(dir.join(file), value);
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

    /// Whether the kernel killed a process of the job for want of memory.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        self.keyed(
            Controller::Memory,
            "memory.oom_control",
            "memory.events",
            "oom_kill",
        ) > 0
    }

    /// Whether a process could not be made.
    pub(crate) fn ran_out_of_pids(&self) -> bool {
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

/// This process's own group in the version 1 hierarchy of a controller.
fn v1_parent(groups: &str, mounts: &str, name: &str) -> Option<PathBuf> {
    let own = groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let names = parts.next()?;
        names.split(',').any(|n| n == name).then(|| parts.next())?
    })?;
    let mount = mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let is_v1 = right.next() == Some("cgroup");
        let options = right.nth(1)?;
        (is_v1 && options.split(',').any(|o| o == name)).then_some(left)
    })?;
    place_in_mount(mount, own)
}

/// The nearest group at or above this process's own whose children have controllers that we
/// use, and those. One group only: in version 2 a process is in one place.
fn v2_parent(groups: &str, mounts: &str, root: &Path) -> Option<(PathBuf, Vec<String>)> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mount = mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        right.starts_with("cgroup2 ").then_some(left)
    })?;
    let own = under(root, &place_in_mount(mount, own)?);
    let top = under(root, &place_in_mount(mount, "/")?);
    own.ancestors()
        .take_while(|dir| dir.starts_with(&top))
        .find_map(|dir| {
            let on = read_small(&dir.join("cgroup.subtree_control")).unwrap_or_default();
            let ours = |name: &&str| CONTROLLERS.iter().any(|(_, known)| known == name);
            let on: Vec<String> = on
                .split_whitespace()
                .filter(ours)
                .map(str::to_owned)
                .collect();
            (!on.is_empty()).then(|| (dir.to_owned(), on))
        })
}

/// `left` is the first half of a line of mountinfo: id, parent, device, root, mount point.
fn place_in_mount(left: &str, own: &str) -> Option<PathBuf> {
    let mut fields = left.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    // A group outside of what is mounted shows as `/..`: then the mount's own root it is.
    let inner = Path::new(own).strip_prefix(root).unwrap_or(Path::new(""));
    Some(Path::new(point).join(inner))
}

fn under(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn is_writable(dir: &Path) -> bool {
    rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok()
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

fn kill_all(dir: &Path) {
    // Gone meanwhile is as good, for a group as for a process.
    for line in read_small(&dir.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
    {
        if let Some(pid) = line.parse().ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Removes an emptied group; its last process may still be on its way out.
fn remove(dir: &Path) -> io::Result<()> {
    let end = Instant::now() + Duration::from_millis(CGROUP_REMOVE_MS);
    let mut pause = Duration::from_micros(50);
    loop {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < end => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
            done => return done,
        }
    }
}

pub(crate) fn read_small(path: &Path) -> io::Result<String> {
    use io::Read as _;
    let mut text = String::new();
    fs::File::open(path)?
        .take(SMALL_FILE_MAX)
        .read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests;

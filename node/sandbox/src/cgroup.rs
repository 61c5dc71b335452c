//! Control groups of version 1, 2, or both: one set of directories per job.
//!
//! [`Places`] is what the host offers, found once; a [`Group`] is one job's directories and
//! removes them. Names start with the node's tag, so that a successor can clear what a killed
//! node left. Never fails for a controller that is not there: it is reported as missing.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::{
    limits::{GROUPS_MAX, SMALL_FILE_MAX},
    spec::JobName,
};

mod foreign;
mod group;
mod own;
mod removal;
mod spent;

pub(crate) use foreign::{DEVICES, Leftover, clean as clean_foreign};
pub(crate) use group::{Group, Members};
use own::{Home, v1_parent};
use removal::{kill_all, remove};
pub use spent::cpu_ms;

/// First part of the name of every directory of ours.
const PREFIX: &str = "caravan-";

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
    /// Makes room for jobs beside this program where it has a group of its own, then looks. Once,
    /// by the helper, before any job: in version 2 a group that holds processes gives no
    /// controllers to those below it.
    pub(crate) fn settle() -> io::Result<Self> {
        let read = |path| read_small(Path::new(path)).unwrap_or_default();
        let (groups, mounts) = (read("/proc/self/cgroup"), read("/proc/self/mountinfo"));
        if let Some(home) = Home::find(&groups, &mounts, Path::new("/"))
            && is_writable(home.dir())
        {
            home.settle().map_err(|error| {
                let what = format!("share out the control group {}", home.dir().display());
                io::Error::new(error.kind(), format!("{what}: {error}"))
            })?;
        }
        Ok(Self::find())
    }

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
        let v2 = Home::find(groups, mounts, root).and_then(|home| home.parent());
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
            let has = controller == Controller::CpuAcct || on.contains(&name);
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

    /// Whether what a job has in swap can be bounded: kernels may be told not to count it.
    pub(crate) fn counts_swap(&self) -> bool {
        let is_memory = |place: &&Place| place.controller == Controller::Memory;
        let Some(place) = self.0.iter().find(is_memory) else {
            return false;
        };
        let is_in = |dir: &Path| dir.join(swap_file(place.version)).exists();
        // The root of all groups of version 2 has no bounds; those below it tell.
        is_in(&place.parent)
            || place.version == Version::V2
                && !place.parent.join("memory.max").exists()
                && directories(&place.parent).any(|dir| is_in(&dir))
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
        Group::make(self.0.clone(), &self.parents(), name)
    }

    /// Kills and removes every group that an earlier holder of this tag left; says how many.
    /// It may have run in another group than this process: the whole hierarchy is searched.
    pub(crate) fn clean(&self, tag: &JobName) -> io::Result<usize> {
        clean_below(&self.parents(), tag)
    }
}

/// Ends every group of a tag in the hierarchies that these groups are in; says how many. One that
/// stays keeps none of the others.
fn clean_below(parents: &[&Path], tag: &JobName) -> io::Result<usize> {
    let prefix = format!("{PREFIX}{tag}.");
    let mut found: Vec<PathBuf> = Vec::new();
    for parent in parents {
        for dir in groups_named(parent, &prefix) {
            if !found.contains(&dir) {
                found.push(dir);
            }
        }
    }
    let ends: Vec<io::Result<()>> = found.iter().map(|dir| end(dir)).collect();
    ends.into_iter().collect::<io::Result<()>>()?;
    Ok(found.len())
}

/// Kills what is in a group and in those below it, and removes them. Whoever those below belong to:
/// they are there by leave of the owner of the first.
fn end(dir: &Path) -> io::Result<()> {
    let mut all = vec![dir.to_owned()];
    let mut next = 0;
    while next < all.len() && all.len() < GROUPS_MAX {
        let below = directories(&all[next]);
        next += 1;
        all.extend(below);
    }
    for dir in all.iter().rev() {
        kill_all(dir);
        remove(dir).map_err(|error| {
            let what = format!("remove the control group {}", dir.display());
            io::Error::new(error.kind(), format!("{what}: {error}"))
        })?;
    }
    Ok(())
}

/// This user's groups in a hierarchy whose names start with `prefix`. Groups of others are neither
/// taken nor looked into, so that nobody else can put anything in the way: the search goes into
/// those that `group` is in, up to the highest that is visible here, and from there into what is
/// this user's own.
fn groups_named(group: &Path, prefix: &str) -> Vec<PathBuf> {
    let owner = rustix::process::geteuid().as_raw();
    let is_ours = |dir: &Path| fs::symlink_metadata(dir).is_ok_and(|found| found.uid() == owner);
    let is_group = |dir: &&Path| dir.join("cgroup.procs").exists();
    let mut above: Vec<PathBuf> = group
        .ancestors()
        .take_while(is_group)
        .map(Path::to_owned)
        .collect();
    // The nearest is looked at first.
    above.reverse();
    let (mut found, mut todo, mut seen) = (Vec::new(), above.clone(), 0);
    while let Some(dir) = todo.pop() {
        for path in directories(&dir) {
            if seen == GROUPS_MAX || above.contains(&path) || !is_ours(&path) {
                continue;
            }
            seen += 1;
            let name = path.file_name().unwrap_or_default();
            if name.to_string_lossy().starts_with(prefix) {
                found.push(path);
            } else {
                todo.push(path);
            }
        }
    }
    found
}

/// The directories in one, which may go while they are looked at.
fn directories(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let is_dir = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.filter(is_dir).map(|entry| entry.path())
}

/// The file that bounds swap.
fn swap_file(version: Version) -> &'static str {
    match version {
        Version::V1 => "memory.memsw.limit_in_bytes",
        Version::V2 => "memory.swap.max",
    }
}

fn under(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn is_writable(dir: &Path) -> bool {
    rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok()
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

//! Control groups that an OCI runtime makes for a job beside or below ours.
//!
//! They hold no limit; they only have to go when the job has gone. Each has the name of the job's own
//! groups, so that a successor finds what a killed node left.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{Group, Home, clean_below, own::v1_parent, read_small, removal::remove};
use crate::spec::JobName;

/// The controller of version 1 that runc insists on.
pub(crate) const DEVICES: &str = "devices";

/// A runtime's groups for one job, removed when dropped. To be dropped when nothing of the job runs
/// any more, and before the job's own groups.
#[derive(Debug)]
pub(crate) struct Leftover(Vec<PathBuf>);

impl Leftover {
    /// All that may be left beside or below these groups.
    pub(crate) fn of(group: &Group) -> Self {
        let above = group.dirs.iter().cloned().chain(parents());
        Self(above.map(|dir| dir.join(group.name())).collect())
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        for dir in &self.0 {
            // One that stays is found again by `clean`.
            let _ = remove(dir);
        }
    }
}

/// This process's own groups in the hierarchies that a runtime may be shown.
fn parents() -> Vec<PathBuf> {
    let read = |path| read_small(Path::new(path)).unwrap_or_default();
    let (groups, mounts) = (read("/proc/self/cgroup"), read("/proc/self/mountinfo"));
    let devices = v1_parent(&groups, &mounts, DEVICES);
    let unified = Home::find(&groups, &mounts, Path::new("/"));
    let unified = unified.map(|home| home.dir().to_owned());
    devices.into_iter().chain(unified).collect()
}

/// Removes what runtimes left of a tag's jobs whose supervisors were killed; says how many.
pub(crate) fn clean(tag: &JobName) -> io::Result<usize> {
    let parents = parents();
    let parents: Vec<&Path> = parents.iter().map(PathBuf::as_path).collect();
    clean_below(&parents, tag)
}

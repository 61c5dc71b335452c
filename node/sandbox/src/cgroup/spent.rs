//! What a job has used so far, read from outside by whoever started it.

use std::{fs, path::Path};

use super::{Controller, PREFIX, Places, directories, group::cpu_ms_in, read_small};
use crate::spec::JobName;

/// Processor time that the processes of a job that runs have used, milliseconds, where the host
/// counts it and this process sees the count.
#[must_use]
pub fn cpu_ms(job: &JobName) -> Option<u64> {
    let read = |path| read_small(Path::new(path)).unwrap_or_default();
    let (groups, mounts) = (read("/proc/self/cgroup"), read("/proc/self/mountinfo"));
    let places = Places::parse(&groups, &mounts, Path::new("/"));
    let mut counted = places.0.iter();
    let place = counted.find(|place| place.controller == Controller::CpuAcct)?;
    let prefix = format!("{PREFIX}{job}.");
    let of_job = |dir: &std::path::PathBuf| {
        let name = dir.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(&prefix)) && fs::metadata(dir).is_ok()
    };
    let dir = directories(&place.parent).find(of_job)?;
    cpu_ms_in(&dir, place.version)
}

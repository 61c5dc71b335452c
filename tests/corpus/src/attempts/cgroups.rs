//! Control groups: with them a job would lift its own limits, stop others, or have the host run a
//! program.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    path::PathBuf,
};

use super::tools::{mount_with, opens_to_write};
use crate::{
    attempt::{Attempt, Stop, Tried, attempt, no_effect},
    ground::Ground,
};

pub(super) const ATTEMPTS: &[Attempt] = &[
    attempt(
        "cgroup.limit",
        "limits of the job",
        "raise the limit of the canary group",
        |g| canary(g, "limit"),
    ),
    attempt(
        "cgroup.join",
        "limits of the job",
        "put itself into the canary group",
        join,
    ),
    attempt(
        "cgroup.make",
        "limits of the job",
        "make a group of its own beside the canary group",
        make,
    ),
    attempt(
        "cgroup.release-agent",
        "CVE-2022-0492",
        "write the program that the host runs when a group is empty",
        release_agent,
    ),
    attempt(
        "cgroup.mount",
        "CVE-2022-0492",
        "mount a hierarchy of groups anew and write to it",
        mounted,
    ),
    attempt(
        "cgroup.mount-v2",
        "CVE-2022-0492 class",
        "mount the second version's hierarchy and move itself",
        mounted_v2,
    ),
    attempt(
        "cgroup.devices",
        "device groups",
        "allow itself all devices",
        devices,
    ),
];

/// The canary group, where the host has it or in a hierarchy mounted aside.
fn place(ground: &Ground) -> Result<PathBuf, Stop> {
    let path = PathBuf::from(ground.get("group"));
    if path.as_os_str().is_empty() {
        return Err(Stop::Absent("the host has no control groups".to_owned()));
    }
    match fs::symlink_metadata(&path) {
        Ok(_) => Ok(path),
        Err(missing) => {
            let place = mount_with("cgroup", "cgroup", "pids").map_err(|_| missing)?;
            Ok(PathBuf::from(place).join(ground.get("group-name")))
        }
    }
}

fn canary(ground: &Ground, what: &str) -> Tried {
    let path = place(ground)?.join("pids.max");
    let mut file = OpenOptions::new().write(true).open(&path)?;
    file.write_all(b"max")?;
    Ok(format!("the {what} of the canary group was written"))
}

fn join(ground: &Ground) -> Tried {
    let path = place(ground)?.join("cgroup.procs");
    let back = path
        .parent()
        .and_then(|dir| dir.parent())
        .map(|dir| dir.join("cgroup.procs"));
    OpenOptions::new()
        .write(true)
        .open(&path)?
        .write_all(b"0")?;
    if let Some(back) = back {
        // So that the group can be removed.
        let _ = fs::write(back, b"0");
    }
    Ok("it left its own limits".to_owned())
}

fn make(ground: &Ground) -> Tried {
    let dir = place(ground)?.join("made");
    fs::create_dir(&dir)?;
    let _ = fs::remove_dir(&dir);
    Ok("a group was made".to_owned())
}

fn release_agent(ground: &Ground) -> Tried {
    let group = place(ground)?;
    let top = group
        .ancestors()
        .find(|dir| fs::exists(dir.join("release_agent")).unwrap_or(false));
    match top {
        Some(top) => opens_to_write(&top.join("release_agent").display().to_string()),
        None => {
            let place = mount_with("cgroup", "cgroup", "pids")?;
            opens_to_write(&format!("{place}/release_agent"))
        }
    }
}

fn mounted(_: &Ground) -> Tried {
    let place = mount_with("cgroup", "cgroup", "memory")?;
    opens_to_write(&format!("{place}/memory.use_hierarchy"))
        .or_else(|_| opens_to_write(&format!("{place}/cgroup.procs")))
}

fn mounted_v2(_: &Ground) -> Tried {
    let place = mount_with("cgroup2", "cgroup2", "")?;
    opens_to_write(&format!("{place}/cgroup.procs"))
}

fn devices(_: &Ground) -> Tried {
    let dir = "/sys/fs/cgroup/devices";
    if fs::exists(dir).unwrap_or(false) {
        return opens_to_write(&format!("{dir}/devices.allow"))
            .or_else(|_| opens_to_write(&format!("{dir}/cgroup.procs")));
    }
    let place = mount_with("cgroup", "cgroup", "devices")?;
    opens_to_write(&format!("{place}/cgroup.procs")).map_err(|_| no_effect("it cannot be written"))
}

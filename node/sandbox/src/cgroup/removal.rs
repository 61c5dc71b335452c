//! The end of a control group: of what is in it, then of itself.

use std::{
    collections::BTreeSet,
    fs, io,
    os::fd::OwnedFd,
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::read_small;
use crate::limits::{CGROUP_REMOVE_MS, KILL_ROUNDS, KILLED_AT_ONCE};

/// Kills everything in a group: at once where the kernel can, else until nothing new shows up. Costs
/// one read where nothing is in it.
pub(super) fn kill_all(dir: &Path) {
    // Of version 2, since 5.14.
    let at_once = dir.join("cgroup.kill");
    if at_once.exists() && fs::write(at_once, "1").is_ok() {
        return;
    }
    let mut killed = BTreeSet::new();
    for _ in 0..KILL_ROUNDS {
        let listed = processes(dir);
        // Those that were killed stay until they have had their turn.
        if listed.is_subset(&killed) {
            return;
        }
        // So that no new ones come faster than the old ones go.
        let room = dir.join("pids.max");
        if room.exists() {
            let _ = fs::write(room, "0");
        }
        let all: Vec<i32> = listed.difference(&killed).copied().collect();
        for some in all.chunks(KILLED_AT_ONCE) {
            kill(dir, some);
        }
        killed.extend(listed);
        std::thread::yield_now();
    }
}

/// Kills those of them that still are in the group. A number may have passed to another process since
/// it was read: what is held open and then found in the group once more has not.
fn kill(dir: &Path, some: &[i32]) {
    let hold = |pid: &i32| {
        let fd = pidfd_open(Pid::from_raw(*pid)?, PidfdFlags::empty()).ok()?;
        Some((*pid, fd))
    };
    let held: Vec<(i32, OwnedFd)> = some.iter().filter_map(hold).collect();
    let still = processes(dir);
    for (_, process) in held.iter().filter(|(pid, _)| still.contains(pid)) {
        // Gone meanwhile is as good.
        let _ = pidfd_send_signal(process, Signal::KILL);
    }
}

/// Those that this process can name: what is of another process namespace shows as 0.
fn processes(dir: &Path) -> BTreeSet<i32> {
    let text = read_small(&dir.join("cgroup.procs")).unwrap_or_default();
    let numbers = text.lines().filter_map(|line| line.parse().ok());
    numbers.filter(|pid| *pid > 0).collect()
}

/// Removes an emptied group; its last process may still be on its way out.
pub(super) fn remove(dir: &Path) -> io::Result<()> {
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

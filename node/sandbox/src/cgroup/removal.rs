//! The end of a control group: of what is in it, then of itself.

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::read_small;
use crate::limits::{CGROUP_REMOVE_MS, KILL_ROUNDS};

/// Kills everything in a group: at once where the kernel can, else until nothing new shows up.
pub(super) fn kill_all(dir: &Path) {
    // Of version 2, since 5.14.
    let at_once = dir.join("cgroup.kill");
    if at_once.exists() && fs::write(at_once, "1").is_ok() {
        return;
    }
    for _ in 0..KILL_ROUNDS {
        let text = read_small(&dir.join("cgroup.procs")).unwrap_or_default();
        let mut any = false;
        for pid in text.lines().filter_map(|line| line.parse().ok()) {
            // Gone meanwhile is as good. What is of another process namespace shows as 0.
            let Some(pid) = Pid::from_raw(pid) else {
                continue;
            };
            any |= kill_process(pid, Signal::KILL).is_ok();
        }
        if !any {
            return;
        }
        std::thread::yield_now();
    }
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

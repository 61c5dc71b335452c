//! What is looked at while a command runs, so that a job ends soon after it has met a bound.
//!
//! The kernel stops a job at its bounds on memory and processes, but does not end it: a command
//! may go on against them for as long as its time lasts. So it is given a moment to say what
//! happened, and is then ended. What it takes of the disk and of the processors is counted here.
//! A [`Guard`] decides; who asked it kills.

use std::{
    io,
    time::{Duration, Instant},
};

use rustix::process::Pid;

use crate::{
    cgroup::Group,
    disk::{Disk, Look},
    limits::{EVENTS_MS, LAST_WORDS_MS},
    sandbox::{Limit, Status},
    spec::Spec,
};

/// The bounds of one running job.
pub(crate) struct Guard {
    disk: Disk,
    disk_at: Instant,
    events_at: Instant,
    cpu_ms: Option<u64>,
    /// The bound that the kernel has held the job to, and when it is to end.
    met: Option<(Limit, Instant)>,
}

impl Guard {
    /// Before the job starts: what is on the disk then is not its own.
    pub(crate) fn open(spec: &Spec) -> io::Result<Self> {
        let now = Instant::now();
        Ok(Self {
            disk: Disk::open(spec, now)?,
            disk_at: now,
            events_at: now + Duration::from_millis(EVENTS_MS),
            cpu_ms: spec.limits.cpu_ms,
            met: None,
        })
    }

    /// Looks at what is due. `init` is the first process of the job.
    pub(crate) fn look(&mut self, group: &Group, init: Pid) -> Look {
        let now = Instant::now();
        if now >= self.events_at {
            self.events_at = now + Duration::from_millis(EVENTS_MS);
            if let Some(limit) = self.events(group, now) {
                return Look::Over(limit);
            }
        }
        if now >= self.disk_at {
            match self.disk.look(now, || group.members(init)) {
                Look::Again(after) => self.disk_at = Instant::now() + after,
                over @ Look::Over(_) => return over,
            }
        }
        let next = self.events_at.min(self.disk_at);
        Look::Again(next.saturating_duration_since(Instant::now()))
    }

    /// The bound that a job went over in the moment before its end. Its processes are dead.
    pub(crate) fn last(mut self, status: Status) -> Option<Limit> {
        // Its own, or as a shell says it of a child's.
        let too_long = [
            Status::Signal(libc::SIGXFSZ),
            Status::Code(128 + libc::SIGXFSZ),
        ];
        let file = too_long.contains(&status).then_some(Limit::Disk);
        file.or_else(|| self.disk.last())
    }

    fn events(&mut self, group: &Group, now: Instant) -> Option<Limit> {
        let used_up = self
            .cpu_ms
            .is_some_and(|max| group.cpu_ms().is_some_and(|used| used > max));
        if used_up {
            return Some(Limit::Cpu);
        }
        if self.met.is_none() {
            let end = now + Duration::from_millis(LAST_WORDS_MS);
            self.met = group.ran_out().map(|limit| (limit, end));
        }
        self.met
            .and_then(|(limit, end)| (now >= end).then_some(limit))
    }
}

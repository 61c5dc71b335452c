//! The bounds of one job, and what of them can be seen to be wrong before anything starts.
//!
//! Only numbers: who enforces which is said with each. Never touches anything.

use serde::{Deserialize, Serialize};

use super::{SpecError, number};
use crate::limits::{DISK_MIN, INODES_MIN, MEMORY_MIN, WALL_MS_MAX};

/// Bounds of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory of all processes, page cache and temporary files included.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Time from start to kill.
    pub wall_ms: u64,
    /// Bytes of output, enforced by whoever reads it through [`crate::OutputLimit`].
    pub output_bytes: u64,
    /// Processor time per wall time, in thousandths of one core; `None` is no bound.
    pub cpu_millis: Option<u64>,
    /// Processor time of all processes together, from start to kill; `None` is no bound but
    /// `wall_ms`. Kept only where the host counts it.
    pub cpu_ms: Option<u64>,
    /// Open files of one process; the host's own hard limit if that is lower.
    pub nofile: u64,
    /// Blocks on the disk that the job takes: in its upper directories, and in files that have no
    /// name any more and are still held by a process. A hole in a file takes none.
    pub disk_bytes: u64,
    /// Files, directories and links that the job makes there. One with several names counts once.
    pub inodes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 4 << 30,
            pids: 4_096,
            wall_ms: 3_600_000,
            output_bytes: 256 << 20,
            cpu_millis: None,
            cpu_ms: None,
            nofile: 16_384,
            disk_bytes: 16 << 30,
            inodes: 2_000_000,
        }
    }
}

impl Limits {
    /// Everything that can be known to be wrong without looking at the host.
    pub(super) fn check(&self) -> Result<(), SpecError> {
        let least = |what, value, min: u64, rule| number(what, value, value >= min, rule);
        least(
            "memory_bytes",
            self.memory_bytes,
            MEMORY_MIN,
            "at least 4194304",
        )?;
        least("pids", self.pids, 2, "at least 2: init and the command")?;
        let wall = (1..=WALL_MS_MAX).contains(&self.wall_ms);
        number("wall_ms", self.wall_ms, wall, "1 to one week")?;
        least("nofile", self.nofile, 16, "at least 16")?;
        least("disk_bytes", self.disk_bytes, DISK_MIN, "at least 65536")?;
        least("inodes", self.inodes, INODES_MIN, "at least 16")?;
        least("cpu_ms", self.cpu_ms.unwrap_or(1), 1, "at least 1")?;
        let cpu = self.cpu_millis.unwrap_or(1_000);
        let fits = (10..=1_000_000).contains(&cpu);
        number("cpu_millis", cpu, fits, "10 to 1000000")
    }
}

//! Bounds on one attempt, and what a node says to one that asks for more than it allows.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits;

/// Bounds on one attempt. Reaching one is a failure like any other, so they are part of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Limits {
    /// Wall clock, milliseconds.
    pub wall_ms: u64,
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u32,
    /// Log, bytes.
    pub log_bytes: u64,
    /// Room on the disk, bytes.
    pub disk_bytes: u64,
    /// Files, directories and links on it.
    pub inodes: u64,
    /// Processor time of all processes together, milliseconds.
    pub cpu_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall_ms: 3_600_000,
            memory_bytes: 8 << 30,
            pids: 4096,
            log_bytes: limits::LOG_BYTES_MAX,
            disk_bytes: 16 << 30,
            inodes: 2_000_000,
            cpu_ms: 24 * 3_600_000,
        }
    }
}

/// What is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bound {
    /// Wall clock, milliseconds.
    Wall,
    /// Memory, bytes.
    Memory,
    /// Processes and threads.
    Pids,
    /// Log, bytes.
    Log,
    /// Room on the disk, bytes.
    Disk,
    /// Files, directories and links on it.
    Inodes,
    /// Processor time, milliseconds.
    Cpu,
}

/// Something asks for more than is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("it asks for {} and this node allows {}", self.show(self.asked), self.show(self.most))]
pub struct TooMuch {
    /// Of what.
    pub bound: Bound,
    /// What is asked for.
    pub asked: u64,
    /// What is allowed.
    pub most: u64,
}

impl TooMuch {
    /// What is asked for, in words.
    #[must_use]
    pub fn asks(&self) -> String {
        self.show(self.asked).to_string()
    }

    /// What is allowed, in words.
    #[must_use]
    pub fn allows(&self) -> String {
        self.show(self.most).to_string()
    }

    fn show(&self, value: u64) -> Amount {
        Amount(self.bound, value)
    }
}

/// So much of something, for people.
struct Amount(Bound, u64);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bound, value) = *self;
        let bytes = |f: &mut fmt::Formatter<'_>| match value {
            value if value % (1 << 30) == 0 => write!(f, "{} GiB", value >> 30),
            value if value % (1 << 20) == 0 => write!(f, "{} MiB", value >> 20),
            value => write!(f, "{value} bytes"),
        };
        let time = |f: &mut fmt::Formatter<'_>| match value {
            value if value % 1000 == 0 => write!(f, "{} s", value / 1000),
            value => write!(f, "{value} ms"),
        };
        match bound {
            Bound::Wall => time(f),
            Bound::Cpu => time(f).and_then(|()| f.write_str(" of processor time")),
            Bound::Memory => bytes(f).and_then(|()| f.write_str(" of memory")),
            Bound::Disk => bytes(f).and_then(|()| f.write_str(" of disk")),
            Bound::Log => bytes(f).and_then(|()| f.write_str(" of log")),
            Bound::Pids => write!(f, "{value} processes"),
            Bound::Inodes => write!(f, "{value} files"),
        }
    }
}

impl Limits {
    /// Nothing of anything: what fits everywhere.
    pub const NOTHING: Self = Self {
        wall_ms: 0,
        memory_bytes: 0,
        pids: 0,
        log_bytes: 0,
        disk_bytes: 0,
        inodes: 0,
        cpu_ms: 0,
    };
    /// As much as can be said of everything.
    pub const ALL: Self = Self {
        wall_ms: u64::MAX,
        memory_bytes: u64::MAX,
        pids: u32::MAX,
        log_bytes: u64::MAX,
        disk_bytes: u64::MAX,
        inodes: u64::MAX,
        cpu_ms: u64::MAX,
    };

    /// The first bound that is above what is allowed.
    pub fn within(&self, most: &Self) -> Result<(), TooMuch> {
        let all = |of: &Self| {
            [
                (Bound::Memory, of.memory_bytes),
                (Bound::Pids, of.pids.into()),
                (Bound::Disk, of.disk_bytes),
                (Bound::Inodes, of.inodes),
                (Bound::Wall, of.wall_ms),
                (Bound::Log, of.log_bytes),
                (Bound::Cpu, of.cpu_ms),
            ]
        };
        let mut pairs = all(self).into_iter().zip(all(most));
        let above = pairs.find(|((_, asked), (_, most))| asked > most);
        above.map_or(Ok(()), |((bound, asked), (_, most))| {
            Err(TooMuch { bound, asked, most })
        })
    }
}

//! How far an attempt is: what its node says in its beats, and when that has stood still for so
//! long that another node gets the job.

use serde::{Deserialize, Serialize};

use super::JobId;
use crate::limits;

/// What an attempt is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// What it runs on is fetched.
    Fetching {
        /// Bytes so far.
        bytes: u64,
    },
    /// Its command runs.
    Running {
        /// Size of its log so far.
        log_bytes: u64,
        /// Processor time so far, milliseconds; 0 where the node cannot tell.
        cpu_ms: u64,
    },
    /// What it made is kept.
    Keeping,
}

impl Phase {
    /// Where each attempt begins.
    pub const FIRST: Self = Self::Fetching { bytes: 0 };

    /// Size of the log that it has written.
    #[must_use]
    pub const fn log_bytes(self) -> u64 {
        match self {
            Self::Running { log_bytes, .. } => log_bytes,
            Self::Fetching { .. } | Self::Keeping => 0,
        }
    }

    const fn stage(self) -> u8 {
        match self {
            Self::Fetching { .. } => 0,
            Self::Running { .. } => 1,
            Self::Keeping => 2,
        }
    }

    /// Takes in what was heard next. Nothing goes back: a stage that is behind counts for nothing,
    /// nor does a smaller number. Answers whether that was a step ahead.
    pub(super) fn advance(&mut self, heard: Self) -> bool {
        let before = *self;
        match (&mut *self, heard) {
            (Self::Fetching { bytes }, Self::Fetching { bytes: more }) => {
                *bytes = more.max(*bytes);
            }
            (
                Self::Running { log_bytes, cpu_ms },
                Self::Running {
                    log_bytes: more_log,
                    cpu_ms: more_cpu,
                },
            ) => {
                *log_bytes = more_log.max(*log_bytes);
                *cpu_ms = more_cpu.max(*cpu_ms);
            }
            (known, heard) if heard.stage() > known.stage() => *known = heard,
            _ => {}
        }
        *self != before
    }

    /// How long an attempt that is thought to take so long may stand still here, milliseconds.
    #[must_use]
    pub fn patience_ms(self, cost_ms: u64) -> u64 {
        match self {
            Self::Fetching { .. } => limits::STILL_FETCHING_MS,
            Self::Running { .. } => limits::STILL_RUNNING_MS.max(cost_ms.saturating_mul(3)),
            Self::Keeping => limits::STILL_KEEPING_MS,
        }
    }
}

/// How far one attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub number: u32,
    /// What it is at.
    pub phase: Phase,
}

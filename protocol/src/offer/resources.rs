//! What a node has for jobs and what a job takes of it: processors and memory, not a count.

use serde::{Deserialize, Serialize};

use super::{AttemptId, Engine};
use crate::{action::Limits, limits};

/// Processors and memory: what a node has for jobs, or what of it they have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_millis: u64,
    /// Memory, bytes.
    pub memory_bytes: u64,
}

impl Resources {
    /// Of a node that runs so many usual jobs at once, whatever memory they take.
    #[must_use]
    pub fn of_slots(slots: u32) -> Self {
        Self {
            cpu_millis: u64::from(slots.min(limits::SLOTS_MAX)) * CORE,
            memory_bytes: u64::MAX,
        }
    }

    /// How many usual jobs run on it at once.
    #[must_use]
    pub fn slots(self) -> u32 {
        let cores = self.cpu_millis / CORE;
        u32::try_from(cores).map_or(limits::SLOTS_MAX, |cores| cores.min(limits::SLOTS_MAX))
    }

    const fn and(self, more: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.saturating_add(more.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_add(more.memory_bytes),
        }
    }

    const fn holds(self, all: Self) -> bool {
        all.cpu_millis <= self.cpu_millis && all.memory_bytes <= self.memory_bytes
    }
}

/// What a usual job takes of the processors.
const CORE: u64 = 1000;

/// What one job takes, whoever runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Takes {
    cpu_millis: u64,
    /// Bytes; the share of a core where the job declares none.
    memory_bytes: Option<u64>,
}

impl Takes {
    /// What everybody takes who says nothing else.
    pub(super) const USUAL: Self = Self {
        cpu_millis: CORE,
        memory_bytes: None,
    };

    /// What a job with these bounds takes. The usual bound is far above what is used, so it says
    /// nothing.
    pub(super) fn of(needs: &Limits) -> Self {
        let bytes = needs.memory_bytes;
        Self {
            memory_bytes: (bytes != Limits::default().memory_bytes).then_some(bytes),
            ..Self::USUAL
        }
    }

    /// What that is on a node. Nothing takes more than all there is, so that whatever is allowed
    /// there can run, by itself if need be.
    fn on(self, whole: Resources) -> Resources {
        let cpu_millis = self.cpu_millis.min(whole.cpu_millis);
        let share = || {
            let part = u128::from(whole.memory_bytes) * u128::from(cpu_millis);
            let share = part / u128::from(whole.cpu_millis.max(1));
            u64::try_from(share).unwrap_or(u64::MAX)
        };
        Resources {
            cpu_millis,
            memory_bytes: self
                .memory_bytes
                .map_or_else(share, |bytes| bytes.min(whole.memory_bytes)),
        }
    }
}

impl Engine {
    /// What attempts that run here have, stopped ones too until they have ended.
    fn taken(&self) -> Resources {
        let runs = self.work.runs.values().map(|run| run.takes);
        runs.fold(Resources::default(), |all, takes| {
            all.and(takes.on(self.room))
        })
    }

    /// Whether an attempt runs here for which as much room was made as this takes.
    #[must_use]
    pub fn makes_room(&self, attempt: AttemptId, needs: &Limits) -> bool {
        let run = self.work.runs.get(&attempt);
        run.is_some_and(|run| run.takes == Takes::of(needs))
    }

    /// What is kept for the answers to bids.
    fn kept(&self) -> Resources {
        let bids = self.work.bids.values().map(|bid| bid.takes);
        bids.fold(Resources::default(), |all, takes| {
            all.and(takes.on(self.room))
        })
    }

    /// Whether an own job could be started beside what runs here, bids aside: local work goes
    /// before them. `beside` is what is held for another own job.
    pub(super) fn has_room(&self, takes: Takes, beside: Option<Takes>) -> bool {
        let held = beside.map_or_else(Resources::default, |takes| takes.on(self.room));
        let runs = self.work.runs.len();
        self.room.slots() > 0
            && runs < limits::SLOTS_MAX as usize
            && (self.room).holds(self.taken().and(held).and(takes.on(self.room)))
    }

    /// Whether a job of somebody else could be started now, or be bid for.
    pub(super) fn has_spare(&self, takes: Takes) -> bool {
        let more = takes.on(self.room);
        let busy = self.work.runs.len() + self.work.bids.len();
        let all = self.taken().and(self.kept()).and(self.held_back());
        !self.paused
            && self.room.slots() > 0
            && busy < limits::SLOTS_MAX as usize
            && self.room.holds(all.and(more))
    }

    /// Whether more is kept for bids than there is.
    pub(super) fn is_overbid(&self) -> bool {
        !self.room.holds(self.taken().and(self.kept()))
    }

    fn held_back(&self) -> Resources {
        let held = self.held_for.map(|(_, takes)| takes);
        held.map_or_else(Resources::default, |takes| takes.on(self.room))
    }

    /// How many usual jobs of others could be started now.
    pub(super) fn spare_slots(&self) -> u32 {
        let whole = self.room;
        let all = self.taken().and(self.kept()).and(self.held_back());
        let usual = Takes::USUAL.on(whole);
        let cores = whole.cpu_millis.saturating_sub(all.cpu_millis) / usual.cpu_millis.max(1);
        let memory = whole.memory_bytes.saturating_sub(all.memory_bytes);
        let shares = memory / usual.memory_bytes.max(1);
        let busy = self.work.runs.len() + self.work.bids.len();
        let count = (limits::SLOTS_MAX as usize).saturating_sub(busy) as u64;
        let free = cores.min(shares).min(count);
        u32::try_from(free).unwrap_or(limits::SLOTS_MAX)
    }
}

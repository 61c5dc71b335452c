//! What this node's estimates are made of: what runs here and for how long yet, how its speed
//! compares with what jobs are thought to cost, and how fast it fetches.

use std::collections::BTreeMap;

use super::{AttemptId, Engine, jobs::Job, resources::Takes};
use crate::{limits, time::Time};

/// A thousand thousandths: as fast as thought.
const USUAL: u64 = 1000;
/// Neither this much faster nor this much slower is believed of one's own speed.
const SPEED_MAX: u64 = 8;
/// Shorter attempts tell nothing of speed, milliseconds.
const TELLING_MS: u64 = 1000;

/// How long a job is thought to take here, milliseconds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spends {
    /// Its command.
    pub(super) cost_ms: u64,
    /// What has to be fetched for it.
    pub(super) fetch_ms: u64,
}

impl Spends {
    pub(super) const fn all_ms(self) -> u64 {
        self.cost_ms.saturating_add(self.fetch_ms)
    }
}

/// An attempt that runs here.
#[derive(Debug, Clone, Copy)]
struct Expected {
    from: Time,
    spends: Spends,
}

impl Expected {
    /// How long it is thought to go on. What takes longer than thought takes a while yet.
    fn left_ms(&self, now: Time) -> u64 {
        let ran_ms = ms(now, self.from);
        self.spends
            .all_ms()
            .saturating_sub(ran_ms)
            .max(ran_ms / 4)
            .max(1)
    }
}

/// What this node's estimates are made of.
#[derive(Debug)]
pub(super) struct Load {
    runs: BTreeMap<AttemptId, Expected>,
    /// How much longer attempts take here than thought, in thousandths.
    pace: u64,
    bytes_per_s: u64,
    /// The command of the attempt that ended last.
    last: Spends,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            runs: BTreeMap::new(),
            pace: USUAL,
            bytes_per_s: limits::FETCH_BYTES_PER_S,
            last: Spends::default(),
        }
    }
}

fn ms(now: Time, then: Time) -> u64 {
    u64::try_from(now.since(then).as_millis()).unwrap_or(u64::MAX)
}

impl Load {
    /// An attempt begins here.
    pub(super) fn begin(&mut self, attempt: AttemptId, from: Time, spends: Spends) {
        self.runs.insert(attempt, Expected { from, spends });
    }

    /// An attempt has ended here; `is_telling` unless it was stopped or failed.
    pub(super) fn end(&mut self, attempt: AttemptId, now: Time, is_telling: bool) {
        let Some(run) = self.runs.remove(&attempt) else {
            return;
        };
        let Spends { cost_ms, fetch_ms } = run.spends;
        self.last.cost_ms = cost_ms;
        if !is_telling || cost_ms < TELLING_MS {
            return;
        }
        let ran_ms = ms(now, run.from).saturating_sub(fetch_ms);
        let (least, most) = (USUAL / SPEED_MAX, USUAL * SPEED_MAX);
        let seen = ran_ms.saturating_mul(self.pace) / cost_ms;
        self.pace = (self.pace * 7 + seen.clamp(least, most)) / 8;
    }

    /// What the attempt that ended last was thought to take but for fetching: the next of its owner
    /// may well be of its kind.
    pub(super) const fn last(&self) -> Spends {
        self.last
    }

    /// How fast this node fetches was measured.
    pub(super) const fn measured(&mut self, bytes_per_s: u64) {
        if bytes_per_s > 0 {
            self.bytes_per_s = bytes_per_s;
        }
    }

    /// How long so many bytes are on their way.
    pub(super) fn fetch_ms(&self, bytes: u64) -> u64 {
        bytes.saturating_mul(1000) / self.bytes_per_s.max(1)
    }

    /// How long something of this cost takes at this node's pace.
    pub(super) const fn paced(&self, cost_ms: u64) -> u64 {
        cost_ms.saturating_mul(self.pace) / USUAL
    }

    /// How long all that runs here is thought to go on, put together.
    fn left_ms(&self, now: Time) -> u64 {
        let runs = self.runs.values();
        runs.fold(0, |sum: u64, run| sum.saturating_add(run.left_ms(now)))
    }
}

impl Engine {
    /// An own job begins here.
    pub(super) fn expect_own(&mut self, now: Time, attempt: AttemptId) {
        if let Some(job) = self.jobs.get(attempt.job) {
            let spends = self.spends_here(job);
            self.load.begin(attempt, now, spends);
        }
    }

    /// How long a job would take here from its start to its end.
    pub(super) fn spends_here(&self, job: &Job) -> Spends {
        let want = &job.want;
        Spends {
            cost_ms: self.cost_here_ms(&want.platform, want.cost_ms),
            fetch_ms: self.load.fetch_ms(want.missing_bytes),
        }
    }

    /// How long until there is a slot for one more; 0 only if there is one.
    pub(super) fn wait_ms(&self, now: Time, takes: Takes) -> u64 {
        if self.has_spare(takes) {
            return 0;
        }
        let ahead_ms = self.load.left_ms(now);
        (ahead_ms / u64::from(self.slots.max(1))).max(1)
    }
}

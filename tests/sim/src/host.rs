//! A simulated machine: the engine with its disk, its clocks and its place in the network.

use std::collections::{BTreeMap, BTreeSet};

use caravan_protocol::{
    ids::NodeId,
    member::{Engine, Incarnation, Kind, Now, Sealed, Table},
    time::{Stamp, Time},
};

use crate::flaw::Flaw;

/// The wall clock when a run begins, milliseconds since 1970.
pub const BEGIN_MS: u64 = 1_795_000_000_000;
/// No time at all.
pub const NEVER: u64 = u64::MAX;

/// Where a machine is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It has not been switched on yet.
    Unborn,
    /// Its program runs.
    Up,
    /// Its program does not run; its host answers dials if `answers`.
    Down {
        /// Whether its host is there and refuses.
        answers: bool,
    },
    /// It said farewell and was switched off.
    Left,
}

/// What a machine has written down.
#[derive(Debug, Default)]
pub struct Disk {
    /// The highest incarnation that it made.
    pub made: Incarnation,
    /// The latest records of each kind about each node.
    pub records: BTreeMap<(Kind, NodeId), Sealed>,
    /// Its engine as it was when it went down, where records are not written one by one.
    pub asleep: Option<Box<Engine>>,
}

/// A machine.
#[derive(Debug)]
pub struct Host {
    /// The engine, while the machine is up.
    pub engine: Option<Engine>,
    /// The next tick that is planned.
    pub(crate) wake_ms: u64,
    /// Its own clock is that much ahead.
    pub(crate) ahead_ms: u64,
    /// Its wall clock is that much ahead.
    pub(crate) skew_ms: u64,
    /// Until when it stands still.
    pub(crate) paused_ms: u64,
    /// Until when, and how seldom, it gets its processor.
    pub(crate) starved: (u64, u64),
    /// What is wrong with its program.
    pub(crate) flaw: Flaw,
    /// Where it is in its life.
    pub phase: Phase,
    /// Whom its roster has struck out.
    pub revoked: BTreeSet<NodeId>,
    /// Its name.
    pub id: NodeId,
    /// Its own directory, where it does not share one.
    pub table: Table,
    /// How often it was started.
    pub life: u32,
    /// Since when it is in its phase, milliseconds.
    pub since_ms: u64,
    /// With whom it shook hands in this life, and in which of theirs.
    pub(crate) met: BTreeMap<u32, u32>,
    /// What survives a crash.
    pub disk: Disk,
    /// Its latest certificate.
    pub cert: Sealed,
    /// When that expires, on the founder's wall clock.
    pub expires_ms: u64,
    /// When it was revoked.
    pub revoked_ms: Option<u64>,
    /// Whether nobody of the mesh ever signed its certificate.
    pub is_stranger: bool,
    /// Messages that it has sent.
    pub sent: u64,
}

impl Host {
    /// The time on its clocks.
    #[must_use]
    pub const fn clock(&self, now_ms: u64) -> Now {
        Now {
            time: Time::from_ms(now_ms + self.ahead_ms),
            stamp: Stamp::from_ms(BEGIN_MS + now_ms + self.skew_ms),
        }
    }

    /// Whether its program runs.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up)
    }

    /// When it next does anything, if not now.
    #[must_use]
    pub const fn stalled(&self, now_ms: u64) -> Option<u64> {
        if now_ms < self.paused_ms {
            return Some(self.paused_ms);
        }
        let (until_ms, every_ms) = self.starved;
        if now_ms >= until_ms {
            return None;
        }
        let next_ms = now_ms.next_multiple_of(every_ms);
        if next_ms == now_ms {
            None
        } else {
            Some(next_ms)
        }
    }

    /// Whether it stands still or is short of its processor.
    #[must_use]
    pub const fn is_troubled(&self, now_ms: u64) -> bool {
        now_ms < self.paused_ms || now_ms < self.starved.0
    }
}

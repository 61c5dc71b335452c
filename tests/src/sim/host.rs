//! A simulated machine: the engine with a runner that only waits.

use std::collections::{BTreeMap, BTreeSet};

use caravan_protocol::{
    action::Limits,
    ids::NodeId,
    offer::{AttemptId, Engine, Setup},
    platform::Platform,
    time::Time,
};

/// An attempt that runs on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// Tells it from an earlier run of the same attempt.
    pub token: u64,
    /// When it was started, milliseconds.
    pub since_ms: u64,
    /// Whether it was asked to stop.
    pub stopping: bool,
}

/// A machine of the mesh.
#[derive(Debug)]
pub struct Host {
    /// Its name.
    pub id: NodeId,
    /// What it builds for.
    pub platforms: BTreeSet<Platform>,
    /// What it runs at once.
    pub slots: u32,
    /// Whether its user paused it.
    pub paused: bool,
    /// How often it was started.
    pub life: u32,
    /// The engine, while the machine is up.
    pub engine: Option<Engine>,
    /// Whom it believes to be up, with the life in which they met.
    pub sees: BTreeMap<usize, u32>,
    /// What runs on it.
    pub running: BTreeMap<AttemptId, Running>,
    /// Whether it will never come back.
    pub gone: bool,
    /// Its clock is that much ahead of everybody's.
    pub(super) ahead_ms: u64,
    /// The tick that was asked for last.
    pub(super) wake_ms: Option<u64>,
    /// Its part of a divided network.
    pub(super) part: u32,
}

impl Host {
    /// The time on its own clock.
    #[must_use]
    pub fn clock(&self, now_ms: u64) -> Time {
        Time::from_ms(now_ms + self.ahead_ms)
    }

    /// Switches it on with an engine that knows nothing.
    pub(super) fn start(&mut self, seed: u64) {
        self.life += 1;
        self.engine = Some(Engine::new(Setup {
            me: self.id,
            platforms: self.platforms.clone(),
            emulated: std::collections::BTreeSet::new(),
            slots: self.slots,
            most: Limits::NOTHING,
            lent: Limits::NOTHING,
            seed,
        }));
    }

    /// Switches it off without a word.
    pub(super) fn crash(&mut self) {
        self.engine = None;
        self.running.clear();
        self.sees.clear();
        self.wake_ms = None;
        self.paused = false;
    }
}

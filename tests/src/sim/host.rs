//! A simulated machine: the engine with a runner that only waits.

use std::collections::{BTreeMap, BTreeSet};

use caravan_protocol::{
    action::Limits,
    ids::NodeId,
    offer::{AttemptId, Engine, Setup},
    platform::Platform,
    time::Time,
};

use super::{Flaw, Nature, plan::Machine, shelf::Shelf};

/// An attempt that runs on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// Tells it from an earlier run of the same attempt.
    pub token: u64,
    /// When it was started, milliseconds.
    pub since_ms: u64,
    /// Whether it was asked to stop.
    pub stopping: bool,
    /// How long what is below it takes to fetch.
    pub fetch_ms: u64,
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
    /// What it allows a job.
    pub most: Limits,
    /// Whether its owner means well.
    pub nature: Nature,
    /// What is wrong with its program.
    pub flaw: Flaw,
    /// Until when it stands still.
    pub frozen_ms: u64,
    /// Until when nothing moves that runs on it.
    pub stuck_ms: u64,
    /// Until when its disk is full.
    pub full_ms: u64,
    /// The layers that it has at hand.
    pub shelf: Shelf,
    /// How fast it is: 1000 is the speed by which costs are told.
    pub pace: u64,
    /// Who runs it.
    pub operator: u32,
    /// Bytes that its link carries in a millisecond.
    pub(super) bytes_per_ms: u64,
    /// Its clock is that much ahead of everybody's.
    pub(super) ahead_ms: u64,
    /// The tick that was asked for last.
    pub(super) wake_ms: Option<u64>,
    /// Its part of a divided network.
    pub(super) part: u32,
}

impl Host {
    /// A machine that has not been switched on.
    pub(super) fn new(machine: &Machine, ahead_ms: u64) -> Self {
        let memory_bytes = machine.memory;
        Self {
            id: machine.id,
            platforms: machine.platforms.clone(),
            slots: machine.slots,
            paused: false,
            life: 0,
            engine: None,
            sees: BTreeMap::new(),
            running: BTreeMap::new(),
            gone: false,
            most: Limits {
                memory_bytes,
                ..Limits::NOTHING
            },
            nature: machine.nature,
            flaw: machine.flaw,
            frozen_ms: 0,
            stuck_ms: 0,
            full_ms: 0,
            shelf: Shelf::default(),
            pace: machine.pace,
            operator: machine.operator,
            bytes_per_ms: machine.bytes_per_ms,
            ahead_ms,
            wake_ms: None,
            part: 0,
        }
    }

    /// Whether it does what an honest, whole machine does.
    #[must_use]
    pub fn is_honest(&self) -> bool {
        self.nature == Nature::Honest
    }
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
            slots: self.slots + u32::from(self.flaw == Flaw::Greedy),
            most: self.most,
            lent: self.most,
            seed,
        }));
    }

    /// Switches it off without a word.
    pub(super) fn crash(&mut self) {
        self.engine = None;
        self.running.clear();
        self.sees.clear();
        self.shelf = Shelf::default();
        self.wake_ms = None;
        self.paused = false;
        (self.frozen_ms, self.stuck_ms, self.full_ms) = (0, 0, 0);
    }
}

//! What a run is made of: machines, jobs, the network's habits and the faults, all from a seed.

use std::collections::BTreeSet;

use caravan_protocol::{
    ids::NodeId,
    offer::{Priority, Want},
    platform::Platform,
};

use super::{Flaw, Nature, names};

mod storm;
mod town;

pub use town::Town;

/// How attempts at a job end when nothing goes wrong around them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The command succeeds.
    Pass,
    /// The command fails.
    Fail,
    /// Every machine fails at it.
    Poison,
}

/// How a job ended for its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With a result.
    Done,
    /// Given up.
    GaveUp,
    /// Not wanted any more.
    Unwanted,
}

/// A job that an owner will want.
#[derive(Debug, Clone)]
pub struct Order {
    /// Index of the owner.
    pub owner: usize,
    /// Who held the role first in whose name it is wanted.
    pub role: usize,
    /// What it asks for.
    pub want: Want,
    /// The chain of layers that it builds on.
    pub lineage: u32,
    /// How its attempts end.
    pub fate: Fate,
    /// When it is wanted, milliseconds.
    pub at_ms: u64,
    /// When it is not wanted any more.
    pub until_ms: Option<u64>,
    /// Whether it has been wanted yet.
    pub wanted: bool,
    /// How it ended.
    pub end: Option<End>,
}

/// Something that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A machine goes down, for a while or for ever.
    Crash {
        /// Which.
        host: usize,
        /// How long.
        down_ms: Option<u64>,
    },
    /// The network falls into two parts.
    Divide {
        /// Those of the second part.
        hosts: BTreeSet<usize>,
        /// How long.
        for_ms: u64,
    },
    /// A user pauses a machine.
    Pause {
        /// Which.
        host: usize,
        /// How long.
        for_ms: u64,
    },
    /// A machine stands still and then goes on as if nothing had been.
    Freeze {
        /// Which.
        host: usize,
        /// How long.
        for_ms: u64,
    },
    /// A machine speaks as ever, but what runs on it does not move.
    Stick {
        /// Which.
        host: usize,
        /// How long.
        for_ms: u64,
    },
    /// A machine's disk is full: whatever it runs fails by infrastructure.
    Fill {
        /// Which.
        host: usize,
        /// How long.
        for_ms: u64,
    },
    /// An owner is gone for ever, and another machine takes over its role.
    Usurp {
        /// Which.
        host: usize,
        /// Who wants from then on what it wanted.
        by: usize,
    },
    /// A user gives a machine another number of slots.
    Slots {
        /// Which.
        host: usize,
        /// How many.
        slots: u32,
    },
}

/// A machine as it is planned.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its name.
    pub id: NodeId,
    /// What it builds for.
    pub platforms: BTreeSet<Platform>,
    /// What it runs at once.
    pub slots: u32,
    /// How fast it is: 1000 is the speed by which costs are told.
    pub pace: u64,
    /// The most memory that it allows a job, bytes.
    pub memory: u64,
    /// Who runs it.
    pub operator: u32,
    /// Bytes that its link carries in a millisecond.
    pub bytes_per_ms: u64,
    /// Whether its owner means well.
    pub nature: Nature,
    /// What is wrong with its program.
    pub flaw: Flaw,
}

/// Everything that is decided before a run begins.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed of all else.
    pub seed: u64,
    /// The machines.
    pub machines: Vec<Machine>,
    /// The first so many machines know everybody, the others only them; `None`: all know all.
    pub hubs: Option<usize>,
    /// The jobs.
    pub orders: Vec<Order>,
    /// What goes wrong, and when.
    pub faults: Vec<(u64, Fault)>,
    /// When everything is well again, milliseconds.
    pub calm_ms: u64,
    /// How long the mesh may then take for all that is left.
    pub heal_ms: u64,
    /// Messages lost, of a thousand.
    pub loss: u64,
    /// Messages doubled, of a thousand.
    pub doubled: u64,
    /// Messages that take seconds, of a thousand.
    pub delayed: u64,
    /// Attempts that fail by infrastructure, of a thousand.
    pub infra: u64,
    /// Whether costs are only guesses.
    pub vague: bool,
    /// Lineages whose layers a machine keeps.
    pub shelf: usize,
    /// How long a lineage that is not at hand takes to fetch on a usual link.
    pub miss_ms: u64,
    /// Whether what happens is noted for watchers.
    pub noted: bool,
}

/// The platform of most machines.
#[must_use]
pub fn x86() -> Platform {
    "linux-x86_64".parse().expect("a platform")
}

/// The platform of few machines.
#[must_use]
pub fn arm() -> Platform {
    "linux-arm64".parse().expect("a platform")
}

impl Machine {
    /// A machine of the usual kind.
    #[must_use]
    pub fn plain(index: usize, slots: u32) -> Self {
        Self {
            id: names::node(index),
            platforms: BTreeSet::from([x86()]),
            slots,
            pace: 1000,
            memory: 16 << 30,
            operator: u32::try_from(index).expect("few machines"),
            bytes_per_ms: names::BYTES_PER_MS,
            nature: Nature::Honest,
            flaw: Flaw::None,
        }
    }
}

impl Plan {
    /// Machines of one platform without jobs and without faults.
    #[must_use]
    pub fn quiet(seed: u64, machines: usize, slots: u32) -> Self {
        Self {
            seed,
            machines: (0..machines).map(|at| Machine::plain(at, slots)).collect(),
            hubs: None,
            orders: Vec::new(),
            faults: Vec::new(),
            calm_ms: 0,
            heal_ms: 20 * 60 * 1000,
            loss: 0,
            doubled: 0,
            delayed: 0,
            infra: 0,
            vague: false,
            shelf: 0,
            miss_ms: 0,
            noted: true,
        }
    }

    /// Adds a job that passes.
    pub fn order(&mut self, owner: usize, want: Want, at_ms: u64) -> &mut Order {
        self.orders.push(Order {
            owner,
            role: owner,
            want,
            lineage: 0,
            fate: Fate::Pass,
            at_ms,
            until_ms: None,
            wanted: false,
            end: None,
        });
        self.orders.last_mut().expect("just added")
    }

    /// Whether two machines ever hear of each other.
    #[must_use]
    pub fn meets(&self, a: usize, b: usize) -> bool {
        a != b && self.hubs.is_none_or(|hubs| a.min(b) < hubs)
    }

    /// A job that somebody waits for.
    #[must_use]
    pub fn urgent(mut want: Want) -> Want {
        want.priority = Priority::Urgent;
        want
    }
}

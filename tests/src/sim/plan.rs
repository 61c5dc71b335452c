//! What a run is made of: machines, jobs, the network's habits and the faults, all from a seed.

use std::collections::BTreeSet;

use caravan_protocol::{
    action::Limits,
    ids::{ActionKey, NodeId},
    offer::{JobId, Priority, Want},
    platform::Platform,
};

use super::Dice;

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
    /// What it asks for.
    pub want: Want,
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
}

/// Everything that is decided before a run begins.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed of all else.
    pub seed: u64,
    /// The machines.
    pub machines: Vec<Machine>,
    /// The jobs.
    pub orders: Vec<Order>,
    /// What goes wrong, and when.
    pub faults: Vec<(u64, Fault)>,
    /// When everything is well again, milliseconds.
    pub calm_ms: u64,
    /// Messages lost, of a thousand.
    pub loss: u64,
    /// Messages doubled, of a thousand.
    pub doubled: u64,
    /// Messages that take seconds, of a thousand.
    pub delayed: u64,
    /// Attempts that fail by infrastructure, of a thousand.
    pub infra: u64,
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

fn bytes(number: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (at, chunk) in bytes.chunks_mut(8).enumerate() {
        let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 + at as u64 * 2);
        chunk.copy_from_slice(&mixed.to_be_bytes());
    }
    bytes
}

/// The name of machine `index`.
#[must_use]
pub fn node(index: usize) -> NodeId {
    NodeId::from_bytes(bytes(index as u64))
}

/// A job that everybody may do.
#[must_use]
pub fn want(number: u64, cost_ms: u64) -> Want {
    let key = bytes(1_000_000 + number);
    Want {
        job: JobId::from(ActionKey::from_bytes(key)),
        platform: x86(),
        priority: Priority::Normal,
        cost_ms,
        remote_ok: true,
        needs: Limits::NOTHING,
        place: caravan_protocol::offer::Place::default(),
        action: number.to_be_bytes().to_vec(),
    }
}

impl Plan {
    /// Machines of one platform without jobs and without faults.
    #[must_use]
    pub fn quiet(seed: u64, machines: usize, slots: u32) -> Self {
        let machine = |index| Machine {
            id: node(index),
            platforms: BTreeSet::from([x86()]),
            slots,
        };
        Self {
            seed,
            machines: (0..machines).map(machine).collect(),
            orders: Vec::new(),
            faults: Vec::new(),
            calm_ms: 0,
            loss: 0,
            doubled: 0,
            delayed: 0,
            infra: 0,
        }
    }

    /// Adds a job that passes.
    pub fn order(&mut self, owner: usize, want: Want, at_ms: u64) {
        self.orders.push(Order {
            owner,
            want,
            fate: Fate::Pass,
            at_ms,
            until_ms: None,
            wanted: false,
            end: None,
        });
    }

    /// A mesh of so many machines with everything that can go wrong in two minutes.
    #[must_use]
    pub fn stormy(seed: u64, machines: usize) -> Self {
        let dice = &mut Dice::new(seed);
        let mut plan = Self::quiet(seed, machines, 1);
        plan.calm_ms = dice.between(20_000, 120_000);
        plan.loss = dice.between(0, 80);
        plan.doubled = dice.between(0, 50);
        plan.delayed = dice.between(0, 20);
        plan.infra = dice.between(0, 60);
        for (index, machine) in plan.machines.iter_mut().enumerate() {
            machine.slots = u32::try_from(dice.between(1, 3)).expect("small");
            // The first machines never go for ever: all platforms stay in the mesh.
            if index == 1 || dice.chance(100) {
                machine.platforms.insert(arm());
            }
            if index > 1 && dice.chance(100) {
                machine.slots = 0;
            }
        }
        plan.storm_orders(dice);
        plan.storm_faults(dice);
        plan
    }

    fn storm_orders(&mut self, dice: &mut Dice) {
        let owners = dice.between(1, 5);
        let jobs = dice.between(5, 60);
        for number in 0..jobs {
            let owner = dice.index(self.machines.len().min(owners as usize));
            let cost_max = [200, 2000, 10_000, 45_000][dice.index(4)];
            let cost_ms = dice.between(50, cost_max);
            let mut want = want(number, cost_ms);
            if dice.chance(200) {
                want.priority = Priority::Urgent;
            }
            if dice.chance(150) && self.machines.len() > 1 {
                want.platform = arm();
            } else if dice.chance(150) && self.machines[owner].slots > 0 {
                want.remote_ok = false;
            }
            let at_ms = dice.between(0, self.calm_ms);
            self.order(owner, want.clone(), at_ms);
            let order = self.orders.last_mut().expect("just added");
            order.fate = match dice.between(0, 99) {
                0..=1 => Fate::Poison,
                2..=20 => Fate::Fail,
                _ => Fate::Pass,
            };
            if dice.chance(80) {
                order.until_ms = Some(at_ms + dice.between(1, 30_000));
            }
            let other = dice.index(self.machines.len());
            if other != owner && want.remote_ok && dice.chance(100) {
                let twin = Order {
                    owner: other,
                    at_ms: at_ms + dice.between(0, 2000),
                    ..order.clone()
                };
                self.orders.push(twin);
            }
        }
    }

    fn storm_faults(&mut self, dice: &mut Dice) {
        let machines = self.machines.len();
        for _ in 0..dice.between(0, 4 + machines as u64 / 4) {
            let at_ms = dice.between(0, self.calm_ms);
            let host = dice.index(machines);
            let for_ms = dice.between(50, 60_000);
            let fault = match dice.between(0, 9) {
                0..=3 => Fault::Crash {
                    host,
                    down_ms: (host < 2 || dice.chance(800)).then_some(for_ms),
                },
                4..=6 => Fault::Divide {
                    hosts: (0..machines).filter(|_| dice.chance(500)).collect(),
                    for_ms,
                },
                7..=8 => Fault::Pause { host, for_ms },
                _ => Fault::Slots {
                    host,
                    slots: u32::try_from(dice.between(1, 3)).expect("small"),
                },
            };
            self.faults.push((at_ms, fault));
        }
    }
}

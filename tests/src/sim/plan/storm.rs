//! Small meshes with everything that can go wrong in two minutes.

use super::{Fate, Fault, Order, Plan, arm};
use crate::sim::{Dice, Nature, names};

/// Machines that never go for ever and mean well: every platform, and room for every job, stays
/// in the mesh.
const KEPT: usize = 2;
/// What all machines allow a job, and what only large ones do, bytes.
const MEMORY: [u64; 3] = [1 << 30, 4 << 30, 16 << 30];

impl Plan {
    /// The storm of a seed: every eighth mesh is a large one.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let machines = if seed % 8 == 7 { 50 } else { 1 + seed % 8 };
        Self::stormy(seed, usize::try_from(machines).expect("few"))
    }

    /// A mesh of so many machines under faults.
    #[must_use]
    pub fn stormy(seed: u64, machines: usize) -> Self {
        let dice = &mut Dice::new(seed);
        let mut plan = Self::quiet(seed, machines, 1);
        plan.vague = true;
        plan.heal_ms = 3600 * 1000;
        plan.calm_ms = dice.between(20_000, 120_000);
        plan.loss = dice.between(0, 80);
        plan.doubled = dice.between(0, 50);
        plan.delayed = dice.between(0, 20);
        plan.infra = dice.between(0, 60);
        plan.shelf = dice.index(4);
        plan.miss_ms = dice.between(0, 4000);
        for (index, machine) in plan.machines.iter_mut().enumerate() {
            machine.slots = u32::try_from(dice.between(1, 3)).expect("small");
            machine.bytes_per_ms = dice.between(1250, 25_000);
            machine.operator = u32::try_from(dice.between(0, 9)).expect("few");
            if index == 1 || dice.chance(100) {
                machine.platforms.insert(arm());
            }
            if index < KEPT {
                continue;
            }
            machine.memory = MEMORY[dice.index(3)];
            if dice.chance(250) {
                machine.pace = 500;
            }
            if dice.chance(100) {
                machine.slots = 0;
            }
            machine.nature = match dice.between(0, 19) {
                0 => Nature::Braggart,
                1 => Nature::Impostor,
                _ => Nature::Honest,
            };
        }
        plan.storm_orders(dice);
        plan.storm_faults(dice);
        plan
    }

    fn storm_orders(&mut self, dice: &mut Dice) {
        let owners = usize::try_from(dice.between(1, 5)).expect("few");
        for number in 0..dice.between(5, 60) {
            let owner = dice.index(self.machines.len().min(owners));
            let cost_max = [200, 2000, 10_000, 45_000][dice.index(4)];
            let cost_ms = dice.between(50, cost_max);
            let mut want = names::want(number, cost_ms);
            if dice.chance(200) {
                want = Self::urgent(want);
            }
            if dice.chance(150) && self.machines.len() > 1 {
                want.platform = arm();
            } else if dice.chance(150) && self.machines[owner].slots > 0 {
                want.remote_ok = false;
            }
            let at_ms = dice.between(0, self.calm_ms);
            let lineage = u32::try_from(dice.between(0, 5)).expect("few");
            let order = self.order(owner, want, at_ms);
            order.lineage = lineage;
            order.fate = match dice.between(0, 99) {
                0..=1 => Fate::Poison,
                2..=20 => Fate::Fail,
                _ => Fate::Pass,
            };
            if dice.chance(80) {
                order.until_ms = Some(at_ms + dice.between(1, 30_000));
            }
            if self.orders.last().is_some_and(|order| order.want.remote_ok) {
                self.storm_place(dice);
                self.storm_twin(dice);
            }
        }
    }

    /// Some jobs ask for a certain machine, for another than some, or for much memory.
    fn storm_place(&mut self, dice: &mut Dice) {
        let machines = self.machines.len();
        let chosen = dice.index(machines);
        let kind = dice.between(0, 9);
        let order = self.orders.last_mut().expect("just added");
        match kind {
            0 if machines >= KEPT => order.want.place.on = Some(names::node(1)),
            1 if chosen >= KEPT => {
                order.want.place.not_on.insert(names::node(chosen));
            }
            // At least its owner must allow it: else it is refused for as long as nobody is there.
            2 => {
                let most = self.machines[order.owner].memory;
                order.want.needs.memory_bytes = MEMORY[dice.index(3)].min(most);
            }
            _ => {}
        }
    }

    /// Another owner may want the same action at about the same time.
    fn storm_twin(&mut self, dice: &mut Dice) {
        let other = dice.index(self.machines.len());
        let order = self.orders.last().expect("just added").clone();
        let allows = order.want.needs.memory_bytes <= self.machines[other].memory;
        if other != order.owner && allows && dice.chance(100) {
            self.orders.push(Order {
                owner: other,
                role: other,
                at_ms: order.at_ms + dice.between(0, 2000),
                ..order
            });
        }
    }

    fn storm_faults(&mut self, dice: &mut Dice) {
        let machines = self.machines.len();
        for _ in 0..dice.between(0, 4 + machines as u64 / 4) {
            let at_ms = dice.between(0, self.calm_ms);
            let host = dice.index(machines);
            let for_ms = dice.between(50, 60_000);
            let fault = match dice.between(0, 15) {
                0..=3 => Fault::Crash {
                    host,
                    down_ms: (host < KEPT || dice.chance(800)).then_some(for_ms),
                },
                4..=6 => Fault::Divide {
                    hosts: (0..machines).filter(|_| dice.chance(500)).collect(),
                    for_ms,
                },
                7..=8 => Fault::Pause { host, for_ms },
                9..=10 => Fault::Freeze {
                    host,
                    for_ms: for_ms.min(self.calm_ms - at_ms),
                },
                11 => Fault::Stick { host, for_ms },
                12 => Fault::Fill { host, for_ms },
                13..=14 if host >= KEPT => Fault::Usurp {
                    host,
                    by: dice.index(KEPT),
                },
                _ => Fault::Slots {
                    host,
                    slots: u32::try_from(dice.between(1, 3)).expect("small"),
                },
            };
            self.faults.push((at_ms, fault));
        }
    }
}

//! Storms: small meshes in which all goes wrong that can, for some minutes.

use caravan_protocol::member::Mode;

use super::{Down, Fault, Plan, SKEW_MS_MAX};
use crate::{dice::Dice, flaw::Flaw};

/// Machines of a storm.
const MACHINES: (u64, u64) = (20, 60);
/// When a storm ends, milliseconds.
const CALM_MS: (u64, u64) = (90_000, 240_000);
/// Within this time all machines that are there from the start have joined.
const JOIN_MS: u64 = 20_000;
/// In one of so many storms all messages cross as bytes.
const AS_BYTES: u64 = 4;
/// Attacks of each hostile machine.
const ATTACKS: u64 = 40;

impl Plan {
    /// A mesh with everything that can go wrong in a few minutes.
    #[must_use]
    pub fn stormy(seed: u64) -> Self {
        let dice = &mut Dice::new(seed);
        let machines = usize::try_from(dice.between(MACHINES.0, MACHINES.1)).expect("few");
        let mut plan = Self::quiet(seed, machines);
        plan.calm_ms = dice.between(CALM_MS.0, CALM_MS.1);
        // Writing and reading is half the price of a run.
        plan.as_bytes = seed.is_multiple_of(AS_BYTES);
        // A third of all storms has a network that loses nothing.
        if !dice.chance(333) {
            plan.loss = dice.between(0, 60);
            plan.doubled = dice.between(0, 20);
            plan.delayed = dice.between(0, 10);
        }
        plan.storm_machines(dice);
        plan.storm_comings(dice);
        for _ in 0..dice.between(2, 4 + machines as u64 / 3) {
            let fault = plan.storm_fault(dice);
            plan.faults
                .push((dice.between(JOIN_MS, plan.calm_ms), fault));
        }
        plan
    }

    fn storm_machines(&mut self, dice: &mut Dice) {
        // In half of all storms few people run many machines.
        let operators = if dice.chance(500) {
            1 + dice.below(8)
        } else {
            1000
        };
        for machine in &mut self.machines {
            machine.operator = u32::try_from(dice.below(operators)).expect("small");
            machine.skew_ms = dice.between(0, 2 * SKEW_MS_MAX);
        }
        // Two hostile ones can never make a death; neither can many of one operator where others are.
        for _ in 0..dice.below(3) {
            let villain = 1 + dice.index(self.machines.len() - 1);
            self.machines[villain].flaw = Flaw::Hostile;
            for _ in 0..ATTACKS {
                let at_ms = dice.between(JOIN_MS, self.calm_ms);
                self.faults.push((at_ms, Fault::Attack(villain)));
            }
        }
        if dice.chance(300) {
            let stranger = self.machines.len() - 1;
            self.machines[stranger].is_stranger = true;
            self.machines[stranger].flaw = Flaw::None;
        }
        for host in 1..self.machines.len() {
            if dice.chance(50) {
                self.machines[host].cert_ms = dice.between(60_000, 120_000) + SKEW_MS_MAX;
                // Most are renewed in time; the others are out when it ends.
                if dice.chance(700) {
                    let at_ms = dice.between(JOIN_MS, 40_000);
                    self.faults.push((at_ms, Fault::Renew(host)));
                }
            }
        }
    }

    /// Half of all storms begin with a mesh that knows itself, the others with the founder alone.
    fn storm_comings(&mut self, dice: &mut Dice) {
        let is_settled = dice.chance(500);
        for host in 0..self.machines.len() {
            let is_late = host > 2 && dice.chance(150);
            let machine = &mut self.machines[host];
            machine.is_settled = host == 0 || is_settled && !is_late && !machine.is_stranger;
            if !machine.is_settled {
                let until_ms = if is_late { self.calm_ms } else { JOIN_MS };
                let at_ms = dice.between(10, until_ms);
                self.faults.push((at_ms, Fault::Join(host)));
            }
        }
    }

    fn storm_fault(&self, dice: &mut Dice) -> Fault {
        let machines = self.machines.len();
        let some =
            |dice: &mut Dice, permille| (0..machines).map(|_| dice.chance(permille)).collect();
        // The founder never goes for ever: nobody could be revoked or renewed.
        let host = 1 + dice.index(machines - 1);
        let for_ms = dice.between(50, 60_000);
        match dice.below(20) {
            0..=2 => Fault::Crash {
                host,
                down: Down::Killed,
                for_ms: dice.chance(700).then_some(for_ms),
            },
            3..=5 => Fault::Crash {
                host,
                down: Down::Silent,
                for_ms: dice.chance(700).then_some(for_ms),
            },
            6 => Fault::Crash {
                host: if dice.chance(100) { 0 } else { host },
                down: Down::Wiped,
                for_ms: Some(for_ms),
            },
            7..=8 => Fault::Divide {
                apart: some(dice, 500),
                for_ms,
            },
            9 => Fault::Divide {
                apart: some(dice, 100),
                for_ms,
            },
            10 => Fault::Mute {
                muted: some(dice, 100),
                for_ms,
            },
            11..=12 => Fault::Pause {
                host: if dice.chance(100) { 0 } else { host },
                for_ms: for_ms / 2,
            },
            13 => Fault::Starve {
                host,
                for_ms,
                every_ms: dice.between(500, 6000),
            },
            14..=15 => Fault::Leave(host),
            16..=17 => Fault::Revoke(host),
            18 => Fault::Say(host, Mode::Paused),
            _ => Fault::Say(host, Mode::Draining),
        }
    }
}

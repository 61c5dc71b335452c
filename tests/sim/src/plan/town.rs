//! The large mesh of the benchmark: ten thousand machines of people who lend them, for an hour.

use std::fmt;

use caravan_protocol::member::Mode;

use super::{Down, Fault, Plan};
use crate::dice::Dice;

/// What happens in a mesh in an hour, for each thousand machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// Machines that join, an hour and thousand.
    pub joins: u64,
    /// Machines that leave with a farewell.
    pub leaves: u64,
    /// Machines whose power fails or whose program dies, half of them each; a machine that crashes
    /// once a week makes six of a thousand an hour.
    pub crashes: u64,
    /// Machines that stand still for one to thirty seconds.
    pub pauses: u64,
    /// Machines that say something new of themselves: paused, open again, other facts.
    pub words: u64,
    /// Machines that the founder revokes, an hour in the whole mesh.
    pub revocations: u64,
    /// Messages lost, of a thousand.
    pub loss: u64,
}

impl Workload {
    /// Lent machines: a crash each a week, most of them back within ten minutes.
    pub const LENT: Self = Self {
        joins: 2,
        leaves: 2,
        crashes: 6,
        pauses: 4,
        words: 2,
        revocations: 3,
        loss: 1,
    };
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            joins,
            leaves,
            crashes,
            pauses,
            words,
            revocations,
            loss,
        } = self;
        write!(
            f,
            "an hour and 1000 nodes: {joins} joins, {leaves} leaves, {crashes} crashes (5 of 6 come back in 1 to 10 minutes), \
             {pauses} pauses of 1 to 30 s, {words} new words; an hour: {revocations} revocations; {loss} of 1000 messages lost"
        )
    }
}

/// Most of those that crash come back; the others never do.
const BACK_PERMILLE: u64 = 833;

impl Plan {
    /// So many machines that know each other, for so many minutes of this workload.
    #[must_use]
    pub fn town(seed: u64, machines: usize, minutes: u64, work: Workload) -> Self {
        let until_ms = minutes * 60_000;
        let share = |hourly: u64| (hourly * machines as u64 * minutes).div_ceil(60_000);
        let joins = share(work.joins);
        let newcomers = usize::try_from(joins).expect("few");
        let mut plan = Self::quiet(seed, machines + newcomers);
        let dice = &mut plan.dice();
        plan.shared = true;
        plan.as_bytes = false;
        plan.loss = work.loss;
        plan.calm_ms = until_ms;
        for host in machines..machines + newcomers {
            plan.machines[host].is_settled = false;
        }
        let mut add = |dice: &mut Dice, fault| {
            plan.faults.push((dice.between(1000, until_ms), fault));
        };
        for host in machines..machines + newcomers {
            add(dice, Fault::Join(host));
        }
        for _ in 0..share(work.leaves) {
            let host = 1 + dice.index(machines - 1);
            add(dice, Fault::Leave(host));
        }
        for number in 0..share(work.crashes) {
            let host = 1 + dice.index(machines - 1);
            let down = [Down::Killed, Down::Silent][usize::from(number % 2 == 0)];
            let is_back = dice.chance(BACK_PERMILLE);
            let for_ms = is_back.then(|| dice.between(60_000, 600_000));
            add(dice, Fault::Crash { host, down, for_ms });
        }
        for _ in 0..share(work.pauses) {
            let host = 1 + dice.index(machines - 1);
            let for_ms = dice.between(1000, 30_000);
            add(dice, Fault::Pause { host, for_ms });
        }
        for _ in 0..share(work.words) {
            let host = 1 + dice.index(machines - 1);
            add(dice, Fault::Say(host, Mode::Paused));
        }
        for _ in 0..(work.revocations * minutes).div_ceil(60) {
            let host = 1 + dice.index(machines - 1);
            add(dice, Fault::Revoke(host));
        }
        plan
    }
}

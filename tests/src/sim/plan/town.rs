//! Large meshes that do a day's work: thousands of machines, a few owners, lineages of which some
//! are wanted much more often than others.

use caravan_protocol::{action::Limits, offer::Place};

use super::{Fault, Machine, Plan};
use crate::sim::{Dice, names};

/// What a job takes at full speed where its lineage is at hand.
const CACHED_MS: u64 = 60_000;
/// What it takes longer where it is not.
const MISS_MS: u64 = 240_000;
/// What a job takes in the mean when nine of ten find their lineage: by this the load is told.
const USUAL_MS: u64 = 89_000;

/// A day's work.
#[derive(Debug, Clone, Copy)]
pub struct Town {
    /// Decides all that is left to chance.
    pub seed: u64,
    /// Machines that work.
    pub workers: usize,
    /// Machines that own jobs and run none.
    pub owners: usize,
    /// Jobs for each worker.
    pub jobs: usize,
    /// Lineages for each hundred workers.
    pub lineages: usize,
    /// How much of what the workers can do is wanted, of a thousand; 0: all at once.
    pub load: u64,
    /// Workers that are killed in an hour, of a thousand, to come back with nothing.
    pub churn: u64,
    /// How long a killed one is away.
    pub down_ms: u64,
}

impl Town {
    /// The workload of the comparison with a central scheduler.
    #[must_use]
    pub const fn usual(seed: u64, workers: usize) -> Self {
        Self {
            seed,
            workers,
            owners: 4,
            jobs: 50,
            lineages: 400,
            load: 600,
            churn: 0,
            down_ms: 300_000,
        }
    }
}

/// Numbers of which the first is drawn most often: that of rank r as often as 1 / r^0.8.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(count: usize) -> Self {
        let mut sum = 0.0;
        let weights = (1..=count).map(|rank| {
            sum += (rank as f64).powf(-0.8);
            sum
        });
        Self(weights.collect())
    }

    fn draw(&self, dice: &mut Dice) -> u32 {
        let all = self.0.last().copied().unwrap_or(1.0);
        let at = (dice.any() >> 11) as f64 / (1_u64 << 53) as f64 * all;
        let rank = self.0.partition_point(|sum| *sum <= at);
        u32::try_from(rank.min(self.0.len() - 1)).expect("few lineages")
    }
}

impl Plan {
    /// A large mesh at work.
    #[must_use]
    pub fn town(town: Town) -> Self {
        let dice = &mut Dice::new(town.seed);
        let mut plan = Self::quiet(town.seed, town.owners + town.workers, 1);
        plan.hubs = Some(town.owners);
        plan.shelf = 40;
        plan.miss_ms = MISS_MS;
        plan.noted = false;
        plan.heal_ms = 24 * 3600 * 1000;
        for (at, machine) in plan.machines.iter_mut().enumerate() {
            if at < town.owners {
                machine.slots = 0;
            } else if at % 4 == 0 {
                machine.pace = 500;
                machine.bytes_per_ms /= 2;
            }
        }
        plan.town_orders(dice, town);
        plan.town_churn(dice, town);
        plan
    }

    fn town_orders(&mut self, dice: &mut Dice, town: Town) {
        let zipf = Zipf::new((town.lineages * town.workers / 100).max(1));
        let workers = self.machines.iter().filter(|machine| machine.slots > 0);
        let pace: u64 = workers.map(|machine: &Machine| machine.pace).sum();
        // Exponential gaps: jobs come when they like.
        let gap_ms = (USUAL_MS * 1_000_000)
            .checked_div(pace * town.load)
            .unwrap_or(0) as f64;
        let mut at_ms = 5000.0;
        for number in 0..(town.jobs * town.workers) as u64 {
            let lineage = zipf.draw(dice);
            let unit = ((dice.any() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
            at_ms -= unit.ln() * gap_ms;
            let mut want = names::want(number, CACHED_MS);
            want.needs = Limits::NOTHING;
            want.place = Place::default();
            let owner = lineage as usize % town.owners;
            self.order(owner, want, at_ms as u64).lineage = lineage;
        }
        self.calm_ms = at_ms as u64;
    }

    /// Kills workers at an even rate for as long as there may be work.
    fn town_churn(&mut self, dice: &mut Dice, town: Town) {
        if town.churn == 0 {
            return;
        }
        let work_ms = (town.jobs as u64) * USUAL_MS;
        self.calm_ms = self.calm_ms.max(work_ms * 4);
        let each_ms = 3_600_000 * 1000 / (town.churn * town.workers as u64);
        let mut at_ms = 10_000;
        while at_ms < self.calm_ms {
            let host = town.owners + dice.index(town.workers);
            let down_ms = Some(town.down_ms);
            self.faults.push((at_ms, Fault::Crash { host, down_ms }));
            at_ms += each_ms.max(1);
        }
    }
}

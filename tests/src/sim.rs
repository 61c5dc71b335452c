//! One simulated run: a mesh under faults, then the faults off, and all must heal.

use std::collections::BTreeMap;

use caravan_protocol::limits;

use crate::invariants::{self, Invariant};

mod agenda;
pub mod central;
mod dice;
mod flaw;
mod host;
mod kind;
mod names;
mod plan;
mod said;
pub mod shelf;
mod told;
mod world;

pub use dice::Dice;
pub use flaw::{Flaw, Nature};
pub use host::{Host, Running};
pub use kind::kind;
pub use names::{job, node, want};
pub use plan::{End, Fate, Fault, Machine, Order, Plan, Town, arm, x86};
pub use said::Said;
pub use told::Told;
pub use world::{Note, What, World};

/// Steps beyond which a run is called endless.
const STEPS_MAX: u64 = 400_000_000;

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Hash over everything that was said and done, in order.
    pub trace: u64,
    /// Jobs that ended with a result.
    pub done: usize,
    /// Jobs that were given up.
    pub gave_up: usize,
    /// Messages between nodes, without gossip.
    pub messages: u64,
    /// Digests gossiped.
    pub digests: u64,
    /// Attempts run on nodes other than their owner.
    pub remote_runs: u64,
    /// Messages by kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Of the messages, beats and the answers to them.
    pub beats: u64,
    /// Attempts that found their lineage at hand, and all that ran to their end.
    pub hits: (u64, u64),
    /// When the last job ended, milliseconds.
    pub ended_ms: u64,
}

/// What was broken, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The invariant's name.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
    /// Milliseconds into the run.
    pub at_ms: u64,
}

/// Runs a plan to its end, checking every invariant after every step.
pub fn run(plan: Plan) -> Result<Report, Broken> {
    watch(plan, invariants::all())
}

/// Runs a plan to its end under the eyes of these watchers.
pub fn watch(plan: Plan, mut invariants: Vec<Box<dyn Invariant + '_>>) -> Result<Report, Broken> {
    let mut world = World::new(plan);
    let mut steps = 0;
    loop {
        let is_over = !world.step();
        steps += 1;
        for invariant in &mut invariants {
            let name = invariant.name();
            let seen = world
                .notes()
                .iter()
                .try_for_each(|note| invariant.note(&world, note))
                .and_then(|()| invariant.step(&world));
            seen.map_err(|what| broken(&world, name, what))?;
        }
        if world.is_settled() {
            break;
        }
        if is_over
            || world.now_ms() > world.plan().calm_ms + world.plan().heal_ms
            || steps > STEPS_MAX
        {
            let what = world.unsettled();
            return Err(broken(&world, "all_heals", what));
        }
    }
    for invariant in &mut invariants {
        let name = invariant.name();
        invariant
            .end(&world)
            .map_err(|what| broken(&world, name, what))?;
    }
    Ok(world.report())
}

fn broken(world: &World, invariant: &'static str, what: String) -> Broken {
    let at_ms = world.now_ms();
    Broken {
        invariant,
        what,
        at_ms,
    }
}

/// The longest that a slot may be idle beside a job that it could run: one round of digests, the
/// life of a bid that went wrong, and the gathering of bids.
pub const IDLE_MS_MAX: u64 =
    limits::DIGEST_MS_MAX + limits::RESERVE_MS + limits::BID_MS + limits::GATHER_MS + 1000;

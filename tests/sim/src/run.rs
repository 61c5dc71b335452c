//! One run: a mesh under faults, watched; then the faults off, and all must heal and stay so.

use crate::{
    bounds,
    invariants::{self, Invariant},
    plan::Plan,
    world::{Report, World},
};

/// How often invariants about time look, milliseconds.
const LOOK_MS: u64 = 1000;

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

/// Runs a plan to its end, checking every invariant.
pub fn run(plan: Plan) -> Result<Report, Broken> {
    watch(plan, &mut invariants::all())
}

/// Runs a plan to its end under the eyes of these watchers: until, some time after the calm, all
/// members have seen the same mesh for a while.
pub fn watch(plan: Plan, watchers: &mut [Box<dyn Invariant + '_>]) -> Result<Report, Broken> {
    let mut world = World::new(plan, true);
    let mut settled_ms = None;
    loop {
        world.turn();
        if !world.notes().is_empty() {
            for watcher in watchers.iter_mut() {
                let seen = world
                    .notes()
                    .iter()
                    .try_for_each(|note| watcher.note(&world, note));
                seen.map_err(|what| broken(&world, watcher.name(), what))?;
            }
        }
        let now_ms = world.now_ms();
        if !now_ms.is_multiple_of(LOOK_MS) {
            continue;
        }
        for watcher in watchers.iter_mut() {
            let seen = watcher.step(&world);
            seen.map_err(|what| broken(&world, watcher.name(), what))?;
        }
        if !world.is_calm() {
            continue;
        }
        // Once settled, always settled: views_converge sees to that.
        if settled_ms.is_none() && world.unsettled().is_none() {
            settled_ms = Some(now_ms);
        }
        let is_over = settled_ms.is_some_and(|at_ms| now_ms >= at_ms + bounds::QUIET_MS);
        if is_over || now_ms > world.plan().calm_ms + 10 * bounds::HEAL_MS {
            return Ok(world.report());
        }
    }
}

/// Runs a world for so many milliseconds without a watcher.
#[must_use]
pub fn race(mut world: World, for_ms: u64) -> World {
    while world.now_ms() < for_ms {
        world.turn();
    }
    world
}

fn broken(world: &World, invariant: &'static str, what: String) -> Broken {
    let at_ms = world.now_ms();
    Broken {
        invariant,
        what,
        at_ms,
    }
}

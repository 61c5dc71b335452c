//! What a scheduler would make of a town that knows every queue and everything that each machine
//! has at hand, for nothing and at once: each job goes to where it is done soonest when it comes.

use super::{
    names,
    plan::{Machine, Plan},
    shelf::Shelf,
};

/// How a workload went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Jobs that ended.
    pub done: usize,
    /// From wanted to done in the mean, milliseconds.
    pub mean_ms: f64,
    /// The same of the slowest hundredth.
    pub p99_ms: u64,
    /// Jobs that found their lineage at hand, of all that ran.
    pub hits: f64,
    /// From the first job that was wanted to the last that was done, milliseconds.
    pub makespan_ms: u64,
}

impl Outcome {
    /// Sums up when each job was wanted and done, and how many found their lineage.
    #[must_use]
    pub fn of(spans: &[(u64, u64)], hits: u64, runs: u64) -> Self {
        let mut took: Vec<u64> = spans.iter().map(|(from, to)| to - from).collect();
        took.sort_unstable();
        let count = took.len().max(1);
        let first = spans.iter().map(|(from, _)| *from).min().unwrap_or(0);
        let last = spans.iter().map(|(_, to)| *to).max().unwrap_or(0);
        Self {
            done: took.len(),
            mean_ms: took.iter().sum::<u64>() as f64 / count as f64,
            p99_ms: took.get(count * 99 / 100).copied().unwrap_or(0),
            hits: hits as f64 / runs.max(1) as f64,
            makespan_ms: last - first,
        }
    }
}

/// Schedules the jobs of a plan without faults.
#[must_use]
pub fn schedule(plan: &Plan) -> Outcome {
    let machines = plan.machines.iter().filter(|machine| machine.slots > 0);
    let mut workers: Vec<(u64, &Machine, Shelf)> = machines
        .map(|machine| (0, machine, Shelf::default()))
        .collect();
    let mut spans = Vec::new();
    let mut hits = 0;
    let mut orders: Vec<_> = plan.orders.iter().collect();
    orders.sort_by_key(|order| order.at_ms);
    for order in orders {
        let bytes = names::layer(order.lineage, plan.miss_ms).bytes;
        let end_at = |(free_ms, machine, shelf): &(u64, &Machine, Shelf)| {
            let is_hit = shelf.has(order.lineage);
            let fetch_ms = if is_hit {
                0
            } else {
                bytes / machine.bytes_per_ms
            };
            (order.at_ms.max(*free_ms)) + fetch_ms + order.want.cost_ms * 1000 / machine.pace
        };
        let best = workers.iter_mut().min_by_key(|worker| end_at(worker));
        let Some(best) = best else {
            break;
        };
        let end_ms = end_at(best);
        best.0 = end_ms;
        hits += u64::from(best.2.take(order.lineage, plan.shelf));
        spans.push((order.at_ms, end_ms));
    }
    Outcome::of(&spans, hits, spans.len() as u64)
}

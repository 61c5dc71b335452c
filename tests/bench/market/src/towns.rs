//! Simulated meshes of the program's own engine: messages, latency and hits beside a scheduler that
//! knows everything, and what it costs when nodes are killed.

use std::time::Instant;

use caravan_tests::sim::{Plan, Report, Town, World, central, central::Outcome};

use crate::{Failure, sample};

/// Owners of the meshes.
const OWNERS: usize = 4;

fn town(nodes: usize, load: usize, seed: usize) -> Town {
    let mut town = Town::usual(seed as u64, nodes.saturating_sub(OWNERS).max(1));
    town.load = load as u64;
    town
}

/// Lets a mesh do its work.
fn work(town: Town) -> Result<(Report, Outcome), Failure> {
    let begun = Instant::now();
    let plan = Plan::town(town);
    let until_ms = plan.calm_ms + plan.heal_ms;
    let jobs = plan.orders.len();
    let mut world = World::new(plan);
    let mut told_ms = 0;
    while !world.is_finished() {
        if world.now_ms() >= told_ms + 600_000 {
            told_ms = world.now_ms();
            eprintln!("{} s: {:?}", told_ms / 1000, world.report());
        }
        if !world.step() || world.now_ms() > until_ms {
            return Err(world.unsettled().into());
        }
    }
    let (report, outcome) = (world.report(), world.outcome());
    if report.done != jobs {
        return Err(format!("{} of {jobs} jobs are done: {report:?}", report.done).into());
    }
    eprintln!(
        "{jobs} jobs, {} s: {report:?} {outcome:?}",
        begun.elapsed().as_secs()
    );
    Ok((report, outcome))
}

fn per_job(report: &Report) -> f64 {
    (report.messages - report.beats) as f64 / report.done.max(1) as f64
}

pub(crate) fn messages(nodes: usize, seed: usize) -> Result<(), Failure> {
    let mut town = town(nodes, 600, seed);
    // A job takes as many messages whether its node has done many before or few.
    town.jobs = if nodes > 1000 { 10 } else { 50 };
    let (report, _) = work(town)?;
    sample(
        &format!("messages_per_job_{nodes}"),
        "ours",
        per_job(&report),
    );
    Ok(())
}

pub(crate) fn central(nodes: usize, load: usize, seed: usize) -> Result<(), Failure> {
    let town = town(nodes, load, seed);
    let known = central::schedule(&Plan::town(town));
    let (_, ours) = work(town)?;
    eprintln!("central: {known:?}");
    sample("latency_vs_central", "ours", ours.mean_ms / 1000.0);
    sample("latency_vs_central", "theirs", known.mean_ms / 1000.0);
    sample("hit_rate_vs_central", "ours", ours.hits);
    sample("hit_rate_vs_central", "theirs", known.hits);
    Ok(())
}

pub(crate) fn churn(nodes: usize, seed: usize) -> Result<(), Failure> {
    let mut town = town(nodes, 0, seed);
    let (_, whole) = work(town)?;
    town.churn = 300;
    let (_, killed) = work(town)?;
    let seconds = |outcome: Outcome| outcome.makespan_ms as f64 / 1000.0;
    sample("churn_makespan", "ours", seconds(killed));
    sample("churn_makespan", "theirs", seconds(whole));
    Ok(())
}

pub(crate) fn told(nodes: usize, load: usize, seed: usize) -> Result<(), Failure> {
    let town = town(nodes, load, seed);
    let known = central::schedule(&Plan::town(town));
    let (report, ours) = work(town)?;
    println!("ours:    {ours:?}");
    println!("central: {known:?}");
    println!(
        "latency {:.3}, hits {:.3}, messages a job {:.2}, beats and answers a job {:.2}, digests {}",
        ours.mean_ms / known.mean_ms,
        ours.hits / known.hits,
        per_job(&report),
        report.beats as f64 / report.done.max(1) as f64,
        report.digests
    );
    Ok(())
}

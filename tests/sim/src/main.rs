//! The simulator as a program: `caravan-sim hour` for the large mesh under the clock, `caravan-sim
//! storm SEED...` for one small mesh told step by step. It decides nothing.

use std::{env, fs, process::ExitCode, time::Instant};

use caravan_sim::{
    invariants::{self, Invariant},
    plan::{Plan, Workload},
    run,
    world::{Note, What, World},
};

const USAGE: &str = "usage: caravan-sim hour [NODES [SEED [MINUTES]]] [--json]
       caravan-sim storm SEED... [--quiet | --sends]";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let numbers: Vec<u64> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let has = |name: &str| words.iter().any(|word| word == name);
    match words.first().map(String::as_str) {
        Some("hour") => hour(&numbers, has("--json")),
        Some("storm") if !numbers.is_empty() => storms(&numbers, [has("--quiet"), has("--sends")]),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Seconds that this process has run on a processor.
fn processor_s() -> f64 {
    let text = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let ns: Option<f64> = text.split(' ').next().and_then(|ns| ns.parse().ok());
    ns.unwrap_or(f64::NAN) / 1e9
}

fn peak_mib() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().split(' ').next());
    kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn hour(numbers: &[u64], json: bool) -> ExitCode {
    let nodes = usize::try_from(numbers.first().copied().unwrap_or(10_000)).unwrap_or(usize::MAX);
    let seed = numbers.get(1).copied().unwrap_or(1);
    let minutes = numbers.get(2).copied().unwrap_or(60);
    let work = Workload::LENT;
    let plan = Plan::town(seed, nodes, minutes, work);
    if !json {
        println!("{nodes} nodes, seed {seed}, {minutes} minutes of virtual time");
        println!("workload: {work}");
        println!(
            "network: {:?} ms by the pair, {:?}",
            plan.latency_ms, plan.tuning
        );
    }
    let (begun, begun_s) = (Instant::now(), processor_s());
    let world = World::new(plan, false);
    let (set_up, set_up_s) = (begun.elapsed().as_secs_f64(), processor_s() - begun_s);
    let world = run::race(world, minutes * 60_000);
    let (wall, processor) = (begun.elapsed().as_secs_f64(), processor_s() - begun_s);
    let report = world.report();
    let node_minutes = (nodes as u64 * minutes) as f64;
    let per_second = report.deliveries as f64 / processor;
    let unsettled = world.agreement();
    if json {
        println!(
            "{{\"nodes\":{nodes},\"seed\":{seed},\"minutes\":{minutes},\"wall_s\":{wall:.2},\"processor_s\":{processor:.2},\"set_up_s\":{set_up:.2},\"deliveries\":{},\"ticks\":{},\"deliveries_per_processor_s\":{per_second:.0},\"messages_per_node_minute\":{:.1},\"peak_mib\":{},\"trace\":\"{:016x}\"}}",
            report.deliveries,
            report.ticks,
            report.sent as f64 / node_minutes,
            peak_mib(),
            report.trace
        );
        return ExitCode::SUCCESS;
    }
    println!(
        "wall {wall:.2} s (of it {set_up:.2} s to set up), processor {processor:.2} s (set up {set_up_s:.2} s)"
    );
    println!(
        "deliveries {} ({} probes and answers, {} with records), ticks {}, sent {}",
        report.deliveries, report.probes, report.floods, report.ticks, report.sent
    );
    println!("deliveries per processor second {per_second:.0}");
    println!(
        "messages per node and minute {:.1}",
        report.sent as f64 / node_minutes
    );
    println!(
        "signatures made {}, checked {}, refused {}",
        report.crypto.signed, report.crypto.opened, report.crypto.refused
    );
    println!(
        "declared dead, by each of {nodes} views: {}, of these live ones {}",
        report.deaths, report.false_deaths
    );
    println!("{unsettled}");
    println!("peak memory {} MiB", peak_mib());
    println!("trace {:016x}", report.trace);
    ExitCode::SUCCESS
}

/// Tells what happens in a replayed run, messages too if wanted.
struct Told {
    sends: bool,
}

impl Invariant for Told {
    fn name(&self) -> &'static str {
        "told"
    }

    fn note(&mut self, world: &World, note: &Note) -> Result<(), String> {
        if self.sends || !matches!(note.what, What::Sent { .. }) {
            println!(
                "{:>7} host {:>2} {:?}",
                world.now_ms(),
                note.host,
                note.what
            );
        }
        Ok(())
    }
}

fn storms(seeds: &[u64], [quiet, sends]: [bool; 2]) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for seed in seeds {
        let mut watchers = invariants::all();
        if !quiet {
            watchers.insert(0, Box::new(Told { sends }));
        }
        match run::watch(Plan::stormy(*seed), &mut watchers) {
            Ok(report) => {
                let worst = watchers
                    .iter()
                    .map(|watcher| (watcher.name(), watcher.worst_ms()));
                let worst: Vec<_> = worst.filter(|(_, ms)| *ms > 0).collect();
                println!("seed {seed} holds: {report:?}; worst, ms: {worst:?}");
            }
            Err(broken) => {
                let (name, what, at_ms) = (broken.invariant, broken.what, broken.at_ms);
                println!("seed {seed}: {name} is broken at {at_ms} ms: {what}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

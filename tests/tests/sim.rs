//! Simulated meshes of the program's own engine. `CARAVAN_SEEDS=N` runs more seeds,
//! `CARAVAN_SEED=N` runs one.
#![expect(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails the test"
)]

use std::{collections::BTreeMap, sync::Mutex};

use caravan_protocol::{
    claim::Verdict,
    offer::{Command, Event, Loss, Missing},
};
use caravan_tests::{
    invariants::{self, Invariant},
    sim::{self, Fate, Note, Plan, Report, What, World},
};

#[path = "sim/flaws.rs"]
mod flaws;
#[path = "../sim/tests/kit/seeds.rs"]
mod seeds;

/// Seeds that an ordinary run of the tests tries.
const SEEDS: u64 = 300;

fn replay(seed: u64) -> String {
    format!("seed {seed} failed; replay it, told step by step, with\n    scripts/sim market {seed}")
}

/// Counts what happens, by kind.
struct Counted<'a>(&'a Mutex<BTreeMap<&'static str, u64>>);

impl Invariant for Counted<'_> {
    fn name(&self) -> &'static str {
        "counted"
    }

    fn note(&mut self, _world: &World, note: &Note) -> Result<(), String> {
        let kind = match &note.what {
            What::Crashed => "crash",
            What::Started => "start",
            What::Event(Event::Unwant(_)) => "unwant",
            What::Event(Event::PeerDown(_)) => "peer down",
            What::Event(Event::Pause(true)) => "pause",
            What::Event(Event::Slots(_)) => "slots",
            What::Event(_) => return Ok(()),
            What::Command(command) => match command {
                Command::Run { .. } => "run",
                Command::Stop { .. } => "stop",
                Command::Placed { .. } => "placed",
                Command::Progress { .. } => "progress",
                Command::Waiting { reason, .. } => match reason {
                    Missing::Platform(_) => "no node of the platform",
                    Missing::Paused => "paused",
                    _ => "not here",
                },
                Command::Lost { loss, .. } => match loss {
                    Loss::Silent => "silent",
                    Loss::PeerDown => "lost with its node",
                    Loss::Infra => "infra",
                    Loss::Refused => "refused",
                    Loss::Overrun => "overrun",
                    Loss::Stuck => "stuck",
                },
                Command::Done { verdict, .. } if *verdict == Verdict::Fail => "done: fail",
                Command::Done { .. } => "done: pass",
                Command::GaveUp { .. } => "gave up",
                Command::Late { .. } => "late",
                Command::Reject { .. } => "reject",
                Command::Gossip { .. } => "gossip",
                Command::Send { message, .. } => sim::kind(message),
                Command::Appraise { .. } | Command::WakeAt(_) => return Ok(()),
            },
        };
        *self.0.lock().unwrap().entry(kind).or_default() += 1;
        Ok(())
    }
}

/// What storms are for: a run of many seeds that never saw one of these tested less than it says.
const CORNERS: [&str; 32] = [
    "crash",
    "start",
    "unwant",
    "peer down",
    "pause",
    "slots",
    "run",
    "stop",
    "placed",
    "progress",
    "no node of the platform",
    "paused",
    "silent",
    "lost with its node",
    "infra",
    "refused",
    "done: fail",
    "done: pass",
    "gave up",
    "late",
    "gossip",
    "offer",
    "pass",
    "bid",
    "award",
    "decline",
    "refuse",
    "beat",
    "renew",
    "cancel",
    "result",
    "ack",
];

fn run(seed: u64, counts: &Mutex<BTreeMap<&'static str, u64>>) -> Result<Report, String> {
    let mut watchers = invariants::all();
    watchers.push(Box::new(Counted(counts)));
    if seeds::number("CARAVAN_SEED").is_some() {
        watchers.insert(0, Box::new(sim::Told));
    }
    sim::watch(Plan::of_seed(seed), watchers).map_err(|broken| {
        let (name, what, at_ms) = (broken.invariant, broken.what, broken.at_ms);
        format!("{name} is broken at {at_ms} ms: {what}")
    })
}

#[test]
fn every_promise_holds_under_faults_and_the_mesh_heals() {
    let counts = Mutex::new(BTreeMap::new());
    let count = seeds::sweep(SEEDS, replay, |seed| run(seed, &counts).map(drop));
    if count >= 100 {
        let counts = counts.into_inner().unwrap();
        let unseen: Vec<_> = CORNERS
            .iter()
            .filter(|corner| !counts.contains_key(*corner))
            .collect();
        assert!(unseen.is_empty(), "no seed saw {unseen:?}: {counts:?}");
        println!("{counts:?}");
    }
}

#[test]
fn an_equal_seed_gives_an_equal_run() {
    for seed in [3, 7, 20] {
        let first = sim::run(Plan::of_seed(seed)).unwrap();
        assert_eq!(Ok(first.clone()), sim::run(Plan::of_seed(seed)));
        assert_ne!(
            first.trace,
            sim::run(Plan::of_seed(seed + 8)).unwrap().trace
        );
    }
}

#[test]
fn a_mesh_of_one_runs_its_jobs_without_delay_and_without_a_message() {
    let mut plan = Plan::quiet(1, 1, 2);
    for number in 0..10 {
        plan.order(0, sim::want(number, 1000), 0);
    }
    let report = sim::run(plan).unwrap();
    assert_eq!((report.done, report.messages, report.digests), (10, 0, 0));
    assert_eq!(report.ended_ms, 5000, "ten jobs of a second on two slots");
}

#[test]
fn fifty_nodes_share_the_jobs_of_one_owner() {
    let mut plan = Plan::quiet(1, 50, 2);
    for number in 0..400 {
        plan.order(0, sim::want(number, 10_000), 2000);
    }
    let report = sim::run(plan).unwrap();
    assert_eq!(report.done, 400);
    let took_ms = report.ended_ms - 2000;
    assert!(
        took_ms <= 44_000,
        "400 jobs of ten seconds on 100 slots took {took_ms} ms; 40,000 would be ideal"
    );
    println!("{report:?}");
    let per_job = report.messages / report.remote_runs;
    assert!(per_job <= 12, "{per_job} messages for each job");
    assert_eq!(report.remote_runs, 392, "and no job ran twice");
}

#[test]
fn many_owners_share_one_mesh() {
    let mut plan = Plan::quiet(1, 20, 1);
    for number in 0..200 {
        plan.order(number as usize % 10, sim::want(number, 5000), 2000);
    }
    let report = sim::run(plan).unwrap();
    let took_ms = report.ended_ms - 2000;
    assert_eq!(report.done, 200);
    assert!(
        took_ms <= 60_000,
        "200 jobs of five seconds on 20 slots took {took_ms} ms; 50,000 would be ideal"
    );
}

#[test]
fn a_job_that_fails_everywhere_is_given_up_after_four_nodes() {
    let mut plan = Plan::quiet(1, 6, 1);
    plan.order(0, sim::want(1, 100), 1000);
    plan.orders[0].fate = Fate::Poison;
    let report = sim::run(plan).unwrap();
    assert_eq!((report.done, report.gave_up), (0, 1));
    assert_eq!(report.remote_runs, 3, "each attempt on another node");
}

#[test]
fn one_job_does_not_wake_a_large_mesh() {
    for seed in 0..20 {
        let mut plan = Plan::quiet(seed, 50, 1);
        plan.order(0, sim::want(0, 60_000), 2000);
        plan.order(0, sim::want(seed + 1, 5000), 2000);
        let report = sim::run(plan).unwrap();
        assert_eq!(report.remote_runs, 1);
        assert!(
            report.messages <= 60,
            "one job of 50 nodes took {} messages",
            report.messages
        );
    }
}

//! Simulated meshes of the program's own engine of membership. `CARAVAN_SEEDS=N` runs more seeds,
//! `CARAVAN_SEED=N` runs one.
#![expect(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails the test"
)]

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use caravan_protocol::member::{Change, Kind};
use caravan_sim::{
    flaw::Flaw,
    invariants::{self, Invariant},
    plan::{Down, Fault, Plan, Workload},
    run::{self, Broken},
    world::{Note, Report, What, World},
};

#[path = "kit/seeds.rs"]
mod seeds;

/// Seeds that an ordinary run of the tests tries.
const SEEDS: u64 = 200;
/// One in so many runs twice at once, and both must be the same.
const TWICE: u64 = 10;

fn replay(seed: u64) -> String {
    format!("seed {seed} failed; replay it, told step by step, with\n    scripts/sim {seed}")
}

/// Counts what happens, by kind.
#[derive(Default)]
struct Counts(BTreeMap<&'static str, u64>);

struct Counted<'a>(&'a Mutex<Counts>);

impl Invariant for Counted<'_> {
    fn name(&self) -> &'static str {
        "counted"
    }

    fn note(&mut self, _world: &World, note: &Note) -> Result<(), String> {
        let kind = match note.what {
            What::Changed { change, .. } => match change {
                Change::Joined => "joined",
                Change::Updated => "updated",
                Change::Left => "left",
                Change::Died => "died",
                Change::Expired => "expired",
                Change::Revoked => "revoked",
                Change::Forgotten => "forgotten",
            },
            What::Signed { kind, .. } => match kind {
                Kind::Cert => "cert",
                Kind::Presence => "presence",
                Kind::Revocation => "revocation",
                Kind::Alert => "alert",
                Kind::Obituary => "obituary",
            },
            What::Sent { word, .. } => word,
            What::Rejected { .. } => "rejected",
            What::Evicted => "evicted",
            What::Twin => "twin",
            What::Started => "started",
            What::Stopped => "stopped",
        };
        *self.0.lock().unwrap().0.entry(kind).or_default() += 1;
        Ok(())
    }
}

/// What storms are for: a run of many seeds that never saw one of these tested less than it says. The
/// founder's own records are made outside of the engines, and nobody speaks to a revoked node, so that
/// it hears of its eviction from the words of those who refuse it.
const CORNERS: [&str; 22] = [
    "joined", "updated", "left", "died", "expired", "revoked", "presence", "alert", "obituary",
    "probe", "ack", "records", "doubt", "vouch", "fetch", "page", "compare", "lines", "want",
    "rejected", "started", "stopped",
];

fn storm(seed: u64, counts: &Mutex<Counts>) -> Result<Report, String> {
    let mut watchers = invariants::all();
    watchers.push(Box::new(Counted(counts)));
    if seed.is_multiple_of(TWICE) {
        watchers.push(invariants::equal_trace(Plan::stormy(seed)));
    }
    run::watch(Plan::stormy(seed), &mut watchers).map_err(|broken| {
        let (name, what, at_ms) = (broken.invariant, broken.what, broken.at_ms);
        format!("{name} is broken at {at_ms} ms: {what}")
    })
}

#[test]
fn every_promise_holds_in_storms_and_the_mesh_heals() {
    let counts = Mutex::new(Counts::default());
    let deliveries = AtomicU64::new(0);
    let count = seeds::sweep(SEEDS, replay, |seed| {
        let report = storm(seed, &counts)?;
        deliveries.fetch_add(report.deliveries, Ordering::Relaxed);
        Ok(())
    });
    let counts = counts.into_inner().unwrap().0;
    println!("{} deliveries; {counts:?}", deliveries.into_inner());
    if count >= SEEDS {
        let unseen: Vec<_> = CORNERS
            .iter()
            .filter(|corner| !counts.contains_key(*corner))
            .collect();
        assert!(unseen.is_empty(), "no seed saw {unseen:?}: {counts:?}");
    }
}

#[test]
fn an_equal_seed_gives_an_equal_trace_and_another_seed_another() {
    let report = |seed| run::run(Plan::stormy(seed)).unwrap();
    assert_eq!(report(2), report(2));
    assert_ne!(report(2).trace, report(4).trace);
    let town = |seed| {
        let plan = Plan::town(seed, 300, 3, Workload::LENT);
        run::race(World::new(plan, false), 180_000).report()
    };
    assert_eq!(town(1), town(1));
    assert_ne!(town(1).trace, town(2).trace);
}

#[test]
fn a_quiet_mesh_declares_nobody_dead() {
    for seed in 0..4 {
        let mut plan = Plan::quiet(seed, 40);
        plan.calm_ms = 120_000;
        let report = run::run(plan).unwrap();
        assert_eq!((report.deaths, report.false_deaths), (0, 0));
        assert_eq!(report.crypto.refused, 0);
        // Two probes and two answers for each ring and period, and a comparison now and then.
        let node_minutes = 40 * report.ms / 60_000;
        assert!(report.sent <= 130 * node_minutes, "{report:?}");
    }
}

#[test]
fn a_mesh_of_one_and_of_two_are_meshes() {
    for machines in [1, 2, 3] {
        let mut plan = Plan::quiet(1, machines);
        plan.calm_ms = 60_000;
        let report = run::run(plan).unwrap();
        assert_eq!(report.deaths, 0);
    }
}

/// A settled mesh of twenty with something wrong in the programs of some.
fn flawed(flaw: Flaw, hosts: std::ops::Range<usize>) -> Plan {
    let mut plan = Plan::quiet(5, 20);
    plan.calm_ms = 90_000;
    for host in hosts {
        plan.machines[host].flaw = flaw;
    }
    plan
}

fn crash(host: usize, for_ms: Option<u64>) -> Fault {
    let down = Down::Silent;
    Fault::Crash { host, down, for_ms }
}

#[track_caller]
fn assert_broken(plan: Plan, name: &str) {
    match run::run(plan) {
        Err(Broken { invariant, .. }) => assert_eq!(invariant, name),
        Ok(report) => panic!("{name} was not broken: {report:?}"),
    }
}

// Each invariant can fail: a program that is broken in the right way, or a host that is hostile
// beyond what the mesh promises to bear, is found out by it and by no other.

#[test]
fn a_mesh_that_is_deaf_to_revocations_is_found_out() {
    let mut plan = flawed(Flaw::Deaf(Kind::Revocation), 1..20);
    plan.at(Duration::from_secs(20), Fault::Revoke(7));
    assert_broken(plan, "revoked_is_gone");
}

#[test]
fn a_mesh_that_is_deaf_to_refutations_is_found_out() {
    let mut plan = flawed(Flaw::Deaf(Kind::Presence), 0..20);
    let pause = Fault::Pause {
        host: 7,
        for_ms: 30_000,
    };
    plan.calm_ms = 150_000;
    plan.at(Duration::from_secs(10), pause);
    assert_broken(plan, "live_is_not_dead_for_long");
}

#[test]
fn a_mesh_that_never_agrees_on_a_death_is_found_out() {
    let mut plan = flawed(Flaw::Deaf(Kind::Alert), 0..20);
    plan.calm_ms = 150_000;
    plan.at(Duration::from_secs(10), crash(7, None));
    assert_broken(plan, "crashed_is_known_dead");
}

#[test]
fn a_gullible_mesh_is_found_out() {
    let mut plan = flawed(Flaw::Gullible, 0..20);
    plan.machines[19].is_stranger = true;
    plan.machines[19].is_settled = false;
    plan.at(Duration::from_secs(10), Fault::Join(19));
    assert_broken(plan, "no_stranger_is_heard");
}

#[test]
fn a_node_that_accuses_who_left_is_found_out() {
    let mut plan = flawed(Flaw::Rude, 3..4);
    plan.at(Duration::from_secs(10), Fault::Leave(7));
    assert_broken(plan, "left_is_not_accused");
}

#[test]
fn a_node_that_sends_everything_many_times_is_found_out() {
    assert_broken(flawed(Flaw::Chatty, 3..4), "bounded_state");
}

#[test]
fn a_mesh_that_cannot_heal_is_found_out() {
    // Newcomers are never heard of: what they say of themselves is not taken in.
    let mut plan = flawed(Flaw::Deaf(Kind::Presence), 0..10);
    plan.machines[19].is_settled = false;
    plan.at(Duration::from_secs(10), Fault::Join(19));
    assert_broken(plan, "views_converge");
}

#[test]
fn a_program_that_draws_lots_of_its_own_is_found_out() {
    let plan = flawed(Flaw::Moody, 3..4);
    let mut watchers = vec![invariants::equal_trace(plan.clone())];
    let broken = run::watch(plan, &mut watchers).unwrap_err();
    assert_eq!(broken.invariant, "equal_seed_equal_trace");
}

/// So many members, of one operator each or all of one, say at once that a live node is dead.
fn conspiracy(liars: usize, operators: u32) -> Report {
    let mut plan = flawed(Flaw::Hostile, 10..10 + liars);
    for liar in 10..10 + liars {
        let machine = &mut plan.machines[liar];
        machine.operator = 100 + u32::try_from(liar).unwrap() % operators;
        plan.at(Duration::from_secs(20), Fault::Accuse(liar, 5));
    }
    run::run(plan).unwrap()
}

#[test]
fn two_liars_kill_nobody_and_neither_do_eight_of_one_operator() {
    assert_eq!(conspiracy(2, 2).deaths, 0);
    assert_eq!(conspiracy(8, 1).deaths, 0);
    assert_eq!(conspiracy(8, 2).deaths, 0);
}

#[test]
fn three_operators_that_lie_are_believed_until_their_victim_speaks() {
    // The promise is that it is refuted in time: the run holds.
    assert!(conspiracy(8, 8).false_deaths > 0);
}

//! Each invariant can fail: a program that is broken in the right way is found out by it and by no
//! other.

use caravan_tests::sim::{self, Broken, Fault, Flaw, Plan};

/// The first machine owns jobs and runs none; what is wrong is wrong with these.
fn flawed(flaw: Flaw, hosts: std::ops::Range<usize>) -> Plan {
    let mut plan = Plan::quiet(5, 7, 1);
    plan.machines[0].slots = 0;
    for host in hosts {
        plan.machines[host].flaw = flaw;
    }
    plan
}

/// So many jobs that take so long.
fn with_jobs(mut plan: Plan, count: u64, cost_ms: u64) -> Plan {
    for number in 0..count {
        plan.order(0, sim::want(number, cost_ms), 2000);
    }
    plan
}

#[track_caller]
fn assert_broken(plan: Plan, name: &str) {
    match sim::run(plan) {
        Err(Broken {
            invariant, what, ..
        }) => assert_eq!(invariant, name, "{what}"),
        Ok(report) => panic!("{name} was not broken: {report:?}"),
    }
}

#[test]
fn a_whole_program_breaks_nothing() {
    assert!(sim::run(with_jobs(flawed(Flaw::None, 0..7), 20, 5000)).is_ok());
}

#[test]
fn an_owner_that_forgets_is_found_out() {
    let plan = flawed(Flaw::Forgetful, 0..1);
    assert_broken(with_jobs(plan, 3, 5000), "no_job_is_lost");
}

#[test]
fn an_owner_that_starts_afresh_without_a_word_is_found_out() {
    let plan = flawed(Flaw::Restless, 0..1);
    assert_broken(with_jobs(plan, 2, 60_000), "no_run_without_reason");
}

#[test]
fn a_machine_that_runs_more_than_allowed_is_found_out() {
    let plan = flawed(Flaw::Greedy, 3..4);
    assert_broken(with_jobs(plan, 20, 5000), "slots_are_respected");
}

#[test]
fn an_owner_that_does_not_care_where_its_jobs_run_is_found_out() {
    let mut plan = with_jobs(flawed(Flaw::Careless, 0..1), 6, 5000);
    for order in &mut plan.orders {
        order.want.place.on = Some(sim::node(3));
    }
    assert_broken(plan, "runs_only_where_it_may");
    let mut plan = with_jobs(flawed(Flaw::Careless, 0..1), 6, 5000);
    for machine in &mut plan.machines[1..6] {
        machine.memory = 1 << 30;
    }
    for order in &mut plan.orders {
        order.want.needs.memory_bytes = 4 << 30;
    }
    assert_broken(plan, "runs_only_where_it_may");
}

#[test]
fn machines_that_never_offer_themselves_are_found_out() {
    let plan = flawed(Flaw::Mute, 1..7);
    let name = "no_idle_slot_beside_waiting_job";
    assert_broken(with_jobs(plan, 3, 5000), name);
}

#[test]
fn an_owner_that_clings_to_who_is_gone_is_found_out() {
    let mut plan = with_jobs(flawed(Flaw::Clinging, 0..1), 2, 5000);
    plan.calm_ms = 120_000;
    // Who is gone is a candidate as good as any.
    for number in 2..12 {
        plan.order(0, sim::want(number, 5000), 60_000);
    }
    for host in 3..7 {
        let down_ms = None;
        plan.faults.push((7000, Fault::Crash { host, down_ms }));
    }
    assert_broken(plan, "sends_only_to_nodes_that_are_up");
}

#[test]
fn an_owner_that_gossips_twice_is_found_out() {
    let plan = flawed(Flaw::Chatty, 0..1);
    assert_broken(with_jobs(plan, 40, 20_000), "digests_are_rare");
}

#[test]
fn a_machine_that_does_not_stop_is_found_out() {
    let mut plan = with_jobs(flawed(Flaw::Stubborn, 1..7), 2, 3_000_000);
    plan.calm_ms = 3_000_000;
    let (host, down_ms) = (0, None);
    plan.faults.push((10_000, Fault::Crash { host, down_ms }));
    assert_broken(plan, "lease_bounds_silence");
}

#[test]
fn a_machine_that_signs_as_another_is_found_out() {
    let plan = flawed(Flaw::Masked, 1..7);
    let name = "done_is_said_by_the_one_awarded";
    assert_broken(with_jobs(plan, 3, 5000), name);
}

#[test]
fn an_owner_that_answers_bids_that_nobody_made_is_found_out() {
    let plan = flawed(Flaw::Confused, 0..1);
    let name = "honest_nodes_are_not_rejected";
    assert_broken(with_jobs(plan, 3, 5000), name);
}

#[test]
fn an_owner_that_says_it_twice_is_found_out() {
    let plan = flawed(Flaw::Stuttering, 0..1);
    assert_broken(with_jobs(plan, 3, 5000), "one_end_per_job");
}

#[test]
fn an_owner_that_takes_the_results_of_another_is_found_out() {
    let mut plan = with_jobs(flawed(Flaw::Mixed, 1..2), 1, 5000);
    plan.machines.truncate(3);
    plan.machines[1].slots = 0;
    plan.machines[2].slots = 2;
    plan.order(1, sim::want(0, 5000), 2500);
    assert_broken(plan, "results_of_owners_are_never_mixed");
}

#[test]
fn a_job_that_can_never_run_is_found_out() {
    let mut plan = with_jobs(flawed(Flaw::None, 0..7), 1, 5000);
    plan.orders[0].want.place.on = Some(sim::node(99));
    assert_broken(plan, "all_heals");
}

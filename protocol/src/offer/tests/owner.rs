use super::*;

#[test]
fn a_job_with_a_free_slot_runs_at_once_and_without_a_message() {
    let mut bench = bench(2);
    assert_eq!(bench.want(7), [run(own(7, 1))]);
    assert_eq!(bench.standing(7), Some(Standing::Here { number: 1 }));
    let ended = bench.finish(own(7, 1), Verdict::Pass);
    assert_eq!(ended, [done(7, 1, 1, Verdict::Pass)]);
    assert_eq!(bench.standing(7), None);
}

#[test]
fn a_failed_action_ends_the_job() {
    let mut bench = bench(1);
    bench.want(7);
    let ended = bench.finish(own(7, 1), Verdict::Fail);
    assert_eq!(ended, [done(7, 1, 1, Verdict::Fail)]);
}

#[test]
fn a_job_wanted_twice_runs_once() {
    let mut bench = bench(2);
    bench.want(7);
    assert_eq!(bench.want(7), []);
}

#[test]
fn a_job_wanted_again_is_not_taken_for_the_attempt_that_is_ending() {
    let mut bench = bench(2);
    bench.want(7);
    let stop = |number| Command::Stop {
        attempt: own(7, number),
    };
    assert_eq!(bench.on(Event::Unwant(job(7))), [stop(1)]);
    assert_eq!(bench.want(7), [run(own(7, 2))]);
    assert_eq!(bench.finish(own(7, 1), Verdict::Infra), []);
    assert_eq!(bench.standing(7), Some(Standing::Here { number: 2 }));
    assert_eq!(bench.on(Event::Unwant(job(7))), [stop(2)]);
    assert_eq!(bench.finish(own(7, 2), Verdict::Infra), []);
    assert_eq!(bench.want(7), [run(own(7, 3))]);
}

#[test]
fn a_freed_slot_takes_urgent_jobs_first_and_then_the_longest_waiting() {
    let mut bench = bench(1);
    bench.want(1);
    assert_eq!(bench.want(2), []);
    assert_eq!(bench.want(3), []);
    let mut urgent = wanted(4);
    urgent.priority = Priority::Urgent;
    assert_eq!(bench.on(Event::Want(urgent)), []);
    for (ended, next) in [(1, 4), (4, 2), (2, 3)] {
        let out = bench.finish(own(ended, 1), Verdict::Pass);
        assert_eq!(
            out,
            [done(ended, 1, 1, Verdict::Pass), run(own(next, 1))],
            "after {ended}"
        );
    }
}

#[test]
fn a_waiting_job_that_becomes_urgent_goes_first() {
    let mut bench = bench(1);
    bench.want(1);
    bench.want(2);
    bench.want(3);
    let mut urgent = wanted(3);
    urgent.priority = Priority::Urgent;
    bench.on(Event::Want(urgent));
    let out = bench.finish(own(1, 1), Verdict::Pass);
    assert_eq!(out, [done(1, 1, 1, Verdict::Pass), run(own(3, 1))]);
}

#[test]
fn a_foreign_platform_without_a_node_is_named_at_once() {
    let mut bench = bench(1);
    let mut foreign = wanted(7);
    foreign.platform = arm();
    let out = bench.on(Event::Want(foreign.clone()));
    assert_eq!(out, [waiting(7, Missing::Platform(arm()))]);
    foreign.job = job(8);
    foreign.remote_ok = false;
    let out = bench.on(Event::Want(foreign));
    assert_eq!(out, [waiting(8, Missing::LocalPlatform(arm()))]);
    assert_eq!(
        Missing::Platform(arm()).to_string(),
        "no known node builds for linux-arm64"
    );
}

#[test]
fn the_last_node_of_a_platform_going_away_is_said() {
    let mut bench = bench(1);
    let mut foreign = wanted(7);
    foreign.platform = arm();
    let platforms = BTreeSet::from([arm()]);
    let node = node(2);
    let emulated = BTreeSet::new();
    bench.on(Event::PeerUp {
        node,
        operator: "op".to_owned(),
        platforms,
        emulated,
    });
    assert_eq!(bench.on(Event::Want(foreign)), []);
    assert_eq!(
        bench.down(2),
        [waiting(7, Missing::Platform(arm()))],
        "and no digest is due for nobody"
    );
}

#[test]
fn a_paused_node_starts_nothing_and_says_so() {
    let mut bench = bench(1);
    assert_eq!(bench.on(Event::Pause(true)), []);
    assert_eq!(bench.want(7), [waiting(7, Missing::Paused)]);
    assert_eq!(bench.on(Event::Pause(false)), [run(own(7, 1))]);
}

#[test]
fn a_node_without_slots_says_so_and_begins_when_it_has_some() {
    let mut bench = bench(0);
    assert_eq!(bench.want(7), [waiting(7, Missing::Slots)]);
    assert_eq!(bench.on(Event::Slots(1)), [run(own(7, 1))]);
}

#[test]
fn fewer_slots_stop_nothing_but_start_nothing() {
    let mut bench = bench(2);
    bench.want(1);
    bench.want(2);
    assert_eq!(bench.on(Event::Slots(1)), []);
    assert_eq!(bench.want(3), []);
    let out = bench.finish(own(1, 1), Verdict::Pass);
    assert_eq!(out, [done(1, 1, 1, Verdict::Pass)]);
    let out = bench.finish(own(2, 1), Verdict::Pass);
    assert_eq!(out, [done(2, 1, 1, Verdict::Pass), run(own(3, 1))]);
}

#[test]
fn an_unwanted_job_is_stopped_and_its_slot_is_free_when_it_has_ended() {
    let mut bench = bench(1);
    bench.want(1);
    bench.want(2);
    let attempt = own(1, 1);
    assert_eq!(
        bench.on(Event::Unwant(job(1))),
        [Command::Stop { attempt }],
        "the slot is taken until the attempt is gone"
    );
    assert_eq!(bench.finish(attempt, Verdict::Infra), [run(own(2, 1))]);
    assert_eq!(bench.on(Event::Unwant(job(9))), []);
}

#[test]
fn infrastructure_failures_are_retried_with_back_off_and_then_said_to_be_some() {
    let mut bench = bench(1);
    bench.want(7);
    for (number, usual_ms) in [(1, 1000_u64), (2, 2000), (3, 4000)] {
        let rest = crate::offer::owner::rest(job(7), number - 1).as_millis();
        let rest_ms = u64::try_from(rest).expect("short");
        assert!((usual_ms * 3 / 4..=usual_ms * 5 / 4).contains(&rest_ms));
        let out = bench.finish(own(7, number), Verdict::Infra);
        let loss = lost(7, number, 1, Loss::Infra);
        assert_eq!(out, [loss]);
        assert_eq!(bench.standing(7), Some(Standing::Resting));
        assert_eq!(bench.after(rest_ms - 1), []);
        assert_eq!(bench.after(1), [run(own(7, number + 1))]);
    }
    let out = bench.finish(own(7, 4), Verdict::Infra);
    let failure = |number| Failure {
        number,
        node: node(1),
        loss: Loss::Infra,
    };
    let reason = GaveUp::Failures((1..=4).map(failure).collect());
    let said = reason.to_string();
    assert!(said.starts_with("infrastructure failed 4 attempts: #1 on 0101010101: the node"));
    let gave_up = Command::GaveUp {
        job: job(7),
        reason,
    };
    assert_eq!(out, [lost(7, 4, 1, Loss::Infra), gave_up]);
    assert_eq!(bench.standing(7), None);
}

#[test]
fn a_node_that_failed_a_job_leaves_it_to_others_for_a_while() {
    let mut bench = bench(1);
    bench.up(2);
    bench.want(7);
    bench.finish(own(7, 1), Verdict::Infra);
    assert_eq!(bench.after(1000), [], "it is offered, not run here");
    let (to, offer) = bench.offers.last().expect("an offer");
    assert_eq!((*to, offer.job), (2, job(7)));
    assert_eq!(
        bench.down(2),
        [run(own(7, 2))],
        "with nobody else there, it runs here all the same"
    );
}

#[test]
fn a_slot_does_not_stay_idle_for_ever_because_of_an_old_failure() {
    let mut bench = bench(1);
    bench.up(2);
    bench.want(7);
    bench.finish(own(7, 1), Verdict::Infra);
    for _ in 0..58 {
        assert!(!bench.after(1000).contains(&run(own(7, 2))));
    }
    bench.after(1000);
    assert!(bench.after(1000).contains(&run(own(7, 2))));
}

#[test]
fn an_action_that_is_too_large_is_given_up_at_once() {
    let mut bench = bench(1);
    let mut large = wanted(7);
    large.action = vec![0; limits::ACTION_BYTES_MAX + 1];
    let bytes = large.action.len();
    let reason = GaveUp::TooLarge { bytes };
    let job = job(7);
    assert_eq!(
        bench.on(Event::Want(large)),
        [Command::GaveUp { job, reason }]
    );
}

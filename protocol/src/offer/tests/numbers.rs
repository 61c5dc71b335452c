//! An attempt's number is the fence between two tries at one job: none is given out twice.

use super::*;

/// A job that is under way on node 2 as attempt 1.
fn placed_there() -> Bench {
    let mut bench = bench(0);
    bench.up(2);
    bench.want(7);
    bench.hear(2, bid(5, 7, 1));
    bench
}

#[test]
fn a_job_wanted_again_counts_on_from_its_cancelled_attempt() {
    let mut bench = placed_there();
    let out = bench.on(Event::Unwant(job(7)));
    assert_eq!(out, [send(2, cancel(7, 1))]);
    bench.want(7);
    bench.hear(2, bid(6, 7, 1));
    let there = Standing::There {
        number: 2,
        node: node(2),
    };
    assert_eq!(bench.standing(7), Some(there));
    // Words about the first that were still on their way are not about the second.
    bench.hear(2, refuse(7, 1));
    assert_eq!(bench.standing(7), Some(there), "a refusal");
    bench.hear(2, result(7, 1, Verdict::Infra));
    assert_eq!(bench.standing(7), Some(there), "a failure");
    let out = bench.hear(2, beat(&[(7, 1, 0)]));
    assert_eq!(out, [send(2, cancel(7, 1))], "a beat");
    assert_eq!(bench.standing(7), Some(there));
}

#[test]
fn an_attempt_here_after_a_cancelled_one_elsewhere_has_a_number_of_its_own() {
    let mut bench = placed_there();
    bench.on(Event::Unwant(job(7)));
    bench.on(Event::Slots(1));
    let out = bench.want(7);
    assert!(out.contains(&run(own(7, 2))), "{out:?}");
}

#[test]
fn a_job_wanted_again_after_its_end_counts_on_too() {
    let mut bench = placed_there();
    let out = bench.hear(2, result(7, 1, Verdict::Pass));
    assert!(out.contains(&done(7, 1, 2, Verdict::Pass)), "{out:?}");
    // What came of it was of no use.
    bench.want(7);
    bench.hear(2, bid(6, 7, 1));
    // The result is sent until it is acknowledged: once more is not the new attempt's.
    bench.hear(2, result(7, 1, Verdict::Pass));
    let there = Standing::There {
        number: 2,
        node: node(2),
    };
    assert_eq!(bench.standing(7), Some(there));
}

#[test]
fn a_late_cancel_of_the_first_leaves_the_second_alone() {
    let mut bench = bench(2);
    bench.up(2);
    bench.on(heard(2, 1, &[7]));
    bench.hear(2, award(NONCE, 7, 2));
    bench.hear(2, cancel(7, 1));
    let running: Vec<AttemptId> = bench.engine.running().collect();
    assert_eq!(running, [attempt(2, 7, 2)]);
    assert_eq!(
        bench.finish(attempt(2, 7, 2), Verdict::Pass),
        [send(2, with_room(result(7, 2, Verdict::Pass)))]
    );
}

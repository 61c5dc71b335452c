use super::*;

/// Job 2 of node 1 is in the hands of node 2, which has beaten once; node 3 is up too.
fn placed_there() -> Bench {
    let mut bench = bench(1);
    bench.up(2);
    bench.want(1);
    bench.want(2);
    bench.hear(2, bid(5, 2, 5000));
    bench.hear(2, beat(&[(2, 1, 0)]));
    bench.up(3);
    bench
}

#[test]
fn a_result_ends_the_job_and_is_acknowledged() {
    let mut bench = placed_there();
    let out = bench.hear(2, result(2, 1, Verdict::Fail));
    assert_eq!(out, [send(2, ack(2, 1)), done(2, 1, 2, Verdict::Fail)]);
    let again = bench.hear(2, result(2, 1, Verdict::Fail));
    let late = Command::Late {
        attempt: own(2, 1),
        node: node(2),
        verdict: Verdict::Fail,
        outcome: outcome(),
    };
    assert_eq!(again, [send(2, ack(2, 1)), late], "it is not closed twice");
}

#[test]
fn beats_renew_the_lease_and_tell_of_progress() {
    let mut bench = placed_there();
    for _ in 0..5 {
        bench.after(10_000);
        let out = bench.hear(2, beat(&[(2, 1, 0)]));
        assert_eq!(out, [send(2, renew(&[(2, 1)]))]);
    }
    let out = bench.hear(2, beat(&[(2, 1, 900)]));
    let progress = Command::Progress {
        attempt: own(2, 1),
        node: node(2),
        phase: running(900),
    };
    assert_eq!(out, [progress, send(2, renew(&[(2, 1)]))]);
}

#[test]
fn silence_for_a_lease_costs_the_attempt_and_not_the_job() {
    let mut bench = placed_there();
    assert!(!bench.after(29_999).contains(&lost(2, 1, 2, Loss::Silent)));
    let out = bench.after(1);
    assert_eq!(out, [lost(2, 1, 2, Loss::Silent)]);
    assert_eq!(bench.standing(2), Some(Standing::Waiting));
    let out = bench.hear(2, bid(6, 2, 1));
    assert_eq!(
        out,
        [send(2, Message::Decline { nonce: 6 })],
        "while there is another node, the silent one is kept from the job"
    );
    let out = bench.hear(3, bid(7, 2, 9000));
    assert_eq!(out[..2], [send(3, award(7, 2, 2)), placed(2, 2, 3)]);
}

#[test]
fn a_beat_that_was_read_late_still_counts() {
    let mut bench = placed_there();
    bench.now = bench.at(45_000);
    let out = bench.hear(2, beat(&[(2, 1, 0)]));
    assert_eq!(out[0], send(2, renew(&[(2, 1)])));
    assert!(matches!(bench.standing(2), Some(Standing::There { .. })));
}

#[test]
fn a_node_that_goes_away_loses_its_attempts_at_once() {
    let mut bench = placed_there();
    let out = bench.down(2);
    assert_eq!(out, [lost(2, 1, 2, Loss::PeerDown)]);
    let (to, offer) = bench.offers.last().expect("an offer");
    assert_eq!((*to, offer.job), (3, job(2)), "and offers them anew");
}

#[test]
fn a_lost_attempt_comes_back_while_nobody_else_has_the_job() {
    let mut bench = placed_there();
    bench.down(2);
    bench.up(2);
    let out = bench.hear(2, beat(&[(2, 1, 0)]));
    assert_eq!(out, [placed(2, 1, 2), send(2, renew(&[(2, 1)]))]);
}

#[test]
fn a_lost_attempt_whose_job_is_in_other_hands_is_cancelled() {
    let mut bench = placed_there();
    bench.down(2);
    bench.hear(3, bid(7, 2, 9000));
    bench.up(2);
    let out = bench.hear(2, beat(&[(2, 1, 0)]));
    assert_eq!(out, [send(2, cancel(2, 1))]);
}

#[test]
fn a_late_result_of_a_lost_attempt_ends_an_open_job_and_cancels_the_other_attempt() {
    let mut bench = placed_there();
    bench.down(2);
    bench.hear(3, bid(7, 2, 9000));
    bench.up(2);
    let out = bench.hear(2, result(2, 1, Verdict::Pass));
    assert_eq!(
        out,
        [
            send(2, ack(2, 1)),
            send(3, cancel(2, 2)),
            done(2, 1, 2, Verdict::Pass),
        ]
    );
}

#[test]
fn an_infrastructure_failure_there_is_retried_elsewhere() {
    let mut bench = placed_there();
    let out = bench.hear(2, result(2, 1, Verdict::Infra));
    assert_eq!(out, [send(2, ack(2, 1)), lost(2, 1, 2, Loss::Infra)]);
    assert_eq!(bench.standing(2), Some(Standing::Resting));
    bench.offers.clear();
    bench.after(2000);
    assert_eq!(bench.standing(2), Some(Standing::Waiting));
    let asked: Vec<u8> = bench.offers.iter().map(|(to, _)| *to).collect();
    assert_eq!(
        asked,
        [3],
        "while there is another node, it is the one to ask"
    );
    let out = bench.hear(2, bid(8, 2, 1));
    assert_eq!(out, [send(2, Message::Decline { nonce: 8 })]);
}

#[test]
fn an_unwanted_job_is_cancelled_there() {
    let mut bench = placed_there();
    assert_eq!(bench.on(Event::Unwant(job(2))), [send(2, cancel(2, 1))]);
    assert_eq!(bench.hear(2, beat(&[(2, 1, 0)])), [], "and not renewed");
}

#[test]
fn an_attempt_that_is_beaten_for_ever_ends_all_the_same() {
    let mut bench = placed_there();
    let mut out = Vec::new();
    for round in 1..=limits::ATTEMPT_MS_MAX / 10_000 {
        out = bench.after(10_000);
        out.extend(bench.hear(2, beat(&[(2, 1, round)])));
    }
    assert!(out.contains(&send(2, cancel(2, 1))), "{out:?}");
    assert!(out.contains(&lost(2, 1, 2, Loss::Overrun)), "{out:?}");
}

#[test]
fn a_node_that_comes_and_goes_costs_retries_and_never_the_job() {
    assert_eq!(gives_up_after(|_| 2), None);
    assert_eq!(gives_up_after(|round| 2 + u8::from(round % 2 == 0)), None);
}

#[test]
fn a_job_that_takes_many_nodes_down_is_given_up() {
    let nodes = |round| u8::try_from(round + 2).unwrap_or(u8::MAX);
    assert_eq!(gives_up_after(nodes), Some(limits::LOSSES_MAX));
}

/// Attempts until a job is given up each of which vanishes with the next of these nodes.
fn gives_up_after(node: impl Fn(u32) -> u8) -> Option<u32> {
    let mut bench = bench(0);
    bench.want(2);
    for round in 0..100 {
        let node = node(round);
        bench.up(node);
        bench.after(100_000);
        bench.hear(node, bid(u64::from(round), 2, 1));
        bench.after(limits::BID_MS);
        let there = matches!(bench.standing(2), Some(Standing::There { .. }));
        assert!(there, "round {round}: {:?}", bench.standing(2));
        let out = bench.down(node);
        let is_end = |command: &Command| matches!(command, Command::GaveUp { .. });
        if out.iter().any(is_end) {
            return Some(round + 1);
        }
    }
    None
}

#[test]
fn a_restarted_owner_takes_over_what_runs_for_it_since_before() {
    let mut bench = bench(0);
    bench.up(2);
    bench.want(7);
    let out = bench.hear(2, beat(&[(7, 3, 9)]));
    let progress = Command::Progress {
        attempt: own(7, 3),
        node: node(2),
        phase: running(9),
    };
    assert_eq!(out, [placed(7, 3, 2), progress, send(2, renew(&[(7, 3)]))]);
    let out = bench.down(2);
    assert_eq!(
        out,
        [lost(7, 3, 2, Loss::PeerDown), waiting(7, Missing::Slots)]
    );
    bench.up(3);
    let out = bench.hear(3, bid(5, 7, 1));
    assert_eq!(out[1], placed(7, 4, 3), "numbers go on from there");
}

#[test]
fn an_award_that_is_never_answered_costs_a_lease_and_no_more() {
    let mut bench = bench(0);
    bench.up(2);
    bench.want(7);
    bench.hear(2, bid(5, 7, 1));
    assert!(!bench.after(29_999).contains(&lost(7, 1, 2, Loss::Silent)));
    assert!(bench.after(1).contains(&lost(7, 1, 2, Loss::Silent)));
}

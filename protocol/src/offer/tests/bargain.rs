use super::*;

/// One slot, taken by job 1; nodes 2 to `peers` are up.
fn full(peers: u8) -> Bench {
    let mut bench = bench(1);
    for peer in 2..=peers {
        assert_eq!(bench.up(peer), []);
    }
    bench.want(1);
    bench
}

#[test]
fn a_mesh_of_one_gossips_nothing() {
    let mut bench = bench(1);
    bench.want(1);
    assert_eq!(bench.want(2), []);
    assert_eq!(bench.after(10_000), []);
}

/// Job 2 waits, and node 2 has no room for it.
fn waits() -> Bench {
    let mut bench = full(2);
    assert_eq!(bench.want(2), []);
    assert_eq!(bench.hear(2, pass(2, Reluctance::Busy)), []);
    bench
}

#[test]
fn waiting_jobs_are_gathered_into_one_digest() {
    let mut bench = waits();
    assert_eq!(bench.want(3), []);
    assert_eq!(bench.after(limits::GATHER_MS - 1), []);
    let heads = vec![head(2, limits::GATHER_MS), head(3, limits::GATHER_MS)];
    assert_eq!(bench.after(1), [bench.gossip(heads)]);
}

#[test]
fn digests_slow_down_while_jobs_wait_and_stop_when_none_does() {
    let mut bench = waits();
    bench.after(limits::GATHER_MS);
    let mut waited_ms = limits::GATHER_MS;
    for wait_ms in [1000, 2000, 4000, 8000, 8000] {
        assert_eq!(bench.after(0), []);
        waited_ms += wait_ms;
        let out = bench.after(wait_ms);
        let digest = bench.gossip(vec![head(2, waited_ms)]);
        assert_eq!(out, [digest]);
    }
    bench.on(Event::Unwant(job(2)));
    assert_eq!(bench.after(8000), []);
}

#[test]
fn a_job_that_nobody_takes_is_told_sooner_but_never_within_a_second_of_the_last_digest() {
    let mut bench = waits();
    bench.after(50);
    bench.after(1000);
    bench.after(300);
    assert_eq!(bench.want(3), []);
    assert_eq!(bench.after(699), []);
    let heads = vec![head(2, 2050), head(3, 700)];
    assert_eq!(bench.after(1), [bench.gossip(heads)]);
}

#[test]
fn a_pause_in_the_queue_does_not_break_the_rate() {
    let mut bench = waits();
    bench.want(3);
    bench.after(50);
    bench.after(500);
    for name in [2, 3] {
        bench.on(Event::Unwant(job(name)));
    }
    bench.after(100);
    assert_eq!(bench.want(5), []);
    assert_eq!(bench.after(399), []);
    let out = bench.after(1);
    assert_eq!(out, [bench.gossip(vec![head(5, 400)])]);
}

#[test]
fn a_digest_names_no_more_jobs_than_allowed_and_none_that_must_stay() {
    let mut bench = full(2);
    let mut stays = wanted(2);
    stays.remote_ok = false;
    bench.on(Event::Want(stays));
    for n in 0..300u16 {
        let mut want = wanted(0);
        let mut key = [3; 32];
        key[..2].copy_from_slice(&n.to_be_bytes());
        want.job = JobId::from(ActionKey::from_bytes(key));
        bench.on(Event::Want(want));
    }
    let out = bench.after(2000);
    let [Command::Gossip { digest, .. }] = out.as_slice() else {
        panic!("{out:?}");
    };
    assert_eq!(digest.jobs.len(), limits::DIGEST_JOBS_MAX);
    assert!(digest.jobs.iter().all(|head| head.job != job(2)));
    assert!(digest.encode().is_ok());
}

#[test]
fn the_only_node_that_could_bid_is_awarded_at_once() {
    let mut bench = full(2);
    bench.want(2);
    bench.after(50);
    let out = bench.hear(2, bid(77, 2, 5000));
    assert_eq!(out, [send(2, award(77, 2, 1)), placed(2, 1, 2)]);
    let there = Standing::There {
        number: 1,
        node: node(2),
    };
    assert_eq!(bench.standing(2), Some(there));
    assert_eq!(bench.hear(2, bid(77, 2, 5000)), [], "a doubled bid");
}

#[test]
fn the_best_of_the_bids_wins_and_the_others_hear_a_no() {
    let mut bench = full(4);
    bench.want(2);
    bench.after(50);
    assert_eq!(bench.hear(2, bid(22, 2, 9000)), []);
    assert_eq!(bench.hear(3, bid(33, 2, 7000)), []);
    assert_eq!(
        bench.after(100),
        [
            send(3, award(33, 2, 1)),
            placed(2, 1, 3),
            send(2, Message::Decline { nonce: 22 })
        ]
    );
}

#[test]
fn a_bidder_that_comes_too_late_is_given_another_waiting_job() {
    let mut bench = full(2);
    bench.want(2);
    bench.want(3);
    bench.after(50);
    bench.hear(2, bid(1, 2, 5000));
    let out = bench.hear(2, bid(2, 2, 5000));
    assert_eq!(out, [send(2, award(2, 3, 1)), placed(3, 1, 2)]);
    let out = bench.hear(2, bid(3, 2, 5000));
    assert_eq!(out, [send(2, Message::Decline { nonce: 3 })]);
}

#[test]
fn an_urgent_job_is_given_before_the_one_that_was_bid_for() {
    let mut bench = full(2);
    bench.want(2);
    let mut urgent = wanted(3);
    urgent.priority = Priority::Urgent;
    bench.on(Event::Want(urgent));
    let out = bench.hear(2, bid(1, 2, 5000));
    assert_eq!(out[..2], [send(2, award(1, 3, 1)), placed(3, 1, 2)]);
}

#[test]
fn a_job_that_must_stay_is_given_to_nobody() {
    let mut bench = full(2);
    let mut stays = wanted(2);
    stays.remote_ok = false;
    bench.on(Event::Want(stays));
    let out = bench.hear(2, bid(1, 2, 5000));
    assert_eq!(out, [send(2, Message::Decline { nonce: 1 })]);
}

#[test]
fn a_local_slot_takes_a_job_from_under_its_bids() {
    let mut bench = full(3);
    bench.want(2);
    bench.after(50);
    bench.hear(2, bid(22, 2, 9000));
    let out = bench.finish(own(1, 1), Verdict::Pass);
    assert_eq!(
        out,
        [
            done(1, 1, 1, Verdict::Pass),
            run(own(2, 1)),
            send(2, Message::Decline { nonce: 22 }),
        ]
    );
}

#[test]
fn an_award_is_sent_again_until_the_first_beat() {
    let mut bench = full(2);
    bench.want(2);
    bench.hear(2, bid(5, 2, 5000));
    assert_eq!(bench.after(1000), [send(2, award(5, 2, 1))]);
    let out = bench.hear(2, beat(&[(2, 1, 0)]));
    assert_eq!(out, [], "its lease is as new as that of this node");
    assert_eq!(bench.after(2000), []);
    bench.after(5000);
    let out = bench.hear(2, beat(&[(2, 1, 0)]));
    assert_eq!(out, [send(2, renew(&[(2, 1)]))]);
}

#[test]
fn a_refused_award_is_no_failure_and_goes_to_others_first() {
    let mut bench = full(3);
    bench.want(2);
    bench.hear(2, bid(22, 2, 1));
    bench.after(100);
    let out = bench.hear(2, refuse(2, 1));
    assert_eq!(out[0], lost(2, 1, 2, Loss::Refused));
    assert_eq!(bench.standing(2), Some(Standing::Waiting));
    let out = bench.hear(2, bid(23, 2, 1));
    assert_eq!(out, [send(2, Message::Decline { nonce: 23 })]);
    let out = bench.hear(3, bid(33, 2, 9000));
    assert_eq!(out[..2], [send(3, award(33, 2, 2)), placed(2, 2, 3)]);
    bench.hear(3, refuse(2, 2));
    let out = bench.hear(2, bid(24, 2, 1));
    assert_eq!(out, [send(2, Message::Decline { nonce: 24 })]);
    bench.on(Event::Slots(0));
    bench.hear(2, bid(25, 2, 1));
    let out = bench.after(100);
    assert_eq!(
        out[..2],
        [send(2, award(25, 2, 3)), placed(2, 3, 2)],
        "where all have refused, nobody is kept from it"
    );
}

#[test]
fn a_bid_of_a_node_that_went_away_is_void() {
    let mut bench = full(4);
    bench.want(2);
    bench.after(50);
    bench.hear(2, bid(22, 2, 1));
    bench.hear(3, bid(33, 2, 9000));
    bench.down(2);
    let out = bench.after(100);
    assert_eq!(out[..2], [send(3, award(33, 2, 1)), placed(2, 1, 3)]);
}

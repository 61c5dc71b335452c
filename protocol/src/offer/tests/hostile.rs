use super::*;

/// Job 2 of node 1 is in the hands of node 2; nodes 3 and 4 are up and up to no good.
fn victim() -> Bench {
    let mut bench = bench(1);
    bench.up(2);
    bench.want(1);
    bench.want(2);
    bench.hear(2, bid(5, 2, 5000));
    bench.hear(2, beat(&[(2, 1, 0)]));
    bench.up(3);
    bench.up(4);
    bench
}

#[test]
fn strangers_are_rejected() {
    let mut bench = victim();
    let out = bench.hear(9, bid(1, 2, 1));
    assert_eq!(out, [reject(9, Rejection::NotUp(node(9)))]);
    bench.on(heard(9, 1, &[7]));
    assert_eq!(bench.engine.free(), 0);
}

#[test]
fn a_job_is_not_ended_by_a_node_that_it_was_not_awarded_to() {
    let mut bench = victim();
    let before = bench.standing(2);
    for verdict in [Verdict::Pass, Verdict::Fail, Verdict::Infra] {
        let out = bench.hear(3, result(2, 1, verdict));
        assert_eq!(out[0], send(3, ack(2, 1)));
        assert!(matches!(out[1], Command::Late { .. }), "{out:?}");
    }
    assert_eq!(bench.hear(2, result(2, 7, Verdict::Pass)).len(), 2);
    assert_eq!(bench.standing(2), before);
}

#[test]
fn a_lease_is_not_touched_by_another_nodes_beat_or_refusal() {
    let mut bench = victim();
    assert_eq!(
        bench.hear(3, beat(&[(2, 1, 1 << 40)])),
        [send(3, cancel(2, 1))]
    );
    let reason = Rejection::NotAwarded {
        job: job(2),
        number: 1,
    };
    assert_eq!(bench.hear(3, refuse(2, 1)), [reject(3, reason)]);
    assert!(bench.after(30_000).contains(&lost(2, 1, 2, Loss::Silent)));
}

#[test]
fn a_beat_gets_no_job_that_a_bid_would_not_get() {
    let mut bench = victim();
    let mut stays = wanted(3);
    stays.remote_ok = false;
    bench.on(Event::Want(stays));
    assert_eq!(
        bench.hear(3, beat(&[(3, 1, 0)])),
        [send(3, cancel(3, 1))],
        "it must stay"
    );
    bench.want(4);
    assert_eq!(
        bench.hear(3, beat(&[(4, u32::MAX, 0)])),
        [send(3, cancel(4, u32::MAX))],
        "no honest attempt has that number"
    );
    bench.hear(3, bid(8, 4, 1));
    bench.after(100);
    bench.hear(3, refuse(4, 1));
    assert_eq!(
        bench.hear(3, beat(&[(4, 2, 0)])),
        [send(3, cancel(4, 2))],
        "it is kept from the job"
    );
    assert_eq!(bench.standing(4), Some(Standing::Waiting));
}

#[test]
fn an_award_that_answers_no_bid_is_rejected_and_refused() {
    let mut bench = bench(1);
    bench.up(2);
    bench.up(3);
    let reason = || Rejection::NoSuchBid { nonce: 99 };
    let out = bench.hear(3, award(99, 7, 1));
    assert_eq!(out, [reject(3, reason()), send(3, refuse(7, 1))]);
    bench.on(heard(2, 1, &[7]));
    let reason = || Rejection::NoSuchBid { nonce: NONCE };
    let out = bench.hear(3, award(NONCE, 7, 1));
    assert_eq!(out, [reject(3, reason()), send(3, refuse(7, 1))]);
    let out = bench.hear(3, Message::Decline { nonce: NONCE });
    assert_eq!(out, [reject(3, reason())]);
    let out = bench.hear(2, award(NONCE, 7, 1));
    assert_eq!(out[0], run(attempt(2, 7, 1)), "the bid stands");
}

#[test]
fn an_attempt_is_not_cancelled_by_another_node() {
    let mut bench = bench(1);
    bench.up(2);
    bench.up(3);
    bench.on(heard(2, 1, &[7]));
    bench.hear(2, award(NONCE, 7, 1));
    assert_eq!(bench.hear(3, cancel(7, 1)), []);
    assert_eq!(bench.hear(3, renew(&[(7, 1)])), []);
    assert_eq!(bench.engine.running().count(), 1);
}

#[test]
fn a_digest_signed_by_another_is_rejected() {
    let mut bench = bench(1);
    bench.up(2);
    bench.up(3);
    let out = bench.on(Event::Heard {
        from: node(3),
        platform: x86(),
        digest: digest(2, 1, &[7]),
    });
    let owner = node(2);
    assert_eq!(out, [reject(3, Rejection::NotOwner { owner })]);
}

#[test]
fn a_bid_for_a_platform_that_the_bidder_lacks_is_rejected() {
    let mut bench = bench(1);
    bench.up(2);
    let mut foreign = wanted(7);
    foreign.platform = arm();
    bench.on(Event::Want(foreign));
    let out = bench.hear(2, bid(1, 7, 1));
    let platform = arm();
    let job = job(7);
    let reason = Rejection::OtherPlatform { job, platform };
    assert_eq!(out, [reject(2, reason)]);
}

#[test]
fn messages_out_of_bounds_are_rejected_and_change_nothing() {
    let mut bench = victim();
    let progress = Progress {
        job: job(2),
        number: 1,
        phase: running(0),
    };
    let many = limits::SLOTS_MAX as usize + 1;
    let bad = [
        award(NONCE, 7, 0),
        Message::Award {
            nonce: NONCE,
            job: job(7),
            number: 1,
            lease_ms: 0,
            needs: Limits::default(),
            action: Vec::new(),
            holders: Vec::new(),
            role: None,
        },
        Message::Award {
            nonce: NONCE,
            job: job(7),
            number: 1,
            lease_ms: 1,
            needs: Limits::default(),
            action: vec![0; limits::ACTION_BYTES_MAX + 1],
            holders: Vec::new(),
            role: None,
        },
        Message::Beat {
            attempts: vec![progress; many],
        },
        Message::Renew {
            attempts: vec![(job(2), 1); many],
        },
        Message::Result {
            job: job(2),
            number: 1,
            verdict: Verdict::Pass,
            outcome: vec![0; limits::OUTCOME_BYTES_MAX + 1],
            room: false,
        },
    ];
    for message in bad {
        let out = bench.hear(2, message);
        let malformed = matches!(
            out.as_slice(),
            [Command::Reject {
                reason: Rejection::Malformed(_),
                ..
            }]
        );
        assert!(malformed, "{out:?}");
    }
    let out = bench.on(heard(3, 1, &[7, 7]));
    assert!(matches!(
        out.as_slice(),
        [Command::Reject {
            reason: Rejection::Malformed(_),
            ..
        }]
    ));
}

#[test]
fn one_node_cannot_hoard_every_job() {
    let mut bench = bench(0);
    bench.up(2);
    let hoard = limits::PEER_ATTEMPTS_MAX as u64;
    let name = |n: u64| {
        let mut key = [3; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        JobId::from(ActionKey::from_bytes(key))
    };
    for n in 0..hoard + 5 {
        let job = name(n);
        bench.on(Event::Want(Want { job, ..wanted(0) }));
    }
    for nonce in 0..hoard + 5 {
        let job = name(nonce);
        let eta_ms = 0;
        let most = Limits::default();
        let bid = Message::Bid {
            nonce,
            job,
            eta_ms,
            most,
            wait_ms: 0,
            offered: false,
        };
        bench.hear(2, bid);
    }
    let is_there =
        |job: &JobId| matches!(bench.engine.standing(*job), Some(Standing::There { .. }));
    assert_eq!(bench.engine.jobs().filter(is_there).count() as u64, hoard);
}

#[test]
fn a_lease_that_is_too_long_is_cut() {
    let mut bench = bench(1);
    bench.up(2);
    bench.on(heard(2, 1, &[7]));
    let message = Message::Award {
        nonce: NONCE,
        job: job(7),
        number: 1,
        lease_ms: u64::MAX,
        needs: Limits::default(),
        action: action(7),
        holders: Vec::new(),
        role: None,
    };
    bench.hear(2, message);
    let id = attempt(2, 7, 1);
    let out = bench.after(limits::LEASE_MS_MAX);
    assert!(out.contains(&Command::Stop { attempt: id }));
}

#[test]
fn who_bids_nothing_and_is_slow_is_not_believed_again() {
    let mut bench = bench(0);
    bench.up(2);
    bench.up(3);
    let quote = |nonce, name, eta_ms| Message::Bid {
        nonce,
        job: job(name),
        eta_ms,
        wait_ms: 0,
        most: Limits::default(),
        offered: true,
    };
    bench.want(7);
    bench.hear(3, quote(1, 7, 5000));
    bench.hear(2, quote(1, 7, 0));
    let there = |peer| {
        let node = node(peer);
        Some(Standing::There { number: 1, node })
    };
    assert_eq!(bench.standing(7), there(2));
    bench.after(20_000);
    bench.hear(2, result(7, 1, Verdict::Pass));
    bench.want(8);
    bench.hear(3, quote(2, 8, 5000));
    bench.hear(2, quote(2, 8, 0));
    assert_eq!(bench.standing(8), there(3));
}

#[test]
fn who_bids_and_sits_loses_the_job_and_its_standing() {
    let mut bench = bench(0);
    bench.up(2);
    bench.up(3);
    bench.want(7);
    bench.hear(2, bid(1, 7, 1000));
    bench.after(limits::BID_MS);
    let before = bench.engine.crowd.believed_ms(node(2), 1000, 5000);
    let out = bench.after(limits::LEASE_MS);
    assert!(out.contains(&lost(7, 1, 2, Loss::Silent)), "{out:?}");
    let after = bench.engine.crowd.believed_ms(node(2), 1000, 5000);
    assert!(after >= 4 * before, "{before} {after}");
}

#[test]
fn a_flood_of_offers_costs_few_appraisals() {
    let mut bench = bench(4);
    bench.up(2);
    bench.up(3);
    let offer = |name, cost_ms| {
        Message::Offer(Box::new(Offer {
            job: job(name),
            platform: x86(),
            priority: Priority::Urgent,
            cost_ms,
            needs: Limits::default(),
            lineage: vec![super::offers::layer(9)],
            candidates: 0,
        }))
    };
    let mut appraised = 0;
    for name in 0..200 {
        let out = bench.hear(2, offer(name, u64::MAX));
        appraised += usize::from(matches!(out.as_slice(), [Command::Appraise { .. }]));
    }
    assert_eq!(appraised, limits::QUOTES_PER_PEER_MAX);
    assert_eq!(bench.engine.free(), 4, "and no slot");
    // What it said of costs does not count against others.
    let out = bench.hear(3, offer(7, 5000));
    let [Command::Appraise { appraisal, .. }] = out.as_slice() else {
        panic!("{out:?}");
    };
    let (appraisal, missing_bytes, bytes_per_s) = (*appraisal, 0, 0);
    let out = bench.on(Event::Appraised {
        appraisal,
        missing_bytes,
        bytes_per_s,
    });
    let [
        Command::Send {
            message: Message::Bid { eta_ms, .. },
            ..
        },
    ] = out.as_slice()
    else {
        panic!("{out:?}");
    };
    assert!(*eta_ms <= 10_000, "{eta_ms}");
}

#[test]
fn answers_to_offers_that_were_not_made_change_nothing() {
    let mut bench = victim();
    bench.want(5);
    let many = bench.offers.len();
    let pass = |name| Message::Pass {
        job: job(name),
        why: Reluctance::Unfit,
        most: Limits::NOTHING,
    };
    assert_eq!(bench.hear(3, pass(2)), []);
    assert_eq!(bench.hear(3, pass(99)), []);
    let mut quote = bid(9, 2, 0);
    if let Message::Bid { offered, .. } = &mut quote {
        *offered = true;
    }
    assert_eq!(bench.hear(3, quote), [], "the job is in other hands");
    assert_eq!(bench.offers.len(), many);
}

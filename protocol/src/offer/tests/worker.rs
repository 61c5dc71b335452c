use super::*;

/// A node with `slots` free slots and node 2 up.
fn idle(slots: u32) -> Bench {
    let mut bench = bench(slots);
    bench.up(2);
    bench
}

/// Node 1 runs attempt 1 at job 7 of node 2.
fn at_work() -> Bench {
    let mut bench = idle(1);
    bench.on(heard(2, 1, &[7]));
    bench.hear(2, award(NONCE, 7, 1));
    bench
}

#[test]
fn a_free_slot_bids_and_an_award_runs() {
    let mut bench = idle(1);
    let out = bench.on(heard(2, 1, &[7]));
    assert_eq!(out, [send(2, bid(NONCE, 7, 5000))]);
    let out = bench.hear(2, award(NONCE, 7, 1));
    let id = attempt(2, 7, 1);
    assert_eq!(out, [run(id)]);
    let out = bench.after(limits::BEAT_FIRST_MS);
    assert_eq!(out, [send(2, beat(&[(7, 1, 0)]))]);
    assert_eq!(bench.engine.running().collect::<Vec<_>>(), [id]);
}

#[test]
fn every_free_slot_bids_for_another_job_and_busier_nodes_promise_less() {
    let mut bench = idle(2);
    let out = bench.on(heard(2, 1, &[7, 8, 9]));
    let bids: Vec<(JobId, u64)> = out
        .iter()
        .filter_map(|command| match command {
            Command::Send {
                message: Message::Bid { job, eta_ms, .. },
                ..
            } => Some((*job, *eta_ms)),
            _ => None,
        })
        .collect();
    assert_eq!(bids.len(), 2);
    assert_ne!(bids[0].0, bids[1].0);
    assert_eq!((bids[0].1, bids[1].1), (5000, 7500));
}

#[test]
fn nodes_do_not_all_bid_for_the_same_job() {
    let mut firsts = BTreeSet::new();
    for me in 10..40 {
        let mut engine = Engine::new(Setup {
            me: node(me),
            platforms: BTreeSet::from([x86()]),
            emulated: BTreeSet::new(),
            slots: 1,
            most: Limits::default(),
            lent: Limits::default(),
            seed: 0,
        });
        let mut out = Vec::new();
        let platforms = BTreeSet::from([x86()]);
        let up = Event::PeerUp {
            node: node(2),
            operator: "op".to_owned(),
            platforms,
            emulated: BTreeSet::new(),
        };
        engine.handle(Time::from_ms(0), up, &mut out);
        engine.handle(
            Time::from_ms(0),
            heard(2, 1, &[1, 2, 3, 4, 5, 6, 7, 8]),
            &mut out,
        );
        for command in out {
            if let Command::Send {
                message: Message::Bid { job, .. },
                ..
            } = command
            {
                firsts.insert(job);
            }
        }
    }
    assert!(firsts.len() >= 6, "30 nodes chose among {firsts:?}");
}

#[test]
fn urgent_jobs_are_bid_for_first() {
    let mut bench = idle(1);
    let mut digest = digest(2, 1, &[7, 8, 9, 10]);
    digest.jobs[3].priority = Priority::Urgent;
    let out = bench.on(Event::Heard {
        from: node(2),
        platform: x86(),
        digest,
    });
    assert_eq!(out[0], send(2, bid(NONCE, 10, 5000)));
}

#[test]
fn nothing_is_bid_for_without_a_slot_a_platform_or_while_paused() {
    let mut bench = idle(1);
    bench.on(Event::Pause(true));
    assert_eq!(bench.on(heard(2, 1, &[7])), []);
    bench.on(Event::Pause(false));
    let mut bench = idle(0);
    assert_eq!(bench.on(heard(2, 1, &[7])), []);
    let mut bench = idle(1);
    let foreign = Event::Heard {
        from: node(2),
        platform: arm(),
        digest: digest(2, 1, &[7]),
    };
    assert_eq!(bench.on(foreign), []);
}

#[test]
fn a_slot_that_frees_up_later_bids_on_what_was_heard_before() {
    let mut bench = idle(1);
    bench.want(1);
    assert_eq!(bench.on(heard(2, 1, &[7])), []);
    bench.after(5000);
    let out = bench.finish(own(1, 1), Verdict::Pass);
    assert_eq!(
        out[..2],
        [done(1, 1, 1, Verdict::Pass), send(2, bid(NONCE, 7, 5000))]
    );
}

#[test]
fn an_old_digest_is_not_bid_on_and_an_older_one_changes_nothing() {
    let mut bench = idle(1);
    bench.want(1);
    bench.on(heard(2, 5, &[7]));
    bench.on(heard(2, 4, &[8]));
    bench.after(limits::HINT_MS - 1);
    let out = bench.finish(own(1, 1), Verdict::Pass);
    assert_eq!(bids(&out), [(NONCE, job(7))]);
    let mut bench = idle(1);
    bench.want(1);
    bench.on(heard(2, 5, &[7]));
    bench.after(limits::HINT_MS);
    assert_eq!(
        bench.on(heard(2, 1, &[8])),
        [],
        "a restarted owner is heard"
    );
    let out = bench.finish(own(1, 1), Verdict::Pass);
    assert_eq!(bids(&out), [(NONCE, job(8))]);
}

#[test]
fn an_unanswered_bid_gives_its_slot_back() {
    let mut bench = idle(1);
    bench.on(heard(2, 1, &[7]));
    assert_eq!(bench.engine.free(), 0);
    assert_eq!(bench.after(2000), []);
    assert_eq!(bench.engine.free(), 1);
    let out = bench.hear(2, award(NONCE, 7, 1));
    assert_eq!(out[0], run(attempt(2, 7, 1)), "late, but there is a slot");
}

#[test]
fn a_late_award_without_a_slot_is_refused() {
    let mut bench = idle(1);
    bench.on(heard(2, 1, &[7]));
    bench.after(2000);
    bench.want(1);
    let out = bench.hear(2, award(NONCE, 7, 1));
    assert_eq!(out, [send(2, refuse(7, 1))]);
}

#[test]
fn own_work_takes_a_slot_that_is_kept_for_a_bid() {
    let mut bench = idle(1);
    bench.on(heard(2, 1, &[7]));
    assert_eq!(bench.want(1), [run(own(1, 1))]);
    let out = bench.hear(2, award(NONCE, 7, 1));
    assert_eq!(out, [send(2, refuse(7, 1))]);
}

#[test]
fn a_declined_bid_frees_its_slot_until_the_next_digest() {
    let mut bench = idle(1);
    bench.on(heard(2, 1, &[7, 8]));
    assert_eq!(bench.hear(2, Message::Decline { nonce: NONCE }), []);
    assert_eq!(bench.engine.free(), 1);
    let out = bench.on(heard(2, 2, &[8]));
    assert_eq!(out[0], send(2, bid(NONCE + 1, 8, 5000)));
}

#[test]
fn beats_are_batched_per_owner_and_carry_progress() {
    let mut bench = idle(2);
    bench.on(heard(2, 1, &[7, 8]));
    bench.hear(2, award(NONCE, 7, 1));
    bench.hear(2, award(NONCE + 1, 8, 1));
    let first = bench.after(limits::BEAT_FIRST_MS);
    assert_eq!(first, [send(2, beat(&[(7, 1, 0), (8, 1, 0)]))]);
    bench.on(Event::Progress {
        attempt: attempt(2, 8, 1),
        phase: running(44),
    });
    let out = bench.after(10_000);
    assert_eq!(out, [send(2, beat(&[(7, 1, 0), (8, 1, 44)]))]);
}

#[test]
fn a_doubled_award_runs_once() {
    let mut bench = at_work();
    let out = bench.hear(2, award(NONCE, 7, 1));
    assert_eq!(
        out,
        [send(2, beat(&[(7, 1, 0)]))],
        "the owner had not heard"
    );
    let id = attempt(2, 7, 1);
    bench.finish(id, Verdict::Pass);
    let out = bench.hear(2, award(NONCE, 7, 1));
    assert_eq!(out[0], send(2, result(7, 1, Verdict::Pass)));
    bench.hear(2, ack(7, 1));
    let out = bench.hear(2, award(NONCE, 7, 1));
    assert_eq!(out, [send(2, refuse(7, 1))]);
}

#[test]
fn a_result_is_sent_again_until_it_is_acknowledged_and_not_for_ever() {
    let mut bench = at_work();
    let id = attempt(2, 7, 1);
    let sent = send(2, result(7, 1, Verdict::Pass));
    let first = send(2, with_room(result(7, 1, Verdict::Pass)));
    assert_eq!(
        bench.finish(id, Verdict::Pass),
        std::slice::from_ref(&first)
    );
    assert_eq!(bench.after(1000), std::slice::from_ref(&sent));
    assert_eq!(bench.hear(2, ack(7, 1)), []);
    assert_eq!(bench.after(100_000), []);

    let mut bench = at_work();
    let mut sends = u32::from(bench.finish(id, Verdict::Pass).contains(&first));
    for _ in 0..1000 {
        sends += u32::from(bench.after(1000).contains(&sent));
    }
    assert_eq!(sends, limits::RESULT_SENDS_MAX);
}

#[test]
fn an_attempt_outlives_its_owner_by_a_lease_and_then_stops() {
    let mut bench = at_work();
    bench.down(2);
    assert_eq!(bench.after(29_999), []);
    let id = attempt(2, 7, 1);
    assert_eq!(bench.after(1), [Command::Stop { attempt: id }]);
    assert_eq!(bench.engine.free(), 0, "its slot is taken until it is gone");
    assert_eq!(bench.finish(id, Verdict::Infra), []);
    assert_eq!(bench.engine.free(), 1);
}

#[test]
fn an_owner_that_comes_back_within_the_lease_keeps_the_attempt() {
    let mut bench = at_work();
    bench.down(2);
    bench.after(20_000);
    let out = bench.up(2);
    assert_eq!(out[0], send(2, beat(&[(7, 1, 0)])));
    bench.hear(2, renew(&[(7, 1)]));
    let id = attempt(2, 7, 1);
    assert!(!bench.after(20_000).contains(&Command::Stop { attempt: id }));
    assert!(bench.after(10_000).contains(&Command::Stop { attempt: id }));
}

#[test]
fn an_owner_that_answers_no_beat_loses_the_attempt() {
    let mut bench = at_work();
    let id = attempt(2, 7, 1);
    assert!(!bench.after(29_999).contains(&Command::Stop { attempt: id }));
    assert!(bench.after(1).contains(&Command::Stop { attempt: id }));
    let out = bench.finish(id, Verdict::Pass);
    assert_eq!(
        out[0],
        send(2, result(7, 1, Verdict::Pass)),
        "it passed before it could be stopped"
    );
}

#[test]
fn a_cancelled_attempt_stops_and_says_nothing_more() {
    let mut bench = at_work();
    let id = attempt(2, 7, 1);
    assert_eq!(bench.hear(2, cancel(7, 1)), [Command::Stop { attempt: id }]);
    assert_eq!(bench.hear(2, cancel(7, 1)), []);
    assert_eq!(bench.finish(id, Verdict::Pass), []);
}

#[test]
fn a_result_waits_for_an_owner_that_is_away() {
    let mut bench = at_work();
    bench.down(2);
    let id = attempt(2, 7, 1);
    assert_eq!(bench.finish(id, Verdict::Pass), []);
    bench.after(500_000);
    assert_eq!(bench.up(2), [send(2, result(7, 1, Verdict::Pass))]);
}

#[test]
fn a_result_too_large_to_travel_is_an_infrastructure_failure() {
    let mut bench = at_work();
    let out = bench.on(Event::Finished {
        attempt: attempt(2, 7, 1),
        verdict: Verdict::Pass,
        outcome: vec![0; limits::OUTCOME_BYTES_MAX + 1],
    });
    let empty = Message::Result {
        job: job(7),
        number: 1,
        verdict: Verdict::Infra,
        outcome: Vec::new(),
        room: true,
    };
    assert_eq!(out[0], send(2, empty));
}

#[test]
fn results_that_nobody_fetches_are_bounded() {
    let mut bench = idle(1);
    for n in 0..limits::RESULTS_MAX as u64 + 10 {
        let mut key = [9; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        let id = AttemptId {
            owner: node(2),
            job: JobId::from(ActionKey::from_bytes(key)),
            number: 1,
        };
        bench.up(2);
        let out = bench.on(Event::Heard {
            from: node(2),
            platform: x86(),
            digest: Digest {
                owner: node(2),
                seq: 1,
                jobs: vec![Head {
                    job: id.job,
                    ..head(1, 0)
                }],
            },
        });
        let sent = out.iter().find_map(|command| match command {
            Command::Send {
                message: Message::Bid { nonce, .. },
                ..
            } => Some(*nonce),
            _ => None,
        });
        let nonce = sent.expect("a free slot bids");
        let message = Message::Award {
            nonce,
            job: id.job,
            number: 1,
            lease_ms: 1000,
            needs: Limits::default(),
            action: Vec::new(),
            holders: Vec::new(),
            role: None,
        };
        bench.hear(2, message);
        bench.finish(id, Verdict::Pass);
        bench.down(2);
    }
    let sent = bench.up(2).len();
    assert_eq!(sent, limits::RESULTS_MAX);
}

#[test]
fn an_owner_that_offers_what_runs_here_is_told_so() {
    let mut bench = idle(2);
    bench.on(heard(2, 1, &[7]));
    bench.hear(2, award(NONCE, 7, 1));
    let out = bench.on(heard(2, 2, &[7]));
    assert_eq!(out, [send(2, beat(&[(7, 1, 0)]))], "and not bid for again");
}

//! Second attempts at jobs that have run elsewhere for too long.

use super::*;

/// Job 7 is in the hands of node 2; 3 to 6 are up too, of which 3 has the operator of 2.
fn placed_there(both: bool) -> Bench {
    let mut bench = bench(0);
    bench.up(2);
    bench.on(Event::Want(Want { both, ..wanted(7) }));
    bench.hear(2, bid(5, 7, 5000));
    bench.after(limits::BID_MS);
    for peer in 3..=6 {
        let operator = if peer == 3 { 2 } else { peer };
        bench.on(Event::PeerUp {
            node: node(peer),
            operator: format!("op{operator}"),
            platforms: BTreeSet::from([x86()]),
            emulated: BTreeSet::new(),
        });
    }
    let there = Standing::There {
        number: 1,
        node: node(2),
    };
    assert_eq!(bench.standing(7), Some(there));
    bench.offers.clear();
    bench
}

/// Who was offered the job since this was asked last.
fn offered(bench: &mut Bench) -> Option<u8> {
    let offers = std::mem::take(&mut bench.offers);
    let offers: Vec<_> = offers
        .iter()
        .filter(|(_, offer)| offer.job == job(7))
        .collect();
    assert!(offers.len() <= 1, "one at a time");
    offers.first().map(|(to, _)| *to)
}

/// Beats on until somebody is asked for a second attempt: after how long, and who.
fn asked(bench: &mut Bench) -> (u64, u8) {
    let began = bench.now;
    for round in 1..1000 {
        bench.after(1000);
        if round % 5 == 0 {
            bench.hear(2, beat(&[(7, 1, round)]));
        }
        if let Some(drawn) = offered(bench) {
            let ms = bench.now.since(began).as_millis();
            return (u64::try_from(ms).expect("short"), drawn);
        }
    }
    unreachable!("nobody was asked")
}

fn says_yes(nonce: u64, wait_ms: u64) -> Message {
    Message::Bid {
        nonce,
        job: job(7),
        eta_ms: 5000,
        wait_ms,
        most: Limits::default(),
        offered: true,
    }
}

/// The second attempt runs on the node that is answered.
fn hedged(both: bool) -> (Bench, u8) {
    let mut bench = placed_there(both);
    let (_, drawn) = asked(&mut bench);
    let out = bench.hear(drawn, says_yes(77, 0));
    assert_eq!(
        out[..2],
        [send(drawn, award(77, 7, 2)), placed(7, 2, drawn)]
    );
    bench.hear(drawn, beat(&[(7, 2, 1)]));
    (bench, drawn)
}

#[test]
fn a_slow_job_is_tried_again_on_another_operators_node() {
    let mut bench = placed_there(false);
    let (ms, drawn) = asked(&mut bench);
    assert!(
        (limits::SECOND_MS - 1000..=limits::SECOND_MS + 1000).contains(&ms),
        "{ms}"
    );
    assert!((4..=6).contains(&drawn), "{drawn}");
}

#[test]
fn what_is_thought_to_take_long_is_given_twice_that() {
    let mut bench = bench(0);
    bench.up(2);
    let cost_ms = 120_000;
    bench.on(Event::Want(Want {
        cost_ms,
        ..wanted(7)
    }));
    bench.hear(2, bid(5, 7, 5000));
    bench.after(limits::BID_MS);
    bench.up(4);
    bench.offers.clear();
    let (ms, _) = asked(&mut bench);
    assert!((239_000..=241_000).contains(&ms), "{ms}");
}

#[test]
fn the_lot_falls_on_everybody_and_bids_move_nothing() {
    let mut drawn = BTreeSet::new();
    for seed in 0..40 {
        let mut bench = placed_there(false);
        bench.engine.hedges = crate::offer::second::Hedges::new(seed);
        bench.engine.plan_second(job(7));
        for peer in 3..=6 {
            bench.hear(peer, says_yes(seed + 1000, 0));
        }
        drawn.insert(asked(&mut bench).1);
    }
    assert_eq!(drawn, BTreeSet::from([4, 5, 6]));
}

#[test]
fn the_first_result_ends_the_job_and_the_other_is_stopped() {
    let (mut bench, drawn) = hedged(false);
    let out = bench.hear(2, result(7, 1, Verdict::Pass));
    assert!(out.contains(&send(drawn, cancel(7, 2))), "{out:?}");
    assert!(out.contains(&done(7, 1, 2, Verdict::Pass)));
    let (mut bench, drawn) = hedged(false);
    let out = bench.hear(drawn, result(7, 2, Verdict::Fail));
    assert!(out.contains(&send(2, cancel(7, 1))), "{out:?}");
    assert!(out.contains(&done(7, 2, drawn, Verdict::Fail)));
    assert!(!out.contains(&send(drawn, cancel(7, 2))), "it has ended");
    assert_eq!(bench.standing(7), None);
}

#[test]
fn who_wants_both_has_both() {
    for first in [true, false] {
        let (mut bench, drawn) = hedged(true);
        let (ended, on) = if first {
            ((2, 1), (drawn, 2))
        } else {
            ((drawn, 2), (2, 1))
        };
        let out = bench.hear(ended.0, result(7, ended.1, Verdict::Pass));
        assert!(out.contains(&done(7, ended.1, ended.0, Verdict::Pass)));
        let is_cancel = |command: &Command| {
            matches!(
                command,
                Command::Send {
                    message: Message::Cancel { .. },
                    ..
                }
            )
        };
        assert!(!out.iter().any(is_cancel), "{out:?}");
        bench.after(10_000);
        let out = bench.hear(on.0, beat(&[(7, on.1, 50)]));
        assert_eq!(out, [send(on.0, renew(&[(7, on.1)]))], "it goes on");
        let out = bench.hear(on.0, result(7, on.1, Verdict::Pass));
        assert!(matches!(out[1], Command::Late { .. }), "{out:?}");
        assert_eq!(bench.hear(on.0, beat(&[(7, on.1, 60)])), []);
    }
}

#[test]
fn a_node_without_room_is_passed_over_and_draws_are_bounded() {
    let mut bench = placed_there(false);
    let mut seen = Vec::new();
    for peer in 10..30 {
        bench.up(peer);
    }
    let (_, mut drawn) = asked(&mut bench);
    loop {
        seen.push(drawn);
        bench.hear(drawn, says_yes(77, 9000));
        let Some(next) = offered(&mut bench) else {
            break;
        };
        drawn = next;
    }
    assert_eq!(seen.len(), limits::SECOND_DRAWS_MAX);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len());
}

#[test]
fn while_jobs_wait_none_is_tried_twice() {
    let mut bench = placed_there(false);
    // It is for nobody who is here, and waits for room elsewhere.
    bench.on(Event::Want(Want {
        needs: Limits {
            memory_bytes: 1 << 50,
            ..Limits::default()
        },
        ..wanted(8)
    }));
    for round in 1..30 {
        bench.after(5000);
        bench.hear(2, beat(&[(7, 1, round)]));
        assert_eq!(offered(&mut bench), None);
    }
}

#[test]
fn the_second_takes_the_place_of_a_first_that_is_lost() {
    let (mut bench, drawn) = hedged(false);
    let out = bench.down(2);
    assert_eq!(out, [lost(7, 1, 2, Loss::PeerDown)]);
    let there = Standing::There {
        number: 2,
        node: node(drawn),
    };
    assert_eq!(bench.standing(7), Some(there));
    let out = bench.hear(drawn, result(7, 2, Verdict::Pass));
    assert!(out.contains(&done(7, 2, drawn, Verdict::Pass)));
}

#[test]
fn a_second_that_is_lost_costs_the_first_nothing() {
    for loss in [Loss::PeerDown, Loss::Infra, Loss::Refused, Loss::Silent] {
        let (mut bench, drawn) = hedged(false);
        let mut out = match loss {
            Loss::PeerDown => bench.down(drawn),
            Loss::Infra => bench.hear(drawn, result(7, 2, Verdict::Infra)),
            Loss::Refused => bench.hear(drawn, refuse(7, 2)),
            _ => Vec::new(),
        };
        for round in 0..5 {
            out.extend(bench.after(8000));
            out.extend(bench.hear(2, beat(&[(7, 1, 1000 + round)])));
        }
        assert!(out.contains(&lost(7, 2, drawn, loss)), "{loss}: {out:?}");
        let there = Standing::There {
            number: 1,
            node: node(2),
        };
        assert_eq!(bench.standing(7), Some(there), "{loss}");
    }
}

#[test]
fn what_is_not_wanted_any_more_is_stopped_at_both() {
    let (mut bench, drawn) = hedged(true);
    let out = bench.on(Event::Unwant(job(7)));
    assert!(out.contains(&send(2, cancel(7, 1))) && out.contains(&send(drawn, cancel(7, 2))));
}

#[test]
fn nobody_else_speaks_for_the_second() {
    let (mut bench, drawn) = hedged(false);
    let other = (4..=6).find(|peer| *peer != drawn).expect("three");
    bench.hear(other, refuse(7, 2));
    bench.hear(other, beat(&[(7, 2, 9)]));
    let out = bench.hear(other, result(7, 2, Verdict::Pass));
    assert!(matches!(out[1], Command::Late { .. }), "{out:?}");
    let out = bench.hear(drawn, result(7, 2, Verdict::Pass));
    assert!(out.contains(&done(7, 2, drawn, Verdict::Pass)));
}

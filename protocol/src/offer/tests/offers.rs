//! Offers to a few candidates: who is asked, who wins, and what that costs.

use super::*;
use crate::ids::TreeId;

mod mesh;

/// One slot, taken by job 1; nodes 2 to `peers` are up.
fn full(peers: u8) -> Bench {
    let mut bench = bench(1);
    for peer in 2..=peers {
        bench.up(peer);
    }
    bench.want(1);
    bench
}

pub(super) fn layer(name: u8) -> Layer {
    Layer {
        tree: TreeId::from_bytes([name; 32]),
        bytes: 1000,
    }
}

/// A job on top of a layer that these nodes have.
fn on_layer(name: u8, top: u8, holders: &[u8]) -> Want {
    Want {
        lineage: vec![layer(top)],
        holders: holders.iter().map(|peer| node(*peer)).collect(),
        ..wanted(name)
    }
}

fn quote(nonce: u64, name: u8, eta_ms: u64, wait_ms: u64) -> Message {
    Message::Bid {
        nonce,
        job: job(name),
        eta_ms,
        wait_ms,
        most: Limits::default(),
        offered: true,
    }
}

fn asked(bench: &Bench) -> Vec<u8> {
    bench.offers.iter().map(|(to, _)| *to).collect()
}

fn there(name: u8, number: u32) -> Option<Standing> {
    let node = node(name);
    Some(Standing::There { number, node })
}

/// An offer as node 2 makes it.
fn offer(name: u8, lineage: Vec<Layer>) -> Message {
    Message::Offer(Box::new(Offer {
        job: job(name),
        platform: x86(),
        priority: Priority::Normal,
        cost_ms: 5000,
        needs: Limits::default(),
        lineage,
        candidates: 2,
    }))
}

#[test]
fn in_a_small_mesh_everybody_is_asked_at_once() {
    let mut bench = full(6);
    assert_eq!(bench.want(2), []);
    assert_eq!(asked(&bench), [2, 3, 4, 5, 6]);
    bench.after(limits::GATHER_MS);
    assert_eq!(
        bench.woken,
        Some(bench.at(limits::BID_MS - limits::GATHER_MS))
    );
    assert_eq!(bench.offers[0].1.candidates, 6, "this node is one of them");
}

#[test]
fn in_a_large_mesh_two_holders_or_three_by_lineage_and_one_by_chance_are() {
    let mut bench = full(60);
    bench.on(Event::Want(on_layer(2, 9, &[40, 41, 42])));
    let first = asked(&bench);
    assert_eq!(first.len(), 3);
    assert_eq!(first[..2], [40, 41]);
    bench.offers.clear();
    bench.on(Event::Want(on_layer(3, 9, &[])));
    let second = asked(&bench);
    bench.offers.clear();
    bench.on(Event::Want(on_layer(5, 9, &[])));
    let third = asked(&bench);
    assert_eq!(second.len(), 4);
    assert_eq!(second[..3], third[..3], "one place for a lineage");
    bench.offers.clear();
    bench.want(4);
    assert_eq!(asked(&bench).len(), 3, "with nothing below it, by chance");
}

#[test]
fn the_lowest_estimate_wins_as_soon_as_all_have_answered() {
    let mut bench = full(4);
    bench.want(2);
    assert_eq!(bench.hear(2, quote(5, 2, 9000, 0)), []);
    assert_eq!(bench.hear(3, pass(2, Reluctance::Busy)), []);
    let out = bench.hear(4, quote(6, 2, 4000, 0));
    assert_eq!(out, [send(4, award(6, 2, 1)), placed(2, 1, 4)]);
}

#[test]
fn a_silent_candidate_is_waited_for_a_moment_and_not_asked_again_at_once() {
    let mut bench = full(3);
    bench.want(2);
    bench.hear(2, quote(5, 2, 4900, 0));
    let out = bench.after(limits::BID_MS);
    assert_eq!(out, [send(2, award(5, 2, 1)), placed(2, 1, 2)]);
    let mut bench = full(3);
    bench.want(2);
    bench.after(limits::BID_MS);
    assert_eq!(
        bench.hear(3, quote(5, 2, 900, 0)).len(),
        2,
        "late, but the first"
    );
    let mut bench = full(2);
    bench.want(2);
    bench.after(limits::BID_MS);
    bench.after(limits::OFFER_MS);
    bench.want(3);
    assert_eq!(asked(&bench), [2]);
    bench.after(limits::PASS_MS);
    bench.want(4);
    assert_eq!(asked(&bench), [2, 2, 2], "but never twice for one job");
}

#[test]
fn a_wait_elsewhere_is_worth_it_where_the_rest_takes_less() {
    let mut bench = full(3);
    bench.on(Event::Want(on_layer(2, 9, &[2])));
    bench.hear(2, quote(5, 2, 4000, 1500));
    assert_eq!(bench.hear(3, quote(6, 2, 8000, 0)), [], "nothing is said");
    let waits = bench.engine.waits(job(2)).expect("it waits").waits;
    assert!(matches!(waits, Waits::Kept { node: kept, .. } if kept == node(2)));
    bench.after(1500);
    let out = bench.hear(2, bid(7, 2, 2500));
    assert_eq!(out[1..], [placed(2, 1, 2)]);
}

/// Job 2 is kept for node 2, which said that it would have done it after four seconds.
fn kept() -> Bench {
    let mut bench = full(3);
    bench.on(Event::Want(on_layer(2, 9, &[2])));
    bench.hear(2, quote(5, 2, 4000, 1500));
    bench.hear(3, quote(6, 2, 8000, 0));
    bench
}

#[test]
fn what_is_kept_goes_to_whoever_would_have_done_it_sooner() {
    let mut bench = kept();
    let slow = bid(7, 2, 9100);
    assert_eq!(
        bench.hear(3, slow),
        [send(3, Message::Decline { nonce: 7 })]
    );
    bench.hear(3, bid(8, 2, 3000));
    bench.after(limits::BID_MS);
    assert_eq!(bench.standing(2), there(3, 1));
}

#[test]
fn the_longer_what_is_kept_waits_the_less_that_counts() {
    let mut bench = kept();
    bench.after(1200);
    bench.hear(3, bid(8, 2, 9000));
    bench.after(limits::BID_MS);
    assert_eq!(bench.standing(2), there(3, 1));
}

#[test]
fn a_node_that_does_not_come_for_what_is_kept_for_it_costs_one_more_round() {
    let mut bench = kept();
    bench.offers.clear();
    bench.after(1500 * 2 + limits::OFFER_MS);
    assert_eq!(asked(&bench), [2, 3]);
    bench.hear(2, pass(2, Reluctance::Busy));
    bench.hear(3, quote(9, 2, 8000, 0));
    assert_eq!(bench.standing(2), there(3, 1));
}

#[test]
fn who_has_ended_a_job_gets_the_next_that_suits_it() {
    let mut bench = full(2);
    bench.want(2);
    bench.hear(2, quote(5, 2, 4000, 0));
    assert_eq!(bench.standing(2), there(2, 1));
    for name in [3, 4] {
        bench.want(name);
        bench.hear(2, pass(name, Reluctance::Busy));
    }
    let ended = with_room(result(2, 1, Verdict::Pass));
    bench.offers.clear();
    let out = bench.hear(2, ended.clone());
    let next = [send(2, award(5, 3, 1)), placed(3, 1, 2)];
    assert_eq!(out[2..], next, "{out:?}");
    let out = bench.hear(2, ended);
    assert_eq!(out[0], send(2, ack(2, 1)));
    assert_eq!(
        bench.standing(4),
        Some(Standing::Waiting),
        "said twice: {out:?}"
    );
    assert_eq!(bench.offers, [], "who is full is not asked");
}

#[test]
fn the_next_is_one_for_which_it_fetches_nothing() {
    let mut bench = full(2);
    bench.on(Event::Want(on_layer(2, 9, &[])));
    bench.hear(2, quote(5, 2, 4000, 0));
    for (name, top) in [(3, 8), (4, 9)] {
        bench.on(Event::Want(on_layer(name, top, &[])));
        bench.hear(2, pass(name, Reluctance::Busy));
    }
    bench.hear(2, with_room(result(2, 1, Verdict::Pass)));
    assert_eq!(
        bench.standing(4),
        there(2, 1),
        "it has that layer from the last"
    );
    assert_eq!(bench.standing(3), Some(Standing::Waiting));
}

#[test]
fn who_is_full_is_asked_again_when_it_shows_room() {
    let mut bench = full(2);
    bench.want(2);
    bench.hear(2, pass(2, Reluctance::Busy));
    bench.offers.clear();
    for name in 3..30 {
        bench.want(name);
    }
    assert_eq!(asked(&bench), []);
    let out = bench.hear(2, bid(5, 2, 4000));
    assert_eq!(out, [send(2, award(5, 2, 1)), placed(2, 1, 2)]);
}

#[test]
fn this_node_keeps_a_job_that_it_will_have_done_sooner_itself() {
    let mut bench = full(2);
    bench.on(Event::Want(on_layer(2, 9, &[])));
    bench.after(50);
    let out = bench.hear(2, quote(5, 2, 60_000, 0));
    assert_eq!(out, [], "one slot is free here after five seconds");
    bench.after(4000);
    let out = bench.finish(own(1, 1), Verdict::Pass);
    assert!(out.contains(&run(own(2, 1))), "{out:?}");
}

#[test]
fn what_is_below_a_job_is_fetched_only_if_nobody_has_it_in_time() {
    let mut bench = bench(1);
    bench.up(2);
    let far = |name| Want {
        missing_bytes: 100 * limits::FETCH_BYTES_PER_S,
        ..on_layer(name, 9, &[2])
    };
    assert_eq!(
        bench.on(Event::Want(far(7))),
        [],
        "a slot is free, but not the layer"
    );
    bench.hear(2, quote(5, 7, 6000, 0));
    assert_eq!(bench.standing(7), there(2, 1));
    bench.on(Event::Want(far(8)));
    let out = bench.hear(2, pass(8, Reluctance::Busy));
    assert!(matches!(out.as_slice(), [Command::Run { .. }]), "{out:?}");
}

#[test]
fn a_job_that_no_candidate_allows_is_said_to_need_room() {
    let mut bench = bench(0);
    bench.engine.platforms.clear();
    bench.up(2);
    let large = Limits {
        memory_bytes: 64 << 30,
        ..Limits::default()
    };
    bench.on(Event::Want(Want {
        needs: large,
        ..wanted(7)
    }));
    let out = bench.hear(2, pass(7, Reluctance::Unfit));
    let said = |out: &[Command]| {
        out.iter().any(|command| {
            matches!(
                command,
                Command::Waiting {
                    reason: Missing::Nowhere(_),
                    ..
                }
            )
        })
    };
    assert!(said(&out), "{out:?}");
}

#[test]
fn an_offer_is_answered_with_fetching_and_run_time() {
    let mut bench = bench(2);
    bench.up(2);
    let out = bench.hear(2, offer(7, Vec::new()));
    assert_eq!(out, [send(2, quote(NONCE, 7, 5000, 0))]);
    assert_eq!(bench.engine.free(), 2, "no slot is kept for it");
    let out = bench.hear(2, offer(8, vec![layer(9)]));
    let appraisal = NONCE + 1;
    let lineage = vec![layer(9)];
    assert_eq!(out, [Command::Appraise { appraisal, lineage }]);
    let out = bench.on(Event::Appraised {
        appraisal,
        missing_bytes: 3000,
        bytes_per_s: 1000,
    });
    assert_eq!(out, [send(2, quote(appraisal, 8, 3000 + 5000, 0))]);
    let out = bench.hear(2, offer(9, Vec::new()));
    let busy = pass(9, Reluctance::Busy);
    assert_eq!(out, [send(2, busy)], "both may be taken at their word");
}

#[test]
fn who_has_no_slot_names_its_wait_where_it_need_not_fetch_and_passes_where_it_must() {
    let mut bench = bench(1);
    bench.up(2);
    bench.want(1);
    for (name, missing_bytes) in [(7, 0), (8, 1)] {
        bench.hear(2, offer(name, vec![layer(9)]));
        let out = bench.on(Event::Appraised {
            appraisal: u64::from(name) - 6,
            missing_bytes,
            bytes_per_s: 1000,
        });
        let said = match missing_bytes {
            0 => quote(1, 7, 5000 + 5000, 5000),
            _ => pass(8, Reluctance::Busy),
        };
        assert_eq!(out, [send(2, said)]);
    }
}

#[test]
fn a_slot_is_kept_for_the_next_job_of_its_owner_for_a_moment() {
    let mut bench = bench(1);
    bench.up(2);
    bench.hear(2, offer(7, Vec::new()));
    bench.hear(2, award(NONCE, 7, 1));
    let out = bench.finish(attempt(2, 7, 1), Verdict::Pass);
    let said = result(7, 1, Verdict::Pass);
    assert_eq!(out, [send(2, with_room(said.clone()))]);
    assert_eq!(bench.engine.free(), 0);
    let out = bench.after(limits::RETRY_MS);
    assert_eq!(out, [send(2, said)], "it is over when that is said again");
    assert_eq!(bench.engine.free(), 1);
    let out = bench.hear(2, award(NONCE, 8, 1));
    assert_eq!(out, [run(attempt(2, 8, 1))], "late, but there is room");
}

#[test]
fn who_has_own_work_waiting_or_lends_nothing_passes() {
    let mut bench = bench(1);
    bench.up(2);
    bench.want(1);
    bench.want(2);
    let out = bench.hear(2, offer(7, Vec::new()));
    assert_eq!(out, [send(2, pass(7, Reluctance::Busy))]);
    bench.on(Event::Lend(false));
    let out = bench.hear(2, offer(7, Vec::new()));
    assert_eq!(out, [send(2, pass(7, Reluctance::Unfit))]);
}

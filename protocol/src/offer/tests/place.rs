//! A node that is required or excluded, platforms that are only emulated, and nodes that take
//! nothing from others.

use super::*;

fn placed_want(name: u8, place: Place) -> Event {
    Event::Want(Want {
        place,
        ..wanted(name)
    })
}

fn on(peer: u8) -> Place {
    Place {
        on: Some(node(peer)),
        not_on: BTreeSet::new(),
    }
}

fn not_on(peers: &[u8]) -> Place {
    Place {
        on: None,
        not_on: peers.iter().map(|peer| node(*peer)).collect(),
    }
}

/// An engine of node 1 that has arm by emulation only.
fn emulating(slots: u32) -> Bench {
    let mut bench = bench(slots);
    bench.engine = Engine::new(Setup {
        me: node(1),
        platforms: BTreeSet::from([x86(), arm()]),
        emulated: BTreeSet::from([arm()]),
        slots,
        most: Limits::default(),
        lent: Limits::default(),
        seed: 0,
    });
    bench
}

fn arm_up(bench: &mut Bench, peer: u8, emulated: bool) -> Vec<Command> {
    let platforms = BTreeSet::from([arm()]);
    let emulated = match emulated {
        true => platforms.clone(),
        false => BTreeSet::new(),
    };
    let node = node(peer);
    bench.on(Event::PeerUp {
        node,
        operator: "op".to_owned(),
        platforms,
        emulated,
    })
}

fn arm_job(name: u8) -> Event {
    Event::Want(Want {
        platform: arm(),
        ..wanted(name)
    })
}

#[test]
fn a_required_node_gets_the_job_and_nobody_else_does() {
    let mut bench = bench(1);
    bench.up(2);
    bench.up(3);
    let out = bench.on(placed_want(7, on(3)));
    assert!(!out.contains(&run(own(7, 1))), "it ran here: {out:?}");
    let out = bench.hear(2, bid(9, 7, 10));
    assert_eq!(out, [send(2, Message::Decline { nonce: 9 })]);
    let out = bench.hear(3, bid(9, 7, 9000));
    assert!(out.contains(&placed(7, 1, 3)), "{out:?}");
}

#[test]
fn a_required_node_that_is_not_up_is_said_at_once_and_waited_for() {
    let mut bench = bench(1);
    bench.up(2);
    let out = bench.on(placed_want(7, on(3)));
    assert!(out.contains(&waiting(7, Missing::Gone(node(3)))), "{out:?}");
    bench.up(3);
    let out = bench.down(3);
    assert!(out.contains(&waiting(7, Missing::Gone(node(3)))), "{out:?}");
    bench.up(3);
    let out = bench.hear(3, bid(9, 7, 10));
    assert!(out.contains(&placed(7, 1, 3)), "{out:?}");
}

#[test]
fn a_required_node_that_vanishes_with_the_job_is_said() {
    let mut bench = bench(1);
    bench.up(3);
    bench.on(placed_want(7, on(3)));
    bench.hear(3, bid(9, 7, 10));
    let out = bench.down(3);
    assert!(out.contains(&waiting(7, Missing::Gone(node(3)))), "{out:?}");
    assert!(!out.contains(&run(own(7, 2))), "it ran elsewhere: {out:?}");
    // The node is kept from it for a while only where there are others that may have it.
    bench.up(3);
    let out = bench.hear(3, bid(10, 7, 10));
    assert!(out.contains(&placed(7, 2, 3)), "{out:?}");
}

#[test]
fn a_required_node_that_takes_no_such_work_is_said() {
    let mut bench = bench(1);
    arm_up(&mut bench, 3, false);
    let out = bench.on(placed_want(7, on(3)));
    let reason = Missing::Unwilling {
        node: node(3),
        platform: x86(),
    };
    assert!(out.contains(&waiting(7, reason)), "{out:?}");
}

#[test]
fn a_job_required_here_waits_for_a_slot_here() {
    let mut bench = bench(1);
    bench.up(2);
    bench.want(6);
    bench.on(placed_want(7, on(1)));
    bench.after(50);
    let out = bench.hear(2, bid(9, 7, 10));
    assert_eq!(out, [send(2, Message::Decline { nonce: 9 })]);
    let out = bench.finish(own(6, 1), Verdict::Pass);
    assert!(out.contains(&run(own(7, 1))), "{out:?}");
}

#[test]
fn an_excluded_node_never_gets_the_job() {
    let mut bench = bench(1);
    bench.up(2);
    let out = bench.on(placed_want(7, not_on(&[1, 2])));
    assert!(out.contains(&waiting(7, Missing::Excluded)), "{out:?}");
    let out = bench.hear(2, bid(9, 7, 10));
    assert_eq!(out, [send(2, Message::Decline { nonce: 9 })]);
    bench.up(3);
    let out = bench.hear(3, bid(9, 7, 10));
    assert!(out.contains(&placed(7, 1, 3)), "{out:?}");
    let out = bench.down(3);
    assert!(out.contains(&waiting(7, Missing::Excluded)), "{out:?}");
}

#[test]
fn a_platform_that_is_emulated_here_is_left_to_a_node_that_has_it() {
    let mut bench = emulating(1);
    arm_up(&mut bench, 2, false);
    let out = bench.on(arm_job(7));
    assert!(!out.contains(&run(own(7, 1))), "it ran here: {out:?}");
    bench.after(limits::EMULATED_WAIT_MS - 1);
    assert_eq!(bench.standing(7), Some(Standing::Waiting));
    let out = bench.after(1);
    assert!(out.contains(&run(own(7, 1))), "nobody took it: {out:?}");
}

#[test]
fn an_emulated_platform_runs_at_once_where_nobody_has_it() {
    let mut bench = emulating(1);
    arm_up(&mut bench, 2, true);
    assert!(bench.on(arm_job(7)).contains(&run(own(7, 1))));
    let mut bench = emulating(1);
    arm_up(&mut bench, 2, false);
    bench.on(arm_job(7));
    assert!(bench.down(2).contains(&run(own(7, 1))), "it has gone");
}

#[test]
fn bids_for_emulated_work_say_that_it_takes_longer_and_come_last() {
    let mut bench = emulating(2);
    bench.up(2);
    let emulated = Event::Heard {
        from: node(2),
        platform: arm(),
        digest: digest(2, 1, &[8]),
    };
    let out = bench.on(emulated);
    let eta = |out: &[Command]| -> Vec<u64> {
        out.iter()
            .filter_map(|command| match command {
                Command::Send {
                    message: Message::Bid { eta_ms, .. },
                    ..
                } => Some(*eta_ms),
                _ => None,
            })
            .collect()
    };
    assert_eq!(eta(&out), [5000 * limits::EMULATED_FACTOR]);

    // Both at once, with one slot: what it has goes first.
    let mut bench = emulating(1);
    bench.up(2);
    bench.on(Event::Pause(true));
    for (platform, seq, name) in [(arm(), 1, 8), (x86(), 2, 9)] {
        let digest = digest(2, seq, &[name]);
        let from = node(2);
        bench.on(Event::Heard {
            from,
            platform,
            digest,
        });
    }
    assert_eq!(eta(&bench.on(Event::Pause(false))), [5000]);
}

#[test]
fn a_node_that_lends_nothing_bids_for_nothing_and_still_works_for_itself() {
    let mut bench = bench(1);
    bench.up(2);
    let out = bench.on(heard(2, 1, &[8]));
    assert!(out.contains(&send(2, bid(NONCE, 8, 5000))), "{out:?}");
    bench.on(Event::Lend(false));
    let out = bench.hear(2, award(NONCE, 8, 1));
    assert_eq!(out, [send(2, refuse(8, 1))]);
    assert_eq!(bench.on(heard(2, 2, &[9])), []);
    assert!(bench.want(7).contains(&run(own(7, 1))));
    bench.finish(own(7, 1), Verdict::Pass);
    let out = bench.on(Event::Lend(true));
    assert_eq!(bids(&out), [(NONCE + 1, job(9))]);
}

#[test]
fn what_is_owed_is_what_owners_who_are_up_have_not_acknowledged() {
    let mut bench = bench(1);
    bench.up(2);
    bench.on(heard(2, 1, &[8]));
    bench.hear(2, award(NONCE, 8, 1));
    bench.finish(attempt(2, 8, 1), Verdict::Pass);
    assert_eq!(bench.engine.owed(), 1);
    bench.down(2);
    assert_eq!(bench.engine.owed(), 0, "nobody to acknowledge it");
    bench.up(2);
    bench.hear(2, ack(8, 1));
    assert_eq!(bench.engine.owed(), 0);
}

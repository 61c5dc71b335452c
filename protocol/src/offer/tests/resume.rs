//! Attempts whose role goes to another node while they run.

use super::*;
use crate::ids::RoleId;

fn role() -> RoleId {
    RoleId::from_bytes([5; 32])
}

fn holder(peer: u8) -> Event {
    Event::Holder {
        role: role(),
        node: Some(node(peer)),
    }
}

fn named(name: u8) -> Want {
    Want {
        role: Some(role()),
        ..wanted(name)
    }
}

fn in_its_name(nonce: u64, name: u8, number: u32) -> Message {
    let mut message = award(nonce, name, number);
    if let Message::Award { role: held, .. } = &mut message {
        *held = Some(role());
    }
    message
}

fn adopt(of: AttemptId, number: u32) -> Message {
    let lease_ms = limits::LEASE_MS;
    Message::Adopt {
        of,
        number,
        lease_ms,
    }
}

fn resume(attempts: &[AttemptId]) -> Message {
    Message::Resume {
        role: role(),
        attempts: attempts.to_vec(),
    }
}

/// Node 1 runs attempt 1 at job 7 of node 2, in the name of the role; node 3 is up too.
fn at_work() -> Bench {
    let mut bench = bench(1);
    bench.up(2);
    bench.up(3);
    bench.on(heard(2, 1, &[7]));
    bench.hear(2, in_its_name(NONCE, 7, 1));
    bench.on(holder(2));
    bench
}

#[test]
fn a_worker_goes_on_and_tells_the_next_holder() {
    let mut bench = at_work();
    bench.down(2);
    bench.after(29_000);
    let of = attempt(2, 7, 1);
    assert_eq!(bench.on(holder(3)), [send(3, resume(&[of]))]);
    let again = bench.after(limits::BEAT_MS);
    assert_eq!(
        again,
        [send(3, resume(&[of]))],
        "it had nearly been stopped"
    );
    let out = bench.hear(3, adopt(of, 4));
    assert_eq!(out, [send(3, beat(&[(7, 4, 0)]))]);
    // Its first owner comes back: nothing that it says is about this attempt any more.
    bench.up(2);
    assert_eq!(bench.hear(2, cancel(7, 1)), []);
    let out = bench.on(Event::Progress {
        attempt: of,
        phase: running(9),
    });
    assert_eq!(out, []);
    let out = bench.finish(of, Verdict::Pass);
    let said = with_room(result(7, 4, Verdict::Pass));
    assert_eq!(out, [send(3, said)]);
}

#[test]
fn what_the_next_holder_cancels_is_stopped_by_the_name_it_was_started_with() {
    let mut bench = at_work();
    bench.on(holder(3));
    let of = attempt(2, 7, 1);
    bench.hear(3, adopt(of, 4));
    assert_eq!(bench.hear(3, cancel(7, 4)), [Command::Stop { attempt: of }]);
    assert_eq!(bench.finish(of, Verdict::Infra), []);
}

#[test]
fn a_result_that_nobody_was_there_for_goes_to_the_next_holder() {
    let mut bench = at_work();
    let of = attempt(2, 7, 1);
    bench.down(2);
    assert_eq!(bench.finish(of, Verdict::Pass), []);
    assert_eq!(bench.on(holder(3)), [send(3, resume(&[of]))]);
    let out = bench.hear(3, adopt(of, 2));
    assert_eq!(out, [send(3, result(7, 2, Verdict::Pass))]);
    bench.hear(3, ack(7, 2));
    assert_eq!(bench.engine.owed(), 0);
}

#[test]
fn nobody_but_the_holder_takes_an_attempt_over() {
    let mut bench = at_work();
    let of = attempt(2, 7, 1);
    let reason = Rejection::NotHolder { of };
    assert_eq!(bench.hear(3, adopt(of, 4)), [reject(3, reason)]);
    assert_eq!(bench.hear(3, Message::Release { of }), []);
    assert_eq!(bench.engine.running().collect::<Vec<_>>(), [of]);
}

#[test]
fn a_role_that_goes_from_node_to_node_does_not_keep_an_attempt_for_ever() {
    let mut bench = at_work();
    bench.down(2);
    let mut out = Vec::new();
    for turn in 0..12 {
        out.extend(bench.on(holder(3 + turn % 2)));
        bench.up(3 + turn % 2);
        out.extend(bench.after(20_000));
    }
    let attempt = attempt(2, 7, 1);
    assert!(out.contains(&Command::Stop { attempt }), "{out:?}");
}

#[test]
fn the_new_owner_takes_over_what_it_wants_and_has_given_to_nobody() {
    let mut bench = bench(0);
    bench.up(2);
    bench.up(3);
    bench.on(Event::Want(named(7)));
    let of = attempt(9, 7, 3);
    let out = bench.hear(2, resume(&[of]));
    assert_eq!(out, [placed(7, 1, 2), send(2, adopt(of, 1))]);
    // Once, whoever else says that it has it; and said again to who did not hear.
    let other = attempt(9, 7, 2);
    let no = Message::Release { of: other };
    assert_eq!(bench.hear(3, resume(&[other])), [send(3, no)]);
    assert_eq!(bench.hear(2, resume(&[of])), [send(2, adopt(of, 1))]);
    let out = bench.hear(2, result(7, 1, Verdict::Pass));
    assert_eq!(out, [send(2, ack(7, 1)), done(7, 1, 2, Verdict::Pass)]);
}

#[test]
fn what_is_wanted_only_later_is_taken_over_then() {
    let mut bench = bench(1);
    bench.up(2);
    let of = attempt(9, 7, 3);
    assert_eq!(bench.hear(2, resume(&[of])), []);
    let out = bench.on(Event::Want(named(7)));
    assert_eq!(
        out,
        [placed(7, 1, 2), send(2, adopt(of, 1))],
        "not run here"
    );
    let mut bench = super::bench(1);
    bench.up(2);
    bench.hear(2, resume(&[of]));
    bench.after(limits::LEASE_MS);
    let out = bench.on(Event::Want(named(7)));
    assert_eq!(out, [run(own(7, 1))], "it is too old to be believed");
}

#[test]
fn a_job_of_another_role_or_of_none_is_not_taken_over() {
    let mut bench = bench(0);
    bench.up(2);
    bench.want(7);
    let of = attempt(9, 7, 3);
    let no = Message::Release { of };
    assert_eq!(bench.hear(2, resume(&[of])), [send(2, no)]);
    assert_eq!(bench.standing(7), Some(Standing::Waiting));
}

#[test]
fn a_role_that_went_elsewhere_leaves_its_attempts_running() {
    let mut bench = bench(0);
    bench.up(2);
    bench.on(Event::Want(named(7)));
    bench.hear(2, bid(5, 7, 1));
    bench.on(holder(3));
    assert_eq!(bench.on(Event::Unwant(job(7))), [], "no cancel");
}

use caravan_protocol::ids::NodeId;

use super::*;

/// Attempt `number` of an owner at the one action of these tests.
fn attempt(owner: u8, number: u32) -> AttemptId {
    AttemptId {
        owner: NodeId::from_bytes([owner; 32]),
        job: ActionKey::from_bytes([9; 32]).into(),
        number,
    }
}

fn join(flights: &mut Flights, attempt: AttemptId) -> Option<CancellationToken> {
    let encoded = flights.join(attempt, vec![1])?;
    Some(flights.launch(attempt, encoded))
}

fn told(attempts: &[AttemptId]) -> Landing {
    Landing {
        told: attempts.to_vec(),
        ..Landing::default()
    }
}

#[test]
fn what_two_want_at_once_runs_once_and_both_are_told() {
    let (a, b) = (attempt(1, 1), attempt(2, 1));
    let mut flights = Flights::default();
    assert!(join(&mut flights, a).is_some());
    assert!(join(&mut flights, b).is_none());
    assert_eq!(flights.len(), 1);
    assert_eq!(flights.land(a, false), told(&[a, b]));
    assert!(flights.is_empty());
}

#[test]
fn the_first_to_leave_stops_nothing_and_the_last_stops_the_run() {
    for (leaver, stays) in [(1, 2), (2, 1)] {
        let mut flights = Flights::default();
        let cancel = join(&mut flights, attempt(1, 1)).unwrap();
        join(&mut flights, attempt(2, 1));
        assert_eq!(flights.leave(attempt(leaver, 1)), Left::Ended);
        assert!(!cancel.is_cancelled(), "{leaver} left");
        assert_eq!(
            flights.leave(attempt(leaver, 1)),
            Left::Nothing,
            "told once"
        );
        assert_eq!(flights.leave(attempt(stays, 1)), Left::Nothing);
        assert!(cancel.is_cancelled());
        let landed = flights.land(attempt(1, 1), true);
        let end = Landing {
            cancelled: true,
            ..told(&[attempt(stays, 1)])
        };
        assert_eq!(landed, end, "{leaver} left before {stays}");
    }
}

#[test]
fn whoever_stays_gets_what_the_other_began() {
    let (a, b) = (attempt(1, 1), attempt(2, 1));
    let mut flights = Flights::default();
    join(&mut flights, a);
    join(&mut flights, b);
    flights.leave(a);
    assert_eq!(flights.land(a, false), told(&[b]));
}

#[test]
fn whoever_comes_while_a_run_is_stopped_gets_one_of_its_own() {
    let (old, new, other) = (attempt(1, 1), attempt(1, 2), attempt(2, 1));
    let mut flights = Flights::default();
    join(&mut flights, old);
    flights.leave(old);
    assert!(join(&mut flights, new).is_none());
    assert!(join(&mut flights, other).is_none());
    let landed = flights.land(old, true);
    assert!(landed.cancelled);
    assert_eq!(
        (landed.told, landed.next),
        (vec![old], Some((new, vec![1])))
    );
    let cancel = flights.launch(new, vec![1]);
    // Both share the new one.
    assert_eq!(flights.leave(new), Left::Ended);
    assert!(!cancel.is_cancelled());
    assert_eq!(flights.land(new, false), told(&[other]));
}

#[test]
fn whoever_waits_for_a_stopped_run_may_leave() {
    let mut flights = Flights::default();
    join(&mut flights, attempt(1, 1));
    flights.leave(attempt(1, 1));
    join(&mut flights, attempt(1, 2));
    assert_eq!(flights.leave(attempt(1, 2)), Left::Ended);
    let landed = flights.land(attempt(1, 1), true);
    assert_eq!((landed.told, landed.next), (vec![attempt(1, 1)], None));
    assert!(flights.is_empty());
}

#[test]
fn trouble_of_one_is_not_the_others() {
    let (a, b, c) = (attempt(1, 1), attempt(2, 1), attempt(3, 1));
    let mut flights = Flights::default();
    for attempt in [a, b, c] {
        join(&mut flights, attempt);
    }
    let landed = flights.land(a, true);
    assert_eq!((landed.told, landed.next), (vec![a], Some((b, vec![1]))));
    flights.launch(b, vec![1]);
    assert_eq!(flights.land(b, false), told(&[b, c]));
    // Nor of one that has left.
    for attempt in [a, b] {
        join(&mut flights, attempt);
    }
    flights.leave(a);
    let landed = flights.land(a, true);
    assert_eq!((landed.told, landed.next), (Vec::new(), Some((b, vec![1]))));
}

#[test]
fn a_run_that_ended_well_while_it_was_stopped_is_everybody_s() {
    let mut flights = Flights::default();
    join(&mut flights, attempt(1, 1));
    flights.leave(attempt(1, 1));
    join(&mut flights, attempt(1, 2));
    let landed = flights.land(attempt(1, 1), false);
    assert_eq!(landed, told(&[attempt(1, 1), attempt(1, 2)]));
}

#[test]
fn everything_is_stopped_at_once() {
    let mut flights = Flights::default();
    let cancel = join(&mut flights, attempt(1, 1)).unwrap();
    flights.cancel_all();
    assert!(cancel.is_cancelled());
}

//! A node that hears and is not heard: what it missed meanwhile it learns as soon as it is heard.

use super::{
    super::{Event, Status},
    kit::{World, secs},
};

/// A mesh in which node 5 is not heard for half a minute, is buried, and protests in vain; meanwhile
/// the council revokes node 7.
fn unheard(seed: u64) -> World {
    let mut world = World::of(seed, 12);
    world.muted.insert(5);
    world.run(secs(20));
    for at in (0..12).filter(|at| *at != 5) {
        assert_eq!(world.status(at, 5), Status::Dead, "at node {at}");
    }
    let stamp = world.now().stamp;
    let revocation = world.book.revocation(world.nodes[7].id, stamp);
    world.tell(0, Event::Records(vec![revocation]));
    world.run(secs(10));
    assert_eq!(
        world.status(5, 7),
        Status::Live,
        "nobody speaks to the dead"
    );
    world
}

#[test]
fn who_was_not_heard_knows_of_a_revocation_ten_seconds_after_it_is() {
    for seed in 0..20 {
        let mut world = unheard(seed);
        world.muted.clear();
        world.run(secs(10));
        assert_eq!(world.status(5, 7), Status::Revoked, "seed {seed}");
    }
}

#[test]
fn who_protested_in_vain_says_it_again_to_whoever_holds_it_to_be_dead() {
    for seed in 0..20 {
        let mut world = unheard(seed);
        world.muted.clear();
        // A period until it is asked or asks, and two messages.
        world.run(secs(5));
        for at in (0..12).filter(|at| *at != 5 && *at != 7) {
            assert_eq!(world.status(at, 5), Status::Live, "seed {seed}, node {at}");
        }
    }
}

#[test]
fn a_replayed_death_costs_its_subject_one_answer_each() {
    let mut world = World::of(3, 6);
    let (subject, observers) = (world.nodes[2].id, [0, 1, 3].map(|at| world.nodes[at].id));
    let made = world.nodes[2].engine.standing().incarnation.number();
    let alerts = observers.map(|observer| world.book.accuses(observer, subject, made));
    let old = super::super::Crypto::obituary(&mut world.book, &alerts).expect("signed");
    world.tell(2, Event::Mode(super::super::Mode::Paused));
    world.run(secs(5));
    let liar = world.slot(2, 4).expect("known");
    let before = world.nodes[2].sent;
    for _ in 0..50 {
        let message = super::super::Message::Records(super::super::Batch([old.clone()].into()));
        let from = liar;
        world.tell(2, Event::Message { from, message });
    }
    // Its word and a question each time; nothing goes to anybody else.
    assert!(world.nodes[2].sent - before <= 100);
    world.run(secs(60));
    world.assert_agreed(6);
}

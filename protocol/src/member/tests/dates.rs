//! What is old does not count, what must last is said anew, and wrong clocks heal.

use proptest::prelude::*;

use super::{
    super::{Event, Kind, Opened, Status},
    kit::{DAWN_MS, World, secs},
};
use crate::limits::WORD_LIFE_MS;

const HOUR_MS: i64 = 3_600_000;
const DAY_S: u64 = 24 * 3600;

/// The council gives everybody a certificate from now on.
fn renew_all(world: &mut World) {
    for at in 0..world.nodes.len() {
        let now = world.now().stamp.as_ms();
        let id = world.nodes[at].id;
        let cert = world.book.cert(id, &format!("operator {at}"), now);
        world.nodes[at].cert = cert.clone();
        world.tell(0, Event::Records(vec![cert.clone()]));
        world.tell(at, Event::Records(vec![cert]));
    }
}

#[test]
fn a_node_that_has_nothing_new_to_say_says_it_anew_before_it_is_too_old() {
    let mut world = World::of(51, 4);
    // Three weeks without any news, in steps of days that nobody lives through awake.
    for _ in 0..21 {
        world.ahead_ms += DAY_S * 1000;
        world.run(secs(30));
        renew_all(&mut world);
        world.run(secs(30));
    }
    world.assert_agreed(4);
    for at in 0..4 {
        for of in 0..4 {
            let slot = world.slot(at, of).expect("all are known");
            let said = world.nodes[at].table.presence(slot).expect("it spoke");
            let age_ms = world.now().stamp.as_ms() - said.issued.as_ms();
            assert!(age_ms < WORD_LIFE_MS / 2, "node {at} holds {age_ms} ms");
        }
    }
    // Whoever comes now believes all of it.
    let at = world.add(77, "late", super::super::Incarnation::default());
    renew_all(&mut world);
    world.connect(at, 1);
    world.run(secs(10));
    world.assert_agreed(5);
}

#[test]
fn a_revocation_that_is_said_again_when_its_node_can_have_no_certificate_is_refused() {
    let mut world = World::of(52, 4);
    let id = world.nodes[3].id;
    let revocation = world.book.revocation(id, world.now().stamp);
    world.ahead_ms += crate::limits::REVOCATION_LIFE_MS;
    renew_all(&mut world);
    world.tell(1, Event::Records(vec![revocation]));
    world.run(secs(10));
    assert_eq!(world.status(1, 3), Status::Live);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// One node's clock is off by hours, or a day, or is set back to nothing, for a while.
    #[test]
    fn a_clock_that_is_off_by_hours_harms_no_longer_than_it_is_off(
        seed in 0_u64..1000,
        off_ms in prop_oneof![
            -20 * HOUR_MS..20 * HOUR_MS,
            // Ahead of that it forgets everybody, and its node dials the contacts that it keeps.
            -30 * 24 * HOUR_MS..7 * 24 * HOUR_MS,
            Just(-i64::try_from(DAWN_MS).expect("small")),
        ],
        revoke: bool,
    ) {
        let mut world = World::of(seed, 6);
        world.off_ms.insert(4, off_ms);
        world.run(secs(40));
        let mut live = 6;
        if revoke {
            let stamp = world.now().stamp;
            let revocation = world.book.revocation(world.nodes[2].id, stamp);
            world.tell(0, Event::Records(vec![revocation]));
            live = 5;
        }
        world.run(secs(40));
        // What it says by that clock others believe only within bounds.
        for node in &world.nodes {
            for kept in node.table.records().filter(|kept| kept.sealed.kind == Kind::Presence) {
                prop_assert!(matches!(&*kept.opened, Opened::Presence(_)));
            }
        }
        world.off_ms.clear();
        world.run(secs(120));
        if revoke {
            world.crash(2);
        }
        world.assert_agreed(live);
    }
}

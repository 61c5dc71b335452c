//! Engines that speak to each other by hand, and the bounds of what they take.

use std::collections::BTreeSet;

use super::*;
use crate::{
    identity::{Key, Signed, Tier},
    ids::{MeshId, TreeId},
    limits::CLOCK_SKEW_MS,
    member::Now,
    offer::Priority,
    policy::Params,
    time::{Stamp, Time},
};

mod sim;

pub(super) const MESH: MeshId = MeshId::from_bytes([9; 32]);
const START_MS: u64 = 1_000_000_000;

pub(super) fn key(n: u8) -> Key {
    Key::from_secret(&[n; 32])
}

pub(super) fn at(ms: u64) -> Now {
    Now {
        time: Time::from_ms(ms),
        stamp: Stamp::from_ms(START_MS + ms),
    }
}

pub(super) fn charge(by: u8, project: &str, ms: u64) -> Charge {
    let requester = key(by).node();
    let issued = at(ms).stamp;
    Charge {
        mesh: MESH,
        run: run_id(requester, "ci", project, issued),
        role: "ci".to_owned(),
        project: project.to_owned(),
        subject: Subject {
            branch: "main".to_owned(),
            commit: "0".repeat(40),
            title: "a commit".to_owned(),
            notes: Vec::new(),
            tree: TreeId::from_bytes([3; 32]),
        },
        repositories: Vec::new(),
        bases: Vec::new(),
        params: Params::default(),
        again: false,
        on: None,
        not_on: BTreeSet::new(),
        requester,
        priority: Priority::Normal,
        issued,
        expires: issued.after(std::time::Duration::from_secs(3600)),
    }
}

pub(super) fn signed(by: u8, charge: &Charge) -> Signed<Charge> {
    Signed::sign(&key(by), charge).expect("small")
}

/// A node of its own, and what it asked for.
struct One {
    engine: Engine,
    said: Vec<Command>,
}

impl One {
    /// Node `me` of nodes 1 to `count`, all open donors.
    fn new(me: u8, count: u8) -> Self {
        let engine = Engine::new(key(me).node(), MESH);
        let mut one = Self {
            engine,
            said: Vec::new(),
        };
        for n in 1..=count {
            one.seat(0, n, Some((Tier::Donor, true)));
        }
        one
    }

    fn seat(&mut self, ms: u64, n: u8, seat: Option<(Tier, bool)>) {
        let seat = seat.map(|(tier, open)| Seat { tier, open });
        let node = key(n).node();
        self.tell(ms, Event::Member { node, seat });
    }

    fn tell(&mut self, ms: u64, event: Event) {
        self.engine.handle(at(ms), event, &mut self.said);
    }

    fn hear(&mut self, ms: u64, from: NodeId, message: Message) {
        self.tell(ms, Event::Message { from, message });
    }

    fn said(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.said)
    }

    fn rejects(&mut self) -> bool {
        let said = self.said();
        said.iter()
            .any(|said| matches!(said, Command::Reject { .. }))
    }
}

/// A project for which the nodes 1 to `count` rank in this order.
fn ranked(count: u8) -> (String, Vec<u8>) {
    let project = "p".to_owned();
    let mut engine = One::new(1, count).engine;
    let first = engine.ranks.first(RoleId::of("ci", &project)).to_vec();
    let number = |node: &NodeId| (1..=count).find(|n| key(*n).node() == *node);
    let order = first.iter().filter_map(number).collect();
    (project, order)
}

fn starts(said: &[Command], run: RunId) -> bool {
    said.contains(&Command::Start(run))
}

#[test]
fn a_mesh_of_one_starts_what_it_is_asked_for_at_once_and_tells_nobody() {
    let mut one = One::new(1, 1);
    let charge = charge(1, "p", 0);
    let charged = Box::new(signed(1, &charge));
    one.tell(
        0,
        Event::Charged {
            charge: charged,
            running: false,
        },
    );
    let said = one.said();
    assert!(starts(&said, charge.run), "{said:?}");
    assert!(!said.iter().any(|said| matches!(said, Command::Send { .. })));
    one.tell(5, Event::Settled(charge.run));
    let said = one.said();
    let end = End::Settled;
    assert!(said.contains(&Command::Ended {
        run: charge.run,
        end
    }));
    one.tell(1100, Event::Tick);
    assert_eq!((one.engine.open(), one.engine.runs.len()), (0, 0));
}

#[test]
fn the_first_of_the_rank_starts_and_the_next_takes_over_when_it_goes() {
    let (project, order) = ranked(4);
    let requester = order[3];
    let charge = charge(requester, &project, 0);
    let mut next = One::new(order[1], 4);
    let from = key(requester).node();
    let first = key(order[0]).node();
    let keep = Message::Keep {
        charge: signed(requester, &charge),
        lead: Some(first),
    };
    next.hear(0, from, keep.clone());
    assert!(!starts(&next.said(), charge.run));
    let runs = vec![(charge.run, at(3).stamp)];
    next.hear(10, first, Message::Hold { runs });
    assert_eq!(next.engine.lead(charge.run), Some((first, true)));
    next.seat(20, order[0], None);
    assert!(starts(&next.said(), charge.run));
    // Said again, it changes nothing.
    next.hear(30, from, keep);
    assert!(!starts(&next.said(), charge.run));
}

#[test]
fn a_role_without_a_run_would_be_the_first_s_and_then_the_next_s() {
    let (project, order) = ranked(4);
    let mut one = One::new(1, 4);
    let idle = one.engine.idle("ci".to_owned(), project.clone());
    let nodes: Vec<NodeId> = order.iter().map(|n| key(*n).node()).collect();
    assert_eq!((idle.holder, &idle.next[..]), (Some(nodes[0]), &nodes[1..]));
    one.seat(5, order[0], None);
    let idle = one.engine.idle("ci".to_owned(), project);
    assert_eq!((idle.holder, idle.run), (Some(nodes[1]), None));
}

#[test]
fn a_run_stays_where_it_is_when_a_better_node_comes_up() {
    let (project, order) = ranked(4);
    let charge = charge(order[3], &project, 0);
    let mut second = One::new(order[1], 4);
    second.seat(0, order[0], None);
    let from = key(order[3]).node();
    let keep = Message::Keep {
        charge: signed(order[3], &charge),
        lead: None,
    };
    second.hear(0, from, keep);
    assert!(starts(&second.said(), charge.run));
    second.seat(10, order[0], Some((Tier::Council, true)));
    let said = second.said();
    assert!(!said.contains(&Command::Stop(charge.run)), "{said:?}");
    assert!(second.engine.holds(charge.run));
    // A new one is the other's.
    let role = RoleId::of("ci", &project);
    assert_eq!(second.engine.elected(role), Some(key(order[0]).node()));
}

#[test]
fn who_drains_yields_and_goes_on_until_the_next_one_holds() {
    let (project, order) = ranked(3);
    let charge = charge(order[2], &project, 0);
    let (mut first, mut second) = (One::new(order[0], 3), One::new(order[1], 3));
    let (a, b) = (key(order[0]).node(), key(order[1]).node());
    let from = key(order[2]).node();
    let keep = Message::Keep {
        charge: signed(order[2], &charge),
        lead: Some(a),
    };
    first.hear(0, from, keep.clone());
    second.hear(0, from, keep);
    let since = at(0).stamp;
    let runs = vec![(charge.run, since)];
    second.hear(1, a, Message::Hold { runs });
    first.said();
    first.seat(50, order[0], Some((Tier::Donor, false)));
    let said = first.said();
    let message = Message::Yield { run: charge.run };
    assert!(said.contains(&Command::Send { to: b, message }), "{said:?}");
    assert!(first.engine.holds(charge.run));
    second.hear(51, a, Message::Yield { run: charge.run });
    assert!(starts(&second.said(), charge.run));
    let runs = vec![(charge.run, at(51).stamp)];
    first.hear(52, b, Message::Hold { runs });
    assert!(first.said().contains(&Command::Stop(charge.run)));
    assert_eq!(first.engine.lead(charge.run), Some((b, true)));
}

#[test]
fn of_two_that_hold_one_run_the_one_that_ranks_lower_yields() {
    let (project, order) = ranked(3);
    let charge = charge(order[2], &project, 0);
    let from = key(order[2]).node();
    for (me, other, yields) in [(0, 1, false), (1, 0, true)] {
        let mut one = One::new(order[me], 3);
        one.seat(0, order[other], None);
        let keep = Message::Keep {
            charge: signed(order[2], &charge),
            lead: None,
        };
        one.hear(0, from, keep);
        assert!(starts(&one.said(), charge.run));
        one.seat(5, order[other], Some((Tier::Donor, true)));
        let runs = vec![(charge.run, at(2).stamp)];
        one.hear(6, key(order[other]).node(), Message::Hold { runs });
        assert_eq!(one.said().contains(&Command::Stop(charge.run)), yields);
        assert_eq!(one.engine.holds(charge.run), !yields);
    }
}

#[test]
fn silence_is_as_good_as_death_but_not_after_an_own_stall() {
    let (project, order) = ranked(3);
    let charge = charge(order[2], &project, 0);
    let a = key(order[0]).node();
    for stalls in [false, true] {
        let mut next = One::new(order[1], 3);
        let keep = Message::Keep {
            charge: signed(order[2], &charge),
            lead: Some(a),
        };
        next.hear(0, key(order[2]).node(), keep);
        for beat in [1000, 2000, 3000] {
            next.tell(beat, Event::Tick);
        }
        assert!(!starts(&next.said(), charge.run));
        next.tell(if stalls { 9000 } else { 4000 }, Event::Tick);
        assert_eq!(starts(&next.said(), charge.run), !stalls);
    }
}

#[test]
fn donors_hold_nothing_while_a_trusted_node_is_open() {
    let mut one = One::new(1, 6);
    let role = RoleId::of("ci", "p");
    for tier in [Tier::Trusted, Tier::Council] {
        one.seat(0, 4, Some((tier, true)));
        assert_eq!(one.engine.ranks.first(role), [key(4).node()]);
        one.seat(0, 4, Some((tier, false)));
        let first = one.engine.ranks.first(role).to_vec();
        assert!(first.len() == 5 && !first.contains(&key(4).node()));
    }
}

#[test]
fn ranks_that_are_remembered_are_those_that_are_made_anew() {
    let mut ranks = Ranks::default();
    let mut dice = sim::Dice(7);
    let roles: Vec<RoleId> = (0..5).map(|n| RoleId::of("ci", &n.to_string())).collect();
    for _ in 0..2000 {
        let n = u8::try_from(dice.below(40)).expect("small") + 1;
        let seat = match dice.below(4) {
            0 => None,
            1 => Some((Tier::Donor, false)),
            2 => Some((Tier::Donor, true)),
            _ => Some((Tier::Trusted, dice.below(8) == 0)),
        };
        ranks.set(key(n).node(), seat.map(|(tier, open)| Seat { tier, open }));
        let mut anew = Ranks::default();
        for n in 1..=40 {
            let node = key(n).node();
            anew.set(node, ranks.seat(node));
        }
        for role in &roles {
            assert_eq!(ranks.first(*role), anew.first(*role));
        }
    }
}

#[test]
fn charges_that_do_not_hold_are_refused() {
    let good = charge(2, "p", 0);
    let now = at(0).stamp;
    assert_eq!(good.check(now), Ok(()));
    let changes: [fn(&mut Charge); 9] = [
        |charge| charge.project.clear(),
        |charge| charge.role = "x".repeat(limits::ROLE_BYTES_MAX + 1),
        |charge| charge.subject.title = "a\u{1b}[2J".to_owned(),
        |charge| charge.subject.commit = "HEAD".to_owned(),
        |charge| charge.subject.notes = vec![String::new(); limits::LIST_MAX + 1],
        |charge| charge.expires = charge.issued,
        |charge| charge.expires = Stamp::from_ms(u64::MAX),
        |charge| {
            charge.issued = charge
                .issued
                .after(std::time::Duration::from_millis(CLOCK_SKEW_MS + 1))
        },
        |charge| charge.run = RunId::from_bytes([1; 32]),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut bad = good.clone();
        change(&mut bad);
        let unnamed = number != 8;
        if unnamed {
            bad.run = run_id(bad.requester, &bad.role, &bad.project, bad.issued);
        }
        assert!(bad.check(now).is_err(), "change {number} was taken");
        let mut one = One::new(1, 3);
        let keep = Message::Keep {
            charge: signed(2, &bad),
            lead: None,
        };
        one.hear(0, key(3).node(), keep);
        assert!(one.rejects() && one.engine.open() == 0, "change {number}");
    }
    // Another's name on it, another mesh, and another time.
    let mut one = One::new(1, 3);
    let keep = |charge| Message::Keep { charge, lead: None };
    one.hear(0, key(3).node(), keep(signed(3, &good)));
    assert!(one.rejects());
    one.hear(4_000_000, key(3).node(), keep(signed(2, &good)));
    assert!(one.rejects());
    let mut other = Engine::new(key(1).node(), MeshId::from_bytes([1; 32]));
    assert!(
        other
            .take(at(0), key(3).node(), signed(2, &good), None)
            .is_err()
    );
}

#[test]
fn one_requester_does_not_fill_a_node() {
    let mut one = One::new(1, 3);
    let from = key(2).node();
    for n in 0..=limits::CHARGES_PER_NODE_MAX {
        let charge = charge(2, &n.to_string(), 0);
        let keep = Message::Keep {
            charge: signed(2, &charge),
            lead: None,
        };
        one.hear(0, from, keep);
    }
    assert_eq!(one.engine.open(), limits::CHARGES_PER_NODE_MAX);
    let other = charge(3, "p", 0);
    let keep = Message::Keep {
        charge: signed(3, &other),
        lead: None,
    };
    one.hear(0, key(3).node(), keep);
    assert_eq!(one.engine.open(), limits::CHARGES_PER_NODE_MAX + 1);
}

#[test]
fn only_those_whose_it_is_end_a_run() {
    let (project, order) = ranked(20);
    let charge = charge(order[7], &project, 0);
    let first = key(order[0]).node();
    let stranger = (1..=20).find(|n| !order.contains(n)).expect("there are 20");
    let mut one = One::new(order[1], 20);
    let keep = Message::Keep {
        charge: signed(order[7], &charge),
        lead: Some(first),
    };
    one.hear(0, key(order[7]).node(), keep);
    one.said();
    let run = charge.run;
    for message in [Message::Settled { run }, Message::Cancel { run }] {
        one.hear(1, key(stranger).node(), message);
        assert!(one.rejects());
    }
    one.hear(1, first, Message::Cancel { run });
    assert!(one.rejects() && one.engine.open() == 1);
    one.hear(2, key(order[7]).node(), Message::Cancel { run });
    assert_eq!(one.engine.open(), 0);
    // And it is not begun again by whoever has not heard of it.
    let runs = vec![(run, at(0).stamp)];
    one.said();
    one.hear(3, first, Message::Hold { runs });
    let message = Message::Settled { run };
    assert!(one.said().contains(&Command::Send { to: first, message }));
}

#[test]
fn one_word_is_not_answered_a_thousand_times() {
    let mut one = One::new(1, 2);
    let from = key(2).node();
    let mut runs = Vec::new();
    for n in 0..100 {
        let charge = charge(2, &n.to_string(), 0);
        let keep = Message::Keep {
            charge: signed(2, &charge),
            lead: None,
        };
        one.hear(0, from, keep);
        one.hear(0, from, Message::Cancel { run: charge.run });
        runs.push((charge.run, at(0).stamp));
    }
    one.said();
    runs.sort();
    let hold = Message::Hold { runs: runs.clone() };
    assert!(hold.encode().is_ok());
    one.hear(1, from, hold);
    assert_eq!(one.said().len(), limits::TOLD_MAX);
    runs.push(runs[0]);
    assert!(Message::Hold { runs }.encode().is_err());
}

#[test]
fn a_node_that_cannot_leaves_the_run_to_the_next() {
    let (project, order) = ranked(3);
    let charge = charge(order[2], &project, 0);
    let (a, b) = (key(order[0]).node(), key(order[1]).node());
    let mut first = One::new(order[0], 3);
    let keep = Message::Keep {
        charge: signed(order[2], &charge),
        lead: Some(a),
    };
    first.hear(0, key(order[2]).node(), keep.clone());
    first.tell(5, Event::Unable(charge.run));
    assert!(first.said().contains(&Command::Stop(charge.run)));
    assert_eq!(first.engine.lead(charge.run), Some((b, false)));
    let mut second = One::new(order[1], 3);
    second.hear(0, key(order[2]).node(), keep);
    second.said();
    second.hear(6, a, Message::Unable { run: charge.run });
    assert!(starts(&second.said(), charge.run));
}

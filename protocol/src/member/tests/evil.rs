//! What a member that lies, or a stranger, can do: nothing to anybody's view.

use super::{
    super::{
        Batch, Command, Crypto, Directory, Doubt, Event, Incarnation, Kind, Line, Message, Mode,
        Sealed, Status,
    },
    kit::{World, node_id, secs},
};

fn records(world: &mut World, at: usize, from: usize, records: Vec<Sealed>) {
    let id = world.nodes[from].id;
    let from = world.nodes[at].table.intern(&id).expect("there is room");
    let message = Message::Records(Batch(records.into()));
    world.tell(at, Event::Message { from, message });
}

#[test]
fn two_liars_kill_nobody_and_three_only_for_a_moment() {
    let mut world = World::of(1, 20);
    let victim = world.nodes[9].id;
    let word = world.nodes[9].engine.standing().incarnation.number();
    let alert = |world: &World, by: usize| world.book.accuses(world.nodes[by].id, victim, word);
    let two = vec![alert(&world, 1), alert(&world, 2)];
    let made = world.book.obituary(&two).expect("in the book");
    for at in (0..20).filter(|at| *at != 9) {
        records(&mut world, at, 1, two.clone());
        records(&mut world, at, 1, vec![made.clone()]);
        assert_eq!(
            world.status(at, 9),
            Status::Live,
            "two liars killed it at {at}"
        );
    }
    world.run(secs(30));
    world.assert_agreed(20);

    let word = world.nodes[9].engine.standing().incarnation.number();
    let three: Vec<Sealed> = (1..4)
        .map(|by| world.book.accuses(world.nodes[by].id, victim, word))
        .collect();
    let made = world.book.obituary(&three).expect("in the book");
    let lied = world.now_ms;
    records(&mut world, 0, 1, vec![made]);
    assert_eq!(
        world.status(0, 9),
        Status::Dead,
        "three observers make a death"
    );
    world.run(secs(5));
    world.assert_agreed(20);
    assert!(world.now_ms - lied <= secs(5), "refuted within its bound");
}

#[test]
fn one_operators_many_nodes_count_once() {
    let mut world = World::new(2);
    for number in 0..12 {
        let operator = if number < 6 {
            "evil".to_owned()
        } else {
            format!("{number}")
        };
        let at = world.add(number, &operator, Incarnation::default());
        if at > 0 {
            world.connect(at, 0);
        }
        world.run(300);
    }
    world.run(secs(10));
    let word = world.nodes[9].engine.standing().incarnation.number();
    let alerts: Vec<Sealed> = (0..6)
        .map(|by| world.book.accuses(node_id(by), node_id(9), word))
        .collect();
    let made = world.book.obituary(&alerts).expect("in the book");
    for at in 6..12 {
        records(&mut world, at, 1, vec![made.clone()]);
        assert_ne!(
            world.status(at, 9),
            Status::Dead,
            "one operator killed it at {at}"
        );
    }
    world.run(secs(20));
    world.assert_agreed(12);
}

/// Records about node 4, each wrong in its own way.
fn lies(world: &mut World) -> Vec<Sealed> {
    let victim = world.nodes[4].id;
    let honest = world.book.says(victim, 9, Mode::Open);
    let bytes = |record: &Sealed| record.bytes.clone();
    let mut bad = vec![
        // Nobody signed it.
        Sealed {
            kind: Kind::Presence,
            subject: victim,
            version: 7,
            bytes: vec![1, 2].as_slice().into(),
        },
        Sealed {
            kind: Kind::Revocation,
            subject: victim,
            version: 0,
            bytes: [9; 8].as_slice().into(),
        },
        // A label that says more than the bytes.
        Sealed {
            kind: Kind::Presence,
            subject: victim,
            version: 99,
            bytes: bytes(&honest),
        },
        Sealed {
            kind: Kind::Presence,
            subject: world.nodes[3].id,
            version: 9,
            bytes: bytes(&honest),
        },
        Sealed {
            kind: Kind::Revocation,
            subject: victim,
            version: 9,
            bytes: bytes(&honest),
        },
    ];
    // Stale: what was true once.
    bad.push(world.book.says(victim, 1, Mode::Left));
    // A certificate of long ago, and a word of a node that has none.
    bad.push(world.book.cert(node_id(77), "ann", 1000));
    bad.push(world.book.says(node_id(78), 1, Mode::Open));
    // A death of an incarnation that never was, by observers that are none.
    let unborn: Vec<Sealed> = (80..84)
        .map(|by| world.book.accuses(node_id(by), victim, 1))
        .collect();
    bad.push(world.book.obituary(&unborn).expect("in the book"));
    let future: Vec<Sealed> = (0..4)
        .map(|by| world.book.accuses(world.nodes[by].id, victim, 1000))
        .collect();
    bad.push(world.book.obituary(&future).expect("in the book"));
    bad
}

#[test]
fn forged_mislabelled_foreign_and_stale_records_change_no_view() {
    let mut world = World::of(3, 6);
    let views: Vec<u64> = world
        .nodes
        .iter()
        .map(|node| node.engine.standing().view)
        .collect();
    let bad = lies(&mut world);
    for at in (0..6).filter(|at| *at != 4) {
        for record in &bad {
            records(&mut world, at, 1, vec![record.clone()]);
        }
        assert_eq!(
            world.nodes[at].engine.standing().view,
            views[at],
            "node {at}'s view changed"
        );
    }
    assert!(
        world.nodes[0]
            .log
            .iter()
            .any(|(_, command)| matches!(command, Command::Rejected { .. })),
        "a lie was not noticed"
    );
    world.run(secs(10));
    world.assert_agreed(6);
}

#[test]
fn a_stranger_gets_no_answer_to_anything() {
    let mut world = World::of(4, 5);
    let now = world.now();
    let stranger = node_id(500);
    let from = world.nodes[0]
        .table
        .intern(&stranger)
        .expect("there is room");
    let view = world.nodes[0].engine.standing().view;
    let questions = [
        Message::Probe { number: 1, view: 2 },
        Message::Fetch { after: 0 },
        Message::Compare(vec![1; super::super::BUCKETS].into()),
        Message::Lines {
            covers: u64::MAX,
            lines: Vec::new().into(),
        },
        Message::Want(vec![super::super::Static::seed(&world.nodes[1].id)].into()),
        Message::Doubt(Box::new(super::super::Doubt {
            subject: world.nodes[1].id,
            incarnation: Incarnation::new(1),
        })),
    ];
    for message in questions {
        let mut out = Vec::new();
        let node = &mut world.nodes[0];
        node.engine.handle(
            (&mut node.table, &mut world.book),
            now,
            Event::Message {
                from,
                message: message.clone(),
            },
            &mut out,
        );
        assert_eq!(out, [], "{message:?} was answered");
    }
    assert_eq!(world.nodes[0].engine.standing().view, view);
}

#[test]
fn lines_that_lie_cost_a_question_and_no_more() {
    let mut world = World::of(5, 6);
    let view = world.nodes[0].engine.standing().view;
    let lines: Vec<Line> = (0..6)
        .map(|at| Line {
            seed: super::super::Static::seed(&world.nodes[at].id),
            cert: u32::MAX,
            incarnation: Incarnation::new(u32::MAX),
            dead: true,
            revoked: at == 3,
        })
        .collect();
    let id = world.nodes[1].id;
    let from = world.nodes[0].table.intern(&id).expect("known");
    for lines in [lines.clone(), {
        let mut sorted = lines;
        sorted.sort_by_key(|line| line.seed);
        sorted
    }] {
        let message = Message::Lines {
            covers: u64::MAX,
            lines: lines.into(),
        };
        world.tell(0, Event::Message { from, message });
        assert_eq!(world.nodes[0].engine.standing().view, view);
    }
    world.run(secs(20));
    world.assert_agreed(6);
}

#[test]
fn a_flood_of_accusations_makes_the_accused_speak_seldom() {
    speaks_seldom(false);
    speaks_seldom(true);
}

/// However one member accuses it: by alerts, or by obituaries of its alert alone.
fn speaks_seldom(by_obituary: bool) {
    let mut world = World::of(6, 8);
    world.run(secs(20));
    let before = world.nodes[5].engine.standing().incarnation.number();
    for _ in 0..300 {
        let word = world.nodes[5].engine.standing().incarnation.number();
        let alert = world
            .book
            .accuses(world.nodes[1].id, world.nodes[5].id, word);
        let record = if by_obituary {
            let made = world.book.obituary(&[alert]);
            made.expect("in the book")
        } else {
            alert
        };
        records(&mut world, 5, 1, vec![record]);
        world.run(100);
    }
    let after = world.nodes[5].engine.standing().incarnation.number();
    assert!(
        after - before <= 4,
        "{} incarnations in 30 s",
        after - before
    );
}

#[test]
fn a_member_that_speaks_without_end_is_passed_on_now_and_then() {
    let mut world = World::of(7, 12);
    world.run(secs(20));
    world.forget_logs();
    let talker = world.nodes[3].id;
    let word = world.nodes[3].engine.standing().incarnation.number();
    for number in 1..=400 {
        let said = world.book.says(talker, word + number, Mode::Open);
        records(&mut world, 0, 3, vec![said]);
        world.run(5);
    }
    for at in (1..12).filter(|at| *at != 3) {
        let taken = world.nodes[at].log.iter().filter(|(_, command)| {
            matches!(command, Command::Record(record)
                if record.kind == Kind::Presence && record.subject == talker)
        });
        let taken = taken.count();
        assert!(taken <= 8, "node {at} took {taken} words in 2 s");
    }
    world.run(secs(90));
    world.assert_agreed(12);
}

#[test]
fn members_that_vouch_for_the_dead_delay_its_death_and_no_more() {
    let mut world = World::of(8, 10);
    world.run(secs(20));
    let dead = world.nodes[9].id;
    let word = world.nodes[9].engine.standing().incarnation;
    world.crash(9);
    for _ in 0..90 {
        for at in 0..5 {
            for liar in [5, 6, 7, 8] {
                let id = world.nodes[liar].id;
                let from = world.nodes[at].table.intern(&id).expect("there is room");
                let message = Message::Vouch(Box::new(Doubt {
                    subject: dead,
                    incarnation: word,
                }));
                world.tell(at, Event::Message { from, message });
            }
        }
        world.run(secs(2));
    }
    for at in 0..5 {
        assert_eq!(
            world.status(at, 9),
            Status::Dead,
            "node {at} holds it alive"
        );
    }
}

#[test]
fn clocks_that_jump_ahead_and_come_back_leave_nobody_expired() {
    let mut world = World::of(9, 8);
    world.run(secs(20));
    // Past the end of all certificates, and not so far that they are forgotten.
    world.ahead_ms = (7 * 24 + 12) * 3600 * 1000;
    world.run(secs(20));
    assert_eq!(world.status(0, 1), Status::Expired, "the jump was not seen");
    world.ahead_ms = 0;
    world.run(secs(90));
    world.assert_agreed(8);
}

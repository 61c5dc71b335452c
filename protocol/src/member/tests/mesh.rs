//! Whole meshes in the loop.

use super::{
    super::{
        Batch, Change, Command, Directory, Event, Incarnation, Kind, Message, Mode, Opened, Page,
        Sealed, Status,
    },
    kit::{World, secs},
};

#[test]
fn fifty_nodes_that_join_one_by_one_agree() {
    let mut world = World::of(1, 50);
    world.run(secs(5));
    world.assert_agreed(50);
    for node in &world.nodes {
        assert!(node.engine.standing().joined);
        let neighbours = node.engine.neighbours().count();
        assert!((2..=6).contains(&neighbours), "{neighbours} neighbours");
    }
    assert_eq!(world.changes(Change::Died), [], "somebody was buried alive");
}

#[test]
fn a_mesh_at_rest_sends_little_more_than_probes_and_answers() {
    let mut world = World::of(2, 50);
    world.run(secs(30));
    let before = world.sent;
    world.run(secs(40));
    let sent = world.sent - before;
    // Ten periods of three probes and three answers at fifty nodes, and a few comparisons.
    assert!((2700..=3300).contains(&sent), "{sent} messages");
}

#[test]
fn a_dead_node_is_known_dead_everywhere_soon_and_nobody_else_dies() {
    for seed in 0..5 {
        let mut world = World::of(seed, 50);
        world.forget_logs();
        let killed = world.now_ms;
        world.crash(17);
        world.run(secs(20));
        world.assert_agreed(49);
        let died = world.changes(Change::Died);
        let victim = world.nodes[17].id;
        assert!(died.iter().all(|(_, _, who)| *who == victim), "{died:?}");
        assert_eq!(died.len(), 49, "each other node buries it once");
        let last = died.iter().map(|(when, _, _)| when - killed).max();
        assert!(last.is_some_and(|last| last < 9000), "took {last:?} ms");
    }
}

#[test]
fn a_node_whose_host_refuses_connections_is_dead_within_two_seconds() {
    let mut world = World::of(3, 32);
    world.forget_logs();
    let killed = world.now_ms;
    world.crash(9);
    // As a kill does over TCP: all its connections break, and dialling it is refused.
    for at in world.up() {
        if let Some(slot) = world.slot(at, 9)
            && world.nodes[at].engine.neighbours().any(|one| one == slot)
        {
            world.tell(at, Event::Lost(slot));
            world.tell(at, Event::Refused(slot));
        }
    }
    world.run(2000);
    world.assert_agreed(31);
    let died = world.changes(Change::Died);
    assert!(died.iter().all(|(when, _, _)| when - killed < 2000));
}

#[test]
fn a_tenth_of_all_messages_lost_buries_nobody_for_long() {
    let mut world = World::of(4, 50);
    world.forget_logs();
    world.loss = 100;
    world.run(secs(300));
    world.loss = 0;
    world.run(secs(60));
    world.assert_agreed(50);
    let died = world.changes(Change::Died).len();
    // Each false death is seen by up to fifty nodes.
    assert!(
        died <= 50,
        "{died} false burials in five minutes at 50 nodes"
    );
}

#[test]
fn a_lossy_mesh_still_takes_in_newcomers() {
    let mut world = World::of(5, 10);
    world.loss = 200;
    for number in 10..20 {
        let operator = format!("operator {number}");
        let at = world.add(number, &operator, Incarnation::default());
        world.connect(at, 0);
        world.run(secs(5));
    }
    world.loss = 0;
    world.run(secs(120));
    world.assert_agreed(20);
}

#[test]
fn halves_of_a_split_mesh_bury_each_other_and_find_together_again() {
    let mut world = World::of(6, 40);
    for at in 20..40 {
        world.side.insert(at, 1);
    }
    world.run(secs(120));
    for at in 0..40 {
        let live = world.nodes[at].engine.standing().live;
        assert_eq!(live, 20, "node {at} sees {live}");
    }
    world.side.clear();
    world.run(secs(180));
    world.assert_agreed(40);
}

#[test]
fn a_node_cut_off_from_all_comes_back_under_a_higher_incarnation() {
    let mut world = World::of(7, 20);
    let before = world.nodes[4].engine.standing().incarnation;
    world.side.insert(4, 1);
    world.run(secs(60));
    assert_eq!(world.status(0, 4), Status::Dead);
    world.side.clear();
    world.run(secs(120));
    world.assert_agreed(20);
    assert!(world.nodes[4].engine.standing().incarnation > before);
}

#[test]
fn a_node_that_starts_again_is_here_again_at_once() {
    let mut world = World::of(8, 20);
    world.crash(6);
    world.run(secs(20));
    assert_eq!(world.status(0, 6), Status::Dead);
    world.restart(6);
    world.run(secs(2));
    world.assert_agreed(20);
    assert!(
        !world.nodes[6]
            .log
            .iter()
            .any(|(_, command)| { matches!(command, Command::Twin { .. }) })
    );
}

#[test]
fn half_of_a_mesh_that_dies_at_once_is_buried() {
    let mut world = World::of(9, 40);
    for at in (1..40).step_by(2) {
        world.crash(at);
    }
    world.run(secs(120));
    world.assert_agreed(20);
}

#[test]
fn the_last_of_three_knows_that_it_is_alone() {
    let mut world = World::of(10, 3);
    world.crash(1);
    world.crash(2);
    world.run(secs(60));
    assert_eq!(world.nodes[0].engine.standing().live, 1);
    world.restart(1);
    world.connect(1, 0);
    world.run(secs(60));
    world.assert_agreed(2);
}

#[test]
fn a_node_of_an_operator_who_owns_most_of_the_mesh_dies_too() {
    let mut world = World::new(11);
    for number in 0..30 {
        // One operator has 28 of 30 nodes, so that most watchers of most nodes are its own.
        let operator = if number < 28 {
            "ann".to_owned()
        } else {
            format!("{number}")
        };
        let at = world.add(number, &operator, Incarnation::default());
        if at > 0 {
            world.connect(at, 0);
        }
        world.run(200);
    }
    world.run(secs(10));
    world.crash(7);
    world.crash(29);
    world.run(secs(30));
    world.assert_agreed(28);
}

#[test]
fn who_leaves_is_gone_everywhere_within_a_second_and_is_not_mourned() {
    let mut world = World::of(12, 50);
    world.forget_logs();
    world.tell(30, Event::Mode(Mode::Left));
    world.run(1000);
    for at in (0..50).filter(|at| *at != 30) {
        assert_eq!(world.status(at, 30), Status::Left, "at node {at}");
    }
    world.crash(30);
    world.run(secs(60));
    world.assert_agreed(49);
    assert_eq!(world.changes(Change::Died), []);
}

#[test]
fn a_mode_and_the_facts_of_a_node_reach_everybody() {
    let mut world = World::of(13, 20);
    world.run(secs(2));
    world.tell(3, Event::Mode(Mode::Paused));
    let facts = crate::facts::Facts {
        cores: 64,
        ..Default::default()
    };
    world.tell(3, Event::Facts(Box::new(facts)));
    world.run(secs(3));
    for at in 0..20 {
        let slot = world.slot(at, 3).expect("all know node 3");
        assert_eq!(world.nodes[at].engine.mode(slot), Some(Mode::Paused));
        let presence = world.nodes[at].table.presence(slot);
        assert_eq!(presence.map(|presence| presence.facts.cores), Some(64));
    }
}

#[test]
fn a_revoked_node_is_gone_everywhere_within_ten_seconds_and_hears_nothing() {
    let mut world = World::of(14, 50);
    world.loss = 50;
    let stamp = world.now().stamp;
    let revocation = world.book.revocation(world.nodes[20].id, stamp);
    world.tell(0, Event::Records(vec![revocation]));
    world.run(secs(10));
    for at in (0..50).filter(|at| *at != 20) {
        assert_eq!(world.status(at, 20), Status::Revoked, "at node {at}");
    }
    // It comes back with the certificate that it has; the loop asserts that nobody answers.
    world.loss = 0;
    world.restart(20);
    world.run(secs(60));
    for at in (0..50).filter(|at| *at != 20) {
        assert_eq!(world.status(at, 20), Status::Revoked, "at node {at}");
        assert_eq!(world.nodes[at].engine.standing().live, 49);
    }
}

#[test]
fn a_node_that_learns_of_its_own_revocation_says_so_and_falls_silent() {
    let mut world = World::of(15, 5);
    let stamp = world.now().stamp;
    let revocation = world.book.revocation(world.nodes[2].id, stamp);
    world.forget_logs();
    world.tell(2, Event::Records(vec![revocation]));
    assert!(
        world.nodes[2]
            .log
            .iter()
            .any(|(_, command)| *command == Command::Evicted)
    );
    world.nodes[2].log.clear();
    world.tell(2, Event::Tick);
    world.tell(2, Event::Mode(Mode::Paused));
    assert_eq!(world.nodes[2].log, []);
}

#[test]
fn an_expired_node_is_out_and_a_renewed_one_stays() {
    let mut world = World::of(16, 6);
    let week = 7 * 24 * 3600;
    // Most of a week passes without a word, in one step: nobody has work in between.
    for node in &mut world.nodes {
        node.up = false;
    }
    world.run(secs(week - 600));
    for at in 0..6 {
        world.restart(at);
    }
    world.run(secs(60));
    world.assert_agreed(6);
    for at in (0..6).filter(|at| *at != 4) {
        let now = world.now().stamp.as_ms();
        let cert = world
            .book
            .cert(world.nodes[at].id, &format!("operator {at}"), now);
        world.nodes[at].cert = cert.clone();
        world.tell(0, Event::Records(vec![cert.clone()]));
        world.tell(at, Event::Records(vec![cert]));
    }
    world.run(secs(900));
    for at in (0..6).filter(|at| *at != 4) {
        assert_eq!(world.status(at, 4), Status::Expired, "at node {at}");
        assert_eq!(world.nodes[at].engine.standing().live, 5);
    }
    assert_eq!(
        world.changes(Change::Expired).len(),
        6,
        "it says so of itself too"
    );
}

#[test]
fn two_machines_with_one_key_are_told_so_and_do_not_drown_the_mesh() {
    let mut world = World::of(17, 10);
    // The copied directory holds what the first wrote down.
    let made = world.nodes[5].engine.standing().incarnation;
    let mut other = World::new(99);
    other.book = world.book.clone();
    other.now_ms = world.now_ms;
    let copy = other.add(5, "operator 5", made);
    let twins = |world: &World, at: usize| {
        let log = world.nodes[at].log.iter();
        log.filter(|(_, command)| matches!(command, Command::Twin { .. }))
            .count()
    };
    let word = |world: &World, at: usize| {
        let node = &world.nodes[at];
        let latest = node.table.latest(node.engine.me(), Kind::Presence);
        latest.expect("it has spoken").sealed.clone()
    };
    let hear = |world: &mut World, at: usize, record: Sealed| {
        let messenger = super::kit::node_id(1);
        let from = world.nodes[at]
            .table
            .intern(&messenger)
            .expect("there is room");
        let message = Message::Records(Batch(vec![record].into()));
        world.tell(at, Event::Message { from, message });
    };
    let before = world.nodes[5].engine.standing().incarnation.number();
    for _ in 0..60 {
        world.run(1000);
        other.run(1000);
        // What either says of itself reaches the other.
        let (first, second) = (word(&world, 5), word(&other, copy));
        hear(&mut world, 5, second);
        hear(&mut other, copy, first);
    }
    assert!(twins(&other, copy) >= 1, "the second was not told");
    assert!(twins(&world, 5) >= 1, "the first was not told");
    let after = world.nodes[5].engine.standing().incarnation.number();
    assert!(
        after - before < 30,
        "{} incarnations in a minute",
        after - before
    );
}

#[test]
fn a_node_that_was_frozen_accuses_nobody_and_a_slow_one_is_not_buried() {
    let mut world = World::of(18, 30);
    world.forget_logs();
    for round in 0..20 {
        for at in [3, 4, 5] {
            world.nodes[at].stalled_until = world.now_ms + 1500 + round;
        }
        world.run(3000);
    }
    world.run(secs(20));
    world.assert_agreed(30);
    assert_eq!(world.changes(Change::Died), []);

    // Frozen for a minute: it is buried, rightly, but on waking it buries nobody.
    world.nodes[8].stalled_until = world.now_ms + secs(60);
    world.run(secs(61));
    let victim = world.nodes[8].id;
    assert!(
        world
            .changes(Change::Died)
            .iter()
            .all(|(_, _, who)| *who == victim)
    );
    world.run(secs(60));
    world.assert_agreed(30);
}

#[test]
fn equal_seeds_give_equal_histories() {
    let history = |seed| {
        let mut world = World::of(seed, 15);
        world.loss = 100;
        world.crash(3);
        world.run(secs(30));
        let logs: Vec<String> = world
            .nodes
            .iter()
            .map(|node| format!("{:?}", node.log))
            .collect();
        (world.sent, logs)
    };
    assert!(history(19) == history(19), "two runs differ");
    assert!(history(19).1 != history(20).1, "the seed changes nothing");
}

#[test]
fn islands_of_newcomers_become_one_mesh_when_two_of_them_meet() {
    let mut world = World::new(21);
    for number in 0..12 {
        let at = world.add(
            number,
            &format!("operator {number}"),
            Incarnation::default(),
        );
        // Two founders of conversation: even nodes meet node 0, odd ones node 1.
        if at > 1 {
            world.connect(at, at % 2);
        }
        world.run(500);
    }
    world.run(secs(5));
    assert_eq!(world.nodes[4].engine.standing().live, 6);
    world.connect(2, 3);
    world.run(secs(45));
    world.assert_agreed(12);
}

#[test]
fn a_node_told_of_its_own_certificate_first_and_of_others_later_is_known_at_once() {
    let mut world = World::of(22, 12);
    world.crash(6);
    world.run(secs(20));
    world.restart_told(6, false);
    world.run(1000);
    for at in 0..12 {
        assert_eq!(world.status(at, 6), Status::Live, "at node {at}");
    }
}

#[test]
fn what_cannot_be_believed_is_not_asked_for_again_and_again() {
    let mut world = World::of(23, 8);
    // Node 9's certificate is no good here any more, yet a member passes on what it says.
    let old = world.book.cert(super::kit::node_id(99), "ann", 1000);
    let word = world.book.says(super::kit::node_id(99), 1, Mode::Open);
    let from = world.slot(0, 1).expect("known");
    let before = world.sent;
    for _ in 0..1000 {
        let message = Message::Records(Batch(vec![old.clone(), word.clone()].into()));
        world.tell(0, Event::Message { from, message });
    }
    assert!(
        world.sent - before <= 2,
        "{} questions",
        world.sent - before
    );
}

#[test]
fn a_node_cut_off_from_all_grows_quiet() {
    let mut world = World::of(24, 40);
    world.side.insert(7, 1);
    world.run(secs(60));
    for at in world.up() {
        if at != 7 {
            world.nodes[at].up = false;
        }
    }
    let before = world.sent;
    world.run(secs(60));
    let sent = world.sent - before;
    assert!(sent < 600, "{sent} messages in a minute into the void");
}

#[test]
fn a_host_that_refuses_again_and_again_is_news_once() {
    let mut world = World::of(25, 30);
    world.crash(3);
    // Cut off as well, so that no obituary is made there and the case stays open.
    world.side.insert(5, 1);
    let slot = world.slot(5, 3).expect("known");
    let before = world.nodes[5].sent;
    for _ in 0..2000 {
        world.tell(5, Event::Refused(slot));
        world.run(10);
    }
    let sent = world.nodes[5].sent - before;
    assert!(sent < 300, "{sent} messages of one node in 20 s");
}

#[test]
fn a_mesh_of_few_operators_buries_its_dead_though_one_of_them_never_answers_for_others() {
    let mut world = World::new(26);
    for number in 0..24 {
        // Four operators; the last has one node, which accuses nobody.
        let operator = if number == 23 { 3 } else { number % 3 };
        let at = world.add(
            number,
            &format!("operator {operator}"),
            Incarnation::default(),
        );
        if at > 0 {
            world.connect(at, 0);
        }
        world.run(200);
    }
    world.run(secs(10));
    world.mute_alerts_of = Some(23);
    world.crash(4);
    world.crash(9);
    world.run(secs(40));
    world.assert_agreed(22);
}

#[test]
fn a_member_that_never_ends_its_pages_keeps_a_newcomer_for_a_minute_at_most() {
    let mut world = World::of(27, 3);
    let at = world.add(7, "operator 7", Incarnation::default());
    let liar = world.nodes[1].cert.clone();
    world.tell(at, Event::Met(liar));
    let from = world.slot(at, 1).expect("met");
    for next in 1..2000_u64 {
        let page = Page {
            records: Batch(Vec::new().into()),
            next: Some(next),
        };
        let message = Message::Page(Box::new(page));
        world.tell(at, Event::Message { from, message });
        world.run(100);
        if world.nodes[at].engine.standing().joined {
            break;
        }
    }
    assert!(world.nodes[at].engine.standing().joined);
    world.run(secs(60));
    world.assert_agreed(4);
}

#[test]
fn a_newcomer_believes_in_a_death_whose_observers_are_out_by_now() {
    let mut world = World::of(28, 14);
    world.crash(4);
    world.run(secs(20));
    let slot = world.slot(0, 4).expect("known");
    let obituary = world.nodes[0].table.latest(slot, Kind::Obituary);
    let Opened::Obituary(alerts) = &*obituary.expect("it is dead").opened.clone() else {
        panic!("an obituary is one");
    };
    let founder = world.nodes[0].id;
    let stamp = world.now().stamp;
    for alert in alerts.iter().filter(|alert| alert.observer != founder) {
        let out = world.book.revocation(alert.observer, stamp);
        world.tell(0, Event::Records(vec![out]));
    }
    world.run(secs(20));
    let at = world.add(50, "operator 50", Incarnation::default());
    world.connect(at, 0);
    world.run(secs(60));
    assert_eq!(world.status(at, 4), Status::Dead);
}

#[test]
fn after_a_death_the_mesh_is_as_quiet_as_before() {
    let mut world = World::of(29, 30);
    world.crash(4);
    world.run(secs(30));
    // Late alerts about the dead come to those who know already.
    let word = world.nodes[4].engine.standing().incarnation.number();
    for (by, at) in [(1, 2), (2, 1), (3, 5), (5, 3)] {
        let late = world
            .book
            .accuses(world.nodes[by].id, world.nodes[4].id, word);
        let id = world.nodes[by].id;
        let from = world.nodes[at].table.intern(&id).expect("known");
        let message = Message::Records(Batch(vec![late].into()));
        world.tell(at, Event::Message { from, message });
    }
    let before = world.sent;
    world.run(secs(40));
    let sent = world.sent - before;
    // Ten periods of three probes and three answers at 29 nodes, and a few comparisons.
    assert!(sent < 2100, "{sent} messages in 40 s");
}

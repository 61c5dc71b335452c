//! An actor that is not run: what time and the book lead to, at times of the test's choice.

use std::{ops::Range, time::Duration};

use caravan_protocol::{
    facts::Facts,
    member::{Crypto as _, Event as Told, Incarnation, Mode, Notary, Presence, Sealed},
};

use super::*;
use crate::{
    limits::{FULL_MESH_MAX, INCARNATIONS_AHEAD, MOVED_PAUSE, UNUSED},
    membership::seal_cert,
    names::peer_of,
    start::Made,
    tests::kit::{Kit, TCP, key},
};

/// What member `n` says of itself for the `said`th time.
fn says(kit: &Kit, n: u8, said: u32) -> Sealed {
    let key = key(n);
    let presence = Presence {
        mesh: kit.roster().mesh(),
        node: key.node(),
        incarnation: Incarnation::new(said),
        addresses: vec![format!("/ip4/192.0.2.{said}/tcp/7000")],
        facts: Facts::default(),
        mode: Mode::Open,
        issued: stamp(),
    };
    let mut notary = Notary::new(key, kit.roster());
    notary.presence(&presence).expect("it is small")
}

fn members(kit: &Kit, numbers: Range<u8>) -> Vec<Sealed> {
    let both = |n: u8| {
        let cert = kit.cert(key(n).node());
        let body = cert.open(kit.roster().mesh()).expect("it is signed");
        [
            seal_cert(&cert, &body).expect("it is small"),
            says(kit, n, 1),
        ]
    };
    numbers.flat_map(both).collect()
}

async fn made(kit: &Kit) -> Made {
    let made = Made::of(kit.config(&key(1))).await;
    made.expect("the mesh is made")
}

fn told(actor: &mut Actor) -> Vec<Event> {
    std::iter::from_fn(|| actor.backlog.take()).collect()
}

fn learned(actor: &mut Actor) -> Vec<Vec<Contact>> {
    let contacts = |event| match event {
        Event::Learned { contacts } => Some(contacts),
        _ => None,
    };
    told(actor).into_iter().filter_map(contacts).collect()
}

#[tokio::test]
async fn unused_connections_are_closed_in_a_large_mesh_but_those_with_neighbours() {
    let kit = Kit::new(TCP);
    let mut made = made(&kit).await;
    let actor = &mut made.actor;
    let now = Instant::now();
    let connect = |actor: &mut Actor, node: NodeId| {
        let peer = peer_of(node).expect("it is a key");
        let mut entry = Peer::new(node, 1, true, now);
        entry.standing = Standing::Member {
            meeting: 1,
            operator: "tester".to_owned(),
        };
        actor.peers.insert(peer, entry);
        peer
    };
    let small = u8::try_from(FULL_MESH_MAX).expect("few") - 1;
    actor.tell(Told::Records(members(&kit, 100..100 + small)));
    let near = connect(actor, actor.membership.neighbours()[0]);
    let late = now + UNUSED + Duration::from_secs(1);
    let nodes = (100..160).map(|n| key(n).node());
    let far: Vec<NodeId> = nodes
        .filter(|node| !actor.membership.is_neighbour(*node))
        .collect();
    let [far, asked] = [far[0], far[1]].map(|node| connect(actor, node));
    actor.peers.get_mut(&asked).expect("it is there").asks = 1;
    actor.drop_unused(late);
    assert!(!actor.peers[&far].leaving, "a small mesh keeps all");
    actor.tell(Told::Records(members(&kit, 100 + small..160)));
    let stays = |peer: &PeerId| actor.membership.is_neighbour(actor.peers[peer].node);
    assert!(stays(&near) && !stays(&far), "those drawn have stayed so");
    actor.drop_unused(now + UNUSED);
    assert!(!actor.peers[&far].leaving, "it was used not long ago");
    actor.drop_unused(late);
    let leaving = [near, far, asked].map(|peer| actor.peers[&peer].leaving);
    assert_eq!(leaving, [false, true, false]);
}

#[tokio::test]
async fn member_that_moves_all_the_time_is_told_of_at_a_pace() {
    let kit = Kit::new(TCP);
    let mut made = made(&kit).await;
    let actor = &mut made.actor;
    actor.tell(Told::Records(members(&kit, 2..3)));
    assert!(!learned(actor).is_empty(), "what is new is told at once");
    let now = Instant::now();
    let move_to = |actor: &mut Actor, said: Range<u32>, at: Instant| {
        for n in said {
            actor.tell(Told::Records(vec![says(&kit, 2, n)]));
        }
        actor.tell_moved(at);
        learned(actor)
    };
    assert_eq!(move_to(actor, 2..20, now).len(), 1);
    let soon = now + MOVED_PAUSE / 2;
    assert_eq!(move_to(actor, 20..40, soon), Vec::<Vec<Contact>>::new());
    let last = move_to(actor, 40..50, now + MOVED_PAUSE);
    assert_eq!(last.len(), 1);
    assert_eq!(last[0][0].addresses[0], "/ip4/192.0.2.49/tcp/7000");
    assert!(move_to(actor, 50..50, now + 3 * MOVED_PAUSE).is_empty());
}

#[tokio::test]
async fn incarnations_are_kept_long_before_they_are_used() {
    let kit = Kit::new(TCP);
    let mut made = made(&kit).await;
    let actor = &mut made.actor;
    let first = actor.membership.engine().standing().incarnation.number();
    let (mut kept, mut words) = (0, 0);
    for used in first..first + 10 * INCARNATIONS_AHEAD {
        // What was told for the number before is all that the disk has.
        assert!(used == first || kept > used, "{used} after {kept}");
        actor.keep_ahead(used);
        for event in told(actor) {
            if let Event::Incarnation(number) = event {
                (kept, words) = (number, words + 1);
            }
        }
    }
    assert!(words < 30, "{words} writes");
}

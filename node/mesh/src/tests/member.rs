use std::time::{Duration, Instant};

use caravan_protocol::{
    facts::Facts,
    limits::MESSAGES_OVER_MAX,
    member::{Batch, Change, Kind, MEMBER_BYTES_MAX, Message, Mode, RECORDS_MAX, Sealed, Status},
};

use super::{
    kit::{Kit, Node, QUIC, TCP, key, quick, soon},
    rogue::Rogue,
};
use crate::{Contact, Event};

async fn members_see_each_other_and_the_death_of_one(transport: &'static str) {
    let kit = Kit::new(transport);
    let mut nodes = kit.crowd(6).await;
    let mut dead = nodes.pop().expect("there are six");
    // It goes without a word.
    dead.handle.shutdown().await;
    let gone = Instant::now();
    for node in &mut nodes {
        node.sees_as(dead.id, Status::Dead).await;
        node.until(|event| match event {
            Event::Member { node, change } if node == dead.id => {
                (change == Change::Died).then_some(())
            }
            _ => None,
        })
        .await;
    }
    assert!(
        gone.elapsed() < Duration::from_secs(10),
        "{:?}",
        gone.elapsed()
    );
    assert!(dead.events.recv().await.is_some());
    // And it comes back.
    let seed = nodes[0].address();
    let _again = kit
        .start_with(6, |config| {
            quick(&mut config.timing);
            config.seeds = vec![seed];
        })
        .await;
    for node in &mut nodes {
        node.sees_as(dead.id, Status::Live).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_see_each_other_and_the_death_of_one_over_tcp() {
    members_see_each_other_and_the_death_of_one(TCP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_see_each_other_and_the_death_of_one_over_quic() {
    members_see_each_other_and_the_death_of_one(QUIC).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_says_of_itself_reaches_all_and_so_does_its_farewell() {
    let kit = Kit::new(TCP);
    let mut nodes = kit.crowd(5).await;
    let facts = Facts {
        cores: 12,
        version: "9.9".to_owned(),
        ..Facts::default()
    };
    let talker = nodes[1].id;
    nodes[1]
        .handle
        .set_presence(facts.clone(), Mode::Draining)
        .expect("there is room");
    for node in &mut nodes {
        soon(async {
            loop {
                let presence = node
                    .handle
                    .member(talker)
                    .and_then(|member| member.presence);
                if presence.is_some_and(|said| said.facts == facts && said.mode == Mode::Draining) {
                    return;
                }
                node.handle.members_changed().await.expect("the mesh runs");
            }
        })
        .await;
        let member = node.handle.member(talker).expect("it is known");
        assert!(member.is_live() && !member.takes_work(), "{member:?}");
    }
    soon(nodes[1].handle.leave()).await.expect("the mesh runs");
    nodes[1].handle.shutdown().await;
    for (at, node) in nodes.iter_mut().enumerate() {
        if at != 1 {
            node.sees_as(talker, Status::Left).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoked_member_is_cut_off_everywhere_and_never_met_again() {
    let kit = Kit::new(TCP);
    let mut nodes = kit.crowd(5).await;
    let mut out = nodes.pop().expect("there are five");
    let word = kit.revocation(out.id);
    let asked = Instant::now();
    nodes[0].handle.revoke(word.clone()).expect("there is room");
    for node in &mut nodes {
        let kept = node.until(|event| match event {
            Event::Revoked { node, revocation } => Some((node, revocation)),
            _ => None,
        });
        assert_eq!(kept.await, (out.id, word.clone()));
        node.sees_as(out.id, Status::Revoked).await;
        assert!(!node.handle.connected().contains(&out.id));
    }
    assert!(
        asked.elapsed() < Duration::from_secs(10),
        "{:?}",
        asked.elapsed()
    );
    for node in &nodes {
        let id = node.id;
        if out.handle.connected().contains(&id) {
            out.down(id).await;
        }
    }
    // Whoever dials it is told so, and it is told that it is out when it asks.
    let mut late = kit
        .start_with(7, |config| {
            quick(&mut config.timing);
            config.contacts = vec![Contact {
                cert: kit.cert(out.id),
                addresses: vec![out.address()],
            }];
            config.revocations = vec![word];
        })
        .await;
    late.handle
        .dial(&nodes[0].address())
        .expect("a good address");
    late.up(nodes[0].id).await;
    out.handle
        .dial(&nodes[0].address())
        .expect("a good address");
    out.handle.dial(&late.address()).expect("a good address");
    late.sees(5).await;
    assert!(!late.handle.connected().contains(&out.id));
    assert!(!nodes[0].handle.connected().contains(&out.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newcomer_learns_of_a_revocation_by_the_first_hello() {
    let kit = Kit::new(TCP);
    let out = key(66);
    let mut a = kit
        .start_with(1, |config| {
            config.revocations = vec![kit.revocation(out.node())]
        })
        .await;
    let mut b = kit.start(2).await;
    b.handle.dial(&a.address()).expect("a good address");
    a.up(b.id).await;
    b.until(|event| match event {
        Event::Revoked { node, .. } => (node == out.node()).then_some(()),
        _ => None,
    })
    .await;
    let mut rogue = Rogue::connect(&out, kit.roster().mesh(), &b.address()).await;
    rogue.closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocation_that_the_council_did_not_sign_is_none() {
    let kit = Kit::new(TCP);
    let (a, mut b) = kit.pair().await;
    let forged = Kit {
        founder: key(2),
        ..Kit::new(TCP)
    };
    b.handle
        .revoke(forged.revocation(a.id))
        .expect("there is room");
    b.handle
        .send(a.id, b"still here".to_vec())
        .expect("there is room");
    let mut a = a;
    assert_eq!(a.message().await.0, b.id);
    b.sees_as(a.id, Status::Live).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_that_the_council_renews_reaches_its_node_and_all() {
    let kit = Kit::new(TCP);
    let mut nodes = kit.crowd(4).await;
    let now = crate::actor::stamp().as_ms();
    let id = nodes[2].id;
    let longer = kit.cert_between(&kit.founder, id, now - 1000, now + 7_200_000);
    nodes[0]
        .handle
        .renew(longer.clone())
        .expect("there is room");
    let own = nodes[2]
        .until(|event| match event {
            Event::Renewed { cert } => Some(cert),
            _ => None,
        })
        .await;
    assert_eq!(own, longer);
    for node in &mut nodes {
        soon(async {
            while node
                .handle
                .member(id)
                .is_none_or(|member| member.cert.expires.as_ms() != now + 7_200_000)
            {
                node.handle.members_changed().await.expect("the mesh runs");
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn member_that_is_not_connected_is_dialled_when_it_is_needed() {
    let kit = Kit::new(TCP);
    let a = kit.start(1).await;
    let mut b = kit.start(2).await;
    // It knows where the other is, and has been told to leave it alone for a while.
    let contact = Contact {
        cert: kit.cert(b.id),
        addresses: vec![b.address()],
    };
    a.handle.disconnect(b.id).expect("there is room");
    a.handle
        .update_roster(vec![contact])
        .expect("there is room");
    for n in 0..3u8 {
        a.handle.send(b.id, vec![n]).expect("there is room");
    }
    for n in 0..3u8 {
        assert_eq!(b.message().await, (a.id, vec![n]));
    }
    // One that nobody answers for is given up in words.
    let free = {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        socket.local_addr().expect("it is bound").port()
    };
    let nobody = Contact {
        cert: kit.cert(key(3).node()),
        addresses: vec![format!("/ip4/127.0.0.1/tcp/{free}")],
    };
    let mut a = a;
    a.handle.update_roster(vec![nobody]).expect("there is room");
    a.handle
        .send(key(3).node(), vec![1])
        .expect("there is room");
    let failed = a
        .until(|event| match event {
            Event::SendFailed { to, reason, .. } => Some((to, reason)),
            _ => None,
        })
        .await;
    assert_eq!(failed.0, key(3).node());
    assert!(failed.1.contains("refused"), "{}", failed.1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_on_a_membership_stream_costs_the_connection() {
    let kit = Kit::new(TCP);
    let mut a = kit.start(1).await;
    let rogue_key = key(66);
    let long = u32::try_from(MEMBER_BYTES_MAX + 1)
        .expect("it fits")
        .to_be_bytes();
    let garbage: [&[u8]; 4] = [
        &[255, 255, 255, 255],
        &[0, 0, 0, 0],
        &long,
        &[0, 0, 0, 3, 1, 99, 99],
    ];
    for bytes in garbage {
        let mut rogue = Rogue::connect(&rogue_key, kit.roster().mesh(), &a.address()).await;
        rogue.hello(kit.cert(rogue_key.node())).await;
        assert!(rogue.frames(bytes.to_vec()).await, "{bytes:?}");
        let blamed = a.until(|event| match event {
            Event::Misbehaved { node, reason } => Some((node, reason)),
            _ => None,
        });
        let (node, reason) = blamed.await;
        assert_eq!(node, rogue_key.node(), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flood_of_membership_frames_is_dropped_and_the_flooder_shut_out() {
    let kit = Kit::new(TCP);
    let mut a = kit.start(1).await;
    let rogue_key = key(66);
    let mut rogue = Rogue::connect(&rogue_key, kit.roster().mesh(), &a.address()).await;
    rogue.hello(kit.cert(rogue_key.node())).await;
    let probe = Message::Probe { number: 1, view: 0 };
    let probe = probe.encode().expect("it is small");
    let mut frame = u32::try_from(probe.len())
        .expect("small")
        .to_be_bytes()
        .to_vec();
    frame.extend(probe);
    assert!(rogue.frames(frame.repeat(5000)).await);
    a.down(rogue_key.node()).await;
    let counters = a.handle.counters();
    assert!(
        counters.over_member > 0 && counters.member_in < 1000,
        "{counters:?}"
    );
    // It is not let in again at once.
    let mut again = Rogue::connect(&rogue_key, kit.roster().mesh(), &a.address()).await;
    again.closed().await;
    assert!(a.handle.counters().handshakes_refused > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_are_no_news_are_paid_by_their_number() {
    let kit = Kit::new(TCP);
    let mut a = kit.start(1).await;
    let rogue_key = key(66);
    let mut rogue = Rogue::connect(&rogue_key, kit.roster().mesh(), &a.address()).await;
    rogue.hello(kit.cert(rogue_key.node())).await;
    let nothing = Sealed {
        kind: Kind::Cert,
        subject: rogue_key.node(),
        version: 0,
        bytes: Vec::new().into(),
    };
    let message = Message::Records(Batch(vec![nothing; RECORDS_MAX].into()));
    let message = message.encode().expect("it fits");
    let length = u32::try_from(message.len()).expect("small").to_be_bytes();
    let frame = [&length[..], &message].concat();
    // Fewer than the messages that a member may send too many.
    assert!(rogue.frames(frame.repeat(500)).await);
    a.down(rogue_key.node()).await;
    let counters = a.handle.counters();
    let over = counters.over_member;
    assert!(over > u64::from(MESSAGES_OVER_MAX), "{counters:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_another_operator_make_room_for_each_other() {
    let kit = Kit::new(TCP);
    let mut a = kit
        .start_with(1, |config| config.operator_connections = 2)
        .await;
    let now = crate::actor::stamp().as_ms();
    let (time, founder) = (now - 60_000..now + 3_600_000, &kit.founder);
    let mut crowd = Vec::new();
    for n in 60..64 {
        let (key, mesh) = (key(n), kit.roster().mesh());
        let mut rogue = Rogue::connect(&key, mesh, &a.address()).await;
        let cert = kit.cert_of("crowd", founder, key.node(), time.clone());
        rogue.hello(cert).await;
        crowd.push(rogue);
    }
    // The first to come were used longest ago.
    for n in 60..62 {
        a.down(key(n).node()).await;
    }
    let mut own = kit.start(2).await;
    own.handle.dial(&a.address()).expect("a good address");
    own.up(a.id).await;
    a.up(own.id).await;
    let mut stay = [62, 63, 2].map(|n| key(n).node());
    stay.sort_unstable();
    assert_eq!(a.handle.connected(), stay);
    assert_eq!(a.handle.counters().over_operator, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_whose_clock_was_set_back_and_that_kept_little_is_no_twin_of_itself() {
    let kit = Kit::new(TCP);
    let mut a = kit.start_with(1, |config| quick(&mut config.timing)).await;
    let seed = a.address();
    let ahead = u32::try_from(crate::actor::stamp().as_ms() / 1000).expect("it fits") + 10_000;
    let start = async |incarnation| {
        let seeds = vec![seed.clone()];
        let node = kit.start_with(2, |config| {
            quick(&mut config.timing);
            (config.seeds, config.incarnation) = (seeds, incarnation);
        });
        node.await
    };
    let said = async |a: &mut Node, cores: u32| {
        soon(async {
            loop {
                let member = a.handle.member(key(2).node());
                let presence = member.and_then(|member| member.presence);
                if let Some(said) = presence.filter(|said| said.facts.cores == cores) {
                    return said.incarnation.number();
                }
                a.handle.members_changed().await.expect("the mesh runs");
            }
        })
        .await
    };
    let mut node = start(ahead).await;
    // Of all that it asks to be kept, only the first is, and then it is killed.
    let kept = node.until(|event| match event {
        Event::Incarnation(number) => Some(number),
        _ => None,
    });
    let kept = kept.await;
    said(&mut a, 0).await;
    let facts = |cores| Facts {
        cores,
        ..Facts::default()
    };
    node.handle
        .set_presence(facts(7), Mode::Open)
        .expect("there is room");
    let last = said(&mut a, 7).await;
    assert!(ahead < last && last <= kept, "{last} said, {kept} kept");
    node.handle.shutdown().await;
    let mut again = start(kept).await;
    again
        .handle
        .set_presence(facts(8), Mode::Open)
        .expect("there is room");
    assert!(said(&mut a, 8).await > kept);
    while let Ok(event) = again.events.try_recv() {
        assert!(!matches!(event, Event::Twin { .. }), "{event:?}");
    }
}

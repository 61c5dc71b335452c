use super::kit::{Kit, MemBlobs, Node, QUIC, TCP, quick, soon};
use crate::{Relay, Wanted};

/// A member that nobody can dial.
async fn hidden(kit: &Kit, n: u8, relay: &Node, blobs: Option<std::sync::Arc<MemBlobs>>) -> Node {
    let seed = relay.address();
    kit.start_with(n, |config| {
        quick(&mut config.timing);
        config.listen = Vec::new();
        config.relay = Relay::Always;
        config.seeds = vec![seed];
        if let Some(blobs) = blobs {
            config.source = blobs;
        }
    })
    .await
}

async fn members_that_nobody_can_dial_meet_through_a_relay(transport: &'static str) {
    let kit = Kit::new(transport);
    let mut relay = kit.start_with(1, |config| quick(&mut config.timing)).await;
    let blobs = MemBlobs::of([b"not through a relay".to_vec()]);
    let id = blobs.ids()[0];
    let mut b = hidden(&kit, 2, &relay, Some(blobs)).await;
    let mut c = hidden(&kit, 3, &relay, None).await;
    relay.meets(b.id).await;
    relay.meets(c.id).await;
    b.meets(c.id).await;
    c.meets(b.id).await;
    c.handle
        .send(b.id, b"hello".to_vec())
        .expect("there is room");
    assert_eq!(b.message().await, (c.id, b"hello".to_vec()));
    soon(async {
        while !c.handle.member(b.id).is_some_and(|member| member.relayed) {
            c.handle.members_changed().await.expect("the mesh runs");
        }
    })
    .await;
    assert!(relay.handle.counters().circuits > 0);
    // Signalling only: bulk waits for a direct connection.
    let sink = std::sync::Arc::new(MemBlobs::default());
    let fetched = soon(
        c.handle
            .fetch(&[b.id], vec![Wanted::at_most(id, 100)], sink),
    )
    .await
    .expect("the sink takes all");
    assert_eq!(fetched.missing, [id]);
    let words = &fetched.failures[0].1;
    assert!(words.contains("relay"), "{words}");
    // All three see each other alive.
    for node in [&mut relay, &mut b, &mut c] {
        node.sees(3).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_nobody_can_dial_meet_through_a_relay_over_tcp() {
    members_that_nobody_can_dial_meet_through_a_relay(TCP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_nobody_can_dial_meet_through_a_relay_over_quic() {
    members_that_nobody_can_dial_meet_through_a_relay(QUIC).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stranger_is_neither_relayed_to_nor_let_through() {
    use libp2p::{multiaddr::Protocol, swarm::SwarmEvent};

    use super::{kit::key, rogue::Rogue};

    let kit = Kit::new(TCP);
    let mut relay = kit.start_with(1, |config| quick(&mut config.timing)).await;
    let mut b = hidden(&kit, 2, &relay, None).await;
    relay.up(b.id).await;
    soon(async {
        let has_circuit = |node: &Node| {
            let member = node.handle.member(b.id);
            let presence = member.and_then(|member| member.presence);
            presence.is_some_and(|said| said.addresses.iter().any(|at| at.contains("p2p-circuit")))
        };
        while !has_circuit(&relay) {
            relay.handle.members_changed().await.expect("the mesh runs");
        }
    })
    .await;
    let mut rogue = Rogue::connect(&key(66), kit.roster().mesh(), &relay.address()).await;
    rogue.open();
    let base: libp2p::Multiaddr = relay.address().parse().expect("an address");
    let circuit = base.with(Protocol::P2pCircuit);
    // To be relayed to,
    let listener = rogue.swarm.listen_on(circuit.clone()).expect("it is begun");
    // and to come through to a member.
    let b_peer = crate::names::peer_of(b.id).expect("a good key");
    let to_b = circuit.with(Protocol::P2p(b_peer));
    rogue.swarm.dial(to_b).expect("it is begun");
    let (mut listened, mut dialled) = (None, None);
    rogue
        .until(|event| {
            match event {
                SwarmEvent::ListenerClosed { listener_id, .. } if *listener_id == listener => {
                    listened = Some(false);
                }
                SwarmEvent::NewListenAddr { .. } => listened = Some(true),
                SwarmEvent::OutgoingConnectionError { .. } => dialled = Some(false),
                SwarmEvent::ConnectionEstablished { .. } => dialled = Some(true),
                _ => {}
            }
            listened.zip(dialled)
        })
        .await;
    assert_eq!((listened, dialled), (Some(false), Some(false)));
    assert_eq!(relay.handle.counters().circuits, 0);
    b.handle.shutdown().await;
    while b.events.recv().await.is_some() {}
}

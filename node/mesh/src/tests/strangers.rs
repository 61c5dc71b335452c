use caravan_protocol::{identity::Genesis, ids::BlobId, limits::STRANGERS_MAX};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use libp2p::{PeerId, StreamProtocol};

use super::{
    kit::{Kit, MemBlobs, Node, QUIC, TCP, key, soon},
    rogue::Rogue,
};
use crate::{
    Event,
    actor::stamp,
    bulk::words,
    wire::{self, Answer, Control},
};

/// Whatever a stranger tries, it gets nothing.
async fn gets_nothing(rogue: &mut Rogue, id: BlobId) {
    rogue.open();
    let message = Control::Batch(vec![b"let me in".to_vec()]).encode();
    assert!(!rogue.control(message).await, "its message was answered");
    let question = Control::Ask(b"who is there?".to_vec()).encode();
    assert!(!rogue.control(question).await, "its question was answered");
    assert!(fetch(rogue, id).await.is_empty(), "it got a blob");
}

/// What comes back when a blob is asked for.
async fn fetch(rogue: &mut Rogue, id: BlobId) -> Vec<u8> {
    let victim: PeerId = rogue.victim;
    let members = rogue.swarm.behaviour_mut().members.inner();
    let mut control = members.streams.new_control();
    let work = async move {
        let protocol = StreamProtocol::new(wire::BLOBS);
        let Ok(mut stream) = control.open_stream(victim, protocol).await else {
            return Vec::new();
        };
        let number = 1;
        let blobs = vec![id];
        let request = words::frame(&words::Ask::Blobs { number, blobs }).expect("it is small");
        let mut answer = Vec::new();
        let _ = stream.write_all(&request).await;
        let _ = stream.close().await;
        let _ = stream.read_to_end(&mut answer).await;
        answer
    };
    soon(rogue.while_awaiting(work)).await.0
}

async fn with_blob(kit: &Kit) -> (Node, BlobId) {
    let blobs = MemBlobs::of([b"for members only".to_vec()]);
    let id = blobs.ids()[0];
    let node = kit.start_with(1, |config| {
        config.source = blobs;
        config.timing.stranger = std::time::Duration::from_millis(1500);
    });
    (node.await, id)
}

async fn no_certificate_is_believed_that_does_not_hold(transport: &'static str) {
    let kit = Kit::new(transport);
    let (mut a, id) = with_blob(&kit).await;
    let rogue_key = key(66);
    let me = rogue_key.node();
    let revoked_key = key(67);
    a.handle.ban(revoked_key.node()).expect("there is room");
    let now = stamp().as_ms();
    let other_mesh = Kit {
        genesis: Genesis {
            nonce: [8; 32],
            ..kit.genesis.clone()
        },
        ..Kit::new(transport)
    };
    let certs = [
        (
            "forged",
            kit.cert_between(&rogue_key, me, now - 1, now + 1_000_000),
        ),
        (
            "expired",
            kit.cert_between(&kit.founder, me, now - 2_000, now - 1_000),
        ),
        (
            "too early",
            kit.cert_between(&kit.founder, me, now + 100_000, now + 200_000),
        ),
        (
            "too long",
            kit.cert_between(&kit.founder, me, 0, now + 1_000_000),
        ),
        ("another node's", kit.cert(key(68).node())),
        ("another mesh's", other_mesh.cert(me)),
    ];
    for (what, cert) in certs {
        let mut rogue = Rogue::connect(&rogue_key, kit.roster().mesh(), &a.address()).await;
        let answer = rogue.hello(cert).await;
        assert!(matches!(answer, Answer::Unwelcome(_)), "{what}: {answer:?}");
        gets_nothing(&mut rogue, id).await;
        rogue.closed().await;
    }
    assert!(a.handle.connected().is_empty());

    // A member does get what they could not, so the test can fail.
    let mut member = Rogue::connect(&rogue_key, kit.roster().mesh(), &a.address()).await;
    let answer = member.hello(kit.cert(me)).await;
    assert!(matches!(answer, Answer::Hello(_)), "{answer:?}");
    a.up(me).await;
    assert!(fetch(&mut member, id).await.ends_with(b"for members only"));
    // Until it is struck out.
    a.handle.ban(me).expect("there is room");
    member.closed().await;
    a.down(me).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_certificate_is_believed_that_does_not_hold_over_tcp() {
    no_certificate_is_believed_that_does_not_hold(TCP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_certificate_is_believed_that_does_not_hold_over_quic() {
    no_certificate_is_believed_that_does_not_hold(QUIC).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_stranger_is_cut_off() {
    let kit = Kit::new(TCP);
    let (a, id) = with_blob(&kit).await;
    let mut rogue = Rogue::connect(&key(66), kit.roster().mesh(), &a.address()).await;
    gets_nothing(&mut rogue, id).await;
    rogue.closed().await;
    assert_eq!(a.handle.counters().sent_away, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_for_a_greeting_costs_the_connection() {
    let kit = Kit::new(QUIC);
    let a = kit.start(1).await;
    for garbage in [vec![], vec![0], vec![255; 1000], vec![0; 200_000]] {
        let mut rogue = Rogue::connect(&key(66), kit.roster().mesh(), &a.address()).await;
        rogue.greet(garbage);
        rogue.closed().await;
    }
    assert!(a.handle.connected().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crowd_of_strangers_is_bounded_and_members_still_get_in() {
    let kit = Kit::new(TCP);
    let mut a = kit.start(1).await;
    let mesh = kit.roster().mesh();
    let mut crowd = Vec::new();
    for n in 0..STRANGERS_MAX {
        let n = u8::try_from(n).expect("few");
        crowd.push(Rogue::connect(&key(100 + n), mesh, &a.address()).await);
    }
    let mut one_more = Rogue::connect(&key(99), mesh, &a.address()).await;
    one_more.closed().await;
    assert!(a.handle.counters().strangers <= STRANGERS_MAX as u64);

    // A member that is known by its key is no stranger.
    let contact = crate::Contact {
        cert: kit.cert(key(2).node()),
        addresses: Vec::new(),
    };
    a.handle
        .update_roster(vec![contact])
        .expect("there is room");
    a.until(|event| matches!(event, Event::Learned { .. }).then_some(()))
        .await;
    let b = kit.start(2).await;
    b.handle.dial(&a.address()).expect("a good address");
    a.up(b.id).await;
}

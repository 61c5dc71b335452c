use caravan_protocol::limits::MESSAGE_BYTES_MAX;

use super::{
    kit::{Kit, QUIC, TCP, key, soon},
    rogue::Rogue,
};
use crate::{
    AskError, Event, SendError,
    wire::{Answer, Control},
};

async fn members_meet_and_talk(transport: &'static str) {
    let kit = Kit::new(transport);
    let (mut a, mut b) = kit.pair().await;
    assert_eq!(a.handle.connected(), [b.id]);
    assert_eq!(b.handle.connected(), [a.id]);

    for n in 0..100u8 {
        a.handle.send(b.id, vec![n]).expect("there is room");
    }
    for n in 0..100u8 {
        assert_eq!(
            b.message().await,
            (a.id, vec![n]),
            "messages arrive in order"
        );
    }
    let large = vec![7; MESSAGE_BYTES_MAX];
    b.handle.send(a.id, large.clone()).expect("it just fits");
    assert_eq!(a.message().await, (b.id, large));

    let question = b.handle.request(a.id, b"how many?".to_vec());
    let answer = async {
        a.until(|event| match event {
            Event::Request { from, bytes, reply } => {
                assert_eq!((from, bytes.as_slice()), (b.id, b"how many?".as_slice()));
                reply.send(b"seven".to_vec()).ok()
            }
            _ => None,
        })
        .await;
    };
    let (answer, ()) = soon(async { tokio::join!(question, answer) }).await;
    assert_eq!(answer, Ok(b"seven".to_vec()));
    let counters = a.handle.counters();
    assert_eq!((counters.peers, counters.strangers), (1, 0));
    assert_eq!(counters.messages_out, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_meet_and_talk_over_tcp() {
    members_meet_and_talk(TCP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_meet_and_talk_over_quic() {
    members_meet_and_talk(QUIC).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_sent_is_told() {
    let kit = Kit::new(TCP);
    let mut a = kit.start(1).await;
    let nobody = key(77).node();
    a.handle
        .send(nobody, b"hello?".to_vec())
        .expect("it is queued");
    let failed = a
        .until(|event| match event {
            Event::SendFailed { to, count, .. } => Some((to, count)),
            _ => None,
        })
        .await;
    assert_eq!(failed, (nobody, 1));
    let asked = a.handle.request(nobody, Vec::new()).await;
    assert_eq!(asked, Err(AskError::NotConnected(nobody)));
    let large = a.handle.send(nobody, vec![0; MESSAGE_BYTES_MAX + 1]);
    assert!(
        matches!(large, Err(SendError::TooLarge { .. })),
        "{large:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_nobody_answers_fails() {
    let kit = Kit::new(TCP);
    let (mut a, b) = kit.pair().await;
    let question = b.handle.request(a.id, Vec::new());
    let ignored = a.until(|event| match event {
        Event::Request { reply, .. } => {
            drop(reply);
            Some(())
        }
        _ => None,
    });
    let (answer, ()) = soon(async { tokio::join!(question, ignored) }).await;
    assert_eq!(answer, Err(AskError::Unanswered(a.id)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oversized_control_frame_is_refused_and_the_node_lives_on() {
    let kit = Kit::new(TCP);
    let mut a = kit.start(1).await;
    let rogue_key = key(66);
    let mut rogue = Rogue::connect(&rogue_key, kit.roster().mesh(), &a.address()).await;
    let answer = rogue.hello(kit.cert(rogue_key.node())).await;
    assert!(matches!(answer, Answer::Hello(_)), "{answer:?}");
    a.up(rogue_key.node()).await;
    assert!(!rogue.control(vec![0; 2 * MESSAGE_BYTES_MAX]).await);
    assert!(
        rogue
            .control(Control::Batch(vec![b"small".to_vec()]).encode())
            .await
    );
    assert_eq!(a.message().await, (rogue_key.node(), b"small".to_vec()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_control_frame_costs_the_connection() {
    let kit = Kit::new(QUIC);
    let mut a = kit.start(1).await;
    let rogue_key = key(66);
    let mut rogue = Rogue::connect(&rogue_key, kit.roster().mesh(), &a.address()).await;
    rogue.hello(kit.cert(rogue_key.node())).await;
    assert!(!rogue.control(vec![0, 255, 255, 255, 255, 1]).await);
    let blamed = a
        .until(|event| match event {
            Event::Misbehaved { node, .. } => Some(node),
            _ => None,
        })
        .await;
    assert_eq!(blamed, rogue_key.node());
    a.down(rogue_key.node()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flood_is_dropped_and_then_the_flooder_is_cut_off() {
    let kit = Kit::new(TCP);
    let mut a = kit.start(1).await;
    let rogue_key = key(66);
    let mut rogue = Rogue::connect(&rogue_key, kit.roster().mesh(), &a.address()).await;
    rogue.hello(kit.cert(rogue_key.node())).await;
    let batch = Control::Batch(vec![vec![1]; 64]).encode();
    let mut frames = 0;
    while rogue.control(batch.clone()).await {
        frames += 1;
        assert!(frames < 1000, "nobody stops the flood");
    }
    let mut messages = 0;
    a.until(|event| match event {
        Event::Message { .. } => {
            messages += 1;
            None
        }
        Event::Down { .. } => Some(()),
        _ => None,
    })
    .await;
    let counters = a.handle.counters();
    assert!(
        messages < frames * 64,
        "{messages} of {} got through",
        frames * 64
    );
    assert!(
        counters.dropped_rate > 0 && counters.sent_away == 1,
        "{counters:?}"
    );
}

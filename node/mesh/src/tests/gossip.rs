use caravan_protocol::{limits::GOSSIP_BYTES_MAX, platform::Platform};

use super::{
    kit::{Kit, Node, QUIC, TCP, key},
    rogue::Rogue,
};
use crate::{Event, SendError, wire};

async fn heard(node: &mut Node) -> (caravan_protocol::ids::NodeId, Platform, Vec<u8>) {
    node.until(|event| match event {
        Event::Gossip {
            from,
            platform,
            bytes,
        } => Some((from, platform, bytes)),
        _ => None,
    })
    .await
}

/// Publishes until it is heard: a subscription may still be on its way.
pub(super) async fn publish_until_heard(from: &Node, to: &mut Node, bytes: &[u8]) {
    let mut again = tokio::time::interval(std::time::Duration::from_millis(100));
    loop {
        tokio::select! {
            (author, platform, heard) = heard(to) => {
                assert_eq!(platform, Platform::here());
                // What was published before may come twice.
                if author == from.id && heard == bytes {
                    return;
                }
            }
            _ = again.tick() => {
                let published = from.handle.gossip(Platform::here(), bytes.to_vec());
                published.expect("there is room");
            }
        }
    }
}

async fn gossip_reaches_all_members(transport: &'static str) {
    let kit = Kit::new(transport);
    let (mut a, mut b) = kit.pair().await;
    let mut c = kit.start(3).await;
    c.handle.dial(&a.address()).expect("a good address");
    c.up(a.id).await;
    // The hello with one member is enough to meet the others.
    c.up(b.id).await;
    let large = vec![5; GOSSIP_BYTES_MAX];
    publish_until_heard(&a, &mut b, &large).await;
    publish_until_heard(&a, &mut c, &large).await;
    publish_until_heard(&c, &mut a, b"from c").await;
    publish_until_heard(&c, &mut b, b"from c").await;
    let larger = a
        .handle
        .gossip(Platform::here(), vec![5; GOSSIP_BYTES_MAX + 1]);
    assert!(matches!(larger, Err(SendError::TooLarge { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gossip_reaches_all_members_over_tcp() {
    gossip_reaches_all_members(TCP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gossip_reaches_all_members_over_quic() {
    gossip_reaches_all_members(QUIC).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stranger_neither_hears_gossip_nor_is_heard() {
    let kit = Kit::new(TCP);
    let (a, mut b) = kit.pair().await;
    let mesh = kit.roster().mesh();
    let topic = wire::topic(mesh, &Platform::here());
    let mut rogue = Rogue::connect(&key(66), mesh, &a.address()).await;
    rogue.open();
    rogue.subscribe(&topic);
    let members = rogue.swarm.behaviour_mut().members.inner();
    let topic = libp2p::gossipsub::IdentTopic::new(topic);
    // Nobody has told the stranger that they listen, so it has nobody to tell.
    assert!(members.gossip.publish(topic, b"lies".to_vec()).is_err());
    let ((), overheard) = rogue
        .while_awaiting(publish_until_heard(&a, &mut b, b"for members"))
        .await;
    assert!(!overheard);
    assert_eq!(a.handle.counters().gossip_in, 0);
}

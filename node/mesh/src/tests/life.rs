use std::{
    net,
    time::{Duration, Instant},
};

use super::{
    gossip::publish_until_heard,
    kit::{Kit, QUIC, TCP, key, quick, soon},
    relay::Relay,
};
use crate::{Event, Mesh, MeshError, SendError, Timing, actor::stamp};

/// One second by [`quick`], and room for a loaded machine.
const NOTICED: Duration = Duration::from_secs(5);

async fn silent_peer_is_noticed(transport: &'static str) {
    let kit = Kit::new(transport);
    let mut a = kit.start_with(1, |config| quick(&mut config.timing)).await;
    let mut b = kit.start_with(2, |config| quick(&mut config.timing)).await;
    let relay = Relay::before(&a.address()).await;
    b.handle.dial(&relay.address).expect("a good address");
    a.up(b.id).await;
    b.up(a.id).await;
    relay.cut();
    let cut = Instant::now();
    a.down(b.id).await;
    b.down(a.id).await;
    assert!(cut.elapsed() < NOTICED, "it took {:?}", cut.elapsed());
    // They know each other's true addresses by now and do without the relay.
    a.up(b.id).await;
    b.up(a.id).await;
    publish_until_heard(&a, &mut b, b"from a").await;
    publish_until_heard(&b, &mut a, b"from b").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_peer_is_noticed_and_found_again_over_tcp() {
    silent_peer_is_noticed(TCP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_peer_is_noticed_and_found_again_over_quic() {
    silent_peer_is_noticed(QUIC).await;
}

#[test]
fn loss_of_a_peer_is_noticed_within_five_seconds() {
    let timing = Timing::default();
    let tick = Duration::from_millis(250);
    let patience = timing.tuning.timeout * crate::limits::PATIENCE_PERCENT / 100;
    assert!(timing.tuning.period + patience + tick < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restart_under_the_same_key_is_a_down_and_an_up() {
    let kit = Kit::new(TCP);
    let mut a = kit.start(1).await;
    let mut b = kit.start(2).await;
    let relay = Relay::before(&a.address()).await;
    b.handle.dial(&relay.address).expect("a good address");
    a.up(b.id).await;
    b.up(a.id).await;
    // The first life ends without a word.
    relay.cut();
    b.handle.shutdown().await;
    let mut b = kit.start(2).await;
    b.handle.dial(&a.address()).expect("a good address");
    a.down(b.id).await;
    a.up(b.id).await;
    b.up(a.id).await;
}

async fn shutdown_closes_everything(transport: &'static str) {
    let kit = Kit::new(transport);
    let (mut a, mut b) = kit.pair().await;
    let address = b.address();
    soon(b.handle.shutdown()).await;
    a.down(b.id).await;
    soon(async { while b.events.recv().await.is_some() {} }).await;
    assert_eq!(b.handle.send(a.id, vec![1]), Err(SendError::Closed));
    let bare = address.split_once("/p2p/").expect("it names the node").0;
    // The socket's own task may take a moment to go.
    soon(async {
        loop {
            let mut config = kit.config(&key(3));
            config.listen = vec![bare.to_owned()];
            match Mesh::start(config).await {
                Ok((again, _)) => return again.shutdown().await,
                Err(MeshError::PortTaken { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_closes_everything_over_tcp() {
    shutdown_closes_everything(TCP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_closes_everything_over_quic() {
    shutdown_closes_everything(QUIC).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taken_port_is_named() {
    let tcp = net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let udp = net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let kit = Kit::new(TCP);
    let other = kit.start(2).await;
    let addresses = [
        format!(
            "/ip4/127.0.0.1/tcp/{}",
            tcp.local_addr().expect("bound").port()
        ),
        format!(
            "/ip4/127.0.0.1/udp/{}/quic-v1",
            udp.local_addr().expect("bound").port()
        ),
        // The library itself would share the port of another node.
        other
            .address()
            .split_once("/p2p/")
            .expect("a node")
            .0
            .to_owned(),
    ];
    for address in addresses {
        let mut config = kit.config(&key(1));
        config.listen = vec![address.clone()];
        let error = Mesh::start(config).await.expect_err("the port is taken");
        assert!(matches!(error, MeshError::PortTaken { .. }), "{error:?}");
        assert!(error.to_string().contains(&address), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_without_a_good_certificate_does_not_start() {
    let kit = Kit::new(TCP);
    let me = key(2);
    let now = stamp().as_ms();
    let mut config = kit.config(&me);
    config.cert = kit.cert_between(&kit.founder, me.node(), now - 2000, now - 1000);
    let error = Mesh::start(config).await.expect_err("it has expired");
    assert!(matches!(error, MeshError::OwnCert(_)), "{error:?}");
    let mut config = kit.config(&me);
    config.cert = kit.cert(key(3).node());
    let error = Mesh::start(config).await.expect_err("it is another's");
    assert!(matches!(error, MeshError::OtherCert { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_that_expires_ends_the_membership_unless_renewed() {
    let kit = Kit::new(TCP);
    let mut a = kit.start(1).await;
    let now = stamp().as_ms();
    let short = |node| kit.cert_between(&kit.founder, node, now - 1000, now + 4_000);
    let mut b = kit
        .start_with(2, |config| config.cert = short(key(2).node()))
        .await;
    let mut c = kit
        .start_with(3, |config| config.cert = short(key(3).node()))
        .await;
    b.handle.dial(&a.address()).expect("a good address");
    c.handle.dial(&a.address()).expect("a good address");
    a.up(b.id).await;
    b.up(a.id).await;
    b.handle.renew(kit.cert(b.id)).expect("there is room");
    let gone = a
        .until(|event| match event {
            Event::Down { node } => Some(node),
            _ => None,
        })
        .await;
    assert_eq!(gone, c.id);
    c.until(|event| matches!(event, Event::Down { .. }).then_some(()))
        .await;
    assert_eq!(a.handle.connected(), [b.id]);
}

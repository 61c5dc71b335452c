use std::time::Duration;

use caravan_protocol::{
    identity::invite::{FounderHint, Invite},
    ids::NodeId,
    platform::Platform,
    time::Stamp,
};
use tokio::task::JoinHandle;

use super::kit::{Kit, Node, QUIC, TCP, key, soon};
use crate::{Contact, Event, JoinError, Refusal, Welcome, actor::stamp, join};

/// The inviting node's driver: one invite, good for one node.
fn decide(kit: Kit, mut node: Node, secret: [u8; 32]) -> JoinHandle<Node> {
    let genesis = kit.genesis.clone();
    tokio::spawn(async move {
        let mut used: Option<NodeId> = None;
        loop {
            let event = node.events.recv().await.expect("the mesh runs");
            let asked = match event {
                Event::AdmitAsked {
                    node: asked,
                    secret: shown,
                    platforms,
                    reply,
                } => {
                    assert_eq!(platforms, [Platform::here()]);
                    let decision = if shown != secret {
                        Err(Refusal::Unknown)
                    } else if used.is_some_and(|by| by != asked) {
                        Err(Refusal::Used)
                    } else {
                        used = Some(asked);
                        Ok(Welcome {
                            genesis: genesis.clone(),
                            now: stamp(),
                            cert: kit.cert(asked),
                            contacts: vec![Contact {
                                cert: kit.cert(node.id),
                                addresses: vec![node.address()],
                            }],
                        })
                    };
                    reply.send(decision).is_ok()
                }
                Event::Up { .. } => return node,
                _ => true,
            };
            assert!(asked, "the stranger waits for the decision");
        }
    })
}

fn invite(kit: &Kit, addresses: Vec<String>, seed: [u8; 16]) -> Invite {
    Invite {
        founder: FounderHint::of(kit.genesis.founder),
        addresses,
        seed,
        expires: Stamp::from_ms(stamp().as_ms() + 60_000),
    }
}

async fn invite_admits_one_node_once(transport: &'static str) {
    let kit = Kit::new(transport);
    let a = kit.start(1).await;
    let address = a.address();
    let here = [Platform::here()];
    let good = invite(&kit, vec![address.clone()], [42; 16]);
    let driver = decide(Kit::new(transport), a, good.secret());
    let joined = soon(join(&good, &key(2), &here))
        .await
        .expect("it is admitted");
    assert_eq!(joined.contacts.len(), 1);

    let again = soon(join(&good, &key(3), &here)).await;
    assert!(
        matches!(again, Err(JoinError::Refused(Refusal::Used))),
        "{again:?}"
    );
    let same = soon(join(&good, &key(2), &here)).await;
    assert!(same.is_ok(), "the same node may ask again: {same:?}");
    let wrong = invite(&kit, vec![address], [43; 16]);
    let unknown = soon(join(&wrong, &key(3), &here)).await;
    assert!(
        matches!(unknown, Err(JoinError::Refused(Refusal::Unknown))),
        "{unknown:?}"
    );

    let mut b = kit
        .start_with(2, |config| {
            config.cert = joined.cert;
            config.roster = joined.roster;
            config.contacts = joined.contacts;
        })
        .await;
    b.up(key(1).node()).await;
    let a = soon(driver).await.expect("the driver ran");
    assert_eq!(a.handle.connected(), [b.id]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invite_admits_one_node_once_over_tcp() {
    invite_admits_one_node_once(TCP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invite_admits_one_node_once_over_quic() {
    invite_admits_one_node_once(QUIC).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn join_says_why_it_failed() {
    let kit = Kit::new(TCP);
    let here = [Platform::here()];
    let free = {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        socket.local_addr().expect("it is bound").port()
    };
    let nobody = invite(&kit, vec![format!("/ip4/127.0.0.1/tcp/{free}")], [1; 16]);
    let error = soon(join(&nobody, &key(2), &here))
        .await
        .expect_err("nobody is there");
    assert!(matches!(error, JoinError::NoAnswer { .. }), "{error:?}");
    assert!(error.to_string().contains("refused"), "{error}");

    let mut late = nobody.clone();
    late.expires = Stamp::from_ms(stamp().as_ms() - 7_500_000);
    let error = soon(join(&late, &key(2), &here))
        .await
        .expect_err("it is too late");
    assert!(matches!(error, JoinError::Expired { .. }), "{error:?}");
    assert!(error.to_string().contains("2 h 5 min ago"), "{error}");

    let nowhere = invite(&kit, vec![], [1; 16]);
    let error = join(&nowhere, &key(2), &here)
        .await
        .expect_err("no address");
    assert!(matches!(error, JoinError::NoAddress), "{error:?}");

    // Another node than the founder listens there.
    let other = kit.start(5).await;
    let bare = other.address();
    let (bare, _) = bare.split_once("/p2p/").expect("it names the node");
    let elsewhere = invite(&kit, vec![bare.to_owned()], [1; 16]);
    let error = soon(join(&elsewhere, &key(2), &here))
        .await
        .expect_err("another node");
    assert!(matches!(error, JoinError::OtherNode { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undecided_admission_is_refused() {
    let kit = Kit::new(TCP);
    let mut a = kit.start(1).await;
    let invite = invite(&kit, vec![a.address()], [1; 16]);
    let joiner = key(2);
    let here = [Platform::here()];
    let joining = join(&invite, &joiner, &here);
    let ignoring = a.until(|event| matches!(event, Event::AdmitAsked { .. }).then_some(()));
    let (joined, ()) = soon(async { tokio::join!(joining, ignoring) }).await;
    assert!(
        matches!(joined, Err(JoinError::Refused(Refusal::Other(_)))),
        "{joined:?}"
    );
}

/// An inviting node that answers once, whatever it is shown.
fn answer_once(mut node: Node, welcome: Welcome) -> JoinHandle<Node> {
    tokio::spawn(async move {
        loop {
            let event = node.events.recv().await.expect("the mesh runs");
            if let Event::AdmitAsked { reply, .. } = event {
                reply.send(Ok(welcome)).expect("the stranger waits");
                return node;
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_disagree_are_told_apart() {
    for (hours, words) in [(5, "5 h behind"), (-7, "7 h ahead of")] {
        let kit = Kit::new(TCP);
        let a = kit.start(1).await;
        let invite = invite(&kit, vec![a.address()], [1; 16]);
        let now = stamp().as_ms().saturating_add_signed(hours * 3_600_000);
        let welcome = Welcome {
            genesis: kit.genesis.clone(),
            now: Stamp::from_ms(now).after(Duration::from_secs(20 * u64::from(hours > 0))),
            cert: kit.cert(key(2).node()),
            contacts: Vec::new(),
        };
        let driver = answer_once(a, welcome);
        let joined = soon(join(&invite, &key(2), &[Platform::here()])).await;
        let error = joined.expect_err("the clocks disagree");
        assert!(error.to_string().contains(words), "{error}");
        drop(soon(driver).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_for_another_mesh_is_refused() {
    let kit = Kit::new(TCP);
    let a = kit.start(1).await;
    let invite = invite(&kit, vec![a.address()], [1; 16]);
    let mut genesis = kit.genesis.clone();
    genesis.founder = key(5).node();
    let welcome = Welcome {
        genesis,
        now: stamp(),
        cert: kit.cert(key(2).node()),
        contacts: Vec::new(),
    };
    let driver = answer_once(a, welcome);
    let joined = soon(join(&invite, &key(2), &[Platform::here()])).await;
    assert!(matches!(joined, Err(JoinError::OtherMesh)), "{joined:?}");
    drop(soon(driver).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_that_answers_is_enough() {
    let kit = Kit::new(TCP);
    let a = kit.start(1).await;
    let other = kit.start(5).await;
    let bare = |node: &Node| {
        let address = node.address();
        let (bare, _) = address.split_once("/p2p/").expect("it names the node");
        bare.to_owned()
    };
    let addresses = vec!["/dns4/x/tcp/1".to_owned(), bare(&other), bare(&a)];
    let invite = invite(&kit, addresses, [1; 16]);
    let driver = decide(Kit::new(TCP), a, invite.secret());
    let joined = soon(join(&invite, &key(2), &[Platform::here()])).await;
    joined.expect("the founder is at one of them");
    driver.abort();
}

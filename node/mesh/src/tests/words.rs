use caravan_protocol::time::Stamp;

use super::{
    kit::{Kit, QUIC, TCP, key},
    rogue::Rogue,
};
use crate::{Event, Refusal, actor::stamp, wire::Answer};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peer_of_an_older_version_is_told_so_in_its_own() {
    let kit = Kit::new(TCP);
    let mut a = kit.start(1).await;
    let mut rogue = Rogue::connect(&key(66), kit.roster().mesh(), &a.address()).await;
    let hello = rogue.older(vec![0, 0, 0, 0, 1, 2, 3]).await;
    let words = match Answer::decode(&hello) {
        Ok(Answer::Unwelcome(words)) => words,
        other => panic!("{other:?}"),
    };
    assert!(words.contains("update yours"), "{words}");
    let join = rogue.older(vec![1, 0, 0, 0]).await;
    assert!(
        matches!(
            Answer::decode(&join),
            Ok(Answer::Refused(Refusal::Other(_)))
        ),
        "{join:?}"
    );
    let told = a
        .until(|event| match event {
            Event::OtherVersion { node, reason, .. } => Some((node, reason)),
            _ => None,
        })
        .await;
    assert_eq!(told.0, Some(key(66).node()));
    assert!(told.1.contains("older"), "{}", told.1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peer_that_speaks_no_common_version_is_named() {
    use futures::StreamExt as _;
    use libp2p::{StreamProtocol, request_response::ProtocolSupport};

    let kit = Kit::new(QUIC);
    let mut a = kit.start(1).await;
    // A caravan of the future, which has dropped this version.
    let newer = key(66);
    let protocol = (
        StreamProtocol::new("/caravan/admit/9"),
        ProtocolSupport::Full,
    );
    let frames = crate::frames::Frames { bytes_max: 1000 };
    let behaviour = crate::behaviour::Rpc::with_codec(frames, [protocol], Default::default());
    let keypair = crate::names::keypair(&newer.secret());
    let mut swarm = crate::behaviour::swarm(keypair, &crate::Timing::default(), behaviour)
        .expect("a swarm is made");
    let anywhere = QUIC.parse().expect("an address");
    swarm.listen_on(anywhere).expect("it listens");
    let address = loop {
        if let libp2p::swarm::SwarmEvent::NewListenAddr { address, .. } =
            swarm.select_next_some().await
        {
            break address;
        }
    };
    let running = tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    a.handle.dial(&address.to_string()).expect("a good address");
    let (node, reason) = a
        .until(|event| match event {
            Event::OtherVersion { node, reason, .. } => Some((node, reason)),
            _ => None,
        })
        .await;
    assert_eq!(node, Some(newer.node()));
    assert!(reason.contains("too old"), "{reason}");
    running.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_machines_with_one_key_are_found_out() {
    let kit = Kit::new(TCP);
    let mut a = kit.start(1).await;
    let one = kit.start(2).await;
    let two = kit.start(2).await;
    one.handle.dial(&a.address()).expect("a good address");
    a.up(one.id).await;
    // Each of them takes the connection from the other, again and again.
    two.handle.dial(&a.address()).expect("a good address");
    let (node, addresses) = a
        .until(|event| match event {
            Event::Twin { node, addresses } => Some((node, addresses)),
            _ => None,
        })
        .await;
    assert_eq!(node, one.id);
    assert!(addresses.len() >= 2, "{addresses:?}");
    let mut twins = [one, two];
    let [one, two] = &mut twins;
    let refused = |event| match event {
        Event::Unwelcome { reason, .. } => Some(reason),
        _ => None,
    };
    let reason = tokio::select! {
        reason = one.until(refused) => reason,
        reason = two.until(refused) => reason,
    };
    assert!(reason.contains("two machines"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clock_that_is_hours_off_is_told_and_named_in_refusals() {
    let kit = Kit::new(TCP);
    let mut a = kit.start(1).await;
    let hour = 3_600_000;
    let rogue_key = key(66);
    let theirs = Stamp::from_ms(stamp().as_ms() + 5 * hour);
    let mut rogue = Rogue::connect(&rogue_key, kit.roster().mesh(), &a.address()).await;
    let answer = rogue
        .hello_with(kit.cert(rogue_key.node()), |hello| hello.now = theirs)
        .await;
    assert!(matches!(answer, Answer::Hello(_)), "{answer:?}");
    let (node, ahead_ms) = a
        .until(|event| match event {
            Event::Clock { node, ahead_ms } => Some((node, ahead_ms)),
            _ => None,
        })
        .await;
    assert_eq!((node, ahead_ms / 1_000_000), (rogue_key.node(), 17));
    let own = a.handle.clock_ahead_ms().expect("the only peer says so");
    assert!((-18_000_000..-17_900_000).contains(&own), "{own}");
    // One whose certificate begins only by its own clock.
    let early = key(67);
    let begins = stamp().as_ms() + 4 * hour;
    let cert = kit.cert_between(&kit.founder, early.node(), begins, begins + hour);
    let mut rogue = Rogue::connect(&early, kit.roster().mesh(), &a.address()).await;
    let answer = rogue.hello_with(cert, |hello| hello.now = theirs).await;
    let Answer::Unwelcome(words) = answer else {
        panic!("{answer:?}");
    };
    assert!(
        words.contains("4 h 59 min ahead") || words.contains("5 h 0 min ahead"),
        "{words}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_at_the_first_address_is_said_and_tried_again() {
    let kit = Kit::new(TCP);
    let free = {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        socket.local_addr().expect("it is bound").port()
    };
    let address = format!("/ip4/127.0.0.1/tcp/{free}");
    let mut b = kit
        .start_with(2, |config| config.seeds = vec![address.clone()])
        .await;
    let reason = b
        .until(|event| match event {
            Event::Waiting { reason } => Some(reason),
            _ => None,
        })
        .await;
    assert!(
        reason.contains("refused") && reason.contains(&address),
        "{reason}"
    );
    assert_eq!(b.handle.waiting(), Some(reason));
    let mut a = kit
        .start_with(1, |config| config.listen = vec![address])
        .await;
    b.up(a.id).await;
    a.up(b.id).await;
    super::kit::soon(async {
        while b.handle.waiting().is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

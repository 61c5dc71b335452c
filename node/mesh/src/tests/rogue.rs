//! A peer that keeps no rules: a swarm driven by the test itself.

use std::sync::Arc;

use caravan_protocol::{
    identity::{Key, NodeCert, Signed},
    ids::MeshId,
};
use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::{
    PeerId, StreamProtocol, Swarm,
    gossipsub::IdentTopic,
    request_response::{Event as RpcEvent, Message},
    swarm::SwarmEvent,
};

use super::kit::soon;
use crate::{
    Timing,
    actor::{Happened, stamp},
    behaviour::{self, Behaviour, BehaviourEvent, MembersEvent, Parts},
    frames::Frames,
    names,
    wire::{Answer, Greeting, Hello},
};

pub(super) struct Rogue {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) victim: PeerId,
}

impl Rogue {
    /// A rogue that is connected.
    pub(super) async fn connect(key: &Key, mesh: MeshId, address: &str) -> Self {
        let keypair = names::keypair(&key.secret());
        let timing = Timing::default();
        let parts = Parts {
            mesh,
            timing,
            mdns: false,
            serve_relay: false,
            tally: Arc::default(),
        };
        let mut swarm = behaviour::member_swarm(keypair, &parts).expect("a swarm is made");
        // Its frames may be as long as it likes.
        let name = crate::wire::CONTROL;
        let protocol = (
            StreamProtocol::new(name),
            libp2p::request_response::ProtocolSupport::Full,
        );
        let frames = Frames {
            bytes_max: usize::MAX,
        };
        swarm.behaviour_mut().members.inner().control =
            behaviour::Rpc::with_codec(frames, [protocol], Default::default());
        // It may ask in old words as well.
        let older = (
            StreamProtocol::new(crate::wire::OLDER_ADMIT),
            libp2p::request_response::ProtocolSupport::Full,
        );
        swarm.behaviour_mut().older =
            behaviour::Rpc::with_codec(frames, [older], Default::default());
        let address = names::parse_address(address).expect("a good address");
        let (_, victim) = names::split_peer(address.clone());
        let victim = victim.expect("the address names the victim");
        swarm.dial(address).expect("the dial begins");
        let mut rogue = Self { swarm, victim };
        rogue
            .until(|event| matches!(event, SwarmEvent::ConnectionEstablished { .. }).then_some(()))
            .await;
        rogue
    }

    pub(super) async fn until<T>(&mut self, mut pick: impl FnMut(&Happened) -> Option<T>) -> T {
        soon(async {
            loop {
                let event = self.swarm.select_next_some().await;
                if let Some(picked) = pick(&event) {
                    return picked;
                }
            }
        })
        .await
    }

    /// Runs the swarm while `other` is awaited; whether any digest was heard meanwhile.
    pub(super) async fn while_awaiting<T>(&mut self, other: impl Future<Output = T>) -> (T, bool) {
        let mut heard = false;
        tokio::pin!(other);
        loop {
            tokio::select! {
                done = &mut other => return (done, heard),
                event = self.swarm.select_next_some() => {
                    heard |= matches!(
                        event,
                        SwarmEvent::Behaviour(BehaviourEvent::Members(MembersEvent::Gossip(
                            libp2p::gossipsub::Event::Message { .. }
                        )))
                    );
                }
            }
        }
    }

    pub(super) async fn closed(&mut self) {
        self.until(|event| matches!(event, SwarmEvent::ConnectionClosed { .. }).then_some(()))
            .await;
    }

    pub(super) fn greet(&mut self, bytes: Vec<u8>) {
        let victim = self.victim;
        self.swarm
            .behaviour_mut()
            .admit
            .send_request(&victim, bytes);
    }

    /// Opens its own side for everything.
    pub(super) fn open(&mut self) {
        let victim = self.victim;
        self.swarm.behaviour_mut().members.admit(victim);
    }

    /// Says hello with any certificate; the answer.
    pub(super) async fn hello(&mut self, cert: Signed<NodeCert>) -> Answer {
        self.hello_with(cert, |_| {}).await
    }

    /// The same, with whatever else is to be different.
    pub(super) async fn hello_with(
        &mut self,
        cert: Signed<NodeCert>,
        adjust: impl FnOnce(&mut Hello),
    ) -> Answer {
        let mut hello = Hello {
            meeting: 1,
            life: 1,
            now: stamp(),
            cert,
            addresses: vec!["/ip4/127.0.0.1/tcp/1".to_owned(), "nonsense".to_owned()],
            contacts: Vec::new(),
            revoked: Vec::new(),
        };
        adjust(&mut hello);
        self.greet(Greeting::Hello(hello).encode().expect("it is small"));
        let answer = self
            .until(|event| match event {
                SwarmEvent::Behaviour(BehaviourEvent::Admit(RpcEvent::Message {
                    message: Message::Response { response, .. },
                    ..
                })) => Some(Answer::decode(response).expect("an answer")),
                _ => None,
            })
            .await;
        self.open();
        answer
    }

    /// Sends a control frame; whether it was answered.
    pub(super) async fn control(&mut self, frame: Vec<u8>) -> bool {
        let victim = self.victim;
        let members = self.swarm.behaviour_mut().members.inner();
        members.control.send_request(&victim, frame);
        self.until(|event| match event {
            SwarmEvent::Behaviour(BehaviourEvent::Members(MembersEvent::Control(event))) => {
                match event {
                    RpcEvent::Message { .. } => Some(true),
                    RpcEvent::OutboundFailure { .. } => Some(false),
                    _ => None,
                }
            }
            _ => None,
        })
        .await
    }

    /// Opens a stream of the membership protocol, writes, and waits until the connection or the
    /// stream is closed by the other side; whether the connection was.
    pub(super) async fn frames(&mut self, bytes: Vec<u8>) -> bool {
        let victim = self.victim;
        let members = self.swarm.behaviour_mut().members.inner();
        let mut control = members.streams.new_control();
        let work = async move {
            let protocol = StreamProtocol::new(crate::wire::MEMBER);
            let Ok(mut stream) = control.open_stream(victim, protocol).await else {
                return;
            };
            let _ = stream.write_all(&bytes).await;
            let _ = stream.flush().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        };
        soon(self.while_awaiting(work)).await;
        soon(async {
            while self.swarm.is_connected(&victim) {
                self.swarm.select_next_some().await;
            }
        })
        .await;
        true
    }

    /// Says something in the version before this one; the answer's bytes.
    pub(super) async fn older(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        let victim = self.victim;
        let behaviour = self.swarm.behaviour_mut();
        behaviour.older.send_request(&victim, bytes);
        self.until(|event| match event {
            SwarmEvent::Behaviour(BehaviourEvent::Older(RpcEvent::Message {
                message: Message::Response { response, .. },
                ..
            })) => Some(response.clone()),
            _ => None,
        })
        .await
    }

    pub(super) fn subscribe(&mut self, topic: &str) {
        let members = self.swarm.behaviour_mut().members.inner();
        let subscribed = members.gossip.subscribe(&IdentTopic::new(topic));
        subscribed.expect("the topic is one of the mesh");
    }
}

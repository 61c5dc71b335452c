//! A peer that breaks the rules, for measuring what a node does about one: a member, for it shows a
//! certificate, that says what it likes as fast as it can. It owns its connection and keeps nothing
//! else; no node is ever built with it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use caravan_protocol::{
    codec::CodecError,
    identity::{Key, NodeCert, Signed},
    member::Message as MemberMessage,
};
use futures::{AsyncWriteExt as _, StreamExt as _};
use libp2p::{
    PeerId, StreamProtocol, Swarm,
    request_response::{self, Event as RpcEvent, Message, ProtocolSupport},
    swarm::{DialError, NetworkBehaviour, SwarmEvent},
};
use tokio::time::MissedTickBehavior;

use crate::{
    actor::stamp,
    behaviour::{self, Rpc, SetupError},
    config::Timing,
    frames::Frames,
    names::{self, AddressError},
    streams::{self, Control, Offer},
    wire::{self, Answer, Greeting, Hello},
};

pub mod bulk;

/// Time between two bursts.
const BEAT: Duration = Duration::from_millis(10);
/// Streams that it has open at once, which is more than it may.
const STREAMS_MAX: usize = 4096;
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Why a rogue is not let in.
#[derive(Debug, thiserror::Error)]
pub enum RogueError {
    /// The address of its victim is of no use.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The address does not say whose it is.
    #[error("attack {0}: the address names no node")]
    Nobody(String),
    /// Nobody answers.
    #[error("attack a node: it cannot be dialled")]
    Dial(#[from] DialError),
    /// It is turned away, or not answered in time.
    #[error("attack a node: it turned the rogue away")]
    TurnedAway,
    /// Its hello cannot be encoded.
    #[error("attack a node")]
    Codec(#[from] CodecError),
    /// The network library could not be set up.
    #[error("set up the network: {0}")]
    Setup(String),
}

impl From<SetupError> for RogueError {
    fn from(error: SetupError) -> Self {
        Self::Setup(error.to_string())
    }
}

/// A member that breaks the rules.
#[derive(Debug)]
pub struct Rogue {
    key: Key,
    cert: Signed<NodeCert>,
}

#[derive(NetworkBehaviour)]
struct Lawless {
    admit: Rpc,
    control: Rpc,
    streams: streams::Behaviour,
}

/// A rogue that a node has let in.
pub struct Connected {
    swarm: Swarm<Lawless>,
    victim: PeerId,
    streams: Control,
}

impl std::fmt::Debug for Connected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connected(to {})", self.victim)
    }
}

impl Rogue {
    /// The member with this key and certificate.
    #[must_use]
    pub const fn new(key: Key, cert: Signed<NodeCert>) -> Self {
        Self { key, cert }
    }

    /// Connects to the node at `address`, which names it, and shows its certificate there.
    pub async fn connect(&self, address: &str) -> Result<Connected, RogueError> {
        let timing = Timing::default();
        let (_, victim) = names::split_peer(names::parse_address(address)?);
        let victim = victim.ok_or_else(|| RogueError::Nobody(address.to_owned()))?;
        let offer = Offer {
            protocol: StreamProtocol::new(wire::MEMBER),
            direct: false,
        };
        let streams = streams::Behaviour::new(vec![offer]);
        let control = streams.new_control();
        let lawless = Lawless {
            admit: behaviour::admission(&timing),
            control: boundless(),
            streams,
        };
        let keypair = names::keypair(&self.key.secret());
        let mut swarm = behaviour::swarm(keypair, &timing, lawless)?;
        swarm.dial(names::parse_address(address)?)?;
        let mut connected = Connected {
            swarm,
            victim,
            streams: control,
        };
        let greeted = tokio::time::timeout(WAIT_MAX, connected.greet(self.cert.clone())).await;
        greeted.map_err(|_| RogueError::TurnedAway)??;
        Ok(connected)
    }
}

/// The control protocol without its bounds.
fn boundless() -> Rpc {
    let frames = Frames {
        bytes_max: usize::MAX,
    };
    let protocol = (StreamProtocol::new(wire::CONTROL), ProtocolSupport::Full);
    let config = request_response::Config::default().with_max_concurrent_streams(STREAMS_MAX);
    Rpc::with_codec(frames, [protocol], config)
}

impl Connected {
    async fn greet(&mut self, cert: Signed<NodeCert>) -> Result<(), RogueError> {
        let hello = Hello {
            meeting: 1,
            life: 1,
            now: stamp(),
            cert,
            addresses: Vec::new(),
            contacts: Vec::new(),
            revoked: Vec::new(),
        };
        let hello = Greeting::Hello(hello).encode()?;
        let victim = self.victim;
        loop {
            match self.swarm.select_next_some().await {
                SwarmEvent::ConnectionEstablished { .. } => {
                    let admit = &mut self.swarm.behaviour_mut().admit;
                    admit.send_request(&victim, hello.clone());
                }
                SwarmEvent::Behaviour(LawlessEvent::Admit(RpcEvent::Message {
                    message: Message::Response { response, .. },
                    ..
                })) => {
                    return match Answer::decode(&response) {
                        Ok(Answer::Hello(_)) => Ok(()),
                        _ => Err(RogueError::TurnedAway),
                    };
                }
                SwarmEvent::ConnectionClosed { .. }
                | SwarmEvent::OutgoingConnectionError { .. } => return Err(RogueError::TurnedAway),
                _ => {}
            }
        }
    }

    /// Sends so many messages in each second, by turns a batch of one, a question, and a probe of
    /// membership, until it is cut off or `stop` is set; how many it sent.
    pub async fn flood(&mut self, per_s: u32, stop: &AtomicBool) -> u64 {
        let per_beat = per_s.div_ceil(u32::try_from(1000 / BEAT.as_millis()).unwrap_or(1));
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (probes, written) = tokio::sync::mpsc::channel(STREAMS_MAX);
        let mut probing = Box::pin(probe(self.victim, self.streams.clone(), written));
        let mut is_probing = true;
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            tokio::select! {
                event = self.swarm.select_next_some() => {
                    if matches!(event, SwarmEvent::ConnectionClosed { .. }) {
                        break;
                    }
                }
                () = &mut probing, if is_probing => is_probing = false,
                _ = beat.tick() => {
                    for _ in 0..per_beat {
                        match sent % 3 {
                            0 => self.say(&wire::Control::Batch(vec![b"noise".to_vec()])),
                            1 => self.say(&wire::Control::Ask(b"noise?".to_vec())),
                            _ => drop(probes.try_send(sent)),
                        }
                        sent += 1;
                    }
                }
            }
        }
        sent
    }

    fn say(&mut self, frame: &wire::Control) {
        let victim = self.victim;
        let control = &mut self.swarm.behaviour_mut().control;
        control.send_request(&victim, frame.encode());
    }
}

/// Writes a probe for each number that comes, on a stream of membership, until that fails.
async fn probe(
    victim: PeerId,
    mut streams: Control,
    mut numbers: tokio::sync::mpsc::Receiver<u64>,
) {
    let protocol = StreamProtocol::new(wire::MEMBER);
    let Ok(mut stream) = streams.open_stream(victim, protocol).await else {
        return;
    };
    while let Some(number) = numbers.recv().await {
        let number = u32::try_from(number & 0xffff_ffff).unwrap_or_default();
        let message = MemberMessage::Probe { number, view: 7 };
        let Ok(bytes) = message.encode() else { return };
        let length = u32::try_from(bytes.len()).unwrap_or_default().to_be_bytes();
        let mut frame = length.to_vec();
        frame.extend_from_slice(&bytes);
        if stream.write_all(&frame).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

//! The swarm: transports and behaviours put together. Nothing here knows what is said.

use std::time::Duration;

use caravan_protocol::{ids::MeshId, limits::GOSSIP_BYTES_MAX};
use libp2p::{
    StreamProtocol, Swarm, SwarmBuilder, allow_block_list, connection_limits, gossipsub, identify,
    identity::Keypair,
    mdns, noise, ping, request_response,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
    tcp, yamux,
};

use crate::{
    config::Timing,
    frames::Frames,
    gate::Gate,
    limits::{
        CONNECTIONS_MAX, CONNECTIONS_PER_PEER_MAX, CONTROL_BYTES_MAX, CONTROL_STREAMS_MAX,
        GREETING_BYTES_MAX, GREETING_STREAMS_MAX, PENDING_MAX, STRANGERS_MAX, TOPICS_MAX,
    },
    wire,
};

/// Asking and answering in frames.
pub(crate) type Rpc = request_response::Behaviour<Frames>;
pub(crate) type RpcEvent = request_response::Event<Vec<u8>, Vec<u8>>;
type Topics = gossipsub::MaxCountSubscriptionFilter<TopicsOf>;
pub(crate) type Gossip = gossipsub::Behaviour<gossipsub::IdentityTransform, Topics>;

/// Bytes that gossipsub adds to a message: author, signature, key, number and topic.
const GOSSIP_ENVELOPE_MAX: usize = 1024;
/// Connections of members stay open though nothing is said; the ping finds the dead ones.
const IDLE: Duration = Duration::from_secs(365 * 24 * 3600);

/// The topics that anyone may subscribe to: offers of this mesh.
pub(crate) struct TopicsOf(MeshId);

impl gossipsub::TopicSubscriptionFilter for TopicsOf {
    fn can_subscribe(&mut self, topic: &gossipsub::TopicHash) -> bool {
        wire::platform_of(self.0, topic.as_str()).is_some()
    }
}

/// What only members may use.
#[derive(NetworkBehaviour)]
pub(crate) struct Members {
    pub(crate) gossip: Gossip,
    pub(crate) control: Rpc,
    pub(crate) streams: libp2p_stream::Behaviour,
}

/// Everything. Those that can refuse a connection come first: the others keep tables that a late
/// refusal would leave behind.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) blocked: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    pub(crate) members: Gate<Members>,
    pub(crate) admit: Rpc,
    pub(crate) ping: ping::Behaviour,
    pub(crate) identify: identify::Behaviour,
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
}

/// Why no swarm could be made.
#[derive(Debug, thiserror::Error)]
#[error("set up {part}: {reason}")]
pub(crate) struct SetupError {
    part: &'static str,
    reason: String,
}

fn failed(part: &'static str) -> impl Fn(String) -> SetupError {
    move |reason| SetupError { part, reason }
}

/// The protocol by which strangers are told from members.
pub(crate) fn admission(timing: &Timing) -> Rpc {
    let frames = Frames {
        bytes_max: GREETING_BYTES_MAX,
    };
    rpc(wire::ADMIT, frames, timing, GREETING_STREAMS_MAX)
}

fn rpc(name: &'static str, frames: Frames, timing: &Timing, streams_max: usize) -> Rpc {
    let config = request_response::Config::default()
        .with_request_timeout(timing.answer)
        .with_max_concurrent_streams(streams_max);
    let protocol = (
        StreamProtocol::new(name),
        request_response::ProtocolSupport::Full,
    );
    Rpc::with_codec(frames, [protocol], config)
}

/// A swarm with `behaviour` on TCP and QUIC.
pub(crate) fn swarm<B: NetworkBehaviour>(
    keypair: Keypair,
    timing: &Timing,
    behaviour: B,
) -> Result<Swarm<B>, SetupError> {
    let loss = timing.ping_pause + timing.ping_answer;
    let builder = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )
        .map_err(|error| failed("TCP")(error.to_string()))?
        .with_quic_config(|mut config| {
            config.keep_alive_interval = timing.ping_pause;
            config.max_idle_timeout = u32::try_from(loss.as_millis()).unwrap_or(u32::MAX);
            config
        })
        .with_behaviour(|_| behaviour)
        .map_err(|error| failed("the protocols")(error.to_string()))?;
    Ok(builder
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
        .build())
}

impl Behaviour {
    pub(crate) fn new(
        keypair: &Keypair,
        mesh: MeshId,
        timing: &Timing,
        mdns: bool,
    ) -> Result<Self, SetupError> {
        let peer = keypair.public().to_peer_id();
        let limits = connection_limits::ConnectionLimits::default()
            .with_max_pending_incoming(Some(PENDING_MAX))
            .with_max_pending_outgoing(Some(PENDING_MAX))
            .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX))
            .with_max_established(Some(CONNECTIONS_MAX));
        let members = Members {
            gossip: gossip(keypair, mesh)?,
            control: rpc(
                wire::CONTROL,
                Frames {
                    bytes_max: CONTROL_BYTES_MAX,
                },
                timing,
                CONTROL_STREAMS_MAX,
            ),
            streams: libp2p_stream::Behaviour::new(),
        };
        let ping = ping::Config::new()
            .with_interval(timing.ping_pause)
            .with_timeout(timing.ping_answer);
        // Addresses are for members and go with the hello.
        let identify = identify::Config::new("caravan/1".to_owned(), keypair.public())
            .with_agent_version("caravan".to_owned())
            .with_hide_listen_addrs(true)
            .with_cache_size(0);
        let mdns = if mdns {
            let behaviour = mdns::tokio::Behaviour::new(mdns::Config::default(), peer)
                .map_err(|error| failed("mDNS")(error.to_string()))?;
            Some(behaviour)
        } else {
            None
        };
        Ok(Self {
            limits: connection_limits::Behaviour::new(limits),
            blocked: allow_block_list::Behaviour::default(),
            members: Gate::new(members, STRANGERS_MAX),
            admit: admission(timing),
            ping: ping::Behaviour::new(ping),
            identify: identify::Behaviour::new(identify),
            mdns: mdns.into(),
        })
    }
}

fn gossip(keypair: &Keypair, mesh: MeshId) -> Result<Gossip, SetupError> {
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(gossipsub::ValidationMode::Strict)
        .validate_messages()
        .max_transmit_size(GOSSIP_BYTES_MAX + GOSSIP_ENVELOPE_MAX)
        .heartbeat_initial_delay(Duration::from_millis(500))
        .heartbeat_interval(Duration::from_secs(1))
        .message_id_fn(message_id)
        .build()
        .map_err(|error| failed("gossip")(error.to_string()))?;
    let filter = gossipsub::MaxCountSubscriptionFilter {
        filter: TopicsOf(mesh),
        max_subscribed_topics: TOPICS_MAX,
        max_subscriptions_per_request: TOPICS_MAX,
    };
    Gossip::new_with_subscription_filter(
        gossipsub::MessageAuthenticity::Signed(keypair.clone()),
        config,
        filter,
    )
    .map_err(|error| failed("gossip")(error.to_owned()))
}

/// Names a message by author, number, topic and content. Content alone would let a member silence
/// another by saying its words first, and would keep an author from saying the same again to those
/// who have come since.
fn message_id(message: &gossipsub::Message) -> gossipsub::MessageId {
    let mut hasher = blake3::Hasher::new();
    if let Some(source) = message.source {
        hasher.update(&source.to_bytes());
    }
    hasher.update(&message.sequence_number.unwrap_or_default().to_be_bytes());
    hasher.update(message.topic.as_str().as_bytes());
    hasher.update(&[0]);
    hasher.update(&message.data);
    gossipsub::MessageId::new(hasher.finalize().as_bytes())
}

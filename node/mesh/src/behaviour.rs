//! The swarm: transports and behaviours put together. Nothing here knows what is said.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use caravan_protocol::{
    ids::MeshId,
    limits::{
        GOSSIP_BYTES_MAX, RELAY_CIRCUIT_BYTES_MAX, RELAY_CIRCUIT_MS_MAX, RELAY_CIRCUITS_MAX,
        RELAY_CIRCUITS_PER_PEER_MAX, RELAY_RESERVATIONS_MAX, STRANGERS_MAX,
    },
};
use libp2p::{
    StreamProtocol, Swarm, SwarmBuilder, allow_block_list, connection_limits, dcutr, gossipsub,
    identify,
    identity::Keypair,
    mdns, noise, quic, relay, request_response,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
    tcp, yamux,
};

use crate::{
    config::Timing,
    counters::Tally,
    doorman::Doorman,
    frames::Frames,
    gate::Gate,
    limits::{
        CONNECTION_WINDOW_BYTES, CONNECTIONS_MAX, CONNECTIONS_PER_PEER_MAX, CONTROL_BYTES_MAX,
        CONTROL_STREAMS_MAX, GREETING_BYTES_MAX, GREETING_STREAMS_MAX, PENDING_MAX, RELAY_BURST,
        RELAY_PAUSE, STREAM_WINDOW_BYTES, TOPICS_MAX,
    },
    streams::{self, Offer},
    wire,
};

/// Asking and answering in frames.
pub(crate) type Rpc = request_response::Behaviour<Frames>;
pub(crate) type RpcEvent = request_response::Event<Vec<u8>, Vec<u8>>;
type Topics = gossipsub::MaxCountSubscriptionFilter<TopicsOf>;
pub(crate) type Gossip = gossipsub::Behaviour<gossipsub::IdentityTransform, Topics>;

/// Bytes that gossipsub adds to a message: author, signature, key, number and topic.
const GOSSIP_ENVELOPE_MAX: usize = 1024;
/// Connections of members stay open though nothing is said. What watches over them is the
/// membership engine's probes; the rest only has to notice in the end.
const IDLE: Duration = Duration::from_secs(365 * 24 * 3600);
/// Pause between two rounds of telling each other what was observed.
const IDENTIFY: Duration = Duration::from_secs(3600);

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
    pub(crate) streams: streams::Behaviour,
    /// Tells each other which address the other was seen at; hole punching needs it.
    pub(crate) identify: identify::Behaviour,
    /// Relays signalling between members that cannot reach each other.
    pub(crate) relay: Toggle<relay::Behaviour>,
    /// Is reached through such a relay.
    pub(crate) relayed: relay::client::Behaviour,
    /// Makes direct connections out of relayed ones.
    pub(crate) punch: dcutr::Behaviour,
}

/// Everything. Those that can refuse a connection come first: the others keep tables that a late
/// refusal would leave behind.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) doorman: Doorman,
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) blocked: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    pub(crate) members: Gate<Members>,
    pub(crate) admit: Rpc,
    /// Tells peers of older versions, in their own, that they are too old.
    pub(crate) older: Rpc,
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
}

/// What a node's behaviours are made of.
pub(crate) struct Parts {
    pub(crate) mesh: MeshId,
    pub(crate) timing: Timing,
    pub(crate) mdns: bool,
    pub(crate) serve_relay: bool,
    pub(crate) tally: Arc<Tally>,
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

/// A swarm with `behaviour` on TCP and QUIC, which is no member's and knows no relay.
pub(crate) fn swarm<B: NetworkBehaviour>(
    keypair: Keypair,
    timing: &Timing,
    behaviour: B,
) -> Result<Swarm<B>, SetupError> {
    let timing = *timing;
    let builder = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(nodelay(), noise::Config::new, multiplex)
        .map_err(|error| failed("TCP")(error.to_string()))?
        .with_quic_config(move |config| over_quic(config, &timing))
        .with_behaviour(|_| behaviour)
        .map_err(|error| failed("the protocols")(error.to_string()))?;
    Ok(builder
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
        .build())
}

/// A node's swarm: TCP, QUIC, and circuits through other members.
pub(crate) fn member_swarm(
    keypair: Keypair,
    parts: &Parts,
) -> Result<Swarm<Behaviour>, SetupError> {
    let timing = parts.timing;
    let builder = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(nodelay(), noise::Config::new, multiplex)
        .map_err(|error| failed("TCP")(error.to_string()))?
        .with_quic_config(move |config| over_quic(config, &timing))
        .with_relay_client(noise::Config::new, multiplex)
        .map_err(|error| failed("relaying")(error.to_string()))?
        .with_behaviour(|keypair, relayed| {
            Behaviour::new(keypair, parts, relayed)
                .map_err(Box::<dyn std::error::Error + Send + Sync>::from)
        })
        .map_err(|error| failed("the protocols")(error.to_string()))?;
    Ok(builder
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
        .build())
}

fn nodelay() -> tcp::Config {
    tcp::Config::default().nodelay(true)
}

fn multiplex() -> yamux::Config {
    yamux::Config::default()
}

/// A connection of which nothing is heard ends in the end; what the engine probes ends sooner. The
/// windows bound what a peer can make this node hold by sending what nobody reads.
fn over_quic(mut config: quic::Config, timing: &Timing) -> quic::Config {
    config.keep_alive_interval = timing.keep_alive;
    let idle = timing.keep_alive.saturating_mul(3).as_millis();
    config.max_idle_timeout = u32::try_from(idle).unwrap_or(u32::MAX);
    config.max_stream_data = STREAM_WINDOW_BYTES;
    config.max_connection_data = CONNECTION_WINDOW_BYTES;
    config
}

impl Behaviour {
    fn new(
        keypair: &Keypair,
        parts: &Parts,
        relayed: relay::client::Behaviour,
    ) -> Result<Self, SetupError> {
        let peer = keypair.public().to_peer_id();
        let timing = &parts.timing;
        let limits = connection_limits::ConnectionLimits::default()
            .with_max_pending_incoming(Some(PENDING_MAX))
            .with_max_pending_outgoing(Some(PENDING_MAX))
            .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX))
            .with_max_established(Some(CONNECTIONS_MAX));
        let frames = Frames {
            bytes_max: CONTROL_BYTES_MAX,
        };
        // Addresses are for members and go with the hello.
        let identify = identify::Config::new("caravan/2".to_owned(), keypair.public())
            .with_agent_version("caravan".to_owned())
            .with_interval(IDENTIFY)
            .with_hide_listen_addrs(true)
            .with_cache_size(0);
        let members = Members {
            gossip: gossip(keypair, parts.mesh)?,
            control: rpc(wire::CONTROL, frames, timing, CONTROL_STREAMS_MAX),
            streams: streams::Behaviour::new(vec![
                Offer {
                    protocol: StreamProtocol::new(wire::BLOBS),
                    direct: true,
                },
                Offer {
                    protocol: StreamProtocol::new(wire::MEMBER),
                    direct: false,
                },
            ]),
            identify: identify::Behaviour::new(identify),
            relay: Toggle::from(parts.serve_relay.then(|| relay_for_members(keypair))),
            relayed,
            punch: dcutr::Behaviour::new(peer),
        };
        let mdns = if parts.mdns {
            let behaviour = mdns::tokio::Behaviour::new(mdns::Config::default(), peer)
                .map_err(|error| failed("mDNS")(error.to_string()))?;
            Some(behaviour)
        } else {
            None
        };
        Ok(Self {
            doorman: Doorman::new(Arc::clone(&parts.tally), std::time::Instant::now()),
            limits: connection_limits::Behaviour::new(limits),
            blocked: allow_block_list::Behaviour::default(),
            members: Gate::new(members, STRANGERS_MAX),
            admit: admission(timing),
            older: older(timing),
            mdns: Toggle::from(mdns),
        })
    }
}

/// Answers those who speak an older version of admission; it asks nobody.
fn older(timing: &Timing) -> Rpc {
    let frames = Frames {
        bytes_max: GREETING_BYTES_MAX,
    };
    let config = request_response::Config::default()
        .with_request_timeout(timing.answer)
        .with_max_concurrent_streams(1);
    let protocol = (
        StreamProtocol::new(wire::OLDER_ADMIT),
        request_response::ProtocolSupport::Inbound,
    );
    Rpc::with_codec(frames, [protocol], config)
}

/// A relay for those whom the gate lets through, which are members only.
fn relay_for_members(keypair: &Keypair) -> relay::Behaviour {
    let burst = NonZeroU32::new(RELAY_BURST).expect("it is no zero");
    let mut config = relay::Config {
        max_reservations: RELAY_RESERVATIONS_MAX,
        max_reservations_per_peer: 2,
        max_circuits: RELAY_CIRCUITS_MAX,
        max_circuits_per_peer: RELAY_CIRCUITS_PER_PEER_MAX,
        max_circuit_duration: Duration::from_millis(RELAY_CIRCUIT_MS_MAX),
        max_circuit_bytes: RELAY_CIRCUIT_BYTES_MAX,
        ..relay::Config::default()
    };
    config.reservation_rate_limiters.clear();
    config.circuit_src_rate_limiters.clear();
    let config = config
        .reservation_rate_per_peer(burst, RELAY_PAUSE)
        .circuit_src_per_peer(burst, RELAY_PAUSE);
    let mut relay = relay::Behaviour::new(keypair.public().to_peer_id(), config);
    relay.set_status(Some(relay::Status::Enable));
    relay
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

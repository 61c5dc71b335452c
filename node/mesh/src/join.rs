//! A stranger's way in: shows the secret of an invite to the inviting node and comes back with a
//! certificate. It runs before a mesh is started, on a swarm of its own that is gone afterwards.

use std::time::Duration;

use caravan_protocol::{
    codec::CodecError,
    identity::{Key, NodeCert, Refused, Roster, Signed, invite::Invite},
    ids::NodeId,
    platform::Platform,
};
use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, Swarm,
    request_response::{Event as RpcEvent, Message},
    swarm::{DialError, SwarmEvent, dial_opts::DialOpts},
};

use crate::{
    actor,
    behaviour::{self, Rpc},
    config::Timing,
    event::{Contact, Refusal, Welcome},
    names::{AddressError, keypair, parse_address, peer_of, split_peer},
    wire::{Admit, Answer, Greeting},
};

/// How long joining may take in all.
const JOIN_MAX: Duration = Duration::from_secs(30);

/// Why a node did not become a member.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The invite is too old, by this machine's clock.
    #[error("join: the invite has expired; ask for a new one")]
    Expired,
    /// The invite names no address that can be dialled.
    #[error("join: the invite names no address; ask for one from a node that can be reached")]
    NoAddress,
    /// An address of the invite cannot be read.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Nobody answers.
    #[error("reach the inviting node: no address answers ({reasons})")]
    NoAnswer {
        /// What happened at each address.
        reasons: String,
    },
    /// Somebody else answers.
    #[error("reach the inviting node: another node answers at {address}")]
    OtherNode {
        /// Where.
        address: String,
    },
    /// The inviting node says no.
    #[error("join: {0}")]
    Refused(#[source] Refusal),
    /// The connection ended before the answer, or the answer made no sense. The invite may have
    /// been used up; the same node may try it again.
    #[error("join: {reason}; try again with the same invite")]
    Lost {
        /// What happened.
        reason: String,
    },
    /// What the inviting node sent is no certificate for this node.
    #[error("join with the certificate that was sent")]
    BadCert(#[source] Refused),
    /// The certificate is about another node.
    #[error("join with the certificate that was sent: it is about {0}")]
    OtherCert(NodeId),
    /// The invite's founding record cannot be encoded.
    #[error("read the invite")]
    Invite(#[source] CodecError),
    /// The network library could not be set up.
    #[error("set up the network: {reason}")]
    Setup {
        /// Its words.
        reason: String,
    },
}

/// What a node has once it is a member.
#[derive(Debug, Clone)]
pub struct Joined {
    /// Its certificate.
    pub cert: Signed<NodeCert>,
    /// Other members that could be checked, the inviting node with its addresses among them if it
    /// named itself.
    pub contacts: Vec<Contact>,
    /// A roster of all of them.
    pub roster: Roster,
}

/// Joins the mesh of `invite` as the node of `key`.
pub async fn join(invite: &Invite, key: &Key, platforms: &[Platform]) -> Result<Joined, JoinError> {
    let roster = Roster::new(invite.genesis.clone()).map_err(JoinError::Invite)?;
    if actor::stamp() >= invite.expires {
        return Err(JoinError::Expired);
    }
    let (peer, addresses) = whom(invite)?;
    let timing = Timing::default();
    let behaviour = behaviour::admission(&timing);
    let setup = |error: behaviour::SetupError| JoinError::Setup {
        reason: error.to_string(),
    };
    let mut swarm = behaviour::swarm(keypair(&key.secret()), &timing, behaviour).map_err(setup)?;
    let admit = Admit {
        node: key.node(),
        secret: invite.secret,
        platforms: platforms.to_vec(),
    };
    let asked = tokio::time::timeout(JOIN_MAX, ask(&mut swarm, peer, addresses, admit)).await;
    let welcome = asked.map_err(|_| JoinError::Lost {
        reason: format!("no answer within {} s", JOIN_MAX.as_secs()),
    })??;
    check(roster, key.node(), welcome)
}

/// Whom to dial, and where. The inviting node is the founder unless the addresses say otherwise.
fn whom(invite: &Invite) -> Result<(PeerId, Vec<Multiaddr>), JoinError> {
    let mut peer = None;
    let mut addresses = Vec::new();
    for text in &invite.addresses {
        let (address, named) = split_peer(parse_address(text)?);
        peer = peer.or(named);
        addresses.push(address);
    }
    let founder = || peer_of(invite.genesis.founder);
    match peer.or_else(founder) {
        Some(peer) if !addresses.is_empty() => Ok((peer, addresses)),
        _ => Err(JoinError::NoAddress),
    }
}

async fn ask(
    swarm: &mut Swarm<Rpc>,
    peer: PeerId,
    addresses: Vec<Multiaddr>,
    admit: Admit,
) -> Result<Welcome, JoinError> {
    let greeting = Greeting::Admit(admit).encode().map_err(JoinError::Invite)?;
    let opts = DialOpts::peer_id(peer).addresses(addresses).build();
    swarm.dial(opts).map_err(|error| no_answer(&error))?;
    let lost = |reason: String| Err(JoinError::Lost { reason });
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { peer_id, .. } if peer_id == peer => {
                swarm.behaviour_mut().send_request(&peer, greeting.clone());
            }
            SwarmEvent::OutgoingConnectionError { error, .. } => return Err(no_answer(&error)),
            SwarmEvent::ConnectionClosed { .. } => {
                return lost("the inviting node closed the connection".to_owned());
            }
            SwarmEvent::Behaviour(RpcEvent::Message {
                message: Message::Response { response, .. },
                ..
            }) => {
                return match Answer::decode(&response) {
                    Ok(Answer::Welcome(welcome)) => Ok(welcome),
                    Ok(Answer::Refused(refusal)) => Err(JoinError::Refused(refusal)),
                    Ok(_) => lost("the inviting node answered something else".to_owned()),
                    Err(error) => lost(format!("the answer cannot be read: {error}")),
                };
            }
            SwarmEvent::Behaviour(RpcEvent::OutboundFailure { error, .. }) => {
                return lost(error.to_string());
            }
            _ => {}
        }
    }
}

fn no_answer(error: &DialError) -> JoinError {
    match error {
        DialError::WrongPeerId { address, .. } => JoinError::OtherNode {
            address: address.to_string(),
        },
        DialError::Transport(failures) => JoinError::NoAnswer {
            reasons: failures
                .iter()
                .map(|(address, error)| format!("{address}: {}", root(error)))
                .collect::<Vec<_>>()
                .join("; "),
        },
        other => JoinError::NoAnswer {
            reasons: other.to_string(),
        },
    }
}

/// The innermost cause, which is the one that people know.
pub(crate) fn root(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

fn check(mut roster: Roster, me: NodeId, welcome: Welcome) -> Result<Joined, JoinError> {
    let now = actor::stamp();
    let cert = roster
        .admit(&welcome.cert, now)
        .map_err(JoinError::BadCert)?;
    if cert.node != me {
        return Err(JoinError::OtherCert(cert.node));
    }
    let contacts = welcome
        .contacts
        .into_iter()
        .filter(|contact| roster.admit(&contact.cert, now).is_ok())
        .collect();
    Ok(Joined {
        cert: welcome.cert,
        contacts,
        roster,
    })
}

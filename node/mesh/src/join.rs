//! A stranger's way in: shows the secret of an invite to the inviting node and comes back with a
//! certificate. It runs before a mesh is started, on a swarm of its own that is gone afterwards.

use std::time::Duration;

use caravan_protocol::{
    codec::CodecError,
    identity::{
        Key, NodeCert, Refused, Roster, Signed,
        invite::{FounderHint, Invite},
    },
    ids::NodeId,
    platform::Platform,
    time::Stamp,
};
use futures::StreamExt as _;
use libp2p::{
    PeerId, Swarm,
    request_response::{Event as RpcEvent, Message},
    swarm::{DialError, SwarmEvent, dial_opts::DialOpts},
};

use crate::{
    actor,
    behaviour::{self, Rpc},
    config::Timing,
    event::{Contact, Refusal, Welcome},
    names::{AddressError, keypair, node_of, parse_address, split_peer},
    wire::{Admit, Answer, Greeting},
};

/// How long joining may take in all.
const JOIN_MAX: Duration = Duration::from_secs(30);
/// How far the two clocks may be apart: certificates begin that much before they are made.
const CLOCKS_MS_MAX: u64 = 120_000;

/// Why a node did not become a member.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The invite is too old, by this machine's clock, and nobody is there to ask.
    #[error(
        "join: the invite ended {} ago by this machine's clock, and no address answers; if the clock \
         is right, ask for a new invite",
        span(*.ago_ms)
    )]
    Expired {
        /// Since when, milliseconds.
        ago_ms: u64,
    },
    /// The clocks of the two machines disagree.
    #[error(
        "join: this machine's clock is {} {} the inviting node's; set it (`timedatectl set-ntp true`), \
         then join again with the same invite",
        span(*.apart_ms),
        if *.ahead { "ahead of" } else { "behind" }
    )]
    Clock {
        /// How far they are apart, milliseconds.
        apart_ms: u64,
        /// Whether this one is ahead.
        ahead: bool,
    },
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
    /// The inviting node tells of another mesh than its own.
    #[error("join: the inviting node answered for a mesh that it has not founded")]
    OtherMesh,
    /// What the two say cannot be encoded.
    #[error("speak to the inviting node")]
    Codec(#[source] CodecError),
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
    let dials = dials(invite)?;
    let timing = Timing::default();
    let behaviour = behaviour::admission(&timing);
    let setup = |error: behaviour::SetupError| JoinError::Setup {
        reason: error.to_string(),
    };
    let swarm = behaviour::swarm(keypair(&key.secret()), &timing, behaviour).map_err(setup)?;
    let admit = Admit {
        node: key.node(),
        secret: invite.secret(),
        platforms: platforms.to_vec(),
    };
    let asking = Asking {
        greeting: Greeting::Admit(admit).encode().map_err(JoinError::Codec)?,
        founder: invite.founder,
        swarm,
        asked: None,
        open: 0,
        failures: Vec::new(),
    };
    let asked = tokio::time::timeout(JOIN_MAX, asking.ask(dials)).await;
    let late = |_| JoinError::Lost {
        reason: format!("no answer within {} s", JOIN_MAX.as_secs()),
    };
    let welcome = match asked.map_err(late)? {
        // Its maker would know better, whatever the clock here says.
        Err(JoinError::NoAnswer { .. }) if actor::stamp() >= invite.expires => {
            let ago_ms = apart(actor::stamp(), invite.expires);
            return Err(JoinError::Expired { ago_ms });
        }
        asked => asked?,
    };
    check(invite.founder, key.node(), welcome)
}

/// Where to dial. An address that this version cannot use is passed over while there are others.
fn dials(invite: &Invite) -> Result<Vec<DialOpts>, JoinError> {
    let mut dials = Vec::new();
    let mut refused = None;
    for text in &invite.addresses {
        match parse_address(text).map(split_peer) {
            Ok((address, Some(peer))) => {
                let opts = DialOpts::peer_id(peer).addresses(vec![address]);
                dials.push(opts.build());
            }
            Ok((address, None)) => {
                dials.push(DialOpts::unknown_peer_id().address(address).build());
            }
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        _ if !dials.is_empty() => Ok(dials),
        Some(error) => Err(error.into()),
        None => Err(JoinError::NoAddress),
    }
}

/// The conversation with the inviting node, at whichever of its addresses answers first.
struct Asking {
    greeting: Vec<u8>,
    founder: FounderHint,
    swarm: Swarm<Rpc>,
    /// Who was recognised as the founder and shown the secret.
    asked: Option<PeerId>,
    /// Dials of which nothing is known yet.
    open: usize,
    /// What became of the others.
    failures: Vec<JoinError>,
}

impl Asking {
    async fn ask(mut self, dials: Vec<DialOpts>) -> Result<Welcome, JoinError> {
        for opts in dials {
            match self.swarm.dial(opts) {
                Ok(()) => self.open += 1,
                Err(error) => self.failures.push(no_answer(&error)),
            }
        }
        loop {
            if self.asked.is_none() && self.open == 0 {
                return Err(worst(self.failures));
            }
            let event = self.swarm.select_next_some().await;
            if let Some(answer) = self.on(event) {
                return answer;
            }
        }
    }

    fn on(
        &mut self,
        event: SwarmEvent<RpcEvent<Vec<u8>, Vec<u8>>>,
    ) -> Option<Result<Welcome, JoinError>> {
        let lost = |reason: String| Some(Err(JoinError::Lost { reason }));
        match event {
            SwarmEvent::ConnectionEstablished {
                peer_id, endpoint, ..
            } => {
                self.open = self.open.saturating_sub(1);
                let is_founder = node_of(&peer_id).is_some_and(|node| self.founder.is(node));
                if !is_founder {
                    // The secret is for the founder alone.
                    let address = endpoint.get_remote_address().to_string();
                    self.failures.push(JoinError::OtherNode { address });
                    let _ = self.swarm.disconnect_peer_id(peer_id);
                } else if self.asked.is_none() {
                    self.asked = Some(peer_id);
                    let greeting = self.greeting.clone();
                    self.swarm.behaviour_mut().send_request(&peer_id, greeting);
                }
                None
            }
            SwarmEvent::OutgoingConnectionError { error, .. } => {
                self.open = self.open.saturating_sub(1);
                self.failures.push(no_answer(&error));
                None
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                num_established: 0,
                ..
            } if self.asked == Some(peer_id) => {
                lost("the inviting node closed the connection".to_owned())
            }
            SwarmEvent::Behaviour(RpcEvent::Message {
                message: Message::Response { response, .. },
                ..
            }) => match Answer::decode(&response) {
                Ok(Answer::Welcome(welcome)) => Some(Ok(welcome)),
                Ok(Answer::Refused(refusal)) => Some(Err(JoinError::Refused(refusal))),
                Ok(_) => lost("the inviting node answered something else".to_owned()),
                Err(error) => lost(format!("the answer cannot be read: {error}")),
            },
            SwarmEvent::Behaviour(RpcEvent::OutboundFailure { error, .. }) => {
                lost(error.to_string())
            }
            _ => None,
        }
    }
}

/// Of all that went wrong, what helps a person most: that somebody else is there, or else what
/// happened at each address.
fn worst(failures: Vec<JoinError>) -> JoinError {
    let mut all = Vec::new();
    for failure in failures {
        match failure {
            JoinError::NoAnswer { reasons } => all.push(reasons),
            other => return other,
        }
    }
    JoinError::NoAnswer {
        reasons: all.join("; "),
    }
}

/// `3 min`, `5 h 10 min`.
fn span(ms: u64) -> String {
    let minutes = ms / 60_000;
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{} s", ms / 1000),
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

fn apart(one: Stamp, other: Stamp) -> u64 {
    one.as_ms().abs_diff(other.as_ms())
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

fn check(founder: FounderHint, me: NodeId, welcome: Welcome) -> Result<Joined, JoinError> {
    if !founder.is(welcome.genesis.founder) {
        return Err(JoinError::OtherMesh);
    }
    let mut roster = Roster::new(welcome.genesis).map_err(JoinError::Codec)?;
    let now = actor::stamp();
    let apart_ms = apart(now, welcome.now);
    if apart_ms > CLOCKS_MS_MAX {
        let ahead = now > welcome.now;
        return Err(JoinError::Clock { apart_ms, ahead });
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_well() {
        let all = [20_000, 180_000, 18_000_000, 18_600_000].map(span);
        assert_eq!(all, ["20 s", "3 min", "5 h", "5 h 10 min"]);
    }
}

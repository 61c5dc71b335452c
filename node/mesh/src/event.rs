//! What the mesh tells its driver.

use std::fmt;

use caravan_protocol::{
    identity::{Genesis, NodeCert, Signed},
    ids::NodeId,
    member::{Change, Revocation},
    platform::Platform,
    time::Stamp,
};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// A member and where it was heard of last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// Its certificate.
    pub cert: Signed<NodeCert>,
    /// Its addresses.
    pub addresses: Vec<String>,
}

/// What an admitted node gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The mesh's founding record, which the invite only hints at.
    pub genesis: Genesis,
    /// The inviting node's clock.
    pub now: Stamp,
    /// Its own certificate.
    pub cert: Signed<NodeCert>,
    /// Other members.
    pub contacts: Vec<Contact>,
}

/// Why a node is not admitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// No such invite was made.
    #[error("the inviting node does not know this invite")]
    Unknown,
    /// Another node has used it.
    #[error("the invite was used before; each admits one node once")]
    Used,
    /// It is too old.
    #[error("the invite has expired; ask for a new one")]
    Expired,
    /// Something else, in words for people.
    #[error("{0}")]
    Other(String),
}

/// What happened. Events about one peer come in order, but for a driver that is slow: then
/// [`Event::Revoked`], like all that is about this node's own membership and strangers that ask for
/// theirs, goes before what waits, and each change of a member that waits is told once, however
/// often it came, the last of them last.
pub enum Event {
    /// A member is connected and both sides have checked each other.
    Up {
        /// The member.
        node: NodeId,
        /// Its certificate, checked.
        cert: NodeCert,
    },
    /// A member is not connected any more, or has started anew (then [`Event::Up`] follows).
    Down {
        /// The member.
        node: NodeId,
    },
    /// A member sent a control message.
    Message {
        /// The sender.
        from: NodeId,
        /// What it said.
        bytes: Vec<u8>,
    },
    /// A member published an offer digest.
    Gossip {
        /// Its author, which need not be connected.
        from: NodeId,
        /// The platform that it is about.
        platform: Platform,
        /// What it said.
        bytes: Vec<u8>,
    },
    /// A member asks something and waits for the answer; dropping `reply` refuses it.
    Request {
        /// Who asks.
        from: NodeId,
        /// What it asks.
        bytes: Vec<u8>,
        /// Takes the answer.
        reply: oneshot::Sender<Vec<u8>>,
    },
    /// A stranger shows the secret of an invite. It has proved that it holds the key of `node`.
    /// The same node may ask again with the same secret when the answer was lost on its way.
    AdmitAsked {
        /// The stranger.
        node: NodeId,
        /// The secret that it shows.
        secret: [u8; 32],
        /// What it can build for.
        platforms: Vec<Platform>,
        /// Takes the decision; dropping it refuses.
        reply: oneshot::Sender<Result<Welcome, Refusal>>,
    },
    /// Members or addresses not known before, all checked; worth keeping for the next start. New
    /// addresses of known members are told together, and not more often than every few seconds.
    Learned {
        /// What is new.
        contacts: Vec<Contact>,
    },
    /// This node can be reached at an address.
    Listening {
        /// The address, with the node's key at its end.
        address: String,
    },
    /// Messages did not arrive, or it is not known whether they did.
    SendFailed {
        /// To whom.
        to: NodeId,
        /// How many.
        count: usize,
        /// Why.
        reason: String,
    },
    /// A member broke the rules.
    Misbehaved {
        /// The member.
        node: NodeId,
        /// What it did.
        reason: String,
    },
    /// A node that this one dialled does not take it for a member.
    Unwelcome {
        /// The other node.
        node: NodeId,
        /// Its words.
        reason: String,
    },
    /// Where a member stands has changed, as its observers agree; a connection has no say in it.
    /// [`Handle::members`](crate::Handle::members) has the whole.
    Member {
        /// The member.
        node: NodeId,
        /// How it changed.
        change: Change,
    },
    /// A revocation that was not known here: worth keeping for the next start. Connections of the
    /// node are cut already.
    Revoked {
        /// Who is out.
        node: NodeId,
        /// The council's word.
        revocation: Signed<Revocation>,
    },
    /// This node itself was revoked: no member speaks to it any more.
    Evicted,
    /// This node's own certificate was renewed by the council and is in use: worth keeping.
    Renewed {
        /// The new certificate.
        cert: Signed<NodeCert>,
    },
    /// A number to keep for the next start: see [`Config::incarnation`](crate::Config::incarnation).
    /// It is told well before this node says anything under it.
    Incarnation(u32),
    /// Two machines run with the key of one node, which may be this one: a data directory was
    /// copied. One of them has to stop, and to join anew with an empty directory.
    Twin {
        /// The node.
        node: NodeId,
        /// Where the two were seen, as far as known.
        addresses: Vec<String>,
    },
    /// A member's clock and this node's are far apart.
    Clock {
        /// The member.
        node: NodeId,
        /// How far the member's clock is ahead; behind if negative.
        ahead_ms: i64,
    },
    /// A peer speaks no version of the protocols that this node speaks.
    OtherVersion {
        /// The peer, as far as known.
        node: Option<NodeId>,
        /// Where it is.
        address: String,
        /// What is wrong, in words for people.
        reason: String,
    },
    /// There is no network, or nobody is reached: this node goes on trying. Told again every minute
    /// while it lasts.
    Waiting {
        /// What it waits for, in words for people.
        reason: String,
    },
}

impl Event {
    /// Whether the event goes before others that wait: it is not about what they are about, or
    /// makes them void.
    pub(crate) const fn is_urgent(&self) -> bool {
        matches!(
            self,
            Self::AdmitAsked { .. }
                | Self::Revoked { .. }
                | Self::Evicted
                | Self::Renewed { .. }
                | Self::Incarnation(_)
        )
    }

    /// Whether the event may be dropped when the driver does not keep up.
    pub(crate) const fn is_droppable(&self) -> bool {
        !matches!(
            self,
            Self::Up { .. }
                | Self::Down { .. }
                | Self::AdmitAsked { .. }
                | Self::Listening { .. }
                | Self::Member { .. }
                | Self::Revoked { .. }
                | Self::Evicted
                | Self::Renewed { .. }
                | Self::Incarnation(_)
        )
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up { node, .. } => write!(f, "Up({})", node.fmt_short()),
            Self::Down { node } => write!(f, "Down({})", node.fmt_short()),
            Self::Message { from, bytes } => {
                write!(
                    f,
                    "Message({} bytes from {})",
                    bytes.len(),
                    from.fmt_short()
                )
            }
            Self::Gossip {
                from,
                platform,
                bytes,
            } => {
                let from = from.fmt_short();
                write!(
                    f,
                    "Gossip({} bytes about {platform} from {from})",
                    bytes.len()
                )
            }
            Self::Request { from, bytes, .. } => {
                write!(
                    f,
                    "Request({} bytes from {})",
                    bytes.len(),
                    from.fmt_short()
                )
            }
            // The secret stays out of logs.
            Self::AdmitAsked { node, .. } => write!(f, "AdmitAsked({})", node.fmt_short()),
            Self::Learned { contacts } => write!(f, "Learned({} contacts)", contacts.len()),
            Self::Listening { address } => write!(f, "Listening({address})"),
            Self::SendFailed { to, count, reason } => {
                write!(f, "SendFailed({count} to {}: {reason})", to.fmt_short())
            }
            Self::Misbehaved { node, reason } => {
                write!(f, "Misbehaved({}: {reason})", node.fmt_short())
            }
            Self::Unwelcome { node, reason } => {
                write!(f, "Unwelcome({}: {reason})", node.fmt_short())
            }
            Self::Member { node, change } => write!(f, "Member({} {change:?})", node.fmt_short()),
            Self::Revoked { node, .. } => write!(f, "Revoked({})", node.fmt_short()),
            Self::Evicted => f.write_str("Evicted"),
            Self::Renewed { .. } => f.write_str("Renewed"),
            Self::Incarnation(number) => write!(f, "Incarnation({number})"),
            Self::Twin { node, addresses } => {
                write!(
                    f,
                    "Twin({} at {})",
                    node.fmt_short(),
                    addresses.join(" and ")
                )
            }
            Self::Clock { node, ahead_ms } => {
                write!(f, "Clock({} is {ahead_ms} ms ahead)", node.fmt_short())
            }
            Self::OtherVersion {
                address, reason, ..
            } => write!(f, "OtherVersion({address}: {reason})"),
            Self::Waiting { reason } => write!(f, "Waiting({reason})"),
        }
    }
}

//! What the rest of the node holds: a handle that sends commands to the actor and fetches blobs.

use std::{fmt, sync::Arc};

use caravan_protocol::{
    facts::Facts,
    identity::{NodeCert, Signed},
    ids::NodeId,
    limits::{GOSSIP_BYTES_MAX, MESSAGE_BYTES_MAX},
    member::{Mode, Revocation},
    platform::Platform,
};
use libp2p::Multiaddr;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;

use crate::{
    bulk::{BlobSink, FetchError, Fetched, Order, Wanted, fetch, flow::Terms, shelf::Shelf},
    counters::{Counters, Tally},
    event::Contact,
    members::{Member, Members},
    names::{AddressError, parse_address},
    streams,
    traffic::Moved,
};

/// Why something was not even queued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It is too long.
    #[error("send {bytes} bytes: at most {max} fit")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The queue is full.
    #[error("send: the network does not keep up")]
    Busy,
    /// The mesh was shut down.
    #[error("send: the mesh is shut down")]
    Closed,
    /// An address cannot be read.
    #[error(transparent)]
    Address(#[from] AddressError),
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// It could not be sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The node is not connected.
    #[error("ask {0}: it is not connected")]
    NotConnected(NodeId),
    /// Too many questions are open, or they come too fast.
    #[error("ask {0}: too many questions to it at once")]
    TooMany(NodeId),
    /// The node did not want to answer.
    #[error("ask {0}: it gave no answer")]
    Unanswered(NodeId),
    /// The question or the answer was lost.
    #[error("ask {to}: {reason}")]
    Lost {
        /// Who was asked.
        to: NodeId,
        /// What happened.
        reason: String,
    },
}

/// What the actor shows of itself at any time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Status {
    pub(crate) connected: Vec<NodeId>,
    pub(crate) listening: Vec<String>,
    /// Why nobody is reached.
    pub(crate) waiting: Option<String>,
    /// How far this node's clock is ahead of its peers'.
    pub(crate) clock_ahead_ms: Option<i64>,
}

/// What the actor is asked to do.
pub(crate) enum Command {
    Send {
        to: NodeId,
        bytes: Vec<u8>,
    },
    Gossip {
        platform: Platform,
        bytes: Vec<u8>,
    },
    Ask {
        to: NodeId,
        bytes: Vec<u8>,
        reply: oneshot::Sender<Result<Vec<u8>, AskError>>,
    },
    Dial(Multiaddr),
    Learn(Vec<Contact>),
    Renew(Signed<NodeCert>),
    Contacts(oneshot::Sender<Vec<Contact>>),
    Disconnect(NodeId),
    Ban(NodeId),
    Revoke(Signed<Revocation>),
    Presence(Box<(Facts, Mode)>),
    /// Says that this node is gone; the sender is dropped when it was said.
    Leave(oneshot::Sender<()>),
    /// Wants a connection with a member; the answer is whether there is one.
    Reach {
        node: NodeId,
        reply: oneshot::Sender<bool>,
    },
    /// A bulk transfer with the node moves.
    Alive(NodeId),
    /// A bulk transfer showed that the node breaks the rules.
    Report {
        node: NodeId,
        reason: String,
    },
}

/// The way to the mesh. Clones speak to the same actor.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Status>,
    members: watch::Receiver<Arc<Members>>,
    streams: streams::Control,
    terms: Terms,
    tasks: TaskTracker,
    tally: Arc<Tally>,
    shelf: Arc<Shelf>,
    me: NodeId,
}

/// What a handle reads without asking the actor.
pub(crate) struct Readers {
    pub(crate) status: watch::Receiver<Status>,
    pub(crate) members: watch::Receiver<Arc<Members>>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) me: NodeId,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("status", &*self.status.borrow())
            .finish_non_exhaustive()
    }
}

impl Handle {
    pub(crate) fn new(
        commands: mpsc::Sender<Command>,
        readers: Readers,
        streams: streams::Control,
        terms: Terms,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            commands,
            status: readers.status,
            members: readers.members,
            streams,
            terms,
            tasks,
            tally: readers.tally,
            shelf: readers.shelf,
            me: readers.me,
        }
    }

    fn command(&self, command: Command) -> Result<(), SendError> {
        self.commands
            .try_send(command)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => SendError::Busy,
                mpsc::error::TrySendError::Closed(_) => SendError::Closed,
            })
    }

    /// Queues a control message. A member that is not connected is dialled. Messages to one node
    /// arrive in the order in which they were queued, each once or not at all; what is known to be
    /// lost comes back as [`Event::SendFailed`](crate::Event::SendFailed).
    pub fn send(&self, to: NodeId, bytes: Vec<u8>) -> Result<(), SendError> {
        bounded(bytes.len(), MESSAGE_BYTES_MAX)?;
        self.command(Command::Send { to, bytes })
    }

    /// Publishes an offer digest to all members that listen for `platform`. Nobody says whether it
    /// arrived.
    pub fn gossip(&self, platform: Platform, bytes: Vec<u8>) -> Result<(), SendError> {
        bounded(bytes.len(), GOSSIP_BYTES_MAX)?;
        self.command(Command::Gossip { platform, bytes })
    }

    /// Asks a member and waits for its driver's answer. One that is not connected is dialled.
    pub async fn request(&self, to: NodeId, bytes: Vec<u8>) -> Result<Vec<u8>, AskError> {
        bounded(bytes.len(), MESSAGE_BYTES_MAX)?;
        let (reply, answer) = oneshot::channel();
        self.command(Command::Ask { to, bytes, reply })?;
        answer.await.map_err(|_| SendError::Closed)?
    }

    /// Dials an address now and again later, until somebody answers there. A member that answers
    /// is announced by [`Event::Up`](crate::Event::Up).
    pub fn dial(&self, address: &str) -> Result<(), SendError> {
        self.command(Command::Dial(parse_address(address)?))
    }

    /// Members connected now, in id order.
    #[must_use]
    pub fn connected(&self) -> Vec<NodeId> {
        self.status.borrow().connected.clone()
    }

    /// Addresses at which this node listens, with its key at their ends.
    #[must_use]
    pub fn listen_addresses(&self) -> Vec<String> {
        self.status.borrow().listening.clone()
    }

    /// Members with their addresses, for an invite's answer or for the next start.
    pub async fn contacts(&self) -> Result<Vec<Contact>, SendError> {
        let (reply, contacts) = oneshot::channel();
        self.command(Command::Contacts(reply))?;
        contacts.await.map_err(|_| SendError::Closed)
    }

    /// Makes members known. Certificates that do not hold are passed over.
    pub fn update_roster(&self, contacts: Vec<Contact>) -> Result<(), SendError> {
        self.command(Command::Learn(contacts))
    }

    /// Spreads a new certificate, in time before the old one expires. This node's own is shown in
    /// hellos from now on; another's, which the council signs, reaches its node like everybody.
    pub fn renew(&self, cert: Signed<NodeCert>) -> Result<(), SendError> {
        self.command(Command::Renew(cert))
    }

    /// Closes all connections with a node and does not dial it for a while.
    pub fn disconnect(&self, node: NodeId) -> Result<(), SendError> {
        self.command(Command::Disconnect(node))
    }

    /// Strikes a node out: it is cut off, and neither dialled nor let in again.
    pub fn ban(&self, node: NodeId) -> Result<(), SendError> {
        self.command(Command::Ban(node))
    }

    /// Strikes a node out by the council's word: it is cut off here at once, the word spreads to all
    /// members, and nobody dials or lets in the node again.
    pub fn revoke(&self, revocation: Signed<Revocation>) -> Result<(), SendError> {
        self.command(Command::Revoke(revocation))
    }

    /// Tells all members what this node's machine is and whether it takes work.
    pub fn set_presence(&self, facts: Facts, mode: Mode) -> Result<(), SendError> {
        self.command(Command::Presence(Box::new((facts, mode))))
    }

    /// Tells all members that this node is gone, and waits until that is on its way. What is left
    /// to do then is [`Handle::shutdown`].
    pub async fn leave(&self) -> Result<(), SendError> {
        let (said, saying) = oneshot::channel();
        self.command(Command::Leave(said))?;
        // The sender goes without a word.
        let _ = saying.await;
        Ok(())
    }

    /// All members that this node knows, as of now.
    #[must_use]
    pub fn members(&self) -> Arc<Members> {
        Arc::clone(&self.members.borrow())
    }

    /// What this node knows of one member.
    #[must_use]
    pub fn member(&self, node: NodeId) -> Option<Member> {
        self.members
            .borrow()
            .get(&node)
            .map(|member| Member::clone(member))
    }

    /// Waits until the members differ from those that were read last by this handle's owner: by
    /// this call or at the time of the clone.
    pub async fn members_changed(&mut self) -> Result<(), SendError> {
        self.members.changed().await.map_err(|_| SendError::Closed)
    }

    /// Why this node reaches nobody, in words for people; nothing while it does, or is not to.
    #[must_use]
    pub fn waiting(&self) -> Option<String> {
        self.status.borrow().waiting.clone()
    }

    /// How far this node's clock is ahead of those of its peers, in the middle; behind if
    /// negative, and nothing if they agree well enough.
    #[must_use]
    pub fn clock_ahead_ms(&self) -> Option<i64> {
        self.status.borrow().clock_ahead_ms
    }

    /// Whether there is a connection with a member, after dialling it if need be.
    pub(crate) async fn reach(&self, node: NodeId) -> bool {
        if self.status.borrow().connected.binary_search(&node).is_ok() {
            return true;
        }
        let (reply, reached) = oneshot::channel();
        self.command(Command::Reach { node, reply }).is_ok() && reached.await.unwrap_or(false)
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.tally.read()
    }

    /// What went between this node and each member in bulk streams, the busiest first.
    #[must_use]
    pub fn traffic(&self) -> Vec<Moved> {
        self.tally.traffic.read()
    }

    /// Fetches blobs from all of `providers` at once, each as far as it has them. What one does not
    /// give is asked of another. Large blobs that were begun earlier are gone on with, and served to
    /// others while they come. Dropping the future ends the transfer.
    pub async fn fetch(
        &self,
        providers: &[NodeId],
        wanted: Vec<Wanted>,
        sink: Arc<dyn BlobSink>,
    ) -> Result<Fetched, FetchError> {
        let order = Order {
            providers: providers.to_vec(),
            wanted,
            sink,
            progress: Arc::default(),
        };
        self.fetch_order(order).await
    }

    /// The same, telling how many bytes have come.
    pub async fn fetch_order(&self, order: Order) -> Result<Fetched, FetchError> {
        fetch::run(self.clone(), order).await
    }

    pub(crate) const fn me(&self) -> NodeId {
        self.me
    }

    pub(crate) fn shelf(&self) -> Arc<Shelf> {
        Arc::clone(&self.shelf)
    }

    pub(crate) const fn terms(&self) -> &Terms {
        &self.terms
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    pub(crate) fn streams(&self) -> streams::Control {
        self.streams.clone()
    }

    /// Holds against a node that a transfer showed that it breaks the rules.
    pub(crate) fn report(&self, node: NodeId, reason: String) {
        // A full queue costs the report, not the fetch.
        let _ = self.command(Command::Report { node, reason });
    }

    /// Tells the actor that a peer is alive, for bytes come: behind a slow link's worth of blobs a
    /// ping may take too long.
    pub(crate) fn alive(&self, node: NodeId) {
        let _ = self.command(Command::Alive(node));
    }

    /// Closes all connections and ends all transfers; returns when nothing is left running.
    pub async fn shutdown(&self) {
        self.terms.cancel.cancel();
        self.tasks.wait().await;
    }
}

const fn bounded(bytes: usize, max: usize) -> Result<(), SendError> {
    if bytes > max {
        return Err(SendError::TooLarge { bytes, max });
    }
    Ok(())
}

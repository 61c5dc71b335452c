//! Peers coming and going.

use std::time::Instant;

use caravan_protocol::{identity::NodeCert, ids::NodeId};
use libp2p::{
    PeerId,
    core::ConnectedPoint,
    mdns, ping,
    swarm::{ConnectionId, dial_opts::DialOpts},
};

use super::{Actor, Peer, Standing, stamp};
use crate::{
    event::Event,
    handle::AskError,
    limits::SENT_AWAY,
    names::{node_of, peer_of},
    outbox::Outbox,
};

impl Actor {
    pub(super) fn connected(&mut self, peer: PeerId, id: ConnectionId, point: &ConnectedPoint) {
        let Some(node) = node_of(&peer) else {
            // A key of another kind is no node's.
            let _ = self.swarm.disconnect_peer_id(peer);
            return;
        };
        let now = Instant::now();
        let dialled = point.is_dialer();
        let address = point.get_remote_address().clone();
        let next = &mut self.next_meeting;
        let entry = self.peers.entry(peer).or_insert_with(|| {
            *next += 1;
            Peer::new(node, *next, dialled, now)
        });
        entry.connections.insert(id, address.clone());
        if let Standing::Stranger { dialled: known, .. } = &mut entry.standing {
            *known |= dialled;
        }
        if dialled {
            self.book.answered(&address, peer);
            self.say_hello(peer, node);
        }
        self.show();
    }

    pub(super) fn disconnected(&mut self, peer: PeerId, id: ConnectionId, left: u32) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.connections.remove(&id);
        }
        if left == 0 {
            self.hellos.retain(|_, to| *to != peer);
            self.fall(peer);
            self.peers.remove(&peer);
        }
        self.show();
    }

    /// A member is one no more, whether or not its connections are closed yet.
    fn fall(&mut self, peer: PeerId) {
        let Some(entry) = self.peers.get_mut(&peer).filter(|entry| entry.is_member()) else {
            return;
        };
        let now = Instant::now();
        let node = entry.node;
        entry.standing = Standing::Stranger {
            since: now,
            dialled: false,
        };
        let unsent = std::mem::replace(&mut entry.outbox, Outbox::new(now)).unsent();
        self.batches.retain(|_, to| *to != peer);
        let asked = self.asks.extract_if(|_, asked| asked.peer == peer);
        for (_, asked) in asked {
            let reason = "the connection was lost".to_owned();
            // Whoever asked may have stopped waiting.
            let _ = asked.reply.send(Err(AskError::Lost { to: node, reason }));
        }
        self.send_failed(node, unsent, "the connection was lost");
        self.emit(Event::Down { node });
    }

    /// The peer's certificate holds: it is a member from now on, or still. Whether it stays.
    pub(super) fn admitted(&mut self, peer: PeerId, meeting: u64, cert: NodeCert) -> bool {
        let now = Instant::now();
        let Some(entry) = self.peers.get_mut(&peer).filter(|entry| !entry.leaving) else {
            return false;
        };
        let node = entry.node;
        match entry.standing {
            Standing::Member { meeting: known } if known == meeting => return true,
            // It was started anew, or has noticed sooner that the connection was lost. What was
            // agreed before, who listens for what above all, is gone on its side: both begin again.
            Standing::Member { .. } => {
                self.close(peer, "it has begun a new meeting");
                return false;
            }
            Standing::Stranger { .. } => {}
        }
        entry.standing = Standing::Member { meeting };
        let held = std::mem::take(&mut entry.held);
        self.swarm.behaviour_mut().members.admit(peer);
        self.book.reached(node, now);
        self.emit(Event::Up { node, cert });
        for stream in held {
            self.bulk_asked(peer, stream);
        }
        self.show();
        true
    }

    /// Closes all connections with a peer. What still comes over them is not heard, and a member is
    /// down from now on: over a dead TCP link the closing itself may take its time.
    pub(super) fn close(&mut self, peer: PeerId, why: &str) {
        tracing::debug!(%peer, why, "connections are closed");
        self.fall(peer);
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.leaving = true;
        }
        // It may have left by itself.
        let _ = self.swarm.disconnect_peer_id(peer);
        self.show();
    }

    /// Closes all connections with a peer that is not to stay, and leaves it alone for a while.
    pub(super) fn send_away(&mut self, peer: PeerId, why: &str) {
        self.tally.sent_away.add(1);
        if let Some(node) = node_of(&peer) {
            self.book.avoid(node, Instant::now() + SENT_AWAY);
        }
        self.close(peer, why);
    }

    /// A member broke the rules.
    pub(super) fn misbehaved(&mut self, node: NodeId, reason: String) {
        tracing::warn!(%node, reason, "a member broke the rules");
        self.emit(Event::Misbehaved { node, reason });
    }

    pub(super) fn ban(&mut self, node: NodeId) {
        self.roster.revoke(node, stamp());
        self.book.strike(node);
        self.know();
        if let Some(peer) = peer_of(node) {
            self.swarm.behaviour_mut().blocked.block_peer(peer);
            self.close(peer, "it is banned");
        }
    }

    /// Notes signs of life. That there is none is noticed by the tick: over a dead link the library
    /// takes its time to say so.
    pub(super) fn pinged(&mut self, event: &ping::Event) {
        let Some(entry) = self.peers.get_mut(&event.peer) else {
            return;
        };
        match &event.result {
            Ok(_) => entry.alive = Instant::now(),
            Err(ping::Failure::Unsupported) => {}
            Err(failure) => {
                tracing::debug!(peer = %event.peer, %failure, "a ping was not answered");
                if entry.connections.len() > 1 {
                    self.swarm.close_connection(event.connection);
                }
            }
        }
    }

    /// Only members are dialled: a stranger on the network dials by itself, with its invite.
    pub(super) fn discovered(&mut self, event: mdns::Event) {
        let mdns::Event::Discovered(found) = event else {
            return;
        };
        for (peer, address) in found {
            let Some(node) = node_of(&peer).filter(|node| *node != self.me) else {
                continue;
            };
            let Some(cert) = self.book.cert(node).cloned() else {
                continue;
            };
            // Anyone on the network may have said so.
            if self
                .book
                .hear(node, &cert, vec![address.clone()], Instant::now())
                && !self.peers.contains_key(&peer)
            {
                self.dial(DialOpts::peer_id(peer).addresses(vec![address]).build());
            }
        }
    }

    pub(super) fn dial(&mut self, opts: DialOpts) {
        if let Err(error) = self.swarm.dial(opts) {
            tracing::debug!(%error, "a dial was not even begun");
        }
    }
}

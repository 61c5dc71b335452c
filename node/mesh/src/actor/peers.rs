//! Peers coming and going.

use std::time::Instant;

use caravan_protocol::{
    identity::{NodeCert, Signed},
    ids::NodeId,
    member::Event as Told,
};
use libp2p::{
    PeerId,
    core::ConnectedPoint,
    mdns,
    swarm::{ConnectionId, dial_opts::DialOpts},
};

use super::{
    Actor, Peer, Standing,
    peer::{Link, Way},
    stamp,
};
use crate::{
    book::News,
    event::Event,
    handle::AskError,
    limits::SENT_AWAY,
    membership::seal_cert,
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
        let way = Way {
            address: address.clone(),
            dialled,
            relayed: point.is_relayed(),
        };
        entry.ways.insert(id, way);
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
            entry.ways.remove(&id);
        }
        if left == 0 {
            self.hellos.retain(|_, to| *to != peer);
            self.fall(peer);
            self.relays.gone(&peer);
            let gone = self.peers.remove(&peer);
            // What this node has not wanted is worth a look.
            if let Some(entry) = gone.filter(|entry| !entry.leaving) {
                self.tell_of(entry.node, Told::Lost);
            }
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
        entry.link = Link::default();
        entry.asked = None;
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
    pub(super) fn admitted(
        &mut self,
        peer: PeerId,
        meeting: u64,
        (signed, cert): (&Signed<NodeCert>, NodeCert),
    ) -> bool {
        let now = Instant::now();
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.lives(now);
        }
        let Some(entry) = self.peers.get_mut(&peer).filter(|entry| !entry.leaving) else {
            return false;
        };
        let node = entry.node;
        match entry.standing {
            Standing::Member { meeting: known, .. } if known == meeting => {
                self.prefer_direct(peer);
                return true;
            }
            // It was started anew, or has noticed sooner that the connection was lost. What was
            // agreed before, who listens for what above all, is gone on its side: both begin again.
            Standing::Member { .. } => {
                self.close(peer, "it has begun a new meeting");
                return false;
            }
            Standing::Stranger { .. } => {}
        }
        entry.standing = Standing::Member {
            meeting,
            operator: cert.operator.clone(),
        };
        entry.used = now;
        let held = std::mem::take(&mut entry.held);
        let inbound: Vec<_> = entry
            .ways
            .values()
            .filter(|way| !way.dialled)
            .map(|way| way.address.clone())
            .collect();
        let behaviour = self.swarm.behaviour_mut();
        behaviour.members.admit(peer);
        for address in inbound {
            behaviour.doorman.forgive(&address);
        }
        self.book.reached(node, now);
        self.make_room(node, &cert.operator);
        if let Ok(sealed) = seal_cert(signed, &cert) {
            self.tell(Told::Met(sealed));
        }
        self.emit(Event::Up { node, cert });
        self.met(peer, node);
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
        self.membership.roster_mut().revoke(node, stamp());
        self.book.strike(node);
        self.know();
        self.members_behind = true;
        if let Some(peer) = peer_of(node) {
            self.give_up(peer, "it is no member any more");
            self.swarm.behaviour_mut().blocked.block_peer(peer);
            if self.peers.contains_key(&peer) {
                self.close(peer, "it is banned");
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
            let news = self
                .book
                .hear(node, &cert, vec![address.clone()], Instant::now());
            if news != News::None && !self.peers.contains_key(&peer) {
                self.dial(DialOpts::peer_id(peer).addresses(vec![address]).build());
            }
        }
    }
}

//! What waits for a member while it is dialled: it goes out in order once the two have met, or comes
//! back as failed.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use caravan_protocol::ids::NodeId;
use libp2p::PeerId;
use tokio::sync::oneshot;

use super::{Actor, dials::stage, stamp};
use crate::{
    handle::AskError,
    limits::{
        WAITING_ASKS_MAX, WAITING_BYTES_MAX, WAITING_FRAMES_MAX, WAITING_MAX, WAITING_MESSAGES_MAX,
    },
    names::{node_of, peer_of},
};

type Reply = oneshot::Sender<Result<Vec<u8>, AskError>>;

/// What waits for one member.
pub(super) struct Waiting {
    since: Instant,
    /// How many dials there were.
    tries: u32,
    frames: VecDeque<Vec<u8>>,
    messages: Vec<Vec<u8>>,
    bytes: usize,
    asks: Vec<(Vec<u8>, Reply)>,
    reached: Vec<oneshot::Sender<bool>>,
}

impl Waiting {
    const fn new(now: Instant) -> Self {
        Self {
            since: now,
            tries: 0,
            frames: VecDeque::new(),
            messages: Vec::new(),
            bytes: 0,
            asks: Vec::new(),
            reached: Vec::new(),
        }
    }

    /// Takes a frame of the engine; the oldest makes room, for the engine sends again anyway.
    fn frame(&mut self, bytes: Vec<u8>) {
        if self.frames.len() >= WAITING_FRAMES_MAX {
            self.frames.pop_front();
        }
        self.frames.push_back(bytes);
    }

    /// Takes a message. Whether there was room.
    fn message(&mut self, bytes: Vec<u8>) -> bool {
        let room = self.messages.len() < WAITING_MESSAGES_MAX
            && self.bytes + bytes.len() <= WAITING_BYTES_MAX;
        if room {
            self.bytes += bytes.len();
            self.messages.push(bytes);
        }
        room
    }
}

impl Actor {
    /// A place for what waits for a member; none if it is no member, nothing is known of where it
    /// is, or too much waits already. It is dialled if that is not under way.
    fn wait_for(&mut self, node: NodeId) -> Option<&mut Waiting> {
        let peer = peer_of(node).filter(|_| node != self.me)?;
        self.membership.roster().member(node, stamp())?;
        let meeting = self.peers.contains_key(&peer);
        if !self.waiting.contains_key(&peer) {
            let addresses = self.book.addresses(node);
            if self.waiting.len() >= WAITING_MAX || (addresses.is_empty() && !meeting) {
                return None;
            }
            let addresses = stage(addresses, 0);
            self.waiting.insert(peer, Waiting::new(Instant::now()));
            if !meeting {
                self.dial_member(node, addresses);
            }
        }
        self.waiting.get_mut(&peer)
    }

    pub(super) fn frame_waits(&mut self, node: NodeId, bytes: Vec<u8>) {
        match self.wait_for(node) {
            Some(waiting) => waiting.frame(bytes),
            None => self.tally.dropped_member.add(1),
        }
    }

    pub(super) fn message_waits(&mut self, node: NodeId, bytes: Vec<u8>) {
        match self.wait_for(node).map(|waiting| waiting.message(bytes)) {
            Some(true) => {}
            Some(false) => self.send_failed(node, 1, "too many messages wait for it"),
            None => self.send_failed(node, 1, "it is not connected"),
        }
    }

    pub(super) fn ask_waits(&mut self, node: NodeId, bytes: Vec<u8>, reply: Reply) {
        // Whoever has stopped waiting needs no answer.
        let error = match self.wait_for(node) {
            Some(waiting) if waiting.asks.len() < WAITING_ASKS_MAX => {
                waiting.asks.push((bytes, reply));
                return;
            }
            Some(_) => AskError::TooMany(node),
            None => AskError::NotConnected(node),
        };
        let _ = reply.send(Err(error));
    }

    pub(super) fn reach(&mut self, node: NodeId, reply: oneshot::Sender<bool>) {
        let peer = peer_of(node);
        let here = peer.and_then(|peer| self.peers.get(&peer));
        let is_here = here.is_some_and(super::Peer::is_heard);
        match self.wait_for(node) {
            Some(waiting) if !is_here && waiting.reached.len() < WAITING_ASKS_MAX => {
                waiting.reached.push(reply);
            }
            _ => {
                if is_here && let Some(peer) = peer {
                    self.waiting.remove(&peer);
                }
                let _ = reply.send(is_here);
            }
        }
    }

    /// The two have met: what waited goes out.
    pub(super) fn met(&mut self, peer: PeerId, node: NodeId) {
        let Some(waiting) = self.waiting.remove(&peer) else {
            return;
        };
        for frame in waiting.frames {
            self.put_frame(peer, frame);
        }
        for message in waiting.messages {
            self.send(node, message);
        }
        for (question, reply) in waiting.asks {
            self.ask(node, question, reply);
        }
        for reached in waiting.reached {
            let _ = reached.send(true);
        }
    }

    /// A dial has failed: the other addresses are tried, if something waits and there are any.
    pub(super) fn wait_on(&mut self, peer: PeerId, reason: &str) {
        let Some(node) = node_of(&peer) else { return };
        let Some(waiting) = self.waiting.get_mut(&peer) else {
            return;
        };
        waiting.tries += 1;
        let tries = waiting.tries;
        let addresses = self.book.addresses(node);
        let more = stage(addresses, 1);
        if tries > 1 || more.len() <= stage(addresses, 0).len() {
            return self.give_up(peer, reason);
        }
        self.dial_member(node, more);
    }

    /// The member is not reached.
    pub(super) fn give_up(&mut self, peer: PeerId, reason: &str) {
        let (Some(node), Some(waiting)) = (node_of(&peer), self.waiting.remove(&peer)) else {
            return;
        };
        self.tally.dropped_member.add(waiting.frames.len());
        self.send_failed(node, waiting.messages.len(), reason);
        for (_, reply) in waiting.asks {
            let _ = reply.send(Err(AskError::NotConnected(node)));
        }
        for reached in waiting.reached {
            let _ = reached.send(false);
        }
    }

    pub(super) fn give_up_late(&mut self, now: Instant, patience: Duration) {
        let late: Vec<PeerId> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| now.saturating_duration_since(waiting.since) > patience)
            .map(|(peer, _)| *peer)
            .collect();
        for peer in late {
            self.give_up(peer, "it does not answer");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_and_the_oldest_frame_makes_room() {
        let mut waiting = Waiting::new(Instant::now());
        for n in 0..=WAITING_FRAMES_MAX {
            waiting.frame(vec![u8::try_from(n).expect("few")]);
        }
        assert_eq!(waiting.frames.len(), WAITING_FRAMES_MAX);
        assert_eq!(waiting.frames[0], [1]);
        for _ in 0..WAITING_MESSAGES_MAX {
            assert!(waiting.message(vec![0]));
        }
        assert!(!waiting.message(vec![0]));
        let mut waiting = Waiting::new(Instant::now());
        assert!(waiting.message(vec![0; WAITING_BYTES_MAX]));
        assert!(!waiting.message(vec![0]));
    }
}

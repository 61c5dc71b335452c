//! What only time changes: strangers that stay too long, certificates that expire, messages that
//! wait for their turn, members to dial again.

use std::time::Instant;

use libp2p::{
    PeerId,
    swarm::dial_opts::{DialOpts, PeerCondition},
};

use super::{Actor, Peer, Standing, stamp};
use crate::{
    limits::{DIALLED_PEERS_MAX, DIALS_PER_TICK_MAX},
    names::{node_of, peer_of},
};

impl Actor {
    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        self.cut_off(now);
        let members: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|(_, entry)| entry.is_member())
            .map(|(peer, _)| *peer)
            .collect();
        for peer in members {
            self.pump(peer);
        }
        self.dial_members(now);
        self.dial_seeds();
        let roster = &self.roster;
        let stamp = stamp();
        self.authors
            .retain(|node, _| roster.member(*node, stamp).is_some());
    }

    fn cut_off(&mut self, now: Instant) {
        let stamp = stamp();
        let (mut away, mut lost) = (Vec::new(), Vec::new());
        let patience = self.timing.ping_pause + self.timing.ping_answer;
        for (peer, entry) in &mut self.peers {
            if entry.leaving {
                continue;
            }
            if entry.is_silent(now, patience) {
                lost.push(*peer);
                continue;
            }
            match entry.standing {
                Standing::Stranger { since, .. } => {
                    if now.saturating_duration_since(since) > self.timing.stranger {
                        away.push((*peer, "a stranger's time is over"));
                    }
                }
                Standing::Member { .. } => {
                    if self.roster.member(entry.node, stamp).is_none() {
                        away.push((*peer, "its certificate is not valid any more"));
                    }
                }
            }
        }
        for peer in lost {
            self.close(peer, "it gives no sign of life");
        }
        for (peer, why) in away {
            self.send_away(peer, why);
        }
    }

    fn dial_members(&mut self, now: Instant) {
        let members = self.peers.values().filter(|peer| peer.is_member()).count();
        let room = DIALLED_PEERS_MAX
            .saturating_sub(members)
            .min(DIALS_PER_TICK_MAX);
        let stamp = stamp();
        let (peers, roster, me) = (&self.peers, &self.roster, self.me);
        let due = self.book.due(now, room, |node| {
            node != me
                && roster.member(node, stamp).is_some()
                && peer_of(node).is_some_and(|peer| !peers.contains_key(&peer))
        });
        for (node, addresses) in due {
            let Some(peer) = peer_of(node) else { continue };
            let opts = DialOpts::peer_id(peer)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .addresses(addresses)
                .build();
            self.dial(opts);
        }
    }

    pub(super) fn dial_seeds(&mut self) {
        let (peers, me) = (&self.peers, self.me);
        let here = |peer: &PeerId| {
            peers.get(peer).is_some_and(Peer::is_member) || node_of(peer) == Some(me)
        };
        for (address, expected) in self.book.due_seeds(Instant::now(), here) {
            let Some(peer) = expected else {
                self.dial(DialOpts::unknown_peer_id().address(address).build());
                continue;
            };
            // One dial at a time goes to a peer, so it has to try all that is known.
            let mut addresses = vec![address];
            if let Some(node) = node_of(&peer) {
                addresses.extend_from_slice(self.book.addresses(node));
            }
            let opts = DialOpts::peer_id(peer)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .addresses(addresses)
                .build();
            self.dial(opts);
        }
    }
}

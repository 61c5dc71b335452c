//! What only time changes: strangers that stay too long, certificates that expire, connections on
//! which nobody answers, members to dial again, what readers see.

use std::time::{Duration, Instant};

use caravan_protocol::ids::NodeId;
use libp2p::PeerId;

use super::{Actor, Standing, stamp};
use crate::limits::{FAREWELL_MAX, PATIENCE_MAX, PATIENCE_PERCENT};

impl Actor {
    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        self.cut_off(now);
        self.give_up_late(now, self.timing.answer);
        self.drop_unused(now);
        self.dial_members(now);
        self.dial_seeds();
        self.look_for_relays(now);
        self.look_for_network(now);
        self.end_farewell(now);
        self.tell_moved(now);
        if self.known_behind {
            self.know();
        }
        if self.members_behind {
            self.show_members();
        }
        self.rates.tidy(now);
        let (roster, stamp) = (self.membership.roster(), stamp());
        self.authors
            .retain(|node, _| roster.member(*node, stamp).is_some());
        let relayed = self.peers.values().filter(|peer| peer.is_relayed()).count();
        self.tally.relayed.set(relayed);
    }

    /// Whoever waits for the farewell is told when it has left this node: its records go out within
    /// the time between two floods, and then no frame waits any more.
    fn end_farewell(&mut self, now: Instant) {
        let Some((since, _)) = &self.farewell else {
            return;
        };
        let waited = now.saturating_duration_since(*since);
        let written = self.peers.values().all(|peer| peer.link.is_idle());
        if waited > FAREWELL_MAX || (written && waited > self.timing.tuning.batch * 2) {
            self.farewell = None;
        }
    }

    /// How long a member may leave a probe unanswered before its connection is taken for dead. One
    /// that came back soon after it was given up is slow and not gone: it gets twice as long each
    /// time.
    fn patience(&self, node: NodeId) -> Duration {
        let first = self.timing.tuning.timeout * PATIENCE_PERCENT / 100;
        let slow = self.book.slowness(node).min(8);
        first.saturating_mul(1 << slow).min(PATIENCE_MAX)
    }

    fn cut_off(&mut self, now: Instant) {
        let stamp = stamp();
        let (mut away, mut lost) = (Vec::new(), Vec::new());
        // A node that is itself too slow to hear answers blames nobody.
        let doubts = self.membership.engine().standing().doubts;
        let probed: Vec<(PeerId, Duration)> = self
            .peers
            .iter()
            .filter(|(_, entry)| entry.asked.is_some())
            .map(|(peer, entry)| (*peer, self.patience(entry.node)))
            .collect();
        for (peer, patience) in probed {
            if let Some(entry) = self.peers.get_mut(&peer)
                && !entry.leaving
                && entry.is_silent(now, patience)
                && !doubts
            {
                lost.push((peer, entry.node));
            }
        }
        for (peer, entry) in &self.peers {
            match &entry.standing {
                _ if entry.leaving => {}
                Standing::Stranger { since, .. } => {
                    if now.saturating_duration_since(*since) > self.timing.stranger {
                        away.push((*peer, "a stranger's time is over"));
                    }
                }
                Standing::Member { .. } => {
                    if self.membership.roster().member(entry.node, stamp).is_none() {
                        away.push((*peer, "its certificate is not valid any more"));
                    }
                }
            }
        }
        for (peer, node) in lost {
            self.tally.silent.add(1);
            self.book.slow(node, now);
            self.close(peer, "it gives no sign of life");
            self.tell_of(node, caravan_protocol::member::Event::Lost);
        }
        for (peer, why) in away {
            self.send_away(peer, why);
        }
    }
}

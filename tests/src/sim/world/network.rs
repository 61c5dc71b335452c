//! The network: it carries bytes, late, twice or not at all.

use std::rc::Rc;

use caravan_protocol::{
    offer::{Digest, Event, Message},
    platform::Platform,
};

use super::{Due, Packet, World};
use crate::sim::{Flaw, kind};

impl World {
    pub(super) fn send(&mut self, at: usize, to: usize, message: &Message) {
        let bytes = message.encode().expect("engines send what can travel");
        self.mark(at, 3, &bytes);
        self.report.messages += 1;
        *self.report.kinds.entry(kind(message)).or_default() += 1;
        let is_beat = matches!(message, Message::Beat { .. } | Message::Renew { .. });
        self.report.beats += u64::from(is_beat);
        if matches!(message, Message::Result { .. }) {
            self.mix(at, to, &bytes);
        }
        self.carry(at, to, Packet::Message(bytes));
    }

    /// Hands a result to those who take what is others' for theirs.
    fn mix(&mut self, at: usize, to: usize, bytes: &[u8]) {
        let is_mixed = |host: &usize| *host != to && self.hosts[*host].flaw == Flaw::Mixed;
        let others: Vec<usize> = (0..self.hosts.len()).filter(is_mixed).collect();
        for other in others {
            self.carry(at, other, Packet::Message(bytes.to_vec()));
        }
    }

    pub(super) fn gossip(&mut self, at: usize, platform: &Platform, digest: &Digest) {
        let bytes = digest.encode().expect("engines gossip what can travel");
        self.mark(at, 4, &bytes);
        self.report.digests += 1;
        let digest = Digest::decode(&bytes).expect("nodes gossip digests");
        let digest = Rc::new(digest);
        for to in 0..self.hosts.len() {
            if self.plan.meets(at, to) {
                let packet = Packet::Gossip(platform.clone(), Rc::clone(&digest));
                self.carry(at, to, packet);
            }
        }
    }

    fn carry(&mut self, from: usize, to: usize, packet: Packet) {
        let calm = self.is_calm();
        let (loss, doubled) = if calm {
            (0, 0)
        } else {
            (self.plan.loss, self.plan.doubled)
        };
        if self.dice.chance(loss) {
            return;
        }
        if self.dice.chance(doubled) {
            self.carry_one(from, to, packet.clone());
        }
        self.carry_one(from, to, packet);
    }

    fn carry_one(&mut self, from: usize, to: usize, packet: Packet) {
        let delayed = !self.is_calm() && self.dice.chance(self.plan.delayed);
        let (low_ms, high_ms) = if delayed { (1000, 8000) } else { (1, 50) };
        // The slower of the two links is what counts.
        let bytes = match &packet {
            Packet::Message(bytes) => bytes.len() as u64,
            Packet::Gossip(_, digest) => digest.jobs.len() as u64 * 100,
        };
        let rate = |host: usize| self.hosts[host].bytes_per_ms.max(1);
        let link_ms = bytes / rate(from).min(rate(to));
        self.soon(
            low_ms + link_ms,
            high_ms + link_ms,
            Due::Packet { from, to, packet },
        );
    }

    pub(super) fn arrive(&mut self, from: usize, to: usize, packet: Packet) {
        let receiver = &self.hosts[to];
        let is_apart = receiver.part != self.hosts[from].part;
        if receiver.engine.is_none() || is_apart || !receiver.sees.contains_key(&from) {
            return;
        }
        let sender = self.hosts[from].id;
        let event = match packet {
            Packet::Message(bytes) => Event::Message {
                from: sender,
                message: Message::decode(&bytes).expect("nodes send messages"),
            },
            Packet::Gossip(platform, digest) => Event::Heard {
                from: sender,
                platform,
                digest: Rc::unwrap_or_clone(digest),
            },
        };
        self.feed(to, event);
    }
}

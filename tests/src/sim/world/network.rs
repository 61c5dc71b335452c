//! The network: it carries bytes, late, twice or not at all.

use caravan_protocol::offer::{Digest, Event, Message};

use super::{Due, Packet, World};

impl World {
    pub(super) fn carry(&mut self, from: usize, to: usize, packet: &Packet) {
        let calm = self.is_calm();
        let (loss, doubled) = if calm {
            (0, 0)
        } else {
            (self.plan.loss, self.plan.doubled)
        };
        if self.dice.chance(loss) {
            return;
        }
        let copies = 1 + u32::from(self.dice.chance(doubled));
        for _ in 0..copies {
            let delayed = !calm && self.dice.chance(self.plan.delayed);
            let (low_ms, high_ms) = if delayed { (1000, 8000) } else { (1, 50) };
            let packet = packet.clone();
            self.soon(low_ms, high_ms, Due::Packet { from, to, packet });
        }
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
                message: Message::decode(&bytes).expect("honest nodes send messages"),
            },
            Packet::Gossip(platform, bytes) => Event::Heard {
                from: sender,
                platform,
                digest: Digest::decode(&bytes).expect("honest nodes gossip digests"),
            },
        };
        self.feed(to, event);
    }
}

//! The network: messages on their way, connections and who may make one.

use caravan_protocol::member::{Event, Message, Status};

use super::{Due, Packet, Tell, What, World, number};
use crate::host::Phase;

/// A host that refuses a dial, or sees a connection break, says so after at most this.
const TELL_MS: u64 = 5;

impl World {
    /// Puts a message on its way, or not.
    pub(super) fn send(&mut self, from: usize, to: usize, message: Message) {
        self.hosts[from].sent += 1;
        self.report.sent += 1;
        // It does not speak to whom it knows to be revoked.
        if self.was_revoked[to] && self.strikes(from, to) {
            return;
        }
        let word = super::word(&message);
        self.note(from, What::Sent { to, word });
        let message = if self.plan.as_bytes {
            self.cross(&message)
        } else {
            message
        };
        let copies = self.hosts[from].flaw.copies();
        if copies == 1 && self.plan.doubled == 0 {
            self.put(from, to, message);
            return;
        }
        for _ in 1..copies {
            self.put(from, to, message.clone());
        }
        if copies > 0 {
            if self.dice.chance(self.plan.doubled) {
                self.put(from, to, message.clone());
            }
            self.put(from, to, message);
        }
    }

    /// A message as bytes and back, as between real nodes.
    fn cross(&mut self, message: &Message) -> Message {
        let bytes = message.encode().expect("engines keep to the bounds");
        self.report.bytes += bytes.len() as u64;
        self.report.largest = self.report.largest.max(bytes.len());
        let again = Message::decode(&bytes).expect("what was encoded is decoded");
        debug_assert_eq!(again, *message, "bytes say what was said");
        again
    }

    fn put(&mut self, from: usize, to: usize, message: Message) {
        // One draw for each message: its low half for the loss, its high half for the time.
        let draw = self.dice.any();
        let (low, high) = (draw & 0xffff_ffff, draw >> 32);
        if (low * 1000) >> 32 < self.plan.loss {
            return;
        }
        let mut at_ms = self.now_ms + self.latency_ms(from, to);
        at_ms += (high * (self.plan.jitter_ms + 1)) >> 32;
        if self.plan.delayed > 0 && self.dice.chance(self.plan.delayed) {
            at_ms += self.dice.between(1000, 6000);
        }
        let (from, to) = (number(from), number(to));
        self.packets.add(at_ms, Packet { to, from, message });
    }

    /// Whether what one machine sends can reach another.
    pub(super) fn reaches(&self, from: usize, to: usize) -> bool {
        let together = self.apart.is_empty() || self.apart[from] == self.apart[to];
        together && (self.muted.is_empty() || !self.muted[from])
    }

    /// A message has come to a machine's address.
    pub(super) fn arrive(&mut self, packet: Packet) {
        let (from, to) = (packet.from as usize, packet.to as usize);
        if !self.reaches(from, to) {
            return;
        }
        let receiver = &self.hosts[to];
        if receiver.engine.is_none() {
            if receiver.phase == (Phase::Down { answers: true }) && self.reaches(to, from) {
                let life = self.hosts[from].life;
                let at_ms = self.now_ms + self.latency_ms(from, to) + TELL_MS;
                self.plan_for(at_ms, Due::Tell(from, life, Tell::Refused(to)));
            }
            return;
        }
        if let Some(until_ms) = receiver.stalled(self.now_ms) {
            self.packets.add(until_ms, packet);
            return;
        }
        if !self.shakes_hands(from, to) {
            return;
        }
        let Some(slot) = self.slot_for(to, from) else {
            return;
        };
        let message = self.hosts[to].flaw.hear(packet.message);
        self.deliver(from, to, &message);
        let from = slot;
        self.feed(to, Event::Message { from, message });
    }

    fn deliver(&mut self, from: usize, to: usize, message: &Message) {
        self.report.deliveries += 1;
        let content = match message {
            Message::Probe { number, view } | Message::Ack { number, view } => {
                self.report.probes += 1;
                u64::from(*number) ^ view
            }
            Message::Records(batch) => {
                self.report.floods += 1;
                batch.0.len() as u64
            }
            _ => 1,
        };
        let pair = (from as u64) << 32 | to as u64;
        self.mark(content ^ pair.rotate_left(17) ^ self.now_ms);
    }

    /// Whether both ends let each other in. What two machines that never met send first comes
    /// after their certificates.
    fn shakes_hands(&mut self, from: usize, to: usize) -> bool {
        let is_struck_out = (self.was_revoked[from] && self.strikes(to, from))
            || (self.was_revoked[to] && self.strikes(from, to));
        if is_struck_out {
            return false;
        }
        if self.plan.shared {
            // Those who were there from the beginning know each other.
            if !self.is_newcomer[from] && !self.is_newcomer[to] {
                return true;
            }
            let receiver = self.hosts[to].engine.as_ref();
            let slot = super::shared_slot(from);
            let is_known = receiver.is_some_and(|engine| engine.status(slot) != Status::Unknown);
            if !is_known {
                self.meet(to, from);
            }
            return true;
        }
        let life = self.hosts[from].life;
        let (one, other) = (number(from), number(to));
        if self.hosts[to].met.get(&one) == Some(&life) {
            return true;
        }
        if self.hosts[from].engine.is_none() || !self.reaches(to, from) {
            return false;
        }
        if !self.admit(from, to) {
            // The engine is shown what its mesh refused: it must not believe it either.
            if self.hosts[from].is_stranger {
                self.meet(to, from);
            }
            return false;
        }
        let host = &mut self.hosts[to];
        host.met.insert(one, life);
        let (life_to, life_from) = (host.life, life);
        self.hosts[from].met.insert(other, life_to);
        self.meet(to, from);
        let due = Due::Tell(from, life_from, Tell::Met(to));
        self.plan_for(self.now_ms + self.latency_ms(from, to), due);
        true
    }

    /// One machine dials another and both show their certificates.
    pub(super) fn introduce(&mut self, from: usize, to: usize) {
        self.hosts[to].met.remove(&number(from));
        if self.shakes_hands(from, to) && self.plan.shared {
            self.meet(to, from);
            let life = self.hosts[from].life;
            let due = Due::Tell(from, life, Tell::Met(to));
            self.plan_for(self.now_ms + self.latency_ms(from, to), due);
        }
    }

    /// Whether one machine knows another to be revoked.
    fn strikes(&self, one: usize, other: usize) -> bool {
        self.hosts[one].revoked.contains(&self.hosts[other].id)
    }

    /// Whether each of two machines believes the other's certificate.
    fn admit(&mut self, one: usize, other: usize) -> bool {
        let mut believes = |who: usize, whom: usize| {
            let stamp = self.hosts[who].clock(self.now_ms).stamp;
            let admitted = self.ledger.admits(&self.hosts[whom].cert, stamp);
            admitted.is_ok_and(|node| node == self.hosts[whom].id)
        };
        believes(one, other) && believes(other, one)
    }

    /// Shows a machine another's certificate.
    pub(super) fn meet(&mut self, at: usize, whom: usize) {
        let cert = self.hosts[whom].cert.clone();
        self.feed(at, Event::Met(cert));
    }

    /// A machine's system tells its program something about another.
    pub(super) fn tell(&mut self, at: usize, life: u32, tell: Tell) {
        let host = &self.hosts[at];
        if host.life != life || host.engine.is_none() {
            return;
        }
        if let Some(until_ms) = host.stalled(self.now_ms) {
            self.plan_for(until_ms, Due::Tell(at, life, tell));
            return;
        }
        match tell {
            Tell::Met(whom) => {
                if !self.strikes(at, whom) {
                    self.meet(at, whom);
                }
            }
            Tell::Lost(of) => {
                self.hosts[at].met.remove(&number(of));
                if let Some(slot) = self.slot_for(at, of) {
                    self.feed(at, Event::Lost(slot));
                }
            }
            Tell::Refused(of) => {
                if let Some(slot) = self.slot_for(at, of) {
                    self.feed(at, Event::Refused(slot));
                }
            }
        }
    }
}

//! What a hostile member tries. It signs with its own key, replays what others signed and makes
//! up the rest; it never has another's key.

use std::sync::Arc;

use caravan_protocol::{
    identity::{NodeCert, Tier},
    ids::NodeId,
    member::{
        Alert, Batch, Doubt, Incarnation, Kind, Line, Message, Mode, Presence, Sealed, Status,
    },
    time::Stamp,
};

use super::World;
use crate::host::BEGIN_MS;

/// To so many others goes what a hostile machine sends.
const AUDIENCE: usize = 6;
/// Incarnations ahead that it claims for others.
const AHEAD: u64 = 5;

impl World {
    /// One attempt of a hostile machine, sent to some of the others.
    pub(super) fn attack(&mut self, host: usize) {
        // What it says of itself is its own affair, also where it says two things at once.
        let others = self.hosts.len() - 1;
        let victim = (host + 1 + self.dice.index(others)) % self.hosts.len();
        let message = match self.dice.below(10) {
            0..=1 => self.accusation(host, victim),
            2 => self.forged_presence(host, victim),
            3 => self.false_label(victim),
            4..=5 => self.replay(),
            6 => self.foreign_cert(host),
            7 => self.false_obituary(host, victim),
            8 => self.junk_lines(),
            _ => self.false_word(victim),
        };
        for _ in 0..AUDIENCE {
            let to = self.dice.index(self.hosts.len());
            if to != host {
                self.send(host, to, message.clone());
            }
        }
    }

    fn incarnation(&self, at: usize, of: usize) -> Incarnation {
        let slot = self.slot(at, of);
        let engine = self.hosts[at].engine.as_ref();
        let known = slot.zip(engine);
        known.map_or(Incarnation::new(1), |(slot, engine)| {
            engine.incarnation(slot)
        })
    }

    fn own_alert(&mut self, host: usize, victim: usize) -> Sealed {
        let alert = Alert {
            mesh: self.mesh,
            subject: self.hosts[victim].id,
            incarnation: self.incarnation(host, victim),
            observer: self.hosts[host].id,
            at: Stamp::from_ms(BEGIN_MS + self.now_ms),
        };
        self.ledger.alert(self.hosts[host].id, alert)
    }

    /// Its own word, of which one is not enough.
    fn accusation(&mut self, host: usize, victim: usize) -> Message {
        let alert = self.own_alert(host, victim);
        records(vec![alert])
    }

    /// Its own word, told to everybody.
    pub(super) fn accuse(&mut self, host: usize, victim: usize) {
        let message = self.accusation(host, victim);
        for to in (0..self.hosts.len()).filter(|to| *to != host) {
            self.send(host, to, message.clone());
        }
    }

    /// Accuses a machine that said farewell.
    pub(super) fn slander(&mut self, host: usize, victim: usize) {
        if self.status(host, victim) == Status::Left {
            let message = self.accusation(host, victim);
            self.note_slander(host);
            self.send(host, 0, message);
        }
    }

    fn note_slander(&mut self, host: usize) {
        if let Some(last) = self.ledger.made().last() {
            let (kind, who) = (last.kind, self.index.get(&last.subject).copied());
            self.note(host, super::What::Signed { kind, who });
        }
    }

    /// Another's word, signed by itself.
    fn forged_presence(&mut self, host: usize, victim: usize) -> Message {
        let ahead = self.dice.below(AHEAD);
        let known = u64::from(self.incarnation(host, victim).number());
        let presence = Presence {
            mesh: self.mesh,
            node: self.hosts[victim].id,
            incarnation: Incarnation::new(u32::try_from(known + ahead).unwrap_or(u32::MAX)),
            addresses: Vec::new(),
            facts: Default::default(),
            mode: Mode::Left,
            issued: Stamp::from_ms(BEGIN_MS + self.now_ms),
        };
        records(vec![self.ledger.presence(self.hosts[host].id, presence)])
    }

    fn old(&mut self) -> Sealed {
        let at = self.dice.index(self.ledger.made().len());
        self.ledger.made()[at].clone()
    }

    /// True bytes behind a label that lies.
    fn false_label(&mut self, victim: usize) -> Message {
        let mut record = self.old();
        match self.dice.below(4) {
            0 => record.subject = self.hosts[victim].id,
            1 => record.version = record.version.saturating_add(1),
            2 => record.kind = Kind::Revocation,
            _ => record.bytes = Arc::from([0xff; 16]),
        }
        records(vec![record])
    }

    /// What others once said, again.
    fn replay(&mut self) -> Message {
        let count = self.dice.between(1, 8);
        records((0..count).map(|_| self.old()).collect())
    }

    /// A stranger's certificate that it signed itself, with a word of that stranger.
    fn foreign_cert(&mut self, host: usize) -> Message {
        let me = self.hosts[host].id;
        let node = NodeId::from_bytes([self.dice.any().to_le_bytes()[0]; 32]);
        let cert = NodeCert {
            mesh: self.mesh,
            node,
            operator: "nobody".to_owned(),
            tier: Tier::Council,
            platforms: Vec::new(),
            not_before: Stamp::from_ms(BEGIN_MS),
            expires: Stamp::from_ms(BEGIN_MS + 3_600_000),
        };
        let presence = Presence {
            mesh: self.mesh,
            node,
            incarnation: Incarnation::new(1),
            addresses: Vec::new(),
            facts: Default::default(),
            mode: Mode::Open,
            issued: Stamp::from_ms(BEGIN_MS),
        };
        let cert = self.ledger.cert(me, cert);
        let presence = self.ledger.presence(node, presence);
        records(vec![cert, presence])
    }

    /// Its own alert as if it were many.
    fn false_obituary(&mut self, host: usize, victim: usize) -> Message {
        let alert = self.own_alert(host, victim);
        let copies = if self.dice.chance(500) { 4 } else { 1 };
        let obituary = self.ledger.obituary(&vec![alert; copies]);
        records(obituary.into_iter().collect())
    }

    /// Lines about members that do not exist, or that know better.
    fn junk_lines(&mut self) -> Message {
        let mut lines: Vec<Line> = Vec::new();
        for _ in 0..self.dice.between(1, 20) {
            lines.push(Line {
                seed: self.dice.any(),
                cert: u32::MAX,
                incarnation: Incarnation::new(u32::MAX),
                dead: self.dice.chance(500),
                revoked: self.dice.chance(500),
            });
        }
        Message::Lines {
            covers: self.dice.any(),
            lines: lines.into(),
        }
    }

    /// A good word for the dead, doubt about the living, answers to nothing.
    fn false_word(&mut self, victim: usize) -> Message {
        let subject = self.hosts[victim].id;
        let incarnation = Incarnation::new(u32::try_from(self.dice.below(9)).expect("small"));
        let doubt = Doubt {
            subject,
            incarnation,
        };
        let number = u32::try_from(self.dice.below(1000)).expect("small");
        let view = self.dice.any();
        match self.dice.below(5) {
            0 => Message::Doubt(Box::new(doubt)),
            1 => Message::Vouch(Box::new(doubt)),
            2 => Message::Ack { number, view },
            3 => Message::Want(vec![view; 40].into()),
            _ => Message::Fetch { after: view },
        }
    }
}

fn records(records: Vec<Sealed>) -> Message {
    Message::Records(Batch(records.into()))
}

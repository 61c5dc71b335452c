//! A mesh in a loop: engines under one seeded clock and network, with connections that show
//! certificates first, as real ones do. Signatures are looked up in a common book, not computed.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use super::super::{
    Alert, Change, Command, Crypto, Directory, Engine, Event, Incarnation, Kind, Mode, Now, Opened,
    Presence, Revocation, Sealed, Setup, Slot, Status, Table, Tuning, crypto::seconds, view::mix,
};
use crate::{
    facts::Facts,
    identity::{Ends, NodeCert, Record, Refused, Tier},
    ids::{MeshId, NodeId},
    time::{Stamp, Time},
};

/// The wall's time at the loop's start.
pub(super) const DAWN_MS: u64 = 1_700_000_000_000;
const CERT_MS: u64 = 7 * 24 * 3600 * 1000;

pub(super) fn mesh_id() -> MeshId {
    MeshId::from_bytes([7; 32])
}

pub(super) fn node_id(number: u32) -> NodeId {
    let mut bytes = *blake3::hash(&number.to_le_bytes()).as_bytes();
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    NodeId::from_bytes(bytes)
}

/// All that was ever signed, by number.
#[derive(Clone, Default)]
pub(super) struct Book(Rc<RefCell<Vec<Arc<Opened>>>>);

impl Book {
    pub(super) fn seal(&self, kind: Kind, subject: NodeId, version: u32, opened: Opened) -> Sealed {
        let mut book = self.0.borrow_mut();
        book.push(Arc::new(opened));
        Sealed {
            kind,
            subject,
            version,
            bytes: (book.len() as u64).to_le_bytes().as_slice().into(),
        }
    }

    pub(super) fn cert(&self, node: NodeId, operator: &str, from_ms: u64) -> Sealed {
        let cert = NodeCert {
            mesh: mesh_id(),
            node,
            operator: operator.to_owned(),
            tier: Tier::Donor,
            platforms: Vec::new(),
            not_before: Stamp::from_ms(from_ms),
            expires: Stamp::from_ms(from_ms + CERT_MS),
        };
        let version = seconds(cert.expires);
        self.seal(Kind::Cert, node, version, Opened::Cert(cert))
    }

    pub(super) fn revocation(&self, node: NodeId, at: Stamp) -> Sealed {
        let mesh = mesh_id();
        let revocation = Revocation { mesh, node, at };
        self.seal(Kind::Revocation, node, 0, Opened::Revocation(revocation))
    }

    pub(super) fn says(&self, node: NodeId, incarnation: u32, mode: Mode) -> Sealed {
        let presence = Presence {
            mesh: mesh_id(),
            node,
            incarnation: Incarnation::new(incarnation),
            addresses: Vec::new(),
            facts: Facts::default(),
            mode,
            issued: Stamp::from_ms(DAWN_MS),
        };
        self.seal(
            Kind::Presence,
            node,
            incarnation,
            Opened::Presence(presence),
        )
    }

    pub(super) fn accuses(&self, observer: NodeId, subject: NodeId, incarnation: u32) -> Sealed {
        let alert = Alert {
            mesh: mesh_id(),
            subject,
            incarnation: Incarnation::new(incarnation),
            observer,
            at: Stamp::from_ms(DAWN_MS),
        };
        self.seal(Kind::Alert, subject, incarnation, Opened::Alert(alert))
    }

    fn read(&self, record: &Sealed) -> Option<Arc<Opened>> {
        let bytes: [u8; 8] = record.bytes[..].try_into().ok()?;
        let at = usize::try_from(u64::from_le_bytes(bytes))
            .ok()?
            .checked_sub(1)?;
        self.0.borrow().get(at).cloned()
    }
}

impl Crypto for Book {
    fn presence(&mut self, presence: &Presence) -> Option<Sealed> {
        let version = presence.incarnation.number();
        let opened = Opened::Presence(presence.clone());
        Some(self.seal(Kind::Presence, presence.node, version, opened))
    }

    fn alert(&mut self, alert: &Alert) -> Option<Sealed> {
        let version = alert.incarnation.number();
        let opened = Opened::Alert(alert.clone());
        Some(self.seal(Kind::Alert, alert.subject, version, opened))
    }

    fn obituary(&mut self, alerts: &[Sealed]) -> Option<Sealed> {
        let first = alerts.first()?;
        let opened = |alert: &Sealed| match &*self.read(alert)? {
            Opened::Alert(alert) => Some(alert.clone()),
            _ => None,
        };
        let opened = Opened::Obituary(alerts.iter().map(opened).collect::<Option<_>>()?);
        Some(self.seal(Kind::Obituary, first.subject, first.version, opened))
    }

    fn open(&mut self, record: &Sealed, now: Stamp) -> Result<Arc<Opened>, Refused> {
        let forged = || Refused::Forged {
            signer: record.subject,
        };
        let opened = self.read(record).ok_or_else(forged)?;
        let ends = match &*opened {
            Opened::Cert(_) | Opened::Obituary(_) => Ends::Never,
            Opened::Presence(presence) => presence.ends(),
            Opened::Revocation(revocation) => revocation.ends(),
            Opened::Alert(alert) => alert.ends(),
        };
        if matches!(ends, Ends::At(end) if now >= end) {
            let (node, reason) = (record.subject, "it was said too long ago");
            return Err(Refused::Expired { node, reason });
        }
        let (kind, subject, version) = match &*opened {
            Opened::Cert(cert) => {
                if now >= cert.expires || now < cert.not_before {
                    let node = cert.node;
                    let reason = "it is not valid now";
                    return Err(Refused::Expired { node, reason });
                }
                (Kind::Cert, cert.node, seconds(cert.expires))
            }
            Opened::Presence(presence) => {
                let version = presence.incarnation.number();
                (Kind::Presence, presence.node, version)
            }
            Opened::Revocation(revocation) => (Kind::Revocation, revocation.node, 0),
            Opened::Alert(alert) => (Kind::Alert, alert.subject, alert.incarnation.number()),
            Opened::Obituary(_) => (Kind::Obituary, record.subject, record.version),
        };
        if (kind, subject, version) != (record.kind, record.subject, record.version) {
            return Err(forged());
        }
        Ok(opened)
    }
}

/// One node of the loop.
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) engine: Engine,
    pub(super) table: Table,
    pub(super) cert: Sealed,
    pub(super) up: bool,
    /// It gets no time until then.
    pub(super) stalled_until: u64,
    pub(super) sent: u64,
    met: BTreeSet<usize>,
    /// Everything that it was asked to do but sends, with the time.
    pub(super) log: Vec<(u64, Command)>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Tick(usize),
    Message(usize, usize),
}

/// The loop.
pub(super) struct World {
    pub(super) book: Book,
    pub(super) nodes: Vec<Node>,
    pub(super) now_ms: u64,
    /// How far all wall clocks are ahead of the truth.
    pub(super) ahead_ms: u64,
    /// Messages in a thousand that are lost.
    pub(super) loss: u64,
    /// Which side of a split each node is on; nodes of different sides cannot hear each other.
    pub(super) side: BTreeMap<usize, u8>,
    /// Nodes of which all that they send is lost.
    pub(super) muted: BTreeSet<usize>,
    /// How far single nodes' wall clocks are off.
    pub(super) off_ms: BTreeMap<usize, i64>,
    pub(super) tuning: Tuning,
    pub(super) sent: u64,
    /// A node whose alerts never leave it.
    pub(super) mute_alerts_of: Option<usize>,
    random: u64,
    number: u64,
    due: BTreeMap<(u64, u64), Due>,
    flying: BTreeMap<u64, super::super::Message>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            book: Book::default(),
            nodes: Vec::new(),
            now_ms: 10_000,
            ahead_ms: 0,
            loss: 0,
            side: BTreeMap::new(),
            muted: BTreeSet::new(),
            off_ms: BTreeMap::new(),
            tuning: Tuning::default(),
            sent: 0,
            mute_alerts_of: None,
            random: seed,
            number: 0,
            due: BTreeMap::new(),
            flying: BTreeMap::new(),
        }
    }

    /// A mesh of `count` nodes of as many operators, each joined through the first.
    pub(super) fn of(seed: u64, count: u32) -> Self {
        let mut world = Self::new(seed);
        for number in 0..count {
            let operator = format!("operator {number}");
            let at = world.add(number, &operator, Incarnation::default());
            if at > 0 {
                world.connect(at, 0);
            }
            world.run(100);
        }
        world.run(10_000);
        world
    }

    pub(super) fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.random)
    }

    pub(super) fn now(&self) -> Now {
        Now {
            time: Time::from_ms(self.now_ms),
            stamp: Stamp::from_ms(DAWN_MS + self.now_ms + self.ahead_ms),
        }
    }

    fn now_at(&self, at: usize) -> Now {
        let Now { time, stamp } = self.now();
        let off_ms = self.off_ms.get(&at).copied().unwrap_or_default();
        let stamp = Stamp::from_ms(stamp.as_ms().saturating_add_signed(off_ms));
        Now { time, stamp }
    }

    pub(super) fn setup(&mut self, id: NodeId, made: Incarnation) -> Setup {
        Setup {
            mesh: mesh_id(),
            me: id,
            made,
            addresses: Vec::new(),
            facts: Facts::default(),
            mode: Mode::Open,
            tuning: self.tuning,
            seed: self.draw(),
        }
    }

    /// A new node with a certificate, which knows nobody.
    pub(super) fn add(&mut self, number: u32, operator: &str, made: Incarnation) -> usize {
        let id = node_id(number);
        let setup = self.setup(id, made);
        let mut table = Table::new();
        let cert = self.book.cert(id, operator, DAWN_MS + self.now_ms);
        let engine = Engine::new(setup, &mut table).expect("the table is empty");
        self.nodes.push(Node {
            id,
            engine,
            table,
            cert: cert.clone(),
            up: true,
            stalled_until: 0,
            sent: 0,
            met: BTreeSet::new(),
            log: Vec::new(),
        });
        let at = self.nodes.len() - 1;
        self.tell(at, Event::Records(vec![cert]));
        at
    }

    /// Two nodes open a connection and show their certificates.
    pub(super) fn connect(&mut self, one: usize, other: usize) {
        for (here, there) in [(one, other), (other, one)] {
            if self.nodes[here].met.insert(there) {
                let cert = self.nodes[there].cert.clone();
                self.tell(here, Event::Met(cert));
            }
        }
    }

    pub(super) fn slot(&self, at: usize, of: usize) -> Option<Slot> {
        self.nodes[at].table.find(&self.nodes[of].id)
    }

    pub(super) fn status(&self, at: usize, of: usize) -> Status {
        self.slot(at, of)
            .map_or(Status::Unknown, |slot| self.nodes[at].engine.status(slot))
    }

    /// Gives a node an event now and carries out what it asks for.
    pub(super) fn tell(&mut self, at: usize, event: Event) {
        let now = self.now_at(at);
        let mut out = Vec::new();
        let node = &mut self.nodes[at];
        node.engine
            .handle((&mut node.table, &mut self.book), now, event, &mut out);
        let wake = node.engine.wake_at().as_ms();
        self.number += 1;
        if wake < u64::MAX {
            let key = (wake.max(self.now_ms + 1), self.number);
            self.due.insert(key, Due::Tick(at));
        }
        for command in out {
            match command {
                Command::Send { to, message } => self.send(at, to, message),
                other => self.nodes[at].log.push((self.now_ms, other)),
            }
        }
    }

    fn send(&mut self, at: usize, to: Slot, message: super::super::Message) {
        let status = self.nodes[at].engine.status(to);
        assert!(
            !matches!(status, Status::Unknown | Status::Expired | Status::Revoked),
            "node {at} speaks to a node that is {status:?}: {message:?}"
        );
        let bytes = message
            .encode()
            .expect("an engine's message keeps the bounds");
        assert_eq!(
            super::super::Message::decode(&bytes).as_ref(),
            Ok(&message),
            "a message is read as it was written"
        );
        self.sent += 1;
        self.nodes[at].sent += 1;
        let id = self.nodes[at].table.place(to).node;
        let Some(there) = self.nodes.iter().position(|node| node.id == id && node.up) else {
            return;
        };
        let is_alert = match &message {
            super::super::Message::Records(batch) => {
                batch.0.iter().any(|record| record.kind == Kind::Alert)
            }
            _ => false,
        };
        if is_alert && self.mute_alerts_of == Some(at) {
            return;
        }
        let apart = self.side.get(&at) != self.side.get(&there);
        if apart || self.muted.contains(&at) || self.draw() % 1000 < self.loss {
            return;
        }
        self.number += 1;
        let when = self.now_ms + 5 + self.draw() % 20;
        self.flying.insert(self.number, message);
        self.due
            .insert((when, self.number), Due::Message(at, there));
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        while let Some((&(when, number), _)) = self.due.first_key_value() {
            if when > until {
                break;
            }
            let due = self.due.remove(&(when, number)).expect("it was there");
            self.now_ms = when;
            self.step(number, due);
        }
        self.now_ms = until;
    }

    fn step(&mut self, number: u64, due: Due) {
        let (Due::Tick(at) | Due::Message(_, at)) = due;
        if self.nodes[at].stalled_until > self.now_ms {
            let key = (self.nodes[at].stalled_until, number);
            self.due.insert(key, due);
            return;
        }
        match due {
            Due::Tick(at) => {
                let wake = self.nodes[at].engine.wake_at().as_ms();
                if self.nodes[at].up && wake <= self.now_ms {
                    self.tell(at, Event::Tick);
                }
            }
            Due::Message(from, to) => {
                let message = self.flying.remove(&number).expect("it was sent");
                if !self.nodes[to].up {
                    return;
                }
                self.connect(from, to);
                let id = self.nodes[from].id;
                if let Some(from) = self.nodes[to].table.intern(&id) {
                    self.tell(to, Event::Message { from, message });
                }
            }
        }
    }

    pub(super) fn crash(&mut self, at: usize) {
        self.nodes[at].up = false;
        for node in &mut self.nodes {
            node.met.remove(&at);
        }
    }

    /// A crashed node starts again with what it wrote down.
    pub(super) fn restart(&mut self, at: usize) {
        self.restart_told(at, true);
    }

    /// The same, told what it wrote down in one event or in several.
    pub(super) fn restart_told(&mut self, at: usize, at_once: bool) {
        let kept = |(_, command): &(u64, Command)| match command {
            Command::Keep(incarnation) => Some(*incarnation),
            _ => None,
        };
        let made = self.nodes[at].log.iter().filter_map(kept).max();
        let setup = self.setup(self.nodes[at].id, made.unwrap_or_default());
        let records = self.nodes[at].table.records();
        let mut saved = vec![self.nodes[at].cert.clone()];
        saved.extend(records.map(|kept| kept.sealed.clone()));
        let mut table = Table::new();
        let node = &mut self.nodes[at];
        node.engine = Engine::new(setup, &mut table).expect("the table is empty");
        node.table = table;
        node.met.clear();
        node.up = true;
        if at_once {
            self.tell(at, Event::Records(saved));
        } else {
            for record in saved {
                self.tell(at, Event::Records(vec![record]));
            }
        }
    }

    /// The nodes that are up, and what each must know.
    pub(super) fn up(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|at| self.nodes[*at].up)
            .collect()
    }

    pub(super) fn assert_agreed(&self, live: usize) {
        let up = self.up();
        let views: BTreeSet<u64> = up
            .iter()
            .map(|at| self.nodes[*at].engine.standing().view)
            .collect();
        for at in &up {
            let standing = self.nodes[*at].engine.standing();
            assert_eq!(standing.live, live, "node {at} sees {standing:?}");
        }
        assert_eq!(views.len(), 1, "the views differ");
    }

    /// All changes that nodes saw of a kind: when, who saw it, of whom.
    pub(super) fn changes(&self, wanted: Change) -> Vec<(u64, usize, NodeId)> {
        let mut found = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            for (when, command) in &node.log {
                if let Command::Changed { who, change } = command
                    && *change == wanted
                {
                    found.push((*when, at, node.table.place(*who).node));
                }
            }
        }
        found
    }

    pub(super) fn forget_logs(&mut self) {
        for node in &mut self.nodes {
            let keeps = |(_, command): &(u64, Command)| matches!(command, Command::Keep(_));
            node.log.retain(keeps);
        }
    }
}

pub(super) fn secs(seconds: u64) -> u64 {
    Duration::from_secs(seconds).as_secs() * 1000
}

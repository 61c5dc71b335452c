//! What goes wrong, and what people do: the plan's faults as they happen, and the end of them all.

use caravan_protocol::{
    identity::{NodeCert, Tier},
    member::{Event, Incarnation, Mode, Revocation, Status},
    time::Stamp,
};

use super::{Due, Tell, What, World, number, start::DIAL_MS};
use crate::{
    host::{BEGIN_MS, Phase},
    plan::{Down, Fault},
};

/// How long a machine that says farewell still runs, so that it is heard.
const FAREWELL_MS: u64 = 500;
/// A renewed certificate's life.
const RENEWED_MS: u64 = 7 * 24 * 3_600_000;

impl World {
    pub(super) fn happen(&mut self, due: Due) {
        match due {
            Due::Fault(fault) => {
                if !self.is_calm || !fault.is_trouble() {
                    self.fault(fault);
                }
            }
            Due::Restart(host) => {
                if matches!(self.hosts[host].phase, Phase::Down { .. }) {
                    self.start(host);
                }
            }
            Due::Gone(host, life) => {
                if self.hosts[host].life == life && self.hosts[host].is_up() {
                    self.break_connections(host);
                    self.stop(host, Phase::Left);
                }
            }
            Due::Tell(host, life, tell) => self.tell(host, life, tell),
            Due::Dial(host, life) => self.dial(host, life),
            Due::Whole(trouble) => {
                if self.troubles == trouble && self.whole_ms == crate::host::NEVER {
                    self.mend();
                }
            }
        }
    }

    fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Join(host) => {
                if self.hosts[host].phase == Phase::Unborn {
                    self.start(host);
                    let life = self.hosts[host].life;
                    self.plan_for(self.now_ms + 1, Due::Dial(host, life));
                }
            }
            Fault::Leave(host) => {
                if self.hosts[host].is_up() {
                    self.feed(host, Event::Mode(Mode::Left));
                    let life = self.hosts[host].life;
                    self.plan_for(self.now_ms + FAREWELL_MS, Due::Gone(host, life));
                }
            }
            Fault::Revoke(host) => self.revoke(host),
            Fault::Renew(host) => self.renew(host),
            Fault::Say(host, mode) => self.feed(host, Event::Mode(mode)),
            Fault::Crash { host, down, for_ms } => self.crash(host, down, for_ms),
            Fault::Pause { host, for_ms } => self.hosts[host].paused_ms = self.now_ms + for_ms,
            Fault::Starve {
                host,
                for_ms,
                every_ms,
            } => self.hosts[host].starved = (self.now_ms + for_ms, every_ms),
            Fault::Divide { apart, for_ms } => {
                self.apart = apart;
                self.trouble(for_ms);
            }
            Fault::Mute { muted, for_ms } => {
                self.muted = muted;
                self.trouble(for_ms);
            }
            Fault::Attack(host) => {
                if self.hosts[host].is_up() {
                    self.attack(host);
                }
            }
            Fault::Accuse(host, victim) => {
                if self.hosts[host].is_up() {
                    self.accuse(host, victim);
                }
            }
        }
    }

    fn trouble(&mut self, for_ms: u64) {
        self.troubles += 1;
        self.whole_ms = crate::host::NEVER;
        self.plan_for(self.now_ms + for_ms, Due::Whole(self.troubles));
    }

    fn mend(&mut self) {
        self.apart = Vec::new();
        self.muted = Vec::new();
        self.whole_ms = self.now_ms;
    }

    /// From now on nothing goes wrong; those that are down for a while come back.
    pub(super) fn calm(&mut self) {
        self.is_calm = true;
        if self.whole_ms == crate::host::NEVER {
            self.mend();
        }
        if !self.plan.shared {
            self.plan.loss = 0;
            self.plan.delayed = 0;
            self.plan.doubled = 0;
        }
        // Whoever is to come back does so now.
        let soon_ms = self.now_ms + 1;
        let restarts = |due: &Due| matches!(due, Due::Restart(_));
        let (back, later) = std::mem::take(&mut self.agenda)
            .into_iter()
            .partition(|(_, due)| restarts(due));
        self.agenda = later;
        let back: std::collections::BTreeMap<_, _> = back;
        for due in back.into_values() {
            self.plan_for(soon_ms, due);
        }
        for (at, host) in self.hosts.iter_mut().enumerate() {
            // Its next tick was put off to where the trouble was to end.
            if host.is_troubled(self.now_ms) {
                host.wake_ms = self.now_ms + 1;
                self.wakes.add(host.wake_ms, number(at));
            }
            host.paused_ms = host.paused_ms.min(self.now_ms);
            host.starved.0 = host.starved.0.min(self.now_ms);
        }
    }

    fn founder_says(&mut self, record: caravan_protocol::member::Sealed) {
        self.feed(0, Event::Records(vec![record]));
    }

    fn revoke(&mut self, host: usize) {
        let node = self.hosts[host].id;
        let is_doable = self.hosts[0].is_up() && self.hosts[host].revoked_ms.is_none();
        if !is_doable || self.hosts[host].phase == Phase::Unborn || self.hosts[host].is_stranger {
            return;
        }
        let revocation = Revocation {
            mesh: self.mesh,
            node,
            at: Stamp::from_ms(BEGIN_MS + self.now_ms),
        };
        let founder = self.hosts[0].id;
        let record = self.ledger.revocation(founder, revocation);
        self.hosts[host].revoked_ms = Some(self.now_ms);
        self.was_revoked[host] = true;
        self.founder_says(record);
    }

    fn renew(&mut self, host: usize) {
        if !self.hosts[0].is_up() || self.hosts[host].is_stranger {
            return;
        }
        let expires_ms = self.now_ms + RENEWED_MS;
        let machine = &self.plan.machines[host];
        let cert = NodeCert {
            mesh: self.mesh,
            node: machine.id,
            operator: format!("operator{}", machine.operator),
            tier: Tier::Donor,
            platforms: Vec::new(),
            not_before: Stamp::from_ms(BEGIN_MS),
            expires: Stamp::from_ms(BEGIN_MS + expires_ms),
        };
        let founder = self.hosts[0].id;
        let record = self.ledger.cert(founder, cert);
        self.hosts[host].expires_ms = expires_ms;
        // The machine fetches it from the founder, as it fetched its first one.
        self.hosts[host].cert = record.clone();
        self.founder_says(record.clone());
        self.feed(host, Event::Records(vec![record]));
    }

    fn crash(&mut self, host: usize, down: Down, for_ms: Option<u64>) {
        if !self.hosts[host].is_up() {
            return;
        }
        let answers = down == Down::Killed;
        if answers {
            self.break_connections(host);
        }
        self.stop(host, Phase::Down { answers });
        let disk = &mut self.hosts[host].disk;
        if down == Down::Wiped {
            disk.made = Incarnation::default();
            disk.records.clear();
            disk.asleep = None;
        }
        if let Some(for_ms) = for_ms {
            self.plan_for(self.now_ms + for_ms, Due::Restart(host));
        }
    }

    fn stop(&mut self, host: usize, phase: Phase) {
        let shared = self.plan.shared;
        let machine = &mut self.hosts[host];
        let engine = machine.engine.take();
        // The dead need no copy of a view of thousands but to wake up with.
        machine.disk.asleep = engine.filter(|_| shared).map(Box::new);
        machine.phase = phase;
        machine.since_ms = self.now_ms;
        self.note(host, What::Stopped);
    }

    /// Those who are connected to a machine see that its program has ended.
    fn break_connections(&mut self, host: usize) {
        for peer in 0..self.hosts.len() {
            if peer != host && self.is_connected(host, peer) && self.reaches(host, peer) {
                let life = self.hosts[peer].life;
                let at_ms = self.now_ms + self.latency_ms(host, peer);
                self.plan_for(at_ms, Due::Tell(peer, life, Tell::Lost(host)));
            }
        }
    }

    fn is_connected(&self, host: usize, peer: usize) -> bool {
        let keeps = |one: usize, other: usize| {
            let slot = self.slot(one, other);
            let engine = self.hosts[one].engine.as_ref();
            slot.zip(engine).is_some_and(|(slot, engine)| {
                engine.neighbours().any(|neighbour| neighbour == slot)
            })
        };
        let has_met = |one: usize, other: usize| {
            let met = self.hosts[one].met.get(&super::number(other));
            self.plan.shared || met == Some(&self.hosts[other].life)
        };
        (keeps(host, peer) || keeps(peer, host)) && has_met(peer, host)
    }

    /// A machine that knows nobody dials somebody; one that is alone does so again and again.
    fn dial(&mut self, host: usize, life: u32) {
        let machine = &self.hosts[host];
        let Some(engine) = machine.engine.as_ref().filter(|_| machine.life == life) else {
            return;
        };
        let standing = engine.standing();
        // Newcomers that met only each other are no mesh: they dial until they know the founder.
        let knows_founder = !matches!(self.status(host, 0), Status::Unknown | Status::Certified);
        let is_alone = standing.live <= 1 || !standing.joined || !knows_founder;
        let is_stalled = machine.stalled(self.now_ms).is_some();
        self.plan_for(self.now_ms + DIAL_MS, Due::Dial(host, life));
        if !is_alone || is_stalled {
            return;
        }
        let other = self.dice.index(self.hosts.len());
        let other = if self.dice.chance(300) { 0 } else { other };
        let is_there =
            self.hosts[other].is_up() && self.hosts[other].stalled(self.now_ms).is_none();
        if other != host && is_there && self.reaches(host, other) && self.reaches(other, host) {
            self.introduce(host, other);
        }
    }
}

impl Fault {
    /// Whether it is something that goes wrong, not something that somebody does.
    const fn is_trouble(&self) -> bool {
        !matches!(self, Self::Join(_) | Self::Renew(_))
    }
}

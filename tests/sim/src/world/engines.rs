//! Between a machine and its engine: events in, commands out, ticks in time.

use caravan_protocol::member::{Change, Command, Directory, Engine, Event, Kind, Sealed, Slot};

use super::{Due, Tell, What, World, number};
use crate::{flaw::Flaw, host::NEVER, ledger::Seal};

impl World {
    /// The machine that an engine means by a slot.
    pub(super) fn host_of(&self, at: usize, slot: Slot) -> Option<usize> {
        if self.commons.is_some() {
            return Some(slot.index());
        }
        let node = self.hosts[at].table.place(slot).node;
        self.index.get(&node).copied()
    }

    /// The slot by which a machine is to be told of another.
    pub(super) fn slot_for(&mut self, at: usize, of: usize) -> Option<Slot> {
        if self.commons.is_some() {
            return Some(super::shared_slot(of));
        }
        let node = self.hosts[of].id;
        self.hosts[at].table.intern(&node)
    }

    /// Tells an engine what happened and does what it asks for.
    pub(super) fn feed(&mut self, at: usize, event: Event) {
        let signed = self.ledger.made().len();
        let mut out = std::mem::take(&mut self.out);
        let host = &mut self.hosts[at];
        let now = host.clock(self.now_ms);
        let Some(engine) = &mut host.engine else {
            return;
        };
        let mut seal = Seal {
            ledger: &mut self.ledger,
            me: host.id,
            revoked: &mut host.revoked,
            is_gullible: host.flaw == Flaw::Gullible,
        };
        match &mut self.commons {
            Some(commons) => engine.handle((commons, &mut seal), now, event, &mut out),
            None => engine.handle((&mut host.table, &mut seal), now, event, &mut out),
        }
        let wake_ms = wake_ms(engine, host.ahead_ms);
        if wake_ms < host.wake_ms {
            host.wake_ms = wake_ms;
            self.wakes.add(wake_ms, number(at));
        }
        if self.is_watched {
            self.note_signed(at, signed);
        }
        for command in out.drain(..) {
            self.act(at, command);
        }
        self.out = out;
    }

    fn note_signed(&mut self, at: usize, from: usize) {
        for made in from..self.ledger.made().len() {
            let record = &self.ledger.made()[made];
            let (kind, who) = (record.kind, self.index.get(&record.subject).copied());
            self.note(at, What::Signed { kind, who });
        }
    }

    /// Plans the tick that a machine's engine wants, after something else than an event.
    pub(super) fn rearm(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        if let Some(engine) = &host.engine {
            host.wake_ms = wake_ms(engine, host.ahead_ms);
            self.wakes.add(host.wake_ms, number(at));
        }
    }

    /// A tick that was planned; it is due only if the engine still wants it.
    pub(super) fn wake(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        if host.wake_ms > self.now_ms {
            return;
        }
        if let Some(until_ms) = host.stalled(self.now_ms) {
            host.wake_ms = until_ms;
            self.wakes.add(until_ms, number(at));
            return;
        }
        host.wake_ms = NEVER;
        if host.engine.is_none() {
            return;
        }
        self.report.ticks += 1;
        self.feed(at, Event::Tick);
    }

    fn act(&mut self, at: usize, command: Command) {
        match command {
            Command::Send { to, message } => {
                if let Some(to) = self.host_of(at, to) {
                    self.send(at, to, message);
                }
            }
            Command::Keep(incarnation) => self.hosts[at].disk.made = incarnation,
            Command::Record(record) => self.record(at, record),
            Command::Changed { who, change } => self.changed(at, who, change),
            Command::Neighbours => {}
            Command::Twin { .. } => self.note(at, What::Twin),
            Command::Evicted => self.note(at, What::Evicted),
            Command::Rejected { from, .. } => {
                if let Some(from) = self.host_of(at, from) {
                    self.note(at, What::Rejected { from });
                }
            }
        }
    }

    fn record(&mut self, at: usize, record: Sealed) {
        let host = &mut self.hosts[at];
        if record.kind == Kind::Cert && record.subject == host.id {
            host.cert = record.clone();
        }
        if !self.plan.shared {
            let key = (record.kind, record.subject);
            host.disk.records.insert(key, record);
        }
    }

    fn changed(&mut self, at: usize, who: Slot, change: Change) {
        let Some(who) = self.host_of(at, who) else {
            return;
        };
        self.mark((at as u64) << 32 | (who as u64) << 8 | change as u64);
        if change == Change::Died {
            self.report.deaths += 1;
            self.report.false_deaths += u64::from(self.hosts[who].is_up());
        }
        if change == Change::Forgotten && !self.plan.shared {
            let id = self.hosts[who].id;
            let records = &mut self.hosts[at].disk.records;
            records.retain(|(_, subject), _| *subject != id);
        }
        if change == Change::Revoked {
            // Its connections are broken.
            self.hosts[at].met.remove(&number(who));
            self.hosts[who].met.remove(&number(at));
            let latency_ms = self.latency_ms(at, who);
            let life = self.hosts[who].life;
            let lost = Due::Tell(who, life, Tell::Lost(at));
            self.plan_for(self.now_ms + latency_ms, lost);
        }
        self.note(at, What::Changed { who, change });
        if change == Change::Left && self.hosts[at].flaw == Flaw::Rude {
            self.slander(at, who);
        }
    }
}

fn wake_ms(engine: &Engine, ahead_ms: u64) -> u64 {
    engine.wake_at().as_ms().saturating_sub(ahead_ms)
}

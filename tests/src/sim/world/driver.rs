//! Around the engine: what it asks for is done here, by waiting where the program would work.

use caravan_protocol::{
    action::Limits,
    offer::{Command, Event, JobId, Place, Want},
    time::Time,
};

use super::{Due, What, World};
use crate::sim::{End, Flaw, names};

/// Nodes that an owner remembers as having a lineage.
const HOLDERS_MAX: usize = caravan_protocol::limits::HOLDERS_MAX;

impl World {
    pub(super) fn feed(&mut self, at: usize, event: Event) {
        let host = &self.hosts[at];
        if host.engine.is_none() {
            return;
        }
        if self.plan.noted {
            self.note(at, What::Event(event.clone()));
        }
        if host_is_deaf(self.hosts[at].flaw, &event) {
            return;
        }
        for command in self.think(at, event) {
            let host = &self.hosts[at];
            let times = host.flaw.times(&command);
            for _ in 0..times {
                if self.plan.noted {
                    self.note(at, What::Command(command.clone()));
                }
            }
            if times > 0 {
                self.obey(at, command);
            }
        }
    }

    /// What the engine of a machine that is up makes of an event.
    pub(super) fn think(&mut self, at: usize, event: Event) -> Vec<Command> {
        let host = &mut self.hosts[at];
        let clock = host.clock(self.now_ms);
        let mut out = Vec::new();
        if let Some(engine) = host.engine.as_mut() {
            engine.handle(clock, event, &mut out);
        }
        out
    }

    pub(super) fn obey(&mut self, at: usize, command: Command) {
        match command {
            Command::Run { attempt, .. } => self.run(at, attempt),
            Command::Stop { attempt } => self.stop(at, attempt),
            Command::Appraise { appraisal, lineage } => {
                let lineage = lineage.last().map(|layer| names::lineage_of(layer.tree));
                let life = self.hosts[at].life;
                let due = Due::Appraised {
                    host: at,
                    life,
                    appraisal,
                    lineage,
                };
                self.soon(0, 2, due);
            }
            Command::Send { to, message } => {
                let message = self.twist(at, message);
                self.send(at, self.index[&to], &message);
            }
            Command::Gossip { platform, digest } => self.gossip(at, &platform, &digest),
            Command::WakeAt(time) => self.wake(at, time),
            Command::Done { attempt, node, .. } => {
                self.learn(at, attempt.job, self.index[&node]);
                self.end(at, attempt.job, End::Done);
            }
            Command::GaveUp { job, .. } => self.end(at, job, End::GaveUp),
            Command::Placed { .. }
            | Command::Progress { .. }
            | Command::Waiting { .. }
            | Command::Lost { .. }
            | Command::Late { .. }
            | Command::Reject { .. } => {}
        }
    }

    pub(super) fn wake(&mut self, at: usize, time: Time) {
        let host = &mut self.hosts[at];
        let at_ms = time.as_ms() - host.ahead_ms;
        host.wake_ms = Some(at_ms);
        let life = host.life;
        self.agenda.add(
            at_ms,
            Due::Wake {
                host: at,
                life,
                at_ms,
            },
        );
    }

    pub(super) fn end(&mut self, owner: usize, job: JobId, end: End) {
        self.mark(
            owner,
            5 + u8::from(end == End::GaveUp),
            job.action().as_bytes(),
        );
        if let Some(order) = self.orders.get_mut(&(owner, job))
            && order.end.is_none()
        {
            order.end = Some(end);
            match end {
                End::Done => {
                    self.report.done += 1;
                    self.spans.push((order.at_ms, self.now_ms));
                }
                _ => self.report.gave_up += 1,
            }
            self.report.ended_ms = self.now_ms;
        }
    }

    pub(super) fn want(&mut self, number: usize) {
        let order = self.orders.get_mut(&self.keys[number]).expect("planned");
        if order.end.is_some() {
            return;
        }
        order.wanted = true;
        let owner = order.owner;
        let want = self.described(self.keys[number]);
        let job = want.job;
        self.feed(owner, Event::Want(want));
        if self.hosts[owner].flaw == Flaw::Forgetful {
            self.think(owner, Event::Unwant(job));
        }
    }

    /// A job as its owner's driver tells of it: with what it knows about its lineage.
    pub(super) fn described(&self, key: (usize, JobId)) -> Want {
        let order = &self.orders[&key];
        let (owner, mut want) = (order.owner, order.want.clone());
        let layer = names::layer(order.lineage, self.plan.miss_ms);
        let is_here = self.hosts[owner].shelf.has(order.lineage);
        want.missing_bytes = if is_here { 0 } else { layer.bytes };
        // Where nothing has to be fetched, nothing is below a job.
        if layer.bytes > 0 {
            want.lineage = vec![layer];
        }
        want.role = Some(names::role(order.role));
        let holders = self.holders.get(&(owner, order.lineage));
        let nodes = holders.into_iter().flatten();
        want.holders = nodes.map(|host| self.hosts[*host].id).collect();
        if self.hosts[owner].flaw == Flaw::Careless {
            want.place = Place::default();
            want.needs = Limits::NOTHING;
        }
        want
    }

    /// An owner has heard who has a lineage.
    fn learn(&mut self, owner: usize, job: JobId, host: usize) {
        let Some(order) = self.orders.get(&(owner, job)) else {
            return;
        };
        let holders = self.holders.entry((owner, order.lineage)).or_default();
        holders.retain(|held| *held != host);
        holders.push_front(host);
        holders.truncate(HOLDERS_MAX);
    }

    pub(super) fn unwant(&mut self, number: usize) {
        let order = self.orders.get_mut(&self.keys[number]).expect("planned");
        if order.end.is_none() {
            order.end = Some(End::Unwanted);
            let (owner, job) = (order.owner, order.want.job);
            self.feed(owner, Event::Unwant(job));
        }
    }
}

/// Whether a broken program does not take in an event.
const fn host_is_deaf(flaw: Flaw, event: &Event) -> bool {
    matches!(
        (flaw, event),
        (Flaw::Clinging, Event::PeerDown(_))
            | (Flaw::Mute, Event::Message { .. } | Event::Heard { .. })
    )
}

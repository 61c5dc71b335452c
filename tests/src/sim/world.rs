//! The machines, the network between them and the clock. It owns all state of a run; every
//! message crosses it as bytes.

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use caravan_protocol::{
    claim::Verdict,
    ids::NodeId,
    offer::{AttemptId, Command, Digest, Event, JobId},
    platform::Platform,
};

use super::{Dice, Fault, Host, Order, Plan, Report, agenda::Agenda, central::Outcome};

mod driver;
mod faults;
mod liars;
mod machines;
mod network;
mod runner;

/// Something that was seen on a machine.
#[derive(Debug, Clone)]
pub struct Note {
    /// Index of the machine.
    pub host: usize,
    /// What.
    pub what: What,
}

/// What was seen.
#[derive(Debug, Clone)]
pub enum What {
    /// The engine was told this.
    Event(Event),
    /// The engine asked for this.
    Command(Command),
    /// The machine went down.
    Crashed,
    /// The machine came up.
    Started,
}

#[derive(Debug)]
enum Due {
    Packet {
        from: usize,
        to: usize,
        packet: Packet,
    },
    /// One machine finds out whether another is there.
    Look {
        host: usize,
        at: usize,
    },
    Wake {
        host: usize,
        life: u32,
        at_ms: u64,
    },
    /// An attempt writes log, or ends.
    Progress {
        host: usize,
        attempt: AttemptId,
        token: u64,
    },
    Ended {
        host: usize,
        attempt: AttemptId,
        token: u64,
        verdict: Verdict,
    },
    Appraised {
        host: usize,
        life: u32,
        appraisal: u64,
        lineage: Option<u32>,
    },
    /// A machine hears who holds a role.
    Holder {
        host: usize,
        role: usize,
    },
    Want(usize),
    Unwant(usize),
    Restart(usize),
    Unpause(usize),
    Usurped {
        host: usize,
        by: usize,
    },
    Fault(Fault),
    Rejoin,
    Calm,
    /// Time passes, so that invariants about time are looked at.
    Second,
}

#[derive(Debug, Clone)]
enum Packet {
    Message(Vec<u8>),
    /// Read once for all who hear it.
    Gossip(Platform, Rc<Digest>),
}

/// A mesh in the middle of its run.
#[derive(Debug)]
pub struct World {
    plan: Plan,
    now_ms: u64,
    hosts: Vec<Host>,
    index: BTreeMap<NodeId, usize>,
    orders: BTreeMap<(usize, JobId), Order>,
    keys: Vec<(usize, JobId)>,
    agenda: Agenda<Due>,
    dice: Dice,
    notes: Vec<Note>,
    token: u64,
    divisions: u32,
    /// Who took over from whom.
    heirs: BTreeMap<usize, usize>,
    /// Who holds the role that a machine held first.
    roles: BTreeMap<usize, usize>,
    /// Machines that an owner thinks to have a lineage, the latest first.
    holders: BTreeMap<(usize, u32), VecDeque<usize>>,
    /// When each job that is done was wanted and when it was done.
    spans: Vec<(u64, u64)>,
    report: Report,
}

impl World {
    /// A mesh whose machines have just been switched on.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let mut dice = Dice::new(plan.seed ^ 0x5eed);
        let machines = plan.machines.iter();
        let hosts: Vec<Host> = machines
            .map(|machine| Host::new(machine, dice.between(0, 1 << 40)))
            .collect();
        let index = hosts.iter().enumerate().map(|(at, host)| (host.id, at));
        let mut world = Self {
            now_ms: 0,
            index: index.collect(),
            orders: BTreeMap::new(),
            keys: Vec::new(),
            agenda: Agenda::new(),
            dice,
            notes: Vec::new(),
            token: 0,
            divisions: 0,
            report: Report {
                trace: 0xcbf2_9ce4_8422_2325,
                done: 0,
                gave_up: 0,
                messages: 0,
                digests: 0,
                remote_runs: 0,
                kinds: BTreeMap::new(),
                beats: 0,
                hits: (0, 0),
                ended_ms: 0,
            },
            heirs: BTreeMap::new(),
            roles: plan
                .orders
                .iter()
                .map(|order| (order.role, order.role))
                .collect(),
            holders: BTreeMap::new(),
            spans: Vec::new(),
            hosts,
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for order in std::mem::take(&mut self.plan.orders) {
            let key = (order.owner, order.want.job);
            let number = self.keys.len();
            self.agenda.add(order.at_ms, Due::Want(number));
            if let Some(until_ms) = order.until_ms {
                self.agenda.add(until_ms, Due::Unwant(number));
            }
            self.keys.push(key);
            self.orders.insert(key, order);
        }
        for (at_ms, fault) in std::mem::take(&mut self.plan.faults) {
            self.agenda.add(at_ms, Due::Fault(fault));
        }
        self.agenda.add(self.plan.calm_ms, Due::Calm);
        self.agenda.add(0, Due::Second);
        for host in 0..self.hosts.len() {
            self.start(host);
        }
    }

    /// Milliseconds since the run began.
    #[must_use]
    pub const fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Whether nothing goes wrong any more.
    #[must_use]
    pub const fn is_calm(&self) -> bool {
        self.now_ms > self.plan.calm_ms
    }

    /// What was planned.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The machines.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The machine of that name.
    #[must_use]
    pub fn host(&self, id: NodeId) -> usize {
        self.index[&id]
    }

    /// All jobs by owner.
    #[must_use]
    pub const fn orders(&self) -> &BTreeMap<(usize, JobId), Order> {
        &self.orders
    }

    /// What was seen during the last step.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// What the run has come to.
    #[must_use]
    pub fn report(&self) -> Report {
        self.report.clone()
    }

    /// Whether one machine has taken over the role of another, or is that one.
    #[must_use]
    pub fn inherits(&self, heir: usize, from: usize) -> bool {
        let mut at = from;
        // Each of them is gone for ever, so that there is no circle.
        while at != heir {
            match self.heirs.get(&at) {
                Some(next) => at = *next,
                None => return false,
            }
        }
        true
    }

    /// How the work went.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let (hits, runs) = self.report.hits;
        Outcome::of(&self.spans, hits, runs)
    }

    /// Whether every job of an owner that is there has ended.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.report.done + self.report.gave_up >= self.keys.len()
    }

    /// Whether everything that living owners want has ended and nothing runs any more.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let is_idle = |host: &Host| {
            host.running.is_empty()
                && (host.gone
                    || host
                        .engine
                        .as_ref()
                        .is_some_and(|engine| engine.jobs().next().is_none()))
        };
        self.is_calm() && self.hosts.iter().all(is_idle) && self.open().next().is_none()
    }

    fn open(&self) -> impl Iterator<Item = &Order> {
        self.orders
            .values()
            .filter(|order| order.end.is_none() && !self.hosts[order.owner].gone)
    }

    /// What keeps the run from being settled.
    #[must_use]
    pub fn unsettled(&self) -> String {
        let open: Vec<String> = self
            .open()
            .map(|order| {
                let engine = self.hosts[order.owner].engine.as_ref();
                let standing = engine.map(|engine| engine.standing(order.want.job));
                format!("{} of host {}: {standing:?}", order.want.job, order.owner)
            })
            .collect();
        let running: Vec<_> = self.hosts.iter().map(|host| host.running.len()).collect();
        format!("jobs are still open: {open:?}; attempts running by host: {running:?}")
    }

    /// Lets the next thing happen; false when nothing is going to.
    pub fn step(&mut self) -> bool {
        self.notes.clear();
        let Some((at_ms, due)) = self.agenda.pop() else {
            return false;
        };
        self.now_ms = self.now_ms.max(at_ms);
        if let Some(thaws_ms) = self.frozen(&due) {
            self.agenda.add(thaws_ms, due);
            return true;
        }
        match due {
            Due::Packet { from, to, packet } => self.arrive(from, to, packet),
            Due::Look { host, at } => self.look(host, at),
            Due::Wake { host, life, at_ms } => {
                let woken = &mut self.hosts[host];
                if woken.life == life && woken.wake_ms == Some(at_ms) {
                    woken.wake_ms = None;
                    self.feed(host, Event::Tick);
                }
            }
            Due::Progress {
                host,
                attempt,
                token,
            } => self.progress(host, attempt, token),
            Due::Ended {
                host,
                attempt,
                token,
                verdict,
            } => self.ended(host, attempt, token, verdict),
            Due::Appraised {
                host,
                life,
                appraisal,
                lineage,
            } => self.appraised((host, life), appraisal, lineage),
            Due::Holder { host, role } => self.tell_holder(host, role),
            Due::Want(number) => self.want(number),
            Due::Unwant(number) => self.unwant(number),
            Due::Restart(host) => self.start(host),
            Due::Unpause(host) => self.pause(host, false),
            Due::Usurped { host, by } => self.usurped(host, by),
            Due::Fault(fault) => self.break_it(fault),
            Due::Rejoin => self.rejoin(),
            Due::Calm => self.calm(),
            Due::Second => {
                self.misbehave();
                self.agenda.add(self.now_ms + 1000, Due::Second);
            }
        }
        true
    }

    /// Until when what is due has to wait because its machine stands still.
    fn frozen(&self, due: &Due) -> Option<u64> {
        let host = match due {
            Due::Packet { to: host, .. }
            | Due::Look { host, .. }
            | Due::Wake { host, .. }
            | Due::Progress { host, .. }
            | Due::Appraised { host, .. }
            | Due::Holder { host, .. }
            | Due::Ended { host, .. } => *host,
            Due::Want(number) | Due::Unwant(number) => self.keys[*number].0,
            _ => return None,
        };
        let thaws_ms = self.hosts[host].frozen_ms;
        (thaws_ms > self.now_ms).then_some(thaws_ms)
    }

    fn soon(&mut self, low_ms: u64, high_ms: u64, due: Due) {
        let at_ms = self.now_ms + self.dice.between(low_ms, high_ms);
        self.agenda.add(at_ms, due);
    }

    fn mark(&mut self, host: usize, kind: u8, bytes: &[u8]) {
        let head = self.now_ms.to_le_bytes();
        let host = u32::try_from(host).expect("few hosts").to_le_bytes();
        for byte in head.iter().chain(&host).chain([&kind]).chain(bytes) {
            self.report.trace =
                (self.report.trace ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    fn note(&mut self, host: usize, what: What) {
        if self.plan.noted {
            self.notes.push(Note { host, what });
        }
    }
}

//! The machines, the network between them and the clock. It owns all state of a run and lets
//! nothing happen but what the plan, the engines and the dice say.

use std::collections::BTreeMap;

use caravan_protocol::{
    ids::{MeshId, NodeId},
    member::{Change, Command, Directory, Kind, Message, Slot, Status},
};

use crate::{
    bounds,
    commons::Commons,
    dice::{Dice, mix},
    flaw::Flaw,
    host::Host,
    ledger::{Counts, Ledger},
    plan::{Fault, Plan},
    wheel::Wheel,
};

mod attack;
mod engines;
mod faults;
mod network;
mod start;

/// Milliseconds ahead that the wheel of messages holds in its ring.
const PACKETS_MS: usize = 64;
/// The same for ticks.
const WAKES_MS: usize = 8192;

/// Something that was seen at a machine.
#[derive(Debug, Clone)]
pub struct Note {
    /// Index of the machine.
    pub host: usize,
    /// What.
    pub what: What,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Another's standing changed in its view.
    Changed {
        /// Index of the other.
        who: usize,
        /// How.
        change: Change,
    },
    /// It signed a record about a machine.
    Signed {
        /// What.
        kind: Kind,
        /// About whom; nobody of the plan if it is forged.
        who: Option<usize>,
    },
    /// It sent a message.
    Sent {
        /// To whom.
        to: usize,
        /// What kind of message.
        word: &'static str,
    },
    /// It did not believe what another sent.
    Rejected {
        /// Who sent it.
        from: usize,
    },
    /// It learnt that it is revoked.
    Evicted,
    /// It believes that another has its key.
    Twin,
    /// Its program was started.
    Started,
    /// It went down, or left.
    Stopped,
}

#[derive(Debug)]
struct Packet {
    to: u32,
    from: u32,
    message: Message,
}

#[derive(Debug)]
enum Due {
    Fault(Fault),
    /// A machine comes back.
    Restart(usize),
    /// A machine that said farewell is switched off.
    Gone(usize, u32),
    /// A machine tells its engine something of the network.
    Tell(usize, u32, Tell),
    /// A machine that knows nobody dials somebody.
    Dial(usize, u32),
    /// The network is whole again, if this was the latest trouble.
    Whole(u32),
}

#[derive(Debug, Clone, Copy)]
enum Tell {
    Lost(usize),
    Refused(usize),
    Met(usize),
}

/// What a run has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Hash over everything that was delivered and noted, in order.
    pub trace: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages delivered.
    pub deliveries: u64,
    /// Of these, probes and their answers.
    pub probes: u64,
    /// Of these, those with records in them.
    pub floods: u64,
    /// Ticks.
    pub ticks: u64,
    /// Bytes sent, where messages cross as bytes.
    pub bytes: u64,
    /// Largest message, bytes.
    pub largest: usize,
    /// What signing and checking would have cost.
    pub crypto: Counts,
    /// Times that a machine was declared dead in a view.
    pub deaths: u64,
    /// Of these, of machines that were up.
    pub false_deaths: u64,
    /// Milliseconds of virtual time.
    pub ms: u64,
}

/// A mesh in the middle of its run.
#[derive(Debug)]
pub struct World {
    plan: Plan,
    mesh: MeshId,
    now_ms: u64,
    hosts: Vec<Host>,
    commons: Option<Commons>,
    index: BTreeMap<NodeId, usize>,
    ledger: Ledger,
    packets: Wheel<Packet>,
    wakes: Wheel<u32>,
    agenda: BTreeMap<(u64, u64), Due>,
    agenda_seq: u64,
    dice: Dice,
    /// Which part of the network each machine is in; empty while it is whole.
    apart: Vec<bool>,
    muted: Vec<bool>,
    troubles: u32,
    /// Since when the network is whole.
    whole_ms: u64,
    is_calm: bool,
    /// By machine: whether the founder ever revoked it.
    was_revoked: Vec<bool>,
    /// By machine: whether it came while the run was under way.
    is_newcomer: Vec<bool>,
    notes: Vec<Note>,
    is_watched: bool,
    report: Report,
    out: Vec<Command>,
    arrivals: Vec<Packet>,
    woken: Vec<u32>,
}

impl World {
    /// Milliseconds since the run began.
    #[must_use]
    pub const fn now_ms(&self) -> u64 {
        self.now_ms
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

    /// What was seen since the last call of [`World::turn`]; nothing if nobody watches.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Whether nothing goes wrong any more.
    #[must_use]
    pub const fn is_calm(&self) -> bool {
        self.is_calm
    }

    /// Since when the network is whole; never while it is not.
    #[must_use]
    pub const fn whole_ms(&self) -> u64 {
        self.whole_ms
    }

    /// What the run has come to.
    #[must_use]
    pub const fn report(&self) -> Report {
        let mut report = self.report;
        report.crypto = self.ledger.counts;
        report.ms = self.now_ms;
        report
    }

    /// The engine's slot of another machine; none if it has never heard of it.
    #[must_use]
    pub fn slot(&self, at: usize, of: usize) -> Option<Slot> {
        if self.commons.is_some() {
            return Some(shared_slot(of));
        }
        self.hosts[at].table.find(&self.hosts[of].id)
    }

    /// The machine that an engine means by a slot; none if it is nobody of the plan.
    #[must_use]
    pub fn host_by_slot(&self, at: usize, slot: Slot) -> Option<usize> {
        self.host_of(at, slot)
    }

    /// Whether a machine's program does not mean harm.
    #[must_use]
    pub fn is_honest(&self, host: usize) -> bool {
        self.hosts[host].flaw != Flaw::Hostile
    }

    /// Where one machine stands in the view of another, which is up.
    #[must_use]
    pub fn status(&self, at: usize, of: usize) -> Status {
        let slot = self.slot(at, of);
        let engine = self.hosts[at].engine.as_ref();
        slot.zip(engine)
            .map_or(Status::Unknown, |(slot, engine)| engine.status(slot))
    }

    /// Whether a machine is one that everybody should see: it is up, has joined the mesh by a
    /// certificate that is valid on all clocks, and is not revoked.
    #[must_use]
    pub fn is_member(&self, host: usize) -> bool {
        let host = &self.hosts[host];
        host.is_up() && self.is_entitled(host)
    }

    /// Whether a machine may be in the mesh, up or not.
    #[must_use]
    pub fn is_entitled(&self, host: &Host) -> bool {
        let latest_ms = self.now_ms + 2 * crate::plan::SKEW_MS_MAX;
        !host.is_stranger && host.revoked_ms.is_none() && latest_ms < host.expires_ms
    }

    /// Whether a machine's certificate is good on some clocks and no good on others, or soon will
    /// be.
    #[must_use]
    pub const fn is_expiring(&self, host: &Host) -> bool {
        let latest_ms = self.now_ms + 2 * crate::plan::SKEW_MS_MAX + 2 * bounds::QUIET_MS;
        latest_ms >= host.expires_ms && self.now_ms <= host.expires_ms + bounds::EXPIRY_MS
    }

    /// Since when a machine has had what it needs to be right about others: it runs, at full
    /// speed, in a whole network. Never while it has not.
    #[must_use]
    pub fn fair_ms(&self, host: usize) -> u64 {
        let host = &self.hosts[host];
        if !host.is_up() || host.is_troubled(self.now_ms) {
            return crate::host::NEVER;
        }
        let alone_ms = host.since_ms.max(host.paused_ms).max(host.starved.0);
        alone_ms.max(self.whole_ms)
    }

    /// What keeps all members from seeing the same mesh, the true one.
    #[must_use]
    pub fn unsettled(&self) -> Option<String> {
        let mut views = Vec::new();
        for (at, host) in self.hosts.iter().enumerate() {
            if self.is_expiring(host) {
                return Some(format!("the certificate of host {at} is about to expire"));
            }
            if !self.is_member(at) {
                continue;
            }
            for of in 0..self.hosts.len() {
                let (status, is_member) = (self.status(at, of), self.is_member(of));
                if (status == Status::Live) != is_member {
                    let truth = if is_member { "a member" } else { "none" };
                    let phase = self.hosts[of].phase;
                    return Some(format!(
                        "host {at} sees host {of} as {status:?}, which is {truth} ({phase:?})"
                    ));
                }
            }
            views.extend(
                host.engine
                    .as_ref()
                    .map(|engine| (at, engine.standing().view)),
            );
        }
        let first = views.first()?;
        let other = views.iter().find(|(_, view)| *view != first.1)?;
        Some(format!(
            "hosts {} and {} have views with other hashes",
            first.0, other.0
        ))
    }

    /// How far the views of a large mesh agree, in words.
    #[must_use]
    pub fn agreement(&self) -> String {
        let members = (0..self.hosts.len()).filter(|host| self.is_member(*host));
        let mut views: BTreeMap<(u64, usize), usize> = BTreeMap::new();
        let mut truth = 0;
        for host in members {
            truth += 1;
            let host = &self.hosts[host];
            if let Some(engine) = &host.engine {
                let standing = engine.standing();
                *views.entry((standing.view, standing.live)).or_default() += 1;
            }
        }
        let most = views.iter().max_by_key(|(_, count)| **count);
        let (live, same) = most.map_or((0, 0), |((_, live), count)| (*live, *count));
        format!(
            "{truth} members at the end; {same} of them have one and the same view, of {live} members; {} views in all",
            views.len()
        )
    }

    /// Lets a millisecond go by.
    pub fn turn(&mut self) {
        self.notes.clear();
        self.now_ms += 1;
        let mut arrivals = std::mem::take(&mut self.arrivals);
        self.packets.turn(&mut arrivals);
        let mut woken = std::mem::take(&mut self.woken);
        self.wakes.turn(&mut woken);
        if self.plan.shared {
            self.warm(&arrivals, &woken);
        }
        // Both orders are right, so both are tried.
        if self.plan.seed & 1 == 0 {
            self.wake_all(&mut woken);
            self.arrive_all(&mut arrivals);
        } else {
            self.arrive_all(&mut arrivals);
            self.wake_all(&mut woken);
        }
        self.arrivals = arrivals;
        self.woken = woken;
        while let Some(entry) = self.agenda.first_entry()
            && entry.key().0 <= self.now_ms
        {
            let due = entry.remove();
            self.happen(due);
        }
        if !self.is_calm && self.now_ms >= self.plan.calm_ms {
            self.calm();
        }
    }

    /// Looks at all engines that will be needed in this millisecond, so that the processor fetches
    /// them side by side and not one after the other: with thousands, none is in its cache.
    fn warm(&self, arrivals: &[Packet], woken: &[u32]) {
        let wake = |host: u32| {
            let engine = self.hosts[host as usize].engine.as_ref();
            engine.map_or(0, |engine| engine.wake_at().as_ms())
        };
        let seen = arrivals.iter().map(|packet| wake(packet.to));
        let seen = seen.chain(woken.iter().map(|host| wake(*host)));
        std::hint::black_box(seen.fold(0, |all, one| all ^ one));
    }

    fn arrive_all(&mut self, arrivals: &mut Vec<Packet>) {
        for packet in arrivals.drain(..) {
            self.arrive(packet);
        }
    }

    fn wake_all(&mut self, woken: &mut Vec<u32>) {
        for host in woken.drain(..) {
            self.wake(host as usize);
        }
    }

    fn plan_for(&mut self, at_ms: u64, due: Due) {
        self.agenda.insert((at_ms, self.agenda_seq), due);
        self.agenda_seq += 1;
    }

    fn mark(&mut self, what: u64) {
        let trace = self.report.trace.rotate_left(5) ^ what;
        self.report.trace = trace.wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn note(&mut self, host: usize, what: What) {
        if self.is_watched {
            self.notes.push(Note { host, what });
        }
    }

    /// How long a message takes between two machines, milliseconds: equal both ways and always.
    fn latency_ms(&self, one: usize, other: usize) -> u64 {
        let pair = (one.min(other) as u64) << 32 | one.max(other) as u64;
        let (low_ms, high_ms) = self.plan.latency_ms;
        low_ms + (((mix(pair ^ self.plan.seed) >> 40) * (high_ms - low_ms + 1)) >> 24)
    }
}

/// The kind of a message, for people.
const fn word(message: &Message) -> &'static str {
    match message {
        Message::Probe { .. } => "probe",
        Message::Ack { .. } => "ack",
        Message::Records(_) => "records",
        Message::Doubt(_) => "doubt",
        Message::Vouch(_) => "vouch",
        Message::Fetch { .. } => "fetch",
        Message::Page(_) => "page",
        Message::Compare(_) => "compare",
        Message::Lines { .. } => "lines",
        Message::Want(_) => "want",
    }
}

fn shared_slot(host: usize) -> Slot {
    Slot::new(number(host))
}

/// Machines by a number of half the width, in messages.
fn number(host: usize) -> u32 {
    u32::try_from(host).expect("few machines")
}

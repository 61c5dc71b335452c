//! How a run begins, and how a machine does.

use caravan_protocol::{
    facts::Facts,
    identity::{NodeCert, Tier},
    ids::MeshId,
    member::{Engine, Event, Incarnation, Mode, Presence, Sealed, Setup, Table},
    time::Stamp,
};

use super::{Due, PACKETS_MS, Report, WAKES_MS, What, World};
use crate::{
    commons::Commons,
    dice::{Dice, mix},
    host::{BEGIN_MS, Disk, Host, NEVER, Phase},
    ledger::Ledger,
    plan::{Machine, Plan},
    wheel::Wheel,
};

/// How soon a machine that knows nobody dials again.
pub(super) const DIAL_MS: u64 = 3000;

fn first_cert(ledger: &mut Ledger, plan: &Plan, machine: &Machine) -> Sealed {
    let founder = plan.machines[0].id;
    let signer = if machine.is_stranger {
        machine.id
    } else {
        founder
    };
    let cert = NodeCert {
        mesh: ledger.mesh(),
        node: machine.id,
        operator: format!("operator{}", machine.operator),
        tier: Tier::Donor,
        platforms: Vec::new(),
        not_before: Stamp::from_ms(BEGIN_MS),
        expires: Stamp::from_ms(BEGIN_MS + machine.cert_ms),
    };
    ledger.cert(signer, cert)
}

fn host(dice: &mut Dice, machine: &Machine, cert: Sealed) -> Host {
    Host {
        engine: None,
        wake_ms: NEVER,
        ahead_ms: dice.below(1 << 30) + 1,
        skew_ms: machine.skew_ms,
        paused_ms: 0,
        starved: (0, 1),
        flaw: machine.flaw,
        phase: Phase::Unborn,
        revoked: Default::default(),
        id: machine.id,
        table: Table::new(),
        life: 0,
        since_ms: 0,
        met: Default::default(),
        disk: Disk::default(),
        cert,
        expires_ms: machine.cert_ms,
        revoked_ms: None,
        is_stranger: machine.is_stranger,
        sent: 0,
    }
}

impl World {
    /// A mesh at its beginning. Notes are taken only if somebody watches.
    #[must_use]
    pub fn new(plan: Plan, is_watched: bool) -> Self {
        let mut dice = Dice::new(plan.seed ^ 0x776f_726c);
        let mesh = MeshId::from_bytes([7; 32]);
        let mut ledger = Ledger::new(mesh, plan.machines[0].id, plan.seed, !plan.shared);
        let mut hosts = Vec::with_capacity(plan.machines.len());
        for machine in &plan.machines {
            let cert = first_cert(&mut ledger, &plan, machine);
            hosts.push(host(&mut dice, machine, cert));
        }
        let ids: Vec<_> = hosts.iter().map(|host| host.id).collect();
        let index = ids.iter().enumerate().map(|(at, id)| (*id, at)).collect();
        let mut world = Self {
            mesh,
            now_ms: 0,
            hosts,
            commons: plan.shared.then(|| Commons::new(&ids)),
            index,
            ledger,
            packets: Wheel::new(PACKETS_MS),
            wakes: Wheel::new(WAKES_MS),
            agenda: Default::default(),
            agenda_seq: 0,
            dice,
            apart: Vec::new(),
            muted: Vec::new(),
            troubles: 0,
            whole_ms: 0,
            is_calm: false,
            was_revoked: vec![false; plan.machines.len()],
            is_newcomer: plan
                .machines
                .iter()
                .map(|machine| !machine.is_settled)
                .collect(),
            notes: Vec::new(),
            is_watched,
            report: Report::default(),
            out: Vec::new(),
            arrivals: Vec::new(),
            woken: Vec::new(),
            plan,
        };
        for (at_ms, fault) in std::mem::take(&mut world.plan.faults) {
            world.plan_for(at_ms, Due::Fault(fault));
        }
        world.settle();
        world
    }

    /// Starts all machines that know each other from the beginning.
    fn settle(&mut self) {
        let settled: Vec<usize> = (0..self.hosts.len())
            .filter(|host| self.plan.machines[*host].is_settled)
            .collect();
        let mut records = Vec::new();
        for host in &settled {
            let presence = self.first_presence(*host);
            let id = self.hosts[*host].id;
            records.push(self.hosts[*host].cert.clone());
            records.push(self.ledger.presence(id, presence));
            self.hosts[*host].disk.made = Incarnation::new(1);
        }
        for host in settled {
            if self.plan.shared {
                self.settle_twin(host, &records);
            } else {
                let known = records.iter().cloned();
                let known = known.map(|record| ((record.kind, record.subject), record));
                self.hosts[host].disk.records = known.collect();
                self.start(host);
            }
        }
    }

    /// The first machine reads all records; the others begin with what it knows.
    fn settle_twin(&mut self, host: usize, records: &[Sealed]) {
        if host == 0 {
            let records = records.iter().cloned();
            let known = records.map(|record| ((record.kind, record.subject), record));
            self.hosts[0].disk.records = known.collect();
            self.start(0);
            self.hosts[0].disk.records.clear();
            return;
        }
        let setup = self.setup(host);
        let commons = self.commons.as_mut().expect("it is shared");
        let first = self.hosts[0].engine.as_ref().expect("it was started");
        let engine = first.twin(setup, commons).expect("all have slots");
        self.begin(host, engine, Vec::new());
    }

    fn first_presence(&self, host: usize) -> Presence {
        let setup = self.setup(host);
        Presence {
            mesh: self.mesh,
            node: setup.me,
            incarnation: Incarnation::new(1),
            addresses: setup.addresses,
            facts: setup.facts,
            mode: setup.mode,
            issued: Stamp::from_ms(BEGIN_MS),
        }
    }

    fn setup(&self, host: usize) -> Setup {
        let machine = &self.hosts[host];
        Setup {
            mesh: self.mesh,
            me: machine.id,
            made: machine.disk.made,
            addresses: vec![format!("/memory/{host}")],
            facts: Facts::default(),
            mode: Mode::Open,
            tuning: self.plan.tuning,
            seed: mix(self.plan.seed ^ mix(host as u64) ^ u64::from(machine.life)),
        }
    }

    /// Switches a machine's program on, with what is on its disk.
    pub(super) fn start(&mut self, host: usize) {
        let setup = self.setup(host);
        let machine = &mut self.hosts[host];
        let mut records = vec![machine.cert.clone()];
        let engine = match &mut self.commons {
            Some(commons) => match machine.disk.asleep.take() {
                Some(asleep) => asleep.twin(setup, commons),
                None => Engine::new(setup, commons),
            },
            None => {
                machine.table = Table::new();
                Engine::new(setup, &mut machine.table)
            }
        };
        records.extend(machine.disk.records.values().cloned());
        if !self.plan.shared {
            // What it knew is in its records.
            machine.revoked.clear();
        }
        let engine = engine.expect("there is room for all");
        self.begin(host, engine, records);
    }

    fn begin(&mut self, host: usize, engine: Engine, records: Vec<Sealed>) {
        let machine = &mut self.hosts[host];
        machine.engine = Some(engine);
        machine.phase = Phase::Up;
        machine.life += 1;
        machine.since_ms = self.now_ms;
        machine.wake_ms = NEVER;
        machine.met.clear();
        let life = machine.life;
        self.note(host, What::Started);
        if !records.is_empty() {
            self.feed(host, Event::Records(records));
        }
        // The engine's own word of when it wants to be woken.
        self.rearm(host);
        if !self.plan.shared || self.is_newcomer[host] {
            self.plan_for(self.now_ms + DIAL_MS, Due::Dial(host, life));
        }
    }
}

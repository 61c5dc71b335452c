//! What the tests of the engine share: one engine, a clock that only moves when told to, and
//! short names.

use std::{collections::BTreeSet, time::Duration};

use super::*;
use crate::{action::Limits, claim::Verdict, limits, time::Time};

mod bargain;
mod bounds;
mod hostile;
mod lease;
mod numbers;
mod offers;
mod owner;
mod place;
mod queue;
mod resume;
mod room;
mod second;
mod stuck;
mod worker;

/// An engine of node 1 with its clock at 1000 ms.
pub(super) struct Bench {
    pub(super) engine: Engine,
    pub(super) now: Time,
    /// What was offered to whom, oldest first.
    pub(super) offers: Vec<(u8, Offer)>,
    /// When it last asked to be woken.
    pub(super) woken: Option<Time>,
}

/// The first number that the engine of [`Bench`] gives to a bid.
pub(super) const NONCE: u64 = 1;

pub(super) fn bench(slots: u32) -> Bench {
    let engine = Engine::new(Setup {
        me: node(1),
        platforms: BTreeSet::from([x86()]),
        emulated: BTreeSet::new(),
        slots,
        most: Limits::default(),
        lent: Limits::default(),
        seed: 0,
    });
    let now = Time::from_ms(1000);
    Bench {
        engine,
        now,
        offers: Vec::new(),
        woken: None,
    }
}

impl Bench {
    pub(super) fn on(&mut self, event: Event) -> Vec<Command> {
        let mut out = Vec::new();
        self.engine.handle(self.now, event, &mut out);
        self.engine.check(self.now);
        out.into_iter()
            .filter_map(|command| self.look(command))
            .collect()
    }

    /// Puts aside what every job that waits brings with it: offers, and when to be woken.
    fn look(&mut self, command: Command) -> Option<Command> {
        match command {
            Command::Send {
                to,
                message: Message::Offer(offer),
            } => self.offers.push((to.as_bytes()[0], *offer)),
            Command::WakeAt(at) => self.woken = Some(at),
            other => return Some(other),
        }
        None
    }

    /// Moves the clock and ticks.
    pub(super) fn after(&mut self, ms: u64) -> Vec<Command> {
        self.now = self.now + Duration::from_millis(ms);
        self.on(Event::Tick)
    }

    /// A message comes from a node.
    pub(super) fn hear(&mut self, from: u8, message: Message) -> Vec<Command> {
        let from = node(from);
        self.on(Event::Message { from, message })
    }

    pub(super) fn up(&mut self, peer: u8) -> Vec<Command> {
        self.on(Event::PeerUp {
            node: node(peer),
            operator: format!("op{peer}"),
            platforms: BTreeSet::from([x86()]),
            emulated: BTreeSet::new(),
        })
    }

    pub(super) fn down(&mut self, peer: u8) -> Vec<Command> {
        self.on(Event::PeerDown(node(peer)))
    }

    pub(super) fn want(&mut self, name: u8) -> Vec<Command> {
        self.on(Event::Want(wanted(name)))
    }

    pub(super) fn finish(&mut self, attempt: AttemptId, verdict: Verdict) -> Vec<Command> {
        self.on(Event::Finished {
            attempt,
            verdict,
            outcome: outcome(),
        })
    }

    pub(super) fn standing(&self, name: u8) -> Option<Standing> {
        self.engine.standing(job(name))
    }

    /// The digest that is due now.
    pub(super) fn gossip(&self, jobs: Vec<Head>) -> Command {
        let digest = Digest {
            owner: node(1),
            seq: self.now.as_ms(),
            jobs,
        };
        let platform = x86();
        Command::Gossip { platform, digest }
    }

    /// The time `ms` from now.
    pub(super) fn at(&self, ms: u64) -> Time {
        self.now + Duration::from_millis(ms)
    }
}

pub(super) fn node(name: u8) -> NodeId {
    NodeId::from_bytes([name; 32])
}

pub(super) fn job(name: u8) -> JobId {
    JobId::from(ActionKey::from_bytes([name; 32]))
}

pub(super) fn x86() -> Platform {
    "linux-x86_64".parse().expect("a platform")
}

pub(super) fn arm() -> Platform {
    "linux-arm64".parse().expect("a platform")
}

pub(super) fn action(name: u8) -> Vec<u8> {
    vec![name; 3]
}

pub(super) fn outcome() -> Vec<u8> {
    b"claim".to_vec()
}

pub(super) fn wanted(name: u8) -> Want {
    Want {
        job: job(name),
        platform: x86(),
        priority: Priority::Normal,
        project: ProjectKey::NONE,
        rate: Rate::USUAL,
        both: false,
        cost_ms: 5000,
        remote_ok: true,
        needs: Limits::default(),
        place: Place::default(),
        lineage: Vec::new(),
        missing_bytes: 0,
        holders: Vec::new(),
        role: None,
        action: action(name),
    }
}

/// Attempt `number` of node 1's job.
pub(super) fn own(name: u8, number: u32) -> AttemptId {
    attempt(1, name, number)
}

pub(super) fn attempt(owner: u8, name: u8, number: u32) -> AttemptId {
    AttemptId {
        owner: node(owner),
        job: job(name),
        number,
    }
}

pub(super) fn run(attempt: AttemptId) -> Command {
    let action = action(attempt.job.action().as_bytes()[0]);
    Command::Run {
        attempt,
        action,
        holders: Vec::new(),
    }
}

pub(super) fn send(to: u8, message: Message) -> Command {
    let to = node(to);
    Command::Send { to, message }
}

pub(super) fn reject(from: u8, reason: Rejection) -> Command {
    let from = node(from);
    Command::Reject { from, reason }
}

pub(super) fn bid(nonce: u64, name: u8, eta_ms: u64) -> Message {
    let job = job(name);
    Message::Bid {
        nonce,
        job,
        eta_ms,
        most: Limits::default(),
        wait_ms: 0,
        offered: false,
    }
}

/// The bids among commands.
pub(super) fn bids(out: &[Command]) -> Vec<(u64, JobId)> {
    let bid = |command: &Command| match command {
        Command::Send {
            message: Message::Bid { nonce, job, .. },
            ..
        } => Some((*nonce, *job)),
        _ => None,
    };
    out.iter().filter_map(bid).collect()
}

pub(super) fn award(nonce: u64, name: u8, number: u32) -> Message {
    Message::Award {
        nonce,
        job: job(name),
        number,
        lease_ms: limits::LEASE_MS,
        needs: Limits::default(),
        action: action(name),
        holders: Vec::new(),
        role: None,
    }
}

/// A command that has written so much log, or nothing yet.
pub(super) fn running(log_bytes: u64) -> Phase {
    match log_bytes {
        0 => Phase::FIRST,
        log_bytes => Phase::Running {
            log_bytes,
            cpu_ms: 0,
        },
    }
}

pub(super) fn beat(attempts: &[(u8, u32, u64)]) -> Message {
    let progress = |(name, number, log_bytes): &(u8, u32, u64)| Progress {
        job: job(*name),
        number: *number,
        phase: running(*log_bytes),
    };
    let attempts = attempts.iter().map(progress).collect();
    Message::Beat { attempts }
}

pub(super) fn renew(attempts: &[(u8, u32)]) -> Message {
    let attempts = attempts.iter().map(|(name, n)| (job(*name), *n)).collect();
    Message::Renew { attempts }
}

pub(super) fn cancel(name: u8, number: u32) -> Message {
    let job = job(name);
    Message::Cancel { job, number }
}

pub(super) fn refuse(name: u8, number: u32) -> Message {
    let job = job(name);
    Message::Refuse { job, number }
}

pub(super) fn ack(name: u8, number: u32) -> Message {
    let job = job(name);
    Message::Ack { job, number }
}

pub(super) fn result(name: u8, number: u32, verdict: Verdict) -> Message {
    Message::Result {
        job: job(name),
        number,
        verdict,
        outcome: outcome(),
        room: false,
    }
}

/// The same, with a slot kept for the next.
pub(super) fn with_room(mut result: Message) -> Message {
    if let Message::Result { room, .. } = &mut result {
        *room = true;
    }
    result
}

pub(super) fn pass(name: u8, why: Reluctance) -> Message {
    Message::Pass {
        job: job(name),
        why,
        most: Limits::default(),
    }
}

pub(super) fn placed(name: u8, number: u32, there: u8) -> Command {
    Command::Placed {
        attempt: own(name, number),
        node: node(there),
    }
}

pub(super) fn done(name: u8, number: u32, there: u8, verdict: Verdict) -> Command {
    Command::Done {
        attempt: own(name, number),
        node: node(there),
        verdict,
        outcome: outcome(),
    }
}

pub(super) fn lost(name: u8, number: u32, there: u8, loss: Loss) -> Command {
    let outcome = if loss == Loss::Infra {
        outcome()
    } else {
        Vec::new()
    };
    Command::Lost {
        attempt: own(name, number),
        node: node(there),
        loss,
        outcome,
    }
}

pub(super) fn waiting(name: u8, reason: Missing) -> Command {
    let job = job(name);
    Command::Waiting { job, reason }
}

pub(super) fn head(name: u8, waited_ms: u64) -> Head {
    Head {
        job: job(name),
        priority: Priority::Normal,
        cost_ms: 5000,
        waited_ms,
        needs: Limits::default(),
        top: None,
    }
}

/// A digest of these normal jobs that have not waited.
pub(super) fn digest(owner: u8, seq: u64, names: &[u8]) -> Digest {
    Digest {
        owner: node(owner),
        seq,
        jobs: names.iter().map(|name| head(*name, 0)).collect(),
    }
}

pub(super) fn heard(owner: u8, seq: u64, names: &[u8]) -> Event {
    Event::Heard {
        from: node(owner),
        platform: x86(),
        digest: digest(owner, seq, names),
    }
}

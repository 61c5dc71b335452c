//! Nodes in one process: each has an engine and a key, and every message between them crosses as
//! bytes. A job takes no time; its claim is signed by who ran it and checked by who wanted it, each
//! by itself. Time is the machine's own.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    thread,
    time::{Duration, Instant},
};

use caravan_protocol::{
    action::Limits,
    claim::{Claim, Environment, Verdict},
    codec,
    identity::{Key, Signed},
    ids::{MeshId, NodeId},
    limits,
    offer::{AttemptId, Command, Engine, Event, Message, Setup, Want},
    time::{Stamp, Time},
};
use caravan_tests::sim::x86;

use crate::Failure;

struct Node {
    key: Key,
    engine: Engine,
    wake: Option<Time>,
}

/// The nodes, and what is on its way between them.
pub(crate) struct Arena {
    nodes: Vec<Node>,
    index: BTreeMap<NodeId, usize>,
    wire: VecDeque<(usize, usize, Vec<u8>)>,
    begun: Instant,
    mesh: MeshId,
    /// Messages that were sent.
    pub(crate) messages: u64,
    /// Jobs that are done and whose claims hold.
    pub(crate) done: usize,
}

impl Arena {
    /// The first node owns jobs and runs none; the others run one at a time.
    pub(crate) fn new(nodes: usize) -> Self {
        let keys = (0..nodes).map(|at| {
            let mut secret = [7; 32];
            secret[..8].copy_from_slice(&(at as u64).to_le_bytes());
            Key::from_secret(&secret)
        });
        let node = |(at, key): (usize, Key)| Node {
            engine: Engine::new(Setup {
                me: key.node(),
                platforms: BTreeSet::from([x86()]),
                emulated: BTreeSet::new(),
                slots: u32::from(at > 0),
                most: Limits::NOTHING,
                lent: Limits::NOTHING,
                seed: at as u64,
            }),
            key,
            wake: None,
        };
        let nodes: Vec<Node> = keys.enumerate().map(node).collect();
        let ids = nodes.iter().enumerate();
        let mut arena = Self {
            index: ids.map(|(at, node)| (node.key.node(), at)).collect(),
            nodes,
            wire: VecDeque::new(),
            begun: Instant::now(),
            mesh: MeshId::from_bytes([1; 32]),
            messages: 0,
            done: 0,
        };
        let ids: Vec<NodeId> = arena.nodes.iter().map(|node| node.key.node()).collect();
        for at in 0..ids.len() {
            for node in ids.iter().copied().filter(|node| *node != ids[at]) {
                let up = Event::PeerUp {
                    node,
                    operator: node.to_string(),
                    platforms: BTreeSet::from([x86()]),
                    emulated: BTreeSet::new(),
                };
                arena.feed(at, up).expect("nothing is said yet");
            }
        }
        arena
    }

    fn now(&self) -> Time {
        // Deadlines lie in its future whatever the process has done before.
        let ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Time::from_ms(1_000_000 + ms)
    }

    /// The first node wants a job.
    pub(crate) fn want(&mut self, want: Want) -> Result<(), Failure> {
        self.feed(0, Event::Want(want))
    }

    /// Trades until so many jobs are done. After each, `again` may want another.
    pub(crate) fn trade(
        &mut self,
        done: usize,
        mut again: impl FnMut() -> Option<Want>,
    ) -> Result<(), Failure> {
        let mut seen = self.done;
        while self.done < done {
            if let Some((from, to, bytes)) = self.wire.pop_front() {
                let from = self.nodes[from].key.node();
                let message = Message::decode(&bytes)?;
                self.feed(to, Event::Message { from, message })?;
            } else {
                self.wait()?;
            }
            while seen < self.done {
                seen += 1;
                if let Some(want) = again() {
                    self.want(want)?;
                }
            }
        }
        Ok(())
    }

    /// Nothing is on its way: waits for the next deadline of anybody, as a node would.
    fn wait(&mut self) -> Result<(), Failure> {
        let next = self.nodes.iter().filter_map(|node| node.wake).min();
        let next = next.ok_or("nobody has anything to do, and jobs are not done")?;
        let wait_ms = next.as_ms().saturating_sub(self.now().as_ms());
        if wait_ms > 0 {
            thread::sleep(Duration::from_millis(wait_ms));
        }
        for at in 0..self.nodes.len() {
            if self.nodes[at].wake.is_some_and(|wake| wake <= self.now()) {
                self.nodes[at].wake = None;
                self.feed(at, Event::Tick)?;
            }
        }
        Ok(())
    }

    fn feed(&mut self, at: usize, event: Event) -> Result<(), Failure> {
        let mut events = VecDeque::from([event]);
        let mut out = Vec::new();
        while let Some(event) = events.pop_front() {
            let now = self.now();
            self.nodes[at].engine.handle(now, event, &mut out);
            for command in out.drain(..) {
                if let Some(event) = self.obey(at, command)? {
                    events.push_back(event);
                }
            }
        }
        Ok(())
    }

    fn obey(&mut self, at: usize, command: Command) -> Result<Option<Event>, Failure> {
        match command {
            Command::Run { attempt, .. } => return Ok(Some(self.run(at, attempt)?)),
            Command::Appraise { appraisal, .. } => {
                return Ok(Some(Event::Appraised {
                    appraisal,
                    missing_bytes: 0,
                    bytes_per_s: 1 << 27,
                }));
            }
            Command::Send { to, message } => {
                self.messages += 1;
                let bytes = message.encode()?;
                self.wire.push_back((at, self.index[&to], bytes));
            }
            Command::WakeAt(time) => self.nodes[at].wake = Some(time),
            Command::Done { node, outcome, .. } => {
                let claim: Signed<Claim> =
                    codec::decode::<{ limits::OUTCOME_BYTES_MAX }, _>(&outcome)?;
                claim.open(self.mesh)?;
                if claim.signer() != node {
                    return Err("a claim is signed by somebody else".into());
                }
                self.done += 1;
            }
            Command::GaveUp { job, reason } => return Err(format!("{job}: {reason}").into()),
            Command::Reject { reason, .. } => return Err(reason.into()),
            // Nobody is out of reach of an offer, so that digests need not travel.
            _ => {}
        }
        Ok(None)
    }

    /// The job is over as soon as it begins; what is left is its claim.
    fn run(&mut self, at: usize, attempt: AttemptId) -> Result<Event, Failure> {
        let claim = Claim {
            mesh: self.mesh,
            action: attempt.job.action(),
            verdict: Verdict::Pass,
            output: None,
            outputs: BTreeMap::new(),
            log: None,
            started: Stamp::from_ms(1),
            wall_ms: 0,
            cpu_ms: 0,
            environment: Environment::default(),
        };
        let signed = Signed::sign(&self.nodes[at].key, &claim)?;
        let outcome = codec::encode::<{ limits::OUTCOME_BYTES_MAX }>(&signed)?;
        Ok(Event::Finished {
            attempt,
            verdict: Verdict::Pass,
            outcome,
        })
    }
}

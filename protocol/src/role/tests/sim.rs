//! Small meshes with loss, crashes, drains and cuts, by seed.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// Random numbers by seed.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

struct Node {
    engine: Engine,
    up: bool,
    open: bool,
    side: u8,
    wake: Option<u64>,
    running: BTreeMap<RunId, u64>,
    /// What it believes of each, and since when that is wrong.
    believes: BTreeMap<usize, (Option<bool>, Option<u64>)>,
}

struct World {
    now: u64,
    seed: u64,
    dice: Dice,
    nodes: Vec<Node>,
    ids: Vec<NodeId>,
    queue: BTreeMap<(u64, u64), (usize, usize, Message)>,
    sent: u64,
    loss: u64,
    charges: BTreeMap<RunId, usize>,
    settled: BTreeSet<RunId>,
}

const FAULTS_MS: u64 = 60_000;
/// From the last fault on: members know each other, and of two holders one has yielded.
const CALM_MS: u64 = 15_000;
const END_MS: u64 = FAULTS_MS + 90_000;

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let count = usize::try_from(3 + dice.below(5)).expect("small");
        let number = |n: usize| u8::try_from(n + 1).expect("small");
        let ids: Vec<NodeId> = (0..count).map(|n| key(number(n)).node()).collect();
        let node = |id: &NodeId| Node {
            engine: Engine::new(*id, MESH),
            up: true,
            open: true,
            side: 0,
            wake: None,
            running: BTreeMap::new(),
            believes: BTreeMap::new(),
        };
        let mut world = Self {
            now: 0,
            seed,
            dice,
            nodes: ids.iter().map(node).collect(),
            ids,
            queue: BTreeMap::new(),
            sent: 0,
            loss: 10,
            charges: BTreeMap::new(),
            settled: BTreeSet::new(),
        };
        for n in 0..count {
            world.know_all(n);
        }
        world
    }

    fn tier(&self, n: usize) -> Tier {
        match (self.seed % 3, n) {
            (0, 1 | 2) => Tier::Trusted,
            _ => Tier::Donor,
        }
    }

    /// How a node stands, as one that could see it would say.
    fn truth(&self, viewer: usize, of: usize) -> Option<bool> {
        let (viewer, of) = (&self.nodes[viewer], &self.nodes[of]);
        (of.up && of.side == viewer.side).then_some(of.open)
    }

    fn believe(&mut self, viewer: usize, of: usize, seat: Option<bool>) {
        self.nodes[viewer].believes.insert(of, (seat, None));
        let tier = self.tier(of);
        let node = self.ids[of];
        let seat = seat.map(|open| Seat { tier, open });
        self.tell(viewer, Event::Member { node, seat });
    }

    fn know_all(&mut self, viewer: usize) {
        for of in 0..self.nodes.len() {
            let seat = self.truth(viewer, of);
            self.believe(viewer, of, seat);
        }
    }

    /// Members learn of each other, late.
    fn gossip(&mut self) {
        for viewer in 0..self.nodes.len() {
            for of in 0..self.nodes.len() {
                let truth = self.truth(viewer, of);
                let late = if viewer == of {
                    0
                } else {
                    300 + self.dice.below(5000)
                };
                let now = self.now;
                let known = self.nodes[viewer]
                    .believes
                    .entry(of)
                    .or_insert((None, None));
                if known.0 == truth {
                    known.1 = None;
                    continue;
                }
                let since = *known.1.get_or_insert(now);
                if self.nodes[viewer].up && now - since >= late {
                    self.believe(viewer, of, truth);
                }
            }
        }
    }

    fn tell(&mut self, n: usize, event: Event) {
        let mut said = Vec::new();
        let now = self.now;
        self.nodes[n].engine.handle(at(now), event, &mut said);
        for command in said {
            self.obey(n, command);
        }
    }

    fn obey(&mut self, n: usize, command: Command) {
        match command {
            Command::Send { to, message } => {
                let Some(to) = self.ids.iter().position(|id| *id == to) else {
                    return;
                };
                let bytes = message.encode().expect("within bounds");
                let message = Message::decode(&bytes).expect("it was encoded");
                if self.dice.below(100) >= self.loss {
                    self.sent += 1;
                    let delay = 1 + self.dice.below(200);
                    self.queue
                        .insert((self.now + delay, self.sent), (n, to, message));
                }
            }
            Command::Start(run) => {
                let node = &self.nodes[n];
                let own = self.charges.get(&run) == Some(&n);
                assert!(node.open || own, "seed {}: {n} may not hold it", self.seed);
                let until = self.now + 1000 + self.dice.below(15_000);
                self.nodes[n].running.entry(run).or_insert(until);
            }
            Command::Stop(run) => {
                self.nodes[n].running.remove(&run);
            }
            Command::WakeAt(time) => self.nodes[n].wake = Some(time.as_ms()),
            Command::Reject { reason, .. } => {
                let words = ["is no live member", "ends what is not"];
                let known = words.iter().any(|words| reason.contains(words));
                assert!(known, "seed {}: {reason}", self.seed);
            }
            _ => {}
        }
    }

    /// One of the things that go wrong.
    fn fault(&mut self) {
        let count = self.nodes.len() as u64;
        let n = usize::try_from(self.dice.below(count)).expect("small");
        match self.dice.below(10) {
            // Node 0 asks, and never dies.
            0 | 1 if n > 0 && self.nodes[n].up => self.nodes[n].up = false,
            2 | 3 if !self.nodes[n].up => self.restart(n),
            4 => self.nodes[n].open = false,
            5 => self.nodes[n].open = true,
            6 => {
                for node in &mut self.nodes {
                    node.side = u8::try_from(self.dice.below(2)).expect("small");
                }
            }
            7 => self.nodes.iter_mut().for_each(|node| node.side = 0),
            8 => self.loss = self.dice.below(30),
            _ => self.ask(),
        }
    }

    fn restart(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        node.engine = Engine::new(self.ids[n], MESH);
        (node.up, node.wake) = (true, None);
        node.running.clear();
        node.believes.clear();
        self.know_all(n);
    }

    fn ask(&mut self) {
        let project = self.dice.below(4).to_string();
        let charge = charge(1, &project, self.now);
        self.charges.insert(charge.run, 0);
        let elected = self.nodes[0].engine.elected(charge.role_id());
        let running = elected == Some(self.ids[0]);
        if running {
            let until = self.now + 8000;
            self.nodes[0].running.insert(charge.run, until);
        }
        let charge = Box::new(signed(1, &charge));
        self.tell(0, Event::Charged { charge, running });
    }

    fn step(&mut self) {
        self.now += 50;
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let (from, to, message) = entry.remove();
            let reach = self.nodes[from].side == self.nodes[to].side;
            if reach && self.nodes[to].up {
                let from = self.ids[from];
                self.tell(to, Event::Message { from, message });
            }
        }
        for n in 0..self.nodes.len() {
            if !self.nodes[n].up {
                continue;
            }
            if self.nodes[n].wake.is_some_and(|wake| wake <= self.now) {
                self.nodes[n].wake = None;
                self.tell(n, Event::Tick);
            }
            let running = self.nodes[n].running.iter();
            let done: Vec<RunId> = running
                .filter(|(_, until)| **until <= self.now)
                .map(|(run, _)| *run)
                .collect();
            for run in done {
                self.nodes[n].running.remove(&run);
                if self.dice.below(8) == 0 && self.now < FAULTS_MS {
                    self.tell(n, Event::Unable(run));
                } else {
                    self.settled.insert(run);
                    self.tell(n, Event::Settled(run));
                }
            }
        }
        if self.now.is_multiple_of(250) {
            self.gossip();
        }
    }

    fn heal(&mut self) {
        self.loss = 0;
        for n in 0..self.nodes.len() {
            self.nodes[n].side = 0;
            self.nodes[n].open = true;
            if !self.nodes[n].up {
                self.restart(n);
            }
        }
    }

    fn check_calm(&self) {
        for run in self.charges.keys() {
            let holders = self.nodes.iter().filter(|node| node.engine.holds(*run));
            let runners = self
                .nodes
                .iter()
                .filter(|node| node.running.contains_key(run));
            assert!(
                holders.count() <= 1 && runners.count() <= 1,
                "seed {}: {} is held twice at {}",
                self.seed,
                run.fmt_short(),
                self.now
            );
        }
    }
}

fn simulate(seed: u64) {
    let mut world = World::new(seed);
    world.ask();
    let mut messages = 0;
    while world.now < END_MS {
        world.step();
        if world.now < FAULTS_MS {
            if world.dice.below(40) == 0 {
                world.fault();
            }
        } else if world.now == FAULTS_MS {
            world.heal();
            world.ask();
        } else if world.now >= FAULTS_MS + CALM_MS {
            world.check_calm();
        }
        messages = world.sent;
    }
    for run in world.charges.keys() {
        let done = world.settled.contains(run);
        assert!(done, "seed {seed}: {} was never done", run.fmt_short());
    }
    for (n, node) in world.nodes.iter().enumerate() {
        assert_eq!(node.engine.open(), 0, "seed {seed}: {n} waits for ever");
        assert!(node.running.is_empty(), "seed {seed}: {n} runs for nobody");
    }
    let runs = world.charges.len() as u64;
    assert!(messages < 2000 + runs * 3000, "seed {seed}: {messages}");
}

#[test]
fn whatever_happens_a_charge_is_settled_and_held_once() {
    let seeds = match std::env::var("CARAVAN_SEEDS").map(|seeds| seeds.parse()) {
        Ok(Ok(seeds)) => seeds,
        _ => 60,
    };
    for seed in 0..seeds {
        simulate(seed);
    }
}

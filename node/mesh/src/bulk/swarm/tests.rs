use std::collections::{BTreeMap, VecDeque};

use caravan_protocol::identity::Key;

use super::*;

impl Swarm {
    /// What holds after every event.
    pub(super) fn check(&self) {
        let mut left = 0;
        for (unit, piece) in (0..).zip(&self.pieces) {
            left += usize::from(!piece.is_done);
            assert!(piece.holders.len() <= HOLDERS_MAX);
            let is_open = self.open.contains(&self.place(unit));
            let is_held = self.held.contains(&unit);
            assert_eq!(
                is_open,
                !piece.is_done && piece.holders.is_empty(),
                "{unit}"
            );
            let few = (1..HOLDERS_MAX).contains(&piece.holders.len());
            assert_eq!(is_held, !piece.is_done && few, "{unit}");
            for holder in &piece.holders {
                assert!(self.providers[holder].flights.contains_key(&unit));
            }
            let having = self.providers.values().filter(|one| one.has.get(unit));
            assert_eq!(having.count(), piece.rarity as usize);
        }
        assert_eq!(left, self.left);
        for provider in self.providers.values() {
            let flights = provider.flights.keys();
            let bytes: u64 = flights.map(|&unit| self.pieces[unit as usize].bytes).sum();
            assert_eq!(bytes, provider.bytes);
            assert!(provider.flights.len() <= FLIGHTS_PER_PROVIDER_MAX);
        }
    }
}

fn node(n: u8) -> NodeId {
    Key::from_secret(&[n; 32]).node()
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const UNIT: u32 = 256 * 1024;

struct Kit {
    swarm: Swarm,
    now: Duration,
}

impl Kit {
    fn new(units: u32, of: impl Fn(u32) -> Of) -> Self {
        let mut kit = Self {
            swarm: Swarm::new(node(1)),
            now: Duration::ZERO,
        };
        for unit in 0..units {
            kit.does(Event::Added {
                of: of(unit),
                bytes: UNIT,
            });
        }
        kit
    }

    fn does(&mut self, event: Event) -> Vec<Command> {
        let mut out = Vec::new();
        self.swarm.handle(self.now, event, &mut out);
        out
    }
}

fn asks(commands: &[Command], of: NodeId) -> Vec<Unit> {
    let ask = |command: &Command| match command {
        Command::Ask { node, unit } if *node == of => Some(*unit),
        _ => None,
    };
    commands.iter().filter_map(ask).collect()
}

#[test]
fn no_unit_is_asked_of_two_while_others_are_open() {
    let mut kit = Kit::new(100, |_| Of::Anyone);
    let first = kit.does(Event::Joined { node: node(2) });
    let second = kit.does(Event::Joined { node: node(3) });
    assert_eq!(asks(&first, node(2)), [0, 1, 2, 3]);
    assert_eq!(asks(&second, node(3)), [4, 5, 6, 7]);
}

#[test]
fn what_one_lacks_is_asked_of_another_and_nobody_left_is_the_end() {
    let mut kit = Kit::new(1, |_| Of::Anyone);
    kit.does(Event::Joined { node: node(2) });
    let out = kit.does(Event::Lacks {
        node: node(2),
        unit: 0,
    });
    assert_eq!(out, []);
    assert!(kit.swarm.is_stuck());
    let out = kit.does(Event::Joined { node: node(3) });
    assert_eq!(asks(&out, node(3)), [0]);
    assert!(!kit.swarm.is_stuck());
    kit.does(Event::Gone { node: node(3) });
    assert!(kit.swarm.is_stuck());
}

#[test]
fn late_unit_is_asked_of_a_second_one_and_the_loser_is_told() {
    let mut kit = Kit::new(1, |_| Of::Anyone);
    kit.does(Event::Joined { node: node(2) });
    kit.does(Event::Joined { node: node(3) });
    kit.now = ms(1000);
    assert_eq!(kit.does(Event::Tick), []);
    kit.now = ms(2500);
    let (other, unit) = (node(3), 0);
    assert_eq!(kit.does(Event::Tick), [Command::Ask { node: other, unit }]);
    let out = kit.does(Event::Arrived { node: other, unit });
    let cancel = Command::Cancel {
        node: node(2),
        unit,
    };
    assert_eq!(out, [cancel]);
    assert_eq!(kit.swarm.left, 0);
}

#[test]
fn rarest_units_come_first_and_only_from_who_has_them() {
    let mut kit = Kit::new(8, |unit| Of::Blob(0, u64::from(unit)));
    for n in [2, 3, 4] {
        assert_eq!(kit.does(Event::Joined { node: node(n) }), []);
    }
    let has = |n, units: &[Unit]| Event::Has {
        node: node(n),
        blob: 0,
        units: units.to_vec(),
    };
    assert_eq!(asks(&kit.does(has(2, &[1])), node(2)), [1]);
    kit.does(Event::Gone { node: node(2) });
    // All of 3, 5, 6 are with node 3, and 3 and 5 with node 4, too.
    kit.swarm.providers.get_mut(&node(3)).unwrap().rate = Some(1);
    kit.does(has(4, &[3, 5]));
    let out = kit.does(Event::Gone { node: node(4) });
    assert_eq!(out, []);
    kit.does(Event::Joined { node: node(4) });
    kit.does(has(4, &[]));
    let asked = asks(&kit.does(has(3, &[3, 5, 6])), node(3));
    assert_eq!(asked.len(), 2);
}

#[test]
fn source_is_asked_for_the_own_share_first_and_for_more_only_after_a_while() {
    let mut kit = Kit::new(64, |unit| Of::Blob(0, u64::from(unit)));
    for n in 2..=5 {
        kit.does(Event::Joined { node: node(n) });
    }
    for n in 3..=5 {
        kit.does(Event::Has {
            node: node(n),
            blob: 0,
            units: Vec::new(),
        });
    }
    let mut got = Vec::new();
    let mut out = kit.does(Event::Whole {
        node: node(2),
        blob: 0,
    });
    loop {
        let asked = asks(&out, node(2));
        got.extend(asked);
        let Some(unit) = got.iter().find(|unit| !kit.swarm.is_done(**unit)) else {
            break;
        };
        let (unit, node) = (*unit, node(2));
        kit.now += ms(10);
        out = kit.does(Event::Arrived { node, unit });
    }
    assert!(
        (8..=26).contains(&got.len()),
        "a quarter of 64: {}",
        got.len()
    );
    assert!(
        got.iter()
            .all(|unit| kit.swarm.pieces[*unit as usize].is_mine)
    );
    kit.now += ms(500);
    assert_eq!(kit.does(Event::Tick), []);
    kit.now += ms(700);
    assert_eq!(kit.does(Event::Tick).len(), 1, "one at a time");
}

/// What happens in a simulated mesh.
enum Happens {
    Tick(usize),
    /// All of a unit has left.
    Sent(usize),
    /// Bytes that were asked for have come.
    Comes {
        to: usize,
        from: usize,
        unit: Unit,
    },
}

/// A link each way, in bytes a second; what waits for it is sent in turns by who asked.
struct Machine {
    swarm: Swarm,
    is_liar: bool,
    asked: BTreeMap<usize, VecDeque<Unit>>,
    turn: usize,
    sends: bool,
    down_until: Duration,
    fresh: Vec<Unit>,
    sent: u64,
    done: Option<Duration>,
}

struct Sim {
    machines: Vec<Machine>,
    ids: BTreeMap<NodeId, usize>,
    queue: BTreeMap<(Duration, u64), Happens>,
    number: u64,
    rate: u64,
    begun: Vec<(Duration, usize)>,
}

impl Sim {
    /// One source, `count - 1` that want, of which the last few lie.
    fn new(count: u8, liars: u8, units: u32) -> Self {
        let ids: BTreeMap<NodeId, usize> = (0..count).map(|n| (node(n + 1), n.into())).collect();
        let machine = |n: u8| Machine {
            swarm: Swarm::new(node(n + 1)),
            is_liar: n >= count - liars,
            asked: BTreeMap::new(),
            turn: 0,
            sends: false,
            down_until: Duration::ZERO,
            fresh: Vec::new(),
            sent: 0,
            done: None,
        };
        let mut sim = Self {
            machines: (0..count).map(machine).collect(),
            ids,
            queue: BTreeMap::new(),
            number: 0,
            rate: 12_500_000,
            begun: Vec::new(),
        };
        let honest = usize::from(count - liars);
        for at in 1..honest {
            for unit in 0..units {
                sim.event(
                    ms(0),
                    at,
                    Event::Added {
                        of: Of::Blob(0, u64::from(unit)),
                        bytes: UNIT,
                    },
                );
            }
            for n in (0..count).filter(|n| usize::from(*n) != at) {
                let node = node(n + 1);
                sim.event(ms(0), at, Event::Joined { node });
                let whole = n == 0 || usize::from(n) >= honest;
                let units = Vec::new();
                let event = if whole {
                    Event::Whole { node, blob: 0 }
                } else {
                    Event::Has {
                        node,
                        blob: 0,
                        units,
                    }
                };
                sim.event(ms(0), at, event);
            }
            sim.push(ms(at as u64), Happens::Tick(at));
        }
        sim
    }

    fn push(&mut self, at: Duration, what: Happens) {
        self.number += 1;
        self.queue.insert((at, self.number), what);
    }

    fn event(&mut self, now: Duration, at: usize, event: Event) {
        let mut out = Vec::new();
        self.machines[at].swarm.handle(now, event, &mut out);
        for command in out {
            match command {
                Command::Ask { node, unit } => {
                    let to = self.ids[&node];
                    self.machines[to]
                        .asked
                        .entry(at)
                        .or_default()
                        .push_back(unit);
                    self.begun.push((now, to));
                }
                Command::Cancel { node, unit } => {
                    let to = self.ids[&node];
                    if let Some(asked) = self.machines[to].asked.get_mut(&at) {
                        asked.retain(|waiting| *waiting != unit);
                    }
                }
            }
        }
    }

    /// Sends the next unit of a machine, by turns to those that asked.
    fn send(&mut self, now: Duration, from: usize) {
        let took = Duration::from_secs_f64(f64::from(UNIT) / self.rate as f64);
        let machine = &mut self.machines[from];
        if machine.sends {
            return;
        }
        let waiting: Vec<usize> = machine.asked.keys().copied().collect();
        let after = waiting.iter().find(|to| **to > machine.turn);
        let Some(&to) = after.or(waiting.first()) else {
            return;
        };
        let asked = machine.asked.get_mut(&to).unwrap();
        let unit = asked.pop_front();
        if asked.is_empty() {
            machine.asked.remove(&to);
        }
        let Some(unit) = unit else { return };
        machine.turn = to;
        machine.sends = true;
        machine.sent += u64::from(UNIT);
        let down = &mut self.machines[to].down_until;
        *down = (*down).max(now) + took;
        self.push(now + took, Happens::Sent(from));
        let down = self.machines[to].down_until;
        let comes = down.max(now + took) + ms(1);
        self.push(comes, Happens::Comes { to, from, unit });
    }

    fn run(&mut self, honest: usize) -> Duration {
        let mut steps = 0;
        loop {
            let begun = std::mem::take(&mut self.begun);
            for (now, to) in begun {
                self.send(now, to);
            }
            let Some(((now, _), what)) = self.queue.pop_first() else {
                panic!("it stands still");
            };
            steps += 1;
            assert!(steps < 1_000_000);
            match what {
                Happens::Tick(at) => self.tick(now, at),
                Happens::Sent(from) => {
                    self.machines[from].sends = false;
                    self.send(now, from);
                }
                Happens::Comes { to, from, unit } => {
                    let node = node(u8::try_from(from).unwrap() + 1);
                    if self.machines[from].is_liar {
                        self.event(now, to, Event::Gone { node });
                        continue;
                    }
                    if !self.machines[to].swarm.is_done(unit) {
                        self.machines[to].fresh.push(unit);
                    }
                    self.event(now, to, Event::Arrived { node, unit });
                    let machine = &mut self.machines[to];
                    if machine.swarm.left == 0 {
                        machine.done.get_or_insert(now);
                    }
                    if self.machines[1..honest]
                        .iter()
                        .all(|one| one.done.is_some())
                    {
                        return now;
                    }
                }
            }
        }
    }

    /// Twice in each tenth of a second; every second time others are told what is new.
    fn tick(&mut self, now: Duration, at: usize) {
        self.event(now, at, Event::Tick);
        let units = std::mem::take(&mut self.machines[at].fresh);
        for to in (1..self.machines.len()).filter(|to| *to != at) {
            if self.machines[to].is_liar || units.is_empty() {
                continue;
            }
            let node = node(u8::try_from(at).unwrap() + 1);
            let units = units.clone();
            self.event(
                now,
                to,
                Event::Has {
                    node,
                    blob: 0,
                    units,
                },
            );
        }
        self.push(now + ms(100), Happens::Tick(at));
    }
}

/// How much longer than the bound the last one takes, and how much more than one copy the source
/// gives.
fn spread(count: u8, liars: u8, units: u32) -> (f64, f64) {
    let mut sim = Sim::new(count, liars, units);
    let took = sim.run(usize::from(count - liars));
    let bytes = f64::from(units) * f64::from(UNIT);
    let bound = bytes / sim.rate as f64;
    (
        took.as_secs_f64() / bound,
        sim.machines[0].sent as f64 / bytes,
    )
}

#[test]
fn one_copy_from_the_source_is_enough_for_fifteen() {
    let (time, egress) = spread(16, 0, 512);
    eprintln!("{time:.3} {egress:.3}");
    assert!(time <= 1.15, "{time:.3} of the bound, egress {egress:.3}");
    assert!(egress <= 1.1, "egress {egress:.3}, {time:.3} of the bound");
}

#[test]
fn liars_cost_little() {
    let (time, egress) = spread(16, 4, 512);
    eprintln!("{time:.3} {egress:.3}");
    assert!(time <= 1.2, "{time:.3} of the bound, egress {egress:.3}");
    assert!(egress <= 1.15, "egress {egress:.3}, {time:.3} of the bound");
}

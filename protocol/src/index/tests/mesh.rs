//! A mesh of engines with a clock of its own: delays are drawn, members die, are started anew, lie.

use std::collections::BTreeSet;

use super::*;

/// How a member answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ways {
    Honest,
    /// Takes everything, and knows nothing when asked.
    Withholds,
    /// Never answers.
    Silent,
}

struct Node {
    engine: Engine,
    ways: Ways,
    life: u64,
    kept: BTreeMap<ActionKey, Checked>,
    wake: Option<Time>,
}

enum Letter {
    Heard(u64, Vec<Found>),
    Told(u64, bool),
    Announced(NodeId, Vec<Checked>),
    Asked(NodeId, u64, Vec<ActionKey>),
}

struct Mesh {
    nodes: BTreeMap<NodeId, Node>,
    letters: BTreeMap<(Time, u64), (NodeId, u64, Letter)>,
    now: Time,
    seed: u64,
    sent: u64,
    found: BTreeMap<u64, (Time, Vec<Found>)>,
    messages: BTreeMap<(NodeId, NodeId), u64>,
}

impl Mesh {
    fn new(count: u16, seed: u64) -> Self {
        let mut mesh = Self {
            nodes: BTreeMap::new(),
            letters: BTreeMap::new(),
            now: Time::from_ms(1_000_000),
            seed,
            sent: 0,
            found: BTreeMap::new(),
            messages: BTreeMap::new(),
        };
        for n in 1..=count {
            mesh.join(n);
        }
        mesh
    }

    fn random(&mut self, below: u64) -> u64 {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.seed >> 33) % below
    }

    fn join(&mut self, n: u16) {
        let me = key(n).node();
        let node = Node {
            engine: Engine::new(me),
            ways: Ways::Honest,
            life: self.now.as_ms(),
            kept: BTreeMap::new(),
            wake: None,
        };
        self.nodes.insert(me, node);
        let known: Vec<(NodeId, u64)> = self
            .nodes
            .iter()
            .map(|(id, node)| (*id, node.life))
            .collect();
        for (other, life) in known {
            self.tell(me, up(other, life));
            if other != me {
                let life = self.nodes[&me].life;
                self.tell(other, up(me, life));
            }
        }
    }

    /// Forgets all but what its disk has.
    fn restart(&mut self, n: u16) {
        let me = key(n).node();
        let kept = self.nodes[&me].kept.clone();
        self.now = self.now + Duration::from_millis(1);
        self.join(n);
        self.nodes.get_mut(&me).expect("just joined").kept = kept.clone();
        let keys = kept.keys().copied().collect();
        self.tell(me, Event::Kept { keys });
    }

    fn die(&mut self, n: u16) {
        let dead = key(n).node();
        self.nodes.remove(&dead);
        for other in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.tell(other, Event::Down { node: dead });
        }
    }

    fn keep(&mut self, n: u16, checked: Checked) {
        let me = key(n).node();
        let key = checked.action;
        let node = self.nodes.get_mut(&me).expect("here");
        node.kept.insert(key, checked);
        self.tell(me, Event::Kept { keys: vec![key] });
    }

    fn tell(&mut self, to: NodeId, event: Event) {
        let Some(node) = self.nodes.get_mut(&to) else {
            return;
        };
        let mut commands = Vec::new();
        node.engine.handle(self.now, event, &mut commands);
        for command in commands {
            self.obey(to, command);
        }
    }

    fn post(&mut self, to: NodeId, letter: Letter, most_ms: u64) {
        let delay = 1 + self.random(most_ms);
        self.sent += 1;
        let life = self.nodes.get(&to).map_or(0, |node| node.life);
        let at = (self.now + Duration::from_millis(delay), self.sent);
        self.letters.insert(at, (to, life, letter));
    }

    fn obey(&mut self, me: NodeId, command: Command) {
        match command {
            Command::Tell { to, number, keys } => {
                *self.messages.entry((me, to)).or_default() += 1;
                let node = &self.nodes[&me];
                let claims = keys.iter().filter_map(|key| node.kept.get(key).cloned());
                let claims = claims.collect();
                let is_here = self
                    .nodes
                    .get(&to)
                    .is_some_and(|to| to.ways != Ways::Silent);
                self.post(to, Letter::Announced(me, claims), 30);
                self.post(me, Letter::Told(number, is_here), 60);
            }
            Command::Ask { to, number, keys } => {
                *self.messages.entry((me, to)).or_default() += 1;
                match self.nodes.contains_key(&to) {
                    true => self.post(to, Letter::Asked(me, number, keys), 30),
                    false => self.post(me, Letter::Heard(number, Vec::new()), 30),
                }
            }
            Command::Found { id, found } => {
                assert!(self.found.insert(id, (self.now, found)).is_none(), "twice");
            }
            Command::WakeAt(at) => {
                let node = self.nodes.get_mut(&me).expect("it spoke");
                node.wake = Some(at);
            }
        }
    }

    fn deliver(&mut self, to: NodeId, letter: Letter) {
        match letter {
            Letter::Heard(number, found) => self.tell(to, Event::Heard { number, found }),
            Letter::Told(number, heard) => self.tell(to, Event::Told { number, heard }),
            Letter::Announced(from, claims) => self.tell(to, Event::Announced { from, claims }),
            Letter::Asked(from, number, keys) => {
                let node = &self.nodes[&to];
                let found = match node.ways {
                    Ways::Honest => node.engine.known(&keys),
                    Ways::Withholds => Vec::new(),
                    Ways::Silent => return,
                };
                self.post(from, Letter::Heard(number, found), 30);
            }
        }
    }

    /// Until nothing is under way for so long.
    fn run_for(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        loop {
            let letter = self.letters.first_key_value().map(|((at, _), _)| *at);
            let wakes = self.nodes.iter();
            let wake = wakes.filter_map(|(id, node)| Some((node.wake?, *id))).min();
            let next = [letter, wake.map(|(at, _)| at)].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if letter == Some(next) {
                let (_, (to, life, letter)) = self.letters.pop_first().expect("seen");
                // What was sent to an earlier life comes to nobody.
                if self.nodes.get(&to).is_some_and(|node| node.life == life) {
                    self.deliver(to, letter);
                }
            } else if let Some((_, id)) = wake {
                self.nodes.get_mut(&id).expect("here").wake = None;
                self.tell(id, Event::Tick);
            }
        }
    }

    /// What a look-up by one node finds, and how long that took, milliseconds.
    fn find(&mut self, n: u16, id: u64, keys: &[ActionKey]) -> (u64, Vec<Found>) {
        let began = self.now;
        let keys = keys.to_vec();
        self.tell(key(n).node(), Event::Find { id, keys });
        self.run_for(1000);
        let (at, found) = self.found[&id].clone();
        let took = u64::try_from(at.since(began).as_millis()).expect("short");
        (took, found)
    }
}

fn up(node: NodeId, life: u64) -> Event {
    let n = (1..=200)
        .find(|n| key(*n).node() == node)
        .expect("one of ours");
    Event::Up {
        node,
        operator: operator(n),
        life: Stamp::from_ms(life),
    }
}

fn checked(roster: &Roster, signer: u16, n: u64) -> Checked {
    check(roster, NOW, &announced(signer, n)).expect("fit")
}

/// A mesh in which each member keeps `each` claims.
fn peopled(count: u16, each: u64, seed: u64) -> (Mesh, Roster, Vec<ActionKey>) {
    let roster = roster(count + 5);
    let mut mesh = Mesh::new(count, seed);
    let mut keys = Vec::new();
    for n in 1..=count {
        for i in 0..each {
            let number = u64::from(n) * 1000 + i;
            mesh.keep(n, checked(&roster, n, number));
            keys.push(action(number));
        }
    }
    mesh.run_for(10_000);
    (mesh, roster, keys)
}

#[test]
fn what_one_keeps_all_find_in_one_round() {
    for seed in 0..5 {
        let (mut mesh, _, keys) = peopled(12, 20, seed);
        let (took, found) = mesh.find(7, 1, &keys);
        assert_eq!(found.len(), keys.len(), "seed {seed}");
        assert!(
            took <= 80,
            "seed {seed}: {took} ms, which is more than one round"
        );
        for found in &found {
            assert_eq!((found.claims.len(), found.holders.len()), (1, 1));
        }
        // One question to each member, however many keys.
        let asked: u64 = mesh
            .nodes
            .keys()
            .map(|id| mesh.messages[&(key(7).node(), *id)])
            .sum();
        assert!(asked <= 12 + 12 * 4, "seed {seed}: {asked} messages");
    }
}

#[test]
fn what_nobody_knows_is_unknown_within_the_bound() {
    let (mut mesh, _, _) = peopled(6, 1, 3);
    let (took, found) = mesh.find(1, 1, &[action(77)]);
    assert!(found.is_empty() && took <= 80, "{took} ms");
    for node in mesh.nodes.values_mut() {
        node.ways = Ways::Silent;
    }
    let (took, found) = mesh.find(1, 2, &[action(78)]);
    assert!(found.is_empty());
    assert!(took <= 220, "{took} ms");
}

#[test]
fn two_that_withhold_do_not_keep_a_claim_from_anybody() {
    for seed in 0..5 {
        let (mut mesh, _, keys) = peopled(12, 10, seed);
        for key in keys {
            let asker = (1..=12).map(|n| super::key(n).node());
            let places = mesh
                .nodes
                .get_mut(&super::key(1).node())
                .expect("here")
                .engine
                .places(key);
            assert_eq!(places.len(), REPLICAS);
            let asker = asker
                .filter(|node| !places.contains(node))
                .min()
                .expect("12 are more");
            for (node, ways) in places.iter().zip([Ways::Withholds, Ways::Silent]) {
                mesh.nodes.get_mut(node).expect("here").ways = ways;
            }
            let n = (1..=12)
                .find(|n| super::key(*n).node() == asker)
                .expect("ours");
            let id = mesh.sent;
            let (took, found) = mesh.find(n, id, &[key]);
            assert_eq!(found.len(), 1, "seed {seed}");
            assert!(took <= 220, "seed {seed}: {took} ms");
            for node in mesh.nodes.values_mut() {
                node.ways = Ways::Honest;
            }
        }
    }
}

#[test]
fn claims_are_found_after_deaths_and_starts_anew() {
    for seed in 0..5 {
        let (mut mesh, roster, keys) = peopled(12, 10, seed);
        // Whose layers were fetched by another is held by another.
        for n in 4..=6 {
            for i in 0..10 {
                mesh.keep(n + 3, checked(&roster, n, u64::from(n) * 1000 + i));
            }
        }
        mesh.run_for(5000);
        for n in 4..=6 {
            mesh.die(n);
            mesh.run_for(300);
        }
        for n in [1, 9, 12] {
            mesh.restart(n);
            mesh.run_for(300);
        }
        mesh.join(13);
        mesh.run_for(20_000);
        let (_, found) = mesh.find(13, 99, &keys);
        assert_eq!(found.len(), keys.len(), "seed {seed}: claims were lost");
        for found in found {
            assert!(
                found
                    .holders
                    .iter()
                    .any(|node| mesh.nodes.contains_key(node)),
                "seed {seed}: nobody who is here has it"
            );
        }
        // All of them are where they belong now, not only somewhere.
        for key in keys {
            let places = mesh
                .nodes
                .get_mut(&super::key(13).node())
                .expect("here")
                .engine
                .places(key);
            for place in places {
                let known = mesh.nodes[&place].engine.known(&[key]);
                assert_eq!(known.len(), 1, "seed {seed}: a place was not told");
            }
        }
    }
}

#[test]
fn nobody_is_spoken_to_more_often_than_it_bears() {
    let (mut mesh, _, keys) = peopled(3, 1, 1);
    mesh.messages.clear();
    for id in 0..400 {
        // As a long chain of steps, each after the other's answer.
        let keys = keys.clone();
        mesh.tell(key(1).node(), Event::Find { id, keys });
        mesh.run_for(5);
    }
    mesh.run_for(10_000);
    let most = u64::from(MESSAGES_BURST) + 12 * u64::from(MESSAGES_PER_S);
    for count in mesh.messages.values() {
        assert!(*count <= most, "{count} messages to one node");
    }
    assert_eq!(mesh.found.len(), 400, "a look-up has no end");
    assert!(
        mesh.found
            .values()
            .all(|(_, found)| found.len() == keys.len())
    );
}

#[test]
fn a_member_that_joins_is_told_only_what_is_its_own_now() {
    let (mut mesh, _, keys) = peopled(20, 10, 4);
    mesh.messages.clear();
    mesh.join(21);
    mesh.run_for(20_000);
    let new = key(21).node();
    let told = mesh.nodes[&new].engine.known(&keys[..200]).len();
    assert!((5..80).contains(&told), "{told} of 200 keys");
    let others = mesh.messages.iter().filter(|((_, to), _)| *to != new);
    assert_eq!(others.count(), 0, "others were told again what they know");
    assert!(mesh.nodes.values().all(|node| node.engine.backlog() == 0));
}

#[test]
fn places_are_drawn_anew_as_if_for_the_first_time() {
    let mut seen = BTreeSet::new();
    let mut places = Places::default();
    let mut here = BTreeMap::new();
    let mut seed = 5_u64;
    for _ in 0..200 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let n = u16::try_from((seed >> 33) % 9).expect("small") + 1;
        let operator = format!("o{}", n / 4);
        if here.remove(&n).is_some() {
            places.down(key(n).node());
        } else {
            places.up(key(n).node(), &operator, Stamp::from_ms(1));
            here.insert(n, operator);
        }
        for k in 0..40 {
            let nodes = here.iter().map(|(n, of)| (key(*n).node(), of.as_str()));
            let part = super::places::part_of(action(k));
            let fresh = crate::rendezvous::spread(DOMAIN, &part.to_be_bytes(), nodes, REPLICAS);
            assert_eq!(places.of(action(k)), fresh, "with {here:?}");
            seen.insert(fresh);
        }
    }
    assert!(seen.len() > 50, "hardly anything moved");
}

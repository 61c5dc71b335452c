//! Random programs with random changes: what the engine keeps up to date must equal what a fresh
//! engine computes from the last inputs.

use std::collections::BTreeMap;

use caravan_protocol::ids::ActionKey;
use proptest::prelude::*;

use super::*;

const INPUTS: usize = 4;

/// A step reads earlier terms by number, modulo how many there are.
#[derive(Debug, Clone)]
enum Step {
    Constant(i64),
    Add(usize, i64),
    Refuse(usize, i64),
    Pair(usize, usize),
    All(usize, usize, usize),
    Gate(usize, usize),
    Catch(usize),
    State(usize),
    Action(usize),
    Bind(usize, Vec<Step>),
    Choose(usize, usize, usize),
    Follow(usize, Vec<Step>),
    Each(usize, Vec<Step>),
}

#[derive(Debug, Clone)]
enum Change {
    Set(usize, i64),
    Break(usize),
    /// Moves the action of this number on: 0 queued, 1 running, 2 passed, 3 failed.
    Deliver(u8, u8),
    Round,
}

fn term() -> impl Strategy<Value = usize> {
    0..64_usize
}

fn step() -> impl Strategy<Value = Step> {
    let leaf = prop_oneof![
        1 => (-3..3_i64).prop_map(Step::Constant),
        4 => (term(), -3..3_i64).prop_map(|(a, k)| Step::Add(a, k)),
        1 => (term(), 2..5_i64).prop_map(|(a, m)| Step::Refuse(a, m)),
        3 => (term(), term()).prop_map(|(a, b)| Step::Pair(a, b)),
        1 => (term(), term(), term()).prop_map(|(a, b, c)| Step::All(a, b, c)),
        1 => (term(), term()).prop_map(|(a, b)| Step::Gate(a, b)),
        1 => term().prop_map(Step::Catch),
        1 => term().prop_map(Step::State),
        2 => term().prop_map(Step::Action),
        1 => (term(), term(), term()).prop_map(|(a, b, c)| Step::Choose(a, b, c)),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let body = prop::collection::vec(inner, 1..4);
        prop_oneof![
            (term(), body.clone()).prop_map(|(a, body)| Step::Bind(a, body)),
            (term(), body.clone()).prop_map(|(a, body)| Step::Follow(a, body)),
            (term(), body).prop_map(|(a, body)| Step::Each(a, body)),
        ]
    })
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (0..INPUTS, -4..5_i64).prop_map(|(i, v)| Change::Set(i, v)),
        1 => (0..INPUTS).prop_map(Change::Break),
        4 => (0..ACTIONS, 0..4_u8).prop_map(|(a, s)| Change::Deliver(a, s)),
        4 => Just(Change::Round),
    ]
}

const ACTIONS: u8 = 6;

fn name_of(value: i64) -> String {
    format!("act{}", value.rem_euclid(i64::from(ACTIONS)))
}

/// Makes the terms of `steps`; all of them, after those of `env`.
fn build(scope: &mut Scope<'_>, steps: &[Step], env: &[Term<i64>]) -> Vec<Term<i64>> {
    let mut env = env.to_vec();
    for step in steps {
        let at = |n: &usize| env[n % env.len()];
        let term = match step {
            Step::Constant(value) => scope.ok(*value),
            Step::Add(a, k) => {
                let k = *k;
                scope.map(at(a), "add", move |a| Ok(a.wrapping_add(k)))
            }
            Step::Refuse(a, m) => {
                let m = *m;
                scope.map(at(a), "refuse", move |a| {
                    if a % m == 0 {
                        Err(Fail::new(format!("{a} by {m}")))
                    } else {
                        Ok(*a)
                    }
                })
            }
            Step::Pair(a, b) => {
                let pair = scope.pair(at(a), at(b));
                scope.map(pair, "", |(a, b)| Ok(a.wrapping_mul(3).wrapping_sub(*b)))
            }
            Step::All(a, b, c) => {
                let all = scope.all(vec![at(a), at(b), at(c)]);
                scope.map(all, "all", |all| Ok(all.iter().fold(0, |x, y| x ^ y)))
            }
            Step::Gate(a, b) => scope.gate(at(a), at(b)),
            Step::Catch(a) => {
                let caught = scope.catch(at(a));
                scope.map(caught, "", |caught| match caught {
                    Ok(value) => Ok(*value),
                    Err(fail) => Ok(-(fail.to_string().len() as i64)),
                })
            }
            Step::State(a) => {
                let state = scope.state(at(a));
                scope.map(state, "", |state| Ok(state.state() as i64))
            }
            Step::Action(a) => {
                let wanted = scope.map(at(a), "", |a| Ok(request(&name_of(*a))));
                let outcome = scope.action(wanted, "action");
                scope.map(outcome, "", |outcome| {
                    Ok(i64::from(outcome.action.as_bytes()[0]))
                })
            }
            Step::Bind(a, body) => bind(scope, at(a), body.clone(), env.clone()),
            Step::Choose(a, b, c) => {
                let (b, c) = (at(b), at(c));
                scope.bind(at(a), move |_, a| if a % 2 == 0 { b } else { c })
            }
            Step::Follow(a, body) => {
                let (body, env) = (body.clone(), env.clone());
                let inner = scope.bind(at(a), move |scope, a| {
                    let own = scope.ok(*a);
                    let env: Vec<_> = env.iter().copied().chain([own]).collect();
                    let made = build(scope, &body, &env);
                    let last = *made.last().unwrap();
                    scope.ok(last)
                });
                scope.bind(inner, |_, term| *term)
            }
            Step::Each(a, body) => each(scope, at(a), body.clone(), env.clone()),
        };
        env.push(term);
    }
    env
}

fn bind(
    scope: &mut Scope<'_>,
    input: Term<i64>,
    body: Vec<Step>,
    env: Vec<Term<i64>>,
) -> Term<i64> {
    scope.bind(input, move |scope, value| {
        let value = *value;
        // Whoever is computed in here must see the value that all this was made for.
        let witness = scope.map(input, "", move |now| {
            assert_eq!(*now, value, "an outdated sub-graph was computed");
            Ok(*now)
        });
        let env: Vec<_> = env.iter().copied().chain([witness]).collect();
        *build(scope, &body, &env).last().unwrap()
    })
}

fn each(
    scope: &mut Scope<'_>,
    input: Term<i64>,
    body: Vec<Step>,
    env: Vec<Term<i64>>,
) -> Term<i64> {
    let keys = scope.map(input, "", |value| {
        let count = value.rem_euclid(4);
        Ok((0..count).map(|i| (value + i * i) % 5).collect::<Vec<_>>())
    });
    let all = scope.list_map(keys, move |scope, key| {
        let key = *key;
        let own = scope.ok(key);
        let witness = scope.map(keys, "", move |keys| {
            assert!(keys.contains(&key), "a vanished key was computed");
            Ok(keys.len() as i64)
        });
        let env: Vec<_> = env.iter().copied().chain([own, witness]).collect();
        *build(scope, &body, &env).last().unwrap()
    });
    scope.map(all, "each", |all| {
        Ok(all.iter().fold(7_i64, |x, y| x.wrapping_mul(31) ^ y))
    })
}

/// An engine with the world that it lives in.
struct World {
    engine: Engine,
    inputs: Vec<Input<i64>>,
    terms: Vec<Term<i64>>,
    /// What the world says of each action, whoever asks.
    known: BTreeMap<ActionKey, WantState>,
    keys: BTreeMap<WantId, ActionKey>,
    said: Vec<Command>,
}

impl World {
    fn new(steps: &[Step], known: BTreeMap<ActionKey, WantState>) -> Self {
        let mut engine = Engine::default();
        let mut root = engine.root();
        let (inputs, env): (Vec<_>, Vec<_>) = (0..INPUTS).map(|_| root.input("input")).unzip();
        let terms = build(&mut root, steps, &env);
        Self {
            engine,
            inputs,
            terms,
            known,
            keys: BTreeMap::new(),
            said: Vec::new(),
        }
    }

    /// Rounds until the world has nothing new to say.
    fn settle(&mut self) {
        for _ in 0..1000 {
            self.engine.stabilise();
            let commands = self.engine.take_commands();
            let mut news = false;
            for command in &commands {
                match command {
                    Command::Want { id, action, .. } => {
                        let key = action.key().unwrap();
                        assert!(self.keys.insert(*id, key).is_none(), "a name was reused");
                        if let Some(state) = self.known.get(&key) {
                            self.engine.deliver(*id, state.clone());
                            news = true;
                        }
                    }
                    Command::Unwant(id) => {
                        assert!(self.keys.remove(id).is_some(), "it was not wanted");
                    }
                    other => panic!("nobody asked for {other:?}"),
                }
            }
            self.said.extend(commands);
            if !news {
                return;
            }
        }
        panic!("it never settles");
    }

    fn tell(&mut self, key: ActionKey, state: &WantState) {
        self.known.insert(key, state.clone());
        for (id, wanted) in &self.keys {
            if *wanted == key {
                self.engine.deliver(*id, state.clone());
            }
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Set(input, value) => self.engine.set(self.inputs[*input], Ok(*value)),
            Change::Break(input) => {
                self.engine.set(
                    self.inputs[*input],
                    Err(Fail::new(format!("broke {input}"))),
                );
            }
            Change::Deliver(number, state) => {
                let name = name_of(i64::from(*number));
                let state = match state {
                    0 => WantState::Queued,
                    1 => WantState::Running(node()),
                    2 => done(&name, Verdict::Pass),
                    _ => done(&name, Verdict::Fail),
                };
                self.tell(action(&name).key().unwrap(), &state);
            }
            Change::Round => self.settle(),
        }
    }

    /// Whether nothing is pending, also inside of functions.
    fn is_final(&self) -> bool {
        let mut nodes = self.engine.graph.nodes.values();
        nodes.all(|node| node.cell.status().is_final())
    }

    fn results(&self) -> Vec<(Status, Option<i64>)> {
        let terms = self.terms.iter();
        terms
            .map(|term| (self.engine.status(*term), self.engine.value(*term).copied()))
            .collect()
    }
}

/// The changes that count in the end: the last of each input.
fn last_inputs(changes: &[Change]) -> Vec<Change> {
    let mut last = BTreeMap::new();
    for change in changes {
        if let Change::Set(input, _) | Change::Break(input) = change {
            last.insert(*input, change.clone());
        }
    }
    last.into_values().collect()
}

fn run(steps: &[Step], changes: &[Change]) -> World {
    let mut world = World::new(steps, BTreeMap::new());
    for change in changes {
        world.apply(change);
    }
    world.settle();
    world
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn kept_up_to_date_equals_computed_afresh(
        steps in prop::collection::vec(step(), 1..12),
        changes in prop::collection::vec(change(), 0..40),
    ) {
        let world = run(&steps, &changes);
        let mut fresh = World::new(&steps, world.known.clone());
        for change in last_inputs(&changes) {
            fresh.apply(&change);
        }
        fresh.settle();
        prop_assert_eq!(world.results(), fresh.results());
        // A sub-graph is kept while its input is pending; apart from that the wishes agree too.
        if world.is_final() {
            let wanted = |world: &World| world.keys.values().copied().collect::<Vec<_>>();
            let (mut a, mut b) = (wanted(&world), wanted(&fresh));
            a.sort_unstable();
            b.sort_unstable();
            prop_assert_eq!(a, b);
            prop_assert_eq!(world.engine.stats().nodes, fresh.engine.stats().nodes);
        }
    }

    #[test]
    fn the_same_events_give_the_same_commands_and_drawings(
        steps in prop::collection::vec(step(), 1..12),
        changes in prop::collection::vec(change(), 0..40),
    ) {
        let (a, b) = (run(&steps, &changes), run(&steps, &changes));
        prop_assert_eq!(a.said, b.said);
        prop_assert_eq!(a.engine.dot(), b.engine.dot());
        prop_assert_eq!(a.engine.text(), b.engine.text());
    }
}

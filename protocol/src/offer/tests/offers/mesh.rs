//! A mesh of engines on one clock, with messages that take a millisecond: what a job costs.

use std::collections::BTreeMap;

use super::*;

struct Mesh {
    engines: BTreeMap<NodeId, Engine>,
    now: Time,
    /// What is on its way, by when it comes.
    post: BTreeMap<(Time, u64), (NodeId, Event)>,
    sent: u64,
    messages: u64,
    done: u64,
}

fn name(number: u64) -> NodeId {
    NodeId::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

impl Mesh {
    fn new(nodes: u64, slots: u32) -> Self {
        let mut engines = BTreeMap::new();
        for number in 0..nodes {
            let me = name(number);
            let mut engine = Engine::new(Setup {
                me,
                platforms: BTreeSet::from([x86()]),
                emulated: BTreeSet::new(),
                slots,
                most: Limits::default(),
                lent: Limits::default(),
                seed: number << 20,
            });
            let mut out = Vec::new();
            for other in (0..nodes).filter(|other| *other != number) {
                let up = Event::PeerUp {
                    node: name(other),
                    operator: format!("op{other}"),
                    platforms: BTreeSet::from([x86()]),
                    emulated: BTreeSet::new(),
                };
                engine.handle(Time::from_ms(1000), up, &mut out);
            }
            engines.insert(me, engine);
        }
        Self {
            engines,
            now: Time::from_ms(1000),
            post: BTreeMap::new(),
            sent: 0,
            messages: 0,
            done: 0,
        }
    }

    fn later(&mut self, at: Time, to: NodeId, event: Event) {
        self.sent += 1;
        self.post.insert((at, self.sent), (to, event));
    }

    fn feed(&mut self, to: NodeId, event: Event) {
        let mut out = Vec::new();
        let engine = self.engines.get_mut(&to).expect("a node");
        engine.handle(self.now, event, &mut out);
        let soon = self.now + Duration::from_millis(1);
        for command in out {
            match command {
                Command::Send { to: other, message } => {
                    self.messages += 1;
                    let from = to;
                    self.later(soon, other, Event::Message { from, message });
                }
                Command::Run { attempt, .. } => {
                    let at = self.now + Duration::from_millis(2000);
                    let verdict = Verdict::Pass;
                    let outcome = outcome();
                    self.later(
                        at,
                        to,
                        Event::Finished {
                            attempt,
                            verdict,
                            outcome,
                        },
                    );
                }
                Command::Appraise { appraisal, lineage } => {
                    let event = Event::Appraised {
                        appraisal,
                        missing_bytes: lineage.iter().map(|layer| layer.bytes).sum(),
                        bytes_per_s: 1 << 20,
                    };
                    self.later(self.now, to, event);
                }
                Command::WakeAt(at) => self.later(at, to, Event::Tick),
                Command::Done { .. } => self.done += 1,
                _ => {}
            }
        }
    }

    fn run(&mut self, until_ms: u64) {
        while let Some(((at, _), (to, event))) = self.post.pop_first() {
            if at > Time::from_ms(until_ms) {
                return;
            }
            self.now = at;
            self.feed(to, event);
        }
    }
}

/// Messages for each of 40 jobs of one owner that has no slots itself.
fn messages_a_job(nodes: u64, with_lineage: bool) -> f64 {
    let mut mesh = Mesh::new(nodes, 2);
    let owner = name(0);
    mesh.feed(owner, Event::Slots(0));
    for number in 0..40_u8 {
        let lineage = match with_lineage {
            true => vec![layer(number % 5)],
            false => Vec::new(),
        };
        let want = Want {
            lineage,
            cost_ms: 2000,
            ..wanted(number)
        };
        let at = Time::from_ms(1000 + u64::from(number) * 600);
        mesh.later(at, owner, Event::Want(want));
    }
    mesh.run(120_000);
    assert_eq!(mesh.done, 40);
    mesh.messages as f64 / 40.0
}

#[test]
fn a_job_costs_a_dozen_messages_whatever_the_number_of_nodes() {
    for nodes in [5, 50, 500] {
        for with_lineage in [true, false] {
            let each = messages_a_job(nodes, with_lineage);
            eprintln!("{nodes} nodes, lineage {with_lineage}: {each} messages a job");
            assert!(each <= 12.0, "{each} messages a job with {nodes} nodes");
        }
    }
}

//! The order in which waiting jobs are done: against a model that is plainly right, and what
//! projects may rely on.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::offer::{
    fair::charge,
    jobs::{Job, Jobs, State},
    queue::Rank,
};

fn numbered(number: u32) -> JobId {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    JobId::from(ActionKey::from_bytes(bytes))
}

fn of_project(number: u32, project: u32, rate: u32, cost_ms: u64) -> Want {
    Want {
        job: numbered(number),
        project: ProjectKey::of(&project.to_string()),
        rate: Rate::of_millis(rate),
        cost_ms,
        action: Vec::new(),
        ..wanted(0)
    }
}

fn first(jobs: &Jobs) -> Option<JobId> {
    jobs.waiting_remote(&x86()).next().map(|job| job.want.job)
}

fn begin(jobs: &mut Jobs, id: JobId) {
    jobs.turn(id, State::Here { number: 1 });
}

/// Lists, looked through from end to end.
#[derive(Debug, Default)]
struct Model {
    waiting: Vec<(Rank, Want, bool)>,
    begun: Vec<(Rank, Want)>,
    present: BTreeMap<Priority, u64>,
    next: BTreeMap<(Priority, ProjectKey), u64>,
    seq: u64,
}

impl Model {
    fn want(&mut self, want: Want) {
        let (priority, at) = (want.priority, (want.priority, want.project));
        let present = *self.present.entry(priority).or_default();
        let next = self.next.entry(at).or_insert(present);
        let start = present.max(*next);
        *next = start + charge(want.cost_ms, want.rate);
        let rank = Rank {
            priority,
            start,
            seq: self.seq,
            job: want.job,
        };
        self.seq += 1;
        self.waiting.push((rank, want, false));
    }

    fn first(&self) -> Option<JobId> {
        let first = self.waiting.iter().min_by_key(|(rank, ..)| *rank);
        first.map(|(rank, ..)| rank.job)
    }

    /// The rates of those who wait: a project's is the one that it named last.
    fn rates(&self, priority: Priority) -> u64 {
        let waiting = self.waiting.iter();
        let of: BTreeMap<_, _> = waiting
            .filter(|(rank, ..)| rank.priority == priority)
            .map(|(_, want, _)| (want.project, u64::from(want.rate.millis())))
            .collect();
        of.values().sum()
    }

    /// Takes a job out; whether it begins.
    fn take(&mut self, job: JobId, begins: bool) {
        let Some(at) = self.waiting.iter().position(|(rank, ..)| rank.job == job) else {
            self.begun.retain(|(rank, _)| rank.job != job);
            return self.rest();
        };
        let rates = self.rates(self.waiting[at].0.priority);
        let (rank, want, had) = self.waiting.remove(at);
        let priority = rank.priority;
        if begins {
            if !had {
                let moved = u128::from(want.cost_ms) * 1_000_000 * 1000 / u128::from(rates);
                *self.present.entry(priority).or_default() += u64::try_from(moved).expect("small");
            }
            self.begun.push((rank, want));
        } else if !had {
            let next = self.next.get_mut(&(priority, want.project));
            *next.expect("charged") -= charge(want.cost_ms, want.rate);
        }
        self.rest();
    }

    /// Where nobody waits, everybody has had all that is due; a queue in which nothing waits at all
    /// begins anew.
    fn rest(&mut self) {
        if self.waiting.is_empty() {
            self.present.clear();
            self.next.clear();
        }
        for priority in [Priority::Urgent, Priority::Normal] {
            if !self
                .waiting
                .iter()
                .any(|(rank, ..)| rank.priority == priority)
            {
                let of = self.next.iter().filter(|((of, _), _)| *of == priority);
                let last = of.map(|(_, next)| *next).max().unwrap_or(0);
                let present = self.present.entry(priority).or_default();
                *present = (*present).max(last);
            }
        }
    }

    fn again(&mut self, job: JobId) {
        let at = self.begun.iter().position(|(rank, _)| rank.job == job);
        if let Some(at) = at {
            let (mut rank, want) = self.begun.remove(at);
            let present = *self.present.entry(rank.priority).or_default();
            rank.start = rank.start.min(present);
            self.waiting.push((rank, want, true));
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Want {
        project: u32,
        cost_ms: u64,
        urgent: bool,
    },
    Begin,
    BeginOther(usize),
    Unwant(usize),
    Again(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0_u32..5, 1_u64..100_000, prop::bool::weighted(0.2)).prop_map(
            |(project, cost_ms, urgent)| Step::Want { project, cost_ms, urgent }
        ),
        4 => Just(Step::Begin),
        1 => any::<usize>().prop_map(Step::BeginOther),
        2 => any::<usize>().prop_map(Step::Unwant),
        2 => any::<usize>().prop_map(Step::Again),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn it_is_the_order_of_the_model(steps in steps(), rates in [10_u32..4000, 10..4000, 10..4000, 10..4000, 10..4000]) {
        let (mut jobs, mut model) = (Jobs::default(), Model::default());
        let mut wanted = 0;
        let pick = |model: &Model, at: usize| {
            let waiting = model.waiting.iter().map(|(rank, ..)| rank.job);
            let all: Vec<JobId> = waiting.chain(model.begun.iter().map(|(rank, _)| rank.job)).collect();
            (!all.is_empty()).then(|| all[at % all.len()])
        };
        for step in steps {
            match step {
                Step::Want { project, cost_ms, urgent } => {
                    let rate = rates[project as usize];
                    let mut want = of_project(wanted, project, rate, cost_ms);
                    if urgent { want.priority = Priority::Urgent; }
                    wanted += 1;
                    jobs.insert(Time::from_ms(1), want.clone());
                    model.want(want);
                }
                Step::Begin => {
                    if let Some(job) = model.first() {
                        begin(&mut jobs, job);
                        model.take(job, true);
                    }
                }
                Step::BeginOther(at) if !model.waiting.is_empty() => {
                    let job = model.waiting[at % model.waiting.len()].0.job;
                    begin(&mut jobs, job);
                    model.take(job, true);
                }
                Step::Unwant(at) => {
                    if let Some(job) = pick(&model, at) {
                        jobs.remove(job);
                        model.take(job, false);
                    }
                }
                Step::Again(at) if !model.begun.is_empty() => {
                    let job = model.begun[at % model.begun.len()].0.job;
                    jobs.turn(job, State::Waiting(Vec::new()));
                    model.again(job);
                }
                Step::BeginOther(_) | Step::Again(_) => {}
            }
            prop_assert_eq!(first(&jobs), model.first());
            let order: Vec<JobId> = jobs.waiting_remote(&x86()).map(|job| job.want.job).collect();
            let mut expected: Vec<Rank> = model.waiting.iter().map(|(rank, ..)| *rank).collect();
            expected.sort();
            prop_assert_eq!(order, expected.iter().map(|rank| rank.job).collect::<Vec<_>>());
        }
    }

    /// Whatever others want meanwhile: for each job of another project that is begun between, one
    /// project had less than its part or was there before.
    #[test]
    fn nobody_starves(others in 2_u32..30, mine in 1_u32..20) {
        let mut jobs = Jobs::default();
        let mut number = 0;
        let mut add = |jobs: &mut Jobs, project: u32| {
            jobs.insert(Time::from_ms(1), of_project(number, project, 1000, 5000));
            number += 1;
        };
        (0..others * 50).for_each(|at| add(&mut jobs, at % others));
        for _ in 0..mine {
            add(&mut jobs, 1000);
        }
        let key = ProjectKey::of("1000");
        let mut had = 0;
        for round in 1..=(mine + 1) * (others + 1) {
            let job = first(&jobs).expect("many wait");
            let of = jobs.get(job).map(|job| job.want.project);
            had += u32::from(of == Some(key));
            begin(&mut jobs, job);
            // Those who want most go on wanting.
            add(&mut jobs, round % others);
        }
        prop_assert_eq!(had, mine);
    }
}

#[test]
fn parts_follow_the_rates() {
    let mut jobs = Jobs::default();
    let rates = [500, 1000, 3000];
    for number in 0..3000 {
        let project = number % 3;
        jobs.insert(
            Time::from_ms(1),
            of_project(number, project, rates[project as usize], 5000),
        );
    }
    let mut had = [0; 3];
    for _ in 0..900 {
        let job = first(&jobs).expect("many wait");
        let project = jobs.get(job).map(|job| job.want.project);
        let of = (0..3).find(|of: &u32| project == Some(ProjectKey::of(&of.to_string())));
        had[of.expect("one of three") as usize] += 1;
        begin(&mut jobs, job);
    }
    for (had, due) in had.iter().zip([100_i32, 200, 600]) {
        assert!((had - due).abs() <= 2, "{had} of {due}");
    }
}

#[test]
fn who_was_idle_saves_nothing_up_and_who_waits_costs_nobody_a_turn() {
    let mut jobs = Jobs::default();
    (0..100).for_each(|at| jobs.insert(Time::from_ms(1), of_project(at, 1, 1000, 5000)));
    // A project that asked for all that can be asked for and took it back.
    (100..200).for_each(|at| jobs.insert(Time::from_ms(1), of_project(at, 2, 1000, 5000)));
    (100..200).for_each(|at| _ = jobs.remove(numbered(at)));
    for _ in 0..50 {
        let job = first(&jobs).expect("many wait");
        begin(&mut jobs, job);
    }
    (200..210).for_each(|at| jobs.insert(Time::from_ms(1), of_project(at, 2, 1000, 5000)));
    let mut late = 0;
    for _ in 0..20 {
        let job = first(&jobs).expect("many wait");
        late += u32::from(job >= numbered(200));
        begin(&mut jobs, job);
    }
    assert_eq!(late, 10, "one of the one for one of the other");
}

#[test]
fn a_project_whose_jobs_nobody_can_do_slows_nobody_down() {
    let mut bench = bench(1);
    bench.on(Event::Want(of_project(0, 9, 1000, 5000)));
    // Each of these waits for a node that is not there.
    for number in 1..20 {
        let mut want = of_project(number, 1, 1000, 5000);
        want.place.on = Some(node(77));
        bench.on(Event::Want(want));
    }
    for number in 100..140 {
        bench.on(Event::Want(of_project(number, 2, 1000, 5000)));
    }
    let end = |bench: &mut Bench| {
        let running = bench.engine.running().next().expect("one runs");
        bench.finish(running, Verdict::Pass);
        bench.engine.running().next().expect("many wait").job
    };
    for _ in 0..20 {
        end(&mut bench);
    }
    for number in 200..210 {
        bench.on(Event::Want(of_project(number, 3, 1000, 5000)));
    }
    let late = (0..10).filter(|_| end(&mut bench) >= numbered(200)).count();
    assert_eq!(late, 5);
}

#[test]
fn a_retry_keeps_its_turn() {
    let mut bench = bench(1);
    for number in 0..5 {
        bench.on(Event::Want(of_project(number, number % 2, 1000, 5000)));
    }
    let next = |bench: &Bench| bench.engine.running().next().expect("one runs");
    let running = next(&bench);
    bench.finish(running, Verdict::Infra);
    bench.after(2000);
    let running = next(&bench);
    bench.finish(running, Verdict::Pass);
    let running = next(&bench);
    assert_eq!((running.job, running.number), (numbered(0), 2));
}

#[test]
fn a_waiting_job_is_small() {
    // The job, its key, its places among those that may leave and that may begin, its class, and
    // half as much again for the nodes of the trees.
    let bytes = size_of::<Job>() + 2 * size_of::<JobId>() + 2 * size_of::<Rank>();
    assert!(
        bytes * 3 / 2 <= 1300,
        "{bytes} bytes for each job that waits"
    );
}

/// A million jobs of ten thousand projects. Takes a gigabyte: run by hand, optimised.
#[test]
#[ignore = "takes a gigabyte and a minute"]
fn a_million_jobs_wait() {
    const JOBS: u32 = 1_000_000;
    let mut jobs = Jobs::default();
    let began = std::time::Instant::now();
    (0..JOBS).for_each(|at| {
        let number = at.wrapping_mul(0x9e37_79b1);
        jobs.insert(
            Time::from_ms(1),
            of_project(number, at % 10_000, 1000, 5000),
        );
    });
    let inserted = began.elapsed();
    for _ in 0..100_000 {
        let job = first(&jobs).expect("many wait");
        begin(&mut jobs, job);
        jobs.turn(job, State::Waiting(Vec::new()));
        begin(&mut jobs, job);
    }
    let begun = began.elapsed() - inserted;
    let some: Vec<JobId> = jobs.iter().map(|job| job.want.job).step_by(10).collect();
    some.iter().for_each(|job| _ = jobs.remove(*job));
    let gone = began.elapsed() - inserted - begun;
    eprintln!(
        "{JOBS} inserted {inserted:?}, 100,000 begun, put back and begun {begun:?}, {} cancelled {gone:?}",
        some.len()
    );
    assert!(begun < inserted);
}

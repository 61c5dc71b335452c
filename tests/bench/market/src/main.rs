//! What `scripts/bench market` runs under the clock: engines of the market that trade with each
//! other in one process, a queue server beside them, and simulated meshes beside a scheduler that
//! knows everything. It prints a line for each sample, `figure side value` with tabs between, and
//! knows nothing of limits or medians.

use std::{env, process::ExitCode};

mod arena;
mod assign;
mod beanstalk;
mod pending;
mod storms;
mod towns;

type Failure = Box<dyn std::error::Error>;

const USAGE: &str = "usage: caravan-bench-market WHAT NUMBER...
  assign NODES JOBS         signed jobs that take no time, among nodes in this process
  beanstalk JOBS            the same number reserved and deleted one by one, by beanstalkd
  pending JOBS WAITING...   so many assignments beside each number of jobs that wait
  messages NODES SEED       messages a job in a simulated mesh
  central NODES LOAD SEED   a simulated mesh beside a scheduler that knows everything; LOAD of 1000
  churn NODES SEED          a simulated mesh whose nodes are killed, beside the same without
  storms FIRST COUNT        so many simulated meshes under faults; one is told step by step
  town NODES LOAD SEED      one simulated mesh, in words";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<(), Failure> {
    let [what, numbers @ ..] = words else {
        return Err(USAGE.into());
    };
    let numbers: Result<Vec<usize>, _> = numbers.iter().map(|word| word.parse()).collect();
    match (what.as_str(), &numbers?[..]) {
        ("assign", [nodes, jobs]) => assign::run(*nodes, *jobs),
        ("beanstalk", [jobs]) => beanstalk::run(*jobs),
        ("pending", [jobs, waiting @ ..]) if !waiting.is_empty() => pending::run(*jobs, waiting),
        ("messages", [nodes, seed]) => towns::messages(*nodes, *seed),
        ("central", [nodes, load, seed]) => towns::central(*nodes, *load, *seed),
        ("churn", [nodes, seed]) => towns::churn(*nodes, *seed),
        ("storms", [first, count]) => storms::run(*first, *count),
        ("town", [nodes, load, seed]) => towns::told(*nodes, *load, *seed),
        _ => Err(USAGE.into()),
    }
}

/// Prints a sample.
fn sample(figure: &str, side: &str, value: f64) {
    println!("{figure}\t{side}\t{value:.9}");
}

//! What `scripts/bench mesh` runs under the clock: fleets of node processes, ours and serf's, that
//! are started, killed, starved, left alone and flooded. It prints a line for each sample,
//! `figure side value` with tabs between, and knows nothing of limits or medians.

use std::{env, path::Path, process::ExitCode, time::Duration};

mod ask;
mod asker;
mod death;
mod fleet;
mod flood;
mod hostile;
mod idle;
mod join;
mod nodes;
mod proc;
mod serf;
mod starve;

use fleet::Fleet;
use nodes::Nodes;
use serf::{Agents, Profile};

type Failure = Box<dyn std::error::Error>;

const USAGE: &str = "usage: caravan-mesh-bench WHAT SIDE DIR COUNT...
  prepare ours DIR COUNT PROGRAM        found a mesh and let COUNT - 1 nodes join it, for the rest
  join SIDE DIR COUNT                   start all; until each knows all
  death SIDE DIR COUNT ROUNDS           kill one; until all others know
  starve SIDE DIR COUNT SECONDS         busy loops on all cores; how many are taken for dead
  idle SIDE DIR COUNT SECONDS PREFIX    in the network namespaces PREFIX0 and so on
  flood ours DIR COUNT SECONDS PREFIX HOW  questions without and with a flood: messages, handshakes
SIDE is ours, serf (its profile local) or serf-lan; DIR of ours was prepared.";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<(), Failure> {
    let [what, side, dir, count, rest @ ..] = words else {
        return Err(USAGE.into());
    };
    let (dir, count) = (Path::new(dir), count.parse()?);
    match (*what, rest) {
        ("prepare", [program]) => nodes::prepare(dir, Path::new(program), count),
        ("join", []) => join::run(&mut *fleet(side, dir, count, None)?),
        ("death", [rounds]) => death::run(&mut *fleet(side, dir, count, None)?, rounds.parse()?),
        ("starve", [seconds]) => {
            let time = Duration::from_secs(seconds.parse()?);
            starve::run(&mut *fleet(side, dir, count, None)?, time)
        }
        ("idle", [seconds, prefix]) => {
            let time = Duration::from_secs(seconds.parse()?);
            idle::run(&mut *fleet(side, dir, count, Some(prefix))?, time)
        }
        ("flood", [seconds, prefix, how]) => {
            let time = Duration::from_secs(seconds.parse()?);
            let mut nodes = Nodes::open(dir, count, Some((*prefix).to_owned()))?;
            flood::run(&mut nodes, prefix, time, how)
        }
        _ => Err(USAGE.into()),
    }
}

/// The programs of one side, none of them started; in namespaces if they are named.
fn fleet(
    side: &str,
    dir: &Path,
    count: usize,
    namespaces: Option<&str>,
) -> Result<Box<dyn Fleet>, Failure> {
    let namespaces = namespaces.map(str::to_owned);
    match side {
        "ours" => Ok(Box::new(Nodes::open(dir, count, namespaces)?)),
        "serf" => Ok(Box::new(Agents::new(
            dir,
            count,
            Profile::Local,
            namespaces,
        )?)),
        "serf-lan" => Ok(Box::new(Agents::new(dir, count, Profile::Lan, namespaces)?)),
        _ => Err(USAGE.into()),
    }
}

/// Prints a sample.
fn sample(figure: &str, side: &str, value: f64) {
    println!("{figure}\t{side}\t{value:.9}");
}

//! What `scripts/bench` runs under the clock. It prints a line for each sample, `figure side
//! seconds` with tabs between, and knows nothing of limits, medians or quiet machines.

use std::{
    env,
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use caravan_sandbox::{Defence, Defences, Launcher};

mod bundle;
mod complete;
mod ingest;
mod overhead;
mod real;
mod soak;
mod stack;
mod steps;
mod tree;

type Failure = Box<dyn std::error::Error>;

const USAGE: &str = "usage: caravan-bench WHAT...
  tree DIR FILES                          write a tree of files
  adopt FIGURE STORE DIR                  take DIR into a new store by rename
  copy-in FIGURE STORE DIR                copy DIR into a new store
  copy-in-sibling FIGURE STORE DIR OTHER  change a file of DIR and copy it in again; then OTHER
  peer FIGURE PROGRAM WORDS...            run what is compared with
  layer-commit DIR ROUNDS                 keep layers of 64 files
  cached-step DIR ROUNDS                  find steps that were done before
  lookups DIR LAYERS                      mount layers and look for what is not there
  build DIR LAYERS ROUNDS                 compile over layers
  steps DIR FLOOR ROUNDS                  complete steps and what they are held against, in turns
  loops DIR STEPS ROUNDS                  complete steps in several loops at once, and in one
  real FIGURE DIR STORE LOWERS SCRIPT ROUNDS [WITHOUT]
                                          build over layers (separated by commas) in the sandbox,
                                          which may lack defences, and in a plain chroot
  profile DIR ROUNDS                      where the time of complete steps goes
  soak DIR STEPS                          run steps, cancel half, find what they left";

fn main() -> ExitCode {
    // The sandbox's helper is this program, started anew.
    caravan_sandbox::run_as_helper_if_asked();
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
    match words {
        ["tree", dir, files] => {
            let bytes = tree::write(Path::new(dir), files.parse()?)?;
            eprintln!("bench: {dir} has {files} files, {bytes} bytes");
            Ok(())
        }
        ["adopt", figure, store, dir] => ingest::adopt(figure, Path::new(store), Path::new(dir)),
        ["copy-in", figure, store, dir] => {
            ingest::copy_in(figure, Path::new(store), Path::new(dir))
        }
        ["copy-in-sibling", figure, store, dir, other] => {
            let (store, dir, other) = (Path::new(store), Path::new(dir), Path::new(other));
            ingest::copy_in_sibling(figure, store, dir, other)
        }
        ["peer", figure, program, words @ ..] => peer(figure, program, words),
        ["lookups", dir, layers] => stack::lookups(Path::new(dir), layers.parse()?),
        ["build", dir, layers, rounds] => {
            stack::build(Path::new(dir), layers.parse()?, rounds.parse()?)
        }
        ["layer-commit", dir, rounds] => steps::layer_commit(Path::new(dir), rounds.parse()?),
        ["cached-step", dir, rounds] => steps::cached_step(Path::new(dir), rounds.parse()?),
        ["steps", dir, floor, rounds] => {
            overhead::steps(Path::new(dir), Path::new(floor), rounds.parse()?)
        }
        ["loops", dir, steps, rounds] => {
            overhead::loops(Path::new(dir), steps.parse()?, rounds.parse()?)
        }
        [
            "real",
            figure,
            dir,
            store,
            lowers,
            script,
            rounds,
            without @ ..,
        ] => {
            let launcher = launcher_without(without.first())?;
            let build = real::Build {
                dir: Path::new(dir),
                store: Path::new(store),
                lowers: lowers.split(',').collect(),
                script,
            };
            build.run(figure, &launcher, rounds.parse()?)
        }
        ["profile", dir, rounds] => overhead::profile(Path::new(dir), rounds.parse()?),
        ["soak", dir, steps] => soak::run(Path::new(dir), steps.parse()?),
        _ => Err(USAGE.into()),
    }
}

/// A launcher whose jobs lack the defences of these names.
fn launcher_without(names: Option<&&str>) -> Result<Launcher, Failure> {
    let names = names.into_iter().flat_map(|names| names.split(','));
    let defences: Result<Vec<Defence>, _> = names.map(str::parse).collect();
    let without = defences?.into_iter().fold(Defences::NONE, Defences::with);
    Ok(Launcher::spawn_without(without)?)
}

/// Runs what ours is compared with, its output thrown away.
fn peer(figure: &str, program: &str, words: &[&str]) -> Result<(), Failure> {
    let began = Instant::now();
    let done = Command::new(program)
        .args(words)
        .stdout(Stdio::null())
        .status()?;
    sample(figure, "theirs", began.elapsed().as_secs_f64());
    match done.success() {
        true => Ok(()),
        false => Err(format!("{program} failed: {done}").into()),
    }
}

/// Prints a sample.
fn sample(figure: &str, side: &str, seconds: f64) {
    println!("{figure}\t{side}\t{seconds:.9}");
}

/// The middle of what was measured, seconds.
fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times
        .get(times.len() / 2)
        .map_or(0.0, Duration::as_secs_f64)
}

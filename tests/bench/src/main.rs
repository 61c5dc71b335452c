//! What `scripts/bench` runs under the clock. It prints a line for each sample, `figure side
//! seconds` with tabs between, and knows nothing of limits, medians or quiet machines.

use std::{env, path::Path, process::ExitCode};

mod ingest;
mod tree;

type Failure = Box<dyn std::error::Error>;

const USAGE: &str = "usage: caravan-bench WHAT...
  tree DIR FILES              write a tree of files
  adopt STORE DIR             take DIR into a new store by rename
";

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
    match words {
        ["tree", dir, files] => {
            let bytes = tree::write(Path::new(dir), files.parse()?)?;
            eprintln!("bench: {dir} has {files} files, {bytes} bytes");
            Ok(())
        }
        ["adopt", store, dir] => ingest::adopt(Path::new(store), Path::new(dir)),
        _ => Err(USAGE.into()),
    }
}

/// Prints a sample.
fn sample(figure: &str, side: &str, seconds: f64) {
    println!("{figure}\t{side}\t{seconds:.9}");
}

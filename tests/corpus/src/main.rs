//! The driver of the corpus: `table` and `markdown` for people, `inside` for itself. Also the helper of
//! the sandbox that it tries.

use std::process::ExitCode;

use caravan_corpus::{Failure, driver, places::Place, report};

fn main() -> ExitCode {
    caravan_sandbox::run_as_helper_if_asked();
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("corpus: failed to {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<ExitCode, Failure> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["inside", part, places @ ..] => {
            let places = places
                .iter()
                .map(|name| name.parse())
                .collect::<Result<Vec<Place>, _>>()?;
            let code = driver::inside(part, &places)?;
            Ok(if code == 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        ["table"] => report::table(&std::env::current_exe()?),
        ["markdown"] => report::markdown(&std::env::current_exe()?),
        _ => {
            eprintln!("usage: caravan-corpus table|markdown");
            Ok(ExitCode::from(2))
        }
    }
}

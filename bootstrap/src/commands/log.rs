//! `caravan log`: a step's log.

use std::{io::Write, path::Path, process::ExitCode};

use caravan_node::control::{LogFrom, Reply, Request, client::Call};
use caravan_protocol::view::{RunView, State, StepView};

use super::{block, find_run, snapshot, socket, unexpected};
use crate::{
    cli::Log,
    error::{CliError, Kind},
};

pub(super) fn run(data: &Path, log: &Log) -> Result<ExitCode, CliError> {
    block(async {
        let snapshot = snapshot(data).await?;
        let run = find_run(&snapshot, &log.run)?;
        let step = find_step(run, log.step.as_deref())?;
        let request = Request::Log {
            run: run.id,
            want: step.want,
            from: from(log.offset, log.tail),
            follow: log.follow,
        };
        let call = Call::start(&socket(data), &request).await;
        let mut call = call.map_err(|error| CliError::node(&error))?;
        let mut out = std::io::stdout().lock();
        while let Some(reply) = call.next().await.map_err(|error| CliError::node(&error))? {
            match reply {
                // A closed pipe is how `| head` says that it has enough.
                Reply::Log { bytes, .. } => {
                    if out.write_all(&bytes).and_then(|()| out.flush()).is_err() {
                        return Ok(ExitCode::SUCCESS);
                    }
                }
                Reply::LogAnew => {
                    eprintln!("That attempt was given up; this is the log of the next one.");
                }
                Reply::Done => return Ok(ExitCode::SUCCESS),
                Reply::Error(text) => return Err(CliError::new(Kind::Node, text)),
                _ => return Err(unexpected()),
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn from(offset: Option<i64>, tail: Option<u64>) -> LogFrom {
    match (offset, tail) {
        (_, Some(lines)) => LogFrom::LastLines(lines),
        (Some(offset), None) if offset < 0 => LogFrom::BeforeEnd(offset.unsigned_abs()),
        (Some(offset), None) => LogFrom::Start(offset.unsigned_abs()),
        (None, None) => LogFrom::Start(0),
    }
}

pub(super) fn find_step<'a>(
    run: &'a RunView,
    name: Option<&str>,
) -> Result<&'a StepView, CliError> {
    let found = match name {
        Some(name) => run
            .steps
            .values()
            .find(|step| step.label == name || step.want.0.to_string() == name),
        None => {
            let failed = run.steps.values().find(|step| step.state == State::Failed);
            let running = run.steps.values().find(|step| step.state == State::Running);
            failed
                .or(running)
                .or_else(|| run.steps.values().next_back())
        }
    };
    found.ok_or_else(|| {
        let steps: Vec<&str> = run.steps.values().map(|step| step.label.as_str()).collect();
        let text = format!(
            "find the step {:?}: the run has none of that name",
            name.unwrap_or_default()
        );
        CliError::user(text).hint(format!("its steps are: {}", steps.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Verb};

    fn asked(args: &[&str]) -> Result<LogFrom, clap::Error> {
        let cli = Cli::try_parse_from([&["caravan", "log", "59bc"], args].concat())?;
        let Verb::Log(log) = cli.verb else {
            panic!("it is another verb")
        };
        Ok(from(log.offset, log.tail))
    }

    #[test]
    fn a_log_begins_where_it_is_asked_for() {
        let begins = |args: &[&str]| asked(args).expect("good arguments");
        assert_eq!(begins(&[]), LogFrom::Start(0));
        assert_eq!(begins(&["30", "--offset", "77"]), LogFrom::Start(77));
        let before_end = LogFrom::BeforeEnd(4096);
        assert_eq!(begins(&["30", "-f", "--offset", "-4096"]), before_end);
        assert_eq!(begins(&["--offset=-4096"]), before_end);
        let most = i64::MIN.to_string();
        let before_end = LogFrom::BeforeEnd(1 << 63);
        assert_eq!(begins(&["--offset", &most]), before_end);
        assert_eq!(begins(&["--tail", "20"]), LogFrom::LastLines(20));
        assert!(asked(&["--tail", "-1"]).is_err());
        assert!(asked(&["--offset", "x"]).is_err());
        assert!(asked(&["--tail", "1", "--offset", "1"]).is_err());
    }
}

//! `caravan log`: a step's log.

use std::{io::Write, path::Path, process::ExitCode};

use caravan_node::control::{Reply, Request, client::Call};
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
            offset: 0,
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
                Reply::Done => return Ok(ExitCode::SUCCESS),
                Reply::Error(text) => return Err(CliError::new(Kind::Node, text)),
                _ => return Err(unexpected()),
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn find_step<'a>(run: &'a RunView, name: Option<&str>) -> Result<&'a StepView, CliError> {
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

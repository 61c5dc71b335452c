//! `caravan job`: runs, their steps, and what became of each job.

use std::{path::Path, process::ExitCode};

use caravan_node::control::{Reply, Request};
use caravan_protocol::view::Snapshot;

use super::{
    ask, block, ci, find_run, full, log::find_step, node, place, print_json, snapshot, socket,
    unexpected,
};
use crate::{
    cli::{JobVerb, Output, Place},
    error::CliError,
    show,
};

pub(super) fn run(data: &Path, verb: &JobVerb) -> Result<ExitCode, CliError> {
    match verb {
        JobVerb::List(output) => {
            let snapshot = block(snapshot(data))?;
            if output.json {
                return print_json(&snapshot.runs);
            }
            show::runs(&snapshot);
        }
        JobVerb::Show { what, step, output } => {
            return block(look(data, what, step.as_deref(), output));
        }
        JobVerb::Run { run, place, output } => return again(data, run, place, output.json),
        JobVerb::Cancel { run } => block(async {
            let snapshot = snapshot(data).await?;
            let run = find_run(&snapshot, run)?;
            ask(data, &Request::Cancel(run.id)).await?;
            say!("cancelled {}", full(run.id));
            Ok(())
        })?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows a run, or the job of one of its steps, or a job that is named by its own id.
async fn look(
    data: &Path,
    what: &str,
    step: Option<&str>,
    output: &Output,
) -> Result<ExitCode, CliError> {
    let snapshot = snapshot(data).await?;
    let key = match step {
        Some(step) => {
            let run = find_run(&snapshot, what)?;
            find_step(run, Some(step))?.action.to_string()
        }
        None if is_run(&snapshot, what) => {
            let run = find_run(&snapshot, what)?;
            if output.json {
                return print_json(run);
            }
            show::run(run);
            return Ok(ExitCode::SUCCESS);
        }
        None => what.to_owned(),
    };
    match ask(data, &Request::Job(key)).await? {
        Reply::Job(job) if output.json => print_json(&*job),
        Reply::Job(job) => {
            show::job(&job);
            Ok(ExitCode::SUCCESS)
        }
        Reply::Refused(text) => Err(CliError::user(text).hint("`caravan job list` lists runs")),
        _ => Err(unexpected()),
    }
}

/// Whether the id of a run begins so.
fn is_run(snapshot: &Snapshot, prefix: &str) -> bool {
    let mut runs = snapshot.runs();
    !prefix.is_empty() && runs.any(|run| run.id.to_string().starts_with(prefix))
}

/// Tries again what failed in a run.
fn again(data: &Path, run: &str, wanted: &Place, json: bool) -> Result<ExitCode, CliError> {
    node::runtime()?.block_on(async {
        let snapshot = snapshot(data).await?;
        let run = find_run(&snapshot, run)?.id;
        let (on, not_on) = place(data, wanted).await?;
        let request = Request::Again { run, on, not_on };
        ci::follow(socket(data), request, json).await
    })
}

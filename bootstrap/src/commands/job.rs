//! `caravan job`: runs and their steps.

use std::{path::Path, process::ExitCode};

use caravan_node::control::Request;

use super::{ask, block, find_run, full, print_json, snapshot};
use crate::{cli::JobVerb, error::CliError, show};

pub(super) fn run(data: &Path, verb: &JobVerb) -> Result<ExitCode, CliError> {
    block(async {
        let snapshot = snapshot(data).await?;
        match verb {
            JobVerb::List(output) => {
                if output.json {
                    return print_json(&snapshot.runs);
                }
                show::runs(&snapshot);
            }
            JobVerb::Show { run, output } => {
                let run = find_run(&snapshot, run)?;
                if output.json {
                    return print_json(run);
                }
                show::run(run);
            }
            JobVerb::Cancel { run } => {
                let run = find_run(&snapshot, run)?;
                ask(data, &Request::Cancel(run.id)).await?;
                say!("cancelled {}", full(run.id));
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

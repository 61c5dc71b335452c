//! `caravan roles`: who holds which elected role, since when, and who is next.

use std::{path::Path, process::ExitCode};

use super::{block, print_json, snapshot};
use crate::{cli::Output, error::CliError, show};

pub(super) fn run(data: &Path, output: &Output) -> Result<ExitCode, CliError> {
    let snapshot = block(snapshot(data))?;
    if output.json {
        return print_json(&snapshot.roles);
    }
    if snapshot.roles.is_empty() {
        say!("no roles yet: a project has one from its first `caravan ci` on");
        return Ok(ExitCode::SUCCESS);
    }
    show::roles(&snapshot, super::now());
    Ok(ExitCode::SUCCESS)
}

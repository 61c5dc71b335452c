//! `caravan base`: what projects are tested on.

use std::{path::Path, process::ExitCode};

use caravan_node::control::{Reply, Request, client::Call};

use super::{block, print_json, snapshot, socket, unexpected};
use crate::{
    cli::BaseVerb,
    error::{CliError, Kind},
    progress::Bar,
    show,
};

pub(super) fn run(data: &Path, verb: &BaseVerb) -> Result<ExitCode, CliError> {
    match verb {
        BaseVerb::List(output) => {
            let snapshot = block(snapshot(data))?;
            if output.json {
                return print_json(&snapshot.bases);
            }
            show::bases(&snapshot.bases);
            Ok(ExitCode::SUCCESS)
        }
        BaseVerb::Import { name } => match block(long(data, &Request::ImportBase(name.clone())))? {
            Reply::Base(base) => {
                show::bases(&[base]);
                Ok(ExitCode::SUCCESS)
            }
            _ => Err(unexpected()),
        },
    }
}

/// Asks for something that takes its time, with a bar.
pub(super) async fn long(data: &Path, request: &Request) -> Result<Reply, CliError> {
    let mut call = Call::start(&socket(data), request)
        .await
        .map_err(|error| CliError::node(&error))?;
    let mut bar = Bar::new();
    while let Some(reply) = call.next().await.map_err(|error| CliError::node(&error))? {
        match reply {
            Reply::Progress { what, done, total } => bar.update(&what, done, total),
            Reply::Error(text) => return Err(CliError::new(Kind::Node, text)),
            reply => return Ok(reply),
        }
    }
    Err(unexpected())
}

//! `caravan base`: what projects are tested on.

use std::{path::Path, process::ExitCode};

use caravan_node::control::{Reply, Request, client::Call};

use super::{block, node, print_json, snapshot, unexpected};
use crate::{
    cli::BaseVerb,
    error::{CliError, Kind},
    progress::Bar,
    show,
};

/// Exit code after Ctrl-C.
const INTERRUPTED: u8 = 130;

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
        BaseVerb::Import { name } => match long(data, &Request::ImportBase(name.clone()))? {
            Long::Done(Reply::Base(base)) => {
                show::bases(&[base]);
                Ok(ExitCode::SUCCESS)
            }
            Long::Interrupted => Ok(interrupted()),
            Long::Done(_) => Err(unexpected()),
        },
    }
}

/// What becomes of something that takes its time.
pub(super) enum Long {
    /// The node's last answer.
    Done(Reply),
    /// Ctrl-C; nothing of it is kept.
    Interrupted,
}

/// Says so, for whoever pressed Ctrl-C.
pub(super) fn interrupted() -> ExitCode {
    eprintln!("interrupted; nothing of it is kept");
    ExitCode::from(INTERRUPTED)
}

/// Asks for something that takes its time, with a bar. Without a running node one is started
/// inside for it.
pub(super) fn long(data: &Path, request: &Request) -> Result<Long, CliError> {
    node::with_one(data, |socket| async move {
        tokio::select! {
            reply = answered(&socket, request) => reply.map(Long::Done),
            // Hanging up gives it up.
            () = node::interrupted() => Ok(Long::Interrupted),
        }
    })
}

/// Asks the node behind `socket`, with a bar.
pub(super) async fn answered(socket: &Path, request: &Request) -> Result<Reply, CliError> {
    let mut call = Call::start(socket, request)
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

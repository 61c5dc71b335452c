//! `caravan node drain`: the node ends what it has, says good-bye and stops.

use std::{os::unix::net::UnixStream, path::Path, process::ExitCode, time::Duration};

use caravan_node::control::{Reply, Request, client::Call};

use crate::{
    cli::NodeDrain,
    commands::{block, node::interrupted, socket, unexpected},
    error::{CliError, Kind},
};

/// How long a node that has said that it stops may take to be gone, and how often it is looked at.
const GONE_MAX: Duration = Duration::from_secs(60);
const GONE: Duration = Duration::from_millis(50);

pub(super) fn run(data: &Path, flags: &NodeDrain) -> Result<ExitCode, CliError> {
    let request = Request::Drain {
        leave: false,
        wait: !flags.now,
    };
    block(drained(&socket(data), &request))?;
    say!("the node has finished and stopped");
    Ok(ExitCode::SUCCESS)
}

/// Asks, shows how far it is, and waits until the node is gone.
pub(super) async fn drained(socket: &Path, request: &Request) -> Result<(), CliError> {
    let call = Call::start(socket, request).await;
    let mut call = call.map_err(|error| CliError::node(&error))?;
    let mut last = String::new();
    loop {
        let reply = tokio::select! {
            reply = call.next() => reply.map_err(|error| CliError::node(&error))?,
            () = interrupted() => {
                let text = "wait for the node: interrupted; it goes on and stops when it is done";
                return Err(CliError::new(Kind::Node, text));
            }
        };
        match reply {
            Some(Reply::Progress { what, done, total }) => {
                let line = match total {
                    0 => what,
                    total => format!("{what} ({done} of {total})"),
                };
                if line != last {
                    eprintln!("{}", crate::show::plain(&line));
                    last = line;
                }
            }
            Some(Reply::Error(text)) => return Err(CliError::new(Kind::Node, text)),
            Some(Reply::Done) | None => break,
            Some(_) => return Err(unexpected()),
        }
    }
    gone(socket).await
}

/// Returns once nobody listens any more.
async fn gone(socket: &Path) -> Result<(), CliError> {
    let begun = tokio::time::Instant::now();
    while UnixStream::connect(socket).is_ok() {
        if begun.elapsed() > GONE_MAX {
            let text = format!(
                "see the node stop: it runs on after {} s",
                GONE_MAX.as_secs()
            );
            return Err(CliError::new(Kind::Node, text));
        }
        tokio::time::sleep(GONE).await;
    }
    Ok(())
}

//! Where an ordinary user's program becomes root of a user namespace of its own: before it has read
//! or started anything, and only for what a node without root does. Asking a running node needs no
//! more rights than its socket.

use std::{ffi::OsString, os::unix::net::UnixStream, path::Path, process::Command};

use caravan_node::{Rights, RootlessError, run_inside};

use crate::{
    cli::{BaseVerb, NodeVerb, Verb},
    error::CliError,
};

/// Starts the program over, in a namespace of its own, if what it is asked for needs one and it has
/// none yet.
pub(crate) fn enter_if_needed(data: &Path, verb: &Verb) -> Result<(), CliError> {
    if !matches!(Rights::own(), Rights::User(_)) || !needs_rights(data, verb) {
        return Ok(());
    }
    Err(told(&caravan_node::restart_inside()))
}

/// Runs a command where the owners of a node's files are what its jobs see.
pub(crate) fn unshare(words: &[OsString]) -> CliError {
    let Some((program, args)) = words.split_first() else {
        return CliError::user("run a command: none is named");
    };
    let mut command = Command::new(program);
    command.args(args);
    if matches!(Rights::own(), Rights::User(_)) {
        return told(&run_inside(command));
    }
    use std::os::unix::process::CommandExt as _;
    let error = command.exec();
    CliError::user(format!("run {}: {error}", program.display()))
}

/// Whether it will open the store itself, which is full of other users' files.
fn needs_rights(data: &Path, verb: &Verb) -> bool {
    let without_node = || UnixStream::connect(crate::commands::socket(data)).is_err();
    match verb {
        Verb::Node(NodeVerb::Run(_)) | Verb::Join(_) => true,
        Verb::Build(build) => !build.plan && !build.dockerfile && without_node(),
        Verb::Base(BaseVerb::Import { .. }) | Verb::Ci(_) | Verb::Image(_) | Verb::Store(_) => {
            without_node()
        }
        Verb::Base(BaseVerb::List(_))
        | Verb::Invite(_)
        | Verb::Job(_)
        | Verb::Log(_)
        | Verb::Node(_)
        | Verb::Unshare { .. } => false,
    }
}

fn told(error: &RootlessError) -> CliError {
    let mut told = CliError::node(error);
    if let RootlessError::Lacking { lacks, .. } = error {
        for lack in lacks {
            told = told.hint(lack.fix());
        }
        told = told.hint("or start it as root, with sudo");
    }
    told
}

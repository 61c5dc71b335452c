//! Where an ordinary user's program becomes root of a user namespace of its own: before it has read
//! or started anything, and only for what a node without root does. Asking a running node needs no
//! more rights than its socket.

use std::{
    ffi::OsString,
    os::unix::net::UnixStream,
    path::Path,
    process::{Command, ExitCode},
};

use caravan_node::{Rights, RootlessError, run_inside};

use crate::{
    cli::{BaseVerb, NodeVerb, Verb},
    error::CliError,
};

/// Set for the part of a command that runs inside the namespace, while the other part waits outside:
/// systemd takes nobody inside for the user who asks.
const PART: &str = "CARAVAN_INSIDE";

/// Starts the program over, in a namespace of its own, if what it is asked for needs one and it has
/// none yet.
pub(crate) fn enter_if_needed(data: &Path, verb: &Verb) -> Result<(), CliError> {
    if !is_outside() || !needs_rights(data, verb) {
        return Ok(());
    }
    Err(told(&caravan_node::restart_inside()))
}

/// Whether this is the program of an ordinary user, outside of any namespace of its own.
pub(crate) fn is_outside() -> bool {
    matches!(Rights::own(), Rights::User(_))
}

/// Whether another process of this command, outside, does what is to be done there.
pub(crate) fn has_outer_part() -> bool {
    std::env::var_os(PART).is_some()
}

/// Does this same command inside the namespace, but for what only the outside can do. Its words go
/// where this one's go; an exit code other than 0 is this one's, too.
pub(crate) fn inner_part() -> Result<Option<ExitCode>, CliError> {
    let trouble = |error: std::io::Error| CliError::user(format!("run this program anew: {error}"));
    let mut command = Command::new(std::env::current_exe().map_err(trouble)?);
    command.args(std::env::args_os().skip(1)).env(PART, "yes");
    let done = command.status().map_err(trouble)?;
    if done.success() {
        return Ok(None);
    }
    let code = done.code().and_then(|code| u8::try_from(code).ok());
    Ok(Some(ExitCode::from(code.unwrap_or(3))))
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
        Verb::Node(NodeVerb::Run(_)) => true,
        // Whatever has a part outside too enters by itself.
        Verb::Node(NodeVerb::Init(init)) => init.service.service.is_none() || has_outer_part(),
        Verb::Join(join) => join.service.service.is_none() || has_outer_part(),
        Verb::Node(NodeVerb::Leave(_)) => has_outer_part(),
        Verb::Build(build) => !build.plan && !build.dockerfile && without_node(),
        Verb::Base(BaseVerb::Import { .. }) | Verb::Ci(_) | Verb::Image(_) | Verb::Store(_) => {
            without_node()
        }
        Verb::Base(BaseVerb::List(_))
        | Verb::Invite(_)
        | Verb::Job(_)
        | Verb::Log(_)
        | Verb::Node(_)
        | Verb::Nodes(_)
        | Verb::Roles(_)
        | Verb::Top(_)
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

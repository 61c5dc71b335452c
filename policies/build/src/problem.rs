//! Why a spec that reads well cannot be run here.

use caravan_protocol::{limits, spec::LeadsOut};

/// A step that cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{op} cannot be done: {problem}")]
pub struct PlanError {
    /// The op, as a log would announce it, on one line.
    pub op: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A network that is not there.
    #[error(
        "there is no network {0:?} here; without (network ...) a command has loopback alone, with (network host) what a node lets steps reach"
    )]
    Network(Vec<String>),
    /// A user by name.
    #[error("the user {0:?} is a name; on Linux give numbers, as in (user (uid 1000) (gid 1000))")]
    NamedUser(String),
    /// A user beyond those that a sandbox has.
    #[error("the user {uid}:{gid} is beyond those of a sandbox, 0 to {max}", max = ID_MAX)]
    User {
        /// Its number.
        uid: u32,
        /// Its group's.
        gid: u32,
    },
    /// A variable that no environment can hold.
    #[error("{0:?} is no name of a variable")]
    Variable(String),
    /// A place that is none.
    #[error("the {what} {id:?} is to be at {target:?}, which is no absolute path without `..`")]
    Target {
        /// Cache or secret.
        what: &'static str,
        /// Which.
        id: String,
        /// The place.
        target: String,
    },
    /// A directory that is none.
    #[error("{0:?} is no path on Linux")]
    NoPath(String),
    /// A path that is too long.
    #[error("the working directory is longer than {max} bytes", max = limits::PATH_BYTES_MAX)]
    LongPath,
    /// A source with `..`.
    #[error(transparent)]
    LeadsOut(#[from] LeadsOut),
    /// A destination with `..`.
    #[error("copy to {0:?}: a path may not have `..` in it")]
    Destination(String),
    /// Nothing to copy.
    #[error("it names nothing to copy")]
    NoSource,
    /// Several things to one name.
    #[error("it copies {0} things to one name; let the destination end with `/`")]
    Several(usize),
    /// No command.
    #[error("there is no command: the shell is empty and so is what it is given")]
    NoCommand,
    /// More than a node does.
    #[error("it has {count} {what}, at most {max} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// The limit.
        max: usize,
    },
}

/// The highest number of a user or group in a sandbox.
pub(crate) const ID_MAX: u32 = 65_535;

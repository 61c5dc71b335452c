//! The ops of a spec as values. They carry what their author wrote; the sense of it is the
//! node's business.

use super::Name;

/// One step of a build, or a change of what the later ones start with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Op {
    /// Says something to the reader and does nothing.
    Comment(String),
    /// Sets the current directory; a relative one is joined to the one before.
    Workdir(String),
    /// Sets the program, with its first arguments, that is given each later command.
    Shell(Vec<String>),
    /// Runs a command.
    Run(Run),
    /// Copies files in.
    Copy(Copy),
    /// Sets who runs the later commands and owns the files that are copied in.
    User(User),
    /// Sets a variable of the environment of later commands: its name and value.
    Env(String, String),
}

/// A command to run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Run {
    /// Directories that outlive the build.
    pub cache: Vec<Mount>,
    /// Networks: none for the loopback interface alone, `host` for what the host has.
    pub network: Vec<String>,
    /// Files with values that are not in the spec.
    pub secrets: Vec<Mount>,
    /// The one argument that the shell is given.
    pub shell: String,
}

/// A cache or secret, and where the command finds it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mount {
    /// Which.
    pub id: String,
    /// Path within the build's files.
    pub target: String,
    /// Options for `RUN --mount` of a BuildKit Dockerfile; they mean nothing elsewhere.
    pub buildkit_options: Vec<(String, String)>,
}

/// Files to copy in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Copy {
    /// Where they are.
    pub from: Source,
    /// What to copy.
    pub src: Vec<String>,
    /// Where to: a directory to copy into if it ends in `/`, else the new name of the one thing.
    pub dst: String,
    /// Base names that are left out at any depth.
    pub exclude: Vec<String>,
}

/// What a copy copies from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Source {
    /// The directory that came with the spec.
    #[default]
    Context,
    /// All files of a nested build.
    Build(Name),
}

/// Who runs commands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum User {
    /// By numbers.
    Unix {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
    },
    /// By name, as Windows and FreeBSD want it.
    Named(String),
}

impl Run {
    /// A command without caches, network and secrets.
    pub fn new(shell: impl Into<String>) -> Self {
        Self {
            shell: shell.into(),
            ..Self::default()
        }
    }
}

impl Mount {
    /// A cache.
    pub fn cache(id: impl Into<String>, target: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            target: target.into(),
            buildkit_options: Vec::new(),
        }
    }

    /// A secret at its usual place, `/run/secrets/ID`. Written specs name the place themselves.
    pub fn secret(id: impl Into<String>) -> Self {
        let id = id.into();
        let target = format!("/run/secrets/{id}");
        Self::cache(id, target)
    }
}

impl Copy {
    /// A copy from the directory that came with the spec, with nothing left out.
    pub fn new(src: Vec<String>, dst: impl Into<String>) -> Self {
        Self {
            from: Source::Context,
            src,
            dst: dst.into(),
            exclude: Vec::new(),
        }
    }
}

impl User {
    /// The highest number of a user or group: the one above stands for "none" in Linux.
    pub const ID_MAX: u32 = u32::MAX - 1;
    /// Who runs commands on Unix where the spec does not say.
    pub const ROOT: Self = Self::Unix { uid: 0, gid: 0 };
    /// The name of the user that runs commands on Windows where the spec does not say.
    pub const WINDOWS_ROOT: &str = "ContainerAdministrator";

    /// Whether this is the one that runs commands where the spec does not say.
    #[must_use]
    pub fn is_root(&self) -> bool {
        match self {
            Self::Unix { uid, gid } => *uid == 0 && *gid == 0,
            Self::Named(name) => name == Self::WINDOWS_ROOT,
        }
    }
}

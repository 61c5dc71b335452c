//! What a caller asks for: one command, its root, its limits.
//!
//! Owns the checks that need no disk. What only the disk can tell (a missing layer, a store
//! that others can enter) is found by the helper. Never touches anything itself.

use std::{
    fmt,
    path::{Component, Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::{
    ARGS_MAX, BINDS_MAX, ENV_MAX, HOSTNAME_MAX, ID_COUNT, LAYERED_MAX, LOWERS_MAX, NAME_MAX,
    PATH_MAX, SECRETS_MAX,
};

mod bounds;
mod extras;
mod stacked;

pub use bounds::Limits;
pub use extras::{Layered, SecretBytes, SecretFile};
pub use stacked::{Image, Mounts};

/// Why a [`Spec`] was refused; nothing was started.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum SpecError {
    /// A job's name or a tag that is empty, too long, or not of `[a-z0-9-]`.
    #[error("read the name {0:?}: 1 to 64 of a-z, 0-9 and '-'")]
    Name(String),
    /// A host name that is empty, too long, or not of `[a-z0-9-]`.
    #[error("use the host name {0:?}: 1 to 63 of a-z, 0-9 and '-'")]
    Hostname(String),
    /// A string that the kernel would cut short.
    #[error("pass {0:?}: it holds a NUL byte")]
    Nul(String),
    /// No command.
    #[error("start nothing: the command is empty")]
    EmptyCommand,
    /// A variable's name that is empty or holds `=`.
    #[error("set the variable {0:?}: a name is not empty and has no '='")]
    Variable(String),
    /// More of something than its bound.
    #[error("take {count} {what}: at most {max}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many were asked for.
        count: usize,
        /// The bound.
        max: usize,
    },
    /// A path that is not of the wanted form.
    #[error("use the {what} {path:?}: {rule}")]
    Path {
        /// What the path is for.
        what: &'static str,
        /// The path at fault.
        path: PathBuf,
        /// What it must be.
        rule: &'static str,
    },
    /// A number outside of its range.
    #[error("set {what} to {value}: {rule}")]
    Number {
        /// What the number is for.
        what: &'static str,
        /// The number at fault.
        value: u64,
        /// What it must be.
        rule: &'static str,
    },
}

/// Name of a job, unique among the running jobs of a node; also of a node's tag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobName(String);

impl JobName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for JobName {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        if is_name(text, NAME_MAX) {
            Ok(Self(text.to_owned()))
        } else {
            Err(SpecError::Name(text.chars().take(NAME_MAX).collect()))
        }
    }
}

impl TryFrom<String> for JobName {
    type Error = SpecError;

    fn try_from(text: String) -> Result<Self, SpecError> {
        text.parse()
    }
}

impl From<JobName> for String {
    fn from(name: JobName) -> Self {
        name.0
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The directories that become `/`. Owners on disk are as seen inside (0, 1000, ...).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Holds the layers. It must not be reachable by other users of the host: a layer may hold
    /// set-user-id files of root.
    pub store: PathBuf,
    /// Layers relative to `store`, the bottom one first.
    pub lowers: Vec<PathBuf>,
    /// Takes what the job writes; relative to `store`, or absolute. Its own owner and mode are
    /// those of `/`.
    pub upper: PathBuf,
    /// Empty directory on the same file system as `upper`; relative or absolute like it. What the
    /// overlay leaves there goes with it: each job has one of its own.
    pub work: PathBuf,
}

/// One more directory or file of the host, visible inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Absolute path on the host. Owners are mapped as in the layers.
    pub source: PathBuf,
    /// Absolute path inside; made where no layer has it, outside of the upper directory unless
    /// some layer has deleted and made anew a directory above it.
    pub target: PathBuf,
    /// Whether the job may not write to it.
    pub read_only: bool,
}

/// What a job reaches beyond itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Network {
    /// A loopback interface of its own and nothing else.
    #[default]
    None,
    /// The same, and a socket that listens on its loopback, at [`crate::GATE_PORT`], which whoever
    /// starts the job takes with [`crate::Running::take_gate`] to serve a proxy on it.
    Gate,
}

/// One command and everything it runs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// For people: shows in the process table.
    pub job: JobName,
    /// The directories that become `/`.
    pub root: Root,
    /// What stands for the lowest of its layers.
    pub image: Option<Image>,
    /// How they are mounted.
    pub mounts: Mounts,
    /// More of the host's directories.
    pub binds: Vec<Bind>,
    /// Directories inside that have layers of their own.
    pub layered: Vec<Layered>,
    /// Files inside that are nowhere else.
    pub secrets: Vec<SecretFile>,
    /// The command; without a slash it is looked for in `PATH` of `env`.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Working directory; made (as root, 0755) if it is missing.
    pub cwd: PathBuf,
    /// User inside.
    pub uid: u32,
    /// Group inside.
    pub gid: u32,
    /// Host name inside.
    pub hostname: String,
    /// What the job reaches.
    pub network: Network,
    /// Its bounds.
    pub limits: Limits,
    /// The host's user id of user 0 inside; 65,536 ids from here belong to this job alone while it
    /// runs. Without root all jobs have the same ids, those of their node's own namespace. Whoever
    /// starts the job gives it its ids; what a caller says is nothing.
    pub(crate) id_base: u32,
    /// Whether its node is not root. Found out by whoever starts the job; what a caller says is
    /// nothing.
    pub(crate) rootless: bool,
    /// Whether set-user-id programs (sudo) work inside. The user they gain is still a user of
    /// the job's own range.
    pub setuid_inside: bool,
    /// Whether `/tmp`, `/var/tmp` and `/run` are empty, in memory, and gone after the job. If not,
    /// they are directories of the root as all others are.
    pub scratch: bool,
}

impl Spec {
    /// A command run by root in `/`, without network, under the usual limits.
    pub fn new(job: JobName, root: Root, argv: Vec<String>) -> Self {
        let env = [
            (
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ),
            ("HOME", "/root"),
        ];
        Self {
            job,
            root,
            image: None,
            mounts: Mounts::Best,
            binds: Vec::new(),
            layered: Vec::new(),
            secrets: Vec::new(),
            argv,
            env: env.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec(),
            cwd: PathBuf::from("/"),
            uid: 0,
            gid: 0,
            hostname: "builder".to_owned(),
            network: Network::None,
            limits: Limits::default(),
            id_base: 0,
            rootless: false,
            setuid_inside: false,
            scratch: true,
        }
    }

    /// Everything that can be known to be wrong without looking at the disk.
    pub fn check(&self) -> Result<(), SpecError> {
        self.check_command()?;
        self.check_root()?;
        at_most("binds", self.binds.len(), BINDS_MAX)?;
        for bind in &self.binds {
            absolute("bind source", &bind.source)?;
            check_target("bind target", &bind.target)?;
        }
        at_most("layered directories", self.layered.len(), LAYERED_MAX)?;
        self.layered.iter().try_for_each(Layered::check)?;
        at_most("secrets", self.secrets.len(), SECRETS_MAX)?;
        self.secrets.iter().try_for_each(SecretFile::check)?;
        self.check_numbers()?;
        if is_name(&self.hostname, HOSTNAME_MAX) {
            Ok(())
        } else {
            Err(SpecError::Hostname(
                self.hostname.chars().take(HOSTNAME_MAX).collect(),
            ))
        }
    }

    fn check_command(&self) -> Result<(), SpecError> {
        at_most("arguments", self.argv.len(), ARGS_MAX)?;
        at_most("variables", self.env.len(), ENV_MAX)?;
        if self.argv.first().is_none_or(String::is_empty) {
            return Err(SpecError::EmptyCommand);
        }
        self.argv.iter().try_for_each(|arg| no_nul(arg))?;
        for (name, value) in &self.env {
            no_nul(name)?;
            no_nul(value)?;
            if name.is_empty() || name.contains('=') {
                return Err(SpecError::Variable(name.clone()));
            }
        }
        absolute("working directory", &self.cwd)
    }

    fn check_root(&self) -> Result<(), SpecError> {
        let root = &self.root;
        absolute("store", &root.store)?;
        at_most("layers", root.lowers.len(), LOWERS_MAX)?;
        root.lowers
            .iter()
            .try_for_each(|lower| relative("layer", lower))?;
        if let Some(image) = &self.image {
            image.check(root.lowers.len())?;
        }
        for (what, path) in [
            ("upper directory", &root.upper),
            ("work directory", &root.work),
        ] {
            if path.is_absolute() {
                absolute(what, path)
            } else {
                relative(what, path)
            }?;
        }
        let (upper, work) = (root.store.join(&root.upper), root.store.join(&root.work));
        if upper.starts_with(&work) || work.starts_with(&upper) {
            let rule = "upper and work are two directories, neither inside the other";
            return Err(SpecError::Path {
                what: "work directory",
                path: work,
                rule,
            });
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), SpecError> {
        number("uid", self.uid.into(), self.uid < ID_COUNT, "below 65536")?;
        number("gid", self.gid.into(), self.gid < ID_COUNT, "below 65536")?;
        self.limits.check()
    }
}

fn check_target(what: &'static str, target: &Path) -> Result<(), SpecError> {
    absolute(what, target)?;
    let rule = "not '/', and not in /proc, /sys or /dev";
    let ours = ["/proc", "/sys", "/dev"]
        .iter()
        .any(|own| target.starts_with(own));
    if ours || target == Path::new("/") {
        return Err(SpecError::Path {
            what,
            path: target.to_owned(),
            rule,
        });
    }
    Ok(())
}

fn is_name(text: &str, max: usize) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.len() <= max && text.bytes().all(fits)
}

fn at_most(what: &'static str, count: usize, max: usize) -> Result<(), SpecError> {
    if count <= max {
        Ok(())
    } else {
        Err(SpecError::TooMany { what, count, max })
    }
}

fn number(what: &'static str, value: u64, fits: bool, rule: &'static str) -> Result<(), SpecError> {
    if fits {
        Ok(())
    } else {
        Err(SpecError::Number { what, value, rule })
    }
}

fn no_nul(text: &str) -> Result<(), SpecError> {
    if text.contains('\0') {
        Err(SpecError::Nul(text.to_owned()))
    } else {
        Ok(())
    }
}

/// Absolute, without `.`, `..` or doubled slashes, so that prefixes can be compared.
fn absolute(what: &'static str, path: &Path) -> Result<(), SpecError> {
    let mut parts = path.components();
    let rooted = parts.next() == Some(Component::RootDir);
    plain(
        what,
        path,
        rooted && parts.all(is_normal),
        "absolute, without '.' and '..'",
    )
}

fn relative(what: &'static str, path: &Path) -> Result<(), SpecError> {
    let named = path.components().next().is_some();
    let rule = "relative to the store, without '.' and '..'";
    plain(what, path, named && path.components().all(is_normal), rule)
}

fn is_normal(part: Component<'_>) -> bool {
    matches!(part, Component::Normal(_))
}

fn plain(what: &'static str, path: &Path, fits: bool, rule: &'static str) -> Result<(), SpecError> {
    let Some(text) = path.to_str() else {
        let rule = "valid UTF-8";
        return Err(SpecError::Path {
            what,
            path: path.to_owned(),
            rule,
        });
    };
    no_nul(text)?;
    // `components` forgives `a//b`, `a/.` and `a/`: only the one canonical form is taken.
    let canonical = path.components().as_path() == path
        && path.components().collect::<PathBuf>().as_os_str() == path.as_os_str();
    if fits && canonical && text.len() <= PATH_MAX {
        Ok(())
    } else {
        Err(SpecError::Path {
            what,
            path: path.to_owned(),
            rule,
        })
    }
}

#[cfg(test)]
mod tests;

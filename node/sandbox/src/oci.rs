//! The second [`Sandbox`] that runs commands: each is started by an OCI runtime of the host, such as
//! runc or crun.
//!
//! Everything around the command is as for the launcher, by the same code: the supervisor, init, the
//! root with its layers, binds, secrets and devices, the network with its gate, control groups and
//! limits. Init then hands the finished root to the runtime as a bundle, and the runtime makes the
//! user namespace, drops capabilities, installs the system call filter and starts the command, which
//! init buries. The bundle and the runtime's own state lie in init's private mounts: they are gone
//! with it, however it ends. Of a job nothing can stay behind but an empty control group, which the
//! next start removes.
//!
//! What a runtime cannot do is said before anything starts: see [`OciError`] and [`Error::Refused`].

use std::{
    fmt,
    path::{Path, PathBuf},
};

use thiserror::Error as ThisError;

use crate::{
    cgroup,
    launcher::Launcher,
    limits::{RUNTIME_MEMORY_MIN, RUNTIME_PIDS},
    rights::Rights,
    sandbox::{Error, Running, Sandbox},
    spec::{JobName, Limits, Spec},
};

pub(crate) mod bundle;
mod calls;
pub(crate) mod groups;
mod version;

/// Where a runtime is looked for by its name: the usual places, whatever the environment says.
const PLACES: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Why an OCI runtime is of no use.
#[derive(Debug, ThisError)]
pub enum OciError {
    /// A name that no program of the host has.
    #[error(
        "find the OCI runtime {0:?}: it is not installed; on Debian `apt-get install runc` brings one"
    )]
    Absent(String),
    /// Not a name, and not an absolute path of a program.
    #[error("use {0:?} as OCI runtime: give runc, crun or the absolute path of such a program")]
    Name(String),
    /// The node is an ordinary user's.
    #[error(
        "have the OCI runtime {0} start jobs: that needs root of the host; start the node as root, or with its own sandbox"
    )]
    Rootless(String),
    /// It does not answer as a runtime does.
    #[error("ask {program} for its version: {what}")]
    Version {
        /// The program.
        program: PathBuf,
        /// What it did instead.
        what: String,
    },
    /// The helper would not take it.
    #[error("use an OCI runtime")]
    Helper(#[from] Error),
}

/// What differs between runtimes in how they are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// runc and what is called like it: it wants a control group of its own for devices.
    Runc,
    /// crun: it can leave control groups alone.
    Crun,
}

/// The runtime as a helper knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) dialect: Dialect,
}

impl Program {
    /// As bytes of an order to the helper.
    fn encode(&self) -> Vec<u8> {
        let dialect = match self.dialect {
            Dialect::Runc => b'r',
            Dialect::Crun => b'c',
        };
        let path = self.path.as_os_str().as_encoded_bytes();
        [dialect].iter().chain(path).copied().collect()
    }

    /// Reads an order.
    pub(crate) fn decode(order: &[u8]) -> Option<Self> {
        let (dialect, path) = order.split_first()?;
        let dialect = match dialect {
            b'r' => Dialect::Runc,
            b'c' => Dialect::Crun,
            _ => return None,
        };
        let path = PathBuf::from(std::str::from_utf8(path).ok()?);
        path.is_absolute().then_some(Self { path, dialect })
    }

    /// The name that it shows.
    pub(crate) fn name(&self) -> &str {
        let name = self.path.file_name().and_then(|name| name.to_str());
        name.unwrap_or("the OCI runtime")
    }
}

/// Starts jobs through a helper whose commands an OCI runtime starts. Dropping it ends all of them.
#[derive(Debug)]
pub struct OciRuntime {
    launcher: Launcher,
    program: Program,
    version: String,
}

impl OciRuntime {
    /// Finds the program that a person means: `runc`, `crun` or an absolute path.
    ///
    /// # Errors
    /// If there is none.
    pub fn find(name: &str) -> Result<PathBuf, OciError> {
        let path = Path::new(name);
        if path.is_absolute() {
            let found = path.is_file().then(|| path.to_owned());
            return found.ok_or_else(|| OciError::Absent(name.to_owned()));
        }
        if name.is_empty() || name.contains('/') {
            return Err(OciError::Name(name.to_owned()));
        }
        let found = PLACES.iter().map(|dir| Path::new(dir).join(name));
        let mut found = found.filter(|path| path.is_file());
        found
            .next()
            .ok_or_else(|| OciError::Absent(name.to_owned()))
    }

    /// Has all later jobs of a launcher started by this program.
    ///
    /// # Errors
    /// If the program does not say which runtime it is, or the helper is gone.
    pub fn new(launcher: Launcher, program: &Path) -> Result<Self, OciError> {
        let wrong = |what: String| OciError::Version {
            program: program.to_owned(),
            what,
        };
        if !program.is_absolute() || program.to_str().is_none() {
            return Err(OciError::Name(program.display().to_string()));
        }
        if Rights::own() != Rights::Root {
            return Err(OciError::Rootless(program.display().to_string()));
        }
        let version = version::ask(program).map_err(wrong)?;
        let dialect = version::dialect(&version);
        let program = Program {
            path: program.to_owned(),
            dialect,
        };
        launcher.use_runtime(&program.encode())?;
        Ok(Self {
            launcher,
            program,
            version,
        })
    }

    /// Takes over a tag, as [`Launcher::clean`] does.
    ///
    /// # Errors
    /// If a leftover cannot be removed, or the helper is gone.
    pub fn clean(&self, tag: &JobName) -> Result<usize, Error> {
        let groups = cgroup::clean_foreign(tag).map_err(|source| Error::Io {
            what: "clean old control groups of an OCI runtime",
            source,
        })?;
        Ok(groups + self.launcher.clean(tag)?)
    }

    /// What the program says that it is, such as `runc version 1.1.5`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Process id of the helper, for whoever watches over the node.
    pub fn helper_id(&self) -> u32 {
        self.launcher.helper_id()
    }
}

impl fmt::Display for OciRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.program.path.display(), self.version)
    }
}

impl Sandbox for OciRuntime {
    fn start(&self, spec: &Spec) -> Result<Running, Error> {
        spec.check()?;
        refuse(&self.program, &spec.limits)?;
        self.launcher.start(spec)
    }
}

/// What no runtime can do, told before anything starts.
fn refuse(program: &Program, limits: &Limits) -> Result<(), Error> {
    if limits.memory_bytes >= RUNTIME_MEMORY_MIN {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "{} MiB of memory are too few for a job under {}: its own start takes up to {} MiB within \
         the job's limit; allow the job that much, or use the node's own sandbox",
        limits.memory_bytes >> 20,
        program.name(),
        RUNTIME_MEMORY_MIN >> 20,
    )))
}

/// The limits while the runtime itself is at work in the job's control groups.
pub(crate) fn roomy(limits: &Limits) -> Limits {
    Limits {
        pids: limits.pids.saturating_add(RUNTIME_PIDS),
        ..*limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_survives_the_way_to_the_helper() {
        for dialect in [Dialect::Runc, Dialect::Crun] {
            let program = Program {
                path: "/usr/sbin/runc".into(),
                dialect,
            };
            assert_eq!(Program::decode(&program.encode()), Some(program));
        }
        for wrong in [&b""[..], b"r", b"rrunc", b"x/usr/sbin/runc", b"r/\xff"] {
            assert_eq!(Program::decode(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_runtime_is_found_by_a_name_or_a_whole_path() {
        assert!(matches!(OciRuntime::find("/bin/sh"), Ok(path) if path == Path::new("/bin/sh")));
        assert!(OciRuntime::find("sh").is_ok());
        for name in ["", "./runc", "../runc", "bin/runc"] {
            assert!(
                matches!(OciRuntime::find(name), Err(OciError::Name(_))),
                "{name:?}"
            );
        }
        for name in ["no-such-runtime", "/no/such/runtime", "/etc"] {
            let told = OciRuntime::find(name).unwrap_err().to_string();
            assert!(
                told.contains(name) && told.contains("apt-get install runc"),
                "{told}"
            );
        }
    }

    #[test]
    fn too_little_memory_for_the_runtime_is_refused_by_name() {
        let program = Program {
            path: "/usr/sbin/runc".into(),
            dialect: Dialect::Runc,
        };
        let limits = Limits {
            memory_bytes: RUNTIME_MEMORY_MIN - 1,
            ..Limits::default()
        };
        let Err(Error::Refused(told)) = refuse(&program, &limits) else {
            panic!("taken");
        };
        assert!(told.contains("runc") && told.contains("MiB"), "{told}");
        assert!(refuse(&program, &Limits::default()).is_ok());
    }
}

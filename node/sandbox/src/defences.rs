//! The independent defences of a cell, and which of them a helper is started without.
//!
//! A helper has all of them. Only who starts one (the corpus of attempts, the benchmarks) can leave
//! some out, by an argument of its process: no message of a job is ever looked at for it. Owns
//! nothing; each defence is put up where it belongs.

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::{
    limits::WALL_MS_MAX,
    spec::{Limits, Spec},
    sys,
};

/// Bounds that bound nothing: what the kernel takes as numbers and no job reaches.
const ROOM: u64 = 1 << 50;
const PROCESSES: u64 = 1 << 22;

/// The name of an argument of the helper, with the names of what it is to leave out.
const ARGUMENT: &str = "without=";

/// Why a helper could not be told what to leave out.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum DefenceError {
    /// A name that no defence has.
    #[error("find the defence {0:?}: there is none of this name")]
    Unknown(String),
    /// An argument of another kind.
    #[error("understand the argument {0:?}: a helper takes only without=NAME,NAME")]
    Argument(String),
}

macro_rules! defences {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal,)+) => {
        /// One defence, that stands whether or not the others do.
        ///
        /// Each says what it is, and what is there *without* it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Defence {
            $($(#[$doc])+ $variant,)+
        }

        impl Defence {
            /// All of them, in the order in which a job meets them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name, for people and for the helper's argument.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

defences! {
    /// Root inside is a user of the job's own range. Without: the host's root, and the ids inside
    /// are those of the host.
    UserNamespace = "user-namespace",
    /// Processes of its own, which all die with the first. Without: it sees and signals the host's,
    /// and what it leaves behind lives on.
    PidNamespace = "pid-namespace",
    /// A mount namespace that holds only the job's root. Without: the root is entered by `chroot`
    /// alone, with all mounts of the host behind it.
    OwnRoot = "own-root",
    /// A loopback interface of its own. Without: the host's network.
    NetworkNamespace = "network-namespace",
    /// Queues, semaphores and shared memory of its own. Without: the host's.
    IpcNamespace = "ipc-namespace",
    /// A host name of its own. Without: the host's, which then stays as it is.
    HostNameNamespace = "host-name-namespace",
    /// Its control group shows as `/`. Without: its place among the host's shows.
    CgroupNamespace = "cgroup-namespace",
    /// A session keyring of its own, empty. Without: the one that the node was started with.
    OwnKeyring = "own-keyring",
    /// A list of allowed system calls. Without: all of them.
    SystemCallFilter = "system-call-filter",
    /// Files only beneath the job's root, no new device files, no signals or abstract sockets out of
    /// the job. Without: none of Landlock.
    Landlock = "landlock",
    /// Few capabilities, within the job's users. Without: all of its user namespace, or of the host
    /// where it has none.
    Capabilities = "capabilities",
    /// Set-user-id programs gain nothing, unless the job is of those that may. Without: they do, in
    /// every job.
    NoNewPrivileges = "no-new-privileges",
    /// What of `/proc` tells about the host is hidden, what changes the host is read-only. Without:
    /// neither.
    CoveredProc = "covered-proc",
    /// A `/dev` of six harmless devices and private terminals and memory. Without: the host's `/dev`.
    OwnDevices = "own-devices",
    /// Device files of layers, binds and caches are dead. Without: they work as on the host.
    DeadDeviceFiles = "dead-device-files",
    /// `/sys` is empty and read-only. Without: the kernel's, writable.
    EmptySys = "empty-sys",
    /// The command gets three descriptors and no others. Without: it also gets one of the host's `/`
    /// that init holds open by mistake.
    ClosedDescriptors = "closed-descriptors",
    /// Init cannot be looked at from inside. Without: it is as any process of root.
    HiddenInit = "hidden-init",
    /// No process leaves a core dump. Without: as the host has it.
    NoCoreDumps = "no-core-dumps",
    /// `/tmp`, `/var/tmp` and `/run` are the job's own (where its spec has them as scratch). Without:
    /// `/tmp` and `/var/tmp` are the host's `/tmp`.
    PrivateScratch = "private-scratch",
    /// Open files, locked memory, queues and priorities of a process are bounded. Without: as the
    /// host has it.
    ProcessLimits = "process-limits",
    /// Memory of all processes together, and the job dies first where the host has none left.
    /// Without: all that the host has.
    MemoryLimit = "memory-limit",
    /// Processes of the job together. Without: all that the host has.
    ProcessCountLimit = "process-count-limit",
    /// Processor time, per time and as a whole. Without: none is counted.
    ProcessorLimit = "processor-limit",
    /// Time from start to kill. Without: a week.
    WallClockLimit = "wall-clock-limit",
    /// Bytes on the disk. Without: all that the host has.
    DiskLimit = "disk-limit",
    /// Files on the disk. Without: all that the host has.
    InodeLimit = "inode-limit",
}

impl fmt::Display for Defence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Defence {
    type Err = DefenceError;

    fn from_str(text: &str) -> Result<Self, DefenceError> {
        let found = Self::ALL.iter().find(|defence| defence.name() == text);
        found
            .copied()
            .ok_or_else(|| DefenceError::Unknown(text.to_owned()))
    }
}

/// A set of defences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Defences(u64);

impl Defences {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// All of them.
    pub fn all() -> Self {
        Defence::ALL.iter().copied().collect()
    }

    /// This one alone.
    pub fn only(defence: Defence) -> Self {
        Self::NONE.with(defence)
    }

    /// All others than this one.
    pub fn all_but(defence: Defence) -> Self {
        Self(Self::all().0 & !Self::only(defence).0)
    }

    /// This set and one more.
    #[must_use]
    pub fn with(self, defence: Defence) -> Self {
        Self(self.0 | 1 << defence as u8)
    }

    /// Whether it is in the set.
    pub fn has(self, defence: Defence) -> bool {
        self.0 & Self::only(defence).0 != 0
    }

    /// Whether the set has none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those of the set, in the order of [`Defence::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Defence> {
        let all = Defence::ALL.iter().copied();
        all.filter(move |defence| self.has(*defence))
    }

    /// The argument that starts a helper without these; none where it is to have all.
    pub(crate) fn argument(self) -> Option<String> {
        let names: Vec<&str> = self.iter().map(Defence::name).collect();
        (!names.is_empty()).then(|| format!("{ARGUMENT}{}", names.join(",")))
    }

    /// What the arguments of a helper after the first ask to leave out. What is not understood is an
    /// error: a helper with more or fewer defences than somebody counts on must not start.
    pub(crate) fn from_arguments<'a>(
        mut arguments: impl Iterator<Item = &'a str>,
    ) -> Result<Self, DefenceError> {
        let Some(first) = arguments.next() else {
            return Ok(Self::NONE);
        };
        if let Some(more) = arguments.next() {
            return Err(DefenceError::Argument(more.to_owned()));
        }
        let names = first
            .strip_prefix(ARGUMENT)
            .ok_or_else(|| DefenceError::Argument(first.to_owned()))?;
        names.split(',').map(str::parse).collect()
    }

    /// The new namespaces of init, but that of its users, without those of this set.
    pub(crate) fn namespaces_left(self) -> u64 {
        let flags = [
            (Defence::PidNamespace, libc::CLONE_NEWPID),
            (Defence::NetworkNamespace, libc::CLONE_NEWNET),
            (Defence::IpcNamespace, libc::CLONE_NEWIPC),
            (Defence::HostNameNamespace, libc::CLONE_NEWUTS),
            (Defence::CgroupNamespace, libc::CLONE_NEWCGROUP),
        ];
        let out = flags.iter().filter(|(defence, _)| self.has(*defence));
        out.fold(sys::NAMESPACES, |all, (_, flag)| all & !(*flag as u64))
    }

    /// What of this set is a matter of the job's own numbers, in a job that was checked.
    pub(crate) fn loosen(self, spec: &mut Spec) {
        if self.has(Defence::UserNamespace) {
            spec.id_base = 0;
        }
        if self.has(Defence::NoNewPrivileges) {
            spec.setuid_inside = true;
        }
        self.loosen_limits(&mut spec.limits);
    }

    fn loosen_limits(self, limits: &mut Limits) {
        if self.has(Defence::MemoryLimit) {
            limits.memory_bytes = ROOM;
        }
        if self.has(Defence::ProcessCountLimit) {
            limits.pids = PROCESSES;
        }
        if self.has(Defence::ProcessorLimit) {
            (limits.cpu_millis, limits.cpu_ms) = (None, None);
        }
        if self.has(Defence::WallClockLimit) {
            limits.wall_ms = WALL_MS_MAX;
        }
        if self.has(Defence::DiskLimit) {
            limits.disk_bytes = ROOM;
        }
        if self.has(Defence::InodeLimit) {
            limits.inodes = ROOM;
        }
    }
}

impl FromIterator<Defence> for Defences {
    fn from_iter<I: IntoIterator<Item = Defence>>(defences: I) -> Self {
        defences.into_iter().fold(Self::NONE, Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_survives_the_way_through_an_argument() {
        let sets = Defence::ALL
            .iter()
            .flat_map(|d| [Defences::only(*d), Defences::all_but(*d)])
            .chain([Defences::all(), Defences::NONE]);
        for set in sets {
            let argument = set.argument();
            let read = Defences::from_arguments(argument.as_deref().into_iter());
            assert_eq!(read, Ok(set));
        }
        assert_eq!(Defences::NONE.argument(), None);
    }

    #[test]
    fn an_argument_that_is_not_understood_is_refused() {
        for wrong in [
            "without=",
            "without=landlock,",
            "without=nothing",
            "with=landlock",
            "",
        ] {
            assert!(
                Defences::from_arguments([wrong].into_iter()).is_err(),
                "{wrong:?}"
            );
        }
        let twice = ["without=landlock", "without=own-root"];
        assert!(Defences::from_arguments(twice.into_iter()).is_err());
    }

    #[test]
    fn names_are_distinct_and_fit_into_the_set() {
        let mut names: Vec<&str> = Defence::ALL.iter().map(|d| d.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Defence::ALL.len());
        assert!(names.len() <= 64);
        assert_eq!(Defences::all().iter().count(), names.len());
    }

    #[test]
    fn only_what_is_left_out_makes_no_namespace() {
        let all = Defences::NONE.namespaces_left();
        let without = Defences::only(Defence::PidNamespace).namespaces_left();
        assert_eq!(all & !without, libc::CLONE_NEWPID as u64);
        assert_eq!(Defences::all().namespaces_left(), sys::MOUNTS);
    }
}

//! What a node can promise of its jobs on this host: per defence and limit who keeps it, or what is
//! missing and what to do.
//!
//! Without some things no job can run: they are a [`Missing`]. The others can be done without,
//! by name and by an operator's word only: [`Promises::unaccepted`] is what is still to be said.
//! Nothing here puts up a defence; [`Promises::of`] only judges what [`crate::probe`] has found, and
//! [`trial`] runs a job to see that what was found is there. Never makes less of a promise by itself.

use std::fmt;

use crate::{
    defences::{Defence, Defences},
    probe::{Abilities, Missing},
};

mod trial;

pub use trial::trial;
pub(crate) use trial::trial_of;

/// A promise that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What is promised.
    pub name: &'static str,
    /// What keeps it, for people.
    pub by: String,
}

/// A defence or limit that this host does not have and that jobs can do without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// Which. Its name is what an operator accepts.
    pub defence: Defence,
    /// What there is in its place.
    pub instead: &'static str,
    /// How to get it.
    pub remedy: &'static str,
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            defence,
            instead,
            remedy,
        } = self;
        write!(f, "no {defence}: {instead}; {remedy}")
    }
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promises {
    /// What starts the commands: `own`, or what an OCI runtime says that it is.
    pub runtime: String,
    /// What is kept, in the order in which a job meets it.
    pub kept: Vec<Kept>,
    /// What is not.
    pub lacking: Vec<Lacking>,
}

/// The name of the node's own way to start commands.
const OWN: &str = "own";
/// The same, without root's rights.
const OWN_ROOTLESS: &str = "own, rootless";
const MOUNT_GROUPS: &str = "mount control groups, and have the node started in a group that is its \
                            own (a systemd service with Delegate=yes)";
const COUNT_SWAP: &str = "turn swap off with swapoff -a, or boot with swapaccount=1";

impl Promises {
    /// The defences that jobs can do without, where an operator says so.
    pub const OPTIONAL: [Defence; 4] = [
        Defence::Landlock,
        Defence::MemoryLimit,
        Defence::ProcessCountLimit,
        Defence::ProcessorLimit,
    ];

    /// What these abilities are worth. `runtime` is what an OCI runtime says that it is, where one
    /// starts the commands.
    #[must_use]
    pub fn of(abilities: &Abilities, runtime: Option<&str>) -> Self {
        let own = if abilities.rootless {
            OWN_ROOTLESS
        } else {
            OWN
        };
        let mut promises = Self {
            runtime: runtime.unwrap_or(own).to_owned(),
            kept: Vec::new(),
            lacking: Vec::new(),
        };
        promises.isolation(abilities, runtime);
        promises.limits(abilities);
        promises
    }

    fn isolation(&mut self, abilities: &Abilities, runtime: Option<&str>) {
        let ids = if abilities.rootless {
            "subordinate ids of the user who runs the node, the same for all of its jobs"
        } else {
            "a range of ids for each job"
        };
        self.keeps(Defence::UserNamespace.name(), ids);
        self.keeps("own-root", "an overlay of layers in mounts of its own");
        let spaces = "processes, network, IPC, host name and control groups of its own";
        self.keeps("namespaces", spaces);
        let filter = match runtime {
            None => "seccomp".to_owned(),
            Some(runtime) => format!("seccomp, installed by {runtime}"),
        };
        self.keeps(Defence::SystemCallFilter.name(), filter);
        match (runtime, abilities.landlock) {
            (None, 1..) => {
                let by = format!("Landlock, version {} of its interface", abilities.landlock);
                self.keeps(Defence::Landlock.name(), by);
            }
            (None, 0) => self.lacks(
                Defence::Landlock,
                "files are kept apart by mounts and owners alone",
                "add landlock to the kernel's lsm= parameter, or run a kernel from 5.19 on that \
                 has it",
            ),
            (Some(_), _) => self.lacks(
                Defence::Landlock,
                "files are kept apart by mounts and owners alone",
                "an OCI runtime does not use it; the node's own sandbox does",
            ),
        }
    }

    fn limits(&mut self, abilities: &Abilities) {
        let groups = format!("control groups ({})", abilities.cgroups);
        let (instead, remedy) = if abilities.memory_limit {
            (
                "what a job has in the host's swap is not bounded",
                COUNT_SWAP,
            )
        } else {
            let instead = "memory is bounded for each process of a job alone, not for all together";
            (instead, MOUNT_GROUPS)
        };
        let memory = abilities.memory_limit && abilities.swap_limit;
        let bounds = [
            (Defence::MemoryLimit, memory, instead, remedy),
            (
                Defence::ProcessCountLimit,
                abilities.pids_limit,
                "processes are counted for each user of a job alone",
                MOUNT_GROUPS,
            ),
            (
                Defence::ProcessorLimit,
                abilities.cpu_limit && abilities.cpu_count,
                "processor time is bounded by the wall clock alone",
                MOUNT_GROUPS,
            ),
        ];
        for (defence, kept, instead, remedy) in bounds {
            if kept {
                self.keeps(defence.name(), groups.clone());
            } else {
                self.lacks(defence, instead, remedy);
            }
        }
        let watched = "the job's supervisor";
        for defence in [
            Defence::DiskLimit,
            Defence::InodeLimit,
            Defence::WallClockLimit,
        ] {
            self.keeps(defence.name(), watched);
        }
    }

    fn keeps(&mut self, name: &'static str, by: impl Into<String>) {
        self.kept.push(Kept {
            name,
            by: by.into(),
        });
    }

    fn lacks(&mut self, defence: Defence, instead: &'static str, remedy: &'static str) {
        self.lacking.push(Lacking {
            defence,
            instead,
            remedy,
        });
    }

    /// What is lacking, without what an operator has accepted by name. A node that has any of it takes
    /// no jobs.
    #[must_use]
    pub fn unaccepted(&self, accepted: Defences) -> Vec<Lacking> {
        let open = self.lacking.iter();
        open.filter(|lack| !accepted.has(lack.defence))
            .cloned()
            .collect()
    }

    /// For claims: what started the command, and without what.
    #[must_use]
    pub fn profile(&self) -> String {
        let names: Vec<&str> = self
            .lacking
            .iter()
            .map(|lack| lack.defence.name())
            .collect();
        if names.is_empty() {
            return self.runtime.clone();
        }
        format!("{}, without {}", self.runtime, names.join(", "))
    }
}

/// Looks at the host, for a node that starts its jobs itself.
///
/// # Errors
/// The first thing without which no job can run.
pub fn look(runtime: Option<&str>) -> Result<Promises, Missing> {
    crate::probe().map(|abilities| Promises::of(&abilities, runtime))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Abilities = Abilities {
        cgroups: "v2",
        memory_limit: true,
        swap_limit: true,
        pids_limit: true,
        cpu_limit: true,
        cpu_count: true,
        rootless: false,
        landlock: 7,
    };

    fn lacking(abilities: &Abilities) -> Vec<Defence> {
        let promises = Promises::of(abilities, None);
        promises.lacking.iter().map(|lack| lack.defence).collect()
    }

    #[test]
    fn a_host_that_has_everything_lacks_nothing() {
        let promises = Promises::of(&ALL, None);
        assert_eq!(promises.lacking, []);
        assert_eq!(promises.profile(), "own");
        assert!(
            promises
                .kept
                .iter()
                .any(|kept| kept.by.contains("control groups (v2)"))
        );
        assert!(
            promises
                .kept
                .iter()
                .any(|kept| kept.by.contains("version 7"))
        );
    }

    #[test]
    fn each_lack_alone_is_named_with_what_to_do() {
        type Change = fn(&mut Abilities);
        let cases: [(Defence, Change); 6] = [
            (Defence::MemoryLimit, |a| a.memory_limit = false),
            (Defence::MemoryLimit, |a| a.swap_limit = false),
            (Defence::ProcessCountLimit, |a| a.pids_limit = false),
            (Defence::ProcessorLimit, |a| a.cpu_limit = false),
            (Defence::ProcessorLimit, |a| a.cpu_count = false),
            (Defence::Landlock, |a| a.landlock = 0),
        ];
        for (defence, change) in cases {
            let mut abilities = ALL;
            change(&mut abilities);
            assert_eq!(lacking(&abilities), [defence]);
            let promises = Promises::of(&abilities, None);
            let kept = |promise: &Kept| promise.name == defence.name();
            assert!(!promises.kept.iter().any(kept), "{defence}");
            let told = promises.lacking[0].to_string();
            assert!(told.starts_with(&format!("no {defence}: ")), "{told}");
            assert!(Promises::OPTIONAL.contains(&defence));
            assert_eq!(told.matches("; ").count(), 1, "{told}");
            assert_eq!(promises.profile(), format!("own, without {defence}"));
        }
    }

    #[test]
    fn only_what_was_named_is_accepted() {
        let mut abilities = ALL;
        (abilities.memory_limit, abilities.pids_limit) = (false, false);
        let promises = Promises::of(&abilities, None);
        assert_eq!(promises.unaccepted(Defences::NONE).len(), 2);
        let left = promises.unaccepted(Defences::only(Defence::MemoryLimit));
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].defence, Defence::ProcessCountLimit);
        let both = Defences::only(Defence::MemoryLimit).with(Defence::ProcessCountLimit);
        assert_eq!(promises.unaccepted(both), []);
        // What is accepted and not lacking changes nothing.
        assert_eq!(Promises::of(&ALL, None).unaccepted(both), []);
    }

    #[test]
    fn an_oci_runtime_promises_no_landlock() {
        let promises = Promises::of(&ALL, Some("runc version 1.1.5"));
        assert_eq!(promises.lacking.len(), 1);
        assert_eq!(promises.lacking[0].defence, Defence::Landlock);
        assert_eq!(promises.profile(), "runc version 1.1.5, without landlock");
    }
}

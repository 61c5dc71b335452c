//! Programs of other processors: which of them this host's kernel hands to an emulator.
//!
//! The kernel's list is `binfmt_misc`, in which packages like Debian's qemu-user-static register
//! themselves; it is asked here which programs an entry would take, not what it is called. An entry is
//! of use to jobs only if the kernel holds its interpreter open, for the path of it leads nowhere in
//! a job's root; that one the kernel starts with the rights of who registered it, so that Landlock is in
//! nobody's way. [`look`] reads; [`try_out`] has a job run a program of each processor, so that what
//! is offered has run. Never registers anything, and never offers this host's own processor.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use entry::Entry;

use crate::{
    cgroup::read_small,
    limits::EMULATORS_MAX,
    machine::{self, MACHINES, Machine},
    promises,
    sandbox::Sandbox,
};

mod entry;

/// Where the kernel shows its list.
const LIST: &str = "/proc/sys/fs/binfmt_misc";
/// What is in it beside the entries.
const STATUS: &str = "status";
const REGISTER: &str = "register";

/// Another processor whose programs run here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Emulated {
    /// opam's name of the architecture, as in platforms.
    pub arch: &'static str,
    /// What runs them.
    pub interpreter: PathBuf,
}

/// Another processor whose programs the kernel hands to an emulator, but not in jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// opam's name of the architecture.
    pub arch: &'static str,
    /// What is in the way.
    pub why: Why,
}

/// Why programs of another processor do not run in jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The kernel looks for the interpreter when a program starts: in the job's own root.
    NotHeldOpen {
        /// The path that it would look for.
        interpreter: PathBuf,
    },
    /// A trial job that was such a program did not end as it should.
    Trial {
        /// What was to run it.
        interpreter: PathBuf,
        /// What went wrong.
        what: String,
    },
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arch = self.arch;
        match &self.why {
            Why::NotHeldOpen { interpreter } => write!(
                f,
                "no jobs for {arch}: {} is registered without the flag F, and a job's root does not \
                 have it; register it again with that flag, as Debian's qemu-user-static does",
                interpreter.display()
            ),
            Why::Trial { interpreter, what } => write!(
                f,
                "no jobs for {arch}: {} does not run a program of it in a job: {what}; see whether \
                 it is whole and new enough for this kernel",
                interpreter.display()
            ),
        }
    }
}

/// All of it. No architecture is in it twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Emulation {
    /// What jobs can be of, in the order of their names.
    pub usable: Vec<Emulated>,
    /// What they cannot be of though something is registered, and why.
    pub unusable: Vec<Unusable>,
}

/// What the kernel's list promises. Runs nothing.
#[must_use]
pub fn look() -> Emulation {
    look_at(Path::new(LIST))
}

/// What holds of that in a job. `dir` is as for [`crate::trial`]: on the file system of the store,
/// private, and made and removed here.
#[must_use]
pub fn try_out(sandbox: &dyn Sandbox, dir: &Path) -> Emulation {
    let mut found = look();
    let candidates = std::mem::take(&mut found.usable);
    for Emulated { arch, interpreter } in candidates {
        let Some(machine) = MACHINES.iter().find(|machine| machine.arch == arch) else {
            continue;
        };
        match promises::trial_of(sandbox, dir, &machine.program()) {
            Ok(()) => found.usable.push(Emulated { arch, interpreter }),
            Err(what) => {
                let why = Why::Trial { interpreter, what };
                found.unusable.push(Unusable { arch, why });
            }
        }
    }
    found
}

fn look_at(list: &Path) -> Emulation {
    if read_small(&list.join(STATUS)).is_ok_and(|text| text.trim_end() != "enabled") {
        return Emulation::default();
    }
    let mut entries = entries(list);
    // Which of two the kernel takes is not told; one that works in jobs is hoped for first.
    entries.sort_by_key(|entry| !entry.held_open);
    let mut found = Emulation::default();
    for machine in MACHINES.iter().filter(|machine| !machine.is_here()) {
        let takes = |entry: &&Entry| {
            let kinds = [machine::FIXED, machine::MOVABLE];
            kinds
                .iter()
                .all(|kind| entry.takes(&machine.headers(*kind)))
        };
        let arch = machine.arch;
        match entries.iter().find(takes) {
            Some(entry) if entry.held_open => found.usable.push(Emulated {
                arch,
                interpreter: entry.interpreter.clone(),
            }),
            Some(entry) => found.unusable.push(Unusable {
                arch,
                why: Why::NotHeldOpen {
                    interpreter: entry.interpreter.clone(),
                },
            }),
            None => {}
        }
    }
    found.usable.sort();
    found
}

/// The entries that are on, without those that would take this host's own programs as well: such a
/// one says nothing of another processor.
fn entries(list: &Path) -> Vec<Entry> {
    let Ok(listed) = fs::read_dir(list) else {
        return Vec::new();
    };
    let own = Machine::here().map(|machine| machine.headers(machine::FIXED));
    listed
        .take(EMULATORS_MAX)
        .filter_map(Result::ok)
        .filter(|file| file.file_name() != STATUS && file.file_name() != REGISTER)
        .filter_map(|file| Entry::parse(&read_small(&file.path()).ok()?))
        .filter(|entry| !own.as_ref().is_some_and(|own| entry.takes(own)))
        .collect()
}

#[cfg(test)]
mod tests;

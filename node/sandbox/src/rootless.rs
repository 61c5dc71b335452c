//! Starting over as root of a user namespace, so that an ordinary user can run jobs.
//!
//! The user's subordinate ids become ids 0 to 65,535 inside, which are those of jobs and of the
//! layers' files; the user itself becomes 65,536 ([`NODE_ID`]), which is no job's. The maps are
//! written by newuidmap and newgidmap from outside, the process then replaces itself by the same
//! program with the same arguments, which finds itself with all rights over its own users, mounts
//! and processes and none over the host's. Mounts die with the last process inside.
//!
//! Everything here happens before there is a second thread. It changes nothing on the disk, and
//! either ends with all of it in place or says what is missing: there is no mode with less.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use ids::Extent;
pub use lack::Lack;
use rustix::{
    pipe::{PipeFlags, pipe_with},
    process::{Pid, getegid, geteuid},
    thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities},
};
use thiserror::Error;

use crate::{
    cgroup::read_small,
    limits::{ID_COUNT, RELAYED_MAX},
    rights::NODE_ID,
    sys,
};

mod ids;
mod lack;
mod trial;

/// Numbers of capabilities that a kernel may know of.
const CAPABILITY_BITS: u32 = 63;
/// Characters of a program's complaint that are told on.
const WORDS_MAX: usize = 400;
/// Where programs for every user are, whatever `PATH` says.
const PROGRAM_DIRS: [&str; 3] = ["/usr/bin", "/usr/local/bin", "/bin"];

/// Why this process did not get a namespace of its own.
#[derive(Debug, Error)]
pub enum RootlessError {
    /// Something that can be mended is missing.
    #[error("run jobs as user {user}, who is not root: {}", listed(.lacks))]
    Lacking {
        /// Who asked.
        user: u32,
        /// Everything that is known to be missing.
        lacks: Vec<Lack>,
    },
    /// It would be left half done.
    #[error("make a user namespace: this process has more than one thread")]
    Threads,
    /// newuidmap or newgidmap said no.
    #[error("give a namespace the subordinate ids of user {user}: {words}")]
    Refused {
        /// Who asked.
        user: u32,
        /// The program's words.
        words: String,
    },
    /// The system did not do what it should.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's words.
        #[source]
        source: io::Error,
    },
}

fn listed(lacks: &[Lack]) -> String {
    let lacks: Vec<String> = lacks.iter().map(Lack::to_string).collect();
    lacks.join("; ")
}

/// For `map_err`: names what was tried.
fn trouble<E: Into<io::Error>>(what: &str) -> impl FnOnce(E) -> RootlessError + '_ {
    move |source| RootlessError::Io {
        what: what.to_owned(),
        source: source.into(),
    }
}

/// Starts this program anew, with the same arguments, in a namespace of its own. For the start of
/// `main`, where [`crate::Rights::own`] are those of an ordinary user. Returns only if it cannot.
#[must_use]
pub fn restart_inside() -> RootlessError {
    let mut args = std::env::args_os();
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    command.args(args);
    run_inside(command)
}

/// Becomes another program in such a namespace. Returns only if it cannot.
#[must_use]
pub fn run_inside(mut command: Command) -> RootlessError {
    let entered = enter().map(|()| command.exec());
    match entered {
        Ok(source) => RootlessError::Io {
            what: format!("run {}", command.get_program().display()),
            source,
        },
        Err(error) => error,
    }
}

fn enter() -> Result<(), RootlessError> {
    let threads = fs::read_dir("/proc/self/task").map_err(trouble("count the threads"))?;
    if threads.count() != 1 {
        return Err(RootlessError::Threads);
    }
    let user = geteuid().as_raw();
    let plan = Plan::make(user)?;
    let helper = Outside::fork(&plan)?;
    if let Err(error) = sys::leave_users_and_mounts() {
        let lack = Lack::namespaces(&error);
        let lacks = vec![lack];
        return Err(RootlessError::Lacking { user, lacks });
    }
    helper.map(user)?;
    keep_rights()?;
    let lacks = trial::lacks()?;
    if lacks.is_empty() {
        Ok(())
    } else {
        Err(RootlessError::Lacking { user, lacks })
    }
}

/// What newuidmap and newgidmap are to be called with.
struct Plan([(PathBuf, Vec<Extent>); 2]);

impl Plan {
    fn make(user: u32) -> Result<Self, RootlessError> {
        let group = getegid().as_raw();
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let name = ids::name_of(&passwd, user).map_or_else(|| name_by_service(user), str::to_owned);
        let files = ["/etc/subuid", "/etc/subgid"];
        let texts = files.map(|file| read_small(Path::new(file)).unwrap_or_default());
        let mut lacks = Lack::of_this_process();
        let mut parts = Vec::new();
        let own = [("newuidmap", user), ("newgidmap", group)];
        for (index, (program, own)) in own.into_iter().enumerate() {
            let found = find(program);
            if found.is_none() {
                lacks.push(Lack::Program(program));
            }
            let mut ranges = ids::ranges(&texts[index], &name, user);
            if ranges.is_empty() {
                ranges = by_service(&name, index == 1);
            }
            match ids::map(&ranges) {
                Ok(mut map) => {
                    map.push(Extent {
                        inside: NODE_ID,
                        outside: own,
                        count: 1,
                    });
                    parts.extend(found.map(|found| (found, map)));
                }
                Err(count) => lacks.push(Lack::Ids {
                    user: name.clone(),
                    groups: index == 1,
                    count,
                    free: ids::free(&[&texts[0], &texts[1]]),
                }),
            }
        }
        match <[_; 2]>::try_from(parts) {
            Ok(parts) if lacks.is_empty() => Ok(Self(parts)),
            _ => Err(RootlessError::Lacking { user, lacks }),
        }
    }
}

/// Where a program for every user is.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(PROGRAM_DIRS.map(PathBuf::from));
    let mut files = dirs
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(program));
    files.find(|file| file.is_file())
}

/// The name of a user whom a directory service knows, or else the number.
fn name_by_service(user: u32) -> String {
    let said = Command::new("id").args(["-un", &user.to_string()]).output();
    let name = said.ok().filter(|said| said.status.success());
    name.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| user.to_string())
}

/// Ranges that are in no file.
fn by_service(name: &str, groups: bool) -> Vec<ids::Range> {
    let mut command = Command::new("getsubids");
    command.args(groups.then_some("-g")).arg(name);
    let said = command.output().ok().filter(|said| said.status.success());
    said.map(|said| ids::listed(&String::from_utf8_lossy(&said.stdout)))
        .unwrap_or_default()
}

/// The process that stays outside for as long as it takes to write the maps.
struct Outside {
    process: Pid,
    /// A byte through it says that the namespace is there.
    go: OwnedFd,
    /// What went wrong, in words; nothing if nothing did.
    said: OwnedFd,
}

impl Outside {
    fn fork(plan: &Plan) -> Result<Self, RootlessError> {
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(trouble("make a pipe"));
        let ((wait, go), (said, say)) = (pipe()?, pipe()?);
        let target = std::process::id().to_string();
        let process = sys::fork_with(0, &[wait.as_fd(), say.as_fd()], || {
            write_maps(&target, plan, &wait, say.try_clone())
        })
        .map_err(trouble("fork"))?;
        Ok(Self { process, go, said })
    }

    fn map(self, user: u32) -> Result<(), RootlessError> {
        rustix::io::write(&self.go, b"g").map_err(trouble("ask for the maps"))?;
        drop(self.go);
        let mut words = String::new();
        // Its last words are cut, and counted as words, if they are no text.
        let heard = fs::File::from(self.said)
            .take(RELAYED_MAX)
            .read_to_string(&mut words);
        let (status, _) = sys::wait(self.process).map_err(trouble("wait for the maps"))?;
        if status == 0 && heard.is_ok() && words.is_empty() {
            return Ok(());
        }
        if words.is_empty() {
            words = format!("the process that writes the maps ended with {status:#x}");
        }
        Err(RootlessError::Refused { user, words })
    }
}

/// The whole life of the process outside.
fn write_maps(target: &str, plan: &Plan, wait: &OwnedFd, say: io::Result<OwnedFd>) -> i32 {
    if rustix::io::read(wait, &mut [0; 1]) != Ok(1) {
        return 0;
    }
    let done: Result<(), String> = plan
        .0
        .iter()
        .try_for_each(|(program, map)| write_map(program, target, map));
    match (done, say.map(fs::File::from)) {
        (Ok(()), _) => 0,
        (Err(words), Ok(mut say)) => say.write_all(words.as_bytes()).map_or(1, |()| 1),
        (Err(_), Err(_)) => 1,
    }
}

fn write_map(program: &Path, target: &str, map: &[Extent]) -> Result<(), String> {
    let numbers = map
        .iter()
        .flat_map(|part| [part.inside, part.outside, part.count]);
    let done = Command::new(program)
        .arg(target)
        .args(numbers.map(|number| number.to_string()))
        .stdin(Stdio::null())
        .output();
    match done {
        Ok(done) if done.status.success() => Ok(()),
        Ok(done) => {
            let words = String::from_utf8_lossy(&done.stderr);
            let words = words.trim().chars().take(WORDS_MAX);
            Err(words.collect::<String>())
        }
        Err(error) => Err(format!("run {}: {error}", program.display())),
    }
}

/// Lets the next program have the rights that this process has in its new namespace, which a
/// program of an ordinary user would start without.
fn keep_rights() -> Result<(), RootlessError> {
    let what = "keep the rights of a new namespace";
    let own = capabilities(None).map_err(trouble(what))?;
    let sets = CapabilitySets {
        effective: own.permitted,
        permitted: own.permitted,
        inheritable: own.permitted,
    };
    set_capabilities(None, sets).map_err(trouble(what))?;
    for bit in 0..=CAPABILITY_BITS {
        let right = CapabilitySet::from_bits_retain(1 << bit);
        if own.permitted.contains(right) {
            rustix::thread::configure_capability_in_ambient_set(right, true)
                .map_err(trouble(what))?;
        }
    }
    Ok(())
}

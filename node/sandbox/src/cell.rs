//! A cell: the empty sandbox that waits for a job, and init once the job runs.
//!
//! It is made ahead of the job, because joining a control group (which stops all forks of the
//! host for milliseconds) and making a network take most of the time of a start. The stem joins
//! the job's control group and then gives birth to init in new namespaces, as the supervisor's
//! child. Init builds the root as root of the host, in a mount namespace of its own that the
//! host's user namespace owns, and only then becomes root of the job's user namespace: so the
//! job has no power over any of its namespaces but that over its own users' files and processes.
//!
//! Init is not dumpable, so nothing inside can look at it, its descriptors or its program.

use std::{
    io::Read,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::{
    fs::Mode,
    mount::{MountPropagationFlags, mount_change},
    process::{
        DumpableBehavior, Pid, Signal, WaitOptions, set_dumpable_behavior,
        set_parent_process_death_signal, umask,
    },
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::{
    seccomp::Filters,
    spec::Network,
    sys,
    wire::{self, Word},
};

mod command;
mod devices;
mod files;
mod image;
mod lent;
mod overlay;
mod places;
pub(crate) mod privileges;
mod root;

/// Sent by the supervisor when limits stand and the command may start.
pub(crate) const GO: u8 = b'g';
/// Exit code of an init that could not do its work; the reason went over the socket.
const EXIT_FAILED: i32 = 71;

/// Why a job could not start.
#[derive(Debug)]
enum Problem {
    /// The request does not fit what is on disk.
    Refused(String),
    /// The host would not do it.
    Failed(String),
}

/// For `map_err`: names what was tried.
fn failed<E: std::fmt::Display>(what: impl std::fmt::Display) -> impl FnOnce(E) -> Problem {
    move |error| Problem::Failed(format!("{what}: {error}"))
}

/// What a cell is born with.
pub(crate) struct Seed<'a> {
    /// To the supervisor.
    pub(crate) socket: &'a UnixStream,
    /// The job's user namespace; its ids are mapped before the job comes.
    pub(crate) users: BorrowedFd<'a>,
    /// The host's network, for jobs that ask for it.
    pub(crate) host_network: BorrowedFd<'a>,
    /// Compiled once per helper.
    pub(crate) filters: &'a Filters,
    /// Which limits no control group of this host can enforce.
    pub(crate) unguarded: Unguarded,
}

/// Limits that are left to the process limits of the kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unguarded {
    pub(crate) memory: bool,
    pub(crate) pids: bool,
}

/// The stem: waits until it is in the job's control group, then gives birth to init.
pub(crate) fn stem(seed: &Seed<'_>) -> i32 {
    let mut go = [0];
    if (&mut &*seed.socket).read_exact(&mut go).is_err() {
        return EXIT_FAILED;
    }
    let keep = [seed.socket.as_fd(), seed.users, seed.host_network];
    let word = match sys::fork_with(sys::NAMESPACES | sys::SIBLING, &keep, || init(seed)) {
        Ok(pid) => Word::Born(pid.as_raw_nonzero().get()),
        Err(error) => Word::Failed(format!("make namespaces: {error}")),
    };
    wire::send(&mut &*seed.socket, &word).map_or(EXIT_FAILED, |()| 0)
}

/// Process 1 of the job.
fn init(seed: &Seed<'_>) -> i32 {
    let mut socket = seed.socket;
    match prepare().and_then(|()| begin(seed)) {
        Ok(command) => reap(socket, command),
        Err(problem) => {
            let word = match problem {
                Problem::Refused(what) => Word::Refused(what),
                Problem::Failed(what) => Word::Failed(what),
            };
            // If the supervisor is gone, so is everybody who could read it.
            let _ = wire::send(&mut socket, &word);
            EXIT_FAILED
        }
    }
}

/// Everything that needs no job.
fn prepare() -> Result<(), Problem> {
    die_with_supervisor()?;
    umask(Mode::from_raw_mode(0o022));
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed("hide init"))?;
    // The host's later mounts still come in, ours never go out.
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", slave).map_err(failed("separate the mounts from the host's"))?;
    sys::loopback_up().map_err(failed("bring the loopback interface up"))
}

fn die_with_supervisor() -> Result<(), Problem> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(failed("tie init to its parent"))
}

/// Waits for the job, builds its root, starts its command.
fn begin(seed: &Seed<'_>) -> Result<Pid, Problem> {
    let (_, fds) = wire::receive_fds(seed.socket, 1).map_err(failed("receive the job's output"))?;
    let output: OwnedFd = fds.into_iter().next().ok_or_else(|| {
        Problem::Failed("receive the job's output: the supervisor is gone".to_owned())
    })?;
    let mut request =
        wire::receive_request(&mut &*seed.socket).map_err(failed("receive the job"))?;
    let spec = &request.spec;
    if spec.network == Network::Host {
        move_into_link_name_space(seed.host_network, Some(LinkNameSpaceType::Network))
            .map_err(failed("enter the host's network"))?;
    }
    root::build(spec, seed.users)?;
    // They are where the job finds them, and in no memory that comes from here.
    request.spec.secrets.clear();
    let spec = &request.spec;
    rustix::system::sethostname(spec.hostname.as_bytes()).map_err(failed("set the host name"))?;
    privileges::enter(seed.users)?;
    command::make_cwd(spec);
    let standard = Standard::open(&output)?;
    drop(output);
    privileges::drop_for_good(spec, seed.filters)?;
    // Changing users undid it.
    die_with_supervisor()?;
    wire::send(&mut &*seed.socket, &Word::Built).map_err(failed("report"))?;
    let mut go = [0];
    (&mut &*seed.socket)
        .read_exact(&mut go)
        .map_err(failed("wait for the supervisor"))?;
    let pid =
        sys::fork(|| command::run(spec, &standard, seed.unguarded)).map_err(failed("fork"))?;
    wire::send(&mut &*seed.socket, &Word::Running).map_err(failed("report"))?;
    Ok(pid)
}

/// What the command gets as descriptors 0 and 1, 2. Init itself keeps none of them.
struct Standard {
    input: OwnedFd,
    output: OwnedFd,
}

impl Standard {
    fn open(output: &OwnedFd) -> Result<Self, Problem> {
        let null = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
        let mode = Mode::empty();
        let input =
            rustix::fs::open("/dev/null", null, mode).map_err(failed("open /dev/null inside"))?;
        // Of the host's /dev/null nothing must stay: it would show in /proc/1/fd.
        rustix::stdio::dup2_stdin(&input)
            .and_then(|()| rustix::stdio::dup2_stdout(&input))
            .and_then(|()| rustix::stdio::dup2_stderr(&input))
            .map_err(failed("replace the standard descriptors"))?;
        let output = output.try_clone().map_err(failed("duplicate the output"))?;
        Ok(Self { input, output })
    }
}

/// Buries the dead until the command itself has ended; then init ends and the kernel kills the
/// rest.
fn reap(mut socket: &UnixStream, command: Pid) -> i32 {
    loop {
        let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::empty()) else {
            return EXIT_FAILED;
        };
        if pid != command {
            continue;
        }
        let word = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Word::Code(code),
            (None, Some(signal)) => Word::Signal(signal),
            // Only stopped: it may go on.
            (None, None) => continue,
        };
        return wire::send(&mut socket, &word).map_or(EXIT_FAILED, |()| 0);
    }
}

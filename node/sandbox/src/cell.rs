//! A cell: the empty sandbox that waits for a job, and init once the job runs.
//!
//! It is made ahead of the job, because joining a control group (which stops all forks of the
//! host for milliseconds), making a network and mounting what every job has take most of the time of
//! a start. A process that lives for no more than that joins the job's control group and gives birth to
//! init in new namespaces, as the supervisor's child. Init builds the root as root of the host, in a mount namespace of its own that the
//! host's user namespace owns, and only then becomes root of the job's user namespace: so the
//! job has no power over any of its namespaces but that over its own users' files and processes.
//!
//! Init is not dumpable, so nothing inside can look at it, its descriptors or its program.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::{
    fs::Mode,
    io::Errno,
    mount::{MountPropagationFlags, mount_change},
    process::{
        DumpableBehavior, Pid, Signal, WaitOptions, set_dumpable_behavior,
        set_parent_process_death_signal, umask,
    },
};

use self::root::Ahead;
use crate::{
    defences::{Defence, Defences},
    gate,
    landlock::Landlock,
    oci::Program,
    seccomp::Filter,
    spec::Network,
    sys,
    wire::{self, Word},
};

mod command;
mod devices;
pub(crate) mod files;
mod holes;
mod image;
mod lent;
mod overlay;
mod places;
pub(crate) mod privileges;
mod root;
mod runtime;
mod scratch;
mod skeleton;

/// Sent by the supervisor when the job's limits stand.
pub(crate) const BOUND: u8 = b'b';
/// Exit code of an init that could not do its work; the reason went over the socket.
const EXIT_FAILED: i32 = 71;

/// The kernel's word for what it kills before all else when the host has no memory left.
const FIRST_TO_DIE: &str = "1000";

/// Why a job could not start.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The request does not fit what is on disk.
    Refused(String),
    /// The host would not do it.
    Failed(String),
}

/// For `map_err`: names what was tried.
fn failed<E: std::fmt::Display>(what: impl std::fmt::Display) -> impl FnOnce(E) -> Problem {
    move |error| Problem::Failed(format!("{what}: {error}"))
}

/// What is known of a job before it comes.
#[derive(Debug, Clone, Copy)]
struct Birth {
    /// The host's id of the job's root.
    id_base: u32,
    rootless: bool,
    without: Defences,
}

/// What a cell is born with.
pub(crate) struct Seed<'a> {
    /// To the supervisor.
    pub(crate) socket: &'a UnixStream,
    /// The job's user namespace; its ids are mapped before the job comes.
    pub(crate) users: BorrowedFd<'a>,
    /// The host's id of the job's root.
    pub(crate) id_base: u32,
    pub(crate) rootless: bool,
    /// The same for all cells of a helper.
    pub(crate) guards: &'a Guards,
    /// Which limits no control group of this host can enforce.
    pub(crate) unguarded: Unguarded,
    /// The name of the job's control groups.
    pub(crate) group: &'a str,
}

/// What the helper found or made once, for all of its cells.
#[derive(Debug, Clone)]
pub(crate) struct Guards {
    /// Compiled once.
    pub(crate) filter: Filter,
    /// What of it the kernel has.
    pub(crate) landlock: Landlock,
    /// The defences that this helper's jobs do not have: none, but for corpus and benchmarks.
    pub(crate) without: Defences,
    /// What starts the commands, where it is not init itself.
    pub(crate) runtime: Option<Program>,
}

/// Limits that are left to the process limits of the kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unguarded {
    pub(crate) memory: bool,
    pub(crate) pids: bool,
}

/// How the command's own process is bound.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    unguarded: Unguarded,
    without: Defences,
}

/// Gives birth to init, as a child of the caller's parent.
pub(crate) fn bear(seed: &Seed<'_>) -> io::Result<Pid> {
    let keep = [seed.socket.as_fd(), seed.users];
    let namespaces = seed.guards.without.namespaces_left();
    sys::fork_with(namespaces | sys::SIBLING, &keep, || init(seed))
}

/// Process 1 of the job.
fn init(seed: &Seed<'_>) -> i32 {
    let mut socket = seed.socket;
    match prepare(seed).and_then(|ahead| begin(seed, ahead)) {
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
fn prepare(seed: &Seed<'_>) -> Result<Option<Ahead>, Problem> {
    let without = seed.guards.without;
    leave_the_host(without)?;
    // A runtime shows its own tools what the stage would cover.
    if seed.guards.runtime.is_some() {
        return Ok(None);
    }
    Ahead::make(Birth {
        id_base: seed.id_base,
        rootless: seed.rootless,
        without,
    })
}

fn leave_the_host(without: Defences) -> Result<(), Problem> {
    die_with_supervisor()?;
    umask(Mode::from_raw_mode(0o022));
    hide()?;
    // The host's later mounts still come in, ours never go out.
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", slave).map_err(failed("separate the mounts from the host's"))?;
    if !without.has(Defence::MemoryLimit) {
        // A host's own processes are worth more than any job. Where this is refused, the bound on the
        // job's memory still is there.
        let _ = std::fs::write("/proc/self/oom_score_adj", FIRST_TO_DIE);
    }
    if !without.has(Defence::OwnKeyring) {
        sys::own_keyring().map_err(failed("leave the node's keyring"))?;
    }
    if without.has(Defence::ClosedDescriptors) {
        holes::leak_the_host_s_root()?;
    }
    if without.has(Defence::NetworkNamespace) {
        return Ok(());
    }
    sys::loopback_up().map_err(failed("bring the loopback interface up"))
}

/// From everything inside, whatever the host says of programs that change their users.
fn hide() -> Result<(), Problem> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed("hide init"))
}

fn die_with_supervisor() -> Result<(), Problem> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(failed("tie init to its parent"))
}

/// Waits for the job, builds its root, starts its command.
fn begin(seed: &Seed<'_>, ahead: Option<Ahead>) -> Result<Pid, Problem> {
    let (_, fds) = wire::receive_fds(seed.socket, 1).map_err(failed("receive the job's output"))?;
    let output: OwnedFd = fds.into_iter().next().ok_or_else(|| {
        Problem::Failed("receive the job's output: the supervisor is gone".to_owned())
    })?;
    let mut request =
        wire::receive_request(&mut &*seed.socket).map_err(failed("receive the job"))?;
    let spec = &request.spec;
    if spec.network == Network::Gate {
        let gate = gate::listen().map_err(failed("listen at the job's gate"))?;
        wire::send(&mut &*seed.socket, &Word::Gate).map_err(failed("report"))?;
        gate::pass(seed.socket, &gate).map_err(failed("pass the job's gate"))?;
    }
    if let Some(program) = &seed.guards.runtime {
        return runtime::begin(seed, program, &output, request);
    }
    let without = seed.guards.without;
    root::build(spec, seed.users, ahead, without)?;
    // They are where the job finds them, and in no memory that comes from here.
    request.spec.secrets.clear();
    let spec = &request.spec;
    if !without.has(Defence::HostNameNamespace) {
        let name = spec.hostname.as_bytes();
        rustix::system::sethostname(name).map_err(failed("set the host name"))?;
    }
    if !without.has(Defence::UserNamespace) {
        privileges::enter(seed.users)?;
    }
    holes::show_init(without)?;
    command::make_cwd(spec);
    let standard = Standard::open(&output)?;
    drop(output);
    privileges::drop_for_good(spec, seed.guards)?;
    // Changing users undid both.
    die_with_supervisor()?;
    if !without.has(Defence::HiddenInit) {
        hide()?;
    }
    let bounds = Bounds {
        unguarded: seed.unguarded,
        without,
    };
    await_limits(seed)?;
    let pid = sys::fork(|| command::run(spec, &standard, bounds)).map_err(failed("fork"))?;
    wire::send(&mut &*seed.socket, &Word::Running).map_err(failed("report"))?;
    Ok(pid)
}

/// Nothing of the job's runs before its limits stand; they mostly do by now.
fn await_limits(seed: &Seed<'_>) -> Result<(), Problem> {
    let mut word = [0];
    io::Read::read_exact(&mut &*seed.socket, &mut word).map_err(failed("hear of the limits"))?;
    match word {
        [BOUND] => Ok(()),
        _ => Err(Problem::Failed("hear of the limits".to_owned())),
    }
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

/// Buries the dead until the command itself has ended, and then everybody else: when the word goes
/// out, init is all that is left of the job.
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
        end_the_rest();
        return wire::send(&mut socket, &word).map_or(EXIT_FAILED, |()| 0);
    }
}

/// Kills and buries all that the command has left. What is not process 1 leaves that to the kernel
/// and the supervisor: for it, all others are all others of the host.
fn end_the_rest() {
    if rustix::process::getpid() != Pid::INIT {
        return;
    }
    loop {
        sys::kill_all_others();
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(_) | Err(Errno::INTR) => {}
            // Nobody is left.
            Err(_) => return,
        }
    }
}

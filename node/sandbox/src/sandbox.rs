//! The trait that the rest of a node sees: start a job, read its output, wait, kill.
//!
//! A [`Running`] owns its end of the job's socket; the job dies with it. Never knows how the job
//! is isolated.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::Arc,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    spec::{Spec, SpecError},
    wire::{self, Reply, WireError},
};

/// What went wrong with the sandbox itself; a command that fails is an [`Exit`].
#[derive(Debug, Error)]
pub enum Error {
    /// The request makes no sense; asking again will not help.
    #[error("{0}")]
    Spec(#[from] SpecError),
    /// The request does not fit what is on disk (a missing layer); asking again will not help.
    #[error("use the job's root: {0}")]
    Refused(String),
    /// The sandbox could not be built: the host's fault, not the command's.
    #[error("set up the sandbox: {0}")]
    Setup(String),
    /// The job's supervisor went away; the job is dead, its result unknown.
    #[error("learn the job's result: its supervisor is gone")]
    Lost,
    /// The helper process went away; no job can start until the program is started anew.
    #[error("reach the sandbox helper: it is gone")]
    HelperGone,
    /// The helper could not be started.
    #[error("start the sandbox helper: {0}")]
    HelperStart(String),
    /// A private message that is broken or too long.
    #[error("talk to the sandbox helper")]
    Wire(#[source] WireError),
    /// A system call on our own side.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// A bound that the job ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limit {
    /// The kernel killed a process of the job for want of memory.
    Memory,
    /// A process or thread could not be made.
    Pids,
    /// The job was killed when its time was up.
    WallClock,
    /// The job was killed when it took more room on the disk than it may.
    Disk,
    /// The job was killed when it made more files than it may.
    Inodes,
    /// The job was killed when it had taken most of the room that the host's disk had left: the
    /// host's want, not the job's fault.
    Room,
    /// The job was killed when its processes had used up their processor time.
    Cpu,
    /// The reader of the output killed the job (set by the caller; see [`crate::OutputLimit`]).
    Output,
}

/// The end of a job: all its processes are dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// How the command ended.
    pub status: Status,
    /// The first bound it ran into, even if the command then ended well.
    pub limit: Option<Limit>,
    /// From the command's start to the end of its last process.
    pub wall_ms: u64,
    /// Processor time of all processes.
    pub cpu_ms: u64,
    /// The most memory at one time; 0 where the host cannot tell.
    pub peak_memory_bytes: u64,
}

/// Runs jobs. One call is one job; a job's name may be used again once it has ended.
pub trait Sandbox: Send + Sync {
    /// Starts one job and returns when its command runs. Blocks for some milliseconds.
    ///
    /// # Errors
    /// Nothing is left running when this fails.
    fn start(&self, spec: &Spec) -> Result<Running, Error>;
}

/// A killed job is gone within a second; a host under load may need longer.
const DEATH_MAX: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

/// A started job. Dropping it kills the job and waits until it is gone, so that its directories are
/// nobody's from then on.
#[derive(Debug)]
pub struct Running {
    output: Option<OwnedFd>,
    gate: Option<OwnedFd>,
    socket: Arc<UnixStream>,
    exit: Option<Exit>,
    /// Nothing of the job is left: no mount, no control group.
    buried: bool,
}

impl Running {
    pub(crate) fn new(output: OwnedFd, socket: UnixStream, gate: Option<OwnedFd>) -> Self {
        Self {
            output: Some(output),
            gate,
            socket: Arc::new(socket),
            exit: None,
            buried: false,
        }
    }

    /// The read end of the pipe that carries the command's output and errors; it ends when the
    /// last writer is gone. Handed out once.
    pub fn take_output(&mut self) -> Option<OwnedFd> {
        self.output.take()
    }

    /// The listening socket of a job whose network is [`crate::Network::Gate`]. Handed out once.
    /// Whoever takes it serves it as long as the job runs or drops it, which refuses what connects.
    pub fn take_gate(&mut self) -> Option<OwnedFd> {
        self.gate.take()
    }

    /// Blocks until nothing of the job is left: its processes dead, its mounts and groups gone.
    ///
    /// # Errors
    /// Only for faults of the sandbox; asked again after an `Ok` it answers the same.
    pub fn wait(&mut self) -> Result<Exit, Error> {
        let exit = self.ended()?;
        if !self.buried {
            // It has said all; its end is that of its socket.
            let _ = wire::receive::<Reply>(&mut &*self.socket);
            self.buried = true;
        }
        Ok(exit)
    }

    /// Blocks until every process of the job is dead, so that nobody writes to its directories any
    /// more. They may still be mounted for a moment: [`Running::wait`], or a drop, waits for that.
    /// Readable [`AsFd`] means that this will not block.
    ///
    /// # Errors
    /// Only for faults of the sandbox; asked again after an `Ok` it answers the same.
    pub fn ended(&mut self) -> Result<Exit, Error> {
        if let Some(exit) = self.exit {
            return Ok(exit);
        }
        match wire::receive::<Reply>(&mut &*self.socket) {
            Ok(Reply::Exited(exit)) => Ok(*self.exit.insert(exit)),
            Ok(Reply::Failed(what)) => Err(Error::Setup(what)),
            Ok(Reply::Refused(_) | Reply::Started) => Err(Error::Lost),
            Err(WireError::Closed) => Err(Error::Lost),
            Err(source) => Err(Error::Wire(source)),
        }
    }

    /// Asks for the end of every process of the job; `wait` then tells when they are gone.
    pub fn kill(&self) {
        self.killer().kill();
    }

    /// A handle that can kill the job from elsewhere, such as from the reader of its output.
    pub fn killer(&self) -> Killer {
        Killer {
            socket: Arc::clone(&self.socket),
        }
    }
}

impl AsFd for Running {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.buried {
            return;
        }
        if self.exit.is_none() {
            self.kill();
        }
        let mut ended = [PollFd::new(&self.socket, PollFlags::IN)];
        if poll(&mut ended, Some(&DEATH_MAX)).is_ok_and(|count| count > 0) {
            // However it ended, nobody asks any more.
            let _ = self.wait();
        }
    }
}

/// Kills one job, as often as one likes, also after its end.
#[derive(Debug, Clone)]
pub struct Killer {
    socket: Arc<UnixStream>,
}

impl Killer {
    /// See [`Running::kill`].
    pub fn kill(&self) {
        wire::ask_kill(&self.socket);
    }
}

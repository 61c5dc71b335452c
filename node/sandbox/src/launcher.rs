//! The real [`Sandbox`]: asks the helper process.
//!
//! Holds the one socket to the helper; the helper and every job end with it. Any thread may
//! start jobs. Never forks in the node itself.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt as _},
    },
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{AddressFamily, Shutdown, SocketFlags, SocketType, shutdown, socketpair},
    pipe::{PipeFlags, pipe_with},
};

use crate::{
    cgroup::Places,
    defences::Defences,
    gate,
    helper::{CELL, HELPER_ARG, READY, RUNTIME, TAG, TAKEN, is_helper},
    limits::{HELPER_START_MS, JOBS_MAX},
    sandbox::{Error, Running, Sandbox},
    spec::{JobName, Network, Spec},
    wire::{self, Reply, Request, WireError},
};

/// This process's own program.
const SELF: &str = "/proc/self/exe";
/// Bytes of the helper's word about a cell.
const CELL_BYTES: usize = 2;
/// Bytes of the reason that a helper gives for not starting.
const REASON_MAX: usize = 512;

/// Starts jobs through a helper process. Dropping it ends all of them.
#[derive(Debug)]
pub struct Launcher {
    socket: OwnedFd,
    /// Which cells are of use; held while one is taken.
    generation: Mutex<u8>,
    helper: Child,
}

impl Launcher {
    /// Starts this program once more as a helper. For the start of `main`, after
    /// [`crate::run_as_helper_if_asked`].
    ///
    /// # Errors
    /// If the program does not become a helper when asked.
    pub fn spawn() -> Result<Self, Error> {
        Self::spawn_program(Path::new(SELF))
    }

    /// As [`Launcher::spawn`], with jobs that lack some defences: for measuring what they cost, and
    /// for the corpus of attempts to show what each of them stops. Chosen here, once for all jobs of
    /// this launcher: no job's message can ask for it.
    ///
    /// # Errors
    /// As of [`Launcher::spawn`].
    #[doc(hidden)]
    pub fn spawn_without(without: Defences) -> Result<Self, Error> {
        Self::spawn_program_without(Path::new(SELF), without)
    }

    /// Starts any program that calls [`crate::run_as_helper_if_asked`] first.
    ///
    /// # Errors
    /// If it does not answer as a helper does.
    pub fn spawn_program(program: &Path) -> Result<Self, Error> {
        Self::spawn_program_without(program, Defences::NONE)
    }

    /// Any program, as in [`Launcher::spawn_without`].
    ///
    /// # Errors
    /// As of [`Launcher::spawn_program`].
    #[doc(hidden)]
    pub fn spawn_program_without(program: &Path, without: Defences) -> Result<Self, Error> {
        // A program that forgot to become the helper would start itself for ever.
        if is_helper() {
            let what = "this program was asked to be a helper and did not become one";
            return Err(Error::HelperStart(what.to_owned()));
        }
        let kind = SocketType::SEQPACKET;
        let (socket, theirs) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
            .map_err(|error| wrong("make a socket", error))?;
        let helper = Command::new(program)
            .arg0("sandbox-helper")
            .arg(HELPER_ARG)
            .args(without.argument())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| Error::HelperStart(format!("{}: {error}", program.display())))?;
        let launcher = Self {
            socket,
            generation: Mutex::new(0),
            helper,
        };
        launcher.await_answer()?;
        Ok(launcher)
    }

    /// Waits for the helper to say that it is ready.
    fn await_answer(&self) -> Result<(), Error> {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        let limit = Timespec {
            tv_sec: i64::from(HELPER_START_MS) / 1_000,
            tv_nsec: 0,
        };
        let ready = loop {
            match poll(&mut fds, Some(&limit)) {
                Err(Errno::INTR) => {}
                other => break other.map_err(|error| wrong("wait for the helper", error))?,
            }
        };
        if ready == 0 {
            let what = format!("no answer within {HELPER_START_MS} ms");
            return Err(Error::HelperStart(what));
        }
        let (answer, _) = wire::receive_fds(&self.socket, REASON_MAX)
            .map_err(|error| wrong("hear the helper", error))?;
        match answer.as_slice() {
            [READY] => Ok(()),
            [_, ..] => Err(Error::HelperStart(
                String::from_utf8_lossy(&answer).into_owned(),
            )),
            [] => Err(Error::HelperStart("it ended without an answer".to_owned())),
        }
    }

    /// Takes over a tag: kills and removes what an earlier node of this tag left in control
    /// groups, and marks all later jobs with it. The caller makes sure (by the store's lock)
    /// that no other node uses the tag. Says how many leftovers there were.
    ///
    /// # Errors
    /// If a leftover cannot be removed, or the helper is gone.
    pub fn clean(&self, tag: &JobName) -> Result<usize, Error> {
        let count = Places::find().clean(tag).map_err(|source| Error::Io {
            what: "clean old control groups",
            source,
        })?;
        let order: Vec<u8> = [TAG].into_iter().chain(tag.as_str().bytes()).collect();
        self.renounce(&order)?;
        Ok(count)
    }

    /// Has an OCI runtime start the commands of all later jobs.
    pub(crate) fn use_runtime(&self, program: &[u8]) -> Result<(), Error> {
        let order: Vec<u8> = [RUNTIME].iter().chain(program).copied().collect();
        self.renounce(&order)
    }

    /// Sends an order after which no cell made before it is of use.
    fn renounce(&self, order: &[u8]) -> Result<(), Error> {
        let mut generation = self.generation();
        wire::send_fds(&self.socket, order, &[]).map_err(|_| Error::HelperGone)?;
        *generation = generation.wrapping_add(1);
        Ok(())
    }

    fn generation(&self) -> MutexGuard<'_, u8> {
        self.generation
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The way to a cell that is nobody else's. The helper hears of it afterwards, if one was ready.
    fn take_cell(&self) -> Result<Cell<'_>, Error> {
        let generation = self.generation();
        let mut is_asked = false;
        loop {
            match wire::receive_fds_if_there(&self.socket, CELL_BYTES, is_asked) {
                Err(Errno::AGAIN) => {
                    wire::send_fds(&self.socket, &[TAKEN], &[]).map_err(|_| Error::HelperGone)?;
                    is_asked = true;
                }
                Err(Errno::INTR) => {}
                Err(_) => return Err(Error::HelperGone),
                Ok((word, fds)) => match (word.as_slice(), fds.into_iter().next()) {
                    ([CELL, of], Some(socket)) if *of == *generation => {
                        return Ok(Cell {
                            socket: UnixStream::from(socket),
                            untold: (!is_asked).then_some(&self.socket),
                        });
                    }
                    ([CELL, of], None) if *of == *generation => {
                        let what = format!("there are {JOBS_MAX} jobs already");
                        return Err(Error::Setup(what));
                    }
                    ([CELL, _], _) => {}
                    _ => return Err(Error::HelperGone),
                },
            }
        }
    }

    /// Process id of the helper, for whoever watches over the node.
    pub fn helper_id(&self) -> u32 {
        self.helper.id()
    }
}

/// A cell that was taken.
struct Cell<'a> {
    socket: UnixStream,
    /// To the helper, if it does not know that the cell was taken.
    untold: Option<&'a OwnedFd>,
}

impl Drop for Cell<'_> {
    fn drop(&mut self) {
        if let Some(helper) = self.untold {
            // If the helper is gone, so is every cell.
            let _ = wire::send_fds(helper, &[TAKEN], &[]);
        }
    }
}

impl Sandbox for Launcher {
    fn start(&self, spec: &Spec) -> Result<Running, Error> {
        spec.check()?;
        let request = wire::frame(&Request { spec: spec.clone() }).map_err(Error::Wire)?;
        let (read, write) =
            pipe_with(PipeFlags::CLOEXEC).map_err(|error| wrong("make a pipe", error))?;
        let cell = self.take_cell()?;
        let ours = cell.socket.try_clone().map_err(|source| Error::Io {
            what: "keep a socket",
            source,
        })?;
        wire::send_fds(&ours, b"j", &[write.as_fd()]).map_err(|_| Error::HelperGone)?;
        drop(write);
        let gone_or_lost = |error| {
            if is_gone(&error) {
                Error::HelperGone
            } else {
                lost(error)
            }
        };
        io::Write::write_all(&mut &ours, &request).map_err(gone_or_lost)?;
        wire::send_secrets(&mut &ours, spec).map_err(|error| match error {
            WireError::Io(error) => gone_or_lost(error),
            error => Error::Wire(error),
        })?;
        // The job is on its way; only now the helper's next cell may take a processor.
        drop(cell);
        match wire::receive::<Reply>(&mut &ours) {
            Ok(Reply::Started) => {
                let gate = match spec.network {
                    Network::None => None,
                    Network::Gate => Some(gate::take(&ours).map_err(|_| Error::Lost)?),
                };
                Ok(Running::new(read, ours, gate))
            }
            Ok(Reply::Refused(what)) => Err(Error::Refused(what)),
            Ok(Reply::Failed(what)) => Err(Error::Setup(what)),
            Ok(Reply::Exited(_)) => Err(Error::Lost),
            Err(WireError::Closed) => Err(Error::Lost),
            Err(error) => Err(Error::Wire(error)),
        }
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        let _ = shutdown(&self.socket, Shutdown::Both);
        // Bounded by the helper's own time for stopping.
        let _ = self.helper.wait();
    }
}

fn wrong(what: &'static str, error: Errno) -> Error {
    Error::Io {
        what,
        source: error.into(),
    }
}

fn lost(source: io::Error) -> Error {
    Error::Io {
        what: "pass the job to the helper",
        source,
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

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
    helper::{HELPER_ARG, JOB, READY, RUNTIME, TAG, is_helper},
    ids,
    limits::HELPER_START_MS,
    sandbox::{Error, Running, Sandbox},
    spec::{JobName, Network, Spec},
    wire::{self, Reply, Request, WireError},
};

/// This process's own program.
const SELF: &str = "/proc/self/exe";
/// Bytes of the reason that a helper gives for not starting.
const REASON_MAX: usize = 512;

/// Starts jobs through a helper process. Dropping it ends all of them.
#[derive(Debug)]
pub struct Launcher {
    socket: OwnedFd,
    /// The first id of the helper's jobs.
    ids: u32,
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
        let mut launcher = Self {
            socket,
            helper,
            ids: 0,
        };
        launcher.ids = launcher.await_answer()?;
        Ok(launcher)
    }

    /// What a helper that is ready says: the first id of its jobs.
    fn await_answer(&self) -> Result<u32, Error> {
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
            &[READY, a, b, c, d] => Ok(u32::from_le_bytes([a, b, c, d])),
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
        wire::send_fds(&self.socket, &order, &[]).map_err(|_| Error::HelperGone)?;
        Ok(count)
    }

    /// Has an OCI runtime start the commands of all later jobs.
    pub(crate) fn use_runtime(&self, program: &[u8]) -> Result<(), Error> {
        let order: Vec<u8> = [RUNTIME].iter().chain(program).copied().collect();
        wire::send_fds(&self.socket, &order, &[]).map_err(|_| Error::HelperGone)
    }

    /// Process id of the helper, for whoever watches over the node.
    pub fn helper_id(&self) -> u32 {
        self.helper.id()
    }
}

impl Sandbox for Launcher {
    fn id_bases(&self) -> Vec<u32> {
        ids::ranges(self.ids)
    }

    fn start(&self, spec: &Spec) -> Result<Running, Error> {
        spec.check()?;
        let request = wire::frame(&Request { spec: spec.clone() }).map_err(Error::Wire)?;
        let (read, write) =
            pipe_with(PipeFlags::CLOEXEC).map_err(|error| wrong("make a pipe", error))?;
        let (ours, theirs) = UnixStream::pair().map_err(|source| Error::Io {
            what: "make a socket",
            source,
        })?;
        wire::send_fds(&self.socket, &[JOB], &[theirs.as_fd(), write.as_fd()])
            .map_err(|_| Error::HelperGone)?;
        drop((theirs, write));
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

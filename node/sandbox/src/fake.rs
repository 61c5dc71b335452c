//! A sandbox that runs nothing: each job does what its script says. For tests of other rooms.
//!
//! A job without a script is an error. Uses one thread per job; never for production.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpListener,
    os::unix::net::UnixStream,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::pipe::{PipeFlags, pipe_with};

use crate::{
    sandbox::{Error, Exit, Limit, Running, Sandbox, Status},
    spec::{JobName, Network, Spec},
    wire::{self, Reply},
};

/// How a scripted job ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// By itself, at once.
    At(Status),
    /// Only when it is killed or its wall time is up.
    Killed,
    /// It never starts: [`Error::Refused`].
    Refused(String),
    /// It never starts: [`Error::Setup`].
    Setup(String),
}

/// What a scripted job does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Written first.
    pub output: Vec<u8>,
    /// Then it ends like this.
    pub end: End,
}

/// The scripted [`Sandbox`].
#[derive(Debug, Default)]
pub struct FakeSandbox {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    scripts: BTreeMap<JobName, Script>,
    started: Vec<Spec>,
}

impl FakeSandbox {
    /// Says what the next job of this name does.
    pub fn expect(&self, job: JobName, script: Script) {
        self.lock().scripts.insert(job, script);
    }

    /// Every job that was started, in order.
    pub fn started(&self) -> Vec<Spec> {
        self.lock().started.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sandbox for FakeSandbox {
    fn start(&self, spec: &Spec) -> Result<Running, Error> {
        spec.check()?;
        let script = self.lock().scripts.remove(&spec.job);
        let script = script.ok_or_else(|| Error::Setup(format!("no script for {}", spec.job)))?;
        match &script.end {
            End::Refused(what) => return Err(Error::Refused(what.clone())),
            End::Setup(what) => return Err(Error::Setup(what.clone())),
            End::At(_) | End::Killed => {}
        }
        let failed = |what| move |source| Error::Io { what, source };
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| Error::Io {
            what: "make a pipe",
            source: error.into(),
        })?;
        let (ours, theirs) = UnixStream::pair().map_err(failed("make a socket"))?;
        // On a port of the host that nobody knows of but by asking the socket.
        let gate = match spec.network {
            Network::None => None,
            Network::Gate => Some(TcpListener::bind("127.0.0.1:0").map_err(failed("listen"))?),
        };
        let gate = gate.map(Into::into);
        self.lock().started.push(spec.clone());
        let wall = Duration::from_millis(spec.limits.wall_ms);
        std::thread::Builder::new()
            .name(format!("fake-{}", spec.job))
            .spawn(move || play(&script, write.into(), &theirs, wall))
            .map_err(failed("start a thread"))?;
        Ok(Running::new(read, ours, gate))
    }
}

fn play(script: &Script, mut output: std::fs::File, mut socket: &UnixStream, wall: Duration) {
    let begun = Instant::now();
    // The reader may have left: then nobody misses it.
    let _ = output.write_all(&script.output);
    let (status, limit) = match script.end {
        End::At(status) => (status, None),
        End::Killed | End::Refused(_) | End::Setup(_) => {
            let _ = socket.set_read_timeout(Some(wall));
            let asked = socket.read(&mut [0]).is_ok();
            (
                Status::Signal(libc::SIGKILL),
                (!asked).then_some(Limit::WallClock),
            )
        }
    };
    drop(output);
    let wall_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let exit = Exit {
        status,
        limit,
        wall_ms,
        cpu_ms: 0,
        peak_memory_bytes: 0,
    };
    let _ = wire::send(&mut socket, &Reply::Exited(exit));
}

//! One process per job: makes the cell, gives it the job, watches it, buries it, reports.
//!
//! It is forked ahead of the job and waits with its cell ready. It runs as root of the host and
//! touches nothing that a job could have changed. Its end is the job's end, and the other way
//! round: no process, mount or control group of the job is left when it reports.

use std::{
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Gid, Mode, OFlags, Uid, fchown, open},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use crate::{
    cell::{self, Seed, Unguarded},
    cgroup::{Controller, Group, Places},
    limits::ID_COUNT,
    sandbox::{Exit, Limit, Status},
    seccomp::Filters,
    spec::{JobName, Spec},
    sys,
    wire::{self, Reply, Request, WireError, Word},
};

/// What every job of a helper shares.
pub(crate) struct Kit {
    pub(crate) filters: Filters,
    pub(crate) places: Places,
    pub(crate) tag: JobName,
}

/// The whole life of a supervisor. `helper` is its socket to the helper: it brings the job, and
/// its end is the order to stop.
pub(crate) fn supervise(helper: &OwnedFd, kit: &Kit) -> i32 {
    sys::reap_children_by_kernel(false);
    let cell = Cell::make(kit);
    let Ok((_, fds)) = wire::receive_fds(helper, wire::ORDER_MAX) else {
        return 1;
    };
    let Ok([socket, output]) = <[OwnedFd; 2]>::try_from(fds) else {
        return 0;
    };
    let socket = UnixStream::from(socket);
    let reply = match cell {
        Ok(cell) => cell.run(&socket, output, helper.as_fd()),
        Err(error) => Reply::Failed(error),
    };
    // Nobody listens if the launcher is gone.
    let _ = wire::send(&mut &socket, &reply);
    0
}

/// A cell as its supervisor sees it.
struct Cell {
    init: Pid,
    init_fd: OwnedFd,
    /// To init; for the job, its word, and its end.
    socket: UnixStream,
    users: Users,
    group: Group,
}

/// A user namespace, kept by a process that does nothing else.
struct Users {
    namespace: OwnedFd,
    keeper: Pid,
    /// Its end lets the keeper go.
    leash: Option<OwnedFd>,
}

impl Users {
    fn make() -> io::Result<Self> {
        let (end, leash) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let keeper = sys::fork_with(sys::NEW_USERS, &[end.as_fd()], || {
            // Returns when the supervisor lets go or dies.
            let _ = rustix::io::read(&end, &mut [0; 1]);
            0
        })?;
        let path = format!("/proc/{}/ns/user", keeper.as_raw_nonzero());
        let namespace = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self {
            namespace,
            keeper,
            leash: Some(leash),
        })
    }

    /// Writes the maps, which needs the keeper alive, and lets it go.
    fn map(&mut self, id_base: u32) -> io::Result<()> {
        let line = format!("0 {id_base} {ID_COUNT}\n");
        for map in ["uid_map", "gid_map"] {
            fs::write(
                format!("/proc/{}/{map}", self.keeper.as_raw_nonzero()),
                &line,
            )?;
        }
        Ok(())
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        self.leash = None;
        // It has nothing to do but end.
        let _ = sys::wait(self.keeper);
    }
}

/// For `map_err`: names what was tried, for people.
fn because<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> String + '_ {
    move |error| format!("{what}: {error}")
}

impl Cell {
    fn make(kit: &Kit) -> Result<Self, String> {
        let users = Users::make().map_err(because("make a user namespace"))?;
        let group = kit
            .places
            .make(&kit.tag)
            .map_err(because("make a control group"))?;
        let (socket, theirs) = UnixStream::pair().map_err(because("make a socket"))?;
        let network = open(
            "/proc/self/ns/net",
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(because("open the host's network"))?;
        let unguarded = Unguarded {
            memory: !kit.places.has(Controller::Memory),
            pids: !kit.places.has(Controller::Pids),
        };
        let keep = [theirs.as_fd(), users.namespace.as_fd(), network.as_fd()];
        let stem = sys::fork_with(0, &keep, || {
            cell::stem(&Seed {
                socket: &theirs,
                users: users.namespace.as_fd(),
                host_network: network.as_fd(),
                filters: &kit.filters,
                unguarded,
            })
        })
        .map_err(because("fork"))?;
        drop(theirs);
        let born = group
            .admit(stem)
            .map_err(because("join the control group"))
            .and_then(|()| {
                io::Write::write_all(&mut &socket, &[cell::GO])
                    .map_err(because("start the cell"))?;
                wire::receive::<Word>(&mut &socket).map_err(because("hear from the cell"))
            });
        if born.is_err() {
            // The stem must see that nobody will tell it to go on.
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
        let _ = sys::wait(stem);
        let init = match born? {
            Word::Born(pid) => Pid::from_raw(pid).ok_or("make a cell: it has no id")?,
            Word::Failed(what) => return Err(what),
            other => return Err(format!("make a cell: it said {other:?}")),
        };
        let init_fd = pidfd_open(init, PidfdFlags::empty()).map_err(because("watch the cell"))?;
        Ok(Self {
            init,
            init_fd,
            socket,
            users,
            group,
        })
    }

    /// The job, from request to report.
    fn run(mut self, launcher: &UnixStream, output: OwnedFd, helper: BorrowedFd<'_>) -> Reply {
        let mut request = match wire::receive_request(&mut &*launcher) {
            Ok(request) => request,
            Err(error) => return Reply::Failed(format!("read the job: {error}")),
        };
        if let Err(error) = request.spec.check() {
            return Reply::Refused(error.to_string());
        }
        name_process(&request.spec.job);
        if let Err(reply) = self.start(&request, output) {
            return reply;
        }
        // Only the job has them from here on.
        request.spec.secrets.clear();
        let spec = &request.spec;
        let started = Instant::now();
        if wire::send(&mut &*launcher, &Reply::Started).is_err() {
            self.kill();
        }
        let watch = self.watch(launcher, helper, started, spec);
        let reply = self.finish(watch, started);
        drop_work(spec);
        reply
    }

    /// Hands the job over, sets its limits, and waits until its command runs.
    fn start(&mut self, request: &Request, output: OwnedFd) -> Result<(), Reply> {
        let spec = &request.spec;
        let told = |what: &str| {
            let what = what.to_owned();
            move |error: WireError| Reply::Failed(format!("{what}: {error}"))
        };
        let fail = |what: &str, error: io::Error| Reply::Failed(format!("{what}: {error}"));
        self.users
            .map(spec.id_base)
            .map_err(|e| fail("map the users", e))?;
        // So that the job can open its own /dev/stdout.
        let (uid, gid) = (
            Uid::from_raw(spec.id_base + spec.uid),
            Gid::from_raw(spec.id_base + spec.gid),
        );
        fchown(&output, Some(uid), Some(gid)).map_err(|e| fail("own the output", e.into()))?;
        wire::send_fds(&self.socket, b"j", &[output.as_fd()])
            .map_err(|e| fail("pass the output", e.into()))?;
        // The pipe's end must mean that the job has let go of it.
        drop(output);
        wire::send(&mut &self.socket, request)
            .and_then(|()| wire::send_secrets(&mut &self.socket, spec))
            .map_err(told("pass the job"))?;
        self.group
            .bound(&spec.limits)
            .map_err(|e| fail("set the limits", e))?;
        self.expect(|word| matches!(word, Word::Built))?;
        io::Write::write_all(&mut &self.socket, &[cell::GO]).map_err(|e| fail("start", e))?;
        self.expect(|word| matches!(word, Word::Running))
    }

    fn expect(&self, wanted: impl Fn(&Word) -> bool) -> Result<(), Reply> {
        match wire::receive::<Word>(&mut &self.socket) {
            Ok(word) if wanted(&word) => Ok(()),
            Ok(Word::Refused(what)) => Err(Reply::Refused(what)),
            Ok(Word::Failed(what)) => Err(Reply::Failed(what)),
            Ok(other) => Err(Reply::Failed(format!(
                "start the command: init said {other:?}"
            ))),
            Err(error) => Err(Reply::Failed(format!("start the command: init: {error}"))),
        }
    }

    fn kill(&self) {
        // Ended already is as good.
        let _ = pidfd_send_signal(&self.init_fd, Signal::KILL);
    }

    /// Waits for the command's end, a kill, or the end of its time.
    fn watch(
        &self,
        launcher: &UnixStream,
        helper: BorrowedFd<'_>,
        started: Instant,
        spec: &Spec,
    ) -> Watch {
        let end = started + Duration::from_millis(spec.limits.wall_ms);
        let mut watch = Watch::default();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let mut fds = [
                PollFd::new(&self.socket, PollFlags::IN),
                PollFd::from_borrowed_fd(helper, PollFlags::IN),
                PollFd::new(launcher, PollFlags::IN),
            ];
            // Once the job is killed, only its end is of interest.
            let fds = if watch.killed {
                &mut fds[..1]
            } else {
                &mut fds[..]
            };
            let timeout = (!watch.killed).then(|| timespec(left));
            match poll(fds, timeout.as_ref()) {
                Ok(0) => {
                    watch.timed_out = true;
                    watch.killed = true;
                    self.kill();
                }
                Err(Errno::INTR) => {}
                Ok(_) if !fds[0].revents().is_empty() => {
                    watch.word = wire::receive::<Word>(&mut &self.socket).ok();
                    return watch;
                }
                // A kill was asked for, or whoever could ask is gone.
                Ok(_) | Err(_) => {
                    watch.killed = true;
                    self.kill();
                }
            }
        }
    }

    /// Buries init, which ends only after everything else in the job, and adds up.
    fn finish(self, watch: Watch, started: Instant) -> Reply {
        let (raw, cost) = match sys::wait(self.init) {
            Ok(waited) => waited,
            Err(error) => return Reply::Failed(format!("wait for the job: {error}")),
        };
        let wall_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let status = match watch.word {
            Some(Word::Code(code)) => Status::Code(code),
            Some(Word::Signal(signal)) => Status::Signal(signal),
            Some(other) => return Reply::Failed(format!("end the job: init said {other:?}")),
            None => match own_end(raw) {
                Some(signal) => Status::Signal(signal),
                None => return Reply::Failed(format!("end the job: init left with {raw:#x}")),
            },
        };
        let limit = if watch.timed_out {
            Some(Limit::WallClock)
        } else if self.group.ran_out_of_memory() {
            Some(Limit::Memory)
        } else {
            self.group.ran_out_of_pids().then_some(Limit::Pids)
        };
        Reply::Exited(Exit {
            status,
            limit,
            wall_ms,
            cpu_ms: self.group.cpu_ms().unwrap_or(cost.cpu_ms),
            peak_memory_bytes: self.group.peak_memory().unwrap_or(cost.peak_bytes),
        })
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        self.kill();
        // Already buried where the job has run; its directories go when it is gone.
        let _ = sys::wait(self.init);
    }
}

/// What was seen while the command ran.
#[derive(Default)]
struct Watch {
    word: Option<Word>,
    killed: bool,
    timed_out: bool,
}

/// The signal that ended init itself.
fn own_end(raw: i32) -> Option<i32> {
    libc::WIFSIGNALED(raw).then(|| libc::WTERMSIG(raw))
}

fn timespec(left: Duration) -> Timespec {
    let secs = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
    // Rounded up by the kernel's own clock: never wakes before the time is up.
    Timespec {
        tv_sec: secs,
        tv_nsec: left.subsec_nanos().into(),
    }
}

/// What the overlays left in the work directories: empty directories that only root can remove.
fn drop_work(spec: &Spec) {
    let layered = spec.layered.iter().map(|layered| &layered.work);
    for work in layered.chain([&spec.root.work]) {
        for name in ["work", "incompat"] {
            // Whoever made the work directory removes it; what stays here only makes that harder.
            let _ = fs::remove_dir_all(spec.root.store.join(work).join(name));
        }
    }
}

/// Shows the job in the process table.
fn name_process(job: &JobName) {
    let shown = format!("job:{job}").chars().take(15).collect::<String>();
    if let Ok(name) = std::ffi::CString::new(shown) {
        let _ = rustix::thread::set_name(&name);
    }
}

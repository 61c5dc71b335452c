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
    process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal},
    thread::{set_capabilities, set_thread_res_uid},
};

use crate::{
    cell::{self, Guards, Seed, Unguarded},
    cgroup::{Controller, Group, Leftover, Places},
    defences::{Defence, Defences},
    disk::Look,
    gate,
    guard::Guard,
    ids,
    limits::ID_COUNT,
    oci,
    rights::Rights,
    sandbox::{Exit, Limit, Status},
    spec::{JobName, Network, Spec},
    sys,
    wire::{self, Reply, Request, WireError, Word},
};

/// What every job of a helper shares.
pub(crate) struct Kit {
    pub(crate) guards: Guards,
    pub(crate) places: Places,
    pub(crate) tag: JobName,
    /// The first id of the helper's block, if it has one.
    pub(crate) first_id: Option<u32>,
}

impl Kit {
    /// The host's id of the root of the job that has this range of the block.
    fn id_base(&self, range: u32) -> u32 {
        let without = self.guards.without.has(Defence::UserNamespace);
        match self.first_id {
            Some(first) if !without => first + range * ID_COUNT,
            _ => 0,
        }
    }
}

/// The whole life of a supervisor. `helper` is its socket to the helper, whose end is the order to
/// stop; the job comes from the launcher by the other.
pub(crate) fn supervise(helper: &OwnedFd, job: &OwnedFd, kit: &Kit, range: u32) -> i32 {
    sys::reap_children_by_kernel(false);
    let cell = Cell::make(kit, range);
    let Some((socket, output)) = await_job(helper, job) else {
        return 0;
    };
    let (reply, rest) = match cell {
        Ok(mut cell) => {
            let reply = cell.run(&socket, output, helper.as_fd());
            // Init alone is left, which is ours: whoever waits for the job's end has it. What must be
            // gone before its directories are used again is gone when the socket is closed.
            let rest = cell.is_over.then_some(cell);
            (reply, rest)
        }
        Err(error) => (Reply::Failed(error), None),
    };
    // Nobody listens if the launcher is gone.
    let _ = wire::send(&mut &socket, &reply);
    drop(rest);
    0
}

/// The job's socket and its output; nothing if the cell is not wanted any more.
fn await_job(helper: &OwnedFd, job: &OwnedFd) -> Option<(UnixStream, OwnedFd)> {
    loop {
        let mut fds = [
            PollFd::new(job, PollFlags::IN),
            PollFd::new(helper, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            Err(_) => return None,
            Ok(_) => {}
        }
        if !fds[1].revents().is_empty() {
            return None;
        }
        // One byte alone, so that nothing of the request is taken for part of it.
        let (_, fds) = wire::receive_fds(job, 1).ok()?;
        let output = fds.into_iter().next()?;
        return Some((UnixStream::from(job.try_clone().ok()?), output));
    }
}

/// A cell as its supervisor sees it.
struct Cell {
    init: Pid,
    init_fd: OwnedFd,
    /// To init; for the job, its word, and its end.
    socket: UnixStream,
    users: Users,
    /// What an OCI runtime makes for the job; it goes before `group`.
    leftover: Option<Leftover>,
    group: Group,
    without: Defences,
    /// Every process of the job is dead, and init about to end.
    is_over: bool,
    /// The host's id of the job's root.
    id_base: u32,
}

/// A user namespace, its ids mapped.
struct Users {
    namespace: OwnedFd,
    /// Whether this helper's node is not root: then all jobs have the ids of its own namespace.
    rootless: bool,
}

impl Users {
    fn make(owner: Option<u32>, id_base: u32) -> io::Result<Self> {
        let Some(owner) = owner else {
            return Self::make_owned(id_base);
        };
        let rights = rustix::thread::capabilities(None)?;
        set_thread_res_uid(Uid::ROOT, Uid::from_raw(owner), Uid::ROOT)?;
        let made = set_capabilities(None, rights)
            .map_err(io::Error::from)
            .and_then(|()| Self::make_owned(id_base));
        set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
        made
    }

    fn make_owned(id_base: u32) -> io::Result<Self> {
        sys::with_new_users(|first| Self::map(first, id_base))
    }

    fn map(first: Pid, id_base: u32) -> io::Result<Self> {
        let path = format!("/proc/{}/ns/user", first.as_raw_nonzero());
        let namespace = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let line = format!("0 {id_base} {ID_COUNT}\n");
        for map in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{}/{map}", first.as_raw_nonzero()), &line)?;
        }
        Ok(Self {
            namespace,
            rootless: Rights::own() == Rights::Rootless,
        })
    }
}

/// For `map_err`: names what was tried, for people.
fn because<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> String + '_ {
    move |error| format!("{what}: {error}")
}

impl Cell {
    fn make(kit: &Kit, range: u32) -> Result<Self, String> {
        let owner = kit.first_id.map(|first| ids::owner(first, getpid()));
        let id_base = kit.id_base(range);
        let users = Users::make(owner, id_base).map_err(because("make a user namespace"))?;
        let group = kit
            .places
            .make(&kit.tag)
            .map_err(because("make a control group"))?;
        let (socket, theirs) = UnixStream::pair().map_err(because("make a socket"))?;
        let unguarded = Unguarded {
            memory: !kit.places.has(Controller::Memory),
            pids: !kit.places.has(Controller::Pids),
        };
        let seed = Seed {
            socket: &theirs,
            users: users.namespace.as_fd(),
            id_base,
            rootless: users.rootless,
            guards: &kit.guards,
            unguarded,
            group: group.name(),
        };
        let born = sys::run_aside(|| {
            // This process must not be in the group: it is not to die with it, nor to count.
            group
                .admit(getpid())
                .map_err(because("join the control group"))?;
            cell::bear(&seed).map_err(because("make namespaces"))
        });
        let init = born.map_err(because("fork"))??;
        drop(theirs);
        let init_fd = pidfd_open(init, PidfdFlags::empty()).map_err(because("watch the cell"))?;
        Ok(Self {
            init,
            init_fd,
            socket,
            users,
            leftover: kit.guards.runtime.is_some().then(|| Leftover::of(&group)),
            group,
            without: kit.guards.without,
            is_over: false,
            id_base,
        })
    }

    /// The job, from request to report.
    fn run(&mut self, launcher: &UnixStream, output: OwnedFd, helper: BorrowedFd<'_>) -> Reply {
        let mut request = match wire::receive_request(&mut &*launcher) {
            Ok(request) => request,
            Err(error) => return Reply::Failed(format!("read the job: {error}")),
        };
        if let Err(error) = request.spec.check() {
            return Reply::Refused(error.to_string());
        }
        request.spec.rootless = self.users.rootless;
        request.spec.id_base = self.id_base;
        self.without.loosen(&mut request.spec);
        name_process(&request.spec.job);
        let (mut guard, gate) = match self.start(&request, output) {
            Ok(started) => started,
            Err(reply) => return reply,
        };
        // Only the job has them from here on.
        request.spec.secrets.clear();
        let spec = &request.spec;
        let started = Instant::now();
        let told = wire::send(&mut &*launcher, &Reply::Started).is_ok()
            && gate.is_none_or(|gate| gate::pass(launcher, &gate).is_ok());
        if !told {
            self.kill();
        }
        let end = started + Duration::from_millis(spec.limits.wall_ms);
        let watch = self.watch(launcher, helper, end, &mut guard);
        let reply = self.finish(watch, started, guard);
        if spec.rootless {
            drop_work(spec);
        }
        reply
    }

    /// Hands the job over, sets the limits, and waits until its command runs. Brings its gate, if it
    /// has one.
    fn start(
        &mut self,
        request: &Request,
        output: OwnedFd,
    ) -> Result<(Guard, Option<OwnedFd>), Reply> {
        let spec = &request.spec;
        let told = |what: &str| {
            let what = what.to_owned();
            move |error: WireError| Reply::Failed(format!("{what}: {error}"))
        };
        let fail = |what: &str, error: io::Error| Reply::Failed(format!("{what}: {error}"));
        // So that the job can open its own /dev/stdout.
        let (uid, gid) = (
            Uid::from_raw(spec.id_base + spec.uid),
            Gid::from_raw(spec.id_base + spec.gid),
        );
        fchown(&output, Some(uid), Some(gid)).map_err(|e| fail("own the output", e.into()))?;
        // A runtime's own threads are in the same groups until the command runs.
        let at_first = match self.leftover {
            Some(_) => oci::roomy(&spec.limits),
            None => spec.limits,
        };
        wire::send_fds(&self.socket, b"j", &[output.as_fd()])
            .map_err(|e| fail("pass the output", e.into()))?;
        // The pipe's end must mean that the job has let go of it.
        drop(output);
        wire::send(&mut &self.socket, request)
            .and_then(|()| wire::send_secrets(&mut &self.socket, spec))
            .map_err(told("pass the job"))?;
        // While init builds the root. Nothing of the job's runs before init has this word.
        let guard = Guard::open(spec);
        self.group
            .bound(&at_first)
            .map_err(|e| fail("set the limits", e))?;
        // An init that could not build the root is gone, and its word comes next.
        let _ = io::Write::write_all(&mut &self.socket, &[cell::BOUND]);
        let mut gate = None;
        if spec.network == Network::Gate {
            self.expect(|word| matches!(word, Word::Gate))?;
            gate = Some(gate::take(&self.socket).map_err(|e| fail("take the job's gate", e))?);
        }
        self.expect(|word| matches!(word, Word::Running))?;
        if at_first != spec.limits {
            self.group
                .bound(&spec.limits)
                .map_err(|e| fail("set the limits", e))?;
        }
        // Where the directories are wrong, init has said so in better words.
        let guard = guard.map_err(|e| fail("watch the job's disk use", e))?;
        Ok((guard, gate))
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

    /// Kills every process of the job: by its first one, with which the kernel ends those of its
    /// namespace, and by its groups, so that neither has to be there.
    fn kill(&self) {
        self.end();
        self.group.hurry();
        self.group.kill();
    }

    fn end(&self) {
        // Ended already is as good.
        let _ = pidfd_send_signal(&self.init_fd, Signal::KILL);
    }

    /// Waits for the command's end, a kill, a bound, or the end of its time.
    fn watch(
        &self,
        launcher: &UnixStream,
        helper: BorrowedFd<'_>,
        end: Instant,
        guard: &mut Guard,
    ) -> Watch {
        let mut watch = Watch::default();
        let mut nap = Duration::ZERO;
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
            let timeout = (!watch.killed).then(|| timespec(left.min(nap)));
            match poll(fds, timeout.as_ref()) {
                Ok(0) if Instant::now() >= end => self.stop(&mut watch, Some(Limit::WallClock)),
                Ok(0) => match guard.look(&self.group, self.init) {
                    Look::Again(after) => nap = after,
                    Look::Over(limit) => self.stop(&mut watch, Some(limit)),
                },
                Err(Errno::INTR) => {}
                Ok(_) if !fds[0].revents().is_empty() => {
                    watch.word = wire::receive::<Word>(&mut &self.socket).ok();
                    return watch;
                }
                // A kill was asked for, or whoever could ask is gone.
                Ok(_) | Err(_) => self.stop(&mut watch, None),
            }
        }
    }

    fn stop(&self, watch: &mut Watch, limit: Option<Limit>) {
        watch.killed = true;
        // Asked first: what dies in a kill may be counted as having met a bound.
        watch.limit = limit.or_else(|| self.group.ran_out());
        self.kill();
    }

    /// Adds up. Where init has said that nobody else is left, and the host counts for itself, that is
    /// the end; else init is buried first, which ends only after everything else in the job.
    fn finish(&mut self, watch: Watch, started: Instant, guard: Guard) -> Reply {
        let own = !self.without.has(Defence::PidNamespace) && !self.users.rootless;
        let is_over = own && !watch.killed && watch.word.is_some();
        let counted = is_over.then(|| self.group.cost()).flatten();
        let (raw, cost) = match counted {
            Some(cost) => {
                self.is_over = true;
                (0, cost)
            }
            _ => match sys::wait(self.init) {
                Ok((raw, cost)) => (raw, self.group.cost().unwrap_or(cost)),
                Err(error) => return Reply::Failed(format!("wait for the job: {error}")),
            },
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
        let limit = if watch.killed {
            // Nobody waits for the size of what was cancelled.
            watch.limit
        } else {
            self.group.ran_out().or_else(|| guard.last(status))
        };
        Reply::Exited(Exit {
            status,
            limit,
            wall_ms,
            cpu_ms: cost.cpu_ms,
            peak_memory_bytes: cost.peak_bytes,
        })
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        self.end();
        // Already buried where the job has run; its directories go when it is gone.
        let _ = sys::wait(self.init);
    }
}

/// What was seen while the command ran.
#[derive(Default)]
struct Watch {
    word: Option<Word>,
    killed: bool,
    /// What it was killed for, if for a bound.
    limit: Option<Limit>,
}

/// The signal that ended init itself.
fn own_end(raw: i32) -> Option<i32> {
    libc::WIFSIGNALED(raw).then(|| libc::WTERMSIG(raw))
}

pub(crate) fn timespec(left: Duration) -> Timespec {
    let secs = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
    // Rounded up by the kernel's own clock: never wakes before the time is up.
    Timespec {
        tv_sec: secs,
        tv_nsec: left.subsec_nanos().into(),
    }
}

/// What the overlays left in the work directories: empty directories that only root can remove. A
/// node that is root removes them with the work directories, when nobody waits for that.
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

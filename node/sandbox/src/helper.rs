//! The helper process: forks supervisors, keeps a few ready, hands jobs to them.
//!
//! The program's own image, started anew with one argument, so it has one thread and no secret
//! of the node in its memory. It never reads a job. It ends when the launcher's socket closes or
//! the launcher's process dies, and not before every job is gone.

use std::{
    collections::VecDeque,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    str::FromStr,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags, open},
    io::Errno,
    net::{AddressFamily, Shutdown, SocketFlags, SocketType, shutdown, socketpair},
    process::{Pid, PidfdFlags, getppid, pidfd_open, setsid},
};

use crate::{
    cell::{Guards, privileges::never_dump},
    cgroup::Places,
    defences::{Defence, DefenceError, Defences},
    ids::{Block, ClaimError},
    landlock::Landlock,
    limits::{HELPER_STOP_MS, JOBS_MAX, WARM_AFTER, WARM_MAX},
    oci::Program,
    rights::Rights,
    seccomp::Filter,
    spec::JobName,
    supervisor::{Kit, supervise, timespec},
    sys, wire,
};

/// First argument of a program that is to be a helper.
pub const HELPER_ARG: &str = "caravan-sandbox-helper";
/// First byte of an answer: ready, or the reason why not follows.
pub(crate) const READY: u8 = b'r';
/// The news that a cell has a job, or an order for one if none is ready.
pub(crate) const TAKEN: u8 = b'j';
/// An answer: a cell, by the socket that comes with it, of the generation that follows. Without a
/// socket there can be no more.
pub(crate) const CELL: u8 = b'c';
/// An order to mark all later jobs with the tag that follows.
pub(crate) const TAG: u8 = b't';
/// An order to have an OCI runtime start the commands of all later jobs.
pub(crate) const RUNTIME: u8 = b'o';

/// Becomes the helper and never returns, if the program was started as one. The first thing in
/// `main` of every program that uses a [`crate::Launcher`].
pub fn run_as_helper_if_asked() {
    if is_helper() {
        helper_main();
    }
}

/// Whether this process was started as a helper.
pub(crate) fn is_helper() -> bool {
    std::env::args_os()
        .nth(1)
        .is_some_and(|arg| arg == HELPER_ARG)
}

/// The defences that this helper is to do without.
fn left_out() -> Result<Defences, DefenceError> {
    let arguments: Vec<String> = std::env::args_os()
        .skip(2)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    Defences::from_arguments(arguments.iter().map(String::as_str))
}

/// Ids for the jobs. A node without root's rights has those that its user namespace maps, and no
/// other process can have them in it.
fn claim_ids() -> Result<Option<Block>, ClaimError> {
    if Rights::own() == Rights::Rootless {
        return Ok(None);
    }
    Block::claim().map(Some)
}

/// What jobs are marked with until the node says otherwise. Nodes in containers may share the host's
/// control groups and have the same process numbers: so the namespace of the numbers is in it.
fn first_tag(launcher: Pid) -> Result<JobName, String> {
    let numbers = std::fs::metadata("/proc/self/ns/pid")
        .map_err(|error| format!("look at the namespace of processes: {error}"))?;
    let tag = format!("p{}-{}", launcher.as_raw_nonzero(), numbers.ino());
    JobName::from_str(&tag).map_err(|error| error.to_string())
}

/// The helper's whole life; its socket to the launcher is descriptor 0.
pub fn helper_main() -> ! {
    let code = match Helper::start() {
        Ok(mut helper) => {
            helper.serve();
            helper.stop();
            0
        }
        Err(what) => {
            // The launcher reads this instead of the answer that it waits for.
            let _ = rustix::io::write(rustix::stdio::stdin(), what.as_bytes());
            1
        }
    };
    std::process::exit(code)
}

struct Helper {
    launcher: OwnedFd,
    /// Readable when the launcher's process is dead, even if somebody else holds its socket.
    launcher_process: OwnedFd,
    kit: Kit,
    /// Held for the jobs by their supervisors as well.
    ids: Option<Block>,
    /// Supervisors that wait for a job, oldest first.
    ready: VecDeque<Supervisor>,
    /// Supervisors that have one.
    busy: Vec<Supervisor>,
    /// When the next one is made ready, if there are too few.
    warm_at: Option<Instant>,
    /// Counts the orders after which no cell made before is of use.
    generation: u8,
}

/// A supervisor as the helper knows it.
struct Supervisor {
    socket: OwnedFd,
    /// Which of the block's ranges of ids its job has; nobody else's has it meanwhile.
    range: u32,
}

impl AsFd for Supervisor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Helper {
    fn start() -> Result<Self, String> {
        let told = |what: &'static str| move |error: Errno| format!("failed to {what}: {error}");
        let launcher = sys::take_stdin().map_err(|e| format!("failed to take the socket: {e}"))?;
        sys::close_all_but(&[launcher.as_fd()]).map_err(|e| format!("failed to close: {e}"))?;
        let parent = getppid().ok_or("failed to start: the launcher is gone")?;
        let launcher_process =
            pidfd_open(parent, PidfdFlags::empty()).map_err(told("watch the launcher"))?;
        // Ctrl-C in a terminal is for the node, which then ends its jobs in its own order.
        setsid().map_err(told("leave the session"))?;
        let _ = rustix::thread::set_name(c"sandbox-helper");
        let without = left_out().map_err(|error| format!("failed to {error}"))?;
        if !without.has(Defence::NoCoreDumps) {
            never_dump().map_err(|error| format!("failed to forbid core dumps: {error}"))?;
        }
        sys::reap_children_by_kernel(true);
        let filter = Filter::compile().map_err(|error| format!("failed to {error}"))?;
        let tag = first_tag(parent).map_err(|error| format!("failed to {error}"))?;
        // While no job is there: what moves into a group of its own is the node, and this.
        let places = Places::settle().map_err(|error| format!("failed to {error}"))?;
        let ids = claim_ids().map_err(|error| format!("failed to {error}"))?;
        rustix::io::write(&launcher, &[READY]).map_err(told("answer"))?;
        let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        null.and_then(rustix::stdio::dup2_stdin)
            .map_err(told("open /dev/null"))?;
        let kit = Kit {
            guards: Guards {
                filter,
                landlock: Landlock::find(),
                without,
                runtime: None,
            },
            places,
            tag,
            first_id: ids.as_ref().map(Block::first),
        };
        Ok(Self {
            launcher,
            launcher_process,
            kit,
            ids,
            ready: VecDeque::new(),
            busy: Vec::new(),
            warm_at: None,
            generation: 0,
        })
    }

    fn serve(&mut self) {
        loop {
            let mut fds = vec![
                PollFd::new(&self.launcher, PollFlags::IN),
                PollFd::new(&self.launcher_process, PollFlags::IN),
            ];
            fds.extend(self.busy.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
            let left = self
                .warm_at
                .map(|at| timespec(at.saturating_duration_since(Instant::now())));
            match poll(&mut fds, left.as_ref()) {
                Err(Errno::INTR) => continue,
                Err(_) => return,
                Ok(_) => {}
            }
            let stirred: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            if stirred[1] {
                return;
            }
            // A supervisor never speaks: what stirs has ended.
            let mut ended = stirred[2..].iter();
            self.busy
                .retain(|_| !ended.next().is_some_and(|ended| *ended));
            if stirred[2..].contains(&true) && self.warm_at.is_some() {
                self.warm_at = Some(Instant::now());
            }
            if stirred[0] && !self.obey() {
                return;
            }
            self.warm_up();
        }
    }

    /// Takes one order; whether there may be more.
    fn obey(&mut self) -> bool {
        let Ok((order, _)) = wire::receive_fds(&self.launcher, wire::ORDER_MAX) else {
            return false;
        };
        match order.split_first() {
            None => return false,
            Some((&TAKEN, _)) => self.note_taken(),
            Some((&TAG, tag)) => {
                let tag = std::str::from_utf8(tag)
                    .ok()
                    .and_then(|tag| tag.parse().ok());
                if let Some(tag) = tag {
                    self.kit.tag = tag;
                }
                // They carry the old one.
                self.renounce();
            }
            Some((&RUNTIME, program)) => {
                // With another than the one that was asked for, no job shall start.
                let Some(program) = Program::decode(program) else {
                    return false;
                };
                self.kit.guards.runtime = Some(program);
                self.renounce();
            }
            // Only our own launcher speaks to us.
            Some(_) => {}
        }
        true
    }

    /// Lets go of all cells that wait; the launcher takes none of them any more.
    fn renounce(&mut self) {
        for supervisor in self.ready.drain(..) {
            // Its ids are its own until it is gone.
            let _ = shutdown(&supervisor, Shutdown::Write);
            self.busy.push(supervisor);
        }
        self.generation = self.generation.wrapping_add(1);
    }

    /// A cell has its job. Cells are taken in the order in which they were offered; if none is there,
    /// the launcher waits for one.
    fn note_taken(&mut self) {
        if self.ready.is_empty() {
            self.fork_one();
        }
        match self.ready.pop_front() {
            Some(supervisor) => self.busy.push(supervisor),
            None => self.offer(None),
        }
    }

    /// Hands the launcher the way to a cell, or the word that there is none.
    fn offer(&self, cell: Option<BorrowedFd<'_>>) {
        let fds: Vec<_> = cell.into_iter().collect();
        // Fails only if the launcher is gone, with which everything ends.
        let _ = wire::send_fds(&self.launcher, &[CELL, self.generation], &fds);
    }

    /// Makes one ready if there are too few, but not beside the start of the job for which another
    /// has just gone: making a cell takes as much of a processor as starting a job in it.
    fn warm_up(&mut self) {
        if self.ready.len() >= WARM_MAX {
            self.warm_at = None;
            return;
        }
        let now = Instant::now();
        match self.warm_at {
            None => self.warm_at = Some(now + WARM_AFTER),
            Some(at) if at <= now => {
                self.fork_one();
                self.warm_at = (self.ready.len() < WARM_MAX).then_some(now + WARM_AFTER);
            }
            Some(_) => {}
        }
    }

    fn fork_one(&mut self) {
        // There are as many ranges of ids.
        if self.ready.len() + self.busy.len() >= JOBS_MAX {
            return;
        }
        let pair = || {
            socketpair(
                AddressFamily::UNIX,
                SocketType::STREAM,
                SocketFlags::CLOEXEC,
                None,
            )
        };
        let (Ok((ours, theirs)), Ok((launchers, job))) = (pair(), pair()) else {
            return;
        };
        let keep: Vec<_> = [theirs.as_fd(), job.as_fd()]
            .into_iter()
            .chain(self.ids.as_ref().map(Block::as_fd))
            .collect();
        let range = self.free_range();
        let forked = sys::fork_with(0, &keep, || supervise(&theirs, &job, &self.kit, range));
        if forked.is_ok() {
            self.offer(Some(launchers.as_fd()));
            self.ready.push_back(Supervisor {
                socket: ours,
                range,
            });
        }
    }

    /// The first range that is nobody's; there are enough for all that can be at once.
    fn free_range(&self) -> u32 {
        let mut taken: Vec<u32> = (self.ready.iter().chain(&self.busy))
            .map(|supervisor| supervisor.range)
            .collect();
        taken.sort_unstable();
        (0..)
            .zip(taken)
            .find(|(range, taken)| range != taken)
            .map_or_else(
                || u32::try_from(self.ready.len() + self.busy.len()).unwrap_or(u32::MAX),
                |(range, _)| range,
            )
    }

    /// Tells every supervisor to end its job, waits until they are gone, and removes what one
    /// that was killed may have left.
    fn stop(&mut self) {
        let mut left: Vec<Supervisor> = self.ready.drain(..).chain(self.busy.drain(..)).collect();
        for supervisor in &left {
            let _ = shutdown(supervisor, Shutdown::Write);
        }
        let end = Instant::now() + Duration::from_millis(HELPER_STOP_MS);
        while !left.is_empty() && Instant::now() < end {
            let mut fds: Vec<_> = left
                .iter()
                .map(|fd| PollFd::new(fd, PollFlags::IN))
                .collect();
            let tick = Timespec {
                tv_sec: 0,
                tv_nsec: 100_000_000,
            };
            if poll(&mut fds, Some(&tick)).is_err() {
                continue;
            }
            let gone: Vec<bool> = fds
                .iter()
                .map(|fd| fd.revents().contains(PollFlags::HUP))
                .collect();
            let mut gone = gone.iter();
            left.retain(|_| !gone.next().is_some_and(|gone| *gone));
        }
        drop(left);
        let _ = self.kit.places.clean(&self.kit.tag);
    }
}

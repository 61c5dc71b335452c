//! The helper process: forks supervisors, keeps a few ready, hands jobs to them.
//!
//! The program's own image, started anew with one argument, so it has one thread and no secret
//! of the node in its memory. It never reads a job. It ends when the launcher's socket closes or
//! the launcher's process dies, and not before every job is gone.

use std::{
    collections::VecDeque,
    os::{
        fd::{AsFd, OwnedFd},
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
    limits::{HELPER_STOP_MS, ID_FIRST, JOBS_MAX, WARM_AFTER, WARM_MAX},
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
/// An order to run the job whose two descriptors come with it.
pub(crate) const JOB: u8 = b'j';
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
    ready: VecDeque<OwnedFd>,
    /// Supervisors that have one.
    busy: Vec<OwnedFd>,
    /// When the next one is made ready, if there are too few.
    warm_at: Option<Instant>,
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
        let first = ids.as_ref().map_or(ID_FIRST, Block::first);
        let answer: Vec<u8> = [READY].into_iter().chain(first.to_le_bytes()).collect();
        rustix::io::write(&launcher, &answer).map_err(told("answer"))?;
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
        let Ok((order, fds)) = wire::receive_fds(&self.launcher, wire::ORDER_MAX) else {
            return false;
        };
        match order.split_first() {
            None => return false,
            Some((&JOB, _)) if fds.len() == 2 => self.hand_out(&fds),
            Some((&TAG, tag)) => {
                let tag = std::str::from_utf8(tag)
                    .ok()
                    .and_then(|tag| tag.parse().ok());
                if let Some(tag) = tag {
                    self.kit.tag = tag;
                    // They carry the old one.
                    self.ready.clear();
                }
            }
            Some((&RUNTIME, program)) => {
                // With another than the one that was asked for, no job shall start.
                let Some(program) = Program::decode(program) else {
                    return false;
                };
                self.kit.guards.runtime = Some(program);
                self.ready.clear();
            }
            // Only our own launcher speaks to us.
            Some(_) => {}
        }
        true
    }

    /// Gives a job to a waiting supervisor. If none takes it, the launcher sees its socket close.
    fn hand_out(&mut self, fds: &[OwnedFd]) {
        if self.busy.len() >= JOBS_MAX {
            return;
        }
        self.ready_one();
        while let Some(supervisor) = self.ready.pop_front() {
            let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            if wire::send_fds(&supervisor, &[JOB], &fds).is_ok() {
                self.busy.push(supervisor);
                return;
            }
        }
    }

    fn ready_one(&mut self) {
        if self.ready.is_empty() {
            self.fork_one();
        }
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
        let kind = SocketType::SEQPACKET;
        let pair = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
        let Ok((ours, theirs)) = pair else { return };
        let keep: Vec<_> = [theirs.as_fd()]
            .into_iter()
            .chain(self.ids.as_ref().map(Block::as_fd))
            .collect();
        let forked = sys::fork_with(0, &keep, || supervise(&theirs, &self.kit));
        if forked.is_ok() {
            self.ready.push_back(ours);
        }
    }

    /// Tells every supervisor to end its job, waits until they are gone, and removes what one
    /// that was killed may have left.
    fn stop(&mut self) {
        let mut left: Vec<OwnedFd> = self.ready.drain(..).chain(self.busy.drain(..)).collect();
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

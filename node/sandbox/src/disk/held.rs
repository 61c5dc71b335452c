//! Counts files that have no name any more and that a process of the job still holds: open in any
//! thread, mapped, run, or as the directory that it is in.
//!
//! Reads /proc of the host. What it finds in memory (memfd, tmpfs) is not of the disk and is left
//! to the bound on memory. A file that is only in a socket's queue cannot be seen; that there are
//! such is said.

use std::{
    collections::BTreeSet, fs::File, io::Read as _, mem::MaybeUninit, os::fd::OwnedFd, path::Path,
};

use rustix::{
    fs::{AtFlags, FileType, RawDir, Stat, readlinkat, statat, statfs},
    process::Pid,
};

use super::{
    Id, Usage, id_of,
    walk::{Step, open_at},
};
use crate::{
    cgroup::{Members, read_small},
    limits::{HELD_FILES_MAX, HELD_MAPS_MAX, HELD_ROUNDS, WALK_READ_BYTES},
    sys::same_files,
};

/// Magic number of overlay file systems.
const OVERLAY: rustix::fs::FsWord = 0x794c_7630;
/// How the kernel marks what has no name any more.
const DELETED: &[u8] = b" (deleted)";

/// Bytes of either end of a line of maps that are kept where it is longer than a piece.
const ENDS: usize = 64;
const PIECE: usize = 16 * 1024;

/// A count under way.
pub(super) struct Held {
    members: Members,
    /// Processes that have been listed.
    known: BTreeSet<i32>,
    rounds: usize,
    restless: bool,
    /// Still to be looked at, the next one last.
    todo: Vec<Todo>,
    now: Option<Part>,
    /// Of the process that is looked at: a thread whose descriptors were, and whether its maps were.
    table: Option<Pid>,
    mapped: bool,
    devices: Vec<u64>,
    found: BTreeSet<Id>,
    bytes: u64,
    /// Files in queues of sockets.
    queued: u64,
    /// Descriptors, threads and bytes of maps looked at so far.
    looked: (usize, usize),
    buffer: Vec<u8>,
}

enum Todo {
    Process(Pid),
    /// A thread's descriptors and directories: it may have its own, and outlive the first.
    Files(Pid),
    /// A thread's memory, which is that of its process unless the thread has ended.
    Memory(Pid),
}

/// Of one thread.
enum Part {
    /// `/proc/TID/fd`.
    Open(Pid, OwnedFd),
    /// `/proc/TID/maps`, with the beginning of a line that was cut.
    Mapped(Pid, File, Vec<u8>),
}

impl Held {
    /// What these hold of the file systems of `dirs` and of overlays.
    pub(super) fn by(members: Members, dirs: &[OwnedFd]) -> Self {
        let devices = dirs.iter().filter_map(|dir| Some(id_of(dir).ok()?.0));
        Self {
            members,
            known: BTreeSet::new(),
            rounds: 0,
            restless: false,
            todo: Vec::new(),
            now: None,
            table: None,
            mapped: false,
            devices: devices.collect(),
            found: BTreeSet::new(),
            bytes: 0,
            queued: 0,
            looked: (0, 0),
            buffer: Vec::with_capacity(WALK_READ_BYTES),
        }
    }

    pub(super) fn seen(&self) -> Usage {
        Usage {
            bytes: self.bytes,
            inodes: self.found.len() as u64,
        }
    }

    /// Whether files are on their way from process to process, where nobody can look at them.
    pub(super) fn is_hiding(&self) -> bool {
        self.queued > 0
    }

    /// Whether processes came for as long as we looked: what they hold may have been passed on.
    pub(super) fn is_restless(&self) -> bool {
        self.restless
    }

    /// Looks at some files of one process.
    pub(super) fn step(&mut self) -> Step {
        if self.looked.0 > HELD_FILES_MAX || self.looked.1 > HELD_MAPS_MAX {
            return Step::Endless;
        }
        match self.now.take() {
            None => match self.todo.pop() {
                Some(todo) => self.begin(&todo),
                None => return self.list(),
            },
            Some(Part::Open(thread, dir)) => {
                if self.open_files(thread, &dir) {
                    self.now = Some(Part::Open(thread, dir));
                }
            }
            Some(Part::Mapped(thread, mut maps, mut cut)) => {
                if self.maps(thread, &mut maps, &mut cut) {
                    self.now = Some(Part::Mapped(thread, maps, cut));
                }
            }
        }
        Step::More
    }

    /// Those that came since the last time: a process that ends may have left its files to a child.
    fn list(&mut self) -> Step {
        let mut all = (self.members)();
        all.retain(|pid| self.known.insert(pid.as_raw_nonzero().get()));
        if all.is_empty() {
            return Step::Done;
        }
        if self.rounds == HELD_ROUNDS {
            self.restless = true;
            return Step::Done;
        }
        self.rounds += 1;
        self.todo.extend(all.into_iter().map(Todo::Process));
        Step::More
    }

    /// Whoever has ended holds nothing.
    fn begin(&mut self, todo: &Todo) {
        match *todo {
            Todo::Process(pid) => {
                (self.table, self.mapped) = (None, false);
                let threads = threads(pid);
                self.looked.0 += threads.len();
                for thread in threads.into_iter().rev() {
                    self.todo.push(Todo::Memory(thread));
                    self.todo.push(Todo::Files(thread));
                }
            }
            Todo::Files(thread) => {
                for name in ["cwd", "root"] {
                    self.take_at(|| at(thread, name));
                }
                if self.table.is_some_and(|seen| same_files(seen, thread)) {
                    return;
                }
                let dir = open_at(rustix::fs::CWD, at(thread, "fd").as_str());
                self.now = dir.ok().map(|dir| Part::Open(thread, dir));
                self.table = Some(thread);
            }
            Todo::Memory(thread) if !self.mapped => {
                self.take_at(|| at(thread, "exe"));
                let maps = File::open(at(thread, "maps")).ok();
                self.now = maps.map(|maps| Part::Mapped(thread, maps, Vec::new()));
            }
            Todo::Memory(_) => {}
        }
    }

    /// Whether there may be more of them.
    fn open_files(&mut self, thread: Pid, dir: &OwnedFd) -> bool {
        let mut buffer = std::mem::take(&mut self.buffer);
        let room: &mut [MaybeUninit<u8>] = buffer.spare_capacity_mut();
        let mut entries = RawDir::new(dir, room);
        let mut more = false;
        while let Some(Ok(entry)) = entries.next() {
            more = true;
            self.looked.0 += 1;
            let name = entry.file_name();
            if name != c"."
                && name != c".."
                && let Ok(stat) = statat(dir, name, AtFlags::empty())
            {
                let name = name.to_string_lossy();
                let path = |of: &str| at(thread, &format!("{of}/{name}"));
                if FileType::from_raw_mode(stat.st_mode) == FileType::Socket {
                    self.queued += queued(&path("fdinfo"));
                    // The name that it may have been bound to can be gone, and nobody tells.
                    self.found.insert((stat.st_dev, stat.st_ino));
                }
                self.take(&stat, || path("fd"));
            }
            if entries.is_buffer_empty() {
                break;
            }
        }
        self.buffer = buffer;
        more
    }

    /// Whether there may be more of them.
    fn maps(&mut self, thread: Pid, maps: &mut File, cut: &mut Vec<u8>) -> bool {
        let mut piece = [0; PIECE];
        let Ok(got @ 1..) = maps.read(&mut piece) else {
            return false;
        };
        self.mapped = true;
        self.looked.1 += got;
        cut.extend_from_slice(&piece[..got]);
        let Some(end) = cut.iter().rposition(|byte| *byte == b'\n') else {
            if cut.len() > PIECE {
                // What is told by a line is told at its ends.
                cut.drain(ENDS..cut.len() - ENDS);
            }
            return true;
        };
        for line in cut[..end].split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(DELETED).map(String::from_utf8_lossy);
            if let Some(range) = line.and_then(|line| range_of(&line)) {
                self.take_at(|| at(thread, &format!("map_files/{range}")));
            }
        }
        cut.drain(..=end);
        true
    }

    fn take_at(&mut self, path: impl Fn() -> String) {
        if let Ok(stat) = statat(rustix::fs::CWD, path(), AtFlags::empty()) {
            self.take(&stat, path);
        }
    }

    fn take(&mut self, stat: &Stat, path: impl Fn() -> String) {
        let id = (stat.st_dev, stat.st_ino);
        if self.found.contains(&id) || !is_gone(stat, &path) {
            return;
        }
        let on_disk = self.devices.contains(&stat.st_dev)
            || statfs(path()).is_ok_and(|found| found.f_type == OVERLAY);
        if on_disk {
            self.found.insert(id);
            let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
            self.bytes = self.bytes.saturating_add(blocks.saturating_mul(512));
        }
    }
}

/// The path of something of one thread.
fn at(thread: Pid, name: &str) -> String {
    format!("/proc/{}/{name}", thread.as_raw_nonzero())
}

/// The threads of a process, by the same numbers as processes have.
fn threads(pid: Pid) -> Vec<Pid> {
    let found = std::fs::read_dir(at(pid, "task"));
    let number = |name: std::ffi::OsString| Pid::from_raw(name.to_str()?.parse().ok()?);
    let found = found.into_iter().flatten().flatten();
    found.filter_map(|task| number(task.file_name())).collect()
}

/// Whether it has no name any more. An overlay says of a directory that lies in several of its layers
/// that it has one, come what may.
fn is_gone(stat: &Stat, path: impl Fn() -> String) -> bool {
    let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let deleted = || {
        let target = readlinkat(rustix::fs::CWD, path(), Vec::new());
        target.is_ok_and(|target| target.to_bytes().ends_with(DELETED))
    };
    stat.st_nlink == 0 || (is_dir && stat.st_nlink == 1 && deleted())
}

/// How many files are in the queue of a socket.
fn queued(info: &str) -> u64 {
    let text = read_small(Path::new(info)).unwrap_or_default();
    let count = text.lines().find_map(|line| line.strip_prefix("scm_fds:"));
    count
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

/// The name in `map_files` of what a line of `maps` is about.
fn range_of(line: &str) -> Option<String> {
    let (start, end) = line.split_once(' ')?.0.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some(format!("{:x}-{:x}", number(start)?, number(end)?))
}

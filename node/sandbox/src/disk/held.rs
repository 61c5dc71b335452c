//! Counts files that have no name any more and that a process of the job still holds, open or
//! only mapped.
//!
//! Reads /proc of the host. What it finds in memory (memfd, tmpfs) is not of the disk and is left
//! to the bound on memory. A file that is only in a socket's queue cannot be seen; that there are
//! such is said.

use std::{
    collections::BTreeSet, fs::File, io::Read as _, mem::MaybeUninit, os::fd::OwnedFd, path::Path,
};

use rustix::{
    fs::{AtFlags, FileType, RawDir, Stat, statat, statfs},
    process::Pid,
};

use super::{
    Id, Usage, id_of,
    walk::{Step, open_at},
};
use crate::{
    cgroup::read_small,
    limits::{HELD_FILES_MAX, HELD_MAPS_MAX, WALK_READ_BYTES},
};

/// Magic number of overlay file systems.
const OVERLAY: i64 = 0x794c_7630;
/// How the kernel marks what has no name any more.
const DELETED: &str = " (deleted)";

/// A count under way.
pub(super) struct Held {
    /// Processes still to be looked at.
    left: Vec<Pid>,
    now: Option<Part>,
    devices: Vec<u64>,
    found: BTreeSet<Id>,
    bytes: u64,
    /// Files in queues of sockets.
    queued: u64,
    /// Descriptors and bytes of maps looked at so far.
    looked: (usize, usize),
    buffer: Vec<u8>,
}

/// Of one process.
enum Part {
    /// `/proc/PID/fd`.
    Open(Pid, OwnedFd),
    /// `/proc/PID/maps`, with the beginning of a line that was cut.
    Mapped(Pid, File, String),
}

impl Held {
    /// What these hold of the file systems of `dirs` and of overlays.
    pub(super) fn by(members: Vec<Pid>, dirs: &[OwnedFd]) -> Self {
        let devices = dirs.iter().filter_map(|dir| Some(id_of(dir).ok()?.0));
        Self {
            left: members,
            now: None,
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

    /// Looks at some files of one process.
    pub(super) fn step(&mut self) -> Step {
        if self.looked.0 > HELD_FILES_MAX || self.looked.1 > HELD_MAPS_MAX {
            return Step::Endless;
        }
        match self.now.take() {
            None => {
                let Some(pid) = self.left.pop() else {
                    return Step::Done;
                };
                // Whoever has ended holds nothing.
                let path = format!("/proc/{}/fd", pid.as_raw_nonzero());
                self.now = open_at(rustix::fs::CWD, path.as_str())
                    .ok()
                    .map(|dir| Part::Open(pid, dir));
            }
            Some(Part::Open(pid, dir)) => {
                self.now = if self.open_files(pid, &dir) {
                    Some(Part::Open(pid, dir))
                } else {
                    let path = format!("/proc/{}/maps", pid.as_raw_nonzero());
                    let maps = File::open(path).ok();
                    maps.map(|maps| Part::Mapped(pid, maps, String::new()))
                };
            }
            Some(Part::Mapped(pid, mut maps, mut cut)) => {
                if self.maps(pid, &mut maps, &mut cut) {
                    self.now = Some(Part::Mapped(pid, maps, cut));
                }
            }
        }
        Step::More
    }

    /// Whether there may be more of them.
    fn open_files(&mut self, pid: Pid, dir: &OwnedFd) -> bool {
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
                let path = |of: &str| format!("/proc/{}/{of}/{name}", pid.as_raw_nonzero());
                if FileType::from_raw_mode(stat.st_mode) == FileType::Socket {
                    self.queued += queued(&path("fdinfo"));
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
    fn maps(&mut self, pid: Pid, maps: &mut File, cut: &mut String) -> bool {
        let mut piece = [0; 16 * 1024];
        let Ok(got @ 1..) = maps.read(&mut piece) else {
            return false;
        };
        self.looked.1 += got;
        cut.push_str(&String::from_utf8_lossy(&piece[..got]));
        let Some((whole, rest)) = cut.rsplit_once('\n') else {
            // Longer than any line of the kernel's.
            return cut.len() < piece.len();
        };
        for line in whole.lines().filter(|line| line.ends_with(DELETED)) {
            if let Some(range) = range_of(line) {
                let path = format!("/proc/{}/map_files/{range}", pid.as_raw_nonzero());
                if let Ok(stat) = statat(rustix::fs::CWD, path.as_str(), AtFlags::empty()) {
                    self.take(&stat, || path);
                }
            }
        }
        *cut = rest.to_owned();
        true
    }

    fn take(&mut self, stat: &Stat, path: impl FnOnce() -> String) {
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !regular || stat.st_nlink > 0 || self.found.contains(&(stat.st_dev, stat.st_ino)) {
            return;
        }
        let on_disk = self.devices.contains(&stat.st_dev)
            || statfs(path()).is_ok_and(|found| found.f_type == OVERLAY);
        if on_disk {
            self.found.insert((stat.st_dev, stat.st_ino));
            let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
            self.bytes = self.bytes.saturating_add(blocks.saturating_mul(512));
        }
    }
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

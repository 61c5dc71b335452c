//! The bound on what a job takes of the disk: watched, because no quota can be counted on.
//!
//! The upper directories lie on the file system of the store, which others write to as well, and
//! are moved into it when the job is over, so they have no file system of their own to be full.
//! So the file system's use is looked at often, which costs next to nothing, and the directories
//! are counted when it has grown by what the job had left, and now and then besides, in a rhythm
//! that follows what counting costs. Files that have no name any more are counted where the
//! job's processes hold them.
//!
//! [`Disk`] decides when to count and what the count means. A count looks at what the job is just
//! working on and may wait for it, or for the disk: so it is made by a thread of its own, and whoever
//! watches the job hears a kill and sees its time end in the meantime. It kills nobody and writes
//! nothing.

use std::{
    io,
    os::fd::OwnedFd,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::fs::{CWD, fstat};

use crate::{
    cgroup::Members,
    limits::DISK_TURN,
    sandbox::Limit,
    spec::{Limits, Spec},
};

mod held;
mod room;
mod walk;

use held::Held;
use room::Room;
use walk::{Step, Walk};

/// Of what a file system has free when a job starts, one job leaves the rest to others.
const ROOM_PERCENT: u64 = 90;
/// How often the file system's use is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// A count that nothing asks for comes after so many times what the last one took, ...
const REST_TIMES: u32 = 99;
/// ... and no sooner than this, and no later than that.
const REST_LEAST: Duration = Duration::from_secs(1);
const REST_MOST: Duration = Duration::from_secs(30);
/// A count that the file system's growth asks for waits no longer than this after the last.
const PAUSE_MOST: Duration = Duration::from_secs(1);
/// So often in a row, ...
const HIDING_MAX: u32 = 5;
/// ... this far apart, files are in queues of sockets before that is taken for hiding.
const HIDING_PAUSE: Duration = Duration::from_millis(300);
/// So often in a row a tree may be moved under the count before that is taken for hiding.
const DISTURBED_MAX: u32 = 16;

/// Blocks and names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Bytes of blocks.
    pub(crate) bytes: u64,
    /// Names, each as one; and files that have none.
    pub(crate) inodes: u64,
}

impl Usage {
    fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            inodes: self.inodes.saturating_add(other.inodes),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            inodes: self.inodes.saturating_sub(other.inodes),
        }
    }

    /// The first bound that this is above.
    fn above(self, max: Self) -> Option<Limit> {
        if self.bytes > max.bytes {
            Some(Limit::Disk)
        } else {
            (self.inodes > max.inodes).then_some(Limit::Inodes)
        }
    }
}

/// What a look came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// All is well; look again after this long.
    Again(Duration),
    /// The job is over a bound.
    Over(Limit),
}

/// One job's directories and what is known of their size.
pub(crate) struct Disk {
    max: Usage,
    /// What more bytes than that mean: more than the job may take, or than there are.
    bytes_limit: Limit,
    dirs: Vec<OwnedFd>,
    room: Room,
    /// What the last whole count came to.
    counted: Usage,
    /// Under way: what it saw, and how it ended.
    count: Option<JoinHandle<(Count, Step)>>,
    /// A count could not be begun.
    missed: bool,
    /// A count said that the job is over this bound, and another is to confirm it.
    doubted: Option<Limit>,
    disturbed: u32,
    /// Counts in a row that found files where nobody can look at them.
    hiding: u32,
    /// The last count saw ever more processes come.
    restless: bool,
    /// When the last count ended, and how long it took.
    rested: (Instant, Duration),
}

/// A count that is under way.
struct Count {
    walk: Option<Walk>,
    held: Held,
    seen: Usage,
    took: Duration,
}

impl Disk {
    /// Opens the directories that a job will write to. Before it starts: nobody else writes there.
    pub(crate) fn open(spec: &Spec, now: Instant) -> io::Result<Self> {
        let layered = spec.layered.iter().flat_map(|l| [&l.upper, &l.work]);
        let own = [&spec.root.upper, &spec.root.work];
        let dirs = own
            .into_iter()
            .chain(layered)
            .map(|dir| open_dir(&spec.root.store.join(dir)));
        Self::watch(dirs.collect::<io::Result<_>>()?, &spec.limits, now)
    }

    fn watch(dirs: Vec<OwnedFd>, limits: &Limits, now: Instant) -> io::Result<Self> {
        let mut bytes = limits.disk_bytes;
        let mut bytes_limit = Limit::Disk;
        for dir in &dirs {
            let most = room::free(dir)?.bytes / 100 * ROOM_PERCENT;
            if most < bytes {
                (bytes, bytes_limit) = (most, Limit::Room);
            }
        }
        Ok(Self {
            max: Usage {
                bytes,
                inodes: limits.inodes,
            },
            bytes_limit,
            room: Room::of(&dirs)?,
            dirs,
            counted: Usage::default(),
            count: None,
            missed: false,
            doubted: None,
            disturbed: 0,
            hiding: 0,
            restless: false,
            rested: (now, Duration::ZERO),
        })
    }

    /// Returns soon. `members` says which processes hold files of the job.
    pub(crate) fn look(&mut self, now: Instant, members: impl FnOnce() -> Members) -> Look {
        self.room.look();
        // Whatever the counts say: there are more ways to hide a file than anybody knows.
        if self.is_suspect() && self.room.is_short() {
            return Look::Over(Limit::Room);
        }
        if self.count.is_none() {
            if !self.is_due(now) {
                return Look::Again(LOOK);
            }
            self.begin(members(), now);
        }
        self.go_on()
    }

    /// What a job is over that has ended since the last look.
    pub(crate) fn last(&mut self) -> Option<Limit> {
        self.room.look();
        // Growth is no guide here: in so short a time others may have freed as much.
        if self.count.is_none() && !self.room.stirred() {
            return None;
        }
        let mut walk = Walk::of(&self.dirs).ok()?;
        // Nobody moves anything any more: one count is enough, and it ends.
        while walk.step() == Step::More && walk.seen().above(self.max).is_none() {}
        walk.seen().above(self.max).map(|limit| self.named(limit))
    }

    fn is_due(&self, now: Instant) -> bool {
        if self.missed || self.doubted.is_some() || self.disturbed > 0 {
            return true;
        }
        let (ended, took) = self.rested;
        let rested = now.saturating_duration_since(ended);
        let grown = self.room.grown();
        if (self.hiding > 0 || self.restless) && self.is_suspect() {
            return rested >= HIDING_PAUSE;
        }
        if self.counted.plus(grown).above(self.max).is_some() {
            return rested >= (took * 2).min(PAUSE_MOST);
        }
        // Where nothing has changed at all, there is nothing to count.
        self.room.stirred() && rested >= (took * REST_TIMES).clamp(REST_LEAST, REST_MOST)
    }

    /// Whether the file system has grown by more than the job may take, whoever made it grow.
    fn is_suspect(&self) -> bool {
        self.room.grown_ever().above(self.max).is_some()
    }

    fn begin(&mut self, members: Members, now: Instant) {
        self.room.mark();
        let count = Count {
            walk: Walk::of(&self.dirs).ok(),
            held: Held::by(members, &self.dirs),
            seen: Usage::default(),
            took: Duration::ZERO,
        };
        let max = self.max;
        // Nobody forks here any more once a job runs.
        let begun = thread::Builder::new().spawn(move || count.whole(max));
        self.missed = begun.is_err();
        self.rested = (now, Duration::ZERO);
        self.count = begun.ok();
    }

    fn go_on(&mut self) -> Look {
        let Some(count) = self.count.take_if(|count| count.is_finished()) else {
            return Look::Again(if self.missed { LOOK } else { DISK_TURN });
        };
        // It has no reason to panic; what it saw is gone with it.
        let Ok((count, step)) = count.join() else {
            self.missed = true;
            return Look::Again(LOOK);
        };
        match step {
            Step::Moved => {
                self.disturbed += 1;
                if self.disturbed > DISTURBED_MAX {
                    return Look::Over(Limit::Inodes);
                }
                self.ended(&count);
                Look::Again(Duration::ZERO)
            }
            Step::Endless => Look::Over(Limit::Inodes),
            // It goes on to its end.
            Step::More | Step::Done => {
                self.disturbed = 0;
                self.ended(&count);
                self.counted = count.seen;
                self.restless = count.held.is_restless();
                let hiding = count.held.is_hiding();
                self.hiding = if hiding { self.hiding + 1 } else { 0 };
                self.weigh()
            }
        }
    }

    fn named(&self, limit: Limit) -> Limit {
        if limit == Limit::Disk {
            self.bytes_limit
        } else {
            limit
        }
    }

    fn ended(&mut self, count: &Count) {
        self.rested = (Instant::now(), count.took);
    }

    /// What a finished count means. A tree that is moved while it is counted may be counted twice,
    /// so one count kills nobody unless the file system bears it out.
    fn weigh(&mut self) -> Look {
        let Some(limit) = self.counted.above(self.max) else {
            self.doubted = None;
            if self.hiding > HIDING_MAX && self.is_suspect() {
                return Look::Over(self.bytes_limit);
            }
            return Look::Again(LOOK);
        };
        let borne_out = self.room.grown_ever().above(self.max) == Some(limit);
        if borne_out || self.doubted.is_some() {
            return Look::Over(self.named(limit));
        }
        self.doubted = Some(limit);
        Look::Again(Duration::ZERO)
    }
}

impl Count {
    /// Counts on to its end, or until more has been seen than there may be.
    fn whole(mut self, max: Usage) -> (Self, Step) {
        let began = Instant::now();
        let end = loop {
            match self.step(max) {
                Step::More => {}
                end => break end,
            }
        };
        self.took = began.elapsed();
        (self, end)
    }

    fn step(&mut self, max: Usage) -> Step {
        let walked = match &mut self.walk {
            Some(walk) => {
                let step = walk.step();
                self.seen = walk.seen();
                step
            }
            None => Step::Done,
        };
        if self.seen.above(max).is_some() {
            return Step::Done;
        }
        if walked != Step::Done {
            return walked;
        }
        let step = self.held.step();
        let walked = self.walk.as_ref().map_or(Usage::default(), Walk::seen);
        self.seen = walked.plus(self.held.seen());
        match step {
            Step::More if self.seen.above(max).is_some() => Step::Done,
            step => step,
        }
    }
}

/// Opens a directory to read it, without leaving a trace of that in its times where we may.
fn open_dir(path: &std::path::Path) -> io::Result<OwnedFd> {
    Ok(walk::open_at(CWD, path)?)
}

/// Device and inode.
type Id = (u64, u64);

fn id_of(fd: &OwnedFd) -> rustix::io::Result<Id> {
    let stat = fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests;

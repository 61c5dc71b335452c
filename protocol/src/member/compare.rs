//! Comparing views, so that what a flood missed is found: one hash of the whole view rides on
//! every answer to a probe; where it differs, hashes of buckets are compared, then one line for
//! each member of the buckets that differ, then the records themselves go to whoever lacks them.
//! No step remembers the one before, so that a lost message costs one round and no more.

use std::time::Duration;

use super::{
    BATCH_BYTES, BUCKETS, Batch, Engine, Incarnation, Kind, LINES_MAX, Line, Message, RECORDS_MAX,
    Sealed, Slot, Status,
    engine::{NEVER, Turn},
    spread::weight,
    view::{Entry, bucket, stretch},
};
use crate::time::Time;

/// Members drawn in search of one to compare views with.
const DRAWS: usize = 16;

/// How long a member that was asked for is not asked for again.
const WANT_AGAIN: Duration = Duration::from_secs(5);
/// Members asked for outside of comparisons in that time.
const WANTS_MAX: usize = 32;

/// When and with whom views are compared.
#[derive(Debug, Clone)]
pub(super) struct Compare {
    /// When to draw somebody next.
    pub(super) next: Time,
    /// Who was drawn last and has not answered.
    drawn: Option<Slot>,
    /// Not before this is another comparison begun.
    quiet_until: Time,
    /// How long the one after it will wait: longer each time that comparing changed nothing.
    wait: Duration,
    /// The hash of the view when the last comparison was begun.
    compared: u64,
    /// Members lately asked for.
    wanted: Vec<(u64, Time)>,
}

impl Default for Compare {
    fn default() -> Self {
        Self {
            next: NEVER,
            drawn: None,
            quiet_until: Time::default(),
            wait: Duration::ZERO,
            compared: 0,
            wanted: Vec::new(),
        }
    }
}

impl Compare {
    /// Whether to ask for all records of a member: what cannot be had is not asked for for ever.
    pub(super) fn may_want(&mut self, seed: u64, now: Time) -> bool {
        self.wanted
            .retain(|(_, when)| now.since(*when) < WANT_AGAIN);
        let known = self.wanted.iter().any(|(wanted, _)| *wanted == seed);
        if known || self.wanted.len() >= WANTS_MAX {
            return false;
        }
        self.wanted.push((seed, now));
        true
    }
}

impl Engine {
    /// Draws a member, dead and silent ones included: that is how a mesh that was split finds
    /// together again.
    pub(super) fn compare_with_any(&mut self, turn: &mut Turn<'_>) {
        self.compare.next = turn.now.time + self.setup.tuning.compare;
        if !self.is_here() || self.view.slots() < 2 {
            return;
        }
        for _ in 0..DRAWS {
            let at = self.draw() % self.view.slots() as u64;
            let slot = Slot::new(u32::try_from(at).unwrap_or(0));
            let status = self.view.status(slot);
            let wanted = matches!(status, Status::Live | Status::Dead | Status::Certified);
            if slot != self.me && wanted {
                return self.compare_with(turn, slot);
            }
        }
    }

    pub(super) fn compare_with(&mut self, turn: &mut Turn<'_>, slot: Slot) {
        self.compare.drawn = Some(slot);
        self.send_probe(turn, slot);
    }

    /// This node was cut off: it asks who tells it what it missed, unless it has only just asked.
    pub(super) fn catch_up(&mut self, turn: &mut Turn<'_>, slot: Slot) {
        if self.may_hear(slot) && turn.now.time >= self.compare.quiet_until {
            self.compare_with(turn, slot);
        }
    }

    /// The hash of a member's view, in an answer to a probe.
    pub(super) fn compare_hash(&mut self, turn: &mut Turn<'_>, from: Slot, theirs: u64) {
        self.remind(turn, from);
        let ours = self.view.hash();
        let stuck = self.watch.differs(from, theirs, ours);
        let drawn = self.compare.drawn == Some(from);
        if drawn {
            self.compare.drawn = None;
        }
        if theirs == ours || !(stuck || drawn) || turn.now.time < self.compare.quiet_until {
            return;
        }
        let tuning = &self.setup.tuning;
        let compare = &mut self.compare;
        compare.wait = if compare.compared == ours {
            (compare.wait * 2).min(tuning.compare)
        } else {
            tuning.timeout
        };
        compare.compared = ours;
        compare.quiet_until = turn.now.time + compare.wait;
        let buckets = self.view.buckets().to_vec().into();
        turn.send(from, Message::Compare(buckets));
    }

    /// A member that is dead in this view speaks: it is told, so that it can say otherwise.
    pub(super) fn remind(&self, turn: &mut Turn<'_>, from: Slot) {
        if self.view.status(from) == Status::Dead {
            self.remind_of(turn, from, from);
        }
    }

    /// Sends the obituary of a member.
    pub(super) fn remind_of(&self, turn: &mut Turn<'_>, to: Slot, subject: Slot) {
        let incarnation = self.view.entry(subject).incarnation;
        let obituary = turn.dir.record(subject, Kind::Obituary, incarnation);
        if let Some(obituary) = obituary.map(|kept| kept.sealed.clone()) {
            turn.send(to, Message::Records(Batch([obituary].into())));
        }
    }

    /// The hashes of a member's buckets: answers with lines of those that differ, whole buckets
    /// from a random one on, as many as fit.
    pub(super) fn compare_buckets(&mut self, turn: &mut Turn<'_>, from: Slot, theirs: &[u64]) {
        if theirs.len() != BUCKETS {
            return;
        }
        let mut covers = 0_u64;
        let mut lines: Vec<Line> = Vec::new();
        let first = usize::try_from(self.draw() % BUCKETS as u64).unwrap_or(0);
        for at in 0..BUCKETS {
            let at = (first + at) % BUCKETS;
            if theirs[at] == self.view.buckets()[at] {
                continue;
            }
            let mut more = Vec::new();
            let (low, high) = stretch(at);
            turn.dir.walk(low, high, &mut |seed, slot| {
                let entry = self.view.entry(slot);
                if entry.is_told() {
                    more.push(entry.line(seed));
                }
                true
            });
            if lines.len() + more.len() > LINES_MAX {
                // A bucket that is too large for any message is covered as far as it goes.
                if !lines.is_empty() {
                    break;
                }
                more.truncate(LINES_MAX);
            }
            covers |= 1 << at;
            lines.append(&mut more);
        }
        if covers != 0 {
            lines.sort_unstable_by_key(|line| line.seed);
            let lines = lines.into();
            turn.send(from, Message::Lines { covers, lines });
        }
    }

    /// A member's lines: it gets what is newer here and is asked for what is newer there.
    pub(super) fn compare_lines(
        &mut self,
        turn: &mut Turn<'_>,
        from: Slot,
        covers: u64,
        lines: &[Line],
    ) {
        if !lines.is_sorted_by_key(|line| line.seed) {
            return;
        }
        let mut given = Parcel::default();
        let mut wanted: Vec<u64> = Vec::new();
        let none = |seed| Entry::default().line(seed);
        let mut theirs = lines.iter().peekable();
        for at in (0..BUCKETS).filter(|at| covers >> at & 1 == 1) {
            let (low, high) = stretch(at);
            let want = |line: &Line, wanted: &mut Vec<u64>| {
                if newer(*line, none(line.seed)) && wanted.len() < LINES_MAX {
                    wanted.push(line.seed);
                }
            };
            turn.dir.walk(low, high, &mut |seed, slot| {
                while let Some(line) = theirs.next_if(|line| line.seed < seed) {
                    if bucket(line.seed) == at {
                        want(line, &mut wanted);
                    }
                }
                let line = theirs.next_if(|line| line.seed == seed).copied();
                let line = line.unwrap_or_else(|| none(seed));
                let entry = self.view.entry(slot);
                let ours = if entry.is_told() {
                    entry.line(seed)
                } else {
                    none(seed)
                };
                if newer(ours, line) {
                    given.slots.push((slot, line));
                }
                if newer(line, ours) && wanted.len() < LINES_MAX {
                    wanted.push(seed);
                }
                true
            });
            while let Some(line) = theirs.next_if(|line| line.seed <= high) {
                if bucket(line.seed) == at {
                    want(line, &mut wanted);
                }
            }
        }
        let me = turn.dir.place(self.me).positions[0];
        let made = self.own.made;
        if lines
            .iter()
            .any(|line| line.seed == me && line.dead && line.incarnation == made)
        {
            self.accused(turn, false);
        }
        for (slot, line) in std::mem::take(&mut given.slots) {
            if !self.pack(turn, &mut given, slot, line) {
                break;
            }
        }
        given.send(turn, from);
        if !wanted.is_empty() {
            turn.send(from, Message::Want(wanted.into()));
        }
    }

    /// All records of these members, as many as fit.
    pub(super) fn serve(&self, turn: &mut Turn<'_>, to: Slot, seeds: &[u64]) {
        let mut slots = Vec::new();
        for seed in seeds.iter().take(LINES_MAX) {
            turn.dir.walk(*seed, *seed, &mut |_, slot| {
                slots.push(slot);
                true
            });
        }
        self.give(turn, to, &slots);
    }

    /// Sends all records of these members, as many as fit in one message.
    pub(super) fn give(&self, turn: &mut Turn<'_>, to: Slot, slots: &[Slot]) {
        let mut given = Parcel::default();
        for slot in slots {
            if !self.pack(turn, &mut given, *slot, Entry::default().line(0)) {
                break;
            }
        }
        given.send(turn, to);
    }

    /// Adds what `line` does not know of a member; `false` if there is no room.
    pub(super) fn pack(
        &self,
        turn: &Turn<'_>,
        parcel: &mut Parcel,
        slot: Slot,
        line: Line,
    ) -> bool {
        let entry = self.view.entry(slot);
        if !entry.is_told() {
            return true;
        }
        let record = |kind, version| {
            turn.dir
                .record(slot, kind, version)
                .map(|kept| &kept.sealed)
        };
        let known = (line.incarnation.number(), line.dead);
        let records = if entry.is_revoked() {
            [record(Kind::Revocation, 0), None, None]
        } else {
            [
                record(Kind::Cert, entry.cert).filter(|_| entry.cert > line.cert),
                record(Kind::Presence, entry.incarnation).filter(|_| entry.incarnation > known.0),
                record(Kind::Obituary, entry.incarnation)
                    .filter(|_| (entry.incarnation, entry.is_dead()) > known),
            ]
        };
        let bytes: usize = records.iter().flatten().map(|record| weight(record)).sum();
        let full = parcel.records.len() + records.len() > RECORDS_MAX
            || parcel.bytes + bytes > BATCH_BYTES;
        if full && !parcel.records.is_empty() {
            return false;
        }
        parcel.bytes += bytes;
        parcel
            .records
            .extend(records.into_iter().flatten().cloned());
        true
    }
}

/// Records on their way to one member.
#[derive(Default)]
pub(super) struct Parcel {
    slots: Vec<(Slot, Line)>,
    pub(super) records: Vec<Sealed>,
    bytes: usize,
}

impl Parcel {
    fn send(self, turn: &mut Turn<'_>, to: Slot) {
        if !self.records.is_empty() {
            turn.send(to, Message::Records(Batch(self.records.into())));
        }
    }
}

/// Whether `this` knows something of a member that `other` does not.
fn newer(this: Line, other: Line) -> bool {
    if this.revoked || other.revoked {
        return this.revoked && !other.revoked;
    }
    let word = |line: Line| -> (Incarnation, bool) { (line.incarnation, line.dead) };
    this.cert > other.cert || word(this) > word(other)
}

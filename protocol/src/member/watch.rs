//! Probing: each period a question to every successor, and to a predecessor that has fallen
//! silent. Any message is a sign of life. Nothing here is allocated, asked of the directory or
//! looked up in the view while all is well: this is nearly all that a mesh at rest does.

use std::time::Duration;

use super::{
    Command, Engine, Event, Message, Now, RINGS_MAX, Slot, Tuning,
    engine::{NEVER, Turn},
};
use crate::time::Time;

/// Most distinct ring neighbours.
const NEIGHBOURS_MAX: usize = 2 * RINGS_MAX;
/// Worst health: how many times longer a node that answers late itself waits for others.
const HEALTH_MAX: u32 = 4;

/// Answers running in which a neighbour's view may differ before the two are compared.
const UNLIKE_MAX: u8 = 4;

/// What is known of a neighbour's life.
#[derive(Debug, Clone, Copy)]
pub(super) struct Neighbour {
    slot: Slot,
    /// Whether it is a successor on any ring.
    probed: bool,
    /// Whether it did not answer last time.
    missed: bool,
    /// How often running its view differed from this node's.
    unlike: u8,
    /// Last sign of life.
    heard: Time,
    /// When the probe that it has not answered was sent; [`NEVER`] without one.
    asked: Time,
    /// Of the hashes of its view and of this node's, when it last answered and they differed.
    differs: u64,
}

/// All neighbours and when to ask them next: what most events need and nothing else. In a
/// simulation of thousands of nodes the time of an event is that of the memory that it touches.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(super) struct Watch {
    /// Whose the entries of `list` are: every message is looked up here.
    slots: [Slot; NEIGHBOURS_MAX],
    /// When to probe next.
    pub(super) probe_at: Time,
    /// When probes are overdue.
    pub(super) deadline: Time,
    /// When anything else is due.
    pub(super) rare_at: Time,
    /// The hash of the view.
    pub(super) hash: u64,
    /// When the last event was.
    pub(super) last: Time,
    late: Duration,
    /// Last sign of life from anybody.
    heard: Time,
    number: u32,
    /// The second in which the first certificate expires, or the first entry may be forgotten.
    pub(super) next_expiry: u32,
    /// The second in which certificates were last looked at; before it, the clock has stepped back.
    pub(super) swept: u32,
    health: u32,
    len: u8,
    unanswered: u8,
    pub(super) started: bool,
    /// Whether this node is a member and suspects nobody.
    pub(super) at_rest: bool,
    list: [Neighbour; NEIGHBOURS_MAX],
    period: Duration,
    timeout: Duration,
    /// Until when this node accuses nobody.
    doubtful_until: Time,
    /// Since when most neighbours have not answered.
    failing_since: Option<Time>,
}

impl Watch {
    pub(super) fn new(tuning: &Tuning) -> Self {
        let nobody = Neighbour {
            slot: Slot::new(u32::MAX),
            probed: false,
            missed: false,
            unlike: 0,
            heard: Time::default(),
            asked: NEVER,
            differs: 0,
        };
        Self {
            slots: [nobody.slot; NEIGHBOURS_MAX],
            probe_at: NEVER,
            deadline: NEVER,
            rare_at: NEVER,
            hash: 0,
            last: Time::default(),
            late: tuning.late,
            heard: Time::default(),
            number: 0,
            next_expiry: u32::MAX,
            swept: 0,
            health: 0,
            len: 0,
            unanswered: 0,
            started: false,
            at_rest: false,
            list: [nobody; NEIGHBOURS_MAX],
            period: tuning.period,
            timeout: tuning.timeout,
            doubtful_until: Time::default(),
            failing_since: None,
        }
    }

    /// Nothing is due any more, and nobody near.
    pub(super) fn retire(&mut self) {
        self.len = 0;
        self.unanswered = 0;
        self.probe_at = NEVER;
        self.deadline = NEVER;
    }

    pub(super) fn wake_at(&self) -> Time {
        if self.started {
            self.probe_at.min(self.deadline).min(self.rare_at)
        } else {
            Time::default()
        }
    }

    pub(super) fn is_late(&self, now: Time) -> bool {
        now.since(self.wake_at()) > self.late
    }

    /// Does what an event of a mesh at rest asks for, if it is one: a neighbour asks or answers
    /// and nothing follows from it, or it is time to probe. Says whether that was all.
    pub(super) fn quick(&mut self, now: Now, event: &Event, out: &mut Vec<Command>) -> bool {
        if !self.at_rest || self.is_late(now.time) {
            return false;
        }
        match *event {
            Event::Message {
                from,
                message: Message::Probe { number, .. },
            } if self.heard(from, now.time) => {
                let view = self.hash;
                let message = Message::Ack { number, view };
                out.push(Command::Send { to: from, message });
            }
            Event::Message {
                from,
                message: Message::Ack { view, .. },
            } if view == self.hash && self.heard(from, now.time) => {
                self.differs(from, view, view);
            }
            Event::Tick if self.is_only_probing(now) => self.probe_all(now.time, true, out),
            _ => return false,
        }
        self.last = now.time;
        true
    }

    fn is_only_probing(&self, now: Now) -> bool {
        let (time, stamp) = (now.time, now.stamp.as_ms() / 1000);
        let others = self.deadline.min(self.rare_at);
        let in_date = u64::from(self.swept)..u64::from(self.next_expiry);
        self.probe_at <= time && others > time && in_date.contains(&stamp)
    }

    /// The neighbours.
    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots[..usize::from(self.len)]
    }

    fn each(&mut self) -> &mut [Neighbour] {
        &mut self.list[..usize::from(self.len)]
    }

    fn find(&mut self, slot: Slot) -> Option<&mut Neighbour> {
        let at = self.slots().iter().position(|known| *known == slot)?;
        Some(&mut self.list[at])
    }

    /// Whether a node is a neighbour; if so, it was heard.
    pub(super) fn heard(&mut self, from: Slot, now: Time) -> bool {
        self.heard = now;
        let Some(neighbour) = self.find(from) else {
            return false;
        };
        neighbour.heard = now;
        neighbour.missed = false;
        if neighbour.asked != NEVER {
            neighbour.asked = NEVER;
            self.unanswered -= 1;
            if self.unanswered == 0 {
                self.deadline = NEVER;
                self.health = self.health.saturating_sub(1);
            }
        }
        true
    }

    /// Takes note of the hash of a neighbour's view. Says whether the two should be compared: they
    /// have stood still since it was last noted, and differ, so that no flood on its way will mend
    /// it; or they have differed so often running that a flood must have missed one of them.
    pub(super) fn differs(&mut self, from: Slot, theirs: u64, ours: u64) -> bool {
        let Some(neighbour) = self.find(from) else {
            return false;
        };
        if theirs == ours {
            neighbour.differs = 0;
            neighbour.unlike = 0;
            return false;
        }
        let both = theirs.rotate_left(1) ^ ours;
        neighbour.unlike = neighbour.unlike.saturating_add(1);
        let stuck = neighbour.differs == both || neighbour.unlike >= UNLIKE_MAX;
        neighbour.differs = both;
        if stuck {
            neighbour.unlike = 0;
        }
        stuck
    }

    pub(super) fn next_number(&mut self) -> u32 {
        self.number = self.number.wrapping_add(1);
        self.number
    }

    /// The first event: nobody has been silent yet.
    pub(super) fn begin(&mut self, now: Time) {
        self.started = true;
        self.heard = now;
        for neighbour in self.each() {
            neighbour.heard = now;
        }
    }

    /// This node's own clock went late: what was not heard may lie unread, so everything is asked
    /// again and nobody is accused for a while.
    pub(super) fn late(&mut self, now: Time, doubt: Duration) {
        self.doubtful_until = now + doubt;
        self.health = (self.health + 1).min(HEALTH_MAX);
        for neighbour in self.each() {
            neighbour.heard = now;
            if neighbour.asked != NEVER {
                neighbour.asked = now;
            }
        }
    }

    /// Somebody accused this node wrongly: it must have been slow.
    pub(super) fn was_accused(&mut self) {
        self.health = (self.health + 1).min(HEALTH_MAX);
    }

    pub(super) fn patience(&self, base: Duration) -> Duration {
        base * (self.health + 1)
    }
}

impl Engine {
    /// The neighbours are those of the rings again; what is known of those that stay stays. Says
    /// who is new.
    pub(super) fn arrange(&mut self, now: Time) -> Vec<Slot> {
        let watch = &mut self.watch;
        let known = watch.list;
        let known = &known[..usize::from(watch.len)];
        let mut new = Vec::new();
        let mut len = 0;
        let links = self.rings.successors().map(|slot| (slot, true));
        let links = links.chain(self.rings.predecessors().map(|slot| (slot, false)));
        for (slot, probed) in links {
            if let Some(had) = watch.list[..len].iter_mut().find(|had| had.slot == slot) {
                had.probed |= probed;
                continue;
            }
            let old = known.iter().find(|had| had.slot == slot);
            watch.slots[len] = slot;
            watch.list[len] = old.map_or_else(
                || {
                    new.push(slot);
                    Neighbour {
                        slot,
                        probed,
                        missed: false,
                        unlike: 0,
                        heard: now,
                        asked: NEVER,
                        differs: 0,
                    }
                },
                |old| Neighbour { probed, ..*old },
            );
            len += 1;
        }
        watch.len = u8::try_from(len).unwrap_or(0);
        let unanswered = watch.each().iter().filter(|one| one.asked != NEVER);
        watch.unanswered = u8::try_from(unanswered.count()).unwrap_or(0);
        if watch.unanswered == 0 {
            watch.deadline = NEVER;
        }
        new
    }

    /// Neighbours that have not answered in time become suspects.
    pub(super) fn overdue(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.time;
        let timeout = self.watch.patience(self.setup.tuning.timeout);
        self.watch.deadline = NEVER;
        for at in 0..usize::from(self.watch.len) {
            let neighbour = &mut self.watch.list[at];
            let asked = neighbour.asked;
            if asked == NEVER {
                continue;
            }
            if asked + timeout > now {
                self.watch.deadline = self.watch.deadline.min(asked + timeout);
                continue;
            }
            let slot = neighbour.slot;
            neighbour.asked = NEVER;
            neighbour.missed = true;
            self.watch.unanswered -= 1;
            self.suspect(turn, slot, false);
        }
        self.watch.note_failing(now);
    }

    /// Whether this node has reason to think that the fault is its own. Late ticks are one; most
    /// neighbours silent at once is another, for a while if any of them answers, and for longer if
    /// none does. With fewer than three neighbours nothing can be told from how many are silent.
    pub(super) fn doubts_itself(&mut self, now: Time) -> bool {
        if now < self.watch.doubtful_until {
            return true;
        }
        self.watch.note_failing(now);
        let Some(since) = self.watch.failing_since else {
            return false;
        };
        let period = self.setup.tuning.period;
        if now.since(self.watch.heard) < period + period {
            now.since(since) < period * 2
        } else {
            now.since(since) < period * 5
        }
    }

    /// Whether it has doubts, as last looked at.
    pub(super) fn has_doubts(&self, now: Time) -> bool {
        now < self.watch.doubtful_until || self.watch.failing_since.is_some()
    }
}

impl Watch {
    /// Asks the successors, and predecessors that have been silent for longer than they should.
    pub(super) fn probe_all(&mut self, now: Time, is_here: bool, out: &mut Vec<Command>) {
        self.probe_at = now + self.period;
        if !is_here {
            return;
        }
        let silent = self.period + self.period / 2;
        for at in 0..usize::from(self.len) {
            let number = self.next_number();
            let neighbour = &mut self.list[at];
            let due = neighbour.probed || now.since(neighbour.heard) > silent;
            if !due || neighbour.asked != NEVER {
                continue;
            }
            neighbour.asked = now;
            self.unanswered += 1;
            let view = self.hash;
            let message = Message::Probe { number, view };
            let to = self.list[at].slot;
            out.push(Command::Send { to, message });
        }
        if self.unanswered > 0 && self.deadline == NEVER {
            self.deadline = now + self.patience(self.timeout);
        }
    }

    fn note_failing(&mut self, now: Time) {
        let near = &self.list[..usize::from(self.len)];
        let missed = near.iter().filter(|one| one.missed).count();
        if near.len() >= 3 && missed * 2 > near.len() {
            self.failing_since.get_or_insert(now);
        } else {
            self.failing_since = None;
        }
    }
}

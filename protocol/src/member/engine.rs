//! The engine's one entry: every event goes through it, and what is done once after each.

use std::sync::Arc;

use super::{
    Batch, Change, Command, Crypto, Directory, Event, Kept, Message, Now, Opened, RINGS_MAX,
    Sealed, Setup, Slot, Status,
    compare::Compare,
    fetch::Fetching,
    own::Own,
    rings::Rings,
    spread::Spread,
    suspicion::Cases,
    take::Pace,
    view::{Entry, View, mix},
    watch::Watch,
};
use crate::time::Time;

/// Later than anything.
pub(super) const NEVER: Time = Time::from_ms(u64::MAX);
/// How long a member is remembered after its certificate has expired, in case it is renewed late.
const FORGET_SECONDS: u32 = 24 * 3600;

/// One event's time, helpers, and the commands that come of it.
pub(super) struct Turn<'a> {
    pub(super) dir: &'a mut dyn Directory,
    pub(super) crypto: &'a mut dyn Crypto,
    pub(super) now: Now,
    pub(super) out: &'a mut Vec<Command>,
}

impl Turn<'_> {
    pub(super) fn send(&mut self, to: Slot, message: Message) {
        self.out.push(Command::Send { to, message });
    }

    pub(super) fn keep(&mut self, slot: Slot, sealed: &Sealed, opened: Arc<Opened>) {
        let sealed = sealed.clone();
        self.dir.keep(slot, Kept { sealed, opened });
    }
}

/// The membership engine of one node.
#[derive(Debug, Clone)]
#[repr(C)]
pub struct Engine {
    // First and in this order: all that most events touch lies side by side.
    pub(super) watch: Watch,
    pub(super) me: Slot,
    pub(super) cases: Cases,
    pub(super) spread: Spread,
    pub(super) compare: Compare,
    pub(super) fetching: Fetching,
    pub(super) own: Own,
    pub(super) pace: Pace,
    pub(super) rings: Rings,
    /// Whether the rings have changed since the neighbours were last taken from them.
    rearranged: bool,
    random: u64,
    pub(super) view: View,
    pub(super) setup: Box<Setup>,
}

impl Engine {
    /// The engine of a node that knows nobody yet. Tell it its own certificate next, by
    /// [`Event::Records`]. `None` if the directory is full.
    pub fn new(mut setup: Setup, directory: &mut impl Directory) -> Option<Self> {
        let me = directory.intern(&setup.me)?;
        let rings = usize::from(setup.tuning.rings).clamp(1, RINGS_MAX);
        setup.tuning.rings = u8::try_from(rings).unwrap_or(1);
        Some(Self {
            watch: Watch::new(&setup.tuning),
            me,
            cases: Cases::default(),
            spread: Spread::default(),
            compare: Compare::default(),
            fetching: Fetching::default(),
            own: Own::new(setup.made),
            pace: Pace::default(),
            rings: Rings::new(setup.tuning.rings),
            rearranged: false,
            random: mix(setup.seed),
            view: View::new(),
            setup: Box::new(setup),
        })
    }

    /// Another node of the same mesh that knows what this one knows, itself included: for
    /// simulations, which begin with thousands of members that know each other.
    pub fn twin(&self, setup: Setup, directory: &mut impl Directory) -> Option<Self> {
        let mut twin = Self::new(setup, directory)?;
        twin.view = self.view.clone();
        twin.watch.next_expiry = self.watch.next_expiry;
        twin.fetching = Fetching::Done;
        twin.take_up(directory);
        twin.rings.rebuild(twin.me, &twin.view, directory);
        twin.arrange(Time::default());
        twin.rest();
        Some(twin)
    }

    /// Takes in one event and says what it leads to.
    pub fn handle(
        &mut self,
        (directory, crypto): (&mut impl Directory, &mut impl Crypto),
        now: Now,
        event: Event,
        out: &mut Vec<Command>,
    ) {
        if self.watch.quick(now, &event, out) {
            return;
        }
        let mut turn = Turn {
            dir: directory,
            crypto,
            now,
            out,
        };
        self.keep_time(now.time);
        if !self.is_out() {
            self.take_in(&mut turn, event);
            self.finish(&mut turn);
        }
        self.rest();
        #[cfg(test)]
        if turn
            .out
            .iter()
            .any(|command| matches!(command, Command::Changed { .. }))
        {
            self.check(&turn);
        }
    }

    fn take_in(&mut self, turn: &mut Turn<'_>, event: Event) {
        let now = turn.now;
        match event {
            Event::Message { from, message } => self.message(turn, from, message),
            Event::Met(cert) => self.met(turn, &cert),
            Event::Records(records) => self.told(turn, &records),
            Event::Lost(slot) => self.lost(turn, slot),
            Event::Refused(slot) => self.suspect(turn, slot, true),
            Event::Facts(facts) => {
                self.setup.facts = *facts;
                self.speak_soon(now.time);
            }
            Event::Addresses(addresses) => {
                self.setup.addresses = addresses;
                self.speak_soon(now.time);
            }
            Event::Mode(mode) => {
                self.setup.mode = mode;
                self.speak_soon(now.time);
            }
            Event::Tick => self.tick(turn),
        }
    }

    /// When [`Event::Tick`] is wanted at the latest.
    #[must_use]
    pub fn wake_at(&self) -> Time {
        self.watch.wake_at()
    }

    /// Writes down for the next event what it should find at hand.
    fn rest(&mut self) {
        self.watch.rare_at = (self.cases.next)
            .min(self.spread.flush_at)
            .min(self.compare.next)
            .min(self.fetching.again_at())
            .min(self.speaks_at());
        self.watch.hash = self.view.hash();
        self.watch.at_rest = self.is_here() && self.cases.open.is_empty();
    }

    /// When this node has something to say of itself, and may.
    fn speaks_at(&self) -> Time {
        let at = self.own.speak_at;
        if at == NEVER || self.may_speak() {
            at
        } else {
            NEVER
        }
    }

    /// The first event sets the clocks; one that comes long after its time shows that this node
    /// itself was slow.
    fn keep_time(&mut self, now: Time) {
        let tuning = self.setup.tuning;
        if !self.watch.started {
            self.watch.probe_at = now + tuning.period.mul_f64(self.chance());
            self.compare.next = now + tuning.compare.mul_f64(self.chance());
            self.watch.begin(now);
        } else if self.watch.is_late(now) {
            self.watch.late(now, tuning.period * 2);
            self.cases.late(now + tuning.timeout);
        }
        self.watch.last = now;
    }

    fn tick(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.time;
        if self.watch.deadline <= now {
            self.overdue(turn);
        }
        if self.watch.probe_at <= now {
            self.sweep(turn);
            self.settle(turn);
            self.watch.hash = self.view.hash();
            self.watch.probe_all(now, self.is_here(), turn.out);
        }
        if self.cases.next <= now {
            self.review(turn);
        }
        if self.compare.next <= now {
            self.compare_with_any(turn);
        }
        if self.fetching.again_at() <= now {
            self.fetch_again(turn);
        }
    }

    fn message(&mut self, turn: &mut Turn<'_>, from: Slot, message: Message) {
        let near = self.watch.heard(from, turn.now.time);
        if !near && !self.may_hear(from) {
            // Records prove themselves, whoever brings them; nothing else does.
            if let Message::Records(batch) = message {
                self.take_all(turn, &batch.0, Some(from), true);
            }
            return;
        }
        if !self.cases.open.is_empty() {
            self.acquit(turn, from);
        }
        match message {
            Message::Probe { number, .. } => {
                let view = self.view.hash();
                turn.send(from, Message::Ack { number, view });
                self.remind(turn, from);
            }
            Message::Ack { view, .. } => self.compare_hash(turn, from, view),
            Message::Records(batch) => self.take_all(turn, &batch.0, Some(from), true),
            Message::Doubt(doubt) => self.asked(turn, from, *doubt),
            Message::Vouch(doubt) => self.vouched(turn, from, *doubt),
            Message::Fetch { after } => self.serve_page(turn, from, after),
            Message::Page(page) => self.read_page(turn, from, &page),
            Message::Compare(buckets) => self.compare_buckets(turn, from, &buckets),
            Message::Lines { covers, lines } => self.compare_lines(turn, from, covers, &lines),
            Message::Want(seeds) => self.serve(turn, from, &seeds),
        }
    }

    /// A connection broke. On-demand connections come and go; a neighbour's should stay.
    fn lost(&mut self, turn: &mut Turn<'_>, slot: Slot) {
        if self.watch.slots().contains(&slot) {
            self.suspect(turn, slot, false);
        }
    }

    /// What is done once after each event, whatever it was.
    fn finish(&mut self, turn: &mut Turn<'_>) {
        if self.is_out() {
            return self.retire();
        }
        self.settle(turn);
        if self.speaks_at() <= turn.now.time {
            self.publish(turn);
        }
        if self.spread.flush_at <= turn.now.time {
            self.flush(turn);
        }
    }

    /// Takes the neighbours from the rings if these have changed. New ones are told who this is,
    /// so that they know whom they hear even if no flood has told them.
    fn settle(&mut self, turn: &mut Turn<'_>) {
        if !self.rearranged {
            return;
        }
        self.rearranged = false;
        let new = self.arrange(turn.now.time);
        turn.out.push(Command::Neighbours);
        let records = self.introduction(turn);
        if !records.is_empty() && self.is_here() {
            let batch = Batch(records.into());
            for slot in new {
                turn.send(slot, Message::Records(batch.clone()));
            }
        }
    }

    /// Gives a member a new entry, and does what follows from where it stands now.
    pub(super) fn enter(&mut self, turn: &mut Turn<'_>, who: Slot, entry: Entry, change: Change) {
        let place = *turn.dir.place(who);
        let (was, is) = self.view.set(who, &place, entry);
        let change = match (was == Status::Live, is == Status::Live) {
            (false, true) => {
                if who != self.me {
                    let me = turn.dir.place(self.me);
                    self.rearranged |= self.rings.joined(me, who, &place);
                }
                Change::Joined
            }
            (true, false) => {
                self.close(who);
                if who != self.me {
                    self.rearranged |= self.rings.gone(self.me, who, &self.view, turn.dir);
                }
                change
            }
            (true, true) => Change::Updated,
            (false, false) if was == is || matches!(is, Status::Certified) => return,
            (false, false) => change,
        };
        turn.out.push(Command::Changed { who, change });
    }

    /// Strikes out those whose certificates have expired, and forgets those of long ago.
    fn sweep(&mut self, turn: &mut Turn<'_>) {
        let second = u32::try_from(turn.now.stamp.as_ms() / 1000).unwrap_or(u32::MAX);
        let stepped_back = second < std::mem::replace(&mut self.watch.swept, second);
        if second < self.watch.next_expiry && !stepped_back {
            return;
        }
        self.speak_anew(turn);
        let mut next = self.own.anew_at();
        let entries: Vec<(Slot, Entry)> = self.view.entries().collect();
        for (slot, entry) in entries {
            let status = entry.status();
            let until = match status {
                Status::Expired => entry.cert.saturating_add(FORGET_SECONDS),
                _ => entry.cert,
            };
            if status == Status::Expired && entry.cert > second {
                // The clock was wrong, and is right again.
                self.enter(turn, slot, entry.with_cert(entry.cert), Change::Updated);
                next = next.min(entry.cert);
            } else if until > second {
                next = next.min(until);
            } else if !matches!(status, Status::Expired | Status::Revoked) {
                self.enter(turn, slot, entry.expired(), Change::Expired);
                next = next.min(until.saturating_add(FORGET_SECONDS));
            } else if slot != self.me {
                let place = *turn.dir.place(slot);
                self.view.set(slot, &place, Entry::default());
                let change = Change::Forgotten;
                turn.out.push(Command::Changed { who: slot, change });
                turn.dir.forget(slot);
            }
        }
        self.watch.next_expiry = next;
    }

    /// Whether this node is a member itself, in its own view.
    pub(super) fn is_here(&self) -> bool {
        self.view.is_live(self.me)
    }

    /// Nothing is due any more.
    fn retire(&mut self) {
        self.watch.retire();
        self.cases = Cases::default();
        self.spread = Spread::default();
        self.compare = Compare::default();
        self.fetching = Fetching::Done;
        self.own.speak_at = NEVER;
    }

    /// Whether this node was revoked: it neither hears nor speaks any more.
    fn is_out(&self) -> bool {
        self.view.status(self.me) == Status::Revoked
    }

    /// Whether a node has shown a certificate that holds.
    pub(super) fn may_hear(&self, slot: Slot) -> bool {
        !matches!(
            self.view.status(slot),
            Status::Unknown | Status::Expired | Status::Revoked
        )
    }

    pub(super) fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.random)
    }

    /// A number from nought to one.
    fn chance(&mut self) -> f64 {
        f64::from(u32::try_from(self.draw() >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
impl Engine {
    /// The invariants, the slow way.
    fn check(&self, turn: &Turn<'_>) {
        let mut fresh = View::new();
        for (slot, entry) in self.view.entries() {
            fresh.set(slot, turn.dir.place(slot), entry);
        }
        assert_eq!(fresh.hash(), self.view.hash(), "the hash is of the entries");
        assert_eq!(fresh.live(), self.view.live(), "the count is of the live");
        let mut rings = Rings::new(self.setup.tuning.rings);
        for slot in self.live().filter(|slot| *slot != self.me) {
            rings.joined(turn.dir.place(self.me), slot, turn.dir.place(slot));
        }
        let all = |rings: &Rings| -> Vec<Slot> {
            rings.successors().chain(rings.predecessors()).collect()
        };
        if !self.is_out() {
            assert_eq!(
                all(&rings),
                all(&self.rings),
                "the links are to the nearest"
            );
        }
        for slot in self.cases.open.keys() {
            assert!(self.view.is_live(*slot), "only the living are suspected");
        }
    }
}

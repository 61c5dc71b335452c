//! Taking records in: what is no news is dropped unopened, what is news is opened, and what is
//! believed enters the view and is passed on.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{
    Change, Command, Engine, Kind, Message, Opened, Revocation, Sealed, Slot, Static, Status,
    crypto::seconds, engine::Turn, view::Entry,
};
use crate::{identity::Refused, limits, time::Time};

/// So many words of one member are passed on within [`WORDS_WITHIN`]: it gives one a second at most,
/// and they may come closer together than they were given.
const WORDS_MAX: usize = 3;
const WORDS_WITHIN: Duration = Duration::from_secs(2);
/// Words that are remembered.
const WORDS_KEPT: usize = 256;

/// Whose words were passed on lately. Of who speaks faster than a node does, comparison brings the last
/// word.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace(VecDeque<(Slot, Time)>);

impl Pace {
    fn allows(&mut self, slot: Slot, now: Time) -> bool {
        let lately =
            |(whose, when): &&(Slot, Time)| *whose == slot && now.since(*when) < WORDS_WITHIN;
        if self.0.iter().filter(lately).count() >= WORDS_MAX {
            return false;
        }
        if self.0.len() >= WORDS_KEPT {
            self.0.pop_front();
        }
        self.0.push_back((slot, now));
        true
    }
}

/// The entry of a revoked node: kept for as long as the record counts, and so until every certificate
/// that it may hold has expired.
pub(super) fn revoked(revocation: &Revocation) -> Entry {
    let life = u32::try_from(limits::REVOCATION_LIFE_MS / 1000).unwrap_or(u32::MAX);
    Entry::revoked_until(seconds(revocation.at).saturating_add(life))
}

impl Engine {
    /// Records from this node's own disk, or made on it.
    pub(super) fn told(&mut self, turn: &mut Turn<'_>, records: &[Sealed]) {
        // What a node knew when it stopped is no news to anybody.
        let spread = self.is_here();
        self.take_all(turn, records, None, spread);
    }

    /// A connection was admitted by this certificate.
    pub(super) fn met(&mut self, turn: &mut Turn<'_>, cert: &Sealed) {
        if cert.kind != Kind::Cert {
            return;
        }
        self.take(turn, cert, None, false);
        let Some(slot) = turn.dir.find(&cert.subject) else {
            return;
        };
        if slot != self.me && self.may_hear(slot) {
            self.fetch_from(turn, slot);
        }
    }

    /// Takes several records; asks for the certificates of those that cannot be judged yet.
    pub(super) fn take_all(
        &mut self,
        turn: &mut Turn<'_>,
        records: &[Sealed],
        from: Option<Slot>,
        spread: bool,
    ) {
        let mut wanted: Vec<u64> = Vec::new();
        for record in records {
            let early = self.take(turn, record, from, spread) == Taken::Early;
            if early && from.is_some() {
                let seed = Static::seed(&record.subject);
                if self.compare.may_want(seed, turn.now.time) {
                    wanted.push(seed);
                }
            }
        }
        if let Some(from) = from
            && !wanted.is_empty()
            && self.may_hear(from)
        {
            turn.send(from, Message::Want(wanted.into()));
        }
    }

    fn take(
        &mut self,
        turn: &mut Turn<'_>,
        record: &Sealed,
        from: Option<Slot>,
        spread: bool,
    ) -> Taken {
        if record.subject == self.setup.me {
            self.take_own(turn, record, from);
            return Taken::Done;
        }
        let slot = turn.dir.find(&record.subject);
        let entry = slot.map_or_else(Entry::default, |slot| self.view.entry(slot));
        match news(record, entry) {
            News::None => {
                self.spread.also_known(record, from);
                self.correct(turn, record, slot, from);
                return Taken::Done;
            }
            News::Early => return Taken::Early,
            News::Yes => {}
        }
        let opened = match turn.crypto.open(record, turn.now.stamp) {
            Ok(opened) => opened,
            Err(refused) => {
                reject(turn, from, refused);
                return Taken::Done;
            }
        };
        let Some(slot) = turn.dir.intern(&record.subject) else {
            return Taken::Done;
        };
        let passed_on = spread.then_some(from);
        match &*opened {
            Opened::Cert(_) => self.take_cert(turn, slot, record, opened, passed_on),
            Opened::Presence(_) => self.take_presence(turn, slot, record, opened, passed_on),
            Opened::Revocation(revocation) => {
                let entry = revoked(revocation);
                self.watch.next_expiry = self.watch.next_expiry.min(entry.cert);
                turn.keep(slot, record, opened);
                self.enter(turn, slot, entry, Change::Revoked);
                self.taken(turn, record, passed_on);
                if passed_on.is_some() {
                    self.spread.repeat(record, turn.now.time);
                }
            }
            Opened::Alert(alert) => self.heed(turn, slot, alert, record),
            Opened::Obituary(alerts) => {
                let observers = self.observers(turn, alerts);
                self.heed_obituary(turn, slot, &observers, (record, &opened), from);
            }
        }
        Taken::Done
    }

    /// An alert that is no news: whoever sent it is behind, or holds an obituary to be too little
    /// that was enough here.
    fn correct(
        &mut self,
        turn: &mut Turn<'_>,
        record: &Sealed,
        slot: Option<Slot>,
        from: Option<Slot>,
    ) {
        let (Kind::Alert, Some(slot), Some(from)) = (record.kind, slot, from) else {
            return;
        };
        let entry = self.view.entry(slot);
        if !self.may_hear(from) {
            return;
        }
        if record.version < entry.incarnation {
            self.give(turn, from, &[slot]);
        } else if record.version == entry.incarnation && entry.status() == Status::Dead {
            self.attest(turn, slot, from);
        }
    }

    /// A certificate that is later than the one known.
    pub(super) fn take_cert(
        &mut self,
        turn: &mut Turn<'_>,
        slot: Slot,
        record: &Sealed,
        opened: Arc<Opened>,
        passed_on: Option<Option<Slot>>,
    ) {
        turn.keep(slot, record, opened);
        let entry = self.view.entry(slot).with_cert(record.version);
        self.watch.next_expiry = self.watch.next_expiry.min(record.version);
        self.enter(turn, slot, entry, Change::Updated);
        // A newcomer's certificate travels with its first presence.
        let passed_on = passed_on.filter(|_| entry.incarnation > 0);
        self.taken(turn, record, passed_on);
    }

    fn take_presence(
        &mut self,
        turn: &mut Turn<'_>,
        slot: Slot,
        record: &Sealed,
        opened: Arc<Opened>,
        passed_on: Option<Option<Slot>>,
    ) {
        let Opened::Presence(presence) = &*opened else {
            return;
        };
        let passed_on = passed_on.filter(|_| self.pace.allows(slot, turn.now.time));
        let known = self.view.entry(slot);
        let entry = known.with_presence(record.version, presence.mode);
        turn.keep(slot, record, opened);
        self.close(slot);
        self.enter(turn, slot, entry, Change::Left);
        if known.incarnation == 0
            && let Some(from) = passed_on
            && let Some(cert) = turn.dir.record(slot, Kind::Cert, known.cert)
        {
            self.spread.add(&cert.sealed.clone(), from, turn.now.time);
        }
        self.taken(turn, record, passed_on);
    }

    fn taken(&mut self, turn: &mut Turn<'_>, record: &Sealed, passed_on: Option<Option<Slot>>) {
        if let Some(from) = passed_on {
            self.spread.add(record, from, turn.now.time);
        }
        turn.out.push(Command::Record(record.clone()));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    Done,
    /// It is about a node of which too little is known yet to judge it.
    Early,
}

enum News {
    None,
    Early,
    Yes,
}

/// Whether a record would change what is known, by its label.
fn news(record: &Sealed, entry: Entry) -> News {
    if entry.is_revoked() {
        return News::None;
    }
    let told = matches!(entry.status(), Status::Live | Status::Dead | Status::Left);
    let yes = |yes| if yes { News::Yes } else { News::None };
    match record.kind {
        // One that a wrong clock took for expired is good again.
        Kind::Cert => {
            let again = entry.status() == Status::Expired && record.version == entry.cert;
            yes(record.version > entry.cert || again)
        }
        Kind::Revocation => News::Yes,
        Kind::Presence if entry.cert == 0 => News::Early,
        Kind::Presence => yes(record.version > entry.incarnation),
        Kind::Obituary | Kind::Alert if record.version > entry.incarnation => News::Early,
        Kind::Obituary | Kind::Alert => {
            yes(told && record.version == entry.incarnation && !entry.is_dead())
        }
    }
}

/// A record that is merely out of date was right once; another was sent by a liar, or by a node
/// that did not check it.
fn reject(turn: &mut Turn<'_>, from: Option<Slot>, refused: Refused) {
    if let Some(from) = from
        && !matches!(
            refused,
            Refused::Expired { .. } | Refused::Revoked { .. } | Refused::Stranger { .. }
        )
    {
        let reason = Box::new(refused);
        turn.out.push(Command::Rejected { from, reason });
    }
}

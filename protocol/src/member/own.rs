//! This node's own word: published when something about it changes, and again, under a higher
//! incarnation, when others think it dead or when another machine speaks with its key.

use std::time::Duration;

use super::{
    Change, Command, Directory, Engine, Incarnation, Kind, Mode, Opened, Presence, Sealed, Slot,
    engine::{NEVER, Turn},
};
use crate::{
    limits::{CLOCK_SKEW_MS, WORD_LIFE_MS},
    time::{Stamp, Time},
};

/// Least time between two publications.
const REST: Duration = Duration::from_secs(1);
/// Least time between two publications that answer mere alerts, or a twin: both come from others
/// at will.
const ANSWER: Duration = Duration::from_secs(10);

/// What this node has said of itself.
#[derive(Debug, Clone)]
pub(super) struct Own {
    /// The highest incarnation that it ever made.
    pub(super) made: Incarnation,
    /// Its word, once it has spoken in this life.
    sealed: Option<Sealed>,
    published: Time,
    /// The date on its word.
    issued: Stamp,
    /// When to speak next, if it may.
    pub(super) speak_at: Time,
    /// When a twin was last complained of.
    complained: Option<Time>,
    /// When an accusation last made this node doubt itself.
    blamed: Option<Time>,
}

impl Own {
    pub(super) fn new(made: Incarnation) -> Self {
        Self {
            made,
            sealed: None,
            published: Time::default(),
            issued: Stamp::default(),
            speak_at: Time::default(),
            complained: None,
            blamed: None,
        }
    }

    /// The second from which its word is to be given anew: others refuse one that is too old.
    pub(super) fn anew_at(&self) -> u32 {
        let at = self.issued.as_ms().saturating_add(WORD_LIFE_MS / 4) / 1000;
        match self.sealed {
            Some(_) => u32::try_from(at).unwrap_or(u32::MAX),
            None => u32::MAX,
        }
    }

    /// Whether it is: that second has come, or its date is one of a clock that was wrong.
    fn is_stale(&self, now: Stamp) -> bool {
        let ahead = self.issued.as_ms() > now.as_ms().saturating_add(CLOCK_SKEW_MS);
        self.sealed.is_some() && (ahead || now.as_ms() / 1000 >= u64::from(self.anew_at()))
    }
}

impl Engine {
    /// Whether this node may say something: it has a certificate, and is not just reading what is
    /// known of its earlier lives.
    pub(super) fn may_speak(&self) -> bool {
        self.may_hear(self.me) && !self.is_fetching()
    }

    /// Something about this node is not as it said.
    pub(super) fn speak_soon(&mut self, now: Time) {
        let rest = if self.setup.mode == Mode::Left {
            Duration::ZERO
        } else {
            REST
        };
        self.speak_by(now, rest);
    }

    /// Gives its word anew before it is too old to count.
    pub(super) fn speak_anew(&mut self, turn: &Turn<'_>) {
        if self.own.is_stale(turn.now.stamp) {
            self.speak_soon(turn.now.time);
        }
    }

    fn speak_by(&mut self, now: Time, rest: Duration) {
        let at = if self.own.sealed.is_some() {
            (self.own.published + rest).max(now)
        } else {
            now
        };
        self.own.speak_at = self.own.speak_at.min(at);
    }

    /// Says again what it said, to neighbours that may not have been there.
    pub(super) fn announce(&mut self, turn: &mut Turn<'_>) {
        for record in self.introduction(turn) {
            self.spread.add(&record, None, turn.now.time);
        }
    }

    /// This node's certificate and its word; nothing before it has spoken.
    pub(super) fn introduction(&self, turn: &Turn<'_>) -> Vec<Sealed> {
        let Some(word) = self.own.sealed.clone() else {
            return Vec::new();
        };
        let cert = self.view.entry(self.me).cert;
        let cert = turn.dir.record(self.me, Kind::Cert, cert);
        let cert = cert.map(|kept| kept.sealed.clone());
        cert.into_iter().chain([word]).collect()
    }

    /// Says what this node is now, under the next incarnation.
    pub(super) fn publish(&mut self, turn: &mut Turn<'_>) {
        self.own.speak_at = NEVER;
        let entry = self.view.entry(self.me);
        let incarnation = self.own.made.next();
        let presence = Presence {
            mesh: self.setup.mesh,
            node: self.setup.me,
            incarnation,
            addresses: self.setup.addresses.clone(),
            facts: self.setup.facts.clone(),
            mode: self.setup.mode,
            issued: turn.now.stamp,
        };
        let Some(sealed) = turn.crypto.presence(&presence) else {
            return;
        };
        turn.out.push(Command::Keep(incarnation));
        turn.keep(self.me, &sealed, Opened::Presence(presence).into());
        self.own.made = incarnation;
        self.own.published = turn.now.time;
        self.own.issued = turn.now.stamp;
        let first = self.own.sealed.replace(sealed.clone()).is_none();
        self.watch.next_expiry = self.watch.next_expiry.min(self.own.anew_at());
        let entry = entry.with_presence(incarnation.number(), self.setup.mode);
        self.enter(turn, self.me, entry, Change::Left);
        if first {
            self.announce(turn);
        } else {
            self.spread.add(&sealed, None, turn.now.time);
        }
        turn.out.push(Command::Record(sealed));
    }

    /// Takes up the word that a record in the directory says this node has given: for twins.
    pub(super) fn take_up(&mut self, directory: &impl Directory) {
        let incarnation = self.view.entry(self.me).incarnation;
        let kept = directory.record(self.me, Kind::Presence, incarnation);
        if let Some(kept) = kept {
            self.own.sealed = Some(kept.sealed.clone());
            if let Opened::Presence(said) = &*kept.opened {
                self.own.issued = said.issued;
            }
        }
        self.own.made = self.own.made.max(Incarnation::new(incarnation));
        if self.own.sealed.is_some() {
            self.own.speak_at = NEVER;
        }
    }

    /// A believed record about this node itself, or a line that says the same of it.
    pub(super) fn accused(&mut self, turn: &Turn<'_>, as_dead: bool) {
        let now = turn.now.time;
        let rested = self.own.blamed.is_none_or(|when| now.since(when) >= ANSWER);
        if rested {
            self.own.blamed = Some(now);
            self.watch.was_accused();
        }
        self.speak_by(turn.now.time, if as_dead { REST } else { ANSWER });
    }

    /// A record about this node itself, from anybody.
    pub(super) fn take_own(&mut self, turn: &mut Turn<'_>, record: &Sealed, from: Option<Slot>) {
        let known = self.view.entry(self.me);
        let spoken = self.own.sealed.as_ref();
        let made = self.own.made.number();
        let wanted = match record.kind {
            Kind::Cert => !known.is_revoked() && record.version > known.cert,
            Kind::Revocation => !known.is_revoked(),
            Kind::Presence if record.version == made => {
                spoken.is_some_and(|mine| mine.bytes != record.bytes)
            }
            Kind::Presence => record.version > made,
            Kind::Alert | Kind::Obituary => spoken.is_some() && record.version == made,
        };
        if !wanted {
            return self.say_again(turn, record, from);
        }
        let Ok(opened) = turn.crypto.open(record, turn.now.stamp) else {
            return;
        };
        match &*opened {
            Opened::Cert(_) => {
                self.take_cert(turn, self.me, record, opened, None);
            }
            Opened::Revocation(revocation) => {
                let entry = super::take::revoked(revocation);
                self.enter(turn, self.me, entry, Change::Revoked);
                // Kept, so that it is known after the next start too.
                turn.out.push(Command::Record(record.clone()));
                turn.out.push(Command::Evicted);
            }
            // From its own disk it is this node's own word in an earlier life.
            Opened::Presence(presence) if from.is_none() => {
                self.own.made = self.own.made.max(presence.incarnation);
            }
            Opened::Presence(presence) => self.found_twin(turn, presence.incarnation),
            Opened::Alert(_) => self.accused(turn, false),
            // One of too few holds nowhere, and is what one liar can make.
            Opened::Obituary(alerts) => {
                let observers = self.observers(turn, alerts);
                let holds = self.suffice(turn, self.me, &observers);
                self.accused(turn, holds);
                if let Some(from) = from
                    && holds
                {
                    self.catch_up(turn, from);
                }
            }
        }
    }

    /// Whoever passes on a death, or a doubt, of an earlier word did not hear the later one: all that
    /// this node said meanwhile was lost, and so may be what it was told.
    fn say_again(&mut self, turn: &mut Turn<'_>, record: &Sealed, from: Option<Slot>) {
        let is_old = matches!(record.kind, Kind::Alert | Kind::Obituary)
            && self.own.sealed.is_some()
            && record.version < self.own.made.number();
        if let Some(from) = from
            && is_old
            && self.may_hear(from)
        {
            self.give(turn, from, &[self.me]);
            self.catch_up(turn, from);
        }
    }

    /// Somebody else speaks with this node's key. This node speaks above it, seldom enough that
    /// two such nodes do not drown the mesh in their quarrel.
    fn found_twin(&mut self, turn: &mut Turn<'_>, incarnation: Incarnation) {
        let now = turn.now.time;
        self.own.made = self.own.made.max(incarnation);
        let quiet = |at: Time| now.since(at) >= ANSWER;
        if self.own.complained.is_none_or(quiet) {
            self.own.complained = Some(now);
            turn.out.push(Command::Twin { incarnation });
        }
        self.speak_by(now, ANSWER);
    }
}

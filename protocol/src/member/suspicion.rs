//! From silence to death: a suspect is asked again, its other watchers are asked about it, and
//! only then does this node put its name to an alert. Whoever holds the alerts of enough distinct
//! observers makes the obituary of them. One accuser alone, broken or lying, kills nobody.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    Direction, Doubt, Engine, Incarnation, Message, Opened, Sealed, Slot,
    engine::{NEVER, Turn},
    rings::beside,
};
use crate::time::Time;

/// Most suspicions at once; beyond them the world is not dying, this node is.
const SUSPICIONS_MAX: usize = 1024;
/// Most nodes that wait for this node's word about one suspect.
const ASKERS_MAX: usize = 16;
/// Most nodes that are asked about one suspect.
const JUDGES_MAX: usize = 16;
/// Operators whose word is asked for beyond those that are needed, so that some may say nothing.
const SPARE_OPERATORS: usize = 2;
/// Farthest that a judge of another operator is looked for on ring 0.
const JUDGES_AFAR_MAX: usize = 256;
/// How long a suspect whose host refuses connections has to come back: half a second.
const REFUSED_GRACE: Duration = Duration::from_millis(500);
/// Members whose good word for a suspect outweighs its silence towards this node.
const VOUCHERS: usize = 2;

/// So often they do; after that this node says what it sees. It is one voice, and whoever lives
/// answers it.
const HELD_ROUNDS: u32 = 6;

/// A member that does not answer this node, or about which another asked.
#[derive(Debug, Clone)]
pub(super) struct Case {
    incarnation: Incarnation,
    pub(super) since: Time,
    next: Time,
    /// Whether its host said that nobody is there.
    refused: bool,
    /// Whether this node has asked others about it, and is not just looking on behalf of others.
    asked: bool,
    pub(super) accused: bool,
    /// How often it was looked at: each time the next look is longer away.
    rounds: u32,
    askers: Vec<Slot>,
    /// Who hears it, and when they last said so.
    vouchers: Vec<(Slot, Time)>,
    pub(super) alerts: Vec<(Slot, Sealed)>,
    /// An obituary from elsewhere that was not enough here, and its observers.
    pub(super) obituary: Option<(Sealed, Arc<Opened>, Vec<Slot>)>,
}

impl Case {
    fn wait(&mut self, base: Duration, most: Duration) -> Duration {
        let wait = (base * (1 << self.rounds.min(6))).min(most);
        self.rounds += 1;
        wait
    }
}

/// All open cases.
#[derive(Debug, Clone)]
pub(super) struct Cases {
    pub(super) open: BTreeMap<Slot, Case>,
    /// Whose deaths this node lately put its name to, for whom, and when.
    pub(super) attested: Vec<(Slot, Slot, Time)>,
    pub(super) next: Time,
}

impl Default for Cases {
    fn default() -> Self {
        Self {
            open: BTreeMap::new(),
            attested: Vec::new(),
            next: NEVER,
        }
    }
}

impl Cases {
    /// This node was slow: every suspect is given time anew.
    pub(super) fn late(&mut self, until: Time) {
        for case in self.open.values_mut() {
            case.next = case.next.max(until);
        }
        self.schedule();
    }

    pub(super) fn schedule(&mut self) {
        let next = self.open.values().map(|case| case.next).min();
        self.next = next.unwrap_or(NEVER);
    }
}

impl Engine {
    /// A member does not answer this node.
    pub(super) fn suspect(&mut self, turn: &mut Turn<'_>, subject: Slot, refused: bool) {
        let now = turn.now.time;
        let Some(case) = self.open_case(turn, subject) else {
            return;
        };
        let first = !std::mem::replace(&mut case.asked, true);
        // Its host refuses each message anew; that is news once.
        if refused && !std::mem::replace(&mut case.refused, true) {
            case.next = case.next.min((case.since + REFUSED_GRACE).max(now));
        }
        if first {
            self.ask_judges(turn, subject);
        }
        self.cases.schedule();
    }

    /// Another member asks whether `subject` answers this node.
    pub(super) fn asked(&mut self, turn: &mut Turn<'_>, from: Slot, doubt: Doubt) {
        let Some(subject) = turn.dir.find(&doubt.subject) else {
            return;
        };
        if subject == self.me {
            return self.vouch(turn, subject, from);
        }
        let entry = self.view.entry(subject);
        let known = Incarnation::new(entry.incarnation);
        if entry.is_revoked() || known > doubt.incarnation || entry.is_dead() {
            return self.give(turn, from, &[subject]);
        }
        let Some(case) = self.open_case(turn, subject) else {
            return;
        };
        if case.askers.len() < ASKERS_MAX && !case.askers.contains(&from) {
            case.askers.push(from);
        }
        self.cases.schedule();
    }

    /// Another member says that it hears a suspect.
    pub(super) fn vouched(&mut self, turn: &Turn<'_>, from: Slot, doubt: Doubt) {
        let Some(subject) = turn.dir.find(&doubt.subject) else {
            return;
        };
        // The word of a node that nobody asked is worth nothing.
        let counts = self.view.is_live(from) && self.judges(turn, subject).contains(&from);
        if let Some(case) = self.cases.open.get_mut(&subject)
            && doubt.incarnation >= case.incarnation
            && counts
        {
            case.vouchers.retain(|(voucher, _)| *voucher != from);
            if case.vouchers.len() < JUDGES_MAX {
                case.vouchers.push((from, turn.now.time));
            }
        }
    }

    /// A suspect spoke to this node: whoever asked is told, and the case is closed.
    pub(super) fn acquit(&mut self, turn: &mut Turn<'_>, subject: Slot) {
        if let Some(case) = self.cases.open.remove(&subject) {
            for asker in case.askers {
                self.vouch(turn, subject, asker);
            }
            self.cases.schedule();
        }
    }

    /// A case is closed because its subject is no member any more, or a newer one.
    pub(super) fn close(&mut self, subject: Slot) {
        if self.cases.open.remove(&subject).is_some() {
            self.cases.schedule();
        }
    }

    fn vouch(&self, turn: &mut Turn<'_>, subject: Slot, to: Slot) {
        let doubt = self.doubt(turn, subject);
        if self.may_hear(to) {
            turn.send(to, Message::Vouch(Box::new(doubt)));
        }
    }

    fn doubt(&self, turn: &Turn<'_>, subject: Slot) -> Doubt {
        Doubt {
            subject: turn.dir.place(subject).node,
            incarnation: Incarnation::new(self.view.entry(subject).incarnation),
        }
    }

    /// The case of a live member, opened with a probe if there is none yet.
    pub(super) fn open_case(&mut self, turn: &mut Turn<'_>, subject: Slot) -> Option<&mut Case> {
        if subject == self.me || !self.view.is_live(subject) || !self.is_here() {
            return None;
        }
        if !self.cases.open.contains_key(&subject) {
            if self.cases.open.len() >= SUSPICIONS_MAX {
                return None;
            }
            let now = turn.now.time;
            let case = Case {
                incarnation: Incarnation::new(self.view.entry(subject).incarnation),
                since: now,
                next: now + self.watch.patience(self.setup.tuning.timeout),
                refused: false,
                asked: false,
                accused: false,
                rounds: 0,
                askers: Vec::new(),
                vouchers: Vec::new(),
                alerts: Vec::new(),
                obituary: None,
            };
            self.cases.open.insert(subject, case);
            self.send_probe(turn, subject);
        }
        self.cases.open.get_mut(&subject)
    }

    pub(super) fn send_probe(&mut self, turn: &mut Turn<'_>, to: Slot) {
        let number = self.watch.next_number();
        let view = self.view.hash();
        turn.send(to, Message::Probe { number, view });
    }

    fn ask_judges(&self, turn: &mut Turn<'_>, subject: Slot) {
        let doubt = self.doubt(turn, subject);
        for judge in self.judges(turn, subject) {
            turn.send(judge, Message::Doubt(Box::new(doubt)));
        }
    }

    /// Who else should look at a suspect: its ring neighbours that are not suspects themselves,
    /// and, where these are of too few operators, the next members of others.
    pub(super) fn judges(&self, turn: &Turn<'_>, subject: Slot) -> Vec<Slot> {
        let mut judges: Vec<Slot> = Vec::new();
        let fit = |slot: Slot| {
            slot != self.me && self.view.is_live(slot) && !self.cases.open.contains_key(&slot)
        };
        for ring in 0..usize::from(self.setup.tuning.rings) {
            for direction in [Direction::Forward, Direction::Backward] {
                let next = beside(subject, ring, direction, turn.dir, fit);
                judges.extend(next.filter(|next| !judges.contains(next)));
            }
        }
        let operator = |slot: &Slot| turn.dir.place(*slot).operator;
        let mut operators: Vec<u32> = judges.iter().map(operator).collect();
        operators.push(operator(&self.me));
        operators.sort_unstable();
        operators.dedup();
        let mut steps = 0;
        let wanted = usize::from(self.setup.tuning.observers) + SPARE_OPERATORS;
        beside(subject, 0, Direction::Forward, turn.dir, |slot| {
            if fit(slot) && !operators.contains(&operator(&slot)) && operators.len() < wanted {
                operators.push(operator(&slot));
                judges.push(slot);
            }
            steps += 1;
            operators.len() >= wanted || steps >= JUDGES_AFAR_MAX
        });
        judges.truncate(JUDGES_MAX);
        judges
    }

    /// Looks again at the cases whose time has come.
    pub(super) fn review(&mut self, turn: &mut Turn<'_>) {
        if !self.is_here() {
            // Whose own certificate has expired, or who has left, is not answered: that says nothing.
            self.cases = Cases::default();
            return;
        }
        let now = turn.now.time;
        let due = |(slot, case): (&Slot, &Case)| (case.next <= now).then_some(*slot);
        let due: Vec<Slot> = self.cases.open.iter().filter_map(due).collect();
        let doubts = self.doubts_itself(now);
        for subject in due {
            self.review_one(turn, subject, doubts);
        }
        self.cases.schedule();
    }

    fn review_one(&mut self, turn: &mut Turn<'_>, subject: Slot, doubts: bool) {
        let now = turn.now.time;
        let tuning = self.setup.tuning;
        let timeout = self.watch.patience(tuning.timeout);
        let Some(case) = self.cases.open.get_mut(&subject) else {
            return;
        };
        let fresh = tuning.period * 2;
        case.vouchers.retain(|(_, when)| now.since(*when) < fresh);
        let mut patience = timeout + self.watch.patience(tuning.patience);
        if case.refused {
            patience = REFUSED_GRACE;
        }
        if !case.vouchers.is_empty() {
            patience *= 2;
        }
        let ripe = case.since + patience;
        let held = doubts || (case.vouchers.len() >= VOUCHERS && case.rounds < HELD_ROUNDS);
        let ask = !doubts && !std::mem::replace(&mut case.asked, true);
        if now < ripe {
            case.next = ripe.min(now + timeout);
        } else if held {
            case.next = now + case.wait(timeout, tuning.compare);
        } else {
            case.next = now + case.wait(tuning.period, tuning.compare);
            let again = std::mem::replace(&mut case.accused, true);
            self.accuse(turn, subject);
            if again {
                self.ask_judges(turn, subject);
            }
        }
        if ask {
            self.ask_judges(turn, subject);
        }
        if self.cases.open.contains_key(&subject) {
            self.send_probe(turn, subject);
        }
    }
}

//! What makes a death: alerts of enough distinct observers, of enough operators, put together as
//! an obituary, and what this node adds to others' judgement. Nobody is dead by one node's word.

use std::sync::Arc;

use super::{
    ALERTS_MAX, Alert, Batch, Change, Command, Engine, Incarnation, Kind, Message, Opened, Sealed,
    Slot, engine::Turn,
};

/// Alerts about members that are dead here, made for others within a period.
const ATTESTED_MAX: usize = 64;
impl Engine {
    /// Puts this node's name to the silence of a member.
    pub(super) fn accuse(&mut self, turn: &mut Turn<'_>, subject: Slot) {
        let Some(case) = self.cases.open.get(&subject) else {
            return;
        };
        let mine = case.alerts.iter().find(|(who, _)| *who == self.me);
        let alert = if let Some((_, alert)) = mine {
            alert.clone()
        } else {
            let Some(alert) = self.sign_alert(turn, subject) else {
                return;
            };
            alert
        };
        let batch = Batch([alert.clone()].into());
        for judge in self.judges(turn, subject) {
            turn.send(judge, Message::Records(batch.clone()));
        }
        turn.send(subject, Message::Records(batch));
        self.add_alert(turn, subject, self.me, alert);
    }

    /// A believed alert about another member that is live under that incarnation.
    pub(super) fn heed(
        &mut self,
        turn: &mut Turn<'_>,
        subject: Slot,
        alert: &Alert,
        as_sent: &Sealed,
    ) {
        let Some(observer) = turn.dir.find(&alert.observer) else {
            return;
        };
        if !self.view.is_live(observer) || self.open_case(turn, subject).is_none() {
            return;
        }
        self.add_alert(turn, subject, observer, as_sent.clone());
        self.cases.schedule();
    }

    fn add_alert(&mut self, turn: &mut Turn<'_>, subject: Slot, observer: Slot, alert: Sealed) {
        let Some(case) = self.cases.open.get_mut(&subject) else {
            return;
        };
        let known = case.alerts.iter().any(|(who, _)| *who == observer);
        if !known && case.alerts.len() < ALERTS_MAX {
            case.alerts.push((observer, alert));
        }
        self.weigh(turn, subject);
    }

    /// Buries a suspect if what is known of it is enough: the alerts that came here, or these and
    /// an obituary that was made where fewer were needed.
    fn weigh(&mut self, turn: &mut Turn<'_>, subject: Slot) {
        let Some(case) = self.cases.open.get(&subject) else {
            return;
        };
        let mut observers: Vec<Slot> = case.alerts.iter().map(|(who, _)| *who).collect();
        if self.suffice(turn, subject, &observers) {
            let alerts: Vec<Sealed> = case.alerts.iter().map(|(_, it)| it.clone()).collect();
            if let Some(obituary) = turn.crypto.obituary(&alerts)
                && let Ok(opened) = turn.crypto.open(&obituary, turn.now.stamp)
            {
                self.bury(turn, subject, &obituary, opened, None);
            }
            return;
        }
        let Some((obituary, opened, more)) = case.obituary.clone() else {
            return;
        };
        observers.extend(more);
        observers.sort_unstable();
        observers.dedup();
        if self.suffice(turn, subject, &observers) {
            self.bury(turn, subject, &obituary, opened, None);
        }
    }

    /// A believed obituary of a live member: enough here, or a reason to look for oneself.
    pub(super) fn heed_obituary(
        &mut self,
        turn: &mut Turn<'_>,
        subject: Slot,
        observers: &[Slot],
        (obituary, opened): (&Sealed, &Arc<Opened>),
        from: Option<Slot>,
    ) {
        if self.suffice(turn, subject, observers) {
            return self.bury(turn, subject, obituary, opened.clone(), from);
        }
        if observers.is_empty() {
            return;
        }
        let Some(case) = self.open_case(turn, subject) else {
            return;
        };
        case.obituary = Some((obituary.clone(), opened.clone(), observers.to_vec()));
        // It should answer for itself, and for all to hear.
        turn.send(subject, Message::Records(Batch([obituary.clone()].into())));
        self.weigh(turn, subject);
        self.cases.schedule();
    }

    /// Whether these observers make a death: enough of them, and of enough operators, as far as
    /// there are members and operators left that this node does not accuse as well.
    pub(super) fn suffice(&self, turn: &Turn<'_>, subject: Slot, observers: &[Slot]) -> bool {
        let accused = |slot: &Slot| self.cases.open.get(slot).is_some_and(|case| case.accused);
        let counts = |slot: &Slot| *slot != subject && !accused(slot);
        let wanted = usize::from(self.setup.tuning.observers).clamp(1, ALERTS_MAX);
        if observers.is_empty() {
            return false;
        }
        // As many as are wanted are soon found in all but the smallest meshes.
        let mut others = 0;
        let mut operators: Vec<u32> = Vec::new();
        for slot in self.live().filter(counts) {
            others += 1;
            let operator = turn.dir.place(slot).operator;
            if !operators.contains(&operator) {
                operators.push(operator);
            }
            if operators.len() >= wanted {
                others = others.max(wanted);
                break;
            }
        }
        let wanted = wanted.min(others).max(1);
        let wanted_operators = wanted.min(operators.len()).max(1);
        let operator = |slot: &Slot| turn.dir.place(*slot).operator;
        let mut operators: Vec<u32> = observers.iter().map(operator).collect();
        operators.sort_unstable();
        operators.dedup();
        observers.len() >= wanted && operators.len() >= wanted_operators
    }

    /// The observers of an obituary who are, or were, members. Not by what they are now: views must not
    /// depend on what came first.
    pub(super) fn observers(&self, turn: &Turn<'_>, alerts: &[Alert]) -> Vec<Slot> {
        let slot = |alert: &Alert| {
            let slot = turn.dir.find(&alert.observer)?;
            let entry = self.view.entry(slot);
            (entry.cert != 0 && !entry.is_revoked()).then_some(slot)
        };
        alerts.iter().filter_map(slot).collect()
    }

    /// Puts this node's name beside an obituary that it has taken, for a member that does not find
    /// its observers enough: some of them may be out by now. Once a period for each, because the
    /// other may hold the subject dead as well and answer in kind.
    pub(super) fn attest(&mut self, turn: &mut Turn<'_>, subject: Slot, to: Slot) {
        let now = turn.now.time;
        let period = self.setup.tuning.period;
        let attested = &mut self.cases.attested;
        attested.retain(|(_, _, when)| now.since(*when) < period);
        let known = attested
            .iter()
            .any(|(whom, whose, _)| (*whom, *whose) == (subject, to));
        if known || attested.len() >= ATTESTED_MAX {
            return;
        }
        attested.push((subject, to, now));
        if let Some(alert) = self.sign_alert(turn, subject) {
            turn.send(to, Message::Records(Batch([alert].into())));
            self.remind_of(turn, to, subject);
        }
    }

    fn sign_alert(&self, turn: &mut Turn<'_>, subject: Slot) -> Option<Sealed> {
        let alert = Alert {
            mesh: self.setup.mesh,
            subject: turn.dir.place(subject).node,
            incarnation: Incarnation::new(self.view.entry(subject).incarnation),
            observer: self.setup.me,
            at: turn.now.stamp,
        };
        turn.crypto.alert(&alert)
    }

    /// The obituary of a member is taken.
    pub(super) fn bury(
        &mut self,
        turn: &mut Turn<'_>,
        subject: Slot,
        obituary: &Sealed,
        opened: Arc<Opened>,
        from: Option<Slot>,
    ) {
        debug_assert_eq!(obituary.kind, Kind::Obituary, "only obituaries bury");
        turn.keep(subject, obituary, opened);
        let entry = self.view.entry(subject).buried();
        self.enter(turn, subject, entry, Change::Died);
        self.spread.add(obituary, from, turn.now.time);
        turn.out.push(Command::Record(obituary.clone()));
    }
}

//! What can be read of an engine between two events.

use super::{
    Engine, Incarnation, Mode, Slot, Standing, Status, Suspicion, fetch::Fetching, view::Entry,
};

impl Engine {
    /// This node's slot.
    #[must_use]
    pub const fn me(&self) -> Slot {
        self.me
    }

    /// Where a member stands in this node's view.
    #[must_use]
    pub fn status(&self, slot: Slot) -> Status {
        self.view.status(slot)
    }

    /// The mode of a member, by its own word.
    #[must_use]
    pub fn mode(&self, slot: Slot) -> Option<Mode> {
        self.view.entry(slot).mode()
    }

    /// The incarnation as which a member is known.
    #[must_use]
    pub fn incarnation(&self, slot: Slot) -> Incarnation {
        Incarnation::new(self.view.entry(slot).incarnation)
    }

    /// All members that are here, this node included, in slot order.
    pub fn live(&self) -> impl Iterator<Item = Slot> + '_ {
        let live = |(slot, entry): (Slot, Entry)| (entry.status() == Status::Live).then_some(slot);
        self.view.entries().filter_map(live)
    }

    /// The ring neighbours, without repetition: at most twice the rings.
    pub fn neighbours(&self) -> impl Iterator<Item = Slot> + '_ {
        self.watch.slots().iter().copied()
    }

    /// This node's own suspicions.
    pub fn suspicions(&self) -> impl Iterator<Item = Suspicion> + '_ {
        let cases = self.cases.open.iter();
        cases.map(|(subject, case)| Suspicion {
            subject: *subject,
            since: case.since,
            alerts: u8::try_from(case.alerts.len()).unwrap_or(u8::MAX),
        })
    }

    /// How this node stands in its mesh, as of the last event.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            live: self.view.live(),
            view: self.view.hash(),
            joined: matches!(self.fetching, Fetching::Done) && self.is_here(),
            doubts: self.has_doubts(self.watch.last),
            incarnation: self.own.made,
        }
    }
}

//! How a newcomer learns who is here: it reads the view of the first member that it meets, page by
//! page in the order of ring 0, and only then says that it is here itself.

use std::time::Duration;

use super::{
    Batch, Engine, Line, Message, Page, Slot,
    compare::Parcel,
    engine::{NEVER, Turn},
    view::Entry,
};
use crate::time::Time;

/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a whole view may take; what is missing then is found by comparison.
const PATIENCE_ALL: Duration = Duration::from_secs(60);
/// How often one page is asked for.
const TRIES: u32 = 3;

/// How far a newcomer is.
#[derive(Debug, Clone, Default)]
pub(super) enum Fetching {
    /// Nobody was met yet.
    #[default]
    Alone,
    /// Reading a member's view.
    Reading {
        from: Slot,
        after: u64,
        tries: u32,
        again_at: Time,
        since: Time,
    },
    /// Read.
    Done,
}

impl Fetching {
    pub(super) const fn again_at(&self) -> Time {
        match self {
            Self::Reading { again_at, .. } => *again_at,
            Self::Alone | Self::Done => NEVER,
        }
    }
}

impl Engine {
    pub(super) const fn is_fetching(&self) -> bool {
        matches!(self.fetching, Fetching::Reading { .. })
    }

    /// A member was met: its view is read if none was yet, or compared if this node remembers
    /// others from an earlier life.
    pub(super) fn fetch_from(&mut self, turn: &mut Turn<'_>, slot: Slot) {
        match self.fetching {
            Fetching::Alone if self.view.live() <= 1 => {
                self.ask_page(turn, slot, (0, 1), turn.now.time);
            }
            Fetching::Reading { .. } => {}
            Fetching::Alone => {
                self.fetching = Fetching::Done;
                self.compare_with(turn, slot);
            }
            // A newcomer, or one of a part of the mesh that this node has not heard of.
            Fetching::Done if !self.view.is_live(slot) => self.compare_with(turn, slot),
            Fetching::Done => {}
        }
    }

    fn ask_page(
        &mut self,
        turn: &mut Turn<'_>,
        from: Slot,
        (after, tries): (u64, u32),
        since: Time,
    ) {
        self.fetching = Fetching::Reading {
            from,
            after,
            tries,
            again_at: turn.now.time + PATIENCE,
            since,
        };
        turn.send(from, Message::Fetch { after });
    }

    /// A page did not come: asks again, and in the end waits for another member to be met.
    pub(super) fn fetch_again(&mut self, turn: &mut Turn<'_>) {
        let Fetching::Reading {
            from,
            after,
            tries,
            since,
            ..
        } = self.fetching
        else {
            return;
        };
        if tries < TRIES && self.may_hear(from) {
            self.ask_page(turn, from, (after, tries + 1), since);
        } else {
            self.fetching = Fetching::Alone;
        }
    }

    /// A newcomer asks for a page.
    pub(super) fn serve_page(&mut self, turn: &mut Turn<'_>, to: Slot, after: u64) {
        let mut parcel = Parcel::default();
        let mut next = None;
        let mut from = after;
        // The walk holds the directory, so slots are gathered first, a page's worth at a time.
        loop {
            let mut slots: Vec<(u64, Slot)> = Vec::new();
            turn.dir.walk(from, u64::MAX, &mut |seed, slot| {
                slots.push((seed, slot));
                slots.len() < super::RECORDS_MAX
            });
            let Some(&(last, _)) = slots.last() else {
                break;
            };
            let nothing = |seed| -> Line { Entry::default().line(seed) };
            next = slots
                .iter()
                .find(|(seed, slot)| !self.pack(turn, &mut parcel, *slot, nothing(*seed)))
                .map(|(seed, _)| *seed);
            if next.is_some() || last == u64::MAX {
                break;
            }
            from = last + 1;
        }
        let records = Batch(parcel.records.into());
        turn.send(to, Message::Page(Box::new(Page { records, next })));
    }

    /// A page came: its records are old news to everybody else.
    pub(super) fn read_page(&mut self, turn: &mut Turn<'_>, from: Slot, page: &Page) {
        let Fetching::Reading {
            from: asked,
            after,
            since,
            ..
        } = self.fetching
        else {
            return;
        };
        if asked != from {
            return;
        }
        self.take_all(turn, &page.records.0, Some(from), false);
        match page.next {
            Some(next) if next > after && turn.now.time.since(since) < PATIENCE_ALL => {
                self.ask_page(turn, from, (next, 1), since);
            }
            _ => {
                self.fetching = Fetching::Done;
                self.announce(turn);
            }
        }
    }
}

//! What is going to happen, in order of time; at one time in the order in which it was planned.

use std::collections::BTreeMap;

/// Things with their times.
#[derive(Debug)]
pub(super) struct Agenda<T> {
    due: BTreeMap<(u64, u64), T>,
    seq: u64,
}

impl<T> Agenda<T> {
    pub(super) const fn new() -> Self {
        let due = BTreeMap::new();
        Self { due, seq: 0 }
    }

    pub(super) fn add(&mut self, at_ms: u64, what: T) {
        self.due.insert((at_ms, self.seq), what);
        self.seq += 1;
    }

    pub(super) fn pop(&mut self) -> Option<(u64, T)> {
        let ((at_ms, _), what) = self.due.pop_first()?;
        Some((at_ms, what))
    }
}

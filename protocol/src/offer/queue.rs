//! The jobs of one platform that wait, in the order in which they are done: urgent before normal,
//! each shared fairly between projects. Coming, going and the first that fits take a time that grows
//! with the logarithm of their number and with the few kinds of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{JobId, Missing, Place, Priority, Want, fair::Clock, resources::Takes};
use crate::action::Limits;

/// Place in the queue: retries keep theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) priority: Priority,
    /// When its turn is, by the time of the queue.
    pub(super) start: u64,
    /// In which order they were wanted.
    pub(super) seq: u64,
    pub(super) job: JobId,
}

/// What of a job decides whether any node could do it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    remote_ok: bool,
    place: Place,
    needs: Limits,
}

impl Kind {
    pub(super) fn of(want: &Want) -> Self {
        Self {
            remote_ok: want.remote_ok,
            place: want.place.clone(),
            needs: want.needs,
        }
    }
}

/// The waiting jobs of a kind.
#[derive(Debug, Default)]
pub(super) struct Class {
    /// What was last said to be missing for them.
    pub(super) missing: Option<Missing>,
    pub(super) jobs: BTreeSet<JobId>,
}

/// The waiting jobs of one platform.
#[derive(Debug, Default)]
pub(super) struct Queue {
    urgent: Clock,
    normal: Clock,
    /// All of them that may leave this node.
    pub(super) remote: BTreeSet<Rank>,
    /// Those of these about which nothing goes on yet.
    pub(super) open: BTreeSet<Rank>,
    /// All of them that this node may begin as soon as it has room, by what they take.
    pub(super) here: BTreeMap<Takes, BTreeSet<Rank>>,
    pub(super) classes: BTreeMap<Kind, Class>,
}

impl Queue {
    pub(super) fn clock(&mut self, priority: Priority) -> &mut Clock {
        match priority {
            Priority::Urgent => &mut self.urgent,
            Priority::Normal => &mut self.normal,
        }
    }

    /// The first for each thing that jobs take, of those that this node may begin.
    pub(super) fn heads(&self) -> impl Iterator<Item = (Takes, impl Iterator<Item = Rank> + '_)> {
        let each = self.here.iter();
        each.map(|(takes, ranks)| (*takes, ranks.iter().copied()))
    }

    pub(super) fn ready(&mut self, takes: Takes, rank: Rank) {
        self.here.entry(takes).or_default().insert(rank);
    }

    pub(super) fn unready(&mut self, takes: Takes, rank: Rank) {
        if let Some(ranks) = self.here.get_mut(&takes) {
            ranks.remove(&rank);
            if ranks.is_empty() {
                self.here.remove(&takes);
            }
        }
    }

    /// Whether this node would begin any of them if it had room.
    pub(super) fn is_wanted_here(&self) -> bool {
        !self.here.is_empty()
    }

    /// How many jobs wait.
    pub(super) fn len(&self) -> usize {
        self.classes.values().map(|class| class.jobs.len()).sum()
    }

    #[cfg(any(debug_assertions, test))]
    pub(super) fn counted(&self) -> usize {
        self.urgent.waiting() + self.normal.waiting()
    }
}

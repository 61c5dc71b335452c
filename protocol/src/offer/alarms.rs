//! Deadlines of the market: at most one per thing, fired in order of time.

use std::collections::{BTreeMap, BTreeSet};

use super::JobId;
use crate::{
    ids::{NodeId, RoleId},
    offer::AttemptId,
    platform::Platform,
    time::Time,
};

/// What a deadline is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Alarm {
    /// Owner: enough waiting for better bids, or for the node that a job is kept for.
    Bids(JobId),
    /// Owner: a node that had no room may be asked again.
    Peer(NodeId),
    /// Owner: the job's state ends: a rest, a lease, or this node's exclusion.
    Job(JobId),
    /// Owner: a second attempt is due, or its answer, its award or its lease is.
    Second(JobId),
    /// Owner: no beat yet, so the award is sent again.
    Award(JobId),
    /// Owner: a digest is due.
    Digest(Platform),
    /// Worker: an unanswered bid keeps its slot no longer.
    Bid(u64),
    /// Worker: a beat to this owner is due.
    Beat(NodeId),
    /// Worker: the lease of another node's attempt ends.
    Lease(AttemptId),
    /// Worker: the holder of a role is told again of what an earlier one has started here.
    Role(RoleId),
    /// Worker: a result was not acknowledged yet.
    Result(AttemptId),
}

/// All deadlines that are set.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    times: BTreeMap<Alarm, Time>,
    order: BTreeSet<(Time, Alarm)>,
}

impl Alarms {
    /// Sets or moves a deadline.
    pub(super) fn set(&mut self, alarm: Alarm, at: Time) {
        self.clear(&alarm);
        self.order.insert((at, alarm.clone()));
        self.times.insert(alarm, at);
    }

    /// Takes a deadline away.
    pub(super) fn clear(&mut self, alarm: &Alarm) {
        if let Some((alarm, at)) = self.times.remove_entry(alarm) {
            self.order.remove(&(at, alarm));
        }
    }

    /// The time of a deadline, if it is set.
    pub(super) fn get(&self, alarm: &Alarm) -> Option<Time> {
        self.times.get(alarm).copied()
    }

    /// Takes out the earliest deadline that has come.
    pub(super) fn pop(&mut self, now: Time) -> Option<Alarm> {
        if self.next()? > now {
            return None;
        }
        let (_, alarm) = self.order.pop_first()?;
        self.times.remove(&alarm);
        Some(alarm)
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Time> {
        self.order.first().map(|(at, _)| *at)
    }

    /// How many deadlines are set.
    #[cfg(any(debug_assertions, test))]
    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    /// All deadlines that are set.
    #[cfg(any(debug_assertions, test))]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Alarm> {
        self.times.keys()
    }
}

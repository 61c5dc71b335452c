//! What runs here: each action once, however many attempts want it at the same time. Pure.
//!
//! The attempts of several owners, and a new attempt beside one that is ending, share one run.
//! Whoever leaves a run hears of its end at once and stops nothing for the others; the last to
//! leave stops it, and hears when nothing of it is left. Never two runs of one action at a time.

use std::collections::BTreeMap;

use caravan_protocol::{ids::ActionKey, offer::AttemptId};
use tokio_util::sync::CancellationToken;

/// An attempt with its encoded action.
type Wish = (AttemptId, Vec<u8>);

/// All runs.
#[derive(Debug, Default)]
pub(crate) struct Flights(BTreeMap<ActionKey, Flight>);

/// One run.
#[derive(Debug)]
struct Flight {
    /// Under whose name it was started, and its end is told.
    first: AttemptId,
    cancel: CancellationToken,
    /// Who wants what comes of it; once it is cancelled, who is to be told that it has ended.
    members: Vec<Wish>,
    /// Who came after it was cancelled: they want a run of their own.
    next: Vec<Wish>,
}

/// What is to be done about an attempt that leaves.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Nothing: it is not here, or its end is under way.
    Nothing,
    /// Its end is to be told: others go on with the run.
    Ended,
}

/// What a run's end means.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Landing {
    /// It was stopped, because nobody wanted it any more.
    pub(crate) cancelled: bool,
    /// Whom its end is to be told.
    pub(crate) told: Vec<AttemptId>,
    /// Who runs next.
    pub(crate) next: Option<Wish>,
}

impl Flights {
    /// Takes an attempt in. Where it is the first of its action, what it brought comes back: it is
    /// to be launched.
    pub(crate) fn join(&mut self, attempt: AttemptId, encoded: Vec<u8>) -> Option<Vec<u8>> {
        let Some(flight) = self.0.get_mut(&attempt.job.action()) else {
            return Some(encoded);
        };
        if flight.cancel.is_cancelled() {
            flight.next.push((attempt, encoded));
        } else {
            flight.members.push((attempt, encoded));
        }
        None
    }

    /// An attempt is launched: nothing else of its action runs. Its run ends when the token fires.
    pub(crate) fn launch(&mut self, attempt: AttemptId, encoded: Vec<u8>) -> CancellationToken {
        let cancel = CancellationToken::new();
        let key = attempt.job.action();
        // Those that wait for a run of their own wait for this one.
        let waiting = self.0.remove(&key).map(|flight| flight.next);
        let mut members = vec![(attempt, encoded)];
        members.extend(waiting.unwrap_or_default());
        let flight = Flight {
            first: attempt,
            cancel: cancel.clone(),
            members,
            next: Vec::new(),
        };
        self.0.insert(key, flight);
        cancel
    }

    /// An attempt is not wanted any more.
    pub(crate) fn leave(&mut self, attempt: AttemptId) -> Left {
        let Some(flight) = self.0.get_mut(&attempt.job.action()) else {
            return Left::Nothing;
        };
        let is_it = |wish: &Wish| wish.0 == attempt;
        if let Some(at) = flight.next.iter().position(is_it) {
            flight.next.remove(at);
            return Left::Ended;
        }
        let Some(at) = flight.members.iter().position(is_it) else {
            return Left::Nothing;
        };
        if flight.members.len() == 1 {
            flight.cancel.cancel();
            return Left::Nothing;
        }
        flight.members.remove(at);
        Left::Ended
    }

    /// The run that was started under this name has ended. `failed` says that it came to nothing,
    /// which tells nothing of another's: the others try for themselves.
    pub(crate) fn land(&mut self, first: AttemptId, failed: bool) -> Landing {
        let key = first.job.action();
        let Some(flight) = self.0.remove(&key) else {
            return Landing::default();
        };
        debug_assert_eq!(flight.first, first, "one run of an action at a time");
        let cancelled = failed && flight.cancel.is_cancelled();
        let (members, later) = (flight.members.into_iter(), flight.next.into_iter());
        let (told, mut next): (Vec<Wish>, Vec<Wish>) = if cancelled {
            (members.collect(), later.collect())
        } else if failed {
            members
                .chain(later)
                .partition(|(attempt, _)| *attempt == first)
        } else {
            (members.chain(later).collect(), Vec::new())
        };
        let runs_next = (!next.is_empty()).then(|| next.remove(0));
        if !next.is_empty() {
            // They wait for whoever runs next, which is launched at once.
            let flight = Flight {
                first,
                cancel: flight.cancel,
                members: Vec::new(),
                next,
            };
            self.0.insert(key, flight);
        }
        Landing {
            cancelled,
            told: told.into_iter().map(|(attempt, _)| attempt).collect(),
            next: runs_next,
        }
    }

    /// How many run.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none runs.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Stops everything.
    pub(crate) fn cancel_all(&self) {
        for flight in self.0.values() {
            flight.cancel.cancel();
        }
    }
}

#[cfg(test)]
mod tests;

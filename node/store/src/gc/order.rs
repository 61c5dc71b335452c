//! In which order things go. Pure.
//!
//! What nothing is left of goes at once, with packs that nothing needs and logs that are old or too
//! many. Then whatever frees the most for the least loss: size times time since the last use, divided
//! by what it takes to have it again. Of a frozen tree the mountable form is lost for the time of
//! thawing it; with a pack, all that only it has is lost. Young logs are last, because nothing makes
//! them again.

use std::cmp::Ordering;

use super::mark::Unit;
use crate::{
    limits::{FREEZE_BYTES_PER_MS, LOG_KEPT_S, LOGS_KEPT_MAX, THAW_BYTES_PER_MS},
    uses::Used,
};

/// What everything weighs besides its bytes: a directory, a row of the index.
const BYTES_LEAST: f64 = 4096.0;
/// What everything costs besides its step: to be asked for, mounted, fetched.
const COST_LEAST_MS: f64 = 1000.0;
/// Uses within a minute are one.
const AGE_LEAST_S: f64 = 60.0;

/// When something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Turn {
    /// Whatever is wanted.
    Always,
    /// As room is wanted.
    ByWorth,
    /// When nothing else is left.
    Last,
}

/// What goes first is least.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rank {
    pub(super) turn: Turn,
    /// What is lost with each byte freed.
    loss: f64,
}

impl Rank {
    pub(super) const ALWAYS: Self = Self {
        turn: Turn::Always,
        loss: 0.0,
    };

    fn by_worth(bytes: u64, cost_ms: u64, last_s: u64, now_s: u64) -> Self {
        Self {
            turn: Turn::ByWorth,
            loss: worth(bytes, cost_ms, last_s, now_s),
        }
    }

    /// Of a tree or blob that is to be forgotten.
    pub(super) fn of_unit(unit: &Unit, is_stale: bool, now_s: u64) -> Self {
        if unit.gone || is_stale {
            return Self::ALWAYS;
        }
        if unit.kind == Used::Log {
            return Self {
                turn: Turn::Last,
                #[expect(clippy::cast_precision_loss, reason = "seconds are few")]
                loss: unit.last_s as f64,
            };
        }
        Self::by_worth(unit.share_bytes, unit.cost_ms, unit.last_s, now_s)
    }

    /// Of the mountable form of a tree that packs have.
    pub(super) fn of_form(unit: &Unit, now_s: u64) -> Self {
        let cost_ms = unit.bytes / THAW_BYTES_PER_MS;
        Self::by_worth(unit.share_bytes, cost_ms, unit.last_s, now_s)
    }

    /// Of packs that go together: of some trees they are all that there is, others would have to be
    /// frozen again.
    pub(super) fn of_packs(bytes: u64, lost: &[&Unit], copied: &[&Unit], now_s: u64) -> Self {
        if lost.is_empty() && copied.is_empty() {
            return Self::ALWAYS;
        }
        let made = lost.iter().map(|unit| unit.cost_ms);
        let frozen = copied.iter().map(|unit| unit.bytes / FREEZE_BYTES_PER_MS);
        let cost_ms = made.chain(frozen).fold(0, u64::saturating_add);
        let last_s = lost.iter().chain(copied).map(|unit| unit.last_s).max();
        Self::by_worth(bytes, cost_ms, last_s.unwrap_or(0), now_s)
    }

    /// Of a cache, which no step needs to come to the same.
    pub(super) fn of_cache(bytes: u64, last_s: u64, now_s: u64) -> Self {
        Self::by_worth(bytes, 0, last_s, now_s)
    }
}

impl PartialEq for Rank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Rank {}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        let loss = || self.loss.total_cmp(&other.loss);
        self.turn.cmp(&other.turn).then_with(loss)
    }
}

/// Indices of the logs that go whatever is wanted.
pub(super) fn stale_logs(units: &[Unit], now_s: u64) -> Vec<usize> {
    let is_log = |at: &usize| !units[*at].guarded && units[*at].kind == Used::Log;
    let mut logs: Vec<usize> = (0..units.len()).filter(is_log).collect();
    logs.sort_by_key(|at| (units[*at].last_s, units[*at].id));
    let old = logs
        .iter()
        .take_while(|at| units[**at].last_s < now_s.saturating_sub(LOG_KEPT_S))
        .count();
    logs.truncate(old.max(logs.len().saturating_sub(LOGS_KEPT_MAX)));
    logs
}

/// What is lost with each byte freed.
#[expect(
    clippy::cast_precision_loss,
    reason = "an order of magnitude is enough"
)]
fn worth(bytes: u64, cost_ms: u64, last_s: u64, now_s: u64) -> f64 {
    let age = now_s.saturating_sub(last_s) as f64 + AGE_LEAST_S;
    (cost_ms as f64 + COST_LEAST_MS) / (bytes as f64 + BYTES_LEAST) / age
}

#[cfg(test)]
mod tests {
    use caravan_protocol::ids::BlobId;

    use super::{super::mark::Form, *};

    const NOW: u64 = 2_000_000_000;
    const DAY: u64 = 24 * 3600;

    fn unit(name: &str, kind: Used, bytes: u64, age_s: u64, cost_ms: u64) -> Unit {
        Unit {
            id: BlobId::of(name.as_bytes()),
            kind,
            last_s: NOW - age_s,
            cost_ms,
            words: name.to_owned(),
            form: Form::Warm,
            share_bytes: bytes,
            bytes,
            guarded: false,
            gone: false,
            lacks: false,
            packs: Vec::new(),
        }
    }

    #[test]
    fn the_largest_oldest_and_cheapest_go_first() {
        let mut units = vec![
            unit("young", Used::Tree, 1 << 20, 10, 60_000),
            unit("old", Used::Tree, 1 << 20, 30 * DAY, 60_000),
            unit("old and large", Used::Tree, 1 << 30, 30 * DAY, 60_000),
            unit("old and dear", Used::Tree, 1 << 20, 30 * DAY, 3_600_000),
            unit("young log", Used::Log, 1 << 20, 100, 0),
            unit("old log", Used::Log, 1 << 10, 31 * DAY, 0),
            unit("output", Used::Blob, 100, DAY, 60_000),
        ];
        units.push(unit("leased log", Used::Log, 1 << 40, 300 * DAY, 0));
        units[7].guarded = true;
        let stale = stale_logs(&units, NOW);
        assert_eq!(stale, [5]);
        let mut order: Vec<usize> = (0..7).collect();
        order.sort_by_key(|at| Rank::of_unit(&units[*at], stale.contains(at), NOW));
        let names: Vec<&str> = order.iter().map(|at| units[*at].words.as_str()).collect();
        let expected = [
            "old log",
            "old and large",
            "old",
            "old and dear",
            "output",
            "young",
            "young log",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_mountable_form_goes_long_before_what_made_it_would_have_to_run_again() {
        let dear = unit("dear", Used::Tree, 1 << 30, DAY, 3_600_000);
        let cheap = unit("cheap", Used::Tree, 1 << 30, DAY, 60_000);
        let form = Rank::of_form(&dear, NOW);
        assert!(form < Rank::of_unit(&cheap, false, NOW));
        assert!(form < Rank::of_packs(1 << 28, &[&dear], &[], NOW));
        // A pack is worth what all its trees are, and what was used last of them.
        let old = unit("old", Used::Tree, 1 << 30, 90 * DAY, 1000);
        let alone = Rank::of_packs(1 << 28, &[&old], &[], NOW);
        assert!(alone < Rank::of_packs(1 << 28, &[&old, &dear], &[], NOW));
        // Of what is mountable besides, only the freezing is lost.
        assert!(
            Rank::of_packs(1 << 28, &[], &[&dear], NOW)
                < Rank::of_packs(1 << 28, &[&dear], &[], NOW)
        );
        assert!(Rank::of_packs(1 << 28, &[], &[], NOW) < form);
    }
}

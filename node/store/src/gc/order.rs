//! In which order things go. Pure.
//!
//! Logs that are old or too many always go, and what nothing is left of. Then whatever frees the most for the least loss: size
//! times time since the last use, divided by what it takes to make it again. Young logs are last,
//! because nothing makes them again.

use super::mark::Unit;
use crate::{
    limits::{LOG_KEPT_S, LOGS_KEPT_MAX},
    uses::Used,
};

/// What everything weighs besides its bytes: a directory, a row of the index.
const BYTES_LEAST: f64 = 4096.0;
/// What everything costs besides its step: to be asked for, mounted, fetched.
const COST_LEAST_MS: f64 = 1000.0;
/// Uses within a minute are one.
const AGE_LEAST_S: f64 = 60.0;

/// Indices of what always goes, and of the rest in order, the first to go first. What is guarded is
/// in neither.
pub(super) fn order(units: &[Unit], now_s: u64) -> (Vec<usize>, Vec<usize>) {
    let free = || (0..units.len()).filter(|at| !units[*at].guarded);
    let mut logs: Vec<usize> = free().filter(|at| units[*at].kind == Used::Log).collect();
    logs.sort_by_key(|at| (units[*at].last_s, units[*at].id));
    let old = logs
        .iter()
        .take_while(|at| units[**at].last_s < now_s.saturating_sub(LOG_KEPT_S))
        .count();
    let young = logs.split_off(old.max(logs.len().saturating_sub(LOGS_KEPT_MAX)));
    let mut rest: Vec<usize> = free().filter(|at| units[*at].kind != Used::Log).collect();
    logs.extend(rest.extract_if(.., |at| units[*at].gone));
    rest.sort_by(|a, b| {
        let loss = |at: usize| worth(&units[at], now_s);
        loss(*a)
            .total_cmp(&loss(*b))
            .then_with(|| units[*a].id.cmp(&units[*b].id))
    });
    rest.extend(young);
    (logs, rest)
}

/// What is lost with each byte freed.
#[expect(
    clippy::cast_precision_loss,
    reason = "an order of magnitude is enough"
)]
fn worth(unit: &Unit, now_s: u64) -> f64 {
    let age = now_s.saturating_sub(unit.last_s) as f64 + AGE_LEAST_S;
    (unit.cost_ms as f64 + COST_LEAST_MS) / (unit.share_bytes as f64 + BYTES_LEAST) / age
}

#[cfg(test)]
mod tests {
    use caravan_protocol::ids::BlobId;

    use super::*;

    const NOW: u64 = 2_000_000_000;

    fn unit(name: &str, kind: Used, bytes: u64, age_s: u64, cost_ms: u64) -> Unit {
        Unit {
            id: BlobId::of(name.as_bytes()),
            kind,
            last_s: NOW - age_s,
            cost_ms,
            words: name.to_owned(),
            share_bytes: bytes,
            guarded: false,
            gone: false,
        }
    }

    fn names<'a>(units: &'a [Unit], order: &[usize]) -> Vec<&'a str> {
        order.iter().map(|at| units[*at].words.as_str()).collect()
    }

    #[test]
    fn the_largest_oldest_and_cheapest_go_first() {
        const DAY: u64 = 24 * 3600;
        let mut units = vec![
            unit("young", Used::Tree, 1 << 20, 10, 60_000),
            unit("old", Used::Tree, 1 << 20, 30 * DAY, 60_000),
            unit("old and large", Used::Tree, 1 << 30, 30 * DAY, 60_000),
            unit("old and dear", Used::Tree, 1 << 20, 30 * DAY, 3_600_000),
            unit("young log", Used::Log, 1 << 20, 100, 0),
            unit("old log", Used::Log, 1 << 10, 31 * DAY, 0),
            unit("output", Used::Blob, 100, DAY, 60_000),
            unit("leased", Used::Tree, 1 << 40, 300 * DAY, 0),
        ];
        units[7].guarded = true;
        let (always, rest) = order(&units, NOW);
        assert_eq!(names(&units, &always), ["old log"]);
        let expected = [
            "old and large",
            "old",
            "old and dear",
            "output",
            "young",
            "young log",
        ];
        assert_eq!(names(&units, &rest), expected);
    }
}

//! How long jobs of a kind took: few numbers for each, for what is unusually slow.

use std::collections::BTreeMap;

use super::Want;
use crate::{limits, platform::Platform};

/// Steps between a duration and twice that.
const STEPS: u32 = 4;
/// All steps, up to the longest attempt.
const BUCKETS: usize = 128;
/// Jobs of a kind before anything is said of it.
const LEAST: u32 = 20;
/// Jobs of a kind after which older ones count half.
const MOST: u32 = 1000;

/// How many jobs of a kind took so long, and how many there were.
#[derive(Debug)]
struct Times {
    counts: [u16; BUCKETS],
    all: u32,
}

/// All kinds: jobs of one platform that were thought to take about as long.
#[derive(Debug, Default)]
pub(super) struct Seen(BTreeMap<(Platform, u32), Times>);

fn bucket(ms: u64) -> usize {
    let ms = ms.max(1);
    let whole = ms.ilog2();
    // The bits below the first, as so many parts of the way to the next power.
    let part = ((u128::from(ms) * u128::from(STEPS)) >> whole) as u32 - STEPS;
    ((whole * STEPS + part) as usize).min(BUCKETS - 1)
}

/// The end of a bucket.
fn end_ms(bucket: usize) -> u64 {
    let bucket = u32::try_from(bucket + 1).unwrap_or(0);
    let (whole, part) = (bucket / STEPS, bucket % STEPS);
    (u64::from(STEPS + part) << whole) / u64::from(STEPS)
}

fn kind(want: &Want) -> (Platform, u32) {
    (want.platform.clone(), want.cost_ms.max(1).ilog2())
}

impl Seen {
    /// A job took so long.
    pub(super) fn took(&mut self, want: &Want, ms: u64) {
        let kind = kind(want);
        if self.0.len() >= limits::SEEN_KINDS_MAX && !self.0.contains_key(&kind) {
            return;
        }
        let times = self.0.entry(kind).or_insert(Times {
            counts: [0; BUCKETS],
            all: 0,
        });
        times.counts[bucket(ms)] += 1;
        times.all += 1;
        if times.all >= MOST {
            times.counts.iter_mut().for_each(|count| *count /= 2);
            times.all = times.counts.iter().map(|count| u32::from(*count)).sum();
        }
    }

    /// What nineteen in twenty jobs like this one took at most, if enough were seen.
    pub(super) fn slow_ms(&self, want: &Want) -> Option<u64> {
        let times = self.0.get(&kind(want)).filter(|times| times.all >= LEAST)?;
        let mut left = times.all - times.all / 20;
        let at = times.counts.iter().position(|count| {
            left = left.saturating_sub(u32::from(*count));
            left == 0
        });
        at.map(end_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offer::tests::wanted;

    #[test]
    fn a_bucket_ends_where_the_next_begins() {
        for ms in (1..100_000_u64).step_by(7) {
            let at = bucket(ms);
            assert!(ms < end_ms(at).max(ms + u64::from(ms < 4)), "{ms} in {at}");
            assert!(at == 0 || end_ms(at - 1) <= ms, "{ms} in {at}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn slow_is_what_one_in_twenty_is() {
        let mut seen = Seen::default();
        let want = wanted(1);
        for at in 0..100 {
            assert!((at < LEAST) == seen.slow_ms(&want).is_none());
            seen.took(&want, if at % 25 == 24 { 900_000 } else { 10_000 });
        }
        let slow = seen.slow_ms(&want).expect("enough");
        assert!((10_000..=12_000).contains(&slow), "{slow}");
        for _ in 0..2000 {
            seen.took(&want, 40_000);
        }
        let slow = seen.slow_ms(&want).expect("enough");
        assert!((40_000..=50_000).contains(&slow), "{slow} is of long ago");
    }
}

//! A token bucket: how many messages a peer may send over time and at once.

use std::time::Instant;

/// What to do with one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is within the rate.
    Pass,
    /// It is one too many: drop it.
    Drop,
    /// The peer has sent far too many: cut it off.
    Cut,
}

#[derive(Debug)]
pub(crate) struct Bucket {
    rate_per_s: u32,
    burst: u32,
    over_max: u32,
    /// Tokens times a thousand, so that milliseconds earn whole numbers of them.
    milli: u64,
    filled: Instant,
    over: u32,
}

const MILLI: u64 = 1000;

impl Bucket {
    pub(crate) fn new(rate_per_s: u32, burst: u32, over_max: u32, now: Instant) -> Self {
        Self {
            rate_per_s,
            burst,
            over_max,
            milli: u64::from(burst) * MILLI,
            filled: now,
            over: 0,
        }
    }

    /// Takes one token.
    pub(crate) fn take(&mut self, now: Instant) -> Verdict {
        self.take_many(1, now)
    }

    /// Takes several tokens, or none.
    pub(crate) fn take_many(&mut self, count: u32, now: Instant) -> Verdict {
        self.available(now);
        if let Some(left) = self.milli.checked_sub(u64::from(count) * MILLI) {
            self.milli = left;
            return Verdict::Pass;
        }
        self.over = self.over.saturating_add(1);
        if self.over > self.over_max {
            Verdict::Cut
        } else {
            Verdict::Drop
        }
    }

    /// Gives one token back.
    pub(crate) fn give_back(&mut self) {
        self.milli = (self.milli + MILLI).min(u64::from(self.burst) * MILLI);
    }

    /// Whether nothing was taken of late.
    pub(crate) fn is_full(&mut self, now: Instant) -> bool {
        self.available(now);
        self.milli == u64::from(self.burst) * MILLI
    }

    /// How many tokens there are.
    pub(crate) fn available(&mut self, now: Instant) -> usize {
        let full = u64::from(self.burst) * MILLI;
        let passed_ms = now.saturating_duration_since(self.filled).as_millis();
        let passed_ms = u64::try_from(passed_ms).unwrap_or(u64::MAX);
        if passed_ms > 0 {
            let earned = passed_ms.saturating_mul(u64::from(self.rate_per_s));
            self.milli = self.milli.saturating_add(earned).min(full);
            self.filled = now;
            if self.milli == full {
                // A peer that was quiet long enough to fill the bucket starts with a clean slate.
                self.over = 0;
            }
        }
        usize::try_from(self.milli / MILLI).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn burst_passes_then_rate_then_the_sender_is_cut_off() {
        let start = Instant::now();
        let mut bucket = Bucket::new(50, 200, 10, start);
        for _ in 0..200 {
            assert_eq!(bucket.take(start), Verdict::Pass);
        }
        assert_eq!(bucket.take(start), Verdict::Drop);
        let later = start + Duration::from_secs(1);
        assert_eq!(bucket.available(later), 50);
        for _ in 0..50 {
            assert_eq!(bucket.take(later), Verdict::Pass);
        }
        for _ in 0..9 {
            assert_eq!(bucket.take(later), Verdict::Drop);
        }
        assert_eq!(bucket.take(later), Verdict::Cut);
        let much_later = later + Duration::from_secs(3600);
        assert_eq!(bucket.available(much_later), 200);
        assert_eq!(bucket.take(much_later), Verdict::Pass);
    }

    #[test]
    fn several_tokens_are_taken_or_none() {
        let now = Instant::now();
        let mut bucket = Bucket::new(50, 200, 10, now);
        assert_eq!(bucket.take_many(150, now), Verdict::Pass);
        assert_eq!(bucket.take_many(51, now), Verdict::Drop);
        assert_eq!(bucket.take_many(50, now), Verdict::Pass);
        assert_eq!(bucket.take(now), Verdict::Drop);
    }
}

//! What is going to happen, by the millisecond: a ring of buckets for what is near and a tree for
//! what is far. Things of one millisecond come out in the order in which they went in. It owns what
//! it is given and never looks at it.

use std::collections::BTreeMap;

/// Things with their times. Times only ever move forward.
#[derive(Debug)]
pub struct Wheel<T> {
    ring: Vec<Vec<T>>,
    now_ms: u64,
    far: BTreeMap<u64, Vec<T>>,
    count: usize,
}

impl<T> Wheel<T> {
    /// An empty one that holds the next `near_ms` milliseconds, a power of two, in buckets.
    #[must_use]
    pub fn new(near_ms: usize) -> Self {
        assert!(near_ms.is_power_of_two(), "a ring of {near_ms}");
        Self {
            ring: std::iter::repeat_with(Vec::new).take(near_ms).collect(),
            now_ms: 0,
            far: BTreeMap::new(),
            count: 0,
        }
    }

    const fn bucket(&self, at_ms: u64) -> usize {
        (at_ms as usize) & (self.ring.len() - 1)
    }

    /// Adds a thing; what is not in the future happens in the next millisecond.
    pub fn add(&mut self, at_ms: u64, what: T) {
        let at_ms = at_ms.max(self.now_ms + 1);
        self.count += 1;
        if at_ms - self.now_ms < self.ring.len() as u64 {
            let bucket = self.bucket(at_ms);
            self.ring[bucket].push(what);
        } else {
            self.far.entry(at_ms).or_default().push(what);
        }
    }

    /// Moves to the next millisecond and puts what happens in it into `into`, which is empty.
    /// The caller gives the same vector again, so that nothing is allocated on the way.
    pub fn turn(&mut self, into: &mut Vec<T>) {
        debug_assert!(into.is_empty(), "what happened before was not looked at");
        self.now_ms += 1;
        let bucket = self.bucket(self.now_ms);
        // What went far was planned before anything that went near for the same time.
        if let Some(entry) = self.far.first_entry()
            && *entry.key() == self.now_ms
        {
            into.append(&mut entry.remove());
            into.append(&mut self.ring[bucket]);
        } else {
            std::mem::swap(&mut self.ring[bucket], into);
        }
        self.count -= into.len();
    }

    /// How many things are waiting.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing is waiting.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The millisecond that came last.
    #[must_use]
    pub const fn now_ms(&self) -> u64 {
        self.now_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_and_far_come_out_in_time_and_in_order() {
        let mut wheel = Wheel::new(8);
        for (at_ms, what) in [(20, 'c'), (3, 'a'), (3, 'b'), (100, 'e')] {
            wheel.add(at_ms, what);
        }
        let (mut seen, mut now) = (Vec::new(), Vec::new());
        for at_ms in 1..=100 {
            wheel.turn(&mut now);
            seen.extend(now.drain(..).map(|what| (at_ms, what)));
            if at_ms == 15 {
                wheel.add(20, 'd');
                wheel.add(1, 'x');
            }
        }
        let expected = [
            (3, 'a'),
            (3, 'b'),
            (16, 'x'),
            (20, 'c'),
            (20, 'd'),
            (100, 'e'),
        ];
        assert_eq!(seen, expected);
        assert!(wheel.is_empty());
    }
}

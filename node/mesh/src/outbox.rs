//! What waits to be said to one peer: messages go out in order, in batches, one batch at a time,
//! no faster than the peer's bucket allows.

use std::{collections::VecDeque, time::Instant};

use caravan_protocol::limits::{MESSAGE_BYTES_MAX, MESSAGES_OVER_MAX};

use crate::{
    bucket::{Bucket, Verdict},
    limits::{
        BATCH_MESSAGES_MAX, OUTBOX_BYTES_MAX, OUTBOX_MESSAGES_MAX, OWN_BURST, OWN_RATE_PER_S,
    },
};

#[derive(Debug)]
pub(crate) struct Outbox {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Messages of the batch that is on its way.
    under_way: Option<usize>,
    pace: Bucket,
}

impl Outbox {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            under_way: None,
            pace: Bucket::new(OWN_RATE_PER_S, OWN_BURST, MESSAGES_OVER_MAX, now),
        }
    }

    /// Puts a message at the end. Whether there was room.
    pub(crate) fn push(&mut self, message: Vec<u8>) -> bool {
        let room = self.waiting.len() < OUTBOX_MESSAGES_MAX
            && self.bytes + message.len() <= OUTBOX_BYTES_MAX;
        if room {
            self.bytes += message.len();
            self.waiting.push_back(message);
        }
        room
    }

    /// The next batch, unless one is on its way or the pace forbids it.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Vec<Vec<u8>>> {
        if self.under_way.is_some() || self.waiting.is_empty() {
            return None;
        }
        let allowed = self.pace.available(now).min(BATCH_MESSAGES_MAX);
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < allowed {
            let fits =
                |message: &Vec<u8>| batch.is_empty() || bytes + message.len() <= MESSAGE_BYTES_MAX;
            if !self.waiting.front().is_some_and(fits) {
                break;
            }
            let message = self.waiting.pop_front().expect("looked at just now");
            bytes += message.len();
            self.pace.take(now);
            batch.push(message);
        }
        if batch.is_empty() {
            return None;
        }
        self.bytes -= bytes;
        self.under_way = Some(batch.len());
        Some(batch)
    }

    /// Whether there is something to send and nothing under way: the pace forbids it for now.
    pub(crate) fn is_held_back(&self) -> bool {
        self.under_way.is_none() && !self.waiting.is_empty()
    }

    /// The batch has arrived or is lost; how many messages it had.
    pub(crate) fn settled(&mut self) -> usize {
        self.under_way.take().unwrap_or_default()
    }

    /// Whether the pace allows a question now.
    pub(crate) fn may_ask(&mut self, now: Instant) -> bool {
        self.pace.available(now) > 0 && self.pace.take(now) == Verdict::Pass
    }

    /// Messages that will not be sent any more.
    pub(crate) fn unsent(&self) -> usize {
        self.waiting.len() + self.under_way.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn batches_are_in_order_bounded_and_one_at_a_time() {
        let now = Instant::now();
        let mut outbox = Outbox::new(now);
        for n in 0..100u8 {
            assert!(outbox.push(vec![n]));
        }
        let first = outbox.next(now).expect("there is something to send");
        assert_eq!(first.len(), BATCH_MESSAGES_MAX);
        assert_eq!(first[0], [0]);
        assert_eq!(outbox.next(now), None, "a batch is on its way");
        assert_eq!(outbox.settled(), BATCH_MESSAGES_MAX);
        let second = outbox.next(now).expect("there is more");
        assert_eq!(
            second[0],
            [u8::try_from(BATCH_MESSAGES_MAX).expect("small")]
        );
        assert_eq!(outbox.unsent(), second.len());
    }

    #[test]
    fn large_messages_travel_alone_and_a_full_box_takes_no_more() {
        let now = Instant::now();
        let mut outbox = Outbox::new(now);
        for _ in 0..OUTBOX_BYTES_MAX / MESSAGE_BYTES_MAX {
            assert!(outbox.push(vec![0; MESSAGE_BYTES_MAX]));
        }
        assert!(!outbox.push(vec![0]));
        assert_eq!(outbox.next(now).map(|batch| batch.len()), Some(1));
        assert!(outbox.push(vec![0]));
    }

    #[test]
    fn pace_holds_messages_back_but_loses_none() {
        let now = Instant::now();
        let mut outbox = Outbox::new(now);
        for _ in 0..OUTBOX_MESSAGES_MAX {
            assert!(outbox.push(vec![1]));
        }
        let mut sent = 0;
        while let Some(batch) = outbox.next(now) {
            sent += batch.len();
            outbox.settled();
        }
        assert_eq!(sent, usize::try_from(OWN_BURST).expect("small"));
        let later = now + Duration::from_secs(1);
        assert!(outbox.next(later).is_some());
    }
}

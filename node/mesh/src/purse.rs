//! What one peer, or all peers of one operator, may send: a token bucket for each protocol. What is
//! over it is dropped; a peer that goes on is cut off. An operator's purse is as large as those of
//! several of its nodes, so that a crowd of nodes of one hand does not add up.

use std::time::Instant;

use caravan_protocol::limits::{
    GREETINGS_BURST, GREETINGS_PER_S, MESSAGES_BURST, MESSAGES_OVER_MAX, MESSAGES_PER_S,
    OPERATOR_FACTOR,
};

use crate::bucket::{Bucket, Verdict};

/// A protocol, as far as its rate goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    /// Hellos and admissions.
    Greeting,
    /// Messages and questions.
    Control,
    /// Frames between membership engines, but for those of records.
    Member,
    /// Records of members, by their number.
    Records,
    /// Digests, by their author.
    Gossip,
    /// Requests for blobs.
    Bulk,
}

const ALL: [Speech; 6] = [
    Speech::Greeting,
    Speech::Control,
    Speech::Member,
    Speech::Records,
    Speech::Gossip,
    Speech::Bulk,
];

#[derive(Debug)]
pub(crate) struct Purse([Bucket; ALL.len()]);

impl Purse {
    pub(crate) fn of_peer(now: Instant) -> Self {
        Self::times(1, now)
    }

    pub(crate) fn of_operator(now: Instant) -> Self {
        Self::times(OPERATOR_FACTOR, now)
    }

    fn times(factor: u32, now: Instant) -> Self {
        Self(ALL.map(|speech| {
            let (rate, burst) = match speech {
                Speech::Greeting => (GREETINGS_PER_S, GREETINGS_BURST),
                Speech::Control
                | Speech::Member
                | Speech::Records
                | Speech::Gossip
                | Speech::Bulk => (MESSAGES_PER_S, MESSAGES_BURST),
            };
            Bucket::new(rate * factor, burst * factor, MESSAGES_OVER_MAX, now)
        }))
    }

    /// Pays for one message.
    pub(crate) fn take(&mut self, speech: Speech, now: Instant) -> Verdict {
        self.take_many(speech, 1, now)
    }

    /// Pays for a message that costs as much as several, or not at all.
    pub(crate) fn take_many(&mut self, speech: Speech, count: u32, now: Instant) -> Verdict {
        self.0[speech as usize].take_many(count, now)
    }

    /// Whether nothing was paid of late: such a purse need not be remembered.
    pub(crate) fn is_full(&mut self, now: Instant) -> bool {
        self.0.iter_mut().all(|bucket| bucket.is_full(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_has_a_bucket_and_an_operator_has_four_times_as_much() {
        let now = Instant::now();
        let (mut peer, mut operator) = (Purse::of_peer(now), Purse::of_operator(now));
        for _ in 0..MESSAGES_BURST {
            assert_eq!(peer.take(Speech::Member, now), Verdict::Pass);
        }
        assert_eq!(peer.take(Speech::Member, now), Verdict::Drop);
        assert_eq!(peer.take(Speech::Control, now), Verdict::Pass);
        for _ in 0..MESSAGES_BURST * OPERATOR_FACTOR {
            assert_eq!(operator.take(Speech::Bulk, now), Verdict::Pass);
        }
        assert_eq!(operator.take(Speech::Bulk, now), Verdict::Drop);
        assert!(!peer.is_full(now) && !operator.is_full(now));
    }
}

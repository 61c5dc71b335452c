//! What peers may send, each by itself and those of one operator together.

use std::{collections::HashMap, time::Instant};

use caravan_protocol::ids::NodeId;
use libp2p::PeerId;

use super::{Actor, stamp};
use crate::{
    bucket::Verdict,
    limits::OPERATORS_MAX,
    purse::{Purse, Speech},
};

/// The purses of operators.
#[derive(Debug, Default)]
pub(super) struct Rates(HashMap<String, Purse>);

impl Rates {
    /// Whether an operator may say one more thing.
    pub(super) fn allow(&mut self, operator: &str, speech: Speech, now: Instant) -> bool {
        self.allow_many(operator, (speech, 1), now)
    }

    /// Whether it may say something that costs as much as several.
    fn allow_many(&mut self, operator: &str, (speech, count): (Speech, u32), now: Instant) -> bool {
        if let Some(purse) = self.0.get_mut(operator) {
            return purse.take_many(speech, count, now) == Verdict::Pass;
        }
        if self.0.len() >= OPERATORS_MAX {
            self.tidy(now);
        }
        if self.0.len() >= OPERATORS_MAX {
            return false;
        }
        let mut purse = Purse::of_operator(now);
        purse.take_many(speech, count, now);
        self.0.insert(operator.to_owned(), purse);
        true
    }

    /// Forgets the purses that are full again.
    pub(super) fn tidy(&mut self, now: Instant) {
        self.0.retain(|_, purse| !purse.is_full(now));
    }
}

impl Actor {
    /// Whether a connected peer may say one more thing. Only its own excess is held against it.
    pub(super) fn within_rate(&mut self, peer: PeerId, speech: Speech) -> Verdict {
        self.within_rate_of(peer, speech, 1)
    }

    /// The same of something that costs as much as several.
    pub(super) fn within_rate_of(&mut self, peer: PeerId, speech: Speech, count: u32) -> Verdict {
        let now = Instant::now();
        let Some(entry) = self.peers.get_mut(&peer) else {
            return Verdict::Drop;
        };
        let verdict = entry.purse.take_many(speech, count, now);
        if verdict != Verdict::Pass {
            self.too_much(speech);
            return verdict;
        }
        let operator = entry.operator();
        if operator.is_some_and(|operator| !self.rates.allow_many(operator, (speech, count), now)) {
            self.tally.dropped_rate.add(1);
            self.tally.over_operator.add(1);
            return Verdict::Drop;
        }
        Verdict::Pass
    }

    /// Whether the operator of a member, connected or not, may say one more thing.
    pub(super) fn within_operator(&mut self, node: NodeId, speech: Speech) -> bool {
        let member = self.membership.roster().member(node, stamp());
        let Some(operator) = member.map(|cert| cert.operator.as_str()) else {
            return false;
        };
        let allowed = self.rates.allow(operator, speech, Instant::now());
        if !allowed {
            self.tally.dropped_rate.add(1);
            self.tally.over_operator.add(1);
        }
        allowed
    }

    pub(super) fn too_much(&self, speech: Speech) {
        self.tally.dropped_rate.add(1);
        match speech {
            Speech::Greeting => self.tally.over_greetings.add(1),
            Speech::Control => self.tally.over_control.add(1),
            Speech::Member | Speech::Records => self.tally.over_member.add(1),
            Speech::Gossip => self.tally.over_gossip.add(1),
            Speech::Bulk => self.tally.over_bulk.add(1),
        }
    }

    /// A member sends far too much: it is cut off, and stands outside for a while.
    pub(super) fn cut(&mut self, peer: PeerId, node: NodeId) {
        self.misbehaved(node, "it sends far too many messages".to_owned());
        let now = Instant::now();
        self.swarm.behaviour_mut().doorman.shut_out(peer, now);
        self.send_away(peer, "it sends far too many messages");
    }
}

#[cfg(test)]
mod tests {
    use caravan_protocol::limits::{MESSAGES_BURST, OPERATOR_FACTOR};

    use super::*;

    #[test]
    fn operators_are_bounded_each_and_in_number() {
        let now = Instant::now();
        let mut rates = Rates::default();
        for _ in 0..MESSAGES_BURST * OPERATOR_FACTOR {
            assert!(rates.allow("a", Speech::Control, now));
        }
        assert!(!rates.allow("a", Speech::Control, now));
        assert!(rates.allow("b", Speech::Control, now));
        for n in 2..OPERATORS_MAX {
            assert!(rates.allow(&n.to_string(), Speech::Control, now));
        }
        assert!(!rates.allow("one more", Speech::Control, now));
        let later = now + std::time::Duration::from_secs(60);
        assert!(rates.allow("one more", Speech::Control, later));
        assert_eq!(rates.0.len(), 1);
    }
}

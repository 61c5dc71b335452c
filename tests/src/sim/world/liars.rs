//! Machines that do not mean well, or whose program is broken: what they say that no other would.

use caravan_protocol::{
    claim::Verdict,
    offer::{AttemptId, Event, Message},
};

use super::World;
use crate::sim::{Fate, Flaw, Nature, Said};

impl World {
    /// A message as the machine that sends it really says it.
    pub(super) fn twist(&self, at: usize, message: Message) -> Message {
        let host = &self.hosts[at];
        let mut message = host.flaw.say(message);
        if host.nature == Nature::Braggart
            && let Message::Bid { eta_ms, .. } = &mut message
        {
            *eta_ms = 0;
        }
        message
    }

    /// A second's worth of what nobody asked for.
    pub(super) fn misbehave(&mut self) {
        for at in 0..self.hosts.len() {
            let host = &self.hosts[at];
            if host.engine.is_none() || host.frozen_ms > self.now_ms {
                continue;
            }
            if host.nature == Nature::Impostor && !self.is_calm() && self.dice.chance(300) {
                self.pretend(at);
            }
            if self.hosts[at].flaw == Flaw::Restless && self.now_ms == 10_000 {
                self.start_afresh(at);
            }
        }
    }

    /// Claims the result of a job that it need not have had.
    fn pretend(&mut self, at: usize) {
        if self.keys.is_empty() {
            return;
        }
        let key = self.keys[self.dice.index(self.keys.len())];
        let (owner, job) = key;
        // Nobody could tell if it had been given the job, and what everybody fails at is not done.
        if self.orders[&key].fate == Fate::Poison {
            return;
        }
        let number = u32::try_from(self.dice.between(1, 3)).expect("small");
        if owner == at || !self.hosts[at].sees.contains_key(&owner) {
            return;
        }
        let attempt = AttemptId {
            owner: self.hosts[owner].id,
            job,
            number,
        };
        let message = Message::Result {
            job,
            number,
            verdict: Verdict::Pass,
            outcome: Said::of(attempt, owner, at).encode(),
            room: self.dice.chance(500),
        };
        self.send(at, owner, &message);
    }

    /// Wants everything anew, with no word to those who are at it.
    fn start_afresh(&mut self, at: usize) {
        let orders = self.orders.values();
        let open = orders.filter(|order| order.owner == at && order.wanted && order.end.is_none());
        let keys: Vec<_> = open.map(|order| (at, order.want.job)).collect();
        let wants: Vec<_> = keys.iter().map(|key| self.described(*key)).collect();
        for want in wants {
            self.think(at, Event::Unwant(want.job));
            for command in self.think(at, Event::Want(want)) {
                self.obey(at, command);
            }
        }
    }
}

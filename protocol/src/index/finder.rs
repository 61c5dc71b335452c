//! Look-ups of many keys at once: each is asked of all its index nodes, those of one node in one
//! question, and what is known when all have answered, or when the time is over, is the answer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{CLAIMS_MAX, Found, GRACE, HOLDERS_MAX, KEYS_MAX, PATIENCE, Pacer};
use crate::{
    ids::{ActionKey, NodeId},
    time::Time,
};

/// What is looked for.
#[derive(Debug, Default)]
pub(super) struct Finder {
    lookups: BTreeMap<u64, Lookup>,
    /// Keys that wait until their node may be asked.
    waiting: BTreeMap<NodeId, VecDeque<(u64, ActionKey)>>,
    asked: BTreeMap<u64, (NodeId, Vec<(u64, ActionKey)>)>,
}

#[derive(Debug)]
struct Lookup {
    until: Time,
    keys: BTreeMap<ActionKey, Sought>,
    /// Since when every key has a claim.
    good_at: Option<Time>,
}

#[derive(Debug)]
struct Sought {
    /// Nodes that have not answered.
    open: usize,
    found: Found,
}

/// A question to be asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) to: NodeId,
    pub(super) number: u64,
    pub(super) keys: Vec<ActionKey>,
}

impl Finder {
    /// How many look-ups are under way.
    pub(super) fn len(&self) -> usize {
        self.lookups.len()
    }

    /// Begins a look-up; each key comes with the nodes to ask.
    pub(super) fn begin(
        &mut self,
        now: Time,
        id: u64,
        keys: Vec<(ActionKey, Vec<NodeId>)>,
        pacers: &BTreeMap<NodeId, Pacer>,
    ) {
        let mut lookup = Lookup {
            until: now + PATIENCE,
            keys: BTreeMap::new(),
            good_at: None,
        };
        for (action, nodes) in keys {
            for node in &nodes {
                let may = pacers.get(node).map_or(now, Pacer::next);
                lookup.until = lookup.until.max(may + PATIENCE);
                let waiting = self.waiting.entry(*node).or_default();
                waiting.push_back((id, action));
            }
            let found = Found {
                action,
                claims: Vec::new(),
                holders: Vec::new(),
            };
            let open = nodes.len();
            lookup.keys.insert(action, Sought { open, found });
        }
        self.lookups.insert(id, lookup);
    }

    /// What is to be asked now.
    pub(super) fn flush(
        &mut self,
        now: Time,
        pacers: &mut BTreeMap<NodeId, Pacer>,
        number: &mut u64,
    ) -> Vec<Ask> {
        let mut asks = Vec::new();
        for (node, waiting) in &mut self.waiting {
            // Nobody waits any more for what took too long to be asked.
            waiting.retain(|(id, _)| self.lookups.contains_key(id));
            while !waiting.is_empty() && pacers.entry(*node).or_default().spend(now) {
                let mut keys: BTreeSet<ActionKey> = BTreeSet::new();
                let mut of = Vec::new();
                while let Some((_, key)) = waiting.front()
                    && (keys.len() < KEYS_MAX || keys.contains(key))
                    && let Some(next) = waiting.pop_front()
                {
                    keys.insert(next.1);
                    of.push(next);
                }
                *number += 1;
                self.asked.insert(*number, (*node, of));
                asks.push(Ask {
                    to: *node,
                    number: *number,
                    keys: keys.into_iter().collect(),
                });
            }
        }
        self.waiting.retain(|_, waiting| !waiting.is_empty());
        asks
    }

    /// A node has answered, or will not. `found` is checked.
    pub(super) fn heard(&mut self, number: u64, found: &[Found]) {
        let Some((_, of)) = self.asked.remove(&number) else {
            return;
        };
        let found: BTreeMap<ActionKey, &Found> =
            found.iter().map(|found| (found.action, found)).collect();
        for (id, key) in of {
            self.answer(id, key, found.get(&key).copied());
        }
    }

    /// One node's answer for one key of one look-up.
    fn answer(&mut self, id: u64, key: ActionKey, found: Option<&Found>) {
        let lookup = self.lookups.get_mut(&id);
        if let Some(sought) = lookup.and_then(|lookup| lookup.keys.get_mut(&key)) {
            sought.open = sought.open.saturating_sub(1);
        }
        if let Some(found) = found {
            self.answer_here(id, found);
        }
    }

    /// What this node knows of a key itself.
    pub(super) fn answer_here(&mut self, id: u64, found: &Found) {
        let lookup = self.lookups.get_mut(&id);
        let Some(sought) = lookup.and_then(|lookup| lookup.keys.get_mut(&found.action)) else {
            return;
        };
        for claim in &found.claims {
            if sought.found.claims.len() < CLAIMS_MAX && !sought.found.claims.contains(claim) {
                sought.found.claims.push(claim.clone());
            }
        }
        for node in &found.holders {
            if sought.found.holders.len() < HOLDERS_MAX && !sought.found.holders.contains(node) {
                sought.found.holders.push(*node);
            }
        }
    }

    /// The look-ups that have ended, with what was found.
    pub(super) fn ended(&mut self, now: Time) -> Vec<(u64, Vec<Found>)> {
        let mut ended = Vec::new();
        for (id, lookup) in &mut self.lookups {
            let mut keys = lookup.keys.values();
            let is_good = keys.all(|sought| !sought.found.claims.is_empty());
            if is_good && lookup.good_at.is_none() {
                lookup.good_at = Some(now);
            }
            let is_answered = lookup.keys.values().all(|sought| sought.open == 0);
            if is_answered || lookup.ends() <= now {
                ended.push(*id);
            }
        }
        let mut found = Vec::new();
        for id in ended {
            let Some(lookup) = self.lookups.remove(&id) else {
                continue;
            };
            let known = lookup.keys.into_values().map(|sought| sought.found);
            found.push((id, known.filter(|found| !found.claims.is_empty()).collect()));
        }
        found
    }

    /// When to look again.
    pub(super) fn wake(&self, pacers: &BTreeMap<NodeId, Pacer>) -> Option<Time> {
        let ends = self.lookups.values().map(Lookup::ends);
        let may = self.waiting.keys();
        let may = may.map(|node| pacers.get(node).map_or(Time::default(), Pacer::next));
        ends.chain(may).min()
    }
}

impl Lookup {
    fn ends(&self) -> Time {
        let good = self.good_at.map(|at| at + GRACE);
        good.map_or(self.until, |good| good.min(self.until))
    }
}

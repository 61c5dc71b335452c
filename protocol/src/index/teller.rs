//! Telling index nodes of the claims that this node keeps: gathered by node, not more often than is
//! good for them, and again when another node has their place.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ANNOUNCED_MAX, DUE_MAX, GATHER, KNOWN_MAX, PACE, Pacer, RETRY,
    places::{Moved, Places, part_of},
};
use crate::{
    ids::{ActionKey, NodeId},
    time::Time,
};

/// What is to be told, and to whom.
#[derive(Debug, Default)]
pub(super) struct Teller {
    /// Keys whose claims are kept here, with the order in which they came.
    known: BTreeMap<ActionKey, u64>,
    order: BTreeMap<u64, ActionKey>,
    next: u64,
    due: BTreeMap<NodeId, Due>,
    due_count: usize,
    under_way: BTreeMap<u64, (NodeId, Vec<ActionKey>)>,
}

#[derive(Debug)]
struct Due {
    keys: BTreeSet<ActionKey>,
    /// Not before.
    at: Time,
    /// Whether an answer is waited for.
    is_busy: bool,
}

/// An announcement to be made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) to: NodeId,
    pub(super) number: u64,
    pub(super) keys: Vec<ActionKey>,
}

impl Teller {
    /// Claims about these are kept here.
    pub(super) fn kept(&mut self, now: Time, keys: &[ActionKey], places: &mut Places) {
        for key in keys {
            if let Some(number) = self.known.remove(key) {
                self.order.remove(&number);
            }
            self.next += 1;
            self.known.insert(*key, self.next);
            self.order.insert(self.next, *key);
            if self.known.len() > KNOWN_MAX
                && let Some((_, oldest)) = self.order.pop_first()
            {
                self.known.remove(&oldest);
            }
            for node in places.of(*key).to_vec() {
                self.owe(now, node, *key);
            }
        }
    }

    fn owe(&mut self, now: Time, node: NodeId, key: ActionKey) {
        if self.due_count >= DUE_MAX {
            return;
        }
        let due = self.due.entry(node).or_insert_with(|| Due {
            keys: BTreeSet::new(),
            at: now + GATHER,
            is_busy: false,
        });
        if due.keys.is_empty() {
            due.at = due.at.max(now + GATHER);
        }
        if due.keys.insert(key) {
            self.due_count += 1;
        }
    }

    /// Some parts have other nodes now.
    pub(super) fn moved(&mut self, now: Time, moved: &[Moved]) {
        let gained: BTreeMap<u16, &Vec<NodeId>> =
            moved.iter().map(|(part, nodes)| (*part, nodes)).collect();
        if gained.is_empty() {
            return;
        }
        let known: Vec<ActionKey> = self.known.keys().copied().collect();
        for key in known {
            for node in gained.get(&part_of(key)).into_iter().copied().flatten() {
                self.owe(now, *node, key);
            }
        }
    }

    /// A node is gone: it is owed nothing.
    pub(super) fn forget(&mut self, node: NodeId) {
        if let Some(due) = self.due.remove(&node) {
            self.due_count -= due.keys.len();
        }
    }

    /// What is to be told now. `number` gives the number of the next message.
    pub(super) fn flush(
        &mut self,
        now: Time,
        pacers: &mut BTreeMap<NodeId, Pacer>,
        number: &mut u64,
    ) -> Vec<Batch> {
        let mut batches = Vec::new();
        for (node, due) in &mut self.due {
            if due.keys.is_empty() || due.is_busy || due.at > now {
                continue;
            }
            if !pacers.entry(*node).or_default().spend(now) {
                continue;
            }
            let mut keys = Vec::new();
            while keys.len() < ANNOUNCED_MAX
                && let Some(key) = due.keys.pop_first()
            {
                keys.push(key);
            }
            self.due_count -= keys.len();
            due.is_busy = true;
            due.at = now + PACE;
            *number += 1;
            self.under_way.insert(*number, (*node, keys.clone()));
            batches.push(Batch {
                to: *node,
                number: *number,
                keys,
            });
        }
        batches
    }

    /// An announcement was heard, or was not.
    pub(super) fn told(&mut self, now: Time, number: u64, heard: bool, places: &mut Places) {
        let Some((node, keys)) = self.under_way.remove(&number) else {
            return;
        };
        if let Some(due) = self.due.get_mut(&node) {
            due.is_busy = false;
            if heard && due.keys.is_empty() {
                // What is paced is paced by when it was told last.
                due.at = due.at.max(now);
            }
        }
        if heard {
            return;
        }
        for key in keys {
            // Its place may be another's by now.
            if places.knows(node) && places.of(key).contains(&node) {
                self.owe(now, node, key);
            }
        }
        if let Some(due) = self.due.get_mut(&node) {
            due.at = now + RETRY;
        }
    }

    /// When something is to be told next.
    pub(super) fn wake(&self, pacers: &BTreeMap<NodeId, Pacer>) -> Option<Time> {
        let due = self.due.iter();
        let due = due.filter(|(_, due)| !due.keys.is_empty() && !due.is_busy);
        due.map(|(node, due)| due.at.max(pacers.get(node).map_or(due.at, Pacer::next)))
            .min()
    }

    /// How much is owed and under way.
    #[cfg(test)]
    pub(super) fn backlog(&self) -> usize {
        self.due_count + self.under_way.len()
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn check(&self) {
        debug_assert_eq!(self.known.len(), self.order.len(), "an order that is lost");
        debug_assert!(self.known.len() <= KNOWN_MAX && self.due_count <= DUE_MAX);
    }
}

//! What a node keeps of others' claims for whoever asks. Nobody can fill it: an operator has a share
//! by the claims that its nodes have signed, and where all of it is full, who has most gives first.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    BATCH_BYTES, CLAIMS_MAX, Checked, Found, HOLDERS_MAX, OPERATOR_CLAIMS_MAX,
    OPERATOR_HOLDERS_MAX, SHARE_BYTES_MAX, SHELF_BYTES_MAX,
};
use crate::ids::{ActionKey, NodeId};

/// What a row costs beside its claims, bytes.
const ROW_BYTES: usize = 256;

/// Claims by action.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    rows: BTreeMap<ActionKey, Row>,
    shares: BTreeMap<String, Share>,
    bytes: usize,
    next: u64,
}

#[derive(Debug, Default)]
struct Row {
    claims: Vec<Kept>,
    holders: Vec<(NodeId, String)>,
}

#[derive(Debug)]
struct Kept {
    /// Counts up: the lowest was said longest ago.
    number: u64,
    checked: Checked,
}

/// What the nodes of one operator have signed.
#[derive(Debug, Default)]
struct Share {
    bytes: usize,
    order: BTreeMap<u64, ActionKey>,
}

impl Shelf {
    /// Keeps a claim that `teller` told of.
    pub(super) fn put(&mut self, teller: (NodeId, &str), checked: Checked) {
        let (action, holds) = (checked.action, checked.holds);
        self.put_claim(checked);
        if let Some(row) = self.rows.get_mut(&action) {
            row.note(teller, holds);
        }
        self.make_room();
    }

    fn put_claim(&mut self, checked: Checked) {
        let row = self.rows.entry(checked.action).or_default();
        let known = row.claims.iter().find(|kept| kept.checked.id == checked.id);
        if let Some(number) = known.map(|kept| kept.number) {
            // Said again: it is not the oldest any more.
            return self.renew(checked.action, number);
        }
        let signer = checked.claim.signer();
        let of_signer = row
            .claims
            .iter()
            .find(|kept| kept.checked.claim.signer() == signer);
        if let Some(older) = of_signer {
            if older.checked.started > checked.started {
                return;
            }
            let number = older.number;
            self.remove(checked.action, number);
        }
        let row = self.rows.entry(checked.action).or_default();
        let same = |kept: &&Kept| kept.checked.operator == checked.operator;
        let its: Vec<u64> = row
            .claims
            .iter()
            .filter(same)
            .map(|kept| kept.number)
            .collect();
        let is_full = row.claims.len() >= CLAIMS_MAX;
        match its.iter().min() {
            Some(oldest) if its.len() >= OPERATOR_CLAIMS_MAX => {
                let oldest = *oldest;
                self.remove(checked.action, oldest);
            }
            // So many operators have spoken that one more changes nothing.
            _ if is_full => return,
            _ => {}
        }
        self.next += 1;
        let number = self.next;
        let cost = checked.bytes + ROW_BYTES;
        let share = self.shares.entry(checked.operator.clone()).or_default();
        share.bytes += cost;
        share.order.insert(number, checked.action);
        self.bytes += cost;
        let row = self.rows.entry(checked.action).or_default();
        row.claims.push(Kept { number, checked });
    }

    fn renew(&mut self, action: ActionKey, number: u64) {
        self.next += 1;
        let next = self.next;
        let Some(row) = self.rows.get_mut(&action) else {
            return;
        };
        let Some(kept) = row.claims.iter_mut().find(|kept| kept.number == number) else {
            return;
        };
        kept.number = next;
        if let Some(share) = self.shares.get_mut(&kept.checked.operator) {
            share.order.remove(&number);
            share.order.insert(next, action);
        }
    }

    fn remove(&mut self, action: ActionKey, number: u64) {
        let Some(row) = self.rows.get_mut(&action) else {
            return;
        };
        let Some(at) = row.claims.iter().position(|kept| kept.number == number) else {
            return;
        };
        let kept = row.claims.remove(at);
        if row.claims.is_empty() {
            self.rows.remove(&action);
        }
        let cost = kept.checked.bytes + ROW_BYTES;
        self.bytes -= cost;
        if let Some(share) = self.shares.get_mut(&kept.checked.operator) {
            share.bytes -= cost;
            share.order.remove(&number);
            if share.order.is_empty() {
                self.shares.remove(&kept.checked.operator);
            }
        }
    }

    /// Lets the claims go that were said longest ago, of whoever has too many.
    fn make_room(&mut self) {
        loop {
            let largest = self.shares.values().max_by_key(|share| share.bytes);
            let Some(share) = largest else { return };
            if share.bytes <= SHARE_BYTES_MAX && self.bytes <= SHELF_BYTES_MAX {
                return;
            }
            let Some((number, action)) = share.order.first_key_value() else {
                return;
            };
            let (number, action) = (*number, *action);
            self.remove(action, number);
        }
    }

    /// What is known of these actions, as much as one answer holds.
    pub(super) fn find(&self, keys: &[ActionKey]) -> Vec<Found> {
        let mut bytes = 0;
        let mut found = Vec::new();
        for key in keys.iter().collect::<BTreeSet<_>>() {
            let Some(row) = self.rows.get(key) else {
                continue;
            };
            bytes += row
                .claims
                .iter()
                .map(|kept| kept.checked.bytes)
                .sum::<usize>();
            if bytes > BATCH_BYTES {
                break;
            }
            let claims = row.claims.iter().map(|kept| kept.checked.claim.clone());
            found.push(Found {
                action: *key,
                claims: claims.collect(),
                holders: row.holders.iter().map(|(node, _)| *node).collect(),
            });
        }
        found
    }

    /// Bytes of all, and of one operator's.
    #[cfg(test)]
    pub(super) fn sizes(&self, operator: &str) -> (usize, usize) {
        let share = self.shares.get(operator).map_or(0, |share| share.bytes);
        (self.bytes, share)
    }

    /// The accounts are right.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn check(&self) {
        let sum: usize = self.shares.values().map(|share| share.bytes).sum();
        debug_assert_eq!(sum, self.bytes, "shares and total differ");
        debug_assert!(self.bytes <= SHELF_BYTES_MAX, "more is kept than may be");
    }
}

impl Row {
    /// Notes whether a node has what the action made; of too many of one operator, and of too many
    /// in all, the first to be noted goes.
    fn note(&mut self, (node, operator): (NodeId, &str), holds: bool) {
        self.holders.retain(|(known, _)| *known != node);
        if !holds {
            return;
        }
        let its = |(_, of): &&(NodeId, String)| of == operator;
        if self.holders.iter().filter(its).count() >= OPERATOR_HOLDERS_MAX
            && let Some(first) = self.holders.iter().position(|(_, of)| of == operator)
        {
            self.holders.remove(first);
        }
        if self.holders.len() >= HOLDERS_MAX {
            self.holders.remove(0);
        }
        self.holders.push((node, operator.to_owned()));
    }
}

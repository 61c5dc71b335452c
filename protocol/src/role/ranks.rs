//! Who ranks where for a role. Ranks are remembered, and made anew only where a member that comes or
//! goes has a part in them: a mesh of thousands changes all the time.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{event::Seat, limits};
use crate::{
    identity::Tier,
    ids::{NodeId, RoleId},
    rendezvous,
};

const DOMAIN: &str = "caravan/role/1";

/// The members, and the first of them for each role that is asked for.
#[derive(Debug, Clone, Default)]
pub struct Ranks {
    seats: BTreeMap<NodeId, Seat>,
    /// Open members that are trusted: while there are any, no donor is elected.
    trusted: usize,
    first: BTreeMap<RoleId, Vec<NodeId>>,
}

fn trusted(seat: Option<&Seat>) -> bool {
    seat.is_some_and(|seat| seat.open && seat.tier >= Tier::Trusted)
}

impl Ranks {
    /// Takes in how a member stands now. Whether that is news.
    pub fn set(&mut self, node: NodeId, seat: Option<Seat>) -> bool {
        let before = self.seats.get(&node).copied();
        if before == seat {
            return false;
        }
        let had = self.trusted > 0;
        self.trusted -= usize::from(trusted(before.as_ref()));
        self.trusted += usize::from(trusted(seat.as_ref()));
        match seat {
            Some(seat) => self.seats.insert(node, seat),
            None => self.seats.remove(&node),
        };
        if had != (self.trusted > 0) {
            self.first.clear();
            return true;
        }
        let elected = self.elects(node);
        self.first.retain(|role, first| {
            let listed = first.contains(&node);
            let weight = |node| (rendezvous::weight(DOMAIN, role.as_bytes(), node), node);
            let reaches = || {
                let last = first.last().filter(|_| first.len() >= limits::RANKED_MAX);
                last.is_none_or(|last| weight(node) > weight(*last))
            };
            if elected {
                listed || !reaches()
            } else {
                !listed
            }
        });
        true
    }

    /// How a member stands.
    #[must_use]
    pub fn seat(&self, node: NodeId) -> Option<Seat> {
        self.seats.get(&node).copied()
    }

    /// Whether a node is live.
    #[must_use]
    pub fn is_live(&self, node: NodeId) -> bool {
        self.seats.contains_key(&node)
    }

    /// Whether a node is live and takes work.
    #[must_use]
    pub fn is_open(&self, node: NodeId) -> bool {
        self.seats.get(&node).is_some_and(|seat| seat.open)
    }

    /// Whether a node may be elected now.
    #[must_use]
    pub fn elects(&self, node: NodeId) -> bool {
        let seat = self.seats.get(&node);
        trusted(seat) || (self.trusted == 0 && seat.is_some_and(|seat| seat.open))
    }

    /// The first of a role's rank, at most [`limits::RANKED_MAX`].
    pub fn first(&mut self, role: RoleId) -> &[NodeId] {
        if !self.first.contains_key(&role) {
            while self.first.len() >= limits::CHARGES_MAX + limits::ROLES_MAX {
                self.first.pop_first();
            }
            let elected = self.seats.keys().copied();
            let elected = elected.filter(|node| self.elects(*node));
            let mut ranked = rendezvous::rank(DOMAIN, role.as_bytes(), elected);
            ranked.truncate(limits::RANKED_MAX);
            self.first.insert(role, ranked);
        }
        self.first.get(&role).map_or(&[], Vec::as_slice)
    }

    /// Whether `one` goes before `other` where both hold one run: the one that is open, the one that
    /// is trusted, then by rank.
    #[must_use]
    pub fn is_better(&self, role: RoleId, one: NodeId, other: NodeId) -> bool {
        let place = |node: NodeId| {
            let seat = self.seats.get(&node);
            let weight = rendezvous::weight(DOMAIN, role.as_bytes(), node);
            let open = seat.is_some_and(|seat| seat.open);
            let tier = seat.is_some_and(|seat| seat.tier >= Tier::Trusted);
            Reverse((open, tier, weight, node))
        };
        place(one) < place(other)
    }
}

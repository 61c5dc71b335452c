//! What is learnt of where members are, on its way to the driver: what is new at once, and members
//! that move at a pace of this node's own, however often they do.

use std::{collections::BTreeSet, time::Instant};

use caravan_protocol::ids::NodeId;

use super::Actor;
use crate::{book::News, event::Event, limits::MOVED_PAUSE};

/// Members in the book that have moved since the driver was told of such last, and when that was.
#[derive(Debug, Default)]
pub(super) struct Moved {
    nodes: BTreeSet<NodeId>,
    told: Option<Instant>,
}

impl Actor {
    /// The book has taken something about members.
    pub(super) fn learned(&mut self, taken: impl IntoIterator<Item = (NodeId, News)>) {
        let mut contacts = Vec::new();
        for (node, news) in taken {
            match news {
                News::None => {}
                News::Moved => drop(self.moved.nodes.insert(node)),
                News::Found => contacts.extend(self.book.contact(node)),
            }
        }
        if !contacts.is_empty() {
            self.know();
            self.emit(Event::Learned { contacts });
        }
    }

    /// Tells who has moved, unless that was done just now.
    pub(super) fn tell_moved(&mut self, now: Instant) {
        let told = self.moved.told;
        let rests = told.is_some_and(|told| now.saturating_duration_since(told) < MOVED_PAUSE);
        if rests || self.moved.nodes.is_empty() || self.is_swamped() {
            return;
        }
        self.moved.told = Some(now);
        let nodes = std::mem::take(&mut self.moved.nodes);
        let contacts: Vec<_> = nodes
            .into_iter()
            .filter_map(|node| self.book.contact(node))
            .collect();
        if !contacts.is_empty() {
            self.emit(Event::Learned { contacts });
        }
    }
}

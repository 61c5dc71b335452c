//! What waits for the driver. It is bounded whatever the driver does: messages above a bound are the
//! actor's to drop, and of what may not be dropped, where members stand takes the most room: each
//! change of a member waits once. It drops nothing by itself.

use std::collections::{HashMap, VecDeque};

use caravan_protocol::{ids::NodeId, member::Change};

use crate::{event::Event, limits::BACKLOG_MAX};

enum Waiting {
    Event(Box<Event>),
    /// One of the changes of a member.
    Changed(NodeId),
}

/// Events on their way to the driver.
#[derive(Default)]
pub(crate) struct Backlog {
    /// What does not wait behind the rest.
    urgent: VecDeque<Event>,
    rest: VecDeque<Waiting>,
    /// The changes of each member that wait, each once, in the order in which they came last. So
    /// many of the rest are about the member.
    changes: HashMap<NodeId, Vec<Change>>,
}

impl Backlog {
    pub(crate) fn put(&mut self, event: Event) {
        if let Event::Member { node, change } = event {
            let changes = self.changes.entry(node).or_default();
            let known = changes.iter().position(|known| *known == change);
            match known {
                Some(at) => drop(changes.remove(at)),
                None => self.rest.push_back(Waiting::Changed(node)),
            }
            changes.push(change);
        } else if event.is_urgent() {
            self.urgent.push_back(event);
        } else {
            self.rest.push_back(Waiting::Event(Box::new(event)));
        }
    }

    pub(crate) fn take(&mut self) -> Option<Event> {
        if let Some(event) = self.urgent.pop_front() {
            return Some(event);
        }
        match self.rest.pop_front()? {
            Waiting::Event(event) => Some(*event),
            Waiting::Changed(node) => {
                let changes = self.changes.get_mut(&node);
                let changes = changes.expect("a change is there for each that waits");
                let change = changes.remove(0);
                if changes.is_empty() {
                    self.changes.remove(&node);
                }
                Some(Event::Member { node, change })
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.rest.is_empty()
    }

    /// Whether the driver is too slow for another message.
    pub(crate) fn is_full(&self) -> bool {
        self.urgent.len() + self.rest.len() >= BACKLOG_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(n: u8, change: Change) -> Event {
        let node = NodeId::from_bytes([n; 32]);
        Event::Member { node, change }
    }

    fn all(mut backlog: Backlog) -> Vec<String> {
        let taken = std::iter::from_fn(|| backlog.take());
        let words = taken.map(|event| format!("{event:?}")).collect();
        assert!(backlog.is_empty() && backlog.changes.is_empty());
        words
    }

    #[test]
    fn changes_of_a_member_wait_once_each_and_the_last_comes_last() {
        let mut backlog = Backlog::default();
        for _ in 0..3 * BACKLOG_MAX {
            backlog.put(changed(1, Change::Joined));
            backlog.put(changed(2, Change::Updated));
            backlog.put(changed(1, Change::Died));
        }
        backlog.put(changed(1, Change::Joined));
        assert!(!backlog.is_full());
        let expected = [
            changed(1, Change::Died),
            changed(2, Change::Updated),
            changed(1, Change::Joined),
        ];
        assert_eq!(all(backlog), expected.map(|event| format!("{event:?}")));
    }

    #[test]
    fn what_is_handed_out_can_come_again() {
        let mut backlog = Backlog::default();
        for _ in 0..2 {
            backlog.put(changed(1, Change::Updated));
            assert!(matches!(backlog.take(), Some(Event::Member { .. })));
            assert!(backlog.take().is_none());
        }
    }

    #[test]
    fn urgent_words_go_first() {
        let mut backlog = Backlog::default();
        for n in 0..9 {
            backlog.put(changed(n, Change::Joined));
        }
        backlog.put(Event::Incarnation(7));
        backlog.put(Event::Evicted);
        assert_eq!(all(backlog)[..2], ["Incarnation(7)", "Evicted"]);
    }
}

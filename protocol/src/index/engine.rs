//! The engine: what happens to the index of one node, and what it asks for.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Checked, Found, LOOKUP_KEYS_MAX, LOOKUPS_MAX, Pacer, finder::Finder, places::Places,
    shelf::Shelf, teller::Teller,
};
use crate::{
    ids::{ActionKey, NodeId},
    time::{Stamp, Time},
};

/// What an engine is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A member is here, or has begun another life.
    Up {
        /// The member.
        node: NodeId,
        /// Who runs it.
        operator: String,
        /// Names its life.
        life: Stamp,
    },
    /// A member is not here any more.
    Down {
        /// The member.
        node: NodeId,
    },
    /// This node keeps final claims about these, or holds what they name since now.
    Kept {
        /// The actions.
        keys: Vec<ActionKey>,
    },
    /// What is claimed of these? Answered by one [`Command::Found`].
    Find {
        /// Names the look-up: never used before.
        id: u64,
        /// The actions.
        keys: Vec<ActionKey>,
    },
    /// A [`Command::Ask`] was answered; what did not stand the check is left out. Nothing, if there
    /// was no answer.
    Heard {
        /// Of the command.
        number: u64,
        /// What was found.
        found: Vec<Found>,
    },
    /// A [`Command::Tell`] has ended.
    Told {
        /// Of the command.
        number: u64,
        /// Whether it was heard.
        heard: bool,
    },
    /// A member, or this node, has announced claims, and these stood the check.
    Announced {
        /// The member.
        from: NodeId,
        /// The claims.
        claims: Vec<Checked>,
    },
    /// The time of the last [`Command::WakeAt`] has come.
    Tick,
}

/// What an engine asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Announce the claims that are kept about these to a node; it may be this one. Exactly one
    /// [`Event::Told`] follows.
    Tell {
        /// The index node.
        to: NodeId,
        /// Names the command.
        number: u64,
        /// The actions.
        keys: Vec<ActionKey>,
    },
    /// Ask another node for these. Exactly one [`Event::Heard`] follows.
    Ask {
        /// The index node.
        to: NodeId,
        /// Names the command.
        number: u64,
        /// The actions.
        keys: Vec<ActionKey>,
    },
    /// A look-up has ended: what was found, of keys of which something was.
    Found {
        /// The look-up.
        id: u64,
        /// What was found, in order of keys.
        found: Vec<Found>,
    },
    /// Send [`Event::Tick`] then, in the place of an earlier wish.
    WakeAt(Time),
}

/// A node's part in the index.
#[derive(Debug)]
pub struct Engine {
    me: NodeId,
    places: Places,
    teller: Teller,
    finder: Finder,
    shelf: Shelf,
    pacers: BTreeMap<NodeId, Pacer>,
    number: u64,
}

impl Engine {
    /// The engine of a node that knows nobody, not even itself: it is up by an event like others.
    #[must_use]
    pub fn new(me: NodeId) -> Self {
        Self {
            me,
            places: Places::default(),
            teller: Teller::default(),
            finder: Finder::default(),
            shelf: Shelf::default(),
            pacers: BTreeMap::new(),
            number: 0,
        }
    }

    /// Takes in what happened; what is to be done about it is appended to `out`.
    pub fn handle(&mut self, now: Time, event: Event, out: &mut Vec<Command>) {
        match event {
            Event::Up {
                node,
                operator,
                life,
            } => {
                let moved = self.places.up(node, &operator, life);
                self.teller.moved(now, &moved);
            }
            Event::Down { node } => {
                let moved = self.places.down(node);
                self.teller.forget(node);
                self.pacers.remove(&node);
                self.teller.moved(now, &moved);
            }
            Event::Kept { keys } => self.teller.kept(now, &keys, &mut self.places),
            Event::Find { id, keys } => self.find(now, id, &keys, out),
            Event::Heard { number, found } => self.hear(number, found),
            Event::Told { number, heard } => {
                self.teller.told(now, number, heard, &mut self.places);
            }
            Event::Announced { from, claims } => self.take(from, claims),
            Event::Tick => {}
        }
        self.turn(now, out);
    }

    /// What this node tells whoever asks for these.
    #[must_use]
    pub fn known(&self, keys: &[ActionKey]) -> Vec<Found> {
        self.shelf.find(keys)
    }

    /// The nodes that keep the claims about `key`.
    pub fn places(&mut self, key: ActionKey) -> Vec<NodeId> {
        self.places.of(key).to_vec()
    }

    fn find(&mut self, now: Time, id: u64, keys: &[ActionKey], out: &mut Vec<Command>) {
        if self.finder.len() >= LOOKUPS_MAX {
            return out.push(Command::Found {
                id,
                found: Vec::new(),
            });
        }
        let keys: BTreeSet<ActionKey> = keys.iter().take(LOOKUP_KEYS_MAX).copied().collect();
        let sought = keys.iter().map(|key| {
            let mut nodes = self.places.of(*key).to_vec();
            nodes.retain(|node| *node != self.me);
            (*key, nodes)
        });
        let sought = sought.collect();
        self.finder.begin(now, id, sought, &self.pacers);
        for found in self.shelf.find(&keys.into_iter().collect::<Vec<_>>()) {
            self.finder.answer_here(id, &found);
        }
    }

    fn hear(&mut self, number: u64, mut found: Vec<Found>) {
        for found in &mut found {
            // Who is not here has nothing for anybody.
            found.holders.retain(|node| self.places.knows(*node));
        }
        self.finder.heard(number, &found);
    }

    fn take(&mut self, from: NodeId, claims: Vec<Checked>) {
        let Some(operator) = self.places.operator(from).map(str::to_owned) else {
            return;
        };
        for checked in claims {
            self.shelf.put((from, &operator), checked);
        }
    }

    /// Does what is due.
    fn turn(&mut self, now: Time, out: &mut Vec<Command>) {
        for ask in self.finder.flush(now, &mut self.pacers, &mut self.number) {
            out.push(Command::Ask {
                to: ask.to,
                number: ask.number,
                keys: ask.keys,
            });
        }
        for batch in self.teller.flush(now, &mut self.pacers, &mut self.number) {
            out.push(Command::Tell {
                to: batch.to,
                number: batch.number,
                keys: batch.keys,
            });
        }
        for (id, found) in self.finder.ended(now) {
            out.push(Command::Found { id, found });
        }
        let wakes = [
            self.finder.wake(&self.pacers),
            self.teller.wake(&self.pacers),
        ];
        if let Some(at) = wakes.into_iter().flatten().min() {
            out.push(Command::WakeAt(at.max(now)));
        }
        #[cfg(any(test, debug_assertions))]
        self.check();
    }

    #[cfg(any(test, debug_assertions))]
    fn check(&self) {
        self.teller.check();
        self.shelf.check();
    }

    /// How many keys are still to be told.
    #[cfg(test)]
    pub(super) fn backlog(&self) -> usize {
        self.teller.backlog()
    }

    /// Bytes on the shelf, and those of one operator.
    #[cfg(test)]
    pub(super) fn sizes(&self, operator: &str) -> (usize, usize) {
        self.shelf.sizes(operator)
    }
}

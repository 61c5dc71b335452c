//! What bulk streams have moved, member by member, since the node started.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use caravan_protocol::ids::NodeId;

/// Members that are remembered; of more, those that moved least are forgotten.
const MEMBERS_MAX: usize = 512;
/// Streams that are watched before those that are over are looked for.
const WATCHED_MAX: usize = 1024;

/// What went between this node and a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// The member.
    pub node: NodeId,
    /// Bytes that came from it.
    pub in_bytes: u64,
    /// Bytes that went to it.
    pub out_bytes: u64,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    In,
    Out,
}

/// A counter that streams add to, and how much of it is in the book.
#[derive(Debug)]
struct Watched {
    node: NodeId,
    way: Way,
    moved: Arc<AtomicU64>,
    seen: u64,
}

#[derive(Debug, Default)]
struct Book {
    watched: Vec<Watched>,
    /// Bytes in and out.
    all: BTreeMap<NodeId, (u64, u64)>,
}

/// What all streams have moved.
#[derive(Debug, Default)]
pub(crate) struct Traffic(Mutex<Book>);

impl Traffic {
    /// From now on what this counter counts is that member's.
    pub(crate) fn watch(&self, node: NodeId, way: Way, moved: &Arc<AtomicU64>) {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut watched = book.watched.iter();
        if watched.any(|one| one.way == way && Arc::ptr_eq(&one.moved, moved)) {
            return;
        }
        if book.watched.len() >= WATCHED_MAX {
            book.note();
        }
        // Full of streams that go on: what this one moves is in the counters of all all the same.
        if book.watched.len() < WATCHED_MAX {
            book.watched.push(Watched {
                node,
                way,
                moved: Arc::clone(moved),
                seen: 0,
            });
        }
    }

    /// What went between this node and each member, the busiest first.
    pub(crate) fn read(&self) -> Vec<Moved> {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        book.note();
        let all = book.all.iter();
        let mut moved: Vec<Moved> = all
            .map(|(node, (in_bytes, out_bytes))| Moved {
                node: *node,
                in_bytes: *in_bytes,
                out_bytes: *out_bytes,
            })
            .collect();
        moved.sort_by_key(|one| (std::cmp::Reverse(one.in_bytes + one.out_bytes), one.node));
        moved
    }
}

impl Book {
    /// Takes over what was counted since, and lets counters go that nobody adds to any more.
    fn note(&mut self) {
        let all = &mut self.all;
        self.watched.retain_mut(|one| {
            // Looked at first: what was added before its stream went away is not lost.
            let goes_on = Arc::strong_count(&one.moved) > 1;
            let now = one.moved.load(Ordering::Relaxed);
            let more = now.saturating_sub(std::mem::replace(&mut one.seen, now));
            if more > 0 {
                let (in_bytes, out_bytes) = all.entry(one.node).or_default();
                match one.way {
                    Way::In => *in_bytes += more,
                    Way::Out => *out_bytes += more,
                }
            }
            goes_on
        });
        while self.all.len() > MEMBERS_MAX {
            let least = self.all.iter().min_by_key(|(_, moved)| moved.0 + moved.1);
            let Some(node) = least.map(|(node, _)| *node) else {
                return;
            };
            self.all.remove(&node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(at: u16) -> NodeId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&at.to_be_bytes());
        NodeId::from_bytes(bytes)
    }

    #[test]
    fn each_members_bytes_are_counted_once_and_outlive_its_streams() {
        let traffic = Traffic::default();
        let (served, fetched) = (Arc::new(AtomicU64::new(5)), Arc::new(AtomicU64::new(0)));
        for _ in 0..3 {
            traffic.watch(node(1), Way::Out, &served);
        }
        traffic.watch(node(2), Way::In, &fetched);
        fetched.store(70, Ordering::Relaxed);
        let moved = |at, in_bytes, out_bytes| Moved {
            node: node(at),
            in_bytes,
            out_bytes,
        };
        assert_eq!(traffic.read(), [moved(2, 70, 0), moved(1, 0, 5)]);
        served.store(100, Ordering::Relaxed);
        drop(served);
        assert_eq!(traffic.read(), [moved(1, 0, 100), moved(2, 70, 0)]);
        let again = Arc::new(AtomicU64::new(1));
        traffic.watch(node(1), Way::Out, &again);
        assert_eq!(traffic.read(), [moved(1, 0, 101), moved(2, 70, 0)]);
    }

    #[test]
    fn no_more_is_held_than_the_bounds_allow() {
        let traffic = Traffic::default();
        let mut kept = Vec::new();
        for at in 0..3000 {
            let moved = Arc::new(AtomicU64::new(u64::from(at) + 1));
            traffic.watch(node(at), Way::In, &moved);
            if at % 2 == 0 {
                kept.push(moved);
            }
        }
        let moved = traffic.read();
        assert_eq!(moved.len(), MEMBERS_MAX);
        let book = traffic.0.lock().expect("nobody panicked");
        assert!(book.watched.len() <= WATCHED_MAX);
    }
}

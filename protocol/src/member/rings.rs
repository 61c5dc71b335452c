//! Who watches whom: on each ring a node probes the next live member and is probed by the one
//! before. Both links are kept as members come and go: a comparison when one comes, a short walk
//! when a neighbour goes.

use super::{Direction, Directory, RINGS_MAX, Slot, Static, view::View};

/// One neighbour on one ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Link {
    slot: Slot,
    /// How far along the ring.
    distance: u64,
}

/// The links of one node.
#[derive(Debug, Clone, Default)]
pub(super) struct Rings {
    count: usize,
    forward: [Option<Link>; RINGS_MAX],
    backward: [Option<Link>; RINGS_MAX],
}

impl Rings {
    pub(super) fn new(count: u8) -> Self {
        Self {
            count: usize::from(count).clamp(1, RINGS_MAX),
            ..Self::default()
        }
    }

    /// A member is here. Says whether it became a neighbour.
    pub(super) fn joined(&mut self, me: &Static, slot: Slot, place: &Static) -> bool {
        let mut changed = false;
        for ring in 0..self.count {
            let ahead = place.positions[ring].wrapping_sub(me.positions[ring]);
            for (link, distance) in [
                (&mut self.forward[ring], ahead),
                (&mut self.backward[ring], ahead.wrapping_neg()),
            ] {
                if link.is_none_or(|link| distance < link.distance) {
                    *link = Some(Link { slot, distance });
                    changed = true;
                }
            }
        }
        changed
    }

    /// Finds all links anew.
    pub(super) fn rebuild(&mut self, me: Slot, view: &View, directory: &dyn Directory) {
        for ring in 0..self.count {
            for (link, direction) in [
                (&mut self.forward[ring], Direction::Forward),
                (&mut self.backward[ring], Direction::Backward),
            ] {
                let next = beside(me, ring, direction, directory, |other| view.is_live(other));
                *link = next.map(|next| Link {
                    slot: next,
                    distance: distance(me, next, ring, direction, directory),
                });
            }
        }
    }

    /// A member is gone from the view. Says whether it was a neighbour.
    pub(super) fn gone(
        &mut self,
        me: Slot,
        slot: Slot,
        view: &View,
        directory: &dyn Directory,
    ) -> bool {
        let mut changed = false;
        for ring in 0..self.count {
            for (link, direction) in [
                (&mut self.forward[ring], Direction::Forward),
                (&mut self.backward[ring], Direction::Backward),
            ] {
                if link.is_some_and(|link| link.slot == slot) {
                    let next = beside(slot, ring, direction, directory, |other| {
                        other == me || view.is_live(other)
                    });
                    *link = next.filter(|next| *next != me).map(|next| Link {
                        slot: next,
                        distance: distance(me, next, ring, direction, directory),
                    });
                    changed = true;
                }
            }
        }
        changed
    }

    /// Whom to probe.
    pub(super) fn successors(&self) -> impl Iterator<Item = Slot> + '_ {
        self.forward.iter().flatten().map(|link| link.slot)
    }

    /// Who probes this node.
    pub(super) fn predecessors(&self) -> impl Iterator<Item = Slot> + '_ {
        self.backward.iter().flatten().map(|link| link.slot)
    }
}

fn distance(
    from: Slot,
    to: Slot,
    ring: usize,
    direction: Direction,
    directory: &dyn Directory,
) -> u64 {
    let ahead =
        directory.place(to).positions[ring].wrapping_sub(directory.place(from).positions[ring]);
    match direction {
        Direction::Forward => ahead,
        Direction::Backward => ahead.wrapping_neg(),
    }
}

/// The first slot from `slot` on, itself excluded, that `wanted` takes; none if there is none on
/// the whole ring.
pub(super) fn beside(
    slot: Slot,
    ring: usize,
    direction: Direction,
    directory: &dyn Directory,
    mut wanted: impl FnMut(Slot) -> bool,
) -> Option<Slot> {
    let mut next = directory.beside(slot, ring, direction);
    while next != slot {
        if wanted(next) {
            return Some(next);
        }
        next = directory.beside(next, ring, direction);
    }
    None
}

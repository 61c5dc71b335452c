//! What a sweep writes down, and how much of it at most.

use std::collections::{BTreeSet, HashSet};

use caravan_protocol::ids::BlobId;

use crate::limits::{FOUND_MAX, GONE_MAX, TOUCHED_MAX};

/// How much is remembered by name. Beyond a bound everything counts as kept or found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) touched: usize,
    pub(super) found: usize,
    pub(super) gone: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            touched: TOUCHED_MAX,
            found: FOUND_MAX,
            gone: GONE_MAX,
        }
    }
}

/// What was found and what is gone since a sweep began.
#[derive(Default)]
pub(super) struct Sweep {
    pub(super) found: HashSet<BlobId>,
    pub(super) gone: HashSet<BlobId>,
    /// More was found, or is gone, than is remembered: nothing more may be removed.
    pub(super) overfull: bool,
    /// Packs that somebody was told of. There are few.
    pub(super) packs_found: BTreeSet<BlobId>,
    pub(super) packs_gone: BTreeSet<BlobId>,
}

impl Sweep {
    /// Somebody was told of this.
    pub(super) fn find(&mut self, blob: BlobId, max: usize) {
        if self.found.len() < max {
            self.found.insert(blob);
        } else {
            self.overfull |= !self.found.contains(&blob);
        }
    }
}

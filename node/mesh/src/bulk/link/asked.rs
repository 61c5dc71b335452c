//! What was asked of a provider and not answered yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use caravan_protocol::ids::BlobId;

use crate::bulk::{
    Wanted,
    groups::{Mask, Shape},
    shelf::Growing,
    swarm::{Blob, Unit},
    words::Ask,
};

/// What a provider is asked for.
pub(crate) enum Job {
    Watch {
        blob: Blob,
        wanted: Wanted,
    },
    Outline {
        unit: Unit,
        id: BlobId,
        shape: Shape,
    },
    Piece {
        unit: Unit,
        growing: Arc<Growing>,
        piece: u32,
        groups: Mask,
    },
    Blobs {
        unit: Unit,
        wanted: Vec<Wanted>,
    },
    Cancel {
        unit: Unit,
    },
}

impl Job {
    pub(super) const fn unit(&self) -> Option<Unit> {
        match self {
            Self::Watch { .. } => None,
            Self::Outline { unit, .. }
            | Self::Piece { unit, .. }
            | Self::Blobs { unit, .. }
            | Self::Cancel { unit } => Some(*unit),
        }
    }
}

/// The questions without an answer, by their numbers.
#[derive(Default)]
pub(super) struct Asked {
    next: u32,
    pub(super) open: BTreeMap<u32, Job>,
    /// Watches are never through.
    pub(super) watched: BTreeMap<u32, (Blob, Wanted)>,
    /// Those of them that were not answered at all.
    pub(super) unheard: BTreeSet<u32>,
}

impl Asked {
    /// The word for a job, which is remembered until it is answered.
    pub(super) fn ask(&mut self, job: Job) -> Option<Ask> {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let ask = match &job {
            Job::Watch { blob, wanted } => {
                self.watched.insert(number, (*blob, *wanted));
                self.unheard.insert(number);
                let blob = wanted.id;
                return Some(Ask::Watch { number, blob });
            }
            Job::Cancel { unit } => {
                let mut open = self.open.iter();
                let (number, _) = open.find(|(_, job)| job.unit() == Some(*unit))?;
                return Some(Ask::Cancel { number: *number });
            }
            Job::Outline { id, .. } => Ask::Outline { number, blob: *id },
            Job::Piece {
                growing,
                piece,
                groups,
                ..
            } => Ask::Piece {
                number,
                blob: growing.id,
                piece: *piece,
                groups: *groups,
            },
            Job::Blobs { wanted, .. } => Ask::Blobs {
                number,
                blobs: wanted.iter().map(|wanted| wanted.id).collect(),
            },
        };
        self.open.insert(number, job);
        Some(ask)
    }

    /// Whether the provider is to say something.
    pub(super) fn owes(&self) -> bool {
        !self.open.is_empty() || !self.unheard.is_empty()
    }
}

pub(super) type Shared = Arc<Mutex<Asked>>;

pub(super) fn lock(asked: &Shared) -> MutexGuard<'_, Asked> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

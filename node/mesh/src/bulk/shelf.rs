//! What this node can give parts of: blobs that it still fetches, as far as they were checked, and
//! the outlines of blobs that it served. Fetches put it here and take it away, streams that serve
//! read it; nothing here outlives a restart.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use caravan_protocol::ids::{BlobId, NodeId};
use tokio::sync::mpsc;

use super::{
    Place, ReadAt,
    groups::{Hash, PIECE, Shape, hash_piece, outline},
    words::{Bits, Standing},
};
use crate::limits::{GROWING_MAX, LINGER, OUTLINES_BYTES_MAX};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A blob that is being fetched.
pub(crate) struct Growing {
    pub(crate) id: BlobId,
    pub(crate) shape: Shape,
    pub(crate) outline: Arc<[Hash]>,
    pub(crate) place: Arc<dyn Place>,
    /// The pieces that are here, and the order in which they came.
    have: Mutex<(Bits, Vec<u32>)>,
    /// Told who asks for it, for that node may soon have some of it.
    interest: mpsc::Sender<NodeId>,
    over: Mutex<Option<Instant>>,
}

impl Growing {
    /// Checks what a place has from earlier.
    pub(crate) fn resume(
        id: BlobId,
        shape: Shape,
        outline: Arc<[Hash]>,
        place: Arc<dyn Place>,
        interest: mpsc::Sender<NodeId>,
    ) -> io::Result<Self> {
        let mut have = (Bits::default(), Vec::new());
        let mut bytes = vec![0; usize::try_from(PIECE).unwrap_or_default()];
        for range in place.held()? {
            let first = u32::try_from(range.start.div_ceil(PIECE)).unwrap_or(u32::MAX);
            for piece in first..shape.pieces() {
                let bytes = &mut bytes[..shape.len(piece)];
                if shape.at(piece) + bytes.len() as u64 > range.end {
                    break;
                }
                place.read_exact_at(bytes, shape.at(piece))?;
                if hash_piece(shape, piece, bytes) == outline[piece as usize] && have.0.set(piece) {
                    have.1.push(piece);
                }
            }
        }
        Ok(Self {
            id,
            shape,
            outline,
            place,
            have: Mutex::new(have),
            interest,
            over: Mutex::default(),
        })
    }

    pub(crate) fn has(&self, piece: u32) -> bool {
        lock(&self.have).0.get(piece)
    }

    /// All of a piece was checked and written.
    pub(crate) fn add(&self, piece: u32) {
        let mut have = lock(&self.have);
        if have.0.set(piece) {
            have.1.push(piece);
        }
    }

    pub(crate) fn count(&self) -> u32 {
        lock(&self.have).0.count()
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.count() == self.shape.pieces()
    }

    /// What it has, and how many words about it that covers.
    pub(crate) fn standing(&self) -> (Standing, usize) {
        let have = lock(&self.have);
        let size = self.shape.size();
        let pieces = self.shape.pieces();
        if have.0.count() == pieces {
            return (Standing::Whole { size }, have.1.len());
        }
        let bits = have.0.to_bytes(pieces);
        (Standing::Part { size, have: bits }, have.1.len())
    }

    /// What came after so many, at most `max` pieces.
    pub(crate) fn since(&self, told: usize, max: usize) -> Vec<u32> {
        let have = lock(&self.have);
        let new = have.1.iter().skip(told);
        new.take(max).copied().collect()
    }

    /// Somebody else wants it. Where too many do, the first few are enough.
    pub(crate) fn wanted_by(&self, node: NodeId) {
        let _ = self.interest.try_send(node);
    }

    fn is_over(&self) -> bool {
        lock(&self.over).is_some_and(|over| over.elapsed() > LINGER)
    }
}

#[derive(Default)]
struct Outlines {
    kept: BTreeMap<BlobId, (u64, Slot)>,
    bytes: usize,
    clock: u64,
}

/// Locked while the outline is made, so that it is made once.
type Slot = Arc<Mutex<Option<Arc<[Hash]>>>>;

/// See the module.
#[derive(Default)]
pub(crate) struct Shelf {
    growing: Mutex<BTreeMap<BlobId, Arc<Growing>>>,
    outlines: Mutex<Outlines>,
}

impl Shelf {
    /// Serves a blob while it grows, unless it is here already.
    pub(crate) fn put(&self, growing: &Arc<Growing>) {
        let mut all = lock(&self.growing);
        all.retain(|_, one| !one.is_over());
        if all.len() < GROWING_MAX {
            all.entry(growing.id).or_insert_with(|| Arc::clone(growing));
        }
    }

    /// A fetch is over: what it has whole is served until the store has it, the rest is not.
    pub(crate) fn end(&self, growing: &Arc<Growing>) {
        if growing.is_whole() {
            *lock(&growing.over) = Some(Instant::now());
            return;
        }
        let mut all = lock(&self.growing);
        if all
            .get(&growing.id)
            .is_some_and(|one| Arc::ptr_eq(one, growing))
        {
            all.remove(&growing.id);
        }
    }

    pub(crate) fn growing(&self, id: BlobId) -> Option<Arc<Growing>> {
        let mut all = lock(&self.growing);
        if all.get(&id).is_some_and(|one| one.is_over()) {
            all.remove(&id);
        }
        all.get(&id).map(Arc::clone)
    }

    /// The outline of a blob of the store, made if need be. Blocks as long as that takes.
    pub(crate) fn outline(
        &self,
        id: BlobId,
        shape: Shape,
        blob: &dyn ReadAt,
    ) -> io::Result<Arc<[Hash]>> {
        let slot = self.slot(id);
        let mut made = lock(&slot);
        if let Some(outline) = made.as_ref() {
            return Ok(Arc::clone(outline));
        }
        let hashes = outline(shape, |at, bytes| blob.read_exact_at(bytes, at))?;
        if !shape.is_outline(id, &hashes) {
            return Err(io::Error::other(format!("blob {id} is damaged")));
        }
        let outline: Arc<[Hash]> = hashes.into();
        *made = Some(Arc::clone(&outline));
        drop(made);
        self.keep(outline.len() * size_of::<Hash>(), id);
        Ok(outline)
    }

    fn slot(&self, id: BlobId) -> Slot {
        let mut all = lock(&self.outlines);
        all.clock += 1;
        let clock = all.clock;
        let slot = all.kept.entry(id).or_default();
        slot.0 = clock;
        Arc::clone(&slot.1)
    }

    /// Counts an outline's bytes; those that were used longest ago go.
    fn keep(&self, bytes: usize, id: BlobId) {
        let mut all = lock(&self.outlines);
        all.bytes += bytes;
        while all.bytes > OUTLINES_BYTES_MAX {
            let others = all.kept.iter().filter(|(other, _)| **other != id);
            let Some(oldest) = others.min_by_key(|(_, (used, _))| *used).map(|(id, _)| *id) else {
                return;
            };
            let Some((_, slot)) = all.kept.remove(&oldest) else {
                return;
            };
            // One that is being made is counted when it is, as one of nobody's: hardly ever.
            let made = slot.try_lock().ok();
            let made = made.and_then(|made| made.as_ref().map(|outline| outline.len()));
            let freed = made.unwrap_or_default() * size_of::<Hash>();
            all.bytes = all.bytes.saturating_sub(freed);
        }
    }
}

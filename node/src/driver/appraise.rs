//! What a job that was offered would have to fetch: counted in the store, off the driver's thread,
//! beside how fast this node has fetched so far.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use caravan_protocol::offer::Layer;
use caravan_store::Store;

use super::{Driver, Notice};

/// What a layer is thought to take whose size nobody has named, bytes.
const LAYER_BYTES: u64 = 64 * 1024 * 1024;
/// Smaller fetches tell more of waiting than of the line, bytes.
const TELLING_BYTES: u64 = 1024 * 1024;

/// How fast this node fetches: of what it fetched, the later counts more.
#[derive(Debug, Default)]
pub(crate) struct Pace(AtomicU64);

impl Pace {
    /// So much was fetched in that time.
    pub(crate) fn note(&self, bytes: u64, took: Duration) {
        if bytes < TELLING_BYTES {
            return;
        }
        let ms = took.as_millis().max(1);
        let seen = u64::try_from(u128::from(bytes) * 1000 / ms).unwrap_or(u64::MAX);
        let next = |known: u64| match known {
            0 => seen.max(1),
            known => (known / 4 * 3).saturating_add(seen / 4).max(1),
        };
        // Two that end at once may count as one: it is an estimate.
        let known = self.0.load(Ordering::Relaxed);
        self.0.store(next(known), Ordering::Relaxed);
    }

    /// Bytes per second; 0 where nothing was fetched yet.
    pub(crate) fn bytes_per_s(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Driver {
    /// Counts what a job on top of this would have to fetch. One [`Notice::Appraised`] follows.
    pub(crate) fn appraise(&self, appraisal: u64, lineage: Vec<Layer>) {
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn("appraise", async move {
            let store = shared.home.store.clone();
            let all = lineage
                .iter()
                .fold(0, |sum: u64, layer| sum.saturating_add(size(layer)));
            let counted = shared
                .tasks
                .blocking(move || missing_bytes(&store, &lineage));
            let missing_bytes = counted.await.unwrap_or(all);
            let notice = Notice::Appraised {
                appraisal,
                missing_bytes,
            };
            // The driver is gone only when the node stops, and then nobody waits.
            let _ = shared.notices.send(notice).await;
        });
    }
}

const fn size(layer: &Layer) -> u64 {
    match layer.bytes {
        0 => LAYER_BYTES,
        bytes => bytes,
    }
}

/// Bytes of these layers that are not in the store. What cannot be read is not there.
fn missing_bytes(store: &Store, lineage: &[Layer]) -> u64 {
    let missing = |layer: &Layer| match store.missing(layer.tree) {
        Ok(missing) if missing.is_empty() => 0,
        Ok(missing) if missing.first() != Some(&layer.tree.blob()) => {
            let Ok(listed) = store.tree(layer.tree) else {
                return size(layer);
            };
            let sizes = listed.blobs();
            let sizes = missing.iter().filter_map(|blob| sizes.get(blob));
            sizes.fold(0, |sum: u64, size| sum.saturating_add(*size))
        }
        _ => size(layer),
    };
    let each = lineage.iter().map(missing);
    each.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests;

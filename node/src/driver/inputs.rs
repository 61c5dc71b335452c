//! Bringing what an action names to this node, from members that have it.

use std::{
    io::{self, Read},
    ops::Range,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
};

use caravan_mesh::{BlobSink, BlobSource, Order, Place, ReadAt, Wanted};
use caravan_protocol::{
    action::{Action, CopyFrom, Work},
    ids::{BlobId, NodeId, TreeId},
    limits,
};
use caravan_store::{Batch, Partial, Store, StoreError};
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::build::chain;

/// The store as peers read from it.
pub(crate) struct StoreSource(pub(crate) Store);

impl BlobSource for StoreSource {
    fn open(&self, id: BlobId) -> io::Result<Option<(u64, Box<dyn ReadAt>)>> {
        let other = |error: StoreError| io::Error::other(chain(&error));
        let Some(size) = self.0.blob_size(id).map_err(other)? else {
            return Ok(None);
        };
        let file = self.0.open_blob(id).map_err(other)?;
        Ok(Some((size, Box::new(file))))
    }
}

/// What peers send, on its way into the store: many blobs for one wait for the disk.
struct StoreSink {
    store: Store,
    batch: Arc<Mutex<(Batch, u64)>>,
}

/// Largest layer that is taken from a member, bytes; never more than half of the free room.
const FETCH_TREE_BYTES_MAX: u64 = 32 * 1024 * 1024 * 1024;
/// Bytes that are made safe together.
const BATCH_BYTES: u64 = 256 * 1024 * 1024;

fn unkept(error: &StoreError) -> io::Error {
    let kind = match error {
        StoreError::WrongBytes { .. } => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, chain(error))
}

impl StoreSink {
    fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            batch: Arc::new(Mutex::new((store.batch(), 0))),
        }
    }

    fn commit(&self) -> Result<(), StoreError> {
        let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        let full = std::mem::replace(&mut *batch, (self.store.batch(), 0));
        full.0.commit()
    }
}

impl BlobSink for StoreSink {
    fn accept(&self, id: BlobId, size: u64, reader: &mut dyn Read) -> io::Result<()> {
        let full = {
            let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
            let put = batch.0.put_reader(reader, Some(id), size);
            put.map_err(|error| unkept(&error))?;
            batch.1 += size;
            batch.1 > BATCH_BYTES
        };
        if full {
            self.commit().map_err(|error| unkept(&error))
        } else {
            Ok(())
        }
    }

    fn begin(&self, id: BlobId, size: u64) -> io::Result<Arc<dyn Place>> {
        let partial = self.store.partial(id, size);
        Ok(Arc::new(StorePlace {
            partial: partial.map_err(|error| unkept(&error))?,
            batch: Arc::clone(&self.batch),
        }))
    }
}

/// A large blob that grows in the store.
struct StorePlace {
    partial: Partial,
    batch: Arc<Mutex<(Batch, u64)>>,
}

impl ReadAt for StorePlace {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        let read = self.partial.read_exact_at(bytes, at);
        read.map_err(|error| unkept(&error))
    }
}

impl Place for StorePlace {
    fn held(&self) -> io::Result<Vec<Range<u64>>> {
        self.partial.held().map_err(|error| unkept(&error))
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let written = self.partial.write_all_at(bytes, at);
        written.map_err(|error| unkept(&error))
    }

    fn finish(&self) -> io::Result<()> {
        let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        let finished = self.partial.finish(&mut batch.0);
        finished.map_err(|error| unkept(&error))
    }
}

/// Brings every tree that `action` names here and makes it mountable. Answers the bytes fetched.
pub(crate) async fn bring(
    shared: &Arc<Shared>,
    action: &Action,
    providers: &[NodeId],
    cancel: &CancellationToken,
) -> Result<u64, String> {
    let trees = trees_of(action);
    tokio::select! {
        fetched = fetch_all(shared, &trees, &[], providers) => fetched,
        () = cancel.cancelled() => Err("the attempt was cancelled".to_owned()),
    }
}

/// Every tree that an action names.
pub(crate) fn trees_of(action: &Action) -> Vec<TreeId> {
    match &action.work {
        Work::Run(run) => {
            let inputs = run.inputs.iter().map(|input| input.tree);
            [run.base]
                .into_iter()
                .chain(run.layers.iter().copied())
                .chain(inputs)
                .collect()
        }
        Work::Copy(copy) => match &copy.from {
            CopyFrom::Tree(tree) => vec![*tree],
            CopyFrom::Root { base, layers } => {
                [*base].into_iter().chain(layers.iter().copied()).collect()
            }
        },
        Work::Fetch(_) => Vec::new(),
    }
}

/// Brings trees with their blobs, and blobs, from all of `providers` that have them.
pub(crate) async fn fetch_all(
    shared: &Arc<Shared>,
    trees: &[TreeId],
    blobs: &[Wanted],
    providers: &[NodeId],
) -> Result<u64, String> {
    let progress = super::headway::fetched();
    fetch_counted(shared, (trees, blobs), providers, &progress).await
}

/// The same, telling how many bytes have come.
pub(crate) async fn fetch_counted(
    shared: &Arc<Shared>,
    (trees, blobs): (&[TreeId], &[Wanted]),
    providers: &[NodeId],
    progress: &Arc<AtomicU64>,
) -> Result<u64, String> {
    let store = &shared.home.store;
    let missing_blobs = blobs
        .iter()
        .filter(|wanted| !store.has_blob(wanted.id).unwrap_or(false));
    let mut also: Vec<Wanted> = missing_blobs.copied().collect();
    let mut bytes = 0;
    // First the listings of all, then what they list: two questions, whatever there is.
    for _ in 0..2 {
        let mut wanted = std::mem::take(&mut also);
        for &tree in trees {
            wanted.extend(missing(shared, tree).await?);
        }
        bytes += fetch(shared, wanted, &words(trees), (providers, progress)).await?;
    }
    Ok(bytes)
}

/// What is fetched, for people.
fn words(trees: &[TreeId]) -> String {
    match trees {
        [] => "a result".to_owned(),
        [one] => format!("layer {}", one.fmt_short()),
        [first, ..] => format!("layer {} and {} more", first.fmt_short(), trees.len() - 1),
    }
}

async fn missing(shared: &Arc<Shared>, tree: TreeId) -> Result<Vec<Wanted>, String> {
    let store = shared.home.store.clone();
    let work = move || -> Result<Vec<Wanted>, StoreError> {
        let missing = store.missing(tree)?;
        if missing.first() == Some(&tree.blob()) {
            return Ok(vec![Wanted::at_most(
                tree.blob(),
                limits::TREE_BYTES_MAX as u64,
            )]);
        }
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let listed = store.tree(tree)?;
        let room = rustix::fs::statvfs(store.dir()).map_or(u64::MAX, |disk| {
            disk.f_bavail.saturating_mul(disk.f_frsize) / 2
        });
        if listed.size() > FETCH_TREE_BYTES_MAX.min(room) {
            return Err(StoreError::TooMany {
                what: "bytes of a layer that a member offers".to_owned(),
                max: FETCH_TREE_BYTES_MAX.min(room),
            });
        }
        let sizes = listed.blobs();
        let sized = missing
            .iter()
            .filter_map(|blob| Some(Wanted::exactly(*blob, *sizes.get(blob)?)));
        Ok(sized.collect())
    };
    let found = shared
        .tasks
        .blocking(work)
        .await
        .map_err(|_| "the store's thread died".to_owned())?;
    found.map_err(|error| chain(&error))
}

async fn fetch(
    shared: &Arc<Shared>,
    wanted: Vec<Wanted>,
    of: &str,
    (providers, progress): (&[NodeId], &Arc<AtomicU64>),
) -> Result<u64, String> {
    if wanted.is_empty() {
        return Ok(0);
    }
    let Some(mesh) = &shared.mesh else {
        return Err(format!(
            "{} files of {of} are not here, and this node is alone",
            wanted.len()
        ));
    };
    let sink = Arc::new(StoreSink::new(&shared.home.store));
    let order = Order {
        providers: providers.to_vec(),
        wanted,
        sink: Arc::clone(&sink) as _,
        progress: Arc::clone(progress),
    };
    let fetched = mesh
        .fetch_order(order)
        .await
        .map_err(|error| chain(&error))?;
    let commit = move || sink.commit().map_err(|error| chain(&error));
    shared
        .tasks
        .blocking(commit)
        .await
        .map_err(|_| "the store's thread died".to_owned())??;
    if fetched.missing.is_empty() {
        return Ok(fetched.bytes);
    }
    let failures = fetched
        .failures
        .iter()
        .map(|(node, why)| format!("; {}: {why}", node.fmt_short()));
    Err(format!(
        "{} files of {of} are not here, and no member that is up gave them{}",
        fetched.missing.len(),
        failures.collect::<String>()
    ))
}

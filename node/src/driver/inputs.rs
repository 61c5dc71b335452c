//! Bringing what an action names to this node, from members that have it.

use std::{
    io::{self, Read},
    sync::{Arc, Mutex, PoisonError},
};

use caravan_mesh::{BlobSink, BlobSource, Wanted};
use caravan_protocol::{
    action::{Action, CopyFrom, Work},
    ids::{BlobId, NodeId, TreeId},
    limits,
};
use caravan_store::{Batch, Store, StoreError};
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::build::chain;

/// The store as peers read from it.
pub(crate) struct StoreSource(pub(crate) Store);

impl BlobSource for StoreSource {
    fn open(&self, id: BlobId) -> io::Result<Option<(u64, Box<dyn Read + Send>)>> {
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
    batch: Mutex<(Batch, u64)>,
}

/// Largest layer that is taken from a member, bytes; never more than half of the free room.
const FETCH_TREE_BYTES_MAX: u64 = 32 * 1024 * 1024 * 1024;
/// Bytes that are made safe together.
const BATCH_BYTES: u64 = 256 * 1024 * 1024;

impl StoreSink {
    fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            batch: Mutex::new((store.batch(), 0)),
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
        let other = |error: StoreError| match error {
            StoreError::WrongBytes { .. } => {
                io::Error::new(io::ErrorKind::InvalidData, error.to_string())
            }
            error => io::Error::other(chain(&error)),
        };
        let full = {
            let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
            batch.0.put_reader(reader, Some(id), size).map_err(other)?;
            batch.1 += size;
            batch.1 > BATCH_BYTES
        };
        if full {
            self.commit().map_err(other)
        } else {
            Ok(())
        }
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

/// Brings trees with their blobs, and blobs, from the first of `providers` that has each.
pub(crate) async fn fetch_all(
    shared: &Arc<Shared>,
    trees: &[TreeId],
    blobs: &[Wanted],
    providers: &[NodeId],
) -> Result<u64, String> {
    let mut bytes = 0;
    for &tree in trees {
        // First the listing, then what it lists.
        for _ in 0..2 {
            let wanted = missing(shared, tree).await?;
            bytes += fetch(
                shared,
                wanted,
                &format!("layer {}", tree.fmt_short()),
                providers,
            )
            .await?;
        }
    }
    let store = &shared.home.store;
    let wanted = blobs
        .iter()
        .filter(|wanted| !store.has_blob(wanted.id).unwrap_or(false));
    Ok(bytes + fetch(shared, wanted.copied().collect(), "a result", providers).await?)
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
    providers: &[NodeId],
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
    let taken: Arc<dyn BlobSink> = Arc::clone(&sink) as _;
    let fetched = mesh
        .fetch(providers, wanted, taken)
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

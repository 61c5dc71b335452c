//! Declared fetches: files by checksum into the store, as one tree laid out like opam's download
//! cache. A file that was fetched before under any of its checksums is not fetched again.

use std::{collections::BTreeMap, fs::File};

use caravan_effects::fetch::Fetcher;
use caravan_protocol::{
    action::{Declared, Fetch, Source},
    ids::{BlobId, TreeId},
    limits,
    tree::Tree,
};
use caravan_store::Store;

use super::chain;

/// Kind of the records that say which blob a checksum is.
const KIND: &str = "fetched";

/// Has every file of `fetch` in the store and answers the tree of them.
pub(super) async fn all(
    store: &Store,
    fetcher: &Fetcher,
    fetch: &Fetch,
    sources: &[Vec<Source>],
) -> Result<TreeId, String> {
    let mut files = BTreeMap::new();
    for (place, declared) in fetch.files.iter().enumerate() {
        let sources = sources.get(place).map(Vec::as_slice).unwrap_or_default();
        let (blob, size) = file(store, fetcher, declared, sources).await?;
        for checksum in &declared.checksums {
            files.insert(checksum.cache_path(), (blob, size));
        }
    }
    let listed = files
        .iter()
        .map(|(path, (blob, size))| (path.as_str(), *blob, *size));
    let tree = Tree::of_files(listed).map_err(|error| chain(&error))?;
    store.put_tree(&tree, &[]).map_err(|error| chain(&error))
}

/// Has one declared file in the store.
pub(super) async fn file(
    store: &Store,
    fetcher: &Fetcher,
    declared: &Declared,
    sources: &[Source],
) -> Result<(BlobId, u64), String> {
    match known(store, declared) {
        Some(known) => Ok(known),
        None => one(store, fetcher, declared, sources).await,
    }
}

fn known(store: &Store, declared: &Declared) -> Option<(BlobId, u64)> {
    // A strong checksum that was found to hold names the bytes; all others are checked with it.
    let record = store.record(KIND, &name(declared)).ok()??;
    let blob: BlobId = std::str::from_utf8(&record).ok()?.parse().ok()?;
    let size = store.blob_size(blob).ok()??;
    Some((blob, size))
}

fn name(declared: &Declared) -> String {
    let sums: Vec<String> = declared.checksums.iter().map(ToString::to_string).collect();
    BlobId::of(sums.join(" ").as_bytes()).to_string()
}

async fn one(
    store: &Store,
    fetcher: &Fetcher,
    declared: &Declared,
    sources: &[Source],
) -> Result<(BlobId, u64), String> {
    let workspace = store.workspace().map_err(|error| chain(&error))?;
    let to = workspace.path().join("file");
    fetcher
        .fetch(&declared.checksums, sources, &to)
        .await
        .map_err(|error| chain(&error))?;
    let (store, name) = (store.clone(), name(declared));
    let keep = move || {
        let mut file = File::open(&to).map_err(|error| error.to_string())?;
        let kept = store
            .put_reader(&mut file, None, limits::FETCH_BYTES_MAX)
            .and_then(|blob| {
                // Only saves fetching it again.
                let _ = store.put_record(KIND, &name, blob.to_string().as_bytes());
                Ok((blob, store.blob_size(blob)?.unwrap_or_default()))
            })
            .map_err(|error| chain(&error));
        drop(workspace);
        kept
    };
    tokio::task::spawn_blocking(keep)
        .await
        .map_err(|_| "keeping a fetched file was given up".to_owned())?
}

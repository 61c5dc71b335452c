//! Tests of the whole store on a real directory. Those that need root say loudly when they are
//! skipped.

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use caravan_protocol::{
    ids::{BlobId, TreeId},
    tree::{Entry, Kind, MTIME_S, Tree},
};
use tempfile::TempDir;

use crate::{Ingested, Store, StoreError, Workspace};

mod basics;
mod caching;
mod checking;
mod cold;
mod cold_crashes;
mod collecting;
mod copying;
mod crashes;
mod damage;
mod exporting;
mod freezing;
mod full;
mod hostile;
mod hosts;
mod layers;
mod logging;
mod partial;
mod pinning;
mod property;
mod scale;
mod spares;
mod stacks;
mod trouble;
mod waits;

fn new_store() -> (TempDir, Store) {
    let dir = TempDir::new().expect("a temporary directory");
    let store = Store::open(&dir.path().join("store")).expect("a new store");
    (dir, store)
}

/// Whether this test may make devices and files of others; says so loudly if not.
fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: {test} needs root");
    }
    root
}

fn ingest(store: &Store, fill: impl FnOnce(&Path)) -> crate::Result<Ingested> {
    let workspace = store.workspace()?;
    fill(&workspace.upper());
    workspace.ingest()
}

fn ingest_good(store: &Store, fill: impl FnOnce(&Path)) -> TreeId {
    ingest(store, fill).expect("a good directory").tree
}

fn write(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().expect("it is below dir")).expect("directories");
    fs::write(&path, bytes).expect("a file");
    path
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
}

fn stat(path: &Path) -> fs::Metadata {
    fs::symlink_metadata(path).expect("it is there")
}

fn object_path(store: &Store, bytes: &[u8], suffix: &str) -> PathBuf {
    let hex = BlobId::of(bytes).to_string();
    let (dir, rest) = hex.split_at(2);
    store
        .dir()
        .join("objects")
        .join(dir)
        .join(format!("{rest}.{suffix}"))
}

/// What is in the work directory besides its trash, and in the trash.
fn leftovers(store: &Store) -> Vec<String> {
    // What is ready for the next step is no leftover.
    store.inner.spares.close();
    let work = store.dir().join("work");
    let mut found: Vec<String> = [&work, &work.join("trash")]
        .iter()
        .flat_map(|dir| fs::read_dir(dir).expect("a directory"))
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| name != "trash")
        .collect();
    found.sort();
    found
}

fn assert_clean(store: &Store) {
    let report = store.check(false, &mut |_, _| {}).expect("a check");
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!(leftovers(store), Vec::<String>::new());
}

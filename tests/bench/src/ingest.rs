//! Taking trees into a store: by rename, as a step's upper directory is, and by copying.

use std::{fs, io::Write, path::Path, time::Instant};

use caravan_store::Store;

use crate::{Failure, sample, tree};

/// A directory on the store's file system becomes a layer of an empty store.
pub(crate) fn adopt(figure: &str, store: &Path, dir: &Path) -> Result<(), Failure> {
    let store = Store::open(store)?;
    let began = Instant::now();
    let ingested = store.ingest_dir(dir)?;
    sample(figure, "ours", began.elapsed().as_secs_f64());
    eprintln!("bench: {ingested:?}");
    Ok(())
}

/// A directory of the host is copied into an empty store and stays.
pub(crate) fn copy_in(figure: &str, store: &Path, dir: &Path) -> Result<(), Failure> {
    let store = Store::open(store)?;
    let began = Instant::now();
    let ingested = store.copy_in(dir)?;
    sample(figure, "ours", began.elapsed().as_secs_f64());
    eprintln!("bench: {ingested:?}");
    Ok(())
}

/// A directory that the store has, with one file changed, is copied in again; then the same files
/// from elsewhere, which no time of change tells about.
pub(crate) fn copy_in_sibling(
    figure: &str,
    store: &Path,
    dir: &Path,
    sibling: &Path,
) -> Result<(), Failure> {
    let store = Store::open(store)?;
    let mut changed = fs::OpenOptions::new()
        .append(true)
        .open(dir.join(tree::path(7)))?;
    changed.write_all(b"changed\n")?;
    drop(changed);
    for (side, dir) in [("ours", dir), ("elsewhere", sibling)] {
        let (before, io) = (store.stat()?, Io::now()?);
        let began = Instant::now();
        store.copy_in(dir)?;
        let took = began.elapsed().as_secs_f64();
        let (after, io) = (store.stat()?, Io::now()?.since(&io));
        if side == "ours" {
            sample(figure, side, took);
        }
        eprintln!(
            "bench: {side}: {took:.3} s, {} new blobs of {} bytes; {} bytes read, {} written",
            after.blobs - before.blobs,
            after.bytes - before.bytes,
            io.read,
            io.written
        );
    }
    Ok(())
}

/// Bytes that this process has read and written, whether a disk was asked or not.
struct Io {
    read: u64,
    written: u64,
}

impl Io {
    fn now() -> Result<Self, Failure> {
        let text = fs::read_to_string("/proc/self/io")?;
        let of = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.ok_or("the kernel does not count bytes")
        };
        Ok(Self {
            read: of("rchar: ")?.parse()?,
            written: of("wchar: ")?.parse()?,
        })
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            read: self.read - before.read,
            written: self.written - before.written,
        }
    }
}

//! Taking trees into a store.

use std::{path::Path, time::Instant};

use caravan_store::Store;

use crate::{Failure, sample};

/// A directory on the store's file system becomes a layer of an empty store.
pub(crate) fn adopt(store: &Path, dir: &Path) -> Result<(), Failure> {
    let store = Store::open(store)?;
    let began = Instant::now();
    let ingested = store.ingest_dir(dir)?;
    sample("adopt", "ours", began.elapsed().as_secs_f64());
    eprintln!("bench: {ingested:?}");
    Ok(())
}

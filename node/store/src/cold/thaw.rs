//! Thawing: blobs that only packs have become objects again.

use std::collections::BTreeMap;

use caravan_pack::{PackId, Reader};
use caravan_protocol::{
    ids::{BlobId, TreeId},
    tree::Tree,
};

use super::{Packs, failed, files, is_loss, table};
use crate::{
    blobs::Batch,
    error::{Result, StoreError},
    store::Store,
    work::{self, Work},
};

impl Store {
    /// Lays a tree out as a layer again, for which all blobs that only packs have come back as
    /// objects, and says how many did. `tell` hears how many bytes of how many are back, and ends it
    /// by answering `false`: then what has come back is forgotten again.
    pub fn thaw(&self, tree: TreeId, tell: &mut dyn FnMut(u64, u64) -> bool) -> Result<u64> {
        let _lease = self.lease(&[tree]);
        let work = Work::default();
        let count = work::beside(&work, tell, |work| {
            let listing = self.tree(tree)?;
            self.thaw_listing(tree, &listing, work)
        })?;
        self.materialise(tree)?;
        Ok(count)
    }

    pub(crate) fn thaw_listing(&self, tree: TreeId, listing: &Tree, work: &Work) -> Result<u64> {
        if table::view(&self.inner, |packed| Ok(packed.is_none()))? {
            return Ok(0);
        }
        let mut by_pack: BTreeMap<PackId, Vec<(BlobId, u64)>> = BTreeMap::new();
        let blobs = listing.blobs();
        let cold = self.inner.index.objects(|objects| {
            let mut cold = Vec::new();
            for &blob in blobs.keys().chain([&tree.blob()]) {
                if objects.any(blob)?.is_none() {
                    cold.push(blob);
                }
            }
            Ok(cold)
        })?;
        table::view(&self.inner, |packed| {
            for blob in cold {
                if let Some(row) = packed.rows(blob)?.first() {
                    by_pack.entry(row.pack).or_default().push((blob, row.bytes));
                    work.expect(row.bytes);
                }
            }
            Ok(())
        })?;
        let mut batch = self.batch();
        let mut count = 0;
        for (pack, wanted) in by_pack {
            match from(self, pack, wanted, &mut batch, work) {
                Ok(taken) => count += taken,
                // What is lost is now known to be, and can be fetched or made again.
                Err(error) if is_loss(&error) => {
                    tracing::warn!(%tree, %pack, %error, "a pack did not give all of a tree");
                    return Err(StoreError::Incomplete { tree, missing: 1 });
                }
                Err(error) => return Err(error),
            }
        }
        batch.commit()?;
        Ok(count)
    }
}

/// Takes blobs of one pack, in the order in which they lie there.
pub(super) fn from(
    store: &Store,
    pack: PackId,
    mut wanted: Vec<(BlobId, u64)>,
    batch: &mut Batch,
    work: &Work,
) -> Result<u64> {
    let open = files::open(&store.inner, pack)?;
    wanted.sort_by_key(|(blob, _)| open.place(*blob));
    let others = Packs(&store.inner);
    let mut reader = Reader::new(&*open, &others);
    for (blob, bytes) in &wanted {
        work.step(0)?;
        let mut stream = reader.blob(*blob).map_err(failed)?;
        if let Err(error) = batch.put_reader(&mut stream, Some(*blob), *bytes) {
            if is_loss(&error) {
                table::lose(&store.inner, *blob, pack)?;
            }
            return Err(error);
        }
        work.step(*bytes)?;
    }
    Ok(wanted.len() as u64)
}

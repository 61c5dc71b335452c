//! What a commit of content changes in the index, with the totals that follow from it.

use caravan_protocol::{
    codec,
    ids::{BlobId, TreeId},
};
use redb::{ReadableTable, WriteTransaction};

use super::{LAYERS, LayerFacts, META, OBJECTS, TOTALS_KEY, USES, totals, variant_of};
use crate::{error::Result, object::Key, uses};

/// What a commit of content adds and takes away.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) add: Vec<(Key, u64)>,
    pub(crate) add_layer: Option<(TreeId, LayerFacts)>,
    pub(crate) remove: Vec<Key>,
    pub(crate) remove_layers: Vec<TreeId>,
    /// What is forgotten of how these were used.
    pub(crate) remove_uses: Vec<BlobId>,
    /// Trees that stay known without their layers.
    pub(crate) keep_uses: Vec<BlobId>,
}

impl Change {
    pub(super) fn make(&self, txn: &WriteTransaction) -> Result<()> {
        let mut meta = txn.open_table(META)?;
        let mut totals = totals(&meta)?;
        let mut objects = txn.open_table(OBJECTS)?;
        for (key, size) in &self.add {
            let known = variant_of(&objects, key.blob)?.is_some();
            let size_bytes = codec::encode::<8>(size)?;
            objects.insert(key.to_bytes().as_slice(), size_bytes.as_slice())?;
            if !known {
                totals.0 += 1;
                totals.1 += size;
            }
        }
        for key in &self.remove {
            let size = match objects.remove(key.to_bytes().as_slice())? {
                Some(size) => codec::decode::<8, u64>(size.value())?,
                None => continue,
            };
            if variant_of(&objects, key.blob)?.is_none() {
                totals.0 = totals.0.saturating_sub(1);
                totals.1 = totals.1.saturating_sub(size);
            }
        }
        let mut layers = txn.open_table(LAYERS)?;
        if let Some((tree, facts)) = &self.add_layer {
            let facts = codec::encode::<16>(facts)?;
            layers.insert(tree.as_bytes().as_slice(), facts.as_slice())?;
        }
        let mut uses = txn.open_table(USES)?;
        for tree in &self.remove_layers {
            layers.remove(tree.as_bytes().as_slice())?;
        }
        for blob in &self.remove_uses {
            uses.remove(blob.as_bytes().as_slice())?;
        }
        for blob in &self.keep_uses {
            if ReadableTable::get(&uses, blob.as_bytes().as_slice())?.is_none() {
                uses.insert(blob.as_bytes().as_slice(), uses::unknown_tree()?.as_slice())?;
            }
        }
        meta.insert(TOTALS_KEY, codec::encode::<16>(&totals)?.as_slice())?;
        Ok(())
    }
}

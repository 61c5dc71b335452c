//! The table of objects within one look at the index.

use super::*;

/// The objects of one state of the index.
pub(crate) struct Objects<'a>(
    pub(super) redb::ReadOnlyTable<&'static [u8], &'static [u8]>,
    pub(super) &'a Guards,
);

impl Objects<'_> {
    /// Whether this very object is there.
    pub(crate) fn has(&self, key: &Key) -> Result<bool> {
        Ok(self.size(key)?.is_some())
    }

    /// Length of this very object, if it is there.
    pub(crate) fn size(&self, key: &Key) -> Result<Option<u64>> {
        match ReadableTable::get(&self.0, key.to_bytes().as_slice())? {
            Some(size) if self.1.found(key.blob) => {
                Ok(Some(codec::decode::<8, u64>(size.value())?))
            }
            _ => Ok(None),
        }
    }

    /// Some object that holds `blob`, with its size.
    pub(crate) fn any(&self, blob: BlobId) -> Result<Option<(Key, u64)>> {
        Ok(variant_of(&self.0, blob)?.filter(|_| self.1.found(blob)))
    }
}

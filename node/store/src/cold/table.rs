//! What the index knows of packs: which there are, and which blobs they hold.

use caravan_pack::PackId;
use caravan_protocol::{codec, ids::BlobId};
use redb::{ReadableTable, TableDefinition, TableError};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Result, StoreError},
    index::Bytes,
    store::Inner,
};

/// Pack id to what is known of it.
const PACKS: Bytes = TableDefinition::new("packs");
/// Blob id and pack id to the blob's length and whether it is a unit of the pack.
const PACKED: Bytes = TableDefinition::new("packed");

const ID_BYTES: usize = 32;
const ROW_BYTES: usize = 16;
const FACTS_BYTES_MAX: usize = 64 + caravan_pack::limits::PACKS_MAX as usize * ID_BYTES;

/// What is known of a pack.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PackFacts {
    /// Length of its file.
    pub bytes: u64,
    /// Blobs and parts of blobs that it holds.
    pub blobs: u64,
    /// The packs on which it leans.
    pub leans_on: Vec<BlobId>,
}

/// A pack that holds a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) pack: PackId,
    pub(super) bytes: u64,
    /// Whether other packs may lean on it.
    pub(super) is_unit: bool,
}

/// The blobs of packs in one state of the index.
pub(super) struct View(Option<redb::ReadOnlyTable<&'static [u8], &'static [u8]>>);

impl View {
    /// Whether nothing was ever frozen here.
    pub(super) const fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Whether any pack has it.
    pub(super) fn has(&self, blob: BlobId) -> Result<bool> {
        Ok(!self.rows(blob)?.is_empty())
    }

    /// Every pack that has it.
    pub(super) fn rows(&self, blob: BlobId) -> Result<Vec<Row>> {
        let Some(table) = &self.0 else {
            return Ok(Vec::new());
        };
        let (first, last) = (key(blob, [0; ID_BYTES]), key(blob, [u8::MAX; ID_BYTES]));
        let range = table.range::<&[u8]>(first.as_slice()..=last.as_slice())?;
        let mut rows = Vec::new();
        for row in range {
            let (key, value) = row?;
            let (bytes, is_unit) = codec::decode::<ROW_BYTES, (u64, bool)>(value.value())?;
            rows.push(Row {
                pack: pack_id(&key.value()[ID_BYTES..])?,
                bytes,
                is_unit,
            });
        }
        Ok(rows)
    }
}

/// A view for many lookups in one state. A store that never froze anything has no such tables.
pub(super) fn view<T>(inner: &Inner, read: impl FnOnce(&View) -> Result<T>) -> Result<T> {
    inner.index.read(|txn| {
        let table = match txn.open_table(PACKED) {
            Ok(table) => Some(table),
            Err(TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(error.into()),
        };
        read(&View(table))
    })
}

/// Every pack.
pub(super) fn all(inner: &Inner) -> Result<Vec<(PackId, PackFacts)>> {
    inner.index.read(|txn| {
        let table = match txn.open_table(PACKS) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut packs = Vec::new();
        for row in table.iter()? {
            let (id, facts) = row?;
            let facts = codec::decode::<FACTS_BYTES_MAX, PackFacts>(facts.value())?;
            packs.push((pack_id(id.value())?, facts));
        }
        Ok(packs)
    })
}

/// Whether the index names this pack.
pub(super) fn has(inner: &Inner, pack: PackId) -> Result<bool> {
    inner.index.read(|txn| match txn.open_table(PACKS) {
        Ok(table) => Ok(table.get(pack.as_bytes().as_slice())?.is_some()),
        Err(TableError::TableDoesNotExist(_)) => Ok(false),
        Err(error) => Err(error.into()),
    })
}

/// Names a pack and what it holds, durably.
pub(super) fn add(
    inner: &Inner,
    pack: PackId,
    facts: &PackFacts,
    blobs: &[(BlobId, u64, bool)],
) -> Result<()> {
    inner.index.write(|txn| {
        let facts = codec::encode::<FACTS_BYTES_MAX>(facts)?;
        txn.open_table(PACKS)?
            .insert(pack.as_bytes().as_slice(), facts.as_slice())?;
        let mut packed = txn.open_table(PACKED)?;
        for (blob, bytes, is_unit) in blobs {
            let key = key(*blob, *pack.as_bytes());
            let value = codec::encode::<ROW_BYTES>(&(*bytes, *is_unit))?;
            packed.insert(key.as_slice(), value.as_slice())?;
        }
        Ok(())
    })
}

/// Forgets a pack with all that it holds.
pub(super) fn forget(inner: &Inner, pack: PackId) -> Result<()> {
    inner.index.write(|txn| {
        txn.open_table(PACKS)?.remove(pack.as_bytes().as_slice())?;
        let mut packed = txn.open_table(PACKED)?;
        packed.retain(|key, _| key.get(ID_BYTES..) != Some(pack.as_bytes().as_slice()))?;
        Ok(())
    })?;
    inner.whole.clear();
    Ok(())
}

/// Forgets that a pack holds this blob.
pub(super) fn lose(inner: &Inner, blob: BlobId, pack: PackId) -> Result<()> {
    inner.index.write(|txn| {
        let key = key(blob, *pack.as_bytes());
        txn.open_table(PACKED)?.remove(key.as_slice())?;
        Ok(())
    })?;
    inner.whole.clear();
    Ok(())
}

fn key(blob: BlobId, pack: [u8; ID_BYTES]) -> [u8; 2 * ID_BYTES] {
    let mut key = [0; 2 * ID_BYTES];
    key[..ID_BYTES].copy_from_slice(blob.as_bytes());
    key[ID_BYTES..].copy_from_slice(&pack);
    key
}

fn pack_id(bytes: &[u8]) -> Result<PackId> {
    let id: [u8; ID_BYTES] = bytes.try_into().map_err(|_| {
        StoreError::from(redb::StorageError::Corrupted(
            "a pack's key is not of the length of such keys".to_owned(),
        ))
    })?;
    Ok(PackId::from(BlobId::from_bytes(id)))
}

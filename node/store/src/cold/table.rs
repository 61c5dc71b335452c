//! What the index knows of packs: which there are, which blobs they hold, and which trees are wholly
//! in them.

use std::collections::{BTreeMap, BTreeSet};

use caravan_pack::PackId;
use caravan_protocol::{
    codec,
    ids::{BlobId, TreeId},
};
use redb::{ReadTransaction, ReadableTable, TableDefinition, TableError, WriteTransaction};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Result, StoreError},
    index::Bytes,
    leases::Guards,
    limits::FROZEN_PACKS_MAX,
    store::Inner,
};

/// Pack id to what is known of it.
const PACKS: Bytes = TableDefinition::new("packs");
/// Blob id and pack id to the blob's length and whether it is a unit of the pack.
const PACKED: Bytes = TableDefinition::new("packed");
/// Tree id to how large it is and the packs that have all of it between them. All of these packs are
/// there: who forgets one forgets such rows with it.
const FROZEN: Bytes = TableDefinition::new("frozen");

const ID_BYTES: usize = 32;
const ROW_BYTES: usize = 16;
const FACTS_BYTES_MAX: usize = 64 + caravan_pack::limits::PACKS_MAX as usize * ID_BYTES;
const FROZEN_BYTES_MAX: usize = 64 + FROZEN_PACKS_MAX * ID_BYTES;

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

/// A tree that is wholly in packs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct FrozenTree {
    /// Sum of its file sizes.
    pub(crate) bytes: u64,
    /// How many different files it has.
    pub(crate) files: u64,
    /// The packs that have its blobs.
    pub(crate) packs: BTreeSet<BlobId>,
}

/// A pack that holds a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) pack: PackId,
    pub(crate) bytes: u64,
    /// Whether other packs may lean on it.
    pub(crate) is_unit: bool,
}

type ReadTable = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

/// The blobs of packs in one state of the index.
pub(crate) struct View<'a>(Option<ReadTable>, Option<&'a Guards>);

impl View<'_> {
    /// Whether nothing was ever frozen here.
    pub(crate) const fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Whether any pack has it.
    pub(crate) fn has(&self, blob: BlobId) -> Result<bool> {
        Ok(!self.rows(blob)?.is_empty())
    }

    /// Every pack that has it.
    pub(crate) fn rows(&self, blob: BlobId) -> Result<Vec<Row>> {
        let Some(table) = &self.0 else {
            return Ok(Vec::new());
        };
        let (first, last) = (key(blob, [0; ID_BYTES]), key(blob, [u8::MAX; ID_BYTES]));
        let range = table.range::<&[u8]>(first.as_slice()..=last.as_slice())?;
        let mut rows = Vec::new();
        for row in range {
            let (key, value) = row?;
            let (bytes, is_unit) = codec::decode::<ROW_BYTES, (u64, bool)>(value.value())?;
            let pack = pack_id(&key.value()[ID_BYTES..])?;
            // What is just being dropped is not counted on any more.
            if self.1.is_none_or(|guards| guards.found_pack(pack.blob())) {
                rows.push(Row {
                    pack,
                    bytes,
                    is_unit,
                });
            }
        }
        Ok(rows)
    }

    /// Blobs whose ids begin with these bytes, at most `max` of them.
    pub(crate) fn from(&self, first: &[u8], max: usize) -> Result<Vec<BlobId>> {
        let mut found: Vec<BlobId> = Vec::new();
        let Some(table) = &self.0 else {
            return Ok(found);
        };
        for row in table.range::<&[u8]>(first..)? {
            let (key, _) = row?;
            let id = key.value().first_chunk::<ID_BYTES>().ok_or_else(bad_key)?;
            if !id.starts_with(first) || found.len() >= max {
                break;
            }
            let blob = BlobId::from_bytes(*id);
            if found.last() != Some(&blob) {
                found.push(blob);
            }
        }
        Ok(found)
    }
}

fn open(txn: &ReadTransaction, table: Bytes) -> Result<Option<ReadTable>> {
    match txn.open_table(table) {
        Ok(table) => Ok(Some(table)),
        // A store that never froze anything has no such tables.
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A view for many lookups in one state.
pub(crate) fn view<T>(inner: &Inner, read: impl FnOnce(&View<'_>) -> Result<T>) -> Result<T> {
    inner
        .index
        .read(|txn| read(&View(open(txn, PACKED)?, Some(&inner.guards))))
}

/// The same, said to no collection: for those who look and do not count on what they see.
pub(crate) fn peek<T>(inner: &Inner, read: impl FnOnce(&View<'_>) -> Result<T>) -> Result<T> {
    inner
        .index
        .read(|txn| read(&View(open(txn, PACKED)?, None)))
}

/// Every pack.
pub(crate) fn all(inner: &Inner) -> Result<Vec<(PackId, PackFacts)>> {
    inner.index.read(|txn| {
        let Some(table) = open(txn, PACKS)? else {
            return Ok(Vec::new());
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

/// Packs that lean on one that is gone. They should not be known to hold any file that needs it; an
/// earlier version left such rows.
pub(super) fn lame(inner: &Inner) -> Result<BTreeSet<BlobId>> {
    let all = all(inner)?;
    let known: BTreeSet<BlobId> = all.iter().map(|(pack, _)| pack.blob()).collect();
    let is_lame = |facts: &PackFacts| facts.leans_on.iter().any(|pack| !known.contains(pack));
    let lame = all.iter().filter(|(_, facts)| is_lame(facts));
    Ok(lame.map(|(pack, _)| pack.blob()).collect())
}

/// Whether the index names this pack.
pub(super) fn has(inner: &Inner, pack: PackId) -> Result<bool> {
    inner.index.read(|txn| match open(txn, PACKS)? {
        Some(table) => Ok(table.get(pack.as_bytes().as_slice())?.is_some()),
        None => Ok(false),
    })
}

/// Every tree that is known to be wholly in packs.
pub(crate) fn frozen(inner: &Inner) -> Result<BTreeMap<TreeId, FrozenTree>> {
    inner.index.read(|txn| {
        let mut all = BTreeMap::new();
        let Some(table) = open(txn, FROZEN)? else {
            return Ok(all);
        };
        for row in table.iter()? {
            let (id, tree) = row?;
            let id: [u8; ID_BYTES] = id.value().try_into().map_err(|_| bad_key())?;
            all.insert(TreeId::from_bytes(id), decode_frozen(tree.value())?);
        }
        Ok(all)
    })
}

/// Whether this tree is known to be wholly in packs.
pub(crate) fn is_frozen(inner: &Inner, tree: TreeId) -> Result<bool> {
    inner.index.read(|txn| match open(txn, FROZEN)? {
        Some(table) => Ok(table.get(tree.as_bytes().as_slice())?.is_some()),
        None => Ok(false),
    })
}

/// Names a pack and what it holds, and trees that are wholly in packs now, durably.
pub(super) fn add(
    inner: &Inner,
    pack: PackId,
    facts: &PackFacts,
    blobs: &[(BlobId, u64, bool)],
    frozen: &BTreeMap<TreeId, FrozenTree>,
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
        add_frozen(txn, frozen)
    })
}

/// Notes trees that are wholly in packs, of which all are there.
pub(super) fn add_frozen(
    txn: &WriteTransaction,
    frozen: &BTreeMap<TreeId, FrozenTree>,
) -> Result<()> {
    let mut table = txn.open_table(FROZEN)?;
    for (id, tree) in frozen {
        if tree.packs.len() <= FROZEN_PACKS_MAX {
            let value = codec::encode::<FROZEN_BYTES_MAX>(tree)?;
            table.insert(id.as_bytes().as_slice(), value.as_slice())?;
        }
    }
    Ok(())
}

/// A pack that goes, with the blobs that it holds as far as they are known.
pub(crate) struct Going {
    pub(crate) pack: PackId,
    pub(crate) blobs: Option<Vec<BlobId>>,
}

/// Forgets packs with all that they hold, and that trees were wholly in them.
pub(crate) fn forget(txn: &WriteTransaction, going: &[Going]) -> Result<()> {
    let mut packs = txn.open_table(PACKS)?;
    let mut packed = txn.open_table(PACKED)?;
    for Going { pack, blobs } in going {
        packs.remove(pack.as_bytes().as_slice())?;
        match blobs {
            Some(blobs) => {
                for blob in blobs {
                    packed.remove(key(*blob, *pack.as_bytes()).as_slice())?;
                }
            }
            // A damaged one does not tell: then all is looked through.
            None => {
                let other = |key: &[u8]| key.get(ID_BYTES..) != Some(pack.as_bytes().as_slice());
                packed.retain(|key, _| other(key))?;
            }
        }
    }
    drop((packs, packed));
    thaw_rows(txn, going.iter().map(|going| going.pack.blob()).collect())
}

/// Forgets of packs that leant on those that are gone what they cannot give without them, and that
/// they lean on them. One that does not tell keeps only what leans on nothing.
pub(super) fn unlean(txn: &WriteTransaction, gone: &[Going], leaners: &[Going]) -> Result<()> {
    let gone: BTreeSet<BlobId> = gone.iter().map(|going| going.pack.blob()).collect();
    let mut packs = txn.open_table(PACKS)?;
    let mut packed = txn.open_table(PACKED)?;
    for Going { pack, blobs } in leaners {
        let id = pack.as_bytes().as_slice();
        let facts = match packs.get(id)? {
            Some(facts) => codec::decode::<FACTS_BYTES_MAX, PackFacts>(facts.value())?,
            None => continue,
        };
        match blobs {
            Some(blobs) => {
                for blob in blobs {
                    packed.remove(key(*blob, *pack.as_bytes()).as_slice())?;
                }
            }
            None => packed.retain(|key, value| {
                let row = codec::decode::<ROW_BYTES, (u64, bool)>(value);
                key.get(ID_BYTES..) != Some(id) || row.is_ok_and(|(_, is_unit)| is_unit)
            })?,
        }
        let leans_on = facts.leans_on.iter().filter(|pack| !gone.contains(pack));
        let facts = PackFacts {
            leans_on: leans_on.copied().collect(),
            ..facts
        };
        let facts = codec::encode::<FACTS_BYTES_MAX>(&facts)?;
        packs.insert(id, facts.as_slice())?;
    }
    Ok(())
}

/// Forgets that trees were wholly in these packs, or in such as lean on them.
fn thaw_rows(txn: &WriteTransaction, mut lost: BTreeSet<BlobId>) -> Result<()> {
    let mut leaners = BTreeSet::new();
    for row in txn.open_table(PACKS)?.iter()? {
        let (id, facts) = row?;
        let facts = codec::decode::<FACTS_BYTES_MAX, PackFacts>(facts.value())?;
        if facts.leans_on.iter().any(|pack| lost.contains(pack)) {
            leaners.insert(pack_id(id.value())?.blob());
        }
    }
    lost.append(&mut leaners);
    let mut frozen = txn.open_table(FROZEN)?;
    frozen.retain(|_, tree| decode_frozen(tree).is_ok_and(|tree| tree.packs.is_disjoint(&lost)))?;
    Ok(())
}

/// Forgets that a pack holds this blob.
pub(super) fn lose(inner: &Inner, blob: BlobId, pack: PackId) -> Result<()> {
    inner.index.write(|txn| {
        let key = key(blob, *pack.as_bytes());
        txn.open_table(PACKED)?.remove(key.as_slice())?;
        thaw_rows(txn, BTreeSet::from([pack.blob()]))
    })?;
    inner.whole.clear();
    Ok(())
}

fn decode_frozen(bytes: &[u8]) -> Result<FrozenTree> {
    Ok(codec::decode::<FROZEN_BYTES_MAX, FrozenTree>(bytes)?)
}

fn key(blob: BlobId, pack: [u8; ID_BYTES]) -> [u8; 2 * ID_BYTES] {
    let mut key = [0; 2 * ID_BYTES];
    key[..ID_BYTES].copy_from_slice(blob.as_bytes());
    key[ID_BYTES..].copy_from_slice(&pack);
    key
}

fn pack_id(bytes: &[u8]) -> Result<PackId> {
    let id: [u8; ID_BYTES] = bytes.try_into().map_err(|_| bad_key())?;
    Ok(PackId::from(BlobId::from_bytes(id)))
}

fn bad_key() -> StoreError {
    StoreError::from(redb::StorageError::Corrupted(
        "a key of the tables of packs is not of their length".to_owned(),
    ))
}

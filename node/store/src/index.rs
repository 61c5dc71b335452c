//! The index: which objects, layers, claims and records the store has. It is the truth: a file that
//! it does not name is rubbish. Every commit is durable when it returns, but those that say otherwise.
//!
//! Commits are two-phase, because their bytes come from other nodes too and the file's fast
//! checksum alone would not stand against chosen ones, and they leave nothing to be repaired after
//! a kill.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use caravan_protocol::{
    codec,
    ids::{BlobId, TreeId},
};
use redb::{
    Builder, Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    TableDefinition, WriteTransaction,
};

use crate::{
    error::{Result, StoreError},
    leases::Guards,
    limits::SOON_MAX,
    object::Key,
};

mod change;
mod objects;

pub(crate) use change::Change;
pub(crate) use objects::Objects;

/// Version of the directory's layout and of the index's tables. Version 1 had no pins and no uses.
pub(crate) const LAYOUT: u32 = 2;

const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// A table whose keys and values are bytes.
pub(crate) type Bytes = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// Facts about the store itself and its totals.
const META: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("meta");
/// Object key to size.
const OBJECTS: Bytes = TableDefinition::new("objects");
/// Tree id to size and number of files.
const LAYERS: Bytes = TableDefinition::new("layers");
/// Action key and hash of the signed claim to the claim.
pub(crate) const CLAIMS: Bytes = TableDefinition::new("claims");
/// Kind to the number of its records.
pub(crate) const RECORD_COUNTS: TableDefinition<'static, &'static str, &'static [u8]> =
    TableDefinition::new("record_counts");
/// Kind and key to the record.
pub(crate) const RECORDS: TableDefinition<'static, (&'static str, &'static str), &'static [u8]> =
    TableDefinition::new("records");

/// Name of a pin to the pin.
pub(crate) const PINS: TableDefinition<'static, &'static str, &'static [u8]> =
    TableDefinition::new("pins");
/// Tree or loose blob to what is known of its use.
pub(crate) const USES: Bytes = TableDefinition::new("uses");

const VERSION_KEY: &str = "version";
const TOTALS_KEY: &str = "totals";

/// What the index holds about a layer: the sum of its file sizes and their number.
pub(crate) type LayerFacts = (u64, u64);

/// Objects with their sizes, and layers.
pub(crate) type Everything = (Vec<(Key, u64)>, Vec<TreeId>);

/// Distinct blobs and their bytes.
type Totals = (u64, u64);

/// The open index.
pub(crate) struct Index {
    path: PathBuf,
    // Empty only while a failed file could not be opened again.
    db: RwLock<Option<Database>>,
    guards: Arc<Guards>,
    /// Changes that waited for the disk since the index was opened.
    waits: AtomicU64,
    /// Changes since then that did not.
    soon: AtomicU64,
}

/// When a change is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// When the call returns.
    Now,
    /// With the next that is kept now, or when the index is closed: whatever ends the process before
    /// takes it back, and nothing that came before it or was kept with it.
    Soon,
}

impl Index {
    /// Opens the index of the store in `dir`, making it if there is none.
    pub(crate) fn open(dir: &Path, guards: Arc<Guards>) -> Result<Self> {
        let path = dir.join("index.redb");
        let index = Self {
            db: RwLock::new(Some(open_file(&path)?)),
            path,
            guards,
            waits: AtomicU64::new(0),
            soon: AtomicU64::new(0),
        };
        let found = index.read(|txn| match txn.open_table(META) {
            Ok(meta) => match meta.get(VERSION_KEY)? {
                Some(version) => Ok(Some(codec::decode::<4, u32>(version.value())?)),
                None => Ok(None),
            },
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        })?;
        match found {
            Some(found) if found > LAYOUT => {
                return Err(StoreError::Newer {
                    dir: dir.to_owned(),
                    found,
                    known: LAYOUT,
                });
            }
            Some(LAYOUT) => {}
            // A new store, or one of version 1: that lacks tables and has none that changed.
            Some(_) | None => index.write(|txn| {
                txn.open_table(META)?
                    .insert(VERSION_KEY, codec::encode::<4>(&LAYOUT)?.as_slice())?;
                for table in [OBJECTS, LAYERS, CLAIMS, USES] {
                    txn.open_table(table)?;
                }
                txn.open_table(RECORDS)?;
                txn.open_table(RECORD_COUNTS)?;
                txn.open_table(PINS)?;
                Self::begin_journal(txn)
            })?,
        }
        Ok(index)
    }

    /// Reads one consistent state.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T>) -> Result<T> {
        self.ensure_open()?;
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let txn = db.as_ref().ok_or_else(closed)?.begin_read()?;
        read(&txn)
    }

    /// Makes one durable change, or none at all when an error is returned.
    pub(crate) fn write<T>(&self, write: impl FnOnce(&WriteTransaction) -> Result<T>) -> Result<T> {
        self.write_as(Kept::Now, write)
    }

    /// How often a change has waited for the disk since the index was opened, and how many changes
    /// wait for the next that does.
    pub(crate) fn waits(&self) -> (u64, u64) {
        (
            self.waits.load(Ordering::Relaxed),
            self.soon.load(Ordering::Relaxed),
        )
    }

    /// Makes one change that is on disk when that says, or none at all when an error is returned.
    pub(crate) fn write_as<T>(
        &self,
        kept: Kept,
        write: impl FnOnce(&WriteTransaction) -> Result<T>,
    ) -> Result<T> {
        self.ensure_open()?;
        let result = self.try_write(kept, write);
        if let Err(
            StoreError::Index { .. }
            | StoreError::Full { .. }
            | StoreError::ReadOnly { .. }
            | StoreError::Io { .. },
        ) = result
        {
            // After a failed write the file takes no other until it is opened anew.
            self.close();
            self.ensure_open()?;
        }
        result.map_err(|error| error.of_index(&self.path))
    }

    fn try_write<T>(
        &self,
        kept: Kept,
        write: impl FnOnce(&WriteTransaction) -> Result<T>,
    ) -> Result<T> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let mut txn = db.as_ref().ok_or_else(closed)?.begin_write()?;
        let is_soon = kept == Kept::Soon && self.soon.load(Ordering::Relaxed) < SOON_MAX;
        if is_soon {
            // There is no savepoint that this could be refused for.
            txn.set_durability(redb::Durability::None)
                .map_err(|error| {
                    StoreError::io("change the index".to_owned(), std::io::Error::other(error))
                })?;
        } else {
            txn.set_quick_repair(true);
        }
        let value = write(&txn)?;
        crate::crash::point();
        txn.commit()?;
        if is_soon {
            self.soon.fetch_add(1, Ordering::Relaxed);
        } else {
            self.soon.store(0, Ordering::Relaxed);
            self.waits.fetch_add(1, Ordering::Relaxed);
        }
        crate::crash::point();
        Ok(value)
    }

    fn close(&self) {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        *db = None;
    }

    fn ensure_open(&self) -> Result<()> {
        if self
            .db
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
        {
            return Ok(());
        }
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        if db.is_none() {
            *db = Some(open_file(&self.path)?);
        }
        Ok(())
    }

    /// Reads the whole index and verifies its checksums: false if it had to be repaired.
    pub(crate) fn verify(&self) -> Result<bool> {
        self.ensure_open()?;
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        Ok(db.as_mut().ok_or_else(closed)?.check_integrity()?)
    }

    /// A fact about the store itself.
    pub(crate) fn fact(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.read(|txn| {
            let meta = txn.open_table(META)?;
            Ok(meta.get(name)?.map(|fact| fact.value().to_vec()))
        })
    }

    /// Whether there is such a fact, in the middle of a change.
    pub(crate) fn has_fact(txn: &WriteTransaction, name: &str) -> Result<bool> {
        Ok(txn.open_table(META)?.get(name)?.is_some())
    }

    /// Sets a fact about the store itself.
    pub(crate) fn set_fact(txn: &WriteTransaction, name: &str, fact: &[u8]) -> Result<()> {
        txn.open_table(META)?.insert(name, fact)?;
        Ok(())
    }

    /// Applies a change of content with the totals that follow from it.
    pub(crate) fn apply(&self, change: &Change) -> Result<()> {
        self.apply_with(change, |_| Ok(()))
    }

    /// The same together with another change.
    pub(crate) fn apply_with(
        &self,
        change: &Change,
        also: impl FnOnce(&WriteTransaction) -> Result<()>,
    ) -> Result<()> {
        self.write(|txn| {
            change.make(txn)?;
            also(txn)
        })?;
        let layer = change.add_layer.as_ref().map(|(tree, _)| *tree);
        self.guards.added(&change.add, layer);
        Ok(())
    }

    /// Those of `blobs` that are no object. Says nothing to a sweep.
    pub(crate) fn lacking(&self, blobs: impl Iterator<Item = BlobId>) -> Result<BTreeSet<BlobId>> {
        self.read(|txn| {
            let objects = txn.open_table(OBJECTS)?;
            let mut lacking = BTreeSet::new();
            for blob in blobs {
                if variant_of(&objects, blob)?.is_none() {
                    lacking.insert(blob);
                }
            }
            Ok(lacking)
        })
    }

    /// The objects that hold `blob`, with its size.
    pub(crate) fn variants(&self, blob: BlobId) -> Result<Vec<(Key, u64)>> {
        let mut found = self.named(blob)?;
        if !found.is_empty() && !self.guards.found(blob) {
            found.clear();
        }
        Ok(found)
    }

    /// The same, said to no sweep: for those who look and do not count on what they see.
    pub(crate) fn named(&self, blob: BlobId) -> Result<Vec<(Key, u64)>> {
        self.read(|txn| {
            let objects = txn.open_table(OBJECTS)?;
            let (first, last) = bounds(blob);
            let range = objects.range::<&[u8]>(first.as_slice()..=last.as_slice())?;
            range.map(|row| object(&row?)).collect()
        })
    }

    /// A view for many lookups in one state.
    pub(crate) fn objects<T>(&self, read: impl FnOnce(&Objects<'_>) -> Result<T>) -> Result<T> {
        self.read(|txn| read(&Objects(txn.open_table(OBJECTS)?, &self.guards)))
    }

    /// What is known of a layer, if there is one.
    pub(crate) fn layer(&self, tree: TreeId) -> Result<Option<LayerFacts>> {
        self.read(|txn| {
            let layers = txn.open_table(LAYERS)?;
            match layers.get(tree.as_bytes().as_slice())? {
                Some(facts) => Ok(Some(codec::decode::<16, LayerFacts>(facts.value())?)),
                None => Ok(None),
            }
        })
        .map(|facts: Option<LayerFacts>| facts.filter(|_| self.guards.found_layer(tree)))
    }

    /// Every layer with its facts.
    pub(crate) fn layers(&self) -> Result<BTreeMap<TreeId, LayerFacts>> {
        self.read(|txn| {
            let layers = txn.open_table(LAYERS)?;
            let mut all = BTreeMap::new();
            for row in layers.iter()? {
                let (tree, facts) = row?;
                let id: [u8; 32] = tree.value().try_into().map_err(|_| bad_key())?;
                all.insert(
                    TreeId::from_bytes(id),
                    codec::decode::<16, LayerFacts>(facts.value())?,
                );
            }
            Ok(all)
        })
    }

    /// Objects in order, at most `max` of them, from behind `after` on. Says nothing to a sweep.
    pub(crate) fn objects_after(&self, after: Option<&Key>, max: usize) -> Result<Vec<(Key, u64)>> {
        let first = after.map_or_else(Vec::new, |key| {
            // The least key that is greater.
            let mut bytes = key.to_bytes().to_vec();
            bytes.push(0);
            bytes
        });
        self.read(|txn| {
            let objects = txn.open_table(OBJECTS)?;
            let rows = objects.range::<&[u8]>(first.as_slice()..)?;
            rows.take(max).map(|row| object(&row?)).collect()
        })
    }

    /// Blobs whose ids begin with these bytes, at most `max` of them.
    pub(crate) fn blobs_from(&self, first: &[u8], max: usize) -> Result<Vec<BlobId>> {
        self.read(|txn| {
            let objects = txn.open_table(OBJECTS)?;
            let mut found = Vec::new();
            for row in objects.range::<&[u8]>(first..)? {
                let (key, _) = object(&row?)?;
                if !key.blob.as_bytes().starts_with(first) || found.len() >= max {
                    break;
                }
                if found.last() != Some(&key.blob) {
                    found.push(key.blob);
                }
            }
            Ok(found)
        })
    }

    /// Every object with its size and every layer of one state, in order.
    pub(crate) fn everything(&self) -> Result<Everything> {
        self.read(|txn| {
            let objects = txn.open_table(OBJECTS)?;
            let objects: Result<_> = objects.iter()?.map(|row| object(&row?)).collect();
            let layers = txn.open_table(LAYERS)?;
            let layers: Result<_> = layers
                .iter()?
                .map(|row| {
                    let (tree, _) = row?;
                    let id: [u8; 32] = tree.value().try_into().map_err(|_| bad_key())?;
                    Ok(TreeId::from_bytes(id))
                })
                .collect();
            Ok((objects?, layers?))
        })
    }

    /// Numbers of objects, blobs, bytes of blobs, layers, claims and records.
    pub(crate) fn counts(&self) -> Result<[u64; 6]> {
        self.read(|txn| {
            let (blobs, bytes) = totals(&txn.open_table(META)?)?;
            Ok([
                txn.open_table(OBJECTS)?.len()?,
                blobs,
                bytes,
                txn.open_table(LAYERS)?.len()?,
                txn.open_table(CLAIMS)?.len()?,
                txn.open_table(RECORDS)?.len()?,
            ])
        })
    }
}

type Row<'a> = (
    redb::AccessGuard<'a, &'static [u8]>,
    redb::AccessGuard<'a, &'static [u8]>,
);

fn object((key, size): &Row<'_>) -> Result<(Key, u64)> {
    let key = Key::from_bytes(key.value()).ok_or_else(bad_key)?;
    Ok((key, codec::decode::<8, u64>(size.value())?))
}

fn variant_of(
    objects: &impl ReadableTable<&'static [u8], &'static [u8]>,
    blob: BlobId,
) -> Result<Option<(Key, u64)>> {
    let (first, last) = bounds(blob);
    let mut range = objects.range::<&[u8]>(first.as_slice()..=last.as_slice())?;
    range.next().map(|row| object(&row?)).transpose()
}

/// First and last possible key of a blob's objects.
fn bounds(
    blob: BlobId,
) -> (
    [u8; crate::object::KEY_BYTES],
    [u8; crate::object::KEY_BYTES],
) {
    let key = |mode, id| Key {
        blob,
        mode,
        uid: id,
        gid: id,
    };
    (key(0, 0).to_bytes(), key(u16::MAX, u32::MAX).to_bytes())
}

fn totals(meta: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Totals> {
    match meta.get(TOTALS_KEY)? {
        Some(totals) => Ok(codec::decode::<16, Totals>(totals.value())?),
        None => Ok((0, 0)),
    }
}

fn open_file(path: &Path) -> Result<Database> {
    let opened = Builder::new().set_cache_size(CACHE_BYTES).create(path);
    opened.map_err(|error| StoreError::from(error).of_index(path))
}

fn closed() -> StoreError {
    StoreError::from(redb::StorageError::PreviousIo)
}

fn bad_key() -> StoreError {
    StoreError::from(redb::StorageError::Corrupted(
        "a key is not of the length that this table's keys have".to_owned(),
    ))
}

#[cfg(test)]
pub(crate) mod test;

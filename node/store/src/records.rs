//! Small named records: pins, certificates, seats, invites, the history of runs. The store does not
//! know what they say.

use caravan_protocol::codec;
use redb::{ReadableTable, Table};

use crate::{
    error::{Result, StoreError},
    index::{Kept, RECORD_COUNTS, RECORDS},
    limits::{RECORD_BYTES_MAX, RECORD_NAME_BYTES_MAX, RECORDS_PER_KIND_MAX},
    store::Store,
};

/// One change of the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Adds a record or replaces the one of this name.
    Put {
        /// What kind of record.
        kind: String,
        /// Its name among its kind.
        key: String,
        /// What it says.
        bytes: Vec<u8>,
    },
    /// Removes a record; it is no error if there is none.
    Remove {
        /// What kind of record.
        kind: String,
        /// Its name among its kind.
        key: String,
    },
}

impl Store {
    /// Keeps a record, in the place of the one of this name if there is one.
    pub fn put_record(&self, kind: &str, key: &str, bytes: &[u8]) -> Result<()> {
        self.edit_records(&[Edit::Put {
            kind: kind.to_owned(),
            key: key.to_owned(),
            bytes: bytes.to_vec(),
        }])
    }

    /// Removes a record, if there is one of this name.
    pub fn remove_record(&self, kind: &str, key: &str) -> Result<()> {
        self.edit_records(&[Edit::Remove {
            kind: kind.to_owned(),
            key: key.to_owned(),
        }])
    }

    /// Makes several changes, all of them or none. What changes nothing does not wait for the disk.
    pub fn edit_records(&self, edits: &[Edit]) -> Result<()> {
        self.edit_as(Kept::Now, edits)
    }

    /// The same for what only saves work to who finds it: it is on disk with the next change that
    /// waits for that or with [`settle`](Self::settle), or when the store is closed. A kill or a power
    /// cut before takes it back.
    pub fn edit_records_soon(&self, edits: &[Edit]) -> Result<()> {
        self.edit_as(Kept::Soon, edits)
    }

    /// Puts on disk what [`edit_records_soon`](Self::edit_records_soon) has left for later, if there is
    /// any. To be called now and then, where blocking is allowed.
    pub fn settle(&self) -> Result<()> {
        match self.inner.index.waits() {
            (_, 0) => Ok(()),
            _ => self.inner.index.write(|_| Ok(())),
        }
    }

    /// How many changes have waited for the disk since the store was opened.
    #[must_use]
    pub fn waits(&self) -> u64 {
        self.inner.index.waits().0
    }

    /// Whether all of this is so already, and on disk if that is asked for.
    fn is_so(&self, kept: Kept, edits: &[Edit]) -> Result<bool> {
        if kept == Kept::Now && self.inner.index.waits().1 > 0 {
            return Ok(false);
        }
        self.inner.index.read(|txn| {
            let table = txn.open_table(RECORDS)?;
            for edit in edits {
                let (Edit::Put { kind, key, .. } | Edit::Remove { kind, key }) = edit;
                let found = ReadableTable::get(&table, (kind.as_str(), key.as_str()))?;
                let is_so = match (edit, &found) {
                    (Edit::Put { bytes, .. }, Some(found)) => found.value() == bytes.as_slice(),
                    (Edit::Remove { .. }, None) => true,
                    _ => false,
                };
                if !is_so {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    fn edit_as(&self, kept: Kept, edits: &[Edit]) -> Result<()> {
        for edit in edits {
            check(edit)?;
        }
        if self.is_so(kept, edits)? {
            return Ok(());
        }
        self.inner.index.write_as(kept, |txn| {
            let mut table = txn.open_table(RECORDS)?;
            let mut counts = txn.open_table(RECORD_COUNTS)?;
            for edit in edits {
                match edit {
                    Edit::Put { kind, key, bytes } => {
                        let name = (kind.as_str(), key.as_str());
                        if table.insert(name, bytes.as_slice())?.is_some() {
                            continue;
                        }
                        let counted = count(&counts, kind)? + 1;
                        if counted > RECORDS_PER_KIND_MAX {
                            return Err(StoreError::TooMany {
                                what: format!("record of kind {kind}"),
                                max: RECORDS_PER_KIND_MAX,
                            });
                        }
                        set_count(&mut counts, kind, counted)?;
                    }
                    Edit::Remove { kind, key } => {
                        if table.remove((kind.as_str(), key.as_str()))?.is_some() {
                            let counted = count(&counts, kind)?;
                            set_count(&mut counts, kind, counted.saturating_sub(1))?;
                        }
                    }
                }
            }
            Ok(())
        })
    }

    /// The record of this name.
    pub fn record(&self, kind: &str, key: &str) -> Result<Option<Vec<u8>>> {
        self.inner.index.read(|txn| {
            let table = txn.open_table(RECORDS)?;
            let found = ReadableTable::get(&table, (kind, key))?;
            Ok(found.map(|bytes| bytes.value().to_vec()))
        })
    }

    /// All records of a kind, by key in byte order.
    pub fn records(&self, kind: &str) -> Result<Vec<(String, Vec<u8>)>> {
        self.inner.index.read(|txn| {
            let table = txn.open_table(RECORDS)?;
            let mut found = Vec::new();
            for row in table.range::<(&str, &str)>((kind, "")..)? {
                let (name, bytes) = row?;
                let (row_kind, key) = name.value();
                if row_kind != kind {
                    break;
                }
                found.push((key.to_owned(), bytes.value().to_vec()));
            }
            Ok(found)
        })
    }
}

type Counts<'a> = Table<'a, &'static str, &'static [u8]>;

fn count(table: &Counts<'_>, kind: &str) -> Result<u64> {
    match table.get(kind)? {
        Some(count) => Ok(codec::decode::<8, u64>(count.value())?),
        None => Ok(0),
    }
}

fn set_count(table: &mut Counts<'_>, kind: &str, count: u64) -> Result<()> {
    table.insert(kind, codec::encode::<8>(&count)?.as_slice())?;
    Ok(())
}

fn check(edit: &Edit) -> Result<()> {
    let (Edit::Put { kind, key, .. } | Edit::Remove { kind, key }) = edit;
    if kind.is_empty() {
        return Err(StoreError::Unfit {
            what: "record",
            reason: "its kind is empty",
        });
    }
    if kind.len() > RECORD_NAME_BYTES_MAX || key.len() > RECORD_NAME_BYTES_MAX {
        return Err(StoreError::Unfit {
            what: "record",
            reason: "its kind or key is too long",
        });
    }
    if let Edit::Put { bytes, .. } = edit
        && bytes.len() > RECORD_BYTES_MAX
    {
        return Err(StoreError::TooLarge {
            what: format!("record {kind}/{key}"),
            max: RECORD_BYTES_MAX as u64,
        });
    }
    Ok(())
}

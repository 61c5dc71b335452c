//! What files of the host held when they were copied in, by their versions: a file whose version is
//! still the same need not be read again.
//!
//! Only for directories of the host that the caller trusts, such as a base that somebody unpacked.
//! Never for what a job has written: whoever is root of a job's users could write through a mapping
//! whose time of change comes late, and nothing would be gained, since its files are all new.
//!
//! It may be wrong in one way only, by a file that changes within the same tick of the clock in
//! which it was looked at; so files that have changed just before are not noted. It names what the
//! store may have forgotten since, and is emptied when it grows too large.

use caravan_protocol::ids::BlobId;
use redb::{ReadableTable, ReadableTableMetadata, TableDefinition};

use crate::{
    error::Result,
    index::Bytes,
    limits::SEEN_MAX,
    store::Inner,
    walk::{Item, Version},
};

/// Device and inode to the rest of the version and the blob.
const SEEN: Bytes = TableDefinition::new("seen");
/// A file that has changed so short a time before, seconds, may change again unnoticed.
const UNSETTLED_S: i64 = 2;

const KEY_BYTES: usize = 16;
const ROW_BYTES: usize = 8 + 2 * 12 + 32;

/// For each item what it holds, if that is known.
pub(crate) fn known(inner: &Inner, items: &[Item]) -> Result<Vec<Option<BlobId>>> {
    inner.index.read(|txn| {
        let table = match txn.open_table(SEEN) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(vec![None; items.len()]),
            other => other?,
        };
        let look = |item: &Item| {
            let row = ReadableTable::get(&table, key(&item.version).as_slice())?;
            Ok(row.and_then(|row| blob(row.value(), &item.version)))
        };
        items.iter().map(look).collect()
    })
}

/// Notes what files held. `now_s` is the time of the host when the first of them was looked at.
pub(crate) fn note(inner: &Inner, new: &[(Version, BlobId)], now_s: i64) -> Result<()> {
    let latest = now_s - UNSETTLED_S;
    let is_settled = |version: &Version| version.ctime.0 < latest && version.mtime.0 < latest;
    let mut rows: Vec<([u8; KEY_BYTES], [u8; ROW_BYTES])> = new
        .iter()
        .filter(|(version, _)| is_settled(version))
        .map(|(version, blob)| (key(version), row(version, *blob)))
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    rows.sort_unstable();
    rows.truncate(SEEN_MAX);
    inner.index.write(|txn| {
        let kept = txn.open_table(SEEN)?.len()?;
        if kept + rows.len() as u64 > SEEN_MAX as u64 {
            txn.delete_table(SEEN)?;
        }
        let mut table = txn.open_table(SEEN)?;
        for (key, row) in &rows {
            table.insert(key.as_slice(), row.as_slice())?;
        }
        Ok(())
    })
}

fn key(version: &Version) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..8].copy_from_slice(&version.device.to_be_bytes());
    key[8..].copy_from_slice(&version.inode.to_be_bytes());
    key
}

fn row(version: &Version, blob: BlobId) -> [u8; ROW_BYTES] {
    let mut row = [0; ROW_BYTES];
    let (times, id) = row.split_at_mut(ROW_BYTES - 32);
    times[..8].copy_from_slice(&version.size.to_be_bytes());
    for (place, (seconds, nanoseconds)) in times[8..]
        .chunks_exact_mut(12)
        .zip([version.mtime, version.ctime])
    {
        place[..8].copy_from_slice(&seconds.to_be_bytes());
        place[8..].copy_from_slice(&nanoseconds.to_be_bytes());
    }
    id.copy_from_slice(blob.as_bytes());
    row
}

/// The blob of a row, if it is about this very version.
fn blob(found: &[u8], version: &Version) -> Option<BlobId> {
    let (rest, id) = found.split_last_chunk::<32>()?;
    let blob = BlobId::from_bytes(*id);
    (row(version, blob)[..ROW_BYTES - 32] == *rest).then_some(blob)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_about_one_version_only() {
        let version = Version {
            device: 1,
            inode: 2,
            size: 3,
            mtime: (4, 5),
            ctime: (6, 7),
        };
        let id = BlobId::of(b"x");
        let kept = row(&version, id);
        assert_eq!(blob(&kept, &version), Some(id));
        let others = [
            Version { size: 4, ..version },
            Version {
                mtime: (4, 6),
                ..version
            },
            Version {
                ctime: (7, 7),
                ..version
            },
        ];
        for other in others {
            assert_eq!(blob(&kept, &other), None, "{other:?}");
        }
        assert_eq!(blob(&kept[1..], &version), None);
        assert_eq!(blob(b"", &version), None);
        assert_ne!(
            key(&version),
            key(&Version {
                inode: 3,
                ..version
            })
        );
    }
}

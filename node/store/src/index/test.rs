//! Indexes of other versions.

use super::*;

/// The version that an index is of.
pub(crate) fn version(path: &Path) -> u32 {
    let db = open_file(path).expect("an index");
    let txn = db.begin_read().expect("a transaction");
    let meta = txn.open_table(META).expect("the table");
    let row = meta.get(VERSION_KEY).expect("read").expect("a version");
    codec::decode::<4, u32>(row.value()).expect("a number")
}

/// Makes an index what version 1 had.
pub(crate) fn make_version_1(path: &Path) {
    let db = open_file(path).expect("an index");
    let txn = db.begin_write().expect("a transaction");
    txn.delete_table(PINS).expect("it is there");
    txn.delete_table(USES).expect("it is there");
    let one = codec::encode::<4>(&1u32).expect("small");
    let mut meta = txn.open_table(META).expect("the table");
    meta.insert(VERSION_KEY, one.as_slice()).expect("insert");
    drop(meta);
    txn.commit().expect("commit");
}

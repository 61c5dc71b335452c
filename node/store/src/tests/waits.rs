//! How often the store waits for the disk, by its own count of changes that did.

use super::*;
use crate::{Edit, limits::SOON_MAX};

fn put(key: &str, bytes: &[u8]) -> Edit {
    Edit::Put {
        kind: "kind".to_owned(),
        key: key.to_owned(),
        bytes: bytes.to_vec(),
    }
}

fn is_there(store: &Store, key: &str) -> bool {
    store.record("kind", key).expect("readable").is_some()
}

#[test]
fn a_new_store_waits_once_and_one_that_is_opened_again_never() {
    let (dir, store) = new_store();
    assert_eq!(store.waits(), 1, "the tables and the journal's key at once");
    drop(store);
    let store = Store::open(&dir.path().join("store")).expect("there");
    assert_eq!(store.waits(), 0);
}

#[test]
fn what_changes_nothing_waits_for_nothing() {
    let (_dir, store) = new_store();
    store.put_record("kind", "a", b"1").expect("put");
    let before = store.waits();
    store.put_record("kind", "a", b"1").expect("put");
    store.remove_record("kind", "b").expect("none");
    store.edit_records(&[]).expect("nothing");
    assert_eq!(store.waits(), before);
    store.put_record("kind", "a", b"2").expect("put");
    store
        .edit_records(&[put("a", b"2"), put("b", b"1"), put("c", b"1")])
        .expect("put");
    assert_eq!(store.waits(), before + 2, "one for each change");
}

#[test]
fn what_only_saves_work_is_seen_at_once_and_goes_to_the_disk_with_what_waits() {
    let (dir, store) = new_store();
    let before = store.waits();
    store.edit_records_soon(&[put("a", b"1")]).expect("put");
    assert_eq!(store.waits(), before);
    assert!(is_there(&store, "a"));
    // The same again must be on disk when it returns: it is not there yet.
    store.put_record("kind", "a", b"1").expect("put");
    assert_eq!(store.waits(), before + 1);
    store.put_record("kind", "a", b"1").expect("put");
    assert_eq!(store.waits(), before + 1, "now it is");
    store.edit_records_soon(&[put("b", b"1")]).expect("put");
    // Closed in order, nothing is lost.
    drop(store);
    let store = Store::open(&dir.path().join("store")).expect("there");
    assert!(is_there(&store, "a") && is_there(&store, "b"));
}

#[test]
fn what_waits_is_settled_once() {
    let (_dir, store) = new_store();
    store.settle().expect("nothing");
    let before = store.waits();
    store.edit_records_soon(&[put("a", b"1")]).expect("put");
    for _ in 0..3 {
        store.settle().expect("settled");
        assert_eq!(store.waits(), before + 1);
    }
}

#[test]
fn what_waits_for_another_change_is_bounded() {
    let (_dir, store) = new_store();
    let before = store.waits();
    for n in 0..=SOON_MAX {
        assert_eq!(store.waits(), before);
        let edit = put("a", &n.to_le_bytes());
        store.edit_records_soon(&[edit]).expect("put");
    }
    assert_eq!(store.waits(), before + 1);
}

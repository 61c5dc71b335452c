//! Large blobs that come in parts.

use super::{full::Tmpfs, *};
use crate::limits;

const MIB: u64 = 1024 * 1024;

fn blob(len: u64) -> (BlobId, Vec<u8>) {
    let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8 | 1).collect();
    (BlobId::of(&bytes), bytes)
}

fn kept(store: &Store) -> usize {
    let dir = store.dir().join("partial");
    fs::read_dir(dir).map_or(0, |entries| entries.count())
}

#[test]
fn parts_in_any_order_become_a_blob_over_a_restart() {
    let (dir, store) = new_store();
    let (id, bytes) = blob(3 * MIB + 5);
    let half = 2 * MIB as usize;
    let partial = store.partial(id, bytes.len() as u64).expect("begun");
    assert_eq!(partial.held().expect("held"), []);
    let late = &bytes[half..];
    partial.write_all_at(late, half as u64).expect("room");
    drop((partial, store));

    let store = Store::open(&dir.path().join("store")).expect("again");
    assert!(!store.has_blob(id).expect("read"));
    let partial = store.partial(id, bytes.len() as u64).expect("gone on with");
    let held = partial.held().expect("held");
    assert_eq!(held.len(), 1);
    assert_eq!(held[0], half as u64..bytes.len() as u64);
    partial.write_all_at(&bytes[..half], 0).expect("room");
    let mut batch = store.batch();
    partial.finish(&mut batch).expect("it is whole");
    assert_eq!(kept(&store), 0);
    let mut some = [0; 9];
    partial.read_exact_at(&mut some, 77).expect("still there");
    assert_eq!(some, bytes[77..86]);
    batch.commit().expect("room");
    drop(partial);
    assert_eq!(store.read_blob(id, 4 * MIB).expect("a blob"), bytes);
    assert_clean(&store);
}

#[test]
fn what_is_not_the_blob_is_removed_and_never_kept() {
    let (_dir, store) = new_store();
    let (id, mut bytes) = blob(MIB);
    bytes[5] ^= 1;
    let partial = store.partial(id, MIB).expect("begun");
    partial.write_all_at(&bytes, 0).expect("room");
    let mut batch = store.batch();
    let finished = partial.finish(&mut batch);
    assert!(
        matches!(finished, Err(StoreError::WrongBytes { .. })),
        "{finished:?}"
    );
    drop(partial);
    batch.commit().expect("nothing");
    assert_eq!(
        (kept(&store), store.has_blob(id).expect("read")),
        (0, false)
    );
}

#[test]
fn second_fetch_of_the_same_blob_has_a_file_of_its_own() {
    let (_dir, store) = new_store();
    let (id, bytes) = blob(MIB);
    let first = store.partial(id, MIB).expect("begun");
    let second = store.partial(id, MIB).expect("begun beside it");
    first.write_all_at(&bytes[..99], 0).expect("room");
    second.write_all_at(&bytes, 0).expect("room");
    let mut batch = store.batch();
    second.finish(&mut batch).expect("it is whole");
    batch.commit().expect("room");
    assert_eq!(store.read_blob(id, MIB).expect("a blob"), bytes);
    drop(second);
    assert_eq!(kept(&store), 1);
    drop(first);
    assert_eq!(kept(&store), 1, "it is gone on with the next time");
    store.drop_partials().expect("removed");
    assert_eq!(kept(&store), 0);
}

#[test]
fn parts_are_bounded_in_number_and_age_and_those_in_use_stay() {
    let (_dir, store) = new_store();
    let used = store.partial(blob(1).0, MIB).expect("begun");
    used.write_all_at(b"used", 0).expect("room");
    for n in 0..limits::PARTIALS_MAX as u64 + 9 {
        let partial = store.partial(blob(n + 2).0, MIB).expect("begun");
        partial.write_all_at(b"some", 0).expect("room");
    }
    let count = kept(&store);
    assert!(count <= limits::PARTIALS_MAX + 1, "{count}");
    let old =
        std::time::SystemTime::now() - std::time::Duration::from_secs(limits::PARTIAL_AGE_S + 60);
    for entry in fs::read_dir(store.dir().join("partial")).expect("there") {
        let file = File::options().write(true).open(entry.expect("one").path());
        file.expect("a file").set_modified(old).expect("old");
    }
    let fresh = store.partial(blob(500).0, MIB).expect("begun");
    fresh.write_all_at(b"some", 0).expect("room");
    assert_eq!(kept(&store), 2, "what is in use, and the new one");
    drop(used);
}

#[test]
fn disk_that_fills_in_the_middle_is_named_and_nothing_is_kept() {
    if !is_root("disk_that_fills_in_the_middle_is_named_and_nothing_is_kept") {
        return;
    }
    let dir = TempDir::new().expect("a directory");
    let _mounted = Tmpfs::mount(dir.path(), "6m");
    let store = Store::open(&dir.path().join("store")).expect("it is empty");
    let (id, bytes) = blob(8 * MIB);
    let partial = store.partial(id, 8 * MIB).expect("begun");
    let mut pieces = (0..).zip(bytes.chunks(MIB as usize));
    let full = pieces.find_map(|(at, piece)| partial.write_all_at(piece, at * MIB).err());
    let full = full.expect("it does not fit");
    assert!(matches!(full, StoreError::Full { .. }), "{full:?}");
    assert!(full.to_string().contains("full"), "{full}");
    drop(partial);
    assert_eq!(kept(&store), 0);
    assert_clean(&store);
}

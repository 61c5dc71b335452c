//! The cold form: what is frozen may be forgotten and comes back, and nothing else does.

use caravan_pack::{Options, PackId};

use super::*;
use crate::{FindingKind, commit, object::Key};

fn quick() -> Options {
    Options {
        level: 1,
        ..Options::cold(2)
    }
}

fn fill(upper: &Path, seed: u8) {
    for n in 0..20u8 {
        write(
            upper,
            &format!("lib/{n}.ml"),
            format!("let x = {n} + {seed}\n").repeat(30),
        );
    }
    let large: Vec<u8> = (0..400_000u32)
        .map(|n| (n.wrapping_mul(n).wrapping_mul(0x9e37_79b1) >> 13) as u8)
        .collect();
    write(upper, "bin/tool", [large, vec![seed]].concat());
    write(upper, "empty", b"");
    chmod(&write(upper, "bin/su", [seed; 30]), 0o4755);
}

/// Forgets every object and layer, as a collection would.
pub(super) fn forget_all(store: &Store) {
    let (objects, layers) = store.inner.index.everything().expect("list");
    let keys: Vec<Key> = objects.into_iter().map(|(key, _)| key).collect();
    commit::forget(&store.inner, keys, layers).expect("forget");
}

pub(super) fn packs(store: &Store) -> Vec<PackId> {
    let packs = store.packs().expect("list").into_iter();
    packs.map(|(pack, _)| pack).collect()
}

fn pack_path(store: &Store, pack: PackId) -> PathBuf {
    store.dir().join("packs").join(pack.to_string())
}

#[test]
fn a_frozen_layer_comes_back_after_everything_else_is_gone() {
    let (_dir, store) = new_store();
    let tree = ingest_good(&store, |upper| fill(upper, 1));
    let listing = store.tree(tree).expect("there");
    let frozen = store.freeze(&[tree], quick()).expect("freeze");
    assert_eq!(frozen.known, 0);
    assert_eq!(frozen.blobs, listing.blobs().len() as u64 + 1);
    assert!(frozen.bytes < frozen.blob_bytes);
    forget_all(&store);
    assert_eq!(store.layer(tree).expect("look"), None);
    assert!(store.missing(tree).expect("look").is_empty());
    assert_eq!(store.tree(tree).expect("read through"), listing);
    let path = store.materialise(tree).expect("thawed");
    let tool = fs::read(path.join("bin/tool")).expect("laid out");
    assert_eq!(tool.len(), 400_001);
    let mode = fs::metadata(path.join("bin/su")).expect("laid out").mode();
    assert_eq!(mode & 0o7777, 0o4755);
    assert_clean(&store);
    assert_eq!(leftovers(&store), Vec::<String>::new());
}

#[test]
fn each_blob_can_be_read_from_a_pack_without_becoming_an_object() {
    let (_dir, store) = new_store();
    let tree = ingest_good(&store, |upper| fill(upper, 1));
    let blobs = store.tree(tree).expect("there").blobs();
    store.freeze(&[tree], quick()).expect("freeze");
    forget_all(&store);
    for (blob, size) in blobs {
        assert_eq!(store.blob_size(blob).expect("look"), Some(size));
        let bytes = store.read_blob(blob, size).expect("read through");
        assert_eq!(BlobId::of(&bytes), blob);
        if size > 0 {
            let refused = store.read_blob(blob, size - 1);
            assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
        }
    }
    assert_eq!(store.stat().expect("stat").blobs, 0);
    let absent = BlobId::of(b"absent");
    assert!(matches!(
        store.open_blob(absent),
        Err(StoreError::NoBlob { .. })
    ));
}

#[test]
fn a_blob_that_is_opened_becomes_an_object_again() {
    let (_dir, store) = new_store();
    let tree = ingest_good(&store, |upper| fill(upper, 1));
    let tool = store
        .tree(tree)
        .expect("there")
        .get(b"bin/tool")
        .expect("there")
        .clone();
    store.freeze(&[tree], quick()).expect("freeze");
    forget_all(&store);
    let Kind::File { blob, size } = tool.kind else {
        panic!("a file");
    };
    let file = store.open_blob(blob).expect("revived");
    assert_eq!(file.metadata().expect("look").len(), size);
    assert_eq!(store.stat().expect("stat").blobs, 1);
}

#[test]
fn freezing_a_sibling_writes_only_what_is_new() {
    let (_dir, store) = new_store();
    let one = ingest_good(&store, |upper| fill(upper, 1));
    let two = ingest_good(&store, |upper| fill(upper, 2));
    let first = store.freeze(&[one], quick()).expect("freeze");
    let again = store.freeze(&[one], quick()).expect("freeze");
    assert_eq!((again.pack, again.known), (None, first.blobs));
    let second = store.freeze(&[one, two], quick()).expect("freeze");
    assert!(second.bytes < first.bytes / 2, "{second:?} after {first:?}");
    forget_all(&store);
    for tree in [one, two] {
        store.materialise(tree).expect("thawed");
    }
    // Its large file leans on the first pack.
    let (first, second) = (first.pack.expect("new"), second.pack.expect("new"));
    let refused = store.drop_pack(first).expect_err("leaned on");
    assert!(matches!(refused, StoreError::Leaned { .. }), "{refused}");
    store.drop_pack(second).expect("drop");
    store.drop_pack(first).expect("drop");
    assert!(packs(&store).is_empty());
    assert!(matches!(
        store.drop_pack(first),
        Err(StoreError::NoBlob { .. })
    ));
}

#[test]
fn an_incomplete_tree_is_not_frozen() {
    let (_dir, store) = new_store();
    let entry = Entry::file(b"a", 0o644, BlobId::of(b"not here"), 8);
    let tree = store
        .put_tree(&Tree::new(vec![entry]).expect("a tree"), &[])
        .expect("put");
    let refused = store.freeze(&[tree], quick());
    assert!(
        matches!(refused, Err(StoreError::Incomplete { missing: 1, .. })),
        "{refused:?}"
    );
    assert_eq!(leftovers(&store), Vec::<String>::new());
}

#[test]
fn packs_are_there_after_a_restart_and_what_nothing_names_is_not() {
    let (dir, store) = new_store();
    let tree = ingest_good(&store, |upper| fill(upper, 1));
    store.freeze(&[tree], quick()).expect("freeze");
    let known = packs(&store);
    write(&store.dir().join("packs"), "stray", b"half a pack");
    forget_all(&store);
    drop(store);
    let store = Store::open(&dir.path().join("store")).expect("open");
    assert_eq!(packs(&store), known);
    assert!(!store.dir().join("packs/stray").exists());
    store.materialise(tree).expect("thawed");
}

#[test]
fn a_damaged_pack_is_found_and_what_it_had_is_missing() {
    for damage in ["flip", "cut", "remove"] {
        let (_dir, store) = new_store();
        let tree = ingest_good(&store, |upper| fill(upper, 1));
        let pack = store
            .freeze(&[tree], quick())
            .expect("freeze")
            .pack
            .expect("new");
        let path = pack_path(&store, pack);
        let mut bytes = fs::read(&path).expect("read");
        match damage {
            "flip" => bytes[5000] ^= 1,
            "cut" => bytes.truncate(5000),
            _ => fs::remove_file(&path).expect("remove"),
        }
        if damage != "remove" {
            fs::write(&path, &bytes).expect("write");
        }
        let report = store.check(false, &mut |_, _| {}).expect("check");
        let kinds: Vec<FindingKind> = report.findings.iter().map(|f| f.kind).collect();
        assert_eq!(kinds, [FindingKind::DamagedPack], "{damage}");
        assert!(report.findings[0].path.ends_with(&pack.to_string()));
        forget_all(&store);
        store.check(true, &mut |_, _| {}).expect("heal");
        assert!(packs(&store).is_empty() && !path.exists(), "{damage}");
        assert!(!store.missing(tree).expect("look").is_empty());
        assert!(matches!(
            store.materialise(tree),
            Err(StoreError::Incomplete { .. })
        ));
        assert_clean(&store);
    }
}

#[test]
fn damage_that_is_met_while_reading_makes_the_blob_missing() {
    let (dir, store) = new_store();
    let tree = ingest_good(&store, |upper| fill(upper, 1));
    let listing = store.tree(tree).expect("there");
    let pack = store
        .freeze(&[tree], quick())
        .expect("freeze")
        .pack
        .expect("new");
    // Only the frames, so that the pack opens.
    let path = pack_path(&store, pack);
    let mut bytes = fs::read(&path).expect("read");
    bytes[16..2000].fill(0x55);
    fs::write(&path, bytes).expect("write");
    forget_all(&store);
    drop(store);
    let store = Store::open(&dir.path().join("store")).expect("open");
    // Laying out meets the damage first, and says what is to be done about it.
    let refused = store.materialise(tree);
    assert!(
        matches!(refused, Err(StoreError::Incomplete { .. })),
        "{refused:?}"
    );
    assert_eq!(leftovers(&store), Vec::<String>::new());
    let mut lost = 0;
    for (blob, size) in listing.blobs() {
        match store.read_blob(blob, size) {
            Ok(bytes) => assert_eq!(BlobId::of(&bytes), blob),
            Err(StoreError::NoBlob { .. }) => {
                lost += 1;
                assert!(!store.has_blob(blob).expect("look"));
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(lost > 0);
    // Made again, it is all there.
    assert!(!store.missing(tree).expect("look").is_empty());
    assert_eq!(ingest_good(&store, |upper| fill(upper, 1)), tree);
    assert!(store.missing(tree).expect("look").is_empty());
}

#[test]
fn a_pack_of_another_node_is_taken_whole_or_not_at_all() {
    let (_dir, store) = new_store();
    let tree = ingest_good(&store, |upper| fill(upper, 1));
    let frozen = store.freeze(&[tree], quick()).expect("freeze");
    let pack = frozen.pack.expect("new");
    let bytes = fs::read(pack_path(&store, pack)).expect("read");
    let (_dir, other) = new_store();
    let size = bytes.len() as u64;
    let refused = other.take_pack(&mut &bytes[..], pack, size - 1);
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
    let mut wrong = bytes.clone();
    wrong[3000] ^= 1;
    let refused = other.take_pack(&mut &wrong[..], pack, size);
    assert!(matches!(refused, Err(StoreError::WrongBytes { .. })));
    let named = PackId::of(&wrong).expect("in memory");
    let refused = other.take_pack(&mut &wrong[..], named, size);
    assert!(
        matches!(refused, Err(StoreError::Pack { .. })),
        "{refused:?}"
    );
    assert!(packs(&other).is_empty());
    assert_eq!(leftovers(&other), Vec::<String>::new());
    other
        .take_pack(&mut &bytes[..], pack, size)
        .expect("a good pack");
    other.materialise(tree).expect("thawed");
    assert_clean(&other);
}

use super::{
    collecting::{collect, is_whole, layer_of},
    *,
};
use crate::{Pin, Pinned};

fn pin(name: &str, what: Pinned) -> Pin {
    Pin {
        name: name.to_owned(),
        what,
        why: "a test".to_owned(),
        since_s: 1,
    }
}

#[test]
fn a_pin_survives_a_restart_and_keeps_its_tree() {
    let (dir, store) = new_store();
    let tree = layer_of(&store, 1, 1000);
    let blob = store.put_blob(b"a blob").expect("put");
    store
        .pin(&pin("base/one", Pinned::Tree(tree)))
        .expect("pin");
    store.pin(&pin("blob", Pinned::Blob(blob))).expect("pin");
    drop(store);
    let store = Store::open(&dir.path().join("store")).expect("open again");
    let names: Vec<String> = store
        .pins()
        .expect("pins")
        .into_iter()
        .map(|pin| pin.name)
        .collect();
    assert_eq!(names, ["base/one", "blob"]);
    assert_eq!(store.find("base/one").expect("find"), Pinned::Tree(tree));
    collect(&store, u64::MAX);
    assert!(is_whole(&store, tree) && store.has_blob(blob).expect("look"));
    assert!(store.unpin("base/one").expect("unpin"));
    assert!(
        !store.unpin("base/one").expect("again"),
        "there is none any more"
    );
    collect(&store, u64::MAX);
    assert!(!is_whole(&store, tree) && store.has_blob(blob).expect("look"));
    assert_clean(&store);
}

#[test]
fn a_name_pins_one_thing_and_two_names_may_pin_the_same() {
    let (_dir, store) = new_store();
    let (one, two) = (layer_of(&store, 1, 10), layer_of(&store, 2, 10));
    store.pin(&pin("a", Pinned::Tree(one))).expect("pin");
    store.pin(&pin("b", Pinned::Tree(one))).expect("pin");
    store
        .pin(&pin("a", Pinned::Tree(one)))
        .expect("the same again");
    store
        .pin(&pin("a", Pinned::Tree(two)))
        .expect("in its place");
    assert!(store.unpin("b").expect("unpin"));
    collect(&store, u64::MAX);
    assert!(!is_whole(&store, one) && is_whole(&store, two));
    assert!(store.unpin("a").expect("unpin"));
    assert_eq!(store.leased(), 0);
}

#[test]
fn what_is_not_here_whole_or_has_a_bad_name_is_not_pinned() {
    let (_dir, store) = new_store();
    let tree = Tree::of_files([("a", BlobId::of(b"absent"), 6)]).expect("a tree");
    let tree = store.put_tree(&tree, &[]).expect("put");
    let incomplete = store.pin(&pin("a", Pinned::Tree(tree)));
    assert!(matches!(
        incomplete,
        Err(StoreError::Incomplete { missing: 1, .. })
    ));
    let absent = store.pin(&pin("a", Pinned::Blob(BlobId::of(b"absent"))));
    assert!(matches!(absent, Err(StoreError::NoBlob { .. })));
    let here = Pinned::Blob(tree.blob());
    for name in ["", "a b", "a\n", &"x".repeat(257)] {
        let refused = store.pin(&pin(name, here));
        assert!(matches!(refused, Err(StoreError::Unfit { .. })), "{name:?}");
    }
    let mut wordy = pin("a", here);
    wordy.why = "\x1b[31m".to_owned();
    assert!(store.pin(&wordy).is_err());
    assert_eq!((store.pins().expect("pins").len(), store.leased()), (0, 0));
}

#[test]
fn a_store_of_version_1_gets_what_it_lacks_and_keeps_what_it_has() {
    let (dir, store) = new_store();
    let tree = layer_of(&store, 1, 1000);
    store.put_record("kind", "key", b"value").expect("put");
    drop(store);
    let path = dir.path().join("store/index.redb");
    let version = || crate::index::test::version(&path);
    crate::index::test::make_version_1(&path);
    assert_eq!(version(), 1);
    let store = Store::open(&dir.path().join("store")).expect("open an old one");
    assert!(is_whole(&store, tree));
    assert_eq!(
        store.record("kind", "key").expect("get").as_deref(),
        Some(&b"value"[..])
    );
    store.pin(&pin("a", Pinned::Tree(tree))).expect("pin");
    assert_eq!(store.rows().expect("rows").len(), 1);
    assert_clean(&store);
    drop(store);
    assert_eq!(version(), crate::index::LAYOUT);
}

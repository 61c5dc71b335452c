//! What must not be lost when something else is damaged or fails at the wrong moment.

use super::{
    collecting::{NOW, collect, is_whole, layer_of},
    *,
};
use crate::{Collect, Pin, Pinned, Used};

fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("it is there");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    chmod(path, 0o644);
    fs::write(path, bytes).expect("writable");
}

#[test]
fn a_note_that_is_not_written_yet_keeps_its_blob() {
    let (_dir, store) = new_store();
    let log = store.put_blob(&[7; 3000]).expect("put");
    store.note_blob(log, Used::Log, NOW, 1, "").expect("note");
    assert!(
        store.uses().expect("read").contains_key(&log),
        "only what is written counts"
    );
    store.flush_notes().expect("room");
    assert!(store.uses().expect("read").contains_key(&log));
    collect(&store, 0);
    assert!(store.has_blob(log).expect("look"));
}

#[test]
fn nothing_of_a_pinned_tree_goes_when_its_listing_is_damaged() {
    let (_dir, store) = new_store();
    let tree = layer_of(&store, 1, 1000);
    store
        .pin(&Pin {
            name: "kept".to_owned(),
            what: Pinned::Tree(tree),
            why: "a test".to_owned(),
            since_s: NOW,
        })
        .expect("pin");
    let listing = fs::read(object_of(&store, tree)).expect("its listing");
    flip(&object_of(&store, tree));
    let ask = Collect {
        now_s: NOW,
        want_bytes: u64::MAX,
        dry_run: false,
        freeze: None,
    };
    let refused = store.collect(&ask, &mut |_, _, _| true);
    let text = refused.expect_err("it cannot see").to_string();
    assert!(text.contains(&tree.to_string()), "{text}");
    fs::write(object_of(&store, tree), listing).expect("writable");
    assert!(is_whole(&store, tree), "something of it went");
    collect(&store, u64::MAX);
    assert!(is_whole(&store, tree));
}

fn object_of(store: &Store, tree: TreeId) -> PathBuf {
    let hex = tree.to_string();
    let (dir, rest) = hex.split_at(2);
    let dir = store.dir().join("objects").join(dir);
    dir.join(format!("{rest}.644.0.0"))
}

#[test]
fn a_file_that_was_cut_short_never_takes_the_place_of_a_whole_one() {
    let (_dir, store) = new_store();
    let bytes = [5; 4000];
    ingest_good(&store, |upper| {
        write(upper, "first", bytes);
    });
    let object = object_path(&store, &bytes, "644.0.0");
    chmod(&object, 0o644);
    File::options()
        .write(true)
        .open(&object)
        .and_then(|file| file.set_len(10))
        .expect("writable");
    let again = ingest_good(&store, |upper| {
        write(upper, "second", bytes);
    });
    let layer = store.layer(again).expect("look").expect("it is laid out");
    assert_eq!(fs::read(layer.join("second")).expect("it is there"), bytes);
    assert_eq!(
        store.read_blob(BlobId::of(&bytes), 5000).expect("whole"),
        bytes
    );
}

//! What is counted of a real store.

use caravan_protocol::{
    ids::{BlobId, TreeId},
    tree::{Entry, Tree},
};

use super::*;

fn layer(tree: TreeId, bytes: u64) -> Layer {
    Layer { tree, bytes }
}

#[test]
fn what_is_here_counts_for_nothing_and_the_rest_by_what_is_known_of_it() {
    let dir = tempfile::tempdir().expect("writable");
    let store = Store::open(&dir.path().join("store")).expect("a store");
    let entry =
        |name: &[u8], bytes: &[u8]| Entry::file(name, 0o644, BlobId::of(bytes), bytes.len() as u64);
    let tree = Tree::new(vec![entry(b"a", b"here"), entry(b"b", b"too")]).expect("a tree");
    let blobs = [b"here".to_vec(), b"too".to_vec()];
    let whole = store.put_tree(&tree, &blobs).expect("put");
    let tree = Tree::new(vec![entry(b"a", b"here"), entry(b"c", b"elsewhere")]).expect("a tree");
    let part = store.put_tree(&tree, &[]).expect("put");
    let absent = TreeId::from_bytes([7; 32]);
    assert_eq!(missing_bytes(&store, &[layer(whole, 7)]), 0);
    assert_eq!(missing_bytes(&store, &[layer(part, 13)]), 9);
    assert_eq!(missing_bytes(&store, &[layer(absent, 1000)]), 1000);
    let unknown = [layer(whole, 7), layer(part, 13), layer(absent, 0)];
    assert_eq!(missing_bytes(&store, &unknown), 9 + LAYER_BYTES);
}

#[test]
fn the_pace_follows_what_was_fetched_and_small_fetches_tell_nothing() {
    let pace = Pace::default();
    assert_eq!(pace.bytes_per_s(), 0);
    pace.note(100, Duration::from_secs(5));
    assert_eq!(pace.bytes_per_s(), 0, "too small");
    pace.note(8 << 20, Duration::from_secs(2));
    assert_eq!(pace.bytes_per_s(), 4 << 20);
    for _ in 0..20 {
        pace.note(8 << 20, Duration::from_secs(1));
    }
    let now = pace.bytes_per_s();
    assert!((7 << 20..=8 << 20).contains(&now), "{now}");
}

//! A process that freezes, thaws and drops is killed at the n-th point between two changes of the
//! disk, for every n that it passes; after each kill the store must be whole.

use std::process::Command;

use caravan_pack::Options;

use super::{
    cold::{forget_all, packs},
    *,
};

const DIR: &str = "CARAVAN_STORE_TEST_COLD_DIR";

fn trees(store: &Store) -> [TreeId; 2] {
    let blobs = [vec![1; 5000], vec![2; 5000], vec![3; 200_000]];
    let entry = |name: &[u8], at: usize| {
        let bytes = &blobs[at];
        Entry::file(name, 0o644, BlobId::of(bytes), bytes.len() as u64)
    };
    let one = Tree::new(vec![entry(b"a", 0), entry(b"b", 2)]).expect("a tree");
    let two = Tree::new(vec![entry(b"a", 1), entry(b"b", 2)]).expect("a tree");
    [one, two].map(|tree| store.put_tree(&tree, &blobs).expect("put"))
}

/// What the child does. Prints what the store has acknowledged.
fn work(store: &Store) {
    let how = Options {
        level: 1,
        ..Options::cold(1)
    };
    let [one, two] = trees(store);
    println!("ACK put");
    let first = store.freeze(&[one], how).expect("freeze").pack;
    println!("ACK frozen one");
    let second = store.freeze(&[one, two], how).expect("freeze").pack;
    println!("ACK frozen two");
    forget_all(store);
    store.materialise(one).expect("thawed");
    println!("ACK laid out");
    if let Some(second) = second {
        store.drop_pack(second).expect("drop");
    }
    if let Some(first) = first {
        store.drop_pack(first).expect("drop");
    }
    println!("DONE");
}

#[test]
fn child_that_is_killed() {
    // In an ordinary run this is no child and there is nothing to do.
    let Ok(dir) = std::env::var(DIR) else { return };
    work(&Store::open(Path::new(&dir)).expect("open"));
}

#[test]
fn a_kill_while_freezing_thawing_or_dropping_loses_nothing() {
    let dir = TempDir::new().expect("a directory");
    let store_dir = dir.path().join("store");
    trees(&Store::open(&store_dir).expect("a new store"));
    for crash_at in 0..1000 {
        let output = Command::new(std::env::current_exe().expect("this test"))
            .args([
                "tests::cold_crashes::child_that_is_killed",
                "--exact",
                "--nocapture",
            ])
            .env(DIR, &store_dir)
            .env(crate::crash::ENV, crash_at.to_string())
            .output()
            .expect("the child runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let said = |what: &str| text.lines().any(|line| line == what);
        let store = Store::open(&store_dir).expect("open after a kill");
        let report = store.check(false, &mut |_, _| {}).expect("check");
        assert!(
            report.findings.is_empty(),
            "killed at {crash_at}: {:?}",
            report.findings
        );
        assert_eq!(
            leftovers(&store),
            Vec::<String>::new(),
            "killed at {crash_at}"
        );
        let is_dropping = said("ACK laid out");
        for (name, tree) in ["one", "two"].iter().zip(trees(&store)) {
            if said(&format!("ACK frozen {name}")) && !is_dropping {
                forget_all(&store);
                assert_eq!(
                    store.missing(tree).expect("look"),
                    [],
                    "killed at {crash_at}"
                );
                store.materialise(tree).expect("thawed");
            }
        }
        if said("DONE") {
            assert!(crash_at > 40, "only {crash_at} points were passed");
            assert!(packs(&store).is_empty());
            return;
        }
        // For the next, nothing is frozen and all is here.
        for pack in packs(&store).into_iter().chain(packs(&store)) {
            match store.drop_pack(pack) {
                Ok(()) | Err(StoreError::Leaned { .. } | StoreError::NoBlob { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert!(packs(&store).is_empty());
        trees(&store);
    }
    panic!("the child never came to its end");
}

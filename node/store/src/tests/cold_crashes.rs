//! A process that freezes, thaws and drops is killed at the n-th point between two changes of the
//! disk, for every n that it passes; after each kill the store must be whole.

use std::process::Command;

use super::{
    cold::{forget_all, packs},
    collecting::{NOW, collect},
    freezing::{DAY, ask, layer, made, quick},
    *,
};
use crate::{Collect, Pin, Pinned};

const DIR: &str = "CARAVAN_STORE_TEST_COLD_DIR";
const WHAT: &str = "CARAVAN_STORE_TEST_COLD_WHAT";

fn say(what: &str) {
    println!("ACK {what}");
}

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
fn by_hand(store: &Store) {
    let [one, two] = trees(store);
    let first = store.freeze(&[one], quick()).expect("freeze").pack;
    say("frozen one");
    let second = store.freeze(&[one, two], quick()).expect("freeze").pack;
    say("frozen two");
    forget_all(store);
    store.materialise(one).expect("thawed");
    store.thaw(two, &mut |_, _| true).expect("thawed");
    say("laid out");
    for pack in [second, first].into_iter().flatten() {
        store.drop_pack(pack).expect("drop");
    }
    println!("DONE");
}

/// The layers of the other child: two that are frozen, one that is forgotten, one that is pinned.
fn layers(store: &Store) -> [TreeId; 4] {
    let layers = [1, 2, 3, 4].map(|n| layer(store, n, 9000));
    for (tree, cost_ms) in layers.iter().zip([600_000, 900_000, 1, 900_000]) {
        made(store, *tree, 30 * DAY, cost_ms);
    }
    layers
}

/// What a node does to a store that is short of room, and what is wanted of it afterwards.
fn collecting(store: &Store) {
    let layers = layers(store);
    store
        .pin(&Pin {
            name: "pinned".to_owned(),
            what: Pinned::Tree(layers[3]),
            why: String::new(),
            since_s: 0,
        })
        .expect("pin");
    store.flush_notes().expect("flush");
    say("made");
    let done = store
        .collect(&ask(20_000), &mut |_, _, _| true)
        .expect("collect");
    assert!(done.frozen == 2 && done.forms == 2, "{done:?}");
    say("frozen");
    store.materialise(layers[0]).expect("thawed");
    say("laid out");
    // The first is wanted no more, and with it half of the pack is dead.
    let forgotten = crate::index::Change {
        remove_uses: vec![layers[1].blob()],
        ..Default::default()
    };
    say("forgetting");
    store.inner.index.apply(&forgotten).expect("forgotten");
    store
        .collect(&ask(1), &mut |_, _, _| true)
        .expect("collect");
    say("collected");
    store.freeze(&[layers[3]], quick()).expect("freeze");
    store.unpin("pinned").expect("unpin");
    store.cool(&[layers[3]]).expect("cool");
    say("cooled");
    say("dropping");
    let done = collect(store, u64::MAX);
    assert!(done.packs > 0, "{done:?}");
    assert!(packs(store).is_empty());
    println!("DONE");
}

#[test]
fn child_that_is_killed() {
    // In an ordinary run this is no child and there is nothing to do.
    let Ok(dir) = std::env::var(DIR) else { return };
    let store = Store::open(Path::new(&dir)).expect("open");
    match std::env::var(WHAT).as_deref() {
        Ok("by hand") => by_hand(&store),
        _ => collecting(&store),
    }
}

/// Runs the child; hands on what it said, and whether it came to its end without being killed.
fn run(dir: &Path, what: &str, crash_at: u64) -> (Vec<String>, bool) {
    let output = Command::new(std::env::current_exe().expect("this test"))
        .args([
            "tests::cold_crashes::child_that_is_killed",
            "--exact",
            "--nocapture",
        ])
        .env(DIR, dir)
        .env(WHAT, what)
        .env(crate::crash::ENV, crash_at.to_string())
        .output()
        .expect("the child runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let said: Vec<String> = text.lines().map(str::to_owned).collect();
    let killed = std::os::unix::process::ExitStatusExt::signal(&output.status) == Some(9);
    let errors = String::from_utf8_lossy(&output.stderr);
    let done = said.iter().any(|line| line == "DONE");
    assert!(done || killed, "neither killed nor done: {text}\n{errors}");
    // Closing a store passes points too.
    (said, !killed)
}

fn is_whole(store: &Store, tree: TreeId) -> bool {
    store.missing(tree).expect("look").is_empty()
}

fn open_clean(dir: &Path, crash_at: u64) -> Store {
    let store = Store::open(dir).expect("open after a kill");
    let report = store.check(false, &mut |_, _| {}).expect("check");
    let findings = &report.findings;
    assert!(findings.is_empty(), "killed at {crash_at}: {findings:?}");
    let left = leftovers(&store);
    assert_eq!(left, Vec::<String>::new(), "killed at {crash_at}");
    store
}

fn drop_all(store: &Store) {
    // The leaning one of two is not known to come first.
    for pack in packs(store).into_iter().chain(packs(store)) {
        match store.drop_pack(pack) {
            Ok(()) | Err(StoreError::Leaned { .. } | StoreError::NoBlob { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(packs(store).is_empty());
}

/// In memory where that is possible: a kill is no power cut, and waiting for a disk shows nothing.
fn place() -> TempDir {
    let dir = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new());
    dir.expect("a directory")
}

#[test]
fn a_kill_while_freezing_thawing_or_dropping_loses_nothing() {
    let dir = place();
    let store_dir = dir.path().join("store");
    trees(&Store::open(&store_dir).expect("a new store"));
    for crash_at in 0..1000 {
        let (said, is_done) = run(&store_dir, "by hand", crash_at);
        let said = |what: &str| said.iter().any(|line| line == what);
        let store = open_clean(&store_dir, crash_at);
        let is_dropping = said("ACK laid out");
        for (name, tree) in ["one", "two"].iter().zip(trees(&store)) {
            if said(&format!("ACK frozen {name}")) && !is_dropping {
                forget_all(&store);
                assert!(is_whole(&store, tree), "killed at {crash_at}");
                store.materialise(tree).expect("thawed");
            }
        }
        if is_done {
            assert!(crash_at > 40, "only {crash_at} points were passed");
            assert!(packs(&store).is_empty());
            return;
        }
        // For the next, nothing is frozen and all is here.
        drop_all(&store);
        trees(&store);
    }
    panic!("the child never came to its end");
}

#[test]
fn a_kill_in_a_collection_that_freezes_evicts_repacks_and_drops_loses_nothing() {
    let dir = place();
    // Their ids, from a store that has them all.
    let (_other_dir, other) = new_store();
    let [dear, forgotten, _, pinned] = layers(&other);
    // Each kill costs a process and a store; `scripts/check-real disks` asks for every one.
    let every = std::env::var("CARAVAN_STORE_TEST_EVERY");
    let every = every.map_or(2, |every| every.parse().expect("a number"));
    for crash_at in (0..3000).step_by(every) {
        let store_dir = dir.path().join(format!("store{crash_at}"));
        let (lines, is_done) = run(&store_dir, "collecting", crash_at);
        let said = |what: &str| lines.iter().any(|line| line == what);
        let store = open_clean(&store_dir, crash_at);
        let is_dropping = said("ACK dropping");
        if said("ACK made") && !is_dropping {
            for tree in [dear, pinned] {
                assert!(is_whole(&store, tree), "killed at {crash_at}");
                let known = store.usage(tree.blob()).expect("look").is_some();
                assert!(
                    known,
                    "killed at {crash_at}: {tree} is forgotten after {lines:?}"
                );
            }
            assert!(said("ACK forgetting") || is_whole(&store, forgotten));
        }
        if said("ACK frozen") && !is_dropping {
            assert!(store.is_frozen(dear).expect("look"), "killed at {crash_at}");
        }
        // Whatever was in the middle can be gone on with.
        let all = Collect {
            now_s: NOW,
            ..ask(20_000)
        };
        store.collect(&all, &mut |_, _, _| true).expect("collect");
        if !store.pins().expect("pins").is_empty() {
            let path = store.materialise(pinned).expect("it is pinned");
            assert!(path.join("usr/bin/own").exists());
        }
        assert_clean(&store);
        drop(store);
        fs::remove_dir_all(&store_dir).expect("remove");
        if is_done {
            assert!(crash_at > 200, "only {crash_at} points were passed");
            println!("there were {crash_at} points to be killed at");
            return;
        }
    }
    panic!("the child never came to its end");
}

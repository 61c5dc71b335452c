//! The test runs itself as a child process that is killed at the n-th point between two changes of
//! the disk, for every n that a run passes; after each kill the store must be whole.

use std::process::Command;

use super::*;
use crate::{Collect, Pin, Pinned, Used};

const DIR: &str = "CARAVAN_STORE_TEST_DIR";
const SEED: &str = "CARAVAN_STORE_TEST_SEED";

/// What the child does. Prints what the store has acknowledged.
fn work(store: &Store, seed: u8) {
    let say = |what: String| println!("ACK {what}");
    let blob = store.put_blob(&[seed; 10]).expect("put");
    say(format!("blob {blob}"));
    let fill = |upper: &Path| {
        for n in 0..6u8 {
            write(upper, &format!("d{}/f{n}", n % 2), [seed, n]);
            write(upper, &format!("shared{n}"), [n; 20]);
        }
        write(upper, "empty", b"");
        chmod(&write(upper, "special", [seed; 30]), 0o1755);
    };
    let id = ingest_good(store, fill);
    say(format!("layer {id}"));
    let soon = crate::Edit::Put {
        kind: "kind".to_owned(),
        key: format!("soon{seed}"),
        bytes: vec![seed],
    };
    store.edit_records_soon(&[soon]).expect("put");
    store
        .put_record("kind", &format!("key{seed}"), &[seed])
        .expect("put");
    say(format!("record key{seed}"));
    say(format!("record soon{seed}"));
    let blobs = [vec![seed; 11], vec![seed; 12]];
    let entries = blobs.iter().enumerate().map(|(n, bytes)| {
        Entry::file(
            &[b'a' + n as u8],
            0o755,
            BlobId::of(bytes),
            bytes.len() as u64,
        )
    });
    let tree = Tree::new(entries.collect()).expect("tree");
    let tree = store.put_tree(&tree, &blobs).expect("put");
    store.materialise(tree).expect("complete");
    say(format!("layer {tree}"));
    let mut log = store.log_writer("log", 100).expect("log");
    log.append(&[seed; 13]).expect("append");
    say(format!("blob {}", log.finish().expect("finish")));
    keep_and_collect(store, seed, id, tree);
    // Damage one layer, so that healing is interrupted too.
    let path = store
        .layer(id)
        .expect("look")
        .expect("there")
        .join("d0/extra");
    fs::write(path, b"1").expect("damage");
    say(format!("damaged {id}"));
    store.check(true, &mut |_, _| {}).expect("check");
}

/// Pins one layer, leases another, and collects everything else.
fn keep_and_collect(store: &Store, seed: u8, leased: TreeId, pinned: TreeId) {
    let say = |what: String| println!("ACK {what}");
    let pin = Pin {
        name: format!("pin{seed}"),
        what: Pinned::Tree(pinned),
        why: String::new(),
        since_s: 0,
    };
    store.pin(&pin).expect("pin");
    say(format!("pin{seed} {pinned}"));
    store.note_made(leased, 1, 1, "leased").expect("note");
    let log = store.put_blob(&[seed; 14]).expect("put");
    store.note_blob(log, Used::Log, 1, 0, "").expect("note");
    // Another layer, so that one is evicted with its directory.
    ingest_good(store, |upper| {
        write(upper, "a/b/c", [seed, 99]);
        write(upper, "a/d", [seed, 98]);
    });
    let lease = store.lease(&[leased]);
    // What is not pinned may go from here on, and with it what an earlier child has pinned.
    say(format!("collecting pin{}", seed.saturating_sub(2)));
    store
        .unpin(&format!("pin{}", seed.saturating_sub(2)))
        .expect("unpin");
    let ask = Collect {
        now_s: 2,
        want_bytes: u64::MAX,
        dry_run: false,
        freeze: None,
    };
    let done = store.collect(&ask, &mut |_, _, _| true).expect("collect");
    assert!(!done.stopped && done.evicted > 0, "{done:?}");
    say(format!("layer {leased}"));
    drop(lease);
}

#[test]
fn child_that_is_killed() {
    // In an ordinary run this is no child and there is nothing to do.
    let Ok(dir) = std::env::var(DIR) else { return };
    let seed = std::env::var(SEED)
        .expect("the parent sets it")
        .parse()
        .expect("a byte");
    let store = Store::open(Path::new(&dir)).expect("open");
    work(&store, seed);
    work(&store, seed + 100);
    // With what it does beside its users.
    drop(store);
    println!("DONE");
}

/// Runs the child; says what it acknowledged and whether it came to its end.
fn run(dir: &Path, seed: u8, crash_at: u64) -> (Vec<String>, bool) {
    let output = Command::new(std::env::current_exe().expect("this test"))
        .args([
            "tests::crashes::child_that_is_killed",
            "--exact",
            "--nocapture",
        ])
        .env(DIR, dir)
        .env(SEED, seed.to_string())
        .env(crate::crash::ENV, crash_at.to_string())
        .output()
        .expect("the child runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let done = text.lines().any(|line| line == "DONE");
    let killed = std::os::unix::process::ExitStatusExt::signal(&output.status) == Some(9);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(done != killed, "neither killed nor done: {text}\n{errors}");
    let acknowledged = text.lines().filter_map(|line| line.strip_prefix("ACK "));
    (acknowledged.map(str::to_owned).collect(), done)
}

fn is_whole(store: &Store, id: TreeId) -> bool {
    store.layer(id).expect("look").is_some() && store.missing(id).expect("missing").is_empty()
}

fn verify(store: &Store, acknowledged: &[String], crash_at: u64) {
    let damaged: Vec<&str> = acknowledged
        .iter()
        .filter_map(|line| line.strip_prefix("damaged "))
        .collect();
    let report = store.check(false, &mut |_, _| {}).expect("check");
    for finding in &report.findings {
        let expected = damaged.iter().any(|id| finding.path.ends_with(id));
        assert!(expected, "killed at {crash_at}: {finding:?}");
    }
    assert_eq!(
        leftovers(store),
        Vec::<String>::new(),
        "killed at {crash_at}"
    );
    for line in acknowledged {
        let (kind, name) = line.split_once(' ').expect("two words");
        if kind == "collecting" {
            continue;
        }
        let there = match kind {
            "blob" => store.read_blob(name.parse().expect("id"), 1000).is_ok(),
            "record" => store.record("kind", name).expect("get").is_some(),
            "layer" if damaged.contains(&name) => true,
            pin if pin.starts_with("pin") => {
                let id = name.parse().expect("id");
                let pins = store.pins().expect("pins");
                let kept = |known: &Pin| known.name == pin && known.what == Pinned::Tree(id);
                pins.iter().any(kept) && is_whole(store, id)
            }
            "layer" => is_whole(store, name.parse().expect("id")),
            _ => true,
        };
        assert!(
            there,
            "killed at {crash_at}: {line} was acknowledged and is gone"
        );
    }
}

#[test]
fn a_kill_at_any_point_loses_nothing_acknowledged_and_leaves_nothing() {
    // In memory where that is possible: a kill is no power cut, and waiting for a disk shows nothing.
    let dir = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new());
    let dir = dir.expect("a directory");
    let mut kept: Vec<String> = Vec::new();
    let mut store_dir = dir.path().join("store0");
    for crash_at in 0..1000 {
        // A new store now and then, so that its first steps are interrupted too.
        if crash_at % 50 == 0 {
            store_dir = dir.path().join(format!("store{crash_at}"));
            kept.clear();
        }
        let seed = 2 * u8::try_from(crash_at % 50).expect("small") + 1;
        let (acknowledged, done) = run(&store_dir, seed, crash_at);
        for line in acknowledged {
            // What may be collected is no longer expected, unless it is pinned.
            if let Some(unpinned) = line.strip_prefix("collecting ") {
                let unpinned = format!("{unpinned} ");
                let stays = ["pin", "record", "damaged"];
                kept.retain(|known| {
                    stays.iter().any(|kind| known.starts_with(kind))
                        && !known.starts_with(&unpinned)
                });
            }
            kept.push(line);
        }
        let store = Store::open(&store_dir).expect("open after a kill");
        verify(&store, &kept, crash_at);
        if store.check(true, &mut |_, _| {}).expect("heal").forgotten > 0 {
            assert_clean(&store);
        }
        if done {
            assert!(crash_at > 200, "only {crash_at} points");
            println!("killed at {crash_at} points");
            return;
        }
    }
    panic!("the child never came to its end");
}

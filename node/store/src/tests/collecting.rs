use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use super::*;
use crate::{Collect, Collected, Stage, Used};

pub(super) const NOW: u64 = 2_000_000_000;
const DAY: u64 = 24 * 3600;

fn go(_: Stage, _: u64, _: u64) -> bool {
    true
}

pub(super) fn collect(store: &Store, want_bytes: u64) -> Collected {
    let ask = Collect {
        now_s: NOW,
        want_bytes,
        dry_run: false,
        freeze: None,
    };
    store.collect(&ask, &mut go).expect("a collection")
}

/// A layer of one file of `size` bytes and a file that all such layers share.
pub(super) fn layer_of(store: &Store, n: u8, size: usize) -> TreeId {
    ingest_good(store, |upper| {
        write(upper, "d/own", vec![n; size]);
        write(upper, "shared", b"what all layers have");
        chmod(&write(upper, "special", [n; 40]), 0o4755);
    })
}

pub(super) fn is_whole(store: &Store, tree: TreeId) -> bool {
    store.layer(tree).expect("look").is_some() && store.missing(tree).expect("look").is_empty()
}

fn assert_gone(store: &Store, tree: TreeId) {
    assert_eq!(store.layer(tree).expect("look"), None);
    assert_eq!(store.missing(tree).expect("look"), [tree.blob()]);
}

#[test]
fn what_nothing_names_goes_and_layers_stay_where_no_room_is_wanted() {
    let (_dir, store) = new_store();
    let tree = layer_of(&store, 1, 1000);
    let rubbish = store.put_blob(&[9; 5000]).expect("put");
    let output = store.put_blob(b"an output").expect("put");
    store
        .note_blob(output, Used::Blob, NOW, 10, "")
        .expect("note");
    let done = collect(&store, 0);
    assert_eq!(
        (done.freed_bytes, done.garbage_bytes, done.objects),
        (5000, 5000, 1)
    );
    assert_eq!((done.evicted, done.kept, done.short_bytes), (0, 2, 0));
    assert!(!store.has_blob(rubbish).expect("look"));
    assert!(store.has_blob(output).expect("look"));
    assert!(is_whole(&store, tree));
    assert_clean(&store);
}

#[test]
fn the_old_the_large_and_the_cheap_go_until_enough_is_free() {
    let (_dir, store) = new_store();
    let trees: Vec<TreeId> = (0..4).map(|n| layer_of(&store, n, 100_000)).collect();
    let note = |n: usize, age_s: u64, cost_ms: u64| {
        let words = format!("layer {n}");
        store
            .note_made(trees[n], NOW - age_s, cost_ms, &words)
            .expect("note");
    };
    note(0, 10, 60_000);
    note(1, 10 * DAY, 60_000);
    note(2, 10 * DAY, 6_000_000);
    note(3, 20 * DAY, 60_000);
    let dry = Collect {
        now_s: NOW,
        want_bytes: 150_000,
        dry_run: true,
        freeze: None,
    };
    let planned = store.collect(&dry, &mut go).expect("a plan");
    assert!(
        trees.iter().all(|tree| is_whole(&store, *tree)),
        "nothing was done yet"
    );
    let done = collect(&store, 150_000);
    let order: Vec<&str> = done
        .victims
        .iter()
        .map(|victim| victim.words.as_str())
        .collect();
    assert_eq!(order, ["layer 3", "layer 1"]);
    assert_eq!(
        planned.victims, done.victims,
        "what was said is what was done"
    );
    assert_eq!(
        (planned.freed_bytes, planned.objects),
        (done.freed_bytes, done.objects)
    );
    assert!(
        done.freed_bytes > 200_000 && done.freed_bytes < 202_000,
        "{done:?}"
    );
    for n in [3, 1] {
        assert_gone(&store, trees[n]);
    }
    for n in [0, 2] {
        assert!(is_whole(&store, trees[n]), "layer {n}");
    }
    assert_clean(&store);
    // The same bytes can come again.
    assert_eq!(layer_of(&store, 3, 100_000), trees[3]);
    assert!(is_whole(&store, trees[3]));
    let all = collect(&store, u64::MAX);
    assert_eq!((all.kept, store.stat().expect("stat").objects), (0, 0));
    assert!(all.short_bytes > 0);
    assert_clean(&store);
}

#[test]
fn leases_holds_and_pins_survive_a_collection_of_everything() {
    let (_dir, store) = new_store();
    let leased = layer_of(&store, 1, 1000);
    let dropped = layer_of(&store, 2, 1000);
    let lease = store.lease(&[leased]);
    drop(store.lease(&[dropped]));
    let hold = store.hold();
    let born = layer_of(&store, 3, 1000);
    let log = store
        .put_blob(b"a log that no claim names yet")
        .expect("put");
    let blobs = vec![vec![7; 300]];
    let tree = Tree::of_files([("a", BlobId::of(&blobs[0]), 300)]).expect("a tree");
    let source = store.put_tree(&tree, &blobs).expect("put");
    let done = collect(&store, u64::MAX);
    assert_eq!(done.evicted, 1, "{done:?}");
    assert_gone(&store, dropped);
    assert!(is_whole(&store, leased) && is_whole(&store, born));
    assert!(store.has_blob(log).expect("look"));
    assert!(store.missing(source).expect("look").is_empty());
    assert_clean(&store);
    drop(hold);
    let done = collect(&store, u64::MAX);
    assert_eq!(done.evicted, 1, "only the lease is left: {done:?}");
    assert_gone(&store, born);
    assert!(!store.has_blob(log).expect("look"));
    drop(lease);
    collect(&store, u64::MAX);
    assert_eq!(store.stat().expect("stat").objects, 0);
}

#[test]
fn old_logs_go_by_themselves_and_young_ones_last() {
    let (_dir, store) = new_store();
    let old = store.put_blob(b"an old log").expect("put");
    let young = store.put_blob(b"a young log").expect("put");
    store
        .note_blob(old, Used::Log, NOW - 31 * DAY, 0, "")
        .expect("note");
    store
        .note_blob(young, Used::Log, NOW - DAY, 0, "")
        .expect("note");
    let tree = layer_of(&store, 1, 1000);
    store.note_made(tree, NOW, 3_600_000, "dear").expect("note");
    let done = collect(&store, 0);
    assert_eq!(done.evicted, 1);
    assert!(!store.has_blob(old).expect("look") && store.has_blob(young).expect("look"));
    let done = collect(&store, 1000);
    assert_eq!(done.victims[0].words, "dear");
    assert!(store.has_blob(young).expect("look"));
    assert_eq!(collect(&store, 1).evicted, 1);
    assert!(!store.has_blob(young).expect("look"));
}

#[test]
fn uses_are_known_after_a_restart_and_the_newer_counts() {
    let (dir, store) = new_store();
    let tree = layer_of(&store, 1, 10);
    store
        .note_made(tree, 100, 5000, "it\nwas made")
        .expect("note");
    store.flush_notes().expect("flush");
    store.note_use(tree, 300).expect("note");
    store.note_use(tree, 200).expect("note");
    let seen = store.usage(tree.blob()).expect("look").expect("noted");
    assert_eq!(
        (seen.last_s, seen.cost_ms, seen.words.as_str()),
        (300, 5000, "it was made")
    );
    let row = store.rows().expect("rows").remove(0);
    assert_eq!(
        (row.last_s, row.laid_out, row.files, row.bytes),
        (300, true, 3, 70)
    );
    drop(store);
    let store = Store::open(&dir.path().join("store")).expect("open again");
    assert_eq!(store.usage(tree.blob()).expect("look"), Some(seen));
    let found = store.find(&tree.to_string()[..9]).expect("find");
    assert_eq!(found, crate::Pinned::Tree(tree));
    assert!(store.find("ffff").is_err() && store.find("xyz").is_err() && store.find("").is_err());
}

#[test]
fn a_collection_that_is_stopped_leaves_a_whole_store() {
    let (_dir, store) = new_store();
    for n in 0..5 {
        layer_of(&store, n, 1000);
    }
    for stop_at in 0.. {
        let mut asked = 0;
        let mut tell = |_, _, _| {
            asked += 1;
            asked <= stop_at
        };
        let ask = Collect {
            now_s: NOW,
            want_bytes: u64::MAX,
            dry_run: false,
            freeze: None,
        };
        let done = store.collect(&ask, &mut tell).expect("a collection");
        assert_clean(&store);
        if !done.stopped {
            break;
        }
    }
    assert_eq!(store.stat().expect("stat").objects, 0);
}

#[test]
fn collections_beside_builds_never_break_what_was_acknowledged() {
    let (_dir, store) = new_store();
    let base = ingest_good(&store, |upper| {
        for n in 0..40u8 {
            write(upper, &format!("base/{n}"), vec![n; 700]);
        }
    });
    store
        .pin(&crate::Pin {
            name: "base".to_owned(),
            what: crate::Pinned::Tree(base),
            why: String::new(),
            since_s: 0,
        })
        .expect("pin");
    let (stop, rounds, evicted) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let kept: Mutex<Vec<(TreeId, crate::Lease)>> = Mutex::default();
    std::thread::scope(|scope| {
        for worker in 0..3u8 {
            let (store, rounds, kept) = (&store, &rounds, &kept);
            scope.spawn(move || {
                for round in 0..40u8 {
                    build(store, base, worker, round, kept);
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let done = collect(&store, u64::MAX);
                assert!(!done.stopped);
                evicted.fetch_add(
                    usize::try_from(done.evicted).expect("few"),
                    Ordering::Relaxed,
                );
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let report = store.check(false, &mut |_, _| {}).expect("a check");
                assert!(report.findings.is_empty(), "{:?}", report.findings);
            }
        });
        while rounds.load(Ordering::Relaxed) < 120 {
            std::thread::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(
        evicted.load(Ordering::Relaxed) > 10,
        "nothing was ever evicted"
    );
    for (tree, _) in kept.lock().expect("no panic").iter() {
        assert!(is_whole(&store, *tree));
    }
    assert!(is_whole(&store, base));
    assert_clean(&store);
}

/// One step as a node does it: what it needs is leased before it is looked at, what it makes is held
/// until that is leased.
fn build(
    store: &Store,
    base: TreeId,
    worker: u8,
    round: u8,
    kept: &Mutex<Vec<(TreeId, crate::Lease)>>,
) {
    let hold = store.hold();
    let below = store.lease(&[base]);
    assert!(store.missing(base).expect("look").is_empty());
    let mount = store.materialise(base).expect("the base is pinned");
    // The same files again and again, so that steps count on what the collector wants to remove.
    let blobs: Vec<Vec<u8>> = (0..4u8).map(|n| vec![round % 4, n, 1]).collect();
    let files = blobs.iter().enumerate().map(|(n, bytes)| {
        let name = format!("{}", char::from(b'a' + u8::try_from(n).expect("few")));
        (name, BlobId::of(bytes), bytes.len() as u64)
    });
    let files: Vec<_> = files.collect();
    let named = files
        .iter()
        .map(|(name, blob, size)| (name.as_str(), *blob, *size));
    let source = Tree::of_files(named).expect("a tree");
    let inputs = store.lease(&[source.seal().expect("small").0]);
    let source = store.put_tree(&source, &blobs).expect("put");
    let at = store.materialise(source).expect("it was just put");
    assert_eq!(fs::read(at.join("a")).expect("it is mounted"), blobs[0]);
    let made = ingest_good(store, |upper| {
        for n in 0..10u8 {
            write(upper, &format!("o/{n}"), [round % 5, n]);
            fs::hard_link(mount.join("base/3"), upper.join(format!("l{n}"))).expect("a link");
        }
        write(upper, "mine", [worker, round]);
    });
    let lease = store.lease(&[made]);
    let mut log = store.log_writer(&format!("{worker}"), 1000).expect("a log");
    log.append(&[round % 3; 50]).expect("append");
    let log = log.finish().expect("finish");
    assert!(is_whole(store, made), "worker {worker}, round {round}");
    assert!(store.has_blob(log).expect("look"));
    store.note_made(made, NOW, 1, "").expect("note");
    drop(hold);
    assert!(is_whole(store, made), "the lease holds it");
    assert!(is_whole(store, source) && is_whole(store, base));
    if round.is_multiple_of(8) {
        kept.lock().expect("no panic").push((made, lease));
    }
    drop((below, inputs));
}

#[test]
fn a_full_disk_is_collected_and_then_takes_what_it_refused() {
    if !is_root("a_full_disk_is_collected_and_then_takes_what_it_refused") {
        return;
    }
    let dir = TempDir::new().expect("a directory");
    let _mounted = super::full::Tmpfs::mount(dir.path(), "48m");
    let store = Store::open(&dir.path().join("store")).expect("it is empty");
    let kept = layer_of(&store, 255, 1 << 20);
    let lease = store.lease(&[kept]);
    let mut made = BTreeSet::new();
    let full = loop {
        let n = u8::try_from(made.len()).expect("few");
        let put = ingest(&store, |upper| {
            let _ = fs::write(upper.join("f"), vec![n; 3 << 20]);
        });
        match put {
            Ok(ingested) => made.insert(ingested.tree),
            Err(error) => break error,
        };
    };
    assert!(matches!(full, StoreError::Full { .. }), "{full:?}");
    assert!(full.to_string().contains(crate::FULL_WORDS));
    // To the last page, so that the index has no room for saying what goes.
    let mut hog = File::create(dir.path().join("hog")).expect("a file");
    while std::io::Write::write(&mut hog, &[1; 4096]).is_ok_and(|written| written > 0) {}
    let done = collect(&store, 6 << 20);
    assert!(
        done.freed_bytes >= 6 << 20 && done.short_bytes == 0,
        "{done:?}"
    );
    assert!(is_whole(&store, kept));
    let again = layer_of(&store, 254, 5 << 20);
    assert!(is_whole(&store, again));
    assert_clean(&store);
    drop(lease);
}

/// Prints what a collection of many objects takes.
#[test]
fn many_objects_are_marked_and_swept() {
    let files: u32 = std::env::var("CARAVAN_STORE_TEST_FILES")
        .map_or(500, |files| files.parse().expect("a number"));
    let (_dir, store) = new_store();
    let fill = |from: u32| {
        ingest_good(&store, |upper| {
            for n in from..from + files {
                write(upper, &format!("d{}/f{n}", n / 500), n.to_le_bytes());
            }
        })
    };
    let (one, two) = (fill(0), fill(files / 2));
    store.note_made(two, NOW, 1_000_000, "").expect("note");
    let start = std::time::Instant::now();
    let done = collect(&store, 1);
    println!(
        "collecting {} of {} objects: {:?}",
        done.objects,
        2 * files,
        start.elapsed()
    );
    assert_gone(&store, one);
    assert!(is_whole(&store, two));
    assert_eq!(done.objects, u64::from(files / 2) + 1);
    assert_eq!(store.stat().expect("stat").objects, u64::from(files) + 1);
    assert_clean(&store);
}

#[test]
fn what_is_leased_or_found_while_it_goes_on_stays() {
    let (_dir, store) = new_store();
    let (late, other) = (layer_of(&store, 1, 1000), layer_of(&store, 2, 1000));
    let rubbish = store.put_blob(b"rubbish until now").expect("put");
    let (mut lease, mut again) = (None, None);
    let mut tell = |stage, _, _| {
        // The census is made; what it says is not the last word.
        if stage == Stage::Evicting && lease.is_none() {
            lease = Some(store.lease(&[late]));
            assert!(is_whole(&store, late));
        }
        if stage == Stage::Sweeping && again.is_none() {
            again = Some(store.put_blob(b"rubbish until now").expect("put"));
        }
        true
    };
    let ask = Collect {
        now_s: NOW,
        want_bytes: u64::MAX,
        dry_run: false,
        freeze: None,
    };
    let done = store.collect(&ask, &mut tell).expect("a collection");
    assert_eq!((done.evicted, done.guarded), (1, 1), "{done:?}");
    assert!(is_whole(&store, late));
    assert_gone(&store, other);
    assert!(store.has_blob(rubbish).expect("look"), "it was put again");
    assert_clean(&store);
}

#[test]
fn a_collection_waits_for_changes_that_began_before_it() {
    let (_dir, store) = new_store();
    let rubbish = store.put_blob(b"rubbish").expect("put");
    let flight = store.inner.guards.flight();
    let mut waited = 0;
    let mut impatient = |stage, _, _| {
        waited += u32::from(stage == Stage::Waiting);
        false
    };
    let ask = Collect {
        now_s: NOW,
        want_bytes: 1,
        dry_run: false,
        freeze: None,
    };
    let done = store.collect(&ask, &mut impatient).expect("it gives up");
    assert!(done.stopped && waited > 0, "{done:?}");
    assert!(store.has_blob(rubbish).expect("look"));
    let waiting = std::thread::spawn({
        let store = store.clone();
        move || collect(&store, 0)
    });
    drop(flight);
    assert!(!waiting.join().expect("no panic").stopped);
    collect(&store, 0);
    assert!(!store.has_blob(rubbish).expect("look"));
    assert_clean(&store);
}

//! Collections that know packs: what they freeze, what they give up, and what they never do.

use std::cell::Cell;

use caravan_pack::{Options, PackId};

use super::{
    cold::{forget_all, packs},
    collecting::{NOW, collect, is_whole},
    *,
};
use crate::{Caches, Collect, Collected, Freeze, Pin, Pinned, Stage, Used, Went};

pub(super) const DAY: u64 = 24 * 3600;

pub(super) fn quick() -> Options {
    Options {
        level: 1,
        dictionary_bytes: 0,
        ..Options::cold(1)
    }
}

/// A layer of `size` bytes that compress to a third or so, and of some others.
pub(super) fn layer(store: &Store, seed: u8, size: usize) -> TreeId {
    ingest_good(store, |upper| {
        write(upper, "usr/bin/own", own(seed, size));
        write(
            upper,
            "usr/share/text",
            b"what all of them have\n".repeat(40),
        );
        write(upper, "usr/share/name", [seed; 60]);
        chmod(&write(upper, "usr/bin/special", [seed; 40]), 0o4755);
    })
}

fn own(seed: u8, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    for (at, byte) in noise(seed, size.div_ceil(4)).into_iter().enumerate() {
        bytes[4 * at] = byte;
    }
    bytes
}

pub(super) fn noise(seed: u8, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

pub(super) fn made(store: &Store, tree: TreeId, age_s: u64, cost_ms: u64) {
    store
        .note_made(tree, NOW - age_s, cost_ms, "made")
        .expect("note");
}

pub(super) fn ask(want_bytes: u64) -> Collect {
    Collect {
        now_s: NOW,
        want_bytes,
        dry_run: false,
        freeze: Some(Freeze {
            idle_s: 7 * DAY,
            how: quick(),
        }),
    }
}

fn freezing(store: &Store, want_bytes: u64) -> Collected {
    store
        .collect(&ask(want_bytes), &mut |_, _, _| true)
        .expect("a collection")
}

fn is_here(store: &Store, tree: TreeId) -> bool {
    store.missing(tree).expect("look").is_empty()
}

fn is_laid_out(store: &Store, tree: TreeId) -> bool {
    store.layer(tree).expect("look").is_some()
}

fn went(done: &Collected) -> Vec<Went> {
    done.victims.iter().map(|victim| victim.went).collect()
}

#[test]
fn what_is_dear_and_idle_is_frozen_and_only_its_mountable_form_goes() {
    let (dir, store) = new_store();
    let dear = layer(&store, 1, 100_000);
    let young = layer(&store, 2, 100_000);
    let cheap = layer(&store, 3, 100_000);
    made(&store, dear, 30 * DAY, 600_000);
    made(&store, young, DAY, 600_000);
    made(&store, cheap, 30 * DAY, 1);
    let listing = store.tree(dear).expect("there");
    let done = freezing(&store, 150_000);
    assert_eq!((done.frozen, done.forms), (1, 1), "{done:?}");
    assert_eq!(done.evicted, 1, "the cheap one is forgotten: {done:?}");
    assert!(done.frozen_bytes > 25_000 && done.freed_bytes > 200_000);
    assert!(!is_here(&store, cheap));
    assert!(is_whole(&store, young) && !store.is_frozen(young).expect("look"));
    // It is here in every way but mountable.
    assert!(is_here(&store, dear) && !is_laid_out(&store, dear));
    assert!(store.is_frozen(dear).expect("look"));
    assert_eq!(
        store.find(&dear.to_string()[..10]).ok(),
        Some(Pinned::Tree(dear))
    );
    let rows = store.rows().expect("rows");
    let row = rows.iter().find(|row| row.blob == dear.blob());
    let row = row.expect("it is still listed");
    assert!(row.frozen && !row.laid_out);
    assert_eq!((row.bytes, row.cost_ms), (listing.size(), 600_000));
    let mut archive = Vec::new();
    store.export(dear, &mut archive).expect("exported");
    assert!(archive.len() > 100_000);
    assert_clean(&store);
    drop(store);
    let store = Store::open(&dir.path().join("store")).expect("open again");
    assert!(is_here(&store, dear) && !is_laid_out(&store, dear));
    assert_eq!(collect(&store, 0).evicted, 0);
    let path = store.materialise(dear).expect("it thaws by itself");
    let own = fs::read(path.join("usr/bin/own")).expect("laid out");
    assert!(own == super::freezing::own(1, 100_000));
    assert_clean(&store);
    // It is in packs all the while: its form goes again without a new one.
    let done = freezing(&store, 1);
    assert_eq!(
        (done.frozen, done.forms, done.evicted),
        (0, 1, 0),
        "{done:?}"
    );
    assert!(is_here(&store, dear));
}

#[test]
fn a_pack_goes_with_all_that_only_it_has_or_not_at_all() {
    let (_dir, store) = new_store();
    let trees: Vec<TreeId> = (1..4).map(|n| layer(&store, n, 50_000)).collect();
    for tree in &trees {
        made(&store, *tree, 30 * DAY, 60_000);
    }
    store.freeze(&trees, quick()).expect("frozen");
    assert_eq!(store.cool(&trees).expect("cool"), trees);
    collect(&store, 0);
    let pack = packs(&store)[0];
    let pin = Pin {
        name: "one".to_owned(),
        what: Pinned::Tree(trees[0]),
        why: String::new(),
        since_s: 0,
    };
    store.pin(&pin).expect("it is whole");
    let done = collect(&store, u64::MAX);
    assert_eq!((done.packs, done.evicted), (0, 0), "{done:?}");
    assert!(trees.iter().all(|tree| is_here(&store, *tree)));
    assert!(matches!(
        store.drop_pack(pack),
        Err(StoreError::Needed { .. })
    ));
    store.unpin("one").expect("unpin");
    let lease = store.lease(&trees[2..]);
    assert_eq!(collect(&store, u64::MAX).packs, 0);
    drop(lease);
    let dry = Collect {
        dry_run: true,
        freeze: None,
        ..ask(u64::MAX)
    };
    let planned = store.collect(&dry, &mut |_, _, _| true).expect("a plan");
    assert!(trees.iter().all(|tree| is_here(&store, *tree)));
    let done = collect(&store, u64::MAX);
    assert_eq!((done.packs, done.evicted), (1, 3), "{done:?}");
    assert_eq!(went(&planned), went(&done));
    assert!(done.pack_bytes > 37_000 && done.freed_bytes >= done.pack_bytes);
    assert!(packs(&store).is_empty() && !trees.iter().any(|tree| is_here(&store, *tree)));
    assert!(store.rows().expect("rows").is_empty());
    assert_clean(&store);
}

#[test]
fn packs_that_lean_on_each_other_go_together() {
    let (_dir, store) = new_store();
    let fill = |seed: u8| {
        ingest_good(&store, |upper| {
            let own = [noise(9, 400_000), vec![seed; 3000]].concat();
            write(upper, "lib/large", own);
        })
    };
    let (base, sibling) = (fill(1), fill(2));
    made(&store, base, 300 * DAY, 1);
    made(&store, sibling, 8 * DAY, 3_600_000);
    store.freeze(&[base], quick()).expect("frozen");
    store.freeze(&[sibling], quick()).expect("frozen");
    store.cool(&[base, sibling]).expect("cool");
    let leans = |(_, facts): &(PackId, crate::PackFacts)| !facts.leans_on.is_empty();
    assert_eq!(
        store
            .packs()
            .expect("packs")
            .iter()
            .filter(|pack| leans(pack))
            .count(),
        1
    );
    collect(&store, 0);
    let lease = store.lease(&[sibling]);
    let done = collect(&store, u64::MAX);
    assert_eq!(done.packs, 0, "the base's pack is leant on: {done:?}");
    assert!(is_here(&store, base));
    drop(lease);
    // The leaning one alone can go where it is worth less.
    made(&store, base, 1, 3_600_000);
    let done = collect(&store, 1);
    assert_eq!((done.packs, done.evicted), (1, 1), "{done:?}");
    assert!(is_here(&store, base) && !is_here(&store, sibling));
    store.materialise(base).expect("it stands alone");
    assert_clean(&store);
}

#[test]
fn a_mountable_tree_outlives_its_pack() {
    let (_dir, store) = new_store();
    let (hot, cold) = (layer(&store, 1, 40_000), layer(&store, 2, 40_000));
    made(&store, hot, 10, 60_000);
    made(&store, cold, 90 * DAY, 60_000);
    store.freeze(&[hot, cold], quick()).expect("frozen");
    store.cool(&[cold]).expect("cool");
    let lease = store.lease(&[hot]);
    let done = collect(&store, u64::MAX);
    assert_eq!(
        (done.packs, done.evicted, done.forms),
        (1, 1, 0),
        "{done:?}"
    );
    assert!(is_whole(&store, hot) && !is_here(&store, cold));
    assert!(!store.is_frozen(hot).expect("look"));
    drop(lease);
    let done = collect(&store, u64::MAX);
    assert_eq!(
        (done.evicted, went(&done).as_slice()),
        (1, &[Went::Forgotten][..])
    );
    assert_clean(&store);
}

#[test]
fn what_is_found_in_a_pack_while_a_collection_goes_on_stays() {
    let (_dir, store) = new_store();
    let tree = layer(&store, 1, 20_000);
    made(&store, tree, 30 * DAY, 1);
    store.freeze(&[tree], quick()).expect("frozen");
    store.cool(&[tree]).expect("cool");
    collect(&store, 0);
    let looked = Cell::new(false);
    let mut tell = |stage, _, _| {
        if stage == Stage::Evicting && !looked.replace(true) {
            assert!(is_here(&store, tree));
        }
        true
    };
    let all = Collect {
        freeze: None,
        ..ask(u64::MAX)
    };
    let done = store.collect(&all, &mut tell).expect("a collection");
    assert!(looked.get() && done.packs == 0, "{done:?}");
    assert!(is_here(&store, tree));
    store.materialise(tree).expect("whole");
    assert_clean(&store);
}

#[test]
fn what_is_in_use_keeps_its_mountable_form() {
    let (_dir, store) = new_store();
    let tree = layer(&store, 1, 20_000);
    made(&store, tree, 30 * DAY, 60_000);
    store.freeze(&[tree], quick()).expect("frozen");
    let lease = store.lease(&[tree]);
    assert!(store.cool(&[tree]).expect("cool").is_empty());
    collect(&store, u64::MAX);
    assert!(is_whole(&store, tree));
    drop(lease);
    // What is not frozen has nothing to give up.
    let other = layer(&store, 2, 20_000);
    assert!(store.cool(&[other]).expect("cool").is_empty());
    assert!(is_whole(&store, other));
}

#[test]
fn what_nobody_has_noted_is_here_when_it_is_cold_and_goes_first() {
    let (dir, store) = new_store();
    let (unknown, known) = (layer(&store, 1, 20_000), layer(&store, 2, 20_000));
    made(&store, known, DAY, 60_000);
    // What both have is in the pack of the known one.
    for tree in [known, unknown] {
        store.freeze(&[tree], quick()).expect("frozen");
    }
    store.cool(&[unknown, known]).expect("cool");
    store.flush_notes().expect("flush");
    drop(store);
    let store = Store::open(&dir.path().join("store")).expect("open again");
    assert_eq!(collect(&store, 0).evicted, 0);
    assert!(is_here(&store, unknown) && is_here(&store, known));
    let done = collect(&store, 1);
    assert_eq!((done.packs, done.evicted), (1, 1), "{done:?}");
    assert!(!is_here(&store, unknown) && is_here(&store, known));
    // A blob that only a pack has frees nothing by itself.
    let listing = store.tree(known).expect("in the pack");
    let blob = *listing.blobs().keys().next().expect("it has files");
    store
        .note_blob(blob, Used::Blob, 1, 0, "old and cheap")
        .expect("note");
    let lease = store.lease(&[known]);
    assert_eq!(collect(&store, u64::MAX).evicted, 0);
    drop(lease);
    let done = collect(&store, u64::MAX);
    assert_eq!((done.packs, done.evicted), (1, 2), "{done:?}");
    assert_clean(&store);
}

#[test]
fn freezing_that_is_told_to_stop_leaves_no_pack_and_the_collection_goes_on() {
    let (_dir, store) = new_store();
    let tree = layer(&store, 1, 2_000_000);
    made(&store, tree, 30 * DAY, 6_000_000);
    let mut tell = |stage, _, _| stage != Stage::Freezing;
    let done = store
        .collect(&ask(u64::MAX), &mut tell)
        .expect("a collection");
    assert!(!done.stopped);
    assert_eq!((done.frozen, done.evicted), (0, 1), "{done:?}");
    assert!(packs(&store).is_empty());
    assert_clean(&store);
    let tree = layer(&store, 1, 2_000_000);
    let stopped = store.freeze_beside(&[tree], quick(), &mut |_, _| false);
    assert!(
        matches!(stopped, Err(StoreError::Stopped { .. })),
        "{stopped:?}"
    );
    assert!(packs(&store).is_empty() && is_whole(&store, tree));
    assert_clean(&store);
    // Thawing the same.
    store.freeze(&[tree], quick()).expect("frozen");
    store.cool(&[tree]).expect("cool");
    collect(&store, 0);
    let stopped = store.thaw(tree, &mut |_, _| false);
    assert!(
        matches!(stopped, Err(StoreError::Stopped { .. })),
        "{stopped:?}"
    );
    assert!(!is_laid_out(&store, tree));
    assert_eq!(store.stat().expect("stat").objects, 0);
    assert_clean(&store);
    let (mut last, mut most) = (0, 0);
    let mut tell = |done, total| {
        (last, most) = (done, total);
        true
    };
    assert_eq!(store.thaw(tree, &mut tell).expect("thawed"), 5);
    assert!(last <= most);
    assert!(is_whole(&store, tree));
}

#[test]
fn a_pack_that_nothing_needs_goes_and_one_that_is_mostly_dead_is_packed_anew() {
    let (_dir, store) = new_store();
    let trees: Vec<TreeId> = (1..6).map(|n| layer(&store, n, 60_000)).collect();
    for tree in &trees {
        made(&store, *tree, 30 * DAY, 600_000);
    }
    store.freeze(&trees, quick()).expect("frozen");
    store.cool(&trees).expect("cool");
    collect(&store, 0);
    let before = packs(&store);
    // Four of five are forgotten, as by a check that finds them damaged.
    for tree in &trees[1..] {
        store.inner.notes.forget(tree.blob());
    }
    let forgotten = crate::index::Change {
        remove_uses: trees[1..].iter().map(|tree| tree.blob()).collect(),
        ..Default::default()
    };
    store.inner.index.apply(&forgotten).expect("forgotten");
    let done = freezing(&store, 1);
    assert_eq!((done.packs, done.evicted), (1, 0), "{done:?}");
    let after = packs(&store);
    assert!(after.len() == 1 && after != before, "{after:?}");
    let bytes = store.packs().expect("packs")[0].1.bytes;
    assert!(bytes < 40_000, "{bytes}");
    assert!(is_here(&store, trees[0]) && !is_here(&store, trees[1]));
    assert_clean(&store);
    let path = store.materialise(trees[0]).expect("whole");
    let own = fs::read(path.join("usr/bin/own")).expect("laid out");
    assert!(own == super::freezing::own(1, 60_000));
    // And when the last is forgotten too, the pack is of no use.
    let forgotten = crate::index::Change {
        remove_uses: vec![trees[0].blob()],
        remove_layers: vec![trees[0]],
        ..Default::default()
    };
    store.inner.index.apply(&forgotten).expect("forgotten");
    let done = collect(&store, 0);
    assert_eq!(done.packs, 1, "{done:?}");
    assert!(packs(&store).is_empty());
}

#[test]
fn a_leaning_pair_that_is_mostly_dead_is_packed_anew_as_one() {
    let (_dir, store) = new_store();
    let fill = |seed: u8| {
        ingest_good(&store, |upper| {
            write(
                upper,
                "lib/large",
                [noise(9, 300_000), vec![seed; 3000]].concat(),
            );
            // The first has much that no other has.
            let own = if seed == 1 { 1_500_000 } else { 400_000 };
            write(upper, "lib/own", noise(seed, own));
        })
    };
    let trees: Vec<TreeId> = (1..4).map(fill).collect();
    for tree in &trees {
        made(&store, *tree, 30 * DAY, 60_000_000);
        store.freeze(&[*tree], quick()).expect("frozen");
    }
    store.cool(&trees).expect("cool");
    let forgotten = crate::index::Change {
        remove_uses: trees[..2].iter().map(|tree| tree.blob()).collect(),
        ..Default::default()
    };
    for tree in &trees[..2] {
        store.inner.notes.forget(tree.blob());
    }
    store.inner.index.apply(&forgotten).expect("forgotten");
    collect(&store, 0);
    // The second leant on the first and nothing needs it; the third needs a part of the first.
    assert_eq!(packs(&store).len(), 2);
    forget_all(&store);
    freezing(&store, 1);
    assert!(is_here(&store, trees[2]));
    let path = store.materialise(trees[2]).expect("whole");
    assert_eq!(
        fs::read(path.join("lib/own")).expect("laid out"),
        noise(3, 400_000)
    );
    assert_clean(&store);
}

#[test]
fn freezing_on_a_full_disk_leaves_nothing_and_what_it_was_for_is_forgotten_instead() {
    if !is_root("freezing_on_a_full_disk_leaves_nothing_and_what_it_was_for_is_forgotten_instead") {
        return;
    }
    let dir = TempDir::new().expect("a directory");
    let _mounted = super::full::Tmpfs::mount(dir.path(), "24m");
    let store = Store::open(&dir.path().join("store")).expect("it is empty");
    let tree = layer(&store, 1, 4 << 20);
    made(&store, tree, 30 * DAY, 60_000_000);
    let hog = dir.path().join("hog");
    let free = rustix::fs::statvfs(dir.path()).expect("statvfs");
    let free = free.f_bavail * free.f_frsize;
    let room = 1 << 20;
    let hogged = vec![1; usize::try_from(free - room).expect("small")];
    fs::write(&hog, hogged).expect("room");
    // Asked for by name there is no looking first; the disk says it.
    let full = store.freeze(&[tree], quick());
    assert!(matches!(full, Err(StoreError::Full { .. })), "{full:?}");
    assert!(packs(&store).is_empty());
    assert_clean(&store);
    let done = freezing(&store, 1 << 20);
    assert_eq!(
        (done.frozen, done.evicted, done.short_bytes),
        (0, 1, 0),
        "{done:?}"
    );
    assert_clean(&store);
    fs::remove_file(&hog).expect("remove");
    let tree = layer(&store, 1, 4 << 20);
    made(&store, tree, 30 * DAY, 60_000_000);
    let done = freezing(&store, 1 << 20);
    assert_eq!((done.frozen, done.forms), (1, 1), "{done:?}");
    assert!(is_here(&store, tree));
    assert_clean(&store);
}

#[test]
fn a_disk_that_fills_anywhere_in_freezing_or_thawing_loses_nothing() {
    if !is_root("a_disk_that_fills_anywhere_in_freezing_or_thawing_loses_nothing") {
        return;
    }
    let dir = TempDir::new().expect("a directory");
    let _mounted = super::full::Tmpfs::mount(dir.path(), "5m");
    let store = Store::open(&dir.path().join("store")).expect("it is empty");
    let tree = layer(&store, 1, 200_000);
    made(&store, tree, 30 * DAY, 60_000);
    let hog = dir.path().join("hog");
    let (mut frozen, mut refused) = (0, 0);
    for room in (0..200u64).map(|step| step * 8192) {
        let free = rustix::fs::statvfs(dir.path()).expect("statvfs");
        let free = (free.f_bavail * free.f_frsize).saturating_sub(room);
        let _ = fs::write(&hog, vec![1; usize::try_from(free).expect("small")]);
        let work = || {
            store.freeze(&[tree], quick())?;
            store.cool(&[tree])?;
            store.collect(
                &Collect {
                    now_s: NOW,
                    ..Collect::default()
                },
                &mut |_, _, _| true,
            )?;
            store.materialise(tree)
        };
        match work() {
            Ok(_) => frozen += 1,
            Err(StoreError::Full { .. }) => refused += 1,
            Err(error) => panic!("with {room} bytes left: {error:?}"),
        }
        fs::remove_file(&hog).expect("remove");
        assert!(is_here(&store, tree), "with {room} bytes left");
        assert_clean(&store);
        store.materialise(tree).expect("there is room again");
        for pack in packs(&store) {
            store.drop_pack(pack).expect("drop");
        }
        if frozen > 2 {
            assert!(refused > 5, "it was refused {refused} times");
            return;
        }
    }
    panic!("it never fitted");
}

#[test]
fn water_marks_count_packs_and_caches_and_old_caches_go() {
    let (_dir, store) = new_store();
    let tree = layer(&store, 1, 100_000);
    made(&store, tree, 10, 60_000_000);
    let before = store.disk().expect("disk").held;
    let frozen = store.freeze(&[tree], quick()).expect("frozen");
    let caches = Caches::new(store.clone());
    let lent = caches.lend("domain", "cache", (0, 0)).expect("lent");
    fs::write(lent.upper().join("file"), noise(7, 300_000)).expect("written");
    lent.release().expect("kept");
    let held = store.held().expect("held");
    assert_eq!(held.packs, frozen.bytes);
    assert!(held.caches > 300_000, "{held:?}");
    let now = store.disk().expect("disk").held;
    assert!(
        now >= before + held.packs + held.caches,
        "{before} {now} {held:?}"
    );
    let log = store.put_blob(&[5; 700]).expect("put");
    store.note_blob(log, Used::Log, NOW, 0, "").expect("note");
    assert_eq!(store.held().expect("held").logs, 700);
    let lent = caches.lend("domain", "other", (0, 0)).expect("lent");
    let done = collect(&store, 50_000);
    assert!(went(&done).contains(&Went::Cache), "{done:?}");
    assert_eq!(
        store.caches().expect("count"),
        1,
        "the one that is lent stays"
    );
    assert!(is_here(&store, tree));
    drop(lent);
    assert_clean(&store);
}

#[test]
fn collections_that_freeze_beside_builds_never_break_what_was_acknowledged() {
    let (_dir, store) = new_store();
    let base = layer(&store, 200, 30_000);
    let pin = Pin {
        name: "base".to_owned(),
        what: Pinned::Tree(base),
        why: String::new(),
        since_s: 0,
    };
    store.pin(&pin).expect("pin");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let enough = std::sync::atomic::AtomicBool::new(false);
    let (mut frozen, mut packs_dropped) = (0, 0);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2u8)
            .map(|worker| {
                let (store, enough) = (&store, &enough);
                scope.spawn(move || {
                    for round in 0..250u8 {
                        if round > 30 && enough.load(std::sync::atomic::Ordering::Relaxed) {
                            break;
                        }
                        // Five different layers come again and again, laid out, cold or forgotten.
                        let hold = store.hold();
                        let tree = layer(store, round % 5, 3000);
                        made(store, tree, 30 * DAY, 60_000);
                        drop(hold);
                        let lease = store.lease(&[tree, base]);
                        assert!(is_here(store, base));
                        if is_here(store, tree) {
                            let path = store.materialise(tree).expect("it is leased");
                            let own = fs::read(path.join("usr/bin/own")).expect("it is mounted");
                            assert!(
                                own == super::freezing::own(round % 5, 3000),
                                "worker {worker}"
                            );
                            assert!(is_whole(store, tree));
                        }
                        drop(lease);
                    }
                })
            })
            .collect();
        let collector = scope.spawn(|| {
            let mut seen = (0, 0);
            let mut round = 0u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                round += 1;
                let want = if round.is_multiple_of(4) {
                    u64::MAX
                } else {
                    1000
                };
                let done = freezing(&store, want);
                assert!(!done.stopped);
                seen = (seen.0 + done.frozen, seen.1 + done.packs);
                let much = seen.0 > 3 && seen.1 > 3;
                enough.store(much, std::sync::atomic::Ordering::Relaxed);
            }
            seen
        });
        for worker in workers {
            worker.join().expect("a worker");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        (frozen, packs_dropped) = collector.join().expect("the collector");
    });
    assert!(frozen > 3 && packs_dropped > 3, "{frozen} {packs_dropped}");
    assert!(is_whole(&store, base));
    assert_clean(&store);
}

#[test]
fn what_leans_on_a_damaged_pack_is_known_to_lack_its_parts() {
    let (_dir, store) = new_store();
    let fill = |seed: u8| {
        ingest_good(&store, |upper| {
            write(
                upper,
                "lib/large",
                [noise(9, 400_000), vec![seed; 3000]].concat(),
            );
        })
    };
    let (base, sibling) = (fill(1), fill(2));
    let first = store.freeze(&[base], quick()).expect("frozen");
    store.freeze(&[sibling], quick()).expect("frozen");
    forget_all(&store);
    let path = store
        .dir()
        .join("packs")
        .join(first.pack.expect("new").to_string());
    let mut bytes = fs::read(&path).expect("read");
    bytes[3000] ^= 1;
    fs::write(&path, bytes).expect("write");
    let report = store.check(true, &mut |_, _| {}).expect("heal");
    assert_eq!(report.found, 1, "{:?}", report.findings);
    for tree in [base, sibling] {
        assert!(!is_here(&store, tree));
        assert!(!store.is_frozen(tree).expect("look"));
    }
    assert_clean(&store);
    assert_eq!(fill(2), sibling);
    assert!(is_here(&store, sibling));
}

#[test]
fn a_damaged_image_is_found_dropped_and_made_again() {
    let (_dir, store) = new_store();
    let base = layer(&store, 1, 1000);
    let layers: Vec<TreeId> = (2..12).map(|n| layer(&store, n, 100)).collect();
    assert!(store.prepare(base, &layers).expect("an image"));
    let image = store.stack(base, &layers).expect("a stack").image;
    let file = image.expect("it has one").file;
    assert_clean(&store);
    let mut bytes = fs::read(&file).expect("read");
    bytes[2000] ^= 1;
    fs::write(&file, bytes).expect("write");
    let report = store.check(false, &mut |_, _| {}).expect("check");
    let kinds: Vec<_> = report.findings.iter().map(|found| found.kind).collect();
    assert_eq!(kinds, [crate::FindingKind::DamagedImage]);
    assert!(report.findings[0].path.starts_with("images/"));
    store.check(true, &mut |_, _| {}).expect("heal");
    assert_clean(&store);
    assert!(store.stack(base, &layers).expect("a stack").image.is_none());
    assert!(store.wants_images());
    assert_eq!(store.make_images().expect("made"), 1);
    let image = store.stack(base, &layers).expect("a stack").image;
    assert_eq!(image.expect("it has one again").file, file);
    assert_clean(&store);
}

#[test]
fn a_cache_with_what_none_should_hold_is_found_and_goes() {
    let (_dir, store) = new_store();
    let caches = Caches::new(store.clone());
    let lent = caches.lend("domain", "cache", (0, 0)).expect("lent");
    fs::write(lent.upper().join("file"), b"cached").expect("written");
    lent.release().expect("kept");
    assert_clean(&store);
    let cache = fs::read_dir(store.dir().join("caches"))
        .expect("caches")
        .next();
    let cache = cache.expect("one").expect("an entry").path();
    fs::write(cache.join("stray"), b"1").expect("write");
    let report = store.check(false, &mut |_, _| {}).expect("check");
    let kinds: Vec<_> = report.findings.iter().map(|found| found.kind).collect();
    assert_eq!(kinds, [crate::FindingKind::DamagedCache]);
    let lent = caches.lend("domain", "cache", (0, 0)).expect("lent");
    let report = store.check(false, &mut |_, _| {}).expect("check");
    assert!(report.is_clean(), "one that is lent is in use: {report:?}");
    drop(lent);
    fs::write(cache.join("stray"), b"1").expect("write");
    store.check(true, &mut |_, _| {}).expect("heal");
    assert_eq!(caches.usage().expect("usage"), (0, 0));
    assert_clean(&store);
}

/// Prints what freezing and thawing a directory of this machine takes.
#[test]
fn a_directory_of_this_machine_is_frozen_and_thawed() {
    let from = std::env::var("CARAVAN_STORE_TEST_FREEZE").unwrap_or_else(|_| "src".to_owned());
    let (_dir, store) = new_store();
    let tree = ingest_good(&store, |upper| {
        let copied = std::process::Command::new("cp")
            .args(["-a", "--reflink=auto", &from])
            .arg(upper)
            .status();
        assert!(copied.expect("cp runs").success());
    });
    let bytes = store.tree(tree).expect("there").size();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let start = std::time::Instant::now();
    let frozen = store
        .freeze_beside(&[tree], Options::cold(threads), &mut |_, _| true)
        .expect("frozen");
    let freezing = start.elapsed();
    store.cool(&[tree]).expect("cool");
    collect(&store, 0);
    let start = std::time::Instant::now();
    let files = store.thaw(tree, &mut |_, _| true).expect("thawed");
    let thawing = start.elapsed();
    let speed = |took: std::time::Duration| bytes as f64 / 1e6 / took.as_secs_f64();
    println!(
        "{files} files, {bytes} bytes: frozen in {freezing:?} ({:.1} MB/s) to {} bytes (1/{:.2}), \
         thawed in {thawing:?} ({:.1} MB/s)",
        speed(freezing),
        frozen.bytes,
        bytes as f64 / frozen.bytes as f64,
        speed(thawing)
    );
    assert!(is_whole(&store, tree));
}

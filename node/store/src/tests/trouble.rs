//! Trouble with packs and caches: what is lost is known to be, and nothing else goes with it.

use std::{cell::Cell, fs};

use caravan_pack::{Alone, Pack, PackId};
use caravan_protocol::ids::{BlobId, TreeId};
use redb::{ReadableTable, TableDefinition};

use super::{
    cold::{forget_all, packs},
    collecting::{NOW, collect, is_whole},
    freezing::{DAY, ask, layer, made, noise, quick},
    full::Tmpfs,
    *,
};
use crate::{Caches, Collect, FindingKind, Stage, Went, index::Bytes};

/// One with a large file that is mostly alike in all, and one of its own.
fn large(store: &Store, seed: u8) -> TreeId {
    ingest_good(store, |upper| {
        let alike = [noise(9, 400_000), vec![seed; 3000]].concat();
        write(upper, "lib/alike", alike);
        write(upper, "lib/own", noise(seed, 400_000));
    })
}

/// Two mountable trees in packs of which the second leans on the first.
fn leaning() -> (TempDir, Store, [TreeId; 2], [PackId; 2]) {
    let (dir, store) = new_store();
    let trees = [large(&store, 1), large(&store, 2)];
    let packs = trees.map(|tree| {
        made(&store, tree, 30 * DAY, 60_000);
        let frozen = store.freeze(&[tree], quick()).expect("frozen");
        frozen.pack.expect("new")
    });
    let facts = store.packs().expect("packs").into_iter();
    let leans = facts.filter(|(_, facts)| facts.leans_on == [packs[0].blob()]);
    assert_eq!(leans.map(|(pack, _)| pack).collect::<Vec<_>>(), [packs[1]]);
    store.flush_notes().expect("flush");
    drop(store);
    let store = Store::open(&dir.path().join("store")).expect("open again");
    (dir, store, trees, packs)
}

fn file(store: &Store, pack: PackId) -> PathBuf {
    store.dir().join("packs").join(pack.to_string())
}

fn is_here(store: &Store, tree: TreeId) -> bool {
    store.missing(tree).expect("look").is_empty()
}

/// Its form goes, and it comes back.
fn goes_and_comes(store: &Store, tree: TreeId) {
    store.freeze(&[tree], quick()).expect("frozen again");
    assert_eq!(store.cool(&[tree]).expect("cool"), [tree]);
    collect(store, 0);
    forget_all(store);
    assert!(is_here(store, tree));
    store.materialise(tree).expect("it comes back");
    assert!(is_whole(store, tree));
    assert_clean(store);
}

#[test]
fn what_leans_on_a_pack_that_a_reader_finds_gone_is_frozen_anew() {
    let (_dir, store, [base, sibling], [first, second]) = leaning();
    fs::remove_file(file(&store, first)).expect("remove");
    let read = crate::cold::read(&store.inner, base.blob(), 1 << 20).expect("looked");
    assert!(read.is_none() && packs(&store) == [second]);
    let of = |path: &[u8]| match store.tree(sibling).expect("there").get(path) {
        Some(Entry {
            kind: Kind::File { blob, .. },
            ..
        }) => *blob,
        other => panic!("{other:?}"),
    };
    let (alike, own) = (of(b"lib/alike"), of(b"lib/own"));
    let lost = crate::cold::not_packed(&store.inner, vec![alike, own]).expect("look");
    assert_eq!(lost, [alike], "what needs no other pack is still there");
    goes_and_comes(&store, sibling);
}

#[test]
fn a_row_that_an_earlier_version_left_of_a_lame_pack_is_not_believed() {
    const PACKS: Bytes = TableDefinition::new("packs");
    const PACKED: Bytes = TableDefinition::new("packed");
    const FROZEN: Bytes = TableDefinition::new("frozen");
    let (dir, store, [_, sibling], [first, _]) = leaning();
    fs::remove_file(file(&store, first)).expect("remove");
    let forget = |txn: &redb::WriteTransaction| -> crate::Result<()> {
        txn.open_table(PACKS)?.remove(first.as_bytes().as_slice())?;
        let is_other = |key: &[u8]| !key.ends_with(first.as_bytes());
        txn.open_table(PACKED)?.retain(|key, _| is_other(key))?;
        txn.open_table(FROZEN)?.retain(|_, _| false)?;
        assert!(txn.open_table(PACKS)?.iter()?.count() == 1);
        Ok(())
    };
    store.inner.index.write(forget).expect("forgotten");
    store.freeze(&[sibling], quick()).expect("frozen again");
    assert_eq!(store.cool(&[sibling]).expect("cool"), [sibling]);
    collect(&store, 0);
    forget_all(&store);
    drop(store);
    // And from the next start on nobody asks it for what it cannot give.
    let store = Store::open(&dir.path().join("store")).expect("open again");
    let leans = |(_, facts): &(PackId, crate::PackFacts)| facts.leans_on.contains(&first.blob());
    assert!(!store.packs().expect("packs").iter().any(leans));
    assert!(is_here(&store, sibling));
    store.materialise(sibling).expect("it comes back");
    assert_clean(&store);
}

#[test]
fn a_pack_that_cannot_be_read_just_now_is_told_of_and_stays() {
    let (_dir, store, trees, [first, _]) = leaning();
    let (path, aside) = (file(&store, first), store.dir().join("aside"));
    fs::rename(&path, &aside).expect("aside");
    // Opening it is an error of the system, and not that there is nothing.
    std::os::unix::fs::symlink(&path, &path).expect("a loop");
    let report = store.check(true, &mut |_, _| {}).expect("a check");
    let kinds: Vec<_> = report.findings.iter().map(|found| found.kind).collect();
    assert_eq!(kinds, [FindingKind::UnreadPack], "{report:?}");
    assert!(report.forgotten == 0 && !report.is_clean(), "{report:?}");
    assert_eq!(packs(&store).len(), 2);
    fs::rename(&aside, &path).expect("back");
    assert_clean(&store);
    forget_all(&store);
    for tree in trees {
        store.materialise(tree).expect("nothing is lost");
    }
}

#[test]
fn a_pack_that_comes_while_orphans_are_removed_stays() {
    let (_dir, store, _, [first, _]) = leaning();
    let stray = write(&store.dir().join("packs"), "stray", b"half a pack");
    for name in [first.to_string(), "stray".to_owned()] {
        crate::cold::remove_orphan(&store.inner, &name).expect("looked");
    }
    assert!(file(&store, first).exists() && !stray.exists());
}

#[test]
fn a_cache_goes_where_not_even_a_directory_can_be_made() {
    if !is_root("a_cache_goes_where_not_even_a_directory_can_be_made") {
        return;
    }
    let dir = TempDir::new().expect("a directory");
    let _mounted = Tmpfs::mount(dir.path(), "24m,nr_inodes=600");
    let store = Store::open(&dir.path().join("store")).expect("it is empty");
    let caches = Caches::new(store.clone());
    let lent = caches.lend("domain", "cache", (0, 0)).expect("lent");
    fs::write(lent.upper().join("file"), noise(7, 300_000)).expect("written");
    lent.release().expect("kept");
    let blob = store.put_blob(&[5; 700]).expect("put");
    store.inner.spares.close();
    let hogs = dir.path().join("hogs");
    fs::create_dir(&hogs).expect("a directory");
    let filled = (0..1000).find(|n| File::create(hogs.join(n.to_string())).is_err());
    assert!(filled.is_some() && fs::create_dir(dir.path().join("more")).is_err());
    let done = collect(&store, u64::MAX);
    assert!(done.cache_bytes > 300_000, "{done:?}");
    assert_eq!(store.caches().expect("count"), 0);
    assert!(!store.has_blob(blob).expect("look"), "the sweep went on");
    assert_eq!(leftovers(&store), Vec::<String>::new());
}

#[test]
fn a_cache_that_cannot_be_read_keeps_no_other_from_going() {
    let (_dir, store) = new_store();
    let caches = Caches::new(store.clone());
    let lent = caches.lend("domain", "cache", (0, 0)).expect("lent");
    fs::write(lent.upper().join("file"), noise(7, 300_000)).expect("written");
    lent.release().expect("kept");
    let broken = BlobId::of(b"broken").to_string();
    write(&store.dir().join("caches"), &broken, b"no directory");
    assert!(store.disk().expect("it can be told").held > 300_000);
    let done = collect(&store, u64::MAX);
    assert!(done.cache_bytes > 300_000, "{done:?}");
    assert_eq!(
        done.victims
            .iter()
            .filter(|v| v.went == Went::Cache)
            .count(),
        1
    );
}

#[test]
fn a_pack_that_is_written_again_while_it_goes_is_seen_at_once() {
    let (_dir, store) = new_store();
    let tree = layer(&store, 1, 20_000);
    made(&store, tree, 30 * DAY, 60_000);
    let first = store.freeze(&[tree], quick()).expect("frozen").pack;
    store.cool(&[tree]).expect("cool");
    collect(&store, 0);
    let again = Cell::new(None);
    let mut tell = |stage, _, _| {
        if stage == Stage::Sweeping && again.get().is_none() {
            assert!(packs(&store).is_empty() && !is_here(&store, tree));
            assert_eq!(layer(&store, 1, 20_000), tree);
            again.set(store.freeze(&[tree], quick()).expect("frozen").pack);
            forget_all(&store);
            assert!(is_here(&store, tree), "its pack is back");
            store.materialise(tree).expect("it comes back");
        }
        true
    };
    let all = Collect {
        freeze: None,
        ..ask(u64::MAX)
    };
    assert_eq!(store.collect(&all, &mut tell).expect("collected").packs, 1);
    assert!(again.get().is_some() && again.get() == first);
    assert_eq!(NOW, all.now_s);
    assert!(is_here(&store, tree));
}

#[test]
fn a_pack_that_cannot_be_packed_anew_keeps_nothing_else_from_freezing() {
    let (dir, store) = new_store();
    let old: Vec<TreeId> = (1..6).map(|n| layer(&store, n, 60_000)).collect();
    for tree in &old {
        made(&store, *tree, 30 * DAY, 600_000);
    }
    let frozen = store.freeze(&old, quick()).expect("frozen");
    store.cool(&old).expect("cool");
    collect(&store, 0);
    let forgotten = crate::index::Change {
        remove_uses: old[1..].iter().map(|tree| tree.blob()).collect(),
        ..Default::default()
    };
    for tree in &old[1..] {
        store.inner.notes.forget(tree.blob());
    }
    store.inner.index.apply(&forgotten).expect("forgotten");
    // Of what lives its listing is whole, and its file is not.
    let path = file(&store, frozen.pack.expect("new"));
    let files = store.tree(old[0]).expect("cold").blobs();
    let (own, size) = files.iter().max_by_key(|(_, size)| **size).expect("files");
    let good = fs::read(&path).expect("read");
    let is_so = |at: &usize| {
        let mut bytes = good.clone();
        bytes[*at] ^= 0x55;
        fs::write(&path, bytes).expect("write");
        let Ok(pack) = Pack::open(File::open(&path).expect("open")) else {
            return false;
        };
        let reads = |blob, size| pack.read(blob, size, &Alone).is_ok();
        reads(old[0].blob(), 1 << 20) && !reads(*own, *size)
    };
    let damaged = (16..good.len()).step_by(499).find(is_so);
    assert!(damaged.is_some(), "no such place");
    drop(store);
    let store = Store::open(&dir.path().join("store")).expect("open again");
    let idle = layer(&store, 9, 60_000);
    made(&store, idle, 30 * DAY, 600_000);
    let done = store
        .collect(&ask(1), &mut |_, _, _| true)
        .expect("collected");
    assert_eq!((done.frozen, done.forms), (1, 1), "{done:?}");
    assert!(is_here(&store, idle));
}

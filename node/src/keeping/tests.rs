use std::path::Path;

use caravan_protocol::ids::TreeId;
use tempfile::TempDir;

use super::*;

fn new_store() -> (TempDir, Store) {
    let dir = TempDir::new().expect("a directory");
    let store = Store::open(&dir.path().join("store")).expect("a store");
    (dir, store)
}

fn layer(store: &Store, fill: impl FnOnce(&Path)) -> TreeId {
    let workspace = store.workspace().expect("a workspace");
    fill(&workspace.upper());
    workspace.ingest().expect("a layer").tree
}

fn ask(store: &Store, ask: &StoreAsk) -> (Result<Reply, String>, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut tell = |reply| {
        if let Reply::Bytes(piece) = reply {
            bytes.extend(piece);
        }
        true
    };
    let answer = answer(store, &Marks::default(), ask, &mut tell);
    (answer, bytes)
}

fn told(store: &Store, asked: &StoreAsk) -> StoreTold {
    match ask(store, asked).0 {
        Ok(Reply::Store(told)) => *told,
        other => panic!("{other:?}"),
    }
}

fn refused(store: &Store, asked: &StoreAsk) -> String {
    ask(store, asked).0.expect_err("it is refused")
}

fn sample(store: &Store) -> TreeId {
    layer(store, |upper| {
        std::fs::create_dir(upper.join("d")).expect("a directory");
        std::fs::create_dir(upper.join("d/e")).expect("a directory");
        std::fs::write(upper.join("d/f"), b"some bytes").expect("a file");
        std::fs::write(upper.join("d/e/deep"), b"x").expect("a file");
        std::os::unix::fs::symlink("f", upper.join("d/l")).expect("a link");
    })
}

#[test]
fn a_tree_is_listed_one_directory_at_a_time() {
    let (_dir, store) = new_store();
    let tree = sample(&store).to_string();
    let paths = |path: &str| {
        let (what, path) = (tree[..12].to_owned(), path.to_owned());
        match told(&store, &StoreAsk::Entries { what, path }) {
            StoreTold::Entries(listed, _) => listed
                .into_iter()
                .map(|entry| entry.path)
                .collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        }
    };
    for root in ["", "/", ".", "./"] {
        assert_eq!(paths(root), ["d"], "{root:?}");
    }
    assert_eq!(paths("/d/"), ["d/e", "d/f", "d/l"]);
    assert_eq!(paths("d/f"), ["d/f"]);
    for path in ["x", "d/../d", "/etc/passwd"] {
        let (what, path) = (tree.clone(), path.to_owned());
        let text = refused(&store, &StoreAsk::Entries { what, path });
        assert!(text.contains("no such file"), "{text}");
    }
}

#[test]
fn files_and_blobs_are_printed_and_links_are_not_followed() {
    let (_dir, store) = new_store();
    let tree = sample(&store).to_string();
    let cat = |what: &str, path: Option<&str>| {
        let (what, path) = (what.to_owned(), path.map(str::to_owned));
        ask(&store, &StoreAsk::Cat { what, path })
    };
    assert_eq!(
        cat(&tree, Some("/d/f")),
        (Ok(Reply::Done), b"some bytes".to_vec())
    );
    let blob = BlobId::of(b"some bytes").to_string();
    assert_eq!(cat(&blob, None).1, b"some bytes");
    for (what, path, word) in [
        (&tree, None, "it is a tree"),
        (&tree, Some("d"), "no regular file"),
        (&tree, Some("d/l"), "a link to \"f\""),
        (&tree, Some("none"), "no such file"),
        (&blob, Some("d/f"), "a single blob"),
        (&"0".repeat(64), None, "nothing has that id"),
        (&"../../etc".to_owned(), None, "neither"),
    ] {
        let (answer, bytes) = cat(what, path);
        let text = answer.expect_err("it is refused");
        assert!(
            text.contains(word) && bytes.is_empty(),
            "{what} {path:?}: {text}"
        );
    }
}

#[test]
fn whoever_stops_reading_stops_the_writing() {
    let (_dir, store) = new_store();
    let tree = layer(&store, |upper| {
        std::fs::write(upper.join("f"), vec![1; 3 * PIECE_BYTES]).expect("a file");
    });
    let mut pieces = 0;
    let what = tree.to_string();
    let stopped = answer(
        &store,
        &Marks::default(),
        &StoreAsk::Export { what },
        &mut |_| {
            pieces += 1;
            false
        },
    );
    assert!(stopped.is_err());
    assert_eq!(pieces, 1);
}

#[test]
fn pins_are_made_listed_and_taken_away_by_name() {
    let (_dir, store) = new_store();
    let tree = sample(&store);
    let pin = |name: Option<&str>| StoreAsk::Pin {
        what: tree.to_string(),
        name: name.map(str::to_owned),
        why: "a test".to_owned(),
    };
    let StoreTold::Pins(made) = told(&store, &pin(None)) else {
        panic!("no pin");
    };
    assert_eq!(
        (made[0].name.clone(), made[0].what),
        (tree.fmt_short(), Pinned::Tree(tree))
    );
    told(&store, &pin(Some("mine")));
    let StoreTold::Pins(all) = told(&store, &StoreAsk::Pins) else {
        panic!("no pins");
    };
    assert_eq!(all.len(), 2);
    let unpin = |name: &str| {
        ask(
            &store,
            &StoreAsk::Unpin {
                name: name.to_owned(),
            },
        )
        .0
    };
    assert_eq!(unpin("mine"), Ok(Reply::Done));
    assert!(
        unpin("mine")
            .expect_err("it is gone")
            .contains("no such pin")
    );
    assert!(!refused(&store, &pin(Some("two words"))).is_empty());
}

#[test]
fn a_store_is_brought_down_to_what_is_asked() {
    let (_dir, store) = new_store();
    let trees = [1u8, 2, 3].map(|n| {
        layer(&store, |upper| {
            std::fs::write(upper.join("f"), vec![n; 100_000]).expect("a file")
        })
    });
    store
        .note_made(trees[1], now_s(), 1, "young")
        .expect("note");
    let collect = |to: &str, dry_run| {
        let to = Some(to.parse().expect("an amount"));
        match told(&store, &StoreAsk::Collect { to, dry_run }) {
            StoreTold::Collected(done) => done,
            other => panic!("{other:?}"),
        }
    };
    let said = collect("150000", true);
    assert_eq!(
        (said.evicted, store.stat().expect("stat").layers),
        (2, 3),
        "{said:?}"
    );
    let done = collect("150000", false);
    assert_eq!((done.evicted, store.stat().expect("stat").layers), (2, 1));
    assert!(store.layer(trees[1]).expect("look").is_some());
    let StoreTold::Stat(kept) = told(&store, &StoreAsk::Stat) else {
        panic!("no figures");
    };
    assert!(kept.disk.held < 150_000 && kept.disk.total > 0, "{kept:?}");
    let StoreTold::Rows(rows) = told(&store, &StoreAsk::Rows) else {
        panic!("no rows");
    };
    assert_eq!((rows.len(), rows[0].words.as_str()), (1, "young"));
}

#[test]
fn packs_are_counted_with_their_bytes() {
    let (_dir, store) = new_store();
    let tree = sample(&store);
    let frozen = store
        .freeze(&[tree], caravan_store::PackOptions::cold(1))
        .expect("frozen");
    let StoreTold::Stat(kept) = told(&store, &StoreAsk::Stat) else {
        panic!("how much is kept");
    };
    assert_eq!((kept.packs, kept.held.packs), (1, frozen.bytes));
}

fn freeze(store: &Store, what: &[String], idle_s: Option<u64>, dry_run: bool) -> Froze {
    let what = what.to_vec();
    let asked = StoreAsk::Freeze {
        what,
        idle_s,
        dry_run,
    };
    match told(store, &asked) {
        StoreTold::Froze(froze) => froze,
        other => panic!("{other:?}"),
    }
}

#[test]
fn trees_are_frozen_by_name_or_idleness_and_thawed() {
    let (_dir, store) = new_store();
    let tree = sample(&store);
    let text = "what compresses\n".repeat(5000);
    let large = layer(&store, |upper| {
        std::fs::write(upper.join("large"), &text).expect("a file");
    });
    store.note_made(large, now_s(), 10, "young").expect("noted");
    let names = [tree.to_string()];
    let planned = freeze(&store, &names, None, true);
    assert_eq!((planned.trees.len(), planned.packs), (1, 0));
    assert!(store.packs().expect("packs").is_empty());
    let froze = freeze(&store, &names, None, false);
    assert_eq!((froze.packs, froze.stopped), (1, false));
    assert!(
        !froze.trees[0].mountable && froze.freed_bytes > 0,
        "{froze:?}"
    );
    assert_eq!(store.layer(tree).expect("look"), None);
    // Cold, it is read as before.
    let (what, path) = (tree.to_string()[..12].to_owned(), Some("d/f".to_owned()));
    let (done, bytes) = ask(&store, &StoreAsk::Cat { what, path });
    assert_eq!((done, bytes), (Ok(Reply::Done), b"some bytes".to_vec()));
    let idle = freeze(&store, &[], Some(3600), false);
    assert!(
        idle.trees.is_empty(),
        "one is frozen, the other young: {idle:?}"
    );
    store
        .pin(&Pin {
            name: "large".to_owned(),
            what: Pinned::Tree(large),
            why: String::new(),
            since_s: 0,
        })
        .expect("pinned");
    let idle = freeze(&store, &[], Some(0), false);
    assert!(idle.trees.len() == 1 && idle.trees[0].mountable, "{idle:?}");
    assert!(idle.pack_bytes < text.len() as u64 / 10, "{idle:?}");
    let StoreTold::Stat(kept) = told(&store, &StoreAsk::Stat) else {
        panic!("no figures");
    };
    assert_eq!((kept.packs, kept.frozen), (2, 2));
    let what = vec![tree.to_string()];
    let StoreTold::Thawed(thawed) = told(&store, &StoreAsk::Thaw { what }) else {
        panic!("not thawed");
    };
    assert!(thawed[0].blobs > 0 && store.layer(tree).expect("look").is_some());
}

#[test]
fn what_is_no_tree_or_not_here_is_neither_frozen_nor_thawed() {
    let (_dir, store) = new_store();
    let blob = store.put_blob(b"a blob").expect("put").to_string();
    for (what, word) in [
        (blob, "a single blob"),
        ("0".repeat(64), "nothing has that id"),
    ] {
        let what = vec![what];
        let thaw = StoreAsk::Thaw { what: what.clone() };
        let freeze = StoreAsk::Freeze {
            what,
            idle_s: None,
            dry_run: false,
        };
        for asked in [thaw, freeze] {
            let text = refused(&store, &asked);
            assert!(text.contains(word), "{text}");
        }
    }
    // Whoever asked and went away is not worked for.
    let tree = sample(&store).to_string();
    let freeze = StoreAsk::Freeze {
        what: vec![tree],
        idle_s: None,
        dry_run: false,
    };
    let gone = answer(&store, &Marks::default(), &freeze, &mut |_| false);
    match gone {
        Ok(Reply::Store(told)) => {
            assert!(matches!(*told, StoreTold::Froze(froze) if froze.stopped))
        }
        other => panic!("{other:?}"),
    }
    assert!(store.packs().expect("packs").is_empty());
}

#[test]
fn a_collection_freezes_nothing_while_somebody_waits_for_room() {
    for is_waited_for in [true, false] {
        let (_dir, store) = new_store();
        let tree = layer(&store, |upper| {
            std::fs::write(upper.join("dear"), b"dear and idle\n".repeat(10_000)).expect("a file");
        });
        store.note_made(tree, 1, 3_600_000, "made").expect("note");
        let all = StoreAsk::Collect {
            to: Some(Amount::Bytes(0)),
            dry_run: false,
        };
        let asked = std::cell::Cell::new(0);
        let may_freeze = || {
            asked.set(asked.get() + 1);
            // It comes to wait when the collection is under way.
            !is_waited_for || asked.get() == 1
        };
        let answer = answer_beside(&store, &Marks::default(), &all, &may_freeze, &mut |_| true);
        let Ok(Reply::Store(told)) = answer else {
            panic!("{answer:?}");
        };
        let StoreTold::Collected(done) = *told else {
            panic!("{told:?}");
        };
        assert!(asked.get() > 0 && !done.stopped, "{done:?}");
        assert_eq!(done.frozen, u64::from(!is_waited_for), "{done:?}");
        assert!(store.layer(tree).expect("look").is_none(), "room is made");
    }
}

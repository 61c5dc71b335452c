//! `caravan store freeze` and `thaw` as people run them: on the store itself, through a running node,
//! and interrupted.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use caravan_tests::host::{Place, Scratch, obstacle, text, until};
use serde_json::Value;

/// Words of a file that compresses well.
const WORDS: &str = "what compresses\n";

#[test]
fn trees_become_cold_and_come_back_and_bad_input_has_its_exit_code() {
    if let Some(why) = obstacle() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let scratch = Scratch::new("cold");
    let place = Place::here(scratch.path("data"));
    let tree = import(
        &place,
        "one",
        &[("dir/a", WORDS.repeat(3000)), ("b", WORDS.repeat(10))],
        &scratch,
    );
    refusals(&place);

    // Pinned, it stays mountable, if it was so.
    let _ = place.ok(&["store", "thaw", "base/one"]);
    assert_eq!(row(&place, &tree)["laid_out"], true);
    let said = place.ok(&["store", "freeze", "base/one"]);
    assert!(
        said.contains("froze 1 trees") && said.contains("1 packs"),
        "{said}"
    );
    assert_eq!(row(&place, &tree)["laid_out"], true);
    let _ = place.ok(&["store", "unpin", "base/one"]);
    let planned = place.ok(&["store", "freeze", &tree, "--dry-run"]);
    assert!(planned.contains("would freeze 1 trees: 0 B"), "{planned}");
    cold_and_back(&place, &tree);
    let node = place.node(&["--http", "none"]);
    // A node pins its bases when it starts.
    let _ = place.run(&["store", "unpin", "base/one"]);
    cold_and_back(&place, &tree);
    drop(node);
    interrupted(&place, &scratch);
    let checked = place.ok(&["store", "check"]);
    assert!(checked.contains("the store is whole"), "{checked}");
}

fn refusals(place: &Place) {
    for (args, code, word) in [
        (&["store", "freeze"][..], 2, "TREES"),
        (&["store", "thaw"], 2, "TREES"),
        (&["store", "freeze", "--idle", "soon"], 4, "soon"),
        (&["store", "freeze", "no-such-pin"], 3, "no-such-pin"),
        (&["store", "thaw", "0000"], 3, "0000"),
    ] {
        let output = place.run(args);
        let said = text(&output.stderr);
        assert!(said.contains(word), "{args:?} should say {word:?}: {said}");
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    }
}

fn cold_and_back(place: &Place, tree: &str) {
    let froze: Value =
        serde_json::from_str(&place.ok(&["store", "freeze", &tree[..12], "--json"])).expect("JSON");
    assert_eq!(froze["trees"][0]["mountable"], false, "{froze:#}");
    assert!(!place.data().join("store/layers").join(tree).exists());
    let cold = row(place, tree);
    assert!(
        cold["frozen"] == true && cold["laid_out"] == false,
        "{cold:#}"
    );
    assert!(place.ok(&["store", "ls"]).contains("cold"));
    let read = place.ok(&["store", "cat", &tree[..12], "dir/a"]);
    assert_eq!(read, WORDS.repeat(3000));
    let listed = place.ok(&["store", "ls", tree, "dir"]);
    assert!(listed.contains("dir/a"), "{listed}");
    let stat: Value = serde_json::from_str(&place.ok(&["store", "stat", "--json"])).expect("JSON");
    assert!(stat["held"]["packs"].as_u64() > Some(0), "{stat:#}");
    let said = place.ok(&["store", "thaw", &tree[..12]]);
    assert!(said.contains(&tree[..6]), "{said}");
    assert!(place.data().join("store/layers").join(tree).exists());
}

/// Ctrl-C in the middle leaves no pack and a whole store.
fn interrupted(place: &Place, scratch: &Scratch) {
    // Hard to compress, so that it takes its time.
    let mut state = 1u64;
    let mut hard = String::new();
    while hard.len() < 24_000_000 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        hard.push_str(&format!("{:x}", state >> 20));
    }
    let tree = import(place, "hard", &[("hard", hard)], scratch);
    let _ = place.ok(&["store", "thaw", &tree]);
    let _ = place.ok(&["store", "unpin", "base/hard"]);
    let packs = || {
        fs::read_dir(place.data().join("store/packs"))
            .expect("a directory")
            .count()
    };
    let before = packs();
    let mut child = place.command(&["store", "freeze", &tree]);
    let mut child = child
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let work = place.data().join("store/work");
    until("it writes a pack", || {
        let mut names = fs::read_dir(&work).expect("a directory").flatten();
        names.find(|entry| entry.file_name().to_string_lossy().starts_with('p'))
    });
    let id = child.id().to_string();
    let _ = Command::new("kill").args(["-INT", &id]).output();
    let ended = child.wait().expect("it ends");
    assert_eq!(ended.code(), Some(130), "{ended}");
    assert_eq!(packs(), before);
    assert_eq!(row(place, &tree)["laid_out"], true);
    let left = fs::read_dir(&work).expect("a directory").flatten();
    let left: Vec<_> = left
        .map(|entry| entry.file_name())
        .filter(|name| name != "trash")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

fn row(place: &Place, tree: &str) -> Value {
    let rows: Value = serde_json::from_str(&place.ok(&["store", "ls", "--json"])).expect("JSON");
    let mut rows = rows.as_array().expect("rows").iter();
    let found = rows.find(|row| row["blob"] == tree);
    found
        .unwrap_or_else(|| panic!("{tree} is not listed"))
        .clone()
}

/// Imports files as an image; gives its tree.
fn import(place: &Place, name: &str, files: &[(&str, String)], scratch: &Scratch) -> String {
    let dir = scratch.path(name);
    for (path, words) in files {
        write(&dir.join(path), words.as_bytes());
    }
    let dir = dir.to_str().expect("plain");
    let told: Value =
        serde_json::from_str(&place.ok(&["image", "import", "--json", name, dir])).expect("JSON");
    told.pointer("/Imported/base/tree")
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no tree in {told:#}"))
        .to_owned()
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("below")).expect("a directory");
    fs::write(path, bytes).expect("a file");
}

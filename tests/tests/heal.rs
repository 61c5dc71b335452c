//! What a disk has lost comes back from members: two nodes on two hosts, and damage to every object
//! of one of them.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use caravan_tests::host::{Cable, NodeProcess, Place, Scratch, obstacle, text, until};
use serde_json::Value;

/// Files of the tree that both have.
const FILES: usize = 6;

#[test]
fn damaged_pinned_trees_are_whole_again_if_a_member_has_them() {
    if let Some(why) = obstacle() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let scratch = Scratch::new("heal");
    let cable = Cable::new();
    let founder = Place::here(scratch.path("data")).on(cable.host(0));
    let member = Place::here(scratch.path("second")).on(cable.host(1));
    let _nodes = joined(&founder, &member);
    let (shared, own) = (scratch.path("shared"), scratch.path("own"));
    for number in 0..FILES {
        write(&shared.join(format!("dir/file{number}")), &words(number));
    }
    write(&own.join("alone"), b"nobody else has this");
    let tree = import(&founder, "shared", &shared);
    assert_eq!(import(&member, "shared", &shared), tree, "one tree");
    let _ = import(&founder, "own", &own);

    damage_all(founder.data());
    let checked = founder.run(&["store", "check", "--heal"]);
    let said = text(&checked.stdout);
    assert_eq!(checked.status.code(), Some(1), "damage is told: {said}");
    let line = |pin: &str| {
        let mut lines = said.lines().filter(|line| line.contains(pin));
        lines.next().unwrap_or_default().to_owned()
    };
    assert!(line("base/shared:").contains("it is whole again"), "{said}");
    assert!(line("base/own:").contains("still damaged"), "{said}");

    for number in 0..FILES {
        let path = format!("dir/file{number}");
        let read = founder.run(&["store", "cat", "base/shared", &path]);
        assert_eq!(read.stdout, words(number), "{path}");
    }
    let again = text(&founder.run(&["store", "check", "--heal"]).stdout);
    assert!(!again.contains("base/shared"), "nothing was left: {again}");
}

/// Both nodes, connected.
fn joined(founder: &Place, member: &Place) -> [NodeProcess; 2] {
    let args = ["--port", "4100", "--http", "none"];
    let first = founder.node(&args);
    let token = until("it knows its addresses", || {
        let output = founder.run(&["invite", "--operator", "bob"]);
        let token = text(&output.stdout).trim().to_owned();
        output.status.success().then_some(token)
    });
    let _ = member.ok(&["join", &token]);
    let second = member.node(&args);
    until("they are connected", || {
        let status: Value =
            serde_json::from_str(&founder.ok(&["node", "status", "--json"])).ok()?;
        let up = |node: &Value| node["here"] == false && node["connected"] == true;
        status["nodes"].as_array()?.iter().any(up).then_some(())
    });
    [first, second]
}

/// The bytes of a file: one is empty, others are of several pages.
fn words(number: usize) -> Vec<u8> {
    format!("file {number}\n")
        .repeat(number * 1000)
        .into_bytes()
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("below")).expect("a directory");
    fs::write(path, bytes).expect("a file");
}

/// Imports a directory as an image; gives its tree.
fn import(place: &Place, name: &str, dir: &Path) -> String {
    let dir = dir.to_str().expect("plain");
    let told: Value =
        serde_json::from_str(&place.ok(&["image", "import", "--json", name, dir])).expect("JSON");
    told.pointer("/Imported/base/tree")
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no tree in {told:#}"))
        .to_owned()
}

/// Damages every object: each third has a bit flipped, is cut short, or is gone.
fn damage_all(data: &Path) {
    let mut objects: Vec<PathBuf> = Vec::new();
    for dir in fs::read_dir(data.join("store/objects")).expect("a directory") {
        let inside = fs::read_dir(dir.expect("an entry").path()).expect("a directory");
        objects.extend(inside.map(|entry| entry.expect("an entry").path()));
    }
    objects.sort();
    assert!(objects.len() > FILES, "{objects:?}");
    for (number, path) in objects.iter().enumerate() {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.expect("an object");
        let size = file.metadata().expect("it is there").len();
        match number % 3 {
            0 if size > 0 => {
                let mut byte = [0];
                file.read_exact_at(&mut byte, size / 2).expect("read");
                file.write_all_at(&[byte[0] ^ 1], size / 2).expect("write");
            }
            1 if size > 0 => file.set_len(size / 2).expect("cut"),
            _ => fs::remove_file(path).expect("removed"),
        }
    }
}

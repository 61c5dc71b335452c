//! Tests of what is read for a spec.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::Path,
};

use caravan_protocol::{
    ids::TreeId,
    spec::Spec,
    tree::{Kind, Tree},
};
use caravan_store::Store;
use tempfile::TempDir;

use super::{check_names, check_secrets, context, passwd};
use crate::control::SecretValue;

/// A store, and a directory to read.
struct Place {
    _dir: TempDir,
    store: Store,
    src: std::path::PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let src = dir.path().join("src");
        fs::create_dir(&src).expect("a directory");
        Self {
            store: Store::open(&dir.path().join("store")).expect("a store"),
            src,
            _dir: dir,
        }
    }

    fn file(&self, path: &str, text: &str) -> &Self {
        let path = self.src.join(path);
        fs::create_dir_all(path.parent().expect("below")).expect("a directory");
        fs::write(path, text).expect("a file");
        self
    }

    fn link(&self, path: &str, target: &str) -> &Self {
        std::os::unix::fs::symlink(target, self.src.join(path)).expect("a link");
        self
    }

    fn read(&self, ops: &str) -> Result<Vec<TreeId>, String> {
        let spec: Spec = format!("((from base) {ops})").parse().expect("a spec");
        let read = context::read(&self.store, &self.src, &spec.context_copies(), &|| false);
        read.map_err(|error| crate::build::chain(&error))
    }

    fn tree(&self, ops: &str) -> Tree {
        let trees = self.read(ops).expect("it can be read");
        assert_eq!(trees.len(), 1);
        self.store.tree(trees[0]).expect("a tree")
    }

    /// What a copy reads, as text: path, mode and content or target.
    fn listing(&self, ops: &str) -> Vec<String> {
        let tree = self.tree(ops);
        let line = |entry: &caravan_protocol::tree::Entry| {
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            assert_eq!((entry.uid, entry.gid), (0, 0));
            match &entry.kind {
                Kind::Dir { .. } => format!("{path}/ {:o}", entry.mode),
                Kind::File { blob, .. } => {
                    let bytes = self.store.read_blob(*blob, 1024).expect("a blob");
                    format!(
                        "{path} {:o} {}",
                        entry.mode,
                        String::from_utf8_lossy(&bytes)
                    )
                }
                Kind::Symlink { target } => {
                    format!("{path} -> {}", String::from_utf8_lossy(target))
                }
                Kind::Whiteout => panic!("a whiteout"),
            }
        };
        tree.entries().iter().skip(1).map(line).collect()
    }
}

#[test]
fn only_what_is_named_is_read() {
    let place = Place::new();
    place
        .file("a/b/c", "one")
        .file("a/other", "two")
        .file("d", "three");
    assert_eq!(
        place.listing("(copy (src a/b ./d) (dst x/))"),
        ["a/ 755", "a/b/ 755", "a/b/c 644 one", "d 644 three"]
    );
    assert_eq!(place.listing("(copy (src /d) (dst x))"), ["d 644 three"]);
    assert_eq!(place.listing("(copy (src a//b/./c) (dst x))").len(), 3);
}

#[test]
fn excluded_names_are_left_out_at_any_depth_unless_named_outright() {
    let place = Place::new();
    place
        .file(".git/x", "")
        .file("a/.git/x", "")
        .file("a/b", "one")
        .file("_build/y", "");
    assert_eq!(
        place.listing("(copy (src .) (dst x/) (exclude .git _build))"),
        ["a/ 755", "a/b 644 one"]
    );
    assert_eq!(
        place.listing("(copy (src _build) (dst x/) (exclude _build))"),
        ["_build/ 755", "_build/y 644 "]
    );
}

#[test]
fn links_are_copied_and_never_followed() {
    let place = Place::new();
    place.file("real/file", "one");
    place
        .link("link", "real")
        .link("out", "/etc")
        .link("loop", "loop");
    assert_eq!(
        place.listing("(copy (src link out loop) (dst x/))"),
        ["link -> real", "loop -> loop", "out -> /etc"]
    );
    for src in ["link/file", "out/passwd", "loop/x"] {
        let error = place.read(&format!("(copy (src {src}) (dst x))"));
        let error = error.expect_err("a link was followed");
        assert!(
            error.contains("is a symbolic link and no directory"),
            "{error}"
        );
    }
}

#[test]
fn what_is_not_there_is_named() {
    let place = Place::new();
    place.file("file", "one");
    for (src, words) in [
        ("nothing", "copy \"nothing\": there is no \"nothing\" in "),
        ("no/such/dir", "there is no \"no\" in "),
        ("file/x", "\"file\" is a file and no directory"),
        (
            "../file",
            "copy \"../file\": a path may not have `..` in it",
        ),
    ] {
        let error = place.read(&format!("(copy (src {src}) (dst x))"));
        let error = error.expect_err("it is not there");
        assert!(error.contains(words), "{src}: {error}");
    }
    let spec: Spec = "((from base) (copy (src .) (dst x/)))"
        .parse()
        .expect("a spec");
    let gone = place.src.join("gone");
    let error = context::read(&place.store, &gone, &spec.context_copies(), &|| false);
    assert!(error.expect_err("it is gone").to_string().contains("gone"));
}

#[test]
fn special_files_are_refused_by_name() {
    let place = Place::new();
    let pipe = place.src.join("pipe");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0)
        .expect("a pipe");
    for src in [".", "pipe"] {
        let error = place.read(&format!("(copy (src {src}) (dst x/))"));
        let error = error.expect_err("a pipe was read");
        assert!(error.contains("\"pipe\": it is a named pipe"), "{error}");
    }
    assert_eq!(
        place
            .listing("(copy (src .) (dst x/) (exclude pipe))")
            .len(),
        0
    );
    let _socket = std::os::unix::net::UnixListener::bind(place.src.join("s")).expect("a socket");
    let error = place
        .read("(copy (src s) (dst x/))")
        .expect_err("a socket was read");
    assert!(error.contains("it is a socket"), "{error}");
}

#[test]
fn what_does_not_matter_changes_no_tree() {
    let place = Place::new();
    place.file("a/file", "one").file("b", "two");
    let ops = "(copy (src a) (dst x/))";
    let before = place.tree(ops);
    let mode = |path: &str, mode: u32| {
        fs::set_permissions(place.src.join(path), fs::Permissions::from_mode(mode)).expect("ours");
    };
    mode("a", 0o700);
    mode("a/file", 0o660);
    place.file("b", "changed").file("new", "file");
    assert_eq!(place.tree(ops), before);
    mode("a/file", 0o745);
    assert_ne!(place.tree(ops), before, "a program is another file");
}

#[test]
fn each_copy_has_a_tree_of_its_own() {
    let place = Place::new();
    place.file("a", "one").file("b", "two");
    let ops = "(copy (src a) (dst x)) (run (shell x)) (copy (src .) (dst ./))";
    let first = place.read(ops).expect("it can be read");
    place.file("b", "changed");
    let second = place.read(ops).expect("it can be read");
    assert_eq!(first[0], second[0]);
    assert_ne!(first[1], second[1]);
    let kept = second
        .iter()
        .map(|tree| place.store.missing(*tree).expect("a tree"));
    assert!(kept.flatten().next().is_none(), "something was not kept");
}

#[test]
fn names_that_are_no_text_are_copied() {
    let place = Place::new();
    let name = std::ffi::OsStr::from_bytes(b"\xff\n");
    fs::write(place.src.join(Path::new(name)), "x").expect("a file");
    let tree = place.tree("(copy (src .) (dst x/))");
    assert!(tree.get(b"\xff\n").is_some());
}

#[test]
fn reading_stops_when_nobody_waits() {
    let place = Place::new();
    place.file("a", "one");
    let spec: Spec = "((from base) (copy (src .) (dst x/)))"
        .parse()
        .expect("a spec");
    let read = context::read(&place.store, &place.src, &spec.context_copies(), &|| true);
    let error = read.expect_err("it was given up");
    assert!(error.is_nodes() && error.to_string().contains("given up"));
}

#[test]
fn directories_nest_to_a_bound() {
    let place = Place::new();
    let deep = |depth: usize| vec!["d"; depth].join("/");
    fs::create_dir_all(place.src.join(deep(256))).expect("directories");
    assert_eq!(place.listing("(copy (src .) (dst x/))").len(), 256);
    fs::create_dir_all(place.src.join(deep(257))).expect("directories");
    let error = place.read("(copy (src .) (dst x/))").expect_err("too deep");
    assert!(
        error.contains("more than 256 directories within each other"),
        "{error}"
    );
}

#[test]
fn homes_are_read_from_passwd_and_nonsense_is_left_out() {
    let text = b"root:x:0:0:root:/root:/bin/bash\nopam:x:1000:1000:,,,:/home/opam:/bin/sh\n\
        again:x:1000:5::/other:\nbad:x:minus:0::/bad:\nshort:x:7\nrel:x:8:8::home:\n\xff:x:9:9::/ff:\n\
        last:x:10:10::/last";
    let homes = passwd(text);
    let expected: BTreeMap<u32, String> = [(0, "/root"), (1000, "/home/opam"), (10, "/last")]
        .map(|(uid, home)| (uid, home.to_owned()))
        .into();
    assert_eq!(homes, expected);
}

fn value(id: &str) -> SecretValue {
    SecretValue {
        id: id.to_owned(),
        value: b"sesame".to_vec(),
    }
}

#[test]
fn each_secret_has_one_value_and_others_are_forgotten() {
    let spec: Spec = "((from base) (run (secrets (a (target /a))) (shell x)))"
        .parse()
        .expect("a spec");
    let mut values = vec![value("other"), value("a")];
    check_secrets(&spec, &mut values).expect("one value");
    assert_eq!(values, [value("a")]);
    let error = check_secrets(&spec, &mut Vec::new()).expect_err("no value");
    assert!(error.to_string().contains("--secret a:FILE"), "{error}");
    let error = check_secrets(&spec, &mut vec![value("a"), value("a")]).expect_err("two values");
    assert!(error.to_string().contains("given twice"), "{error}");
    let mut long = value("a");
    long.value = vec![0; crate::control::SECRET_BYTES_MAX + 1];
    check_secrets(&spec, &mut vec![long]).expect_err("too long");
    let mut short = value("a");
    short.value = b"abc".to_vec();
    let error = check_secrets(&spec, &mut vec![short]).expect_err("in every log by chance");
    assert!(error.to_string().contains("\"a\""), "{error}");
    let mut empty = value("a");
    empty.value.clear();
    check_secrets(&spec, &mut vec![empty]).expect("it hides nothing");
}

#[test]
fn names_are_short_and_plain() {
    let request = |project: &str, name: &str| crate::control::BuildRequest {
        project: project.to_owned(),
        name: name.to_owned(),
        ..Default::default()
    };
    let mut good = request("/srv/x", &format!("a\u{1b}b{}", "c".repeat(300)));
    check_names(&mut good).expect("a good name");
    assert!(good.name.starts_with("abcc") && good.name.len() == 200);
    for bad in ["", "a\nb", &"x".repeat(5000)] {
        check_names(&mut request(bad, "x")).expect_err("a bad name");
    }
}

#[test]
fn a_secret_is_not_shown() {
    let request = crate::control::Request::Build(crate::control::BuildRequest {
        secrets: vec![value("a")],
        ..Default::default()
    });
    let shown = format!("{request:?}");
    assert!(shown.contains("\"a\", not shown"), "{shown}");
    let bytes = format!("{:?}", b"sesame".to_vec());
    assert!(
        !shown.contains("sesame") && !shown.contains(&bytes),
        "{shown}"
    );
}

//! Copying a directory of the host into the store.

use rustix::fs::{CWD, FileType, Mode};

use super::*;
use crate::{seen, walk};

fn fill(dir: &Path) {
    write(dir, "bin/tool", b"program");
    chmod(&dir.join("bin/tool"), 0o755);
    write(dir, "bin/same", b"program");
    chmod(&write(dir, "bin/su", b"program"), 0o4755);
    write(dir, "share/empty", b"");
    let mut large = vec![7; 700_000];
    large[100_000..400_000].fill(0);
    write(dir, "share/large", &large);
    std::os::unix::fs::symlink("../bin/tool", dir.join("share/link")).expect("a link");
}

fn outside() -> TempDir {
    let dir = TempDir::new().expect("a directory");
    // A temporary directory is made 0700; an upper one is 0755.
    chmod(dir.path(), 0o755);
    dir
}

/// What the store takes the files below `dir` to hold without reading them.
fn known(store: &Store, dir: &Path) -> Vec<Option<BlobId>> {
    let root = crate::beneath::open_trusted_dir(dir).expect("open");
    let items = walk::walk(rustix::fd::AsFd::as_fd(&root)).expect("list");
    seen::known(&store.inner, &items).expect("look")
}

fn note(store: &Store, file: &Path, blob: BlobId, now_s: i64) {
    let stat = rustix::fs::stat(file).expect("it is there");
    seen::note(&store.inner, &[(walk::Version::of(&stat), blob)], now_s).expect("note");
}

#[test]
fn a_directory_copied_in_is_the_tree_that_adopting_it_would_be_and_stays() {
    let (_dir, store) = new_store();
    let from = outside();
    fill(from.path());
    let before = stat(&from.path().join("share/large"));
    let copied = store.copy_in(from.path()).expect("a good directory");
    let after = stat(&from.path().join("share/large"));
    assert_eq!(
        (before.mtime_nsec(), before.ino()),
        (after.mtime_nsec(), after.ino())
    );
    assert_eq!(copied.files, 5);
    assert!(store.missing(copied.tree).expect("missing").is_empty());
    assert_eq!(
        store.layer(copied.tree).expect("look"),
        None,
        "nothing is laid out"
    );
    let objects = store.stat().expect("stat").objects;
    let path = store.materialise(copied.tree).expect("it is complete");
    assert_eq!(fs::read(path.join("bin/tool")).expect("read"), b"program");
    let large = path.join("share/large");
    assert!(
        stat(&large).blocks() * 512 < stat(&large).len(),
        "zeros are holes"
    );
    assert_eq!(stat(&path.join("bin/su")).mode() & 0o7777, 0o4755);
    // Three files hold the same bytes, of which one became an object; the others' modes differ.
    assert!(store.stat().expect("stat").objects <= objects + 2);
    assert_clean(&store);
    let (_dir, other) = new_store();
    assert_eq!(ingest_good(&other, fill), copied.tree);
}

#[test]
fn a_sibling_brings_only_what_it_changed() {
    let (_dir, store) = new_store();
    let from = outside();
    fill(from.path());
    store.copy_in(from.path()).expect("good");
    let before = store.stat().expect("stat");
    let sibling = outside();
    fill(sibling.path());
    write(sibling.path(), "bin/same", b"changed");
    let copied = store.copy_in(sibling.path()).expect("good");
    let after = store.stat().expect("stat");
    assert_eq!(after.blobs, before.blobs + 2, "the file and the listing");
    assert_eq!(store.copy_in(sibling.path()).expect("again"), copied);
    assert_eq!(store.stat().expect("stat"), after);
    assert_clean(&store);
}

#[test]
fn a_file_of_a_known_version_is_not_read_and_a_changed_one_is() {
    let (_dir, store) = new_store();
    let from = outside();
    let file = write(from.path(), "f", b"12345");
    // A lie that only a store which does not read believes.
    let lie = store.put_blob(b"54321").expect("put");
    note(&store, &file, lie, i64::MAX);
    let tree = store.copy_in(from.path()).expect("good").tree;
    assert_eq!(
        store
            .tree(tree)
            .expect("tree")
            .blobs()
            .into_keys()
            .collect::<Vec<_>>(),
        [lie]
    );
    write(from.path(), "f", b"abcde");
    let tree = store.copy_in(from.path()).expect("good").tree;
    let blobs = store.tree(tree).expect("tree").blobs();
    assert_eq!(
        blobs.into_keys().collect::<Vec<_>>(),
        [BlobId::of(b"abcde")]
    );
}

#[test]
fn a_file_that_changed_just_now_is_not_noted() {
    let (_dir, store) = new_store();
    let from = outside();
    let file = write(from.path(), "f", b"12345");
    store.copy_in(from.path()).expect("good");
    assert_eq!(known(&store, from.path()), [None, None]);
    let blob = BlobId::of(b"12345");
    let changed_s = stat(&file).ctime();
    note(&store, &file, blob, changed_s + 2);
    assert_eq!(known(&store, from.path()), [None, None]);
    note(&store, &file, blob, changed_s + 3);
    assert!(known(&store, from.path()).contains(&Some(blob)));
}

#[test]
fn what_the_store_has_forgotten_is_read_again() {
    let (_dir, store) = new_store();
    let from = outside();
    let file = write(from.path(), "f", b"12345");
    let tree = store.copy_in(from.path()).expect("good").tree;
    let blob = BlobId::of(b"12345");
    note(&store, &file, blob, i64::MAX);
    let mode = stat(&file).mode() & 0o7777;
    let (uid, gid) = (stat(&file).uid(), stat(&file).gid());
    let object = object_path(&store, b"12345", &format!("{mode:o}.{uid}.{gid}"));
    fs::remove_file(object).expect("the object");
    assert!(store.open_blob(blob).is_err(), "it is forgotten");
    assert_eq!(store.copy_in(from.path()).expect("good").tree, tree);
    assert_eq!(store.read_blob(blob, 10).expect("it is back"), b"12345");
    assert_clean(&store);
}

#[test]
fn what_a_layer_may_not_hold_is_refused_and_nothing_is_kept() {
    let (_dir, store) = new_store();
    let from = outside();
    fill(from.path());
    let pipe = from.path().join("share/pipe");
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).expect("a pipe");
    let before = store.stat().expect("stat");
    let words = store.copy_in(from.path()).expect_err("refused").to_string();
    assert!(
        words.contains("share/pipe") && words.contains("named pipe"),
        "{words}"
    );
    assert_eq!(store.stat().expect("stat"), before);
    assert_clean(&store);
    let nowhere = from.path().join("nowhere");
    let words = store.copy_in(&nowhere).expect_err("refused").to_string();
    assert!(words.contains("nowhere"), "{words}");
}

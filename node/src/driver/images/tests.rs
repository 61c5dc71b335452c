//! Images through a real store.

use std::{fs, path::Path};

use caravan_store::Stat;

use super::*;

fn told() -> (Told, mpsc::Receiver<Reply>) {
    let (progress, heard) = mpsc::channel(1);
    let stop = CancellationToken::new();
    (Told { progress, stop }, heard)
}

fn take(store: &Store, source: &Path) -> Result<(TreeId, Imported), String> {
    let source: Source = source.display().to_string().parse().expect("a path");
    let (mut told, _heard) = told();
    keep(store, &source, &Options::of(Platform::here()), &mut told)
}

fn root(dir: &Path) {
    fs::create_dir_all(dir.join("usr/bin")).expect("writable");
    fs::write(dir.join("usr/bin/sh"), "#!").expect("writable");
    fs::write(dir.join("empty"), "").expect("writable");
    std::os::unix::fs::symlink("usr/bin", dir.join("bin")).expect("writable");
}

fn write(store: &Store, tree: TreeId, to: &Path) -> Result<String, String> {
    let platform = Platform::here();
    let layers = load(store, &[tree])?;
    let wanted = Export {
        layers: &layers,
        platform: &platform,
        env: &[],
        tag: "v1",
        compression: Compression::Gzip,
    };
    let (mut told, _heard) = told();
    let exported = export(&wanted, &OfStore(store), to, &mut told);
    exported
        .map(|exported| exported.manifest.to_string())
        .map_err(|error| chain(&error))
}

#[test]
fn an_image_goes_into_a_store_and_out_of_it_and_into_another() {
    let dir = tempfile::tempdir().expect("writable");
    root(&dir.path().join("root"));
    let one = Store::open(&dir.path().join("one")).expect("writable");
    let (tree, _) = take(&one, &dir.path().join("root")).expect("good");
    assert_eq!(one.missing(tree).expect("readable"), []);
    one.materialise(tree).expect("it can be laid out");
    let layer = one.layer(tree).expect("readable").expect("laid out");
    assert_eq!(fs::read(layer.join("bin/sh")).expect("there"), b"#!");
    let layout = dir.path().join("layout");
    let first = write(&one, tree, &layout).expect("good");
    let two = Store::open(&dir.path().join("two")).expect("writable");
    let (again, _) = take(&two, &layout).expect("our own");
    assert_eq!(again, tree);
    let archive = dir.path().join("layout.tar");
    assert_eq!(write(&two, tree, &archive).expect("good"), first);
    assert_eq!(take(&two, &archive).expect("our own").0, tree);
}

#[test]
fn a_failed_import_leaves_the_store_as_it_was() {
    let dir = tempfile::tempdir().expect("writable");
    root(&dir.path().join("root"));
    let store = Store::open(&dir.path().join("store")).expect("writable");
    let (tree, _) = take(&store, &dir.path().join("root")).expect("good");
    let layout = dir.path().join("layout");
    write(&store, tree, &layout).expect("good");
    let empty = Store::open(&dir.path().join("empty-store")).expect("writable");
    let before: Stat = empty.stat().expect("readable");
    // The last bytes of the layer are others, so that all files came before it shows.
    let blobs = layout.join("blobs/sha256");
    let largest = fs::read_dir(&blobs)
        .expect("there")
        .map(|blob| blob.expect("there").path());
    let layer = largest
        .filter(|path| fs::read(path).expect("there").starts_with(&[0x1f, 0x8b]))
        .last()
        .expect("a layer");
    let mut bytes = fs::read(&layer).expect("there");
    let end = bytes.len() - 1;
    bytes[end] ^= 1;
    fs::write(&layer, bytes).expect("writable");
    let error = take(&empty, &layout).expect_err("damaged");
    assert!(error.contains("layer 1 of 1"), "{error}");
    assert_eq!(empty.stat().expect("readable"), before);
    let work = dir.path().join("empty-store/work");
    let left = fs::read_dir(work).expect("there").flatten();
    let left: Vec<_> = left
        .filter(|file| file.file_name().to_string_lossy().starts_with('f'))
        .collect();
    assert!(left.is_empty(), "temporary files are left: {left:?}");
}

#[test]
fn whoever_goes_away_gives_the_import_up() {
    let dir = tempfile::tempdir().expect("writable");
    root(&dir.path().join("root"));
    let store = Store::open(&dir.path().join("store")).expect("writable");
    let source: Source = dir
        .path()
        .join("root")
        .display()
        .to_string()
        .parse()
        .expect("a path");
    let (mut gone, heard) = told();
    drop(heard);
    let error = keep(&store, &source, &Options::of(Platform::here()), &mut gone);
    assert!(error.expect_err("gone").contains("given up"));
    let (mut stopped, _heard) = told();
    stopped.stop.cancel();
    let error = keep(
        &store,
        &source,
        &Options::of(Platform::here()),
        &mut stopped,
    );
    assert!(error.expect_err("stopped").contains("given up"));
}

#[test]
fn names_and_facts_that_could_be_something_else_are_refused() {
    for good in [
        "alpine",
        "ocaml/opam:debian-12",
        "h.example:5000/x@sha256:ab",
    ] {
        assert_eq!(check_name(good), Ok(()));
    }
    for bad in [
        "",
        "-x",
        "a b",
        "a\n",
        "../x",
        &"a".repeat(64),
        &"x".repeat(300),
    ] {
        assert!(check_name(bad).is_err(), "{bad:?} was taken");
    }
    let mut ask = ImageImport::default();
    ask.facts.insert("ocaml".to_owned(), "5.2.0".to_owned());
    assert_eq!(check_facts(&ask), Ok(()));
    ask.facts.insert("x".to_owned(), "a b".to_owned());
    assert!(check_facts(&ask).is_err());
}

#[test]
fn a_tree_that_is_not_here_is_not_exported() {
    let dir = tempfile::tempdir().expect("writable");
    let store = Store::open(&dir.path().join("store")).expect("writable");
    let tree = BlobId::of(b"nowhere").into();
    let error = write(&store, tree, &dir.path().join("o")).expect_err("not here");
    assert!(error.contains("not all of it is here"), "{error}");
    assert!(!dir.path().join("o").exists());
}

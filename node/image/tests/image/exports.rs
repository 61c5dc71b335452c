//! What is written can be read again, and equal trees give equal bytes.

use std::{collections::BTreeMap, fs, io::Read, path::Path};

use caravan_image::{Cause, Compression, Contents, Export, Exported, Unobserved, export};
use caravan_protocol::{
    ids::BlobId,
    tree::{Entry, Kind, Tree},
};
use proptest::prelude::*;

use crate::kit::{Blobs, amd64, chain, sample, take};

fn write(trees: &[Tree], blobs: &Blobs, to: &Path, compression: Compression) -> Exported {
    let platform = amd64();
    let env = [("PATH".to_owned(), "/usr/bin".to_owned())];
    let wanted = Export {
        layers: trees,
        platform: &platform,
        env: &env,
        tag: "v1",
        compression,
    };
    export(&wanted, blobs, to, &mut Unobserved).expect("a good export")
}

/// All files below a directory.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        for item in fs::read_dir(&dir).expect("readable") {
            let path = item.expect("readable").path();
            if path.is_dir() {
                left.push(path);
            } else {
                let bytes = fs::read(&path).expect("readable");
                found.insert(
                    path.file_name().expect("named").display().to_string(),
                    bytes,
                );
            }
        }
    }
    found
}

#[test]
fn an_export_imports_as_the_same_tree_in_every_form() {
    let mut blobs = Blobs::default();
    let tree = sample(&mut blobs);
    let dir = tempfile::tempdir().expect("writable");
    for (at, compression) in [Compression::Gzip, Compression::Zstd]
        .into_iter()
        .enumerate()
    {
        for name in [format!("l{at}"), format!("l{at}.tar")] {
            let to = dir.path().join(name);
            let exported = write(std::slice::from_ref(&tree), &blobs, &to, compression);
            for source in [to.display().to_string(), format!("oci:{}:v1", to.display())] {
                let (imported, _) = take(&source).expect("our own");
                assert_eq!(imported.tree, tree);
                assert_eq!(imported.facts["image"], exported.manifest.to_string());
                assert_eq!(imported.env, [("PATH".to_owned(), "/usr/bin".to_owned())]);
                assert_eq!(imported.notes, [""; 0]);
            }
        }
    }
    let left: Vec<_> = fs::read_dir(dir.path()).expect("readable").collect();
    assert_eq!(left.len(), 4, "something unfinished is left");
}

#[test]
fn equal_trees_give_equal_bytes() {
    let mut blobs = Blobs::default();
    let tree = sample(&mut blobs);
    let dir = tempfile::tempdir().expect("writable");
    for compression in [Compression::Gzip, Compression::Zstd] {
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        write(std::slice::from_ref(&tree), &blobs, &one, compression);
        write(std::slice::from_ref(&tree), &blobs, &two, compression);
        assert_eq!(files(&one), files(&two));
        fs::remove_dir_all(one).expect("there");
        fs::remove_dir_all(two).expect("there");
    }
    let (one, two) = (dir.path().join("1.tar"), dir.path().join("2.tar"));
    write(std::slice::from_ref(&tree), &blobs, &one, Compression::Gzip);
    write(std::slice::from_ref(&tree), &blobs, &two, Compression::Gzip);
    assert!(fs::read(one).expect("there") == fs::read(two).expect("there"));
}

/// Contents that come a few bytes at a time, as a slow disk might give them.
struct Trickle(Blobs);

impl Contents for Trickle {
    fn open(&self, blob: BlobId) -> Result<Box<dyn Read + '_>, Cause> {
        struct Few<R>(R, usize);
        impl<R: Read> Read for Few<R> {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                self.1 = self.1 * 7 % 1009 + 1;
                let end = self.1.min(buffer.len());
                self.0.read(&mut buffer[..end])
            }
        }
        Ok(Box::new(Few(self.0.open(blob)?, 1)))
    }
}

#[test]
fn how_contents_are_read_does_not_show() {
    let mut blobs = Blobs::default();
    let mut words = Vec::new();
    let mut seed = 7u64;
    for _ in 0..100_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        words.extend_from_slice(&b"caravan serai dune opam "[..(seed >> 60) as usize + 1]);
    }
    let blob = blobs.add(&words);
    let file = Entry::file(b"f", 0o644, blob, words.len() as u64);
    let tree = Tree::new(vec![file]).expect("good");
    let dir = tempfile::tempdir().expect("writable");
    let platform = amd64();
    for compression in [Compression::Gzip, Compression::Zstd] {
        let wanted = Export {
            layers: std::slice::from_ref(&tree),
            platform: &platform,
            env: &[],
            tag: "v1",
            compression,
        };
        let at = |name: &str| dir.path().join(format!("{name}{compression:?}"));
        let whole = export(&wanted, &blobs, &at("a"), &mut Unobserved).expect("good");
        let trickle = Trickle(Blobs(blobs.0.clone()));
        let slow = export(&wanted, &trickle, &at("b"), &mut Unobserved).expect("good");
        assert_eq!(whole, slow);
    }
}

/// If this fails, images of equal trees have other digests than before: say so in the changelog.
#[test]
fn golden_digests_of_the_first_version() {
    let mut blobs = Blobs::default();
    let tree = sample(&mut blobs);
    let dir = tempfile::tempdir().expect("writable");
    let digest = |name: &str, compression| {
        let exported = write(
            std::slice::from_ref(&tree),
            &blobs,
            &dir.path().join(name),
            compression,
        );
        exported.manifest.to_string()
    };
    assert_eq!(
        [
            digest("g", Compression::Gzip),
            digest("z", Compression::Zstd)
        ],
        [
            "sha256:48a5c8631e8b890112ee030c59e280418efbf63a56d7b442f1c03e06d6f8a8c7",
            "sha256:941ece2b055f7ccee23147c2a7db0423031a8211912a64a8928168b8b5936be4"
        ]
    );
}

#[test]
fn what_a_layer_cannot_say_and_what_is_damaged_are_refused_and_leave_nothing() {
    let mut blobs = Blobs::default();
    let blob = blobs.add(b"x");
    let dir = tempfile::tempdir().expect("writable");
    let to = dir.path().join("out");
    let platform = amd64();
    let refused = |entry: Entry, blobs: &Blobs, word: &str| {
        let tree = Tree::new(vec![entry]).expect("a good tree");
        let wanted = Export {
            layers: &[tree],
            platform: &platform,
            env: &[],
            tag: "v1",
            compression: Compression::Gzip,
        };
        let error = export(&wanted, blobs, &to, &mut Unobserved).expect_err("odd");
        assert!(chain(&error).contains(word), "{}", chain(&error));
        let left = fs::read_dir(dir.path()).expect("readable").count();
        assert_eq!(left, 0, "something is left");
    };
    refused(Entry::file(b".wh.x", 0o644, blob, 1), &blobs, ".wh.");
    let mut odd = Entry::file(b"x", 0o644, blob, 1);
    odd.xattrs.insert(b"user.a=b".to_vec(), Vec::new());
    refused(odd, &blobs, "=");
    refused(Entry::file(b"x", 0o644, blob, 2), &blobs, "2 bytes");
    refused(Entry::file(b"x", 0o644, blob, 0), &blobs, "0 bytes");
    let mut damaged = Blobs::default();
    damaged.0.insert(blob, b"y".to_vec());
    refused(Entry::file(b"x", 0o644, blob, 1), &damaged, "want");
    refused(
        Entry::file(b"x", 0o644, blob, 1),
        &Blobs::default(),
        "no such",
    );
}

#[test]
fn a_taken_place_is_refused_and_a_killed_export_is_swept() {
    let mut blobs = Blobs::default();
    let tree = sample(&mut blobs);
    let dir = tempfile::tempdir().expect("writable");
    let to = dir.path().join("out");
    let platform = amd64();
    let wanted = Export {
        layers: &[tree],
        platform: &platform,
        env: &[],
        tag: "v1",
        compression: Compression::Gzip,
    };
    fs::create_dir(&to).expect("writable");
    fs::write(to.join("mine"), "x").expect("writable");
    let error = export(&wanted, &blobs, &to, &mut Unobserved).expect_err("taken");
    assert!(error.to_string().contains("give another place"), "{error}");
    assert!(to.join("mine").exists());
    fs::remove_file(to.join("mine")).expect("there");
    // What a killed one leaves.
    let staging = dir.path().join(".out.unfinished");
    fs::create_dir_all(staging.join("layout/blobs")).expect("writable");
    fs::write(staging.join("unfinished"), "half").expect("writable");
    export(&wanted, &blobs, &to, &mut Unobserved).expect("an empty directory is free");
    assert!(to.join("index.json").exists() && !staging.exists());
}

#[test]
fn a_person_who_goes_away_ends_the_export() {
    struct Gone;
    impl caravan_image::Observer for Gone {
        fn progress(&mut self, _: &str, done: u64, total: u64) -> bool {
            assert!(total > 0);
            done == 0
        }
    }
    let mut blobs = Blobs::default();
    let tree = sample(&mut blobs);
    let dir = tempfile::tempdir().expect("writable");
    let platform = amd64();
    let wanted = Export {
        layers: &[tree],
        platform: &platform,
        env: &[],
        tag: "v1",
        compression: Compression::Gzip,
    };
    let error = export(&wanted, &blobs, &dir.path().join("o"), &mut Gone).expect_err("gone");
    assert!(chain(&error).contains("given up"), "{}", chain(&error));
    assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 0);
}

/// Paths of a small world, so that layers meet.
fn path() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        8 => prop::sample::select(vec!["a", "b", "c", "a.b", "a-"]).prop_map(str::to_owned),
        1 => "[a-z]{60,120}",
    ];
    prop::collection::vec(name, 1..4).prop_map(|names| names.join("/").into_bytes())
}

#[derive(Debug, Clone)]
enum What {
    File(Vec<u8>, bool),
    Dir(bool),
    Link(Vec<u8>),
    Gone,
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        4 => (prop::collection::vec(any::<u8>(), 0..1500), any::<bool>())
            .prop_map(|(bytes, noted)| What::File(bytes, noted)),
        2 => any::<bool>().prop_map(What::Dir),
        1 => "[a-c/.]{1,8}".prop_map(|target| What::Link(target.into_bytes())),
        2 => Just(What::Gone),
    ]
}

/// A tree of whatever of this fits together.
fn tree(blobs: &mut Blobs, files: Vec<(Vec<u8>, What, u16, u32)>, base: bool) -> Tree {
    let mut entries: BTreeMap<Vec<u8>, Entry> = BTreeMap::new();
    for (path, what, mode, uid) in files {
        let is_dir = |entry: Option<&Entry>| {
            entry.is_none_or(|entry| matches!(entry.kind, Kind::Dir { .. }))
        };
        let parents: Vec<Vec<u8>> = path
            .iter()
            .enumerate()
            .filter(|(_, b)| **b == b'/')
            .map(|(at, _)| path[..at].to_vec())
            .collect();
        let below = [path.as_slice(), b"/"].concat();
        let has_children = entries.keys().any(|other| other.starts_with(&below));
        if !parents.iter().all(|dir| is_dir(entries.get(dir)))
            || (has_children && !matches!(what, What::Dir(_)))
        {
            continue;
        }
        for dir in parents {
            let entry = Entry::dir(&dir, 0o755);
            entries.entry(dir).or_insert(entry);
        }
        let mut entry = match what {
            What::File(bytes, noted) => {
                let blob = blobs.add(&bytes);
                let mut entry = Entry::file(&path, mode, blob, bytes.len() as u64);
                if noted {
                    entry.xattrs.insert(b"user.n".to_vec(), bytes);
                }
                entry
            }
            What::Dir(opaque) => {
                let mut entry = Entry::dir(&path, mode);
                entry.kind = Kind::Dir {
                    opaque: opaque && !base,
                };
                entry
            }
            What::Link(target) => Entry::symlink(&path, &target),
            What::Gone if base => continue,
            What::Gone => Entry {
                kind: Kind::Whiteout,
                ..Entry::dir(&path, 0)
            },
        };
        if !matches!(entry.kind, Kind::Whiteout) {
            entry.uid = uid;
        }
        entries.insert(path, entry);
    }
    Tree::new(entries.into_values().collect()).expect("it fits together")
}

/// What a stack of trees shows, as an overlay of directories does: the simplest words for it.
fn overlaid(trees: &[Tree]) -> Tree {
    let mut shown: Vec<Entry> = Vec::new();
    for tree in trees {
        for entry in tree.entries() {
            let below = |other: &Entry| {
                entry.path.is_empty() && !other.path.is_empty()
                    || other.path.starts_with(&[&entry.path, &b"/"[..]].concat())
            };
            let keeps_children = matches!(entry.kind, Kind::Dir { opaque: false });
            // Below what was no directory before, nothing was.
            shown.retain(|other| other.path != entry.path && (keeps_children || !below(other)));
            if entry.kind != Kind::Whiteout {
                let mut entry = entry.clone();
                if let Kind::Dir { opaque } = &mut entry.kind {
                    *opaque = false;
                }
                shown.push(entry);
            }
        }
    }
    Tree::new(shown).expect("a stack shows a tree")
}

fn layer() -> impl Strategy<Value = Vec<(Vec<u8>, What, u16, u32)>> {
    prop::collection::vec((path(), what(), 0..0o10000u16, 0..=65_535u32), 0..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_tree_comes_back_as_it_was(files in layer(), zstd in any::<bool>()) {
        let mut blobs = Blobs::default();
        let tree = tree(&mut blobs, files, true);
        let dir = tempfile::tempdir().expect("writable");
        let to = dir.path().join("o");
        let compression = if zstd { Compression::Zstd } else { Compression::Gzip };
        write(std::slice::from_ref(&tree), &blobs, &to, compression);
        let (imported, got) = take(&to.display().to_string()).expect("our own");
        prop_assert_eq!(
            imported.tree.seal().expect("small").0,
            tree.seal().expect("small").0
        );
        prop_assert!(tree.blobs().keys().all(|blob| got.0.contains_key(blob)));
    }

    #[test]
    fn any_stack_comes_back_as_what_it_shows(all in prop::collection::vec(layer(), 1..5)) {
        let mut blobs = Blobs::default();
        let trees: Vec<Tree> = all
            .into_iter()
            .enumerate()
            .map(|(at, files)| tree(&mut blobs, files, at == 0))
            .collect();
        let dir = tempfile::tempdir().expect("writable");
        let to = dir.path().join("o");
        write(&trees, &blobs, &to, Compression::Gzip);
        let (imported, _) = take(&to.display().to_string()).expect("our own");
        prop_assert_eq!(imported.tree, overlaid(&trees));
    }
}

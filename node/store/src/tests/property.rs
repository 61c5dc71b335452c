use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use super::*;

#[derive(Debug, Clone)]
enum Shape {
    Dir {
        mode: u32,
        opaque: bool,
    },
    File {
        content: u8,
        mode: u32,
        owner: u32,
        noted: bool,
    },
    Link {
        target: String,
    },
    Whiteout,
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        2 => (prop_oneof![Just(0o755), Just(0o700), Just(0o1777), Just(0o2755)], any::<bool>())
            .prop_map(|(mode, opaque)| Shape::Dir { mode, opaque }),
        4 => (
            0u8..4,
            prop_oneof![Just(0o644), Just(0o755), Just(0o4755), Just(0o000)],
            prop_oneof![Just(0u32), Just(1000)],
            proptest::bool::weighted(0.2),
        )
            .prop_map(|(content, mode, owner, noted)| Shape::File { content, mode, owner, noted }),
        1 => "[a-z./]{1,12}".prop_map(|target| Shape::Link { target }),
        1 => Just(Shape::Whiteout),
    ]
}

fn content(n: u8) -> Vec<u8> {
    vec![n; usize::from(n) * 1000]
}

/// A flat listing of path and shape; those without a directory above them are left out.
fn listing() -> impl Strategy<Value = Vec<(String, Shape)>> {
    proptest::collection::btree_map("[ab]{1,2}(/[ab.]{3}){0,3}", shape(), 0..24).prop_map(
        |entries| {
            entries
                .into_iter()
                .filter(|(path, _)| !path.contains(".."))
                .collect()
        },
    )
}

/// Makes the files by hand, and the tree that they should be.
fn make(upper: &Path, listing: &[(String, Shape)]) -> Tree {
    let mut entries = Vec::new();
    let mut dirs: Vec<(PathBuf, u32)> = Vec::new();
    let set = |path: &Path, name: &str, value: &[u8]| {
        rustix::fs::setxattr(path, name, value, XattrFlags::empty()).expect("an attribute");
    };
    for (path, shape) in listing {
        let at = upper.join(path);
        // Through a link to a directory the file would be made outside.
        let parent = at.parent().expect("below upper");
        let in_dir = parent == upper || dirs.iter().any(|(dir, _)| dir == parent);
        if !in_dir || at.symlink_metadata().is_ok() {
            continue;
        }
        let mut entry = Entry::dir(path.as_bytes(), 0);
        match shape {
            Shape::Dir { mode, opaque } => {
                fs::create_dir(&at).expect("a directory");
                if *opaque {
                    set(&at, "trusted.overlay.opaque", b"y");
                }
                dirs.push((at, *mode));
                entry.mode = u16::try_from(*mode).expect("small");
                entry.kind = Kind::Dir { opaque: *opaque };
            }
            Shape::File {
                content: n,
                mode,
                owner,
                noted,
            } => {
                let bytes = content(*n);
                fs::write(&at, &bytes).expect("a file");
                std::os::unix::fs::chown(&at, Some(*owner), Some(*owner)).expect("an owner");
                chmod(&at, *mode);
                if *noted {
                    set(&at, "user.note", b"v");
                    entry.xattrs.insert(b"user.note".to_vec(), b"v".to_vec());
                }
                (entry.uid, entry.gid) = (*owner, *owner);
                entry.mode = u16::try_from(*mode).expect("small");
                entry.kind = Kind::File {
                    blob: BlobId::of(&bytes),
                    size: bytes.len() as u64,
                };
            }
            Shape::Link { target } => {
                std::os::unix::fs::symlink(target, &at).expect("a link");
                entry = Entry::symlink(path.as_bytes(), target.as_bytes());
            }
            Shape::Whiteout => {
                let device = FileType::CharacterDevice;
                rustix::fs::mknodat(CWD, &at, device, Mode::empty(), 0).expect("a whiteout");
                entry.kind = Kind::Whiteout;
            }
        }
        entries.push(entry);
    }
    for (dir, mode) in dirs.iter().rev() {
        chmod(dir, *mode);
    }
    Tree::new(entries).expect("a good tree")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_laid_out_is_what_was_ingested(listing in listing()) {
        if !is_root("what_is_laid_out_is_what_was_ingested") {
            return Ok(());
        }
        let (_dir, from) = new_store();
        let mut expected = None;
        let id = ingest_good(&from, |upper| expected = Some(make(upper, &listing)));
        prop_assert_eq!(Some(from.tree(id).expect("tree")), expected);
        assert_clean(&from);
        // Another store lays the same tree out of its parts, which a check compares in full.
        let (_dir, to) = new_store();
        let blobs: Vec<Vec<u8>> = (0..4).map(content).collect();
        to.put_tree(&from.tree(id).expect("tree"), &blobs).expect("put");
        let path = to.materialise(id).expect("complete");
        assert_clean(&to);
        // And a copy of what it laid out, made by a program that knows nothing of the store.
        let workspace = to.workspace().expect("a workspace");
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .arg(path.join("."))
            .arg(workspace.upper())
            .status();
        prop_assert!(copied.expect("cp runs").success());
        prop_assert_eq!(workspace.ingest().expect("good").tree, id);
    }
}

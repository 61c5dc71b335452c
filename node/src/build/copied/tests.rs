//! Copies against what the kernel's overlay shows and a plain recursive copy makes of it.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, lchown, symlink},
    },
    path::{Path, PathBuf},
    process::Command,
};

use caravan_protocol::{action::CopyTo, ids::BlobId, tree::Entry};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use super::*;

const USER: (u32, u32) = (1000, 100);

/// Small numbers from a seed; the same on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// A path of few names, so that layers meet each other.
    fn path(&mut self) -> PathBuf {
        let names = ["a", "b", "a.b", "a-b", ".git"];
        let depth = 1 + self.below(3);
        (0..depth).map(|_| names[self.below(5) as usize]).collect()
    }
}

/// A layer as steps could leave one: files, links, directories, whiteouts, opaque directories.
fn random_layer(dir: &Path, dice: &mut Dice, lowest: bool) {
    fs::create_dir(dir).unwrap();
    for _ in 0..4 + dice.below(20) {
        let path = dir.join(dice.path());
        let parent = path.parent().unwrap();
        // A file or a link above it: this path cannot be.
        if !is_real_dir(parent, dir) || fs::symlink_metadata(&path).is_ok() {
            continue;
        }
        match dice.below(if lowest { 6 } else { 9 }) {
            0..=2 => {
                fs::write(&path, format!("{}", dice.below(4))).unwrap();
                let mode = [0o600, 0o4755, 0o010, 0o777][dice.below(4) as usize];
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            }
            3 => symlink(dice.path(), &path).unwrap(),
            4 | 5 => fs::create_dir(&path).unwrap(),
            6 | 7 => {
                rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, Mode::empty(), 0)
                    .unwrap();
            }
            _ => {
                fs::create_dir(&path).unwrap();
                let flags = XattrFlags::empty();
                rustix::fs::setxattr(&path, "trusted.overlay.opaque", b"y", flags).unwrap();
            }
        }
    }
}

/// Makes the directories down to `dir`, unless something else is in the way.
fn is_real_dir(dir: &Path, top: &Path) -> bool {
    let inside = dir.strip_prefix(top).unwrap();
    let mut at = top.to_owned();
    for name in inside.components() {
        at.push(name);
        match fs::symlink_metadata(&at) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return false,
            Err(_) => fs::create_dir(&at).unwrap(),
        }
    }
    true
}

/// The same rules on real files. `None` where the copy is refused.
fn naive(seen: &Path, copy: &Copy, out: &Path) -> Option<()> {
    let (dst, into) = match &copy.dst {
        CopyTo::Into(dst) => (dst, true),
        CopyTo::As(dst) => (dst, false),
    };
    let names = |path: &str| -> PathBuf {
        path.split('/')
            .filter(|name| !matches!(*name, "" | "."))
            .collect()
    };
    let dst = names(dst);
    for src in &copy.src {
        let src = names(src);
        for above in src
            .ancestors()
            .skip(1)
            .filter(|path| *path != Path::new(""))
        {
            if !fs::symlink_metadata(seen.join(above)).ok()?.is_dir() {
                return None;
            }
        }
        let to = match src.file_name() {
            Some(name) if into => dst.join(name),
            _ => dst.clone(),
        };
        let from = seen.join(&src);
        let found = fs::symlink_metadata(&from).ok()?;
        if to == Path::new("") && !found.is_dir() {
            return None;
        }
        naive_item(&from, &out.join(to), &copy.exclude)?;
    }
    let last = if into {
        dst.as_path()
    } else {
        dst.parent().unwrap_or(Path::new(""))
    };
    fs::create_dir_all(out.join(last)).unwrap();
    Some(())
}

fn naive_item(from: &Path, to: &Path, exclude: &[String]) -> Option<()> {
    let found = fs::symlink_metadata(from).unwrap();
    let there = fs::symlink_metadata(to).ok();
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    if found.is_symlink() {
        let target = fs::read_link(from).unwrap();
        match there {
            Some(there) if there.is_symlink() && fs::read_link(to).unwrap() == target => {}
            Some(_) => return None,
            None => symlink(target, to).unwrap(),
        }
        return Some(());
    }
    if found.is_dir() {
        match there {
            Some(there) if !there.is_dir() => return None,
            _ => fs::create_dir_all(to).unwrap(),
        }
        for entry in fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            let left_out = |out: &String| OsStr::from_bytes(out.as_bytes()) == name;
            // In a directory of one layer only, overlays list the names that it removes.
            let is_there = fs::symlink_metadata(from.join(&name)).is_ok();
            if is_there && !exclude.iter().any(left_out) {
                naive_item(&from.join(&name), &to.join(&name), exclude)?;
            }
        }
        return Some(());
    }
    let (bytes, mode) = (
        fs::read(from).unwrap(),
        if found.mode() & 0o111 == 0 {
            0o644
        } else {
            0o755
        },
    );
    if let Some(there) = there {
        let same =
            there.is_file() && fs::read(to).unwrap() == bytes && there.mode() & 0o777 == mode;
        return same.then_some(());
    }
    fs::write(to, bytes).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).unwrap();
    Some(())
}

/// Owner and mode of every directory of a naive copy, as they must be.
fn dress(dir: &Path, is_root: bool) {
    if !is_root {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
        lchown(dir, Some(USER.0), Some(USER.1)).unwrap();
    }
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            dress(&path, false);
        } else {
            lchown(&path, Some(USER.0), Some(USER.1)).unwrap();
            let is_file = !path.is_symlink();
            if is_file {
                let mode = fs::metadata(&path).unwrap().mode() & 0o777;
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            }
        }
    }
}

/// A directory as a tree, whose root is that of every layer.
fn read_tree(top: &Path) -> Tree {
    let (mut entries, mut left) = (Vec::new(), vec![top.to_owned()]);
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let found = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(top).unwrap().as_os_str().as_bytes();
            let mut entry = if found.is_dir() {
                left.push(path.clone());
                Entry::dir(name, 0)
            } else if found.is_symlink() {
                Entry::symlink(name, fs::read_link(&path).unwrap().as_os_str().as_bytes())
            } else {
                let bytes = fs::read(&path).unwrap();
                Entry::file(name, 0, BlobId::of(&bytes), bytes.len() as u64)
            };
            entry.mode = u16::try_from(found.mode() & 0o7777).unwrap();
            (entry.uid, entry.gid) = (found.uid(), found.gid());
            entries.push(entry);
        }
    }
    Tree::new(entries).unwrap()
}

/// Real layers in a store and the overlay of them, unmounted when dropped.
struct Stack {
    dir: tempfile::TempDir,
    store: Store,
    trees: Vec<TreeId>,
}

impl Stack {
    fn random(dice: &mut Dice) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let mut trees = Vec::new();
        for number in 0..1 + dice.below(4) {
            let layer = dir.path().join(format!("l{number}"));
            random_layer(&layer, dice, number == 0);
            trees.push(store.ingest_dir(&layer).unwrap().tree);
        }
        let stack = Self { dir, store, trees };
        stack.mount().then_some(stack)
    }

    fn seen(&self) -> PathBuf {
        self.dir.path().join("seen")
    }

    fn mount(&self) -> bool {
        fs::create_dir(self.seen()).unwrap();
        let empty = self.dir.path().join("empty");
        fs::create_dir(&empty).unwrap();
        let layers = self
            .trees
            .iter()
            .rev()
            .map(|tree| self.store.materialise(*tree).unwrap());
        let lowers: Vec<String> = layers
            .chain([empty])
            .map(|path| path.display().to_string())
            .collect();
        let options = format!("lowerdir={}", lowers.join(":"));
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "overlay", "overlay", "-o", &options])
            .arg(self.seen());
        mount.output().is_ok_and(|output| output.status.success())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.seen()).status();
    }
}

fn random_copy(dice: &mut Dice, trees: &[TreeId]) -> Copy {
    let count = 1 + dice.below(3);
    let mut src: Vec<String> = (0..count)
        .map(|_| match dice.below(8) {
            0 => ".".to_owned(),
            _ => dice.path().display().to_string(),
        })
        .collect();
    let dst = ["/", "/d", "/d/e", "/a"][dice.below(4) as usize].to_owned();
    let dst = if dice.below(3) == 0 {
        src.truncate(1);
        CopyTo::As(dst)
    } else {
        CopyTo::Into(dst)
    };
    let from = match trees {
        [one] if dice.below(2) == 0 => CopyFrom::Tree(*one),
        [base, layers @ ..] => CopyFrom::Root {
            base: *base,
            layers: layers.to_vec(),
        },
        [] => unreachable!("a stack has a layer"),
    };
    let exclude = if dice.below(2) == 0 {
        vec![".git".to_owned()]
    } else {
        Vec::new()
    };
    Copy {
        from,
        src,
        dst,
        exclude,
        user: USER,
    }
}

#[test]
fn a_copy_is_what_a_plain_copy_of_the_mounted_layers_would_be() {
    let (mut made, mut refused) = (0, 0);
    for seed in 0..24 {
        let mut dice = Dice(seed);
        let Some(stack) = Stack::random(&mut dice) else {
            println!("SKIPPED: cannot mount an overlay here");
            return;
        };
        let trees = stack
            .trees
            .iter()
            .map(|tree| stack.store.tree(*tree).unwrap());
        let trees: Vec<Tree> = trees.collect();
        for number in 0..16 {
            let copy = random_copy(&mut dice, &stack.trees);
            let out = stack.dir.path().join(format!("out{number}"));
            fs::create_dir(&out).unwrap();
            let want = naive(&stack.seen(), &copy, &out).map(|()| {
                dress(&out, true);
                read_tree(&out)
            });
            let got = copy::layer(&View::new(&trees), &copy);
            match (&want, &got) {
                (Some(want), Ok(got)) => {
                    assert_eq!(want, got, "seed {seed}: {copy:?}");
                    made += 1;
                }
                (None, Err(_)) => refused += 1,
                _ => panic!("seed {seed}: {copy:?} gave {got:?}, not {want:?}"),
            }
            // By way of the store it is the same.
            if number == 0 {
                let kept = layer(&stack.store, &copy, &|| false)
                    .map(|tree| stack.store.tree(tree).unwrap());
                assert_eq!(kept.ok(), want, "seed {seed}: {copy:?}");
            }
        }
    }
    assert!(
        made > 60 && refused > 30,
        "{made} copies were made and {refused} refused"
    );
}

fn put(store: &Store, files: &[(&str, &str)]) -> TreeId {
    let mut listed = BTreeMap::new();
    for (path, text) in files {
        listed.insert(
            *path,
            (store.put_blob(text.as_bytes()).unwrap(), text.len() as u64),
        );
    }
    let files = listed
        .iter()
        .map(|(path, (blob, size))| (*path, *blob, *size));
    store
        .put_tree(&Tree::of_files(files).unwrap(), &[])
        .unwrap()
}

#[test]
fn equal_content_of_different_stacks_is_one_layer() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let one = put(&store, &[("bin/tool", "same"), ("etc/x", "1")]);
    let other = put(&store, &[("bin/tool", "other"), ("lib/y", "2")]);
    let above = put(&store, &[("bin/tool", "same")]);
    let copy = |from| Copy {
        from,
        src: vec!["bin/tool".to_owned()],
        dst: CopyTo::Into("/usr/local/bin".to_owned()),
        exclude: Vec::new(),
        user: USER,
    };
    let first = layer(&store, &copy(CopyFrom::Tree(one)), &|| false).unwrap();
    let from = CopyFrom::Root {
        base: other,
        layers: vec![above],
    };
    assert_eq!(layer(&store, &copy(from), &|| false).unwrap(), first);
    let laid = store
        .layer(first)
        .unwrap()
        .unwrap()
        .join("usr/local/bin/tool");
    let found = fs::metadata(&laid).unwrap();
    assert_eq!(
        (found.uid(), found.gid(), found.mode() & 0o7777),
        (USER.0, USER.1, 0o644)
    );
    assert_eq!(fs::read(laid).unwrap(), b"same");
}

#[test]
fn a_source_that_the_store_lacks_is_the_store_s_trouble_and_not_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let nowhere = TreeId::from(BlobId::of(b"nowhere"));
    let copy = Copy {
        from: CopyFrom::Tree(nowhere),
        src: vec![".".to_owned()],
        dst: CopyTo::As("/".to_owned()),
        exclude: Vec::new(),
        user: USER,
    };
    assert!(matches!(
        layer(&store, &copy, &|| false),
        Err(CopyError::Store(_))
    ));
}

#[test]
fn a_cancelled_copy_leaves_no_layer() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let tree = Tree::of_files([]).unwrap();
    let tree = store.put_tree(&tree, &[]).unwrap();
    let copy = Copy {
        from: CopyFrom::Tree(tree),
        src: vec![".".to_owned()],
        dst: CopyTo::Into("/a/b".to_owned()),
        exclude: Vec::new(),
        user: (0, 0),
    };
    let asked = std::cell::Cell::new(0);
    for moment in 1..=4 {
        asked.set(0);
        let stop = || {
            asked.set(asked.get() + 1);
            asked.get() == moment
        };
        assert!(matches!(
            layer(&store, &copy, &stop),
            Err(CopyError::Stopped)
        ));
        assert_eq!(store.stat().unwrap().layers, 0, "at {moment}");
    }
    layer(&store, &copy, &|| false).unwrap();
    assert_eq!(store.stat().unwrap().layers, 1);
}

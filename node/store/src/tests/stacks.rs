//! Stacks and their images. What an image shows is compared with what the kernel shows of the
//! layers themselves.

use std::{
    collections::BTreeMap,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
};

use caravan_protocol::tree::MTIME_S;
use proptest::prelude::*;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use super::*;
use crate::{
    Stack,
    limits::{IMAGE_LAYERS_MIN, IMAGE_STEP, STACKS_SEEN_MAX},
    stacks::{distinct, merged::merged},
};

/// First kernel on which an overlay has data-only layers with `metacopy=off`.
const KERNEL_MIN: (u32, u32) = (6, 16);

fn can_mount(test: &str) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel");
    let mut parts = release
        .split(['.', '-'])
        .map(|part| part.trim().parse::<u32>());
    let new =
        matches!((parts.next(), parts.next()), (Some(Ok(a)), Some(Ok(b))) if (a, b) >= KERNEL_MIN);
    let kinds = fs::read_to_string("/proc/filesystems").expect("a kernel");
    // Whether a file of this file system can be mounted: not one in memory.
    let kind = rustix::fs::statfs(std::env::temp_dir())
        .expect("it is there")
        .f_type;
    let on_disk = kind != 0x0102_1994;
    let able = new && on_disk && kinds.contains("\terofs") && kinds.contains("\toverlay");
    if !able {
        eprintln!("SKIPPED: {test} needs a kernel that mounts images");
    }
    able && is_root(test)
}

fn through(mount: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", mount.as_raw_fd())
}

fn detached(kind: &str, options: &[(&str, &str)]) -> OwnedFd {
    let mount = || {
        let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, value) in options {
            fsconfig_set_string(&fs, *key, *value)?;
        }
        fsconfig_set_flag(&fs, "ro")?;
        fsconfig_create(&fs)?;
        fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
    };
    mount().unwrap_or_else(|error| panic!("mount {kind} with {options:?}: {error}"))
}

const OFF: [(&str, &str); 2] = [("metacopy", "off"), ("redirect_dir", "off")];

/// A read-only overlay of the layers themselves.
fn of_layers(stack: &Stack, empty: &Path) -> OwnedFd {
    let lowers = stack.lowers.iter().rev();
    let mut names: Vec<&str> = lowers.map(|path| path.to_str().expect("utf-8")).collect();
    names.push(empty.to_str().expect("utf-8"));
    let mut options: Vec<(&str, &str)> = names.iter().map(|name| ("lowerdir+", *name)).collect();
    options.extend(OFF);
    detached("overlay", &options)
}

/// The same with the image in place of what it covers.
fn of_image(stack: &Stack) -> OwnedFd {
    let image = stack.image.as_ref().expect("it has one");
    // A file in memory cannot be mounted.
    let on_disk = tempfile::NamedTempFile::new().expect("a file");
    fs::copy(&image.file, on_disk.path()).expect("copied");
    let file = on_disk.path().to_str().expect("utf-8");
    let shown = detached("erofs", &[("source", file)]);
    let shown = through(&shown).to_owned() + "/";
    let lowers = stack.lowers[image.covers..].iter().rev();
    let mut names: Vec<&str> = lowers.map(|path| path.to_str().expect("utf-8")).collect();
    names.push(&shown);
    let mut options: Vec<(&str, &str)> = names.iter().map(|name| ("lowerdir+", *name)).collect();
    options.push(("datadir+", image.files.to_str().expect("utf-8")));
    options.extend(OFF);
    detached("overlay", &options)
}

type Seen = BTreeMap<Vec<u8>, String>;

/// All that can be seen of a mount, but numbers of inodes and of links.
fn seen(mount: &OwnedFd) -> Seen {
    let mut found = Seen::new();
    let top = PathBuf::from(through(mount) + "/");
    walk(&top, b"", &mut found);
    found
}

fn walk(top: &Path, inside: &[u8], found: &mut Seen) {
    let here = top.join(std::ffi::OsStr::from_bytes(inside));
    let Ok(stat) = fs::symlink_metadata(&here) else {
        // A whiteout with nothing below it: the kernel lists it and finds nothing.
        return;
    };
    let kind = stat.file_type();
    let mut line = format!(
        "{:o} {} {} {}",
        stat.mode(),
        stat.uid(),
        stat.gid(),
        stat.mtime()
    );
    if kind.is_symlink() {
        line += &format!(" {:?}", fs::read_link(&here).expect("a target"));
    } else {
        let mut list = vec![0; 4096];
        let size = rustix::fs::llistxattr(&here, list.as_mut_slice()).expect("a list");
        let mut names: Vec<&[u8]> = list[..size].split(|byte| *byte == 0).collect();
        names.sort_unstable();
        for name in names.into_iter().filter(|name| !name.is_empty()) {
            let mut value = vec![0; 4096];
            let size = rustix::fs::lgetxattr(&here, name, value.as_mut_slice()).expect("a value");
            line += &format!(" {}={:?}", String::from_utf8_lossy(name), &value[..size]);
        }
    }
    if kind.is_file() {
        let bytes = fs::read(&here).expect("its bytes");
        line += &format!(" {} {}", stat.len(), BlobId::of(&bytes));
    }
    if kind.is_dir() {
        for entry in fs::read_dir(&here).expect("a directory") {
            let name = entry.expect("an entry").file_name();
            let path = match inside {
                b"" => name.as_bytes().to_vec(),
                _ => [inside, b"/", name.as_bytes()].concat(),
            };
            walk(top, &path, found);
        }
    }
    found.insert(inside.to_vec(), line);
}

fn blob_of(number: u8) -> Vec<u8> {
    // Empty ones too.
    vec![number; usize::from(number % 5) * 700]
}

/// One layer: paths over few names, so that layers meet in every way.
fn layer() -> impl Strategy<Value = Vec<Entry>> {
    let path = proptest::collection::vec("[abc]|a\\.b", 1..4).prop_map(|names| names.join("/"));
    let kind = prop_oneof![
        4 => (0..12u8).prop_map(Some),
        3 => Just(None),
    ];
    let entry = (
        path,
        kind,
        0..8u8,
        prop_oneof![Just(0o644u16), Just(0o4755), Just(0o700)],
        0..3u32,
    );
    proptest::collection::vec(entry, 0..7).prop_map(|parts| {
        let mut entries: BTreeMap<Vec<u8>, Entry> = BTreeMap::new();
        for (path, content, how, mode, uid) in parts {
            let path = path.into_bytes();
            let above = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
            let dirs: Vec<Vec<u8>> = above.map(|(at, _)| path[..at].to_vec()).collect();
            let is_dir = |found: Option<&Entry>| {
                found.is_none_or(|entry| matches!(entry.kind, Kind::Dir { .. }))
            };
            if !dirs.iter().all(|dir| is_dir(entries.get(dir))) || entries.contains_key(&path) {
                continue;
            }
            for dir in dirs {
                entries
                    .entry(dir.clone())
                    .or_insert_with(|| Entry::dir(&dir, 0o755));
            }
            let mut entry = Entry::dir(&path, mode & 0o777);
            entry.uid = uid;
            match (content, how) {
                (Some(number), 0) => {
                    entry.kind = Kind::Symlink {
                        target: vec![b'a' + number; 3],
                    };
                    entry.mode = 0o777;
                }
                (Some(number), _) => {
                    let bytes = blob_of(number);
                    let (blob, size) = (BlobId::of(&bytes), bytes.len() as u64);
                    entry.kind = Kind::File { blob, size };
                    entry.mode = mode;
                }
                (None, 0..3) => entry.kind = Kind::Dir { opaque: true },
                (None, 3..6) => {
                    entry = Entry {
                        kind: Kind::Whiteout,
                        ..Entry::dir(&path, 0)
                    }
                }
                (None, _) => {}
            }
            if how == 7 && !matches!(entry.kind, Kind::Symlink { .. } | Kind::Whiteout) {
                entry
                    .xattrs
                    .insert(b"user.note".to_vec(), vec![uid as u8; 3]);
            }
            entries.insert(path, entry);
        }
        entries.into_values().collect()
    })
}

fn put(store: &Store, entries: Vec<Entry>) -> TreeId {
    let tree = Tree::new(entries).expect("a good tree");
    let blobs: Vec<Vec<u8>> = (0..12).map(blob_of).collect();
    store.put_tree(&tree, &blobs).expect("it is put")
}

/// A stack of `count` small layers that differ, the base first.
fn simple(store: &Store, count: usize) -> Vec<TreeId> {
    let one = |index: usize| {
        let path = format!("f{index}");
        let bytes = blob_of((index % 12) as u8);
        put(
            store,
            vec![Entry::file(
                path.as_bytes(),
                0o644,
                BlobId::of(&bytes),
                bytes.len() as u64,
            )],
        )
    };
    (0..count).map(one).collect()
}

fn stack(store: &Store, trees: &[TreeId]) -> Stack {
    store.stack(trees[0], &trees[1..]).expect("all is here")
}

fn images(store: &Store) -> Vec<String> {
    let dir = fs::read_dir(store.dir().join("images")).expect("a directory");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
    dir.map(|entry| name(entry).into_string().expect("utf-8"))
        .collect()
}

/// A store in memory, if there is a place for it: a disk would be waited for twice a layer.
fn quick_store() -> (TempDir, Store) {
    let Ok(dir) = TempDir::new_in("/dev/shm") else {
        return new_store();
    };
    let store = Store::open(&dir.path().join("store")).expect("a new store");
    (dir, store)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn an_image_shows_what_its_layers_show(
        layers in proptest::collection::vec(layer(), IMAGE_LAYERS_MIN..22),
    ) {
        if !can_mount("an_image_shows_what_its_layers_show") {
            return Ok(());
        }
        let (dir, store) = quick_store();
        let trees: Vec<TreeId> = layers
            .into_iter()
            .enumerate()
            .map(|(index, mut entries)| {
                // So that no two are equal.
                let name = format!("only-in-{index}");
                entries.push(Entry::symlink(name.as_bytes(), b"a"));
                put(&store, entries)
            })
            .collect();
        // Either the whole, or the part that a longer stack shares.
        let covered = if trees.len() > IMAGE_STEP { IMAGE_STEP } else { trees.len() };
        prop_assert!(store.prepare(trees[0], &trees[1..covered]).expect("it is made"));
        let stack = stack(&store, &trees);
        prop_assert_eq!(stack.image.as_ref().map(|image| image.covers), Some(covered));
        let empty = dir.path().join("empty");
        fs::create_dir(&empty).expect("a directory");
        let of_layers = seen(&of_layers(&stack, &empty));
        let of_image = seen(&of_image(&stack));
        for (path, line) in &of_layers {
            let path_shown = String::from_utf8_lossy(path);
            prop_assert_eq!(Some(line), of_image.get(path), "{:?}", path_shown);
        }
        prop_assert_eq!(of_layers.len(), of_image.len(), "{:?}", of_image.keys());
    }
}

proptest! {
    #[test]
    fn of_equal_layers_the_highest_is_enough(
        layers in proptest::collection::vec(layer(), 1..6),
        order in proptest::collection::vec(any::<prop::sample::Index>(), 1..10),
    ) {
        let trees: Vec<Tree> = layers
            .into_iter()
            .map(|entries| Tree::new(entries).expect("a good tree"))
            .collect();
        let stack: Vec<&Tree> = order.iter().map(|index| index.get(&trees)).collect();
        let ids: Vec<TreeId> = stack.iter().map(|tree| tree.seal().expect("small").0).collect();
        let few: Vec<Tree> = distinct(ids[0], &ids[1..])
            .iter()
            .map(|id| stack[ids.iter().position(|other| other == id).expect("of them")].clone())
            .collect();
        let all: Vec<Tree> = stack.into_iter().cloned().collect();
        let entries = |trees: &[Tree]| -> Vec<Entry> {
            merged(trees).into_iter().cloned().collect()
        };
        prop_assert_eq!(entries(&all), entries(&few));
    }
}

#[test]
fn a_layer_that_comes_twice_is_stacked_once() {
    let (dir, store) = new_store();
    let trees = simple(&store, 3);
    let stack = store
        .stack(trees[0], &[trees[1], trees[2], trees[1]])
        .expect("a stack");
    let layer = |index: usize| {
        store
            .layer(trees[index])
            .expect("look")
            .expect("it is here")
    };
    assert_eq!(stack.lowers, [layer(0), layer(2), layer(1)]);
    if can_mount("a_layer_that_comes_twice_is_stacked_once") {
        let empty = dir.path().join("empty");
        fs::create_dir(&empty).expect("a directory");
        assert_eq!(seen(&of_layers(&stack, &empty)).len(), 4);
    }
}

#[test]
fn files_that_are_no_objects_are_read_through_an_image() {
    if !can_mount("files_that_are_no_objects_are_read_through_an_image") {
        return;
    }
    let (_dir, store) = new_store();
    let mut trees = simple(&store, IMAGE_LAYERS_MIN - 1);
    trees.push(ingest_good(&store, |upper| {
        chmod(&write(upper, "bin/su", b"with a bit"), 0o4755);
        write(upper, "empty", b"");
        let noted = write(upper, "noted", b"with an attribute");
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&noted, "user.note", b"n", flags).expect("an attribute");
    }));
    assert!(store.prepare(trees[0], &trees[1..]).expect("made"));
    let stack = stack(&store, &trees);
    let mount = of_image(&stack);
    let top = PathBuf::from(through(&mount));
    assert_eq!(fs::read(top.join("bin/su")).expect("read"), b"with a bit");
    assert_eq!(stat(&top.join("bin/su")).mode() & 0o7777, 0o4755);
    assert_eq!(
        fs::read(top.join("noted")).expect("read"),
        b"with an attribute"
    );
    assert_eq!(fs::read(top.join("empty")).expect("read"), b"");
    assert_eq!(stat(&top.join("noted")).mtime(), MTIME_S);
}

#[test]
fn a_stack_that_comes_again_gets_an_image_and_one_that_does_not_gets_none() {
    let (_dir, store) = new_store();
    let trees = simple(&store, 12);
    let covers = |trees: &[TreeId]| stack(&store, trees).image.map(|image| image.covers);
    assert_eq!(covers(&trees), None);
    assert_eq!(
        store.make_images().expect("nothing to do"),
        0,
        "it was asked for once"
    );
    assert_eq!(covers(&trees), None);
    assert_eq!(store.make_images().expect("made"), 1);
    assert_eq!(covers(&trees), Some(12));
    assert_eq!(store.make_images().expect("nothing to do"), 0);
    let other: Vec<TreeId> = trees.iter().rev().copied().collect();
    assert_eq!(covers(&other), None, "another order is another stack");
    let few = &trees[..IMAGE_LAYERS_MIN - 1];
    for _ in 0..3 {
        assert_eq!(covers(few), None, "a few layers need none");
        assert_eq!(store.make_images().expect("nothing to do"), 0);
    }
    assert_eq!(images(&store).len(), 1);
}

#[test]
fn a_growing_stack_shares_the_image_of_its_beginning() {
    let (_dir, store) = new_store();
    let trees = simple(&store, 2 * IMAGE_STEP + 3);
    let mut made = 0;
    for length in 1..=trees.len() {
        let found = stack(&store, &trees[..length])
            .image
            .map(|image| image.covers);
        let whole = length.saturating_sub(1) / IMAGE_STEP * IMAGE_STEP;
        // It is wanted when it is first seen to be shared, and used from the next on.
        let due = if length > whole + 1 {
            whole
        } else {
            whole.saturating_sub(IMAGE_STEP)
        };
        assert_eq!(found, (due > 0).then_some(due), "of {length}");
        made += store.make_images().expect("made");
    }
    assert_eq!(made, 2);
}

#[test]
fn images_are_not_needed_and_do_not_outlive_a_process() {
    let (dir, store) = new_store();
    let trees = simple(&store, IMAGE_LAYERS_MIN);
    assert!(store.prepare(trees[0], &trees[1..]).expect("made"));
    assert!(store.prepare(trees[0], &trees[1..]).expect("it is there"));
    assert_eq!(images(&store).len(), 1);
    store.drop_images();
    assert_eq!(images(&store), Vec::<String>::new());
    assert_eq!(stack(&store, &trees).image, None);
    assert!(store.prepare(trees[0], &trees[1..]).expect("made again"));
    fs::write(store.dir().join("images/half.part"), b"killed here").expect("a file");
    drop(store);
    let store = Store::open(&dir.path().join("store")).expect("it opens");
    assert_eq!(images(&store), Vec::<String>::new());
    assert_eq!(stack(&store, &trees).image, None);
    assert_clean(&store);
}

#[test]
fn a_stack_of_what_is_not_here_is_refused() {
    let (_dir, store) = new_store();
    let trees = simple(&store, 2);
    let absent = TreeId::from(BlobId::of(b"nowhere"));
    let refused = store.stack(trees[0], &[trees[1], absent]);
    assert!(
        matches!(refused, Err(StoreError::Incomplete { .. })),
        "{refused:?}"
    );
    let none = |index: usize| TreeId::from(BlobId::of(&[index as u8]));
    let absent: Vec<TreeId> = (0..IMAGE_LAYERS_MIN).map(none).collect();
    assert!(store.prepare(trees[0], &absent).is_err());
    assert_eq!(images(&store), Vec::<String>::new());
}

#[test]
fn a_stack_that_can_have_no_image_is_left_as_it_is() {
    let (_dir, store) = new_store();
    let mut trees = simple(&store, IMAGE_LAYERS_MIN);
    // More attributes than an image takes, and than a disk would; it is never laid out.
    let mut odd = Entry::dir(b"odd", 0o755);
    for index in 0..8 {
        odd.xattrs
            .insert(format!("user.{index}").into_bytes(), vec![0; 60_000]);
    }
    let layout = trees.clone();
    trees.push(put(&store, vec![odd]));
    for _ in 0..3 {
        store.inner.images.best(&trees, 0);
        assert_eq!(store.make_images().expect("none"), 0);
        assert_eq!(store.inner.images.wanted(), 0);
    }
    assert_eq!(images(&store), Vec::<String>::new());
    assert!(
        store.prepare(layout[0], &layout[1..]).expect("made"),
        "others have theirs"
    );
}

#[test]
fn once_anything_is_forgotten_no_older_image_is_used() {
    let (_dir, store) = new_store();
    let trees = simple(&store, IMAGE_LAYERS_MIN);
    assert!(store.prepare(trees[0], &trees[1..]).expect("made"));
    assert!(stack(&store, &trees).image.is_some());
    let other = object_path(&store, &blob_of(11), "644.0.0");
    fs::write(&other, b"damaged").expect("a flipped bit");
    let report = store.check(true, &mut |_, _| {}).expect("a check");
    assert!(report.forgotten > 0);
    assert_eq!(stack(&store, &trees).image, None);
    assert_eq!(images(&store), Vec::<String>::new());
    assert!(store.prepare(trees[0], &trees[1..]).expect("made anew"));
    assert!(stack(&store, &trees).image.is_some());
}

#[test]
fn memory_of_stacks_is_bounded() {
    let (_dir, store) = new_store();
    let trees = simple(&store, 9);
    let mut order = trees.clone();
    for round in 0..STACKS_SEEN_MAX + 10 {
        // Permutations without end, and none twice in a row.
        order.rotate_left(1 + round % 7);
        let at = round % 8;
        order.swap(at, at + 1);
        store.inner.images.best(&order, 0);
    }
    assert!(store.inner.images.seen() <= STACKS_SEEN_MAX);
    assert!(store.inner.images.wanted() <= crate::limits::IMAGES_WANTED_MAX);
}

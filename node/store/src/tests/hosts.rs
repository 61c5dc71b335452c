//! File systems that cannot do what a store needs: the error names the thing, and nothing is
//! half-done. Without reflinks are tmpfs and ext4, on which all other tests run.

use std::collections::BTreeMap;

use rustix::mount::{MountFlags, mount, mount_remount};

use super::{full::Tmpfs, *};

fn read_only(at: &Path) {
    mount_remount(at, MountFlags::RDONLY, c"").expect("nothing there is open for writing");
}

#[test]
fn a_read_only_disk_is_named_when_a_store_is_opened_on_it() {
    if !is_root("a_read_only_disk_is_named_when_a_store_is_opened_on_it") {
        return;
    }
    let dir = TempDir::new().expect("a directory");
    let _mounted = Tmpfs::mount(dir.path(), "32m");
    let old = dir.path().join("old");
    let store = Store::open(&old).expect("a new store");
    let kept = store.put_blob(b"kept").expect("there is room");
    drop(store);
    read_only(dir.path());
    for path in [&old, &dir.path().join("new")] {
        let error = Store::open(path).expect_err("it is read-only");
        assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("read-only"), "{text}");
        assert!(text.contains(&*path.to_string_lossy()), "{text}");
    }
    assert!(!dir.path().join("new").exists());
    mount_remount(dir.path(), MountFlags::empty(), c"").expect("writable again");
    let store = Store::open(&old).expect("it is as it was");
    assert_eq!(store.read_blob(kept, 10).expect("kept"), b"kept");
    assert_clean(&store);
}

#[test]
fn without_extended_attributes_only_trees_that_need_them_are_refused() {
    let test = "without_extended_attributes_only_trees_that_need_them_are_refused";
    if !is_root(test) {
        return;
    }
    let dir = TempDir::new().expect("a directory");
    let mounted = Tmpfs::mount(dir.path(), "1m");
    // Over it, so that both go together.
    if let Err(error) = mount("ramfs", dir.path(), "ramfs", MountFlags::empty(), None) {
        eprintln!("SKIPPED: {test} needs ramfs: {error}");
        return;
    }
    let _over = (Over(dir.path().to_owned()), mounted);
    let store = Store::open(&dir.path().join("store")).expect("it needs none itself");
    ingest_good(&store, |upper| {
        write(upper, "dir/file", b"plain");
    });
    let mut attributed = Entry::file(b"file", 0o644, BlobId::of(b"x"), 1);
    attributed.xattrs = BTreeMap::from([(b"user.note".to_vec(), b"1".to_vec())]);
    let mut opaque = Entry::dir(b"dir", 0o755);
    opaque.kind = Kind::Dir { opaque: true };
    for (entry, words) in [
        (attributed, "keeps none of this kind"),
        (opaque, "trusted extended attributes"),
    ] {
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        let tree = Tree::new(vec![entry]).expect("a tree");
        let tree = store.put_tree(&tree, &[b"x".to_vec()]).expect("its blobs");
        let text = store.materialise(tree).expect_err("refused").to_string();
        assert!(text.contains(words) && text.contains(&path), "{text}");
        assert_eq!(store.layer(tree).expect("look"), None);
        assert_clean(&store);
    }
}

/// A mount on top of another, unmounted when dropped.
struct Over(PathBuf);

impl Drop for Over {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn a_store_that_is_refused_still_says_that_it_was_cut_off() {
    let (_dir, store) = new_store();
    let dir = store.dir().to_owned();
    drop(store);
    fs::write(dir.join("lock"), b"1\n").expect("as a killed process leaves it");
    let index = fs::read(dir.join("index.redb")).expect("read");
    fs::write(dir.join("index.redb"), b"of another program").expect("write");
    Store::open(&dir).expect_err("its index is none");
    assert!(stat(&dir.join("lock")).len() > 0);
    fs::write(dir.join("index.redb"), index).expect("write");
    drop(Store::open(&dir).expect("it is as it was"));
    assert_eq!(stat(&dir.join("lock")).len(), 0);
}

#[test]
fn a_file_system_without_hard_links_is_refused_by_name() {
    let dir = PathBuf::from("/some/where");
    let text = StoreError::NoLinks { dir }.to_string();
    assert!(
        text.contains("/some/where") && text.contains("no hard links"),
        "{text}"
    );
}

/// An ext4 of a file, as a disk of its own; nothing where none can be had.
fn ext4(dir: &Path, at: &Path) -> Option<Over> {
    let image = dir.join("image");
    File::create(&image)
        .and_then(|file| file.set_len(64 << 20))
        .expect("a sparse file");
    let run = |command: &str, args: &[&str]| {
        let done = std::process::Command::new(command)
            .args(args)
            .arg(&image)
            .arg(at)
            .output();
        done.is_ok_and(|done| done.status.success())
    };
    fs::create_dir(at).expect("a directory");
    let made = std::process::Command::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-b", "1024"])
        .arg(&image)
        .output();
    let made = made.is_ok_and(|made| made.status.success());
    (made && run("mount", &["-o", "loop"])).then(|| Over(at.to_owned()))
}

#[test]
fn attributes_that_the_disk_does_not_take_are_not_called_a_full_disk() {
    let test = "attributes_that_the_disk_does_not_take_are_not_called_a_full_disk";
    if !is_root(test) {
        return;
    }
    let dir = TempDir::new().expect("a directory");
    let at = dir.path().join("disk");
    let Some(_mounted) = ext4(dir.path(), &at) else {
        eprintln!("SKIPPED: {test} needs mke2fs and a loop device");
        return;
    };
    let store = Store::open(&at.join("store")).expect("a new store");
    let mut entry = Entry::file(b"file", 0o644, BlobId::of(b"x"), 1);
    entry.xattrs = BTreeMap::from([(b"user.note".to_vec(), vec![1; 5000])]);
    let tree = Tree::new(vec![entry]).expect("a tree");
    let tree = store.put_tree(&tree, &[b"x".to_vec()]).expect("its blobs");
    let error = store.materialise(tree).expect_err("refused");
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("larger than"), "{error}");
    assert_clean(&store);
}

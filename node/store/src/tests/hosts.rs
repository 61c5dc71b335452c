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

/// Says that a test needs what is not here; in a run that is for such tests, that is a failure.
fn lacking(test: &str, what: &str) {
    assert!(
        std::env::var_os("CARAVAN_CHECK_REAL").is_none(),
        "{test} needs {what}"
    );
    eprintln!("SKIPPED: {test} needs {what}");
}

/// Whether a command is here and succeeds.
fn run(command: &str, args: &[&str]) -> bool {
    let done = std::process::Command::new(command).args(args).output();
    done.is_ok_and(|done| done.status.success())
}

/// A file system in a file, as a disk of its own, unmounted when dropped.
struct LoopDisk {
    image: PathBuf,
    at: PathBuf,
    device: String,
}

impl LoopDisk {
    /// Makes one; nothing where it cannot be had. `mount` is asked for with the device and the place.
    fn make(dir: &Path, bytes: u64, make: &[&str], mount: &[&str]) -> Option<Self> {
        let image = dir.join("image");
        File::create(&image)
            .and_then(|file| file.set_len(bytes))
            .expect("a sparse file");
        let text = image.to_str().expect("it is UTF-8");
        let made = run(make[0], &[&make[1..], &[text]].concat());
        let at = dir.join("disk");
        made.then(|| Self::attach(image, at, mount)).flatten()
    }

    fn attach(image: PathBuf, at: PathBuf, mount: &[&str]) -> Option<Self> {
        let device = std::process::Command::new("losetup")
            .args(["--find", "--show"])
            .arg(&image)
            .output();
        let device = device.ok().filter(|done| done.status.success())?;
        fs::create_dir(&at).expect("a directory");
        let disk = Self {
            image,
            at,
            device: String::from_utf8_lossy(&device.stdout).trim().to_owned(),
        };
        disk.mount(mount).then_some(disk)
    }

    /// The same bytes as another disk, as after a start of the machine: somebody else's copy of this
    /// place may keep the old file system alive.
    fn anew(self, dir: &Path, mount: &[&str]) -> Self {
        let flags = rustix::mount::UnmountFlags::empty();
        rustix::mount::unmount(&self.at, flags).expect("nobody here uses it");
        assert!(run("blockdev", &["--flushbufs", &self.device]));
        let image = dir.join("image again");
        assert!(run(
            "cp",
            &[
                "--sparse=always",
                &self.image.to_string_lossy(),
                &image.to_string_lossy()
            ]
        ));
        Self::attach(image, dir.join("disk again"), mount).expect("it can be mounted again")
    }

    fn ext4(dir: &Path) -> Option<Self> {
        let make = ["mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024"];
        Self::make(dir, 64 << 20, &make, &["mount"])
    }

    fn mount(&self, mount: &[&str]) -> bool {
        let at = self.at.to_str().expect("it is UTF-8");
        run(
            mount[0],
            &[&mount[1..], &[self.device.as_str(), at]].concat(),
        )
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.at, rustix::mount::UnmountFlags::DETACH);
        run("losetup", &["--detach", &self.device]);
    }
}

#[test]
fn a_disk_without_hard_links_is_refused_by_name_and_nothing_is_left_there() {
    let test = "a_disk_without_hard_links_is_refused_by_name_and_nothing_is_left_there";
    if !is_root(test) {
        return;
    }
    let dir = TempDir::new().expect("a directory");
    let mount = ["mount.exfat-fuse"];
    let Some(disk) = LoopDisk::make(dir.path(), 64 << 20, &["mkfs.exfat"], &mount) else {
        return lacking(test, "exfatprogs, exfat-fuse, /dev/fuse and a loop device");
    };
    let place = disk.at.join("store");
    let error = Store::open(&place).expect_err("it has no hard links");
    assert!(matches!(error, StoreError::NoLinks { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&*place.to_string_lossy()), "{text}");
    assert!(!place.join("index.redb").exists());
}

/// What a store does on a disk that `stops` while it is open, and afterwards, when it is mounted anew.
fn stopping(test: &str, disk: LoopDisk, mount: &[&str], stop: impl FnOnce(&Path) -> bool) {
    let again = TempDir::new().expect("a directory");
    let place = disk.at.join("store");
    let store = Store::open(&place).expect("a new store");
    let tree = ingest_good(&store, |upper| {
        write(upper, "a", b"kept");
        write(upper, "b", [7; 100_000]);
    });
    let blob = store.put_blob(b"kept too").expect("put");
    store
        .freeze(&[tree], super::freezing::quick())
        .expect("frozen");
    if !stop(&disk.at) {
        return lacking(test, "a way to stop a file system");
    }
    let refused = [
        store.put_blob(b"too late").map(drop),
        store.put_record("kind", "key", b"1").map(drop),
        ingest(&store, |upper| {
            let _ = fs::write(upper.join("c"), b"too late");
        })
        .map(drop),
        store.cool(&[tree]).map(drop),
    ];
    for result in refused {
        match result {
            Err(error @ (StoreError::ReadOnly { .. } | StoreError::Io { .. })) => {
                let text = error.to_string();
                assert!(!text.contains(crate::FULL_WORDS), "{text}");
            }
            Err(StoreError::Index { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    drop(store);
    let disk = disk.anew(again.path(), mount);
    let store = Store::open(&disk.at.join("store")).expect("it is as it was");
    assert_eq!(store.read_blob(blob, 100).expect("kept"), b"kept too");
    assert!(super::collecting::is_whole(&store, tree));
    assert!(store.is_frozen(tree).expect("look"));
    let late = store.has_blob(BlobId::of(b"too late")).expect("look");
    assert!(!late, "what was refused is not there");
    assert_clean(&store);
}

#[test]
fn a_disk_that_turns_read_only_while_the_store_is_open_loses_nothing_acknowledged() {
    let test = "a_disk_that_turns_read_only_while_the_store_is_open_loses_nothing_acknowledged";
    if !is_root(test) {
        return;
    }
    let dir = TempDir::new().expect("a directory");
    let Some(disk) = LoopDisk::ext4(dir.path()) else {
        return lacking(test, "mke2fs and a loop device");
    };
    // What ext4 does of itself when its disk fails.
    stopping(test, disk, &["mount"], |at| {
        mount_remount(at, MountFlags::empty(), c"abort").is_ok()
    });
}

#[test]
fn a_disk_that_is_shut_down_while_the_store_is_open_loses_nothing_acknowledged() {
    let test = "a_disk_that_is_shut_down_while_the_store_is_open_loses_nothing_acknowledged";
    if !is_root(test) {
        return;
    }
    let dir = TempDir::new().expect("a directory");
    let make = ["mkfs.xfs", "-q", "-f"];
    let Some(disk) = LoopDisk::make(dir.path(), 400 << 20, &make, &["mount"]) else {
        return lacking(test, "xfsprogs, a kernel with xfs and a loop device");
    };
    stopping(test, disk, &["mount", "-o", "nouuid"], |at| {
        let at = at.to_str().expect("it is UTF-8");
        run("xfs_io", &["-x", "-c", "shutdown", at])
    });
}

#[test]
fn attributes_that_the_disk_does_not_take_are_not_called_a_full_disk() {
    let test = "attributes_that_the_disk_does_not_take_are_not_called_a_full_disk";
    if !is_root(test) {
        return;
    }
    let dir = TempDir::new().expect("a directory");
    let Some(disk) = LoopDisk::ext4(dir.path()) else {
        return lacking(test, "mke2fs and a loop device");
    };
    let store = Store::open(&disk.at.join("store")).expect("a new store");
    let mut entry = Entry::file(b"file", 0o644, BlobId::of(b"x"), 1);
    entry.xattrs = BTreeMap::from([(b"user.note".to_vec(), vec![1; 5000])]);
    let tree = Tree::new(vec![entry]).expect("a tree");
    let tree = store.put_tree(&tree, &[b"x".to_vec()]).expect("its blobs");
    let error = store.materialise(tree).expect_err("refused");
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("larger than"), "{error}");
    assert_clean(&store);
}

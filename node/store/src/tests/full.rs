use rustix::mount::{MountFlags, UnmountFlags};

use super::*;

/// A small file system, unmounted when dropped.
pub(super) struct Tmpfs(PathBuf);

impl Tmpfs {
    pub(super) fn mount(at: &Path, size: &str) -> Self {
        let options = std::ffi::CString::new(format!("size={size}")).expect("no NUL");
        rustix::mount::mount(
            "tmpfs",
            at,
            "tmpfs",
            MountFlags::empty(),
            options.as_c_str(),
        )
        .expect("root may mount");
        Self(at.to_owned())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_disk_is_named_and_leaves_nothing_half_done() {
    if !is_root("a_full_disk_is_named_and_leaves_nothing_half_done") {
        return;
    }
    let dir = TempDir::new().expect("a directory");
    let _mounted = Tmpfs::mount(dir.path(), "6m");
    let store = Store::open(&dir.path().join("store")).expect("it is empty");
    let kept = store.put_blob(b"kept").expect("there is room");
    let big = vec![7; 8 << 20];
    let full = store.put_blob(&big);
    assert!(matches!(full, Err(StoreError::Full { .. })), "{full:?}");
    let text = full.expect_err("it is full").to_string();
    assert!(text.contains("full"), "{text}");
    assert_clean(&store);
    // Fill it to the last page by something else, so that the index itself has no room.
    let hog = dir.path().join("hog");
    let mut file = File::create(&hog).expect("a file");
    while std::io::Write::write(&mut file, &[1; 4096]).is_ok_and(|written| written > 0) {}
    let mut refused = 0;
    for n in 0..2000u32 {
        let put = store.put_record("kind", &n.to_string(), &[3; 4000]);
        match put {
            Ok(()) => {}
            Err(StoreError::Full { .. }) => refused += 1,
            Err(error) => panic!("{error:?}"),
        }
        if refused > 3 {
            break;
        }
    }
    assert!(refused > 0, "the index never ran out of room");
    assert_eq!(
        store.read_blob(kept, 10).expect("it is still readable"),
        b"kept"
    );
    fs::remove_file(&hog).expect("remove");
    drop(file);
    store
        .put_record("kind", "after", b"1")
        .expect("there is room again");
    let id = ingest_good(&store, |upper| {
        write(upper, "a", b"1");
    });
    assert!(store.layer(id).expect("look").is_some());
    assert_clean(&store);
    let dir = store.dir().to_owned();
    drop(store);
    let store = Store::open(&dir).expect("open again");
    assert_eq!(
        store.record("kind", "after").expect("get").as_deref(),
        Some(&b"1"[..])
    );
    assert_clean(&store);
}

#[test]
fn a_disk_that_fills_anywhere_in_a_commit_loses_nothing() {
    if !is_root("a_disk_that_fills_anywhere_in_a_commit_loses_nothing") {
        return;
    }
    let dir = TempDir::new().expect("a directory");
    let _mounted = Tmpfs::mount(dir.path(), "4m");
    let store = Store::open(&dir.path().join("store")).expect("it is empty");
    let hog = dir.path().join("hog");
    let free = rustix::fs::statvfs(dir.path()).expect("statvfs");
    let free = free.f_bavail * free.f_frsize;
    let mut done = 0;
    // Leave a little more room each time, until the whole of it fits.
    for room in (0..400).map(|step| step * 4096) {
        let bytes = vec![1; usize::try_from(free.saturating_sub(room)).expect("small")];
        let _ = fs::write(&hog, bytes);
        let put = ingest(&store, |upper| {
            for n in 0..10 {
                let path = upper.join(format!("{room}-{n}"));
                let _ = fs::write(&path, format!("{room} {n}"));
            }
        });
        match put {
            Ok(_) => done += 1,
            Err(StoreError::Full { .. }) => {}
            Err(error) => panic!("with {room} bytes left: {error:?}"),
        }
        fs::remove_file(&hog).expect("remove");
        assert_clean(&store);
        if done > 2 {
            return;
        }
    }
    panic!("it never fitted");
}

//! Caches: what one borrower leaves is what the next one finds, and nothing else is.

use std::{collections::BTreeMap, os::unix::fs::symlink};

use rustix::{
    fs::CWD,
    mount::{MountFlags, UnmountFlags},
};

use super::*;
use crate::{Bounds, Caches, LentCache, Released};

const USER: (u32, u32) = (1000, 1000);

/// The overlay that a step would see, for as long as this lives.
struct Mounted {
    at: TempDir,
    lent: Option<LentCache>,
}

impl Mounted {
    fn new(lent: LentCache) -> Self {
        let at = TempDir::new().expect("a mount point");
        let empty = at.path().join("empty");
        let on = at.path().join("on");
        fs::create_dir(&empty).expect("a directory");
        fs::create_dir(&on).expect("a directory");
        let mut lowers = lent.lowers();
        if lowers.is_empty() {
            lowers.push(empty);
        }
        let lowers: Vec<String> = lowers
            .iter()
            .rev()
            .map(|dir| dir.display().to_string())
            .collect();
        let options = format!(
            "lowerdir={},upperdir={},workdir={},redirect_dir=off,metacopy=off,index=off",
            lowers.join(":"),
            lent.upper().display(),
            lent.work().display()
        );
        let options = std::ffi::CString::new(options).expect("no NUL");
        rustix::mount::mount("overlay", &on, "overlay", MountFlags::empty(), &*options)
            .expect("an overlay");
        Self {
            at,
            lent: Some(lent),
        }
    }

    fn path(&self) -> PathBuf {
        self.at.path().join("on")
    }

    fn release(mut self) -> crate::Result<Released> {
        self.unmount();
        self.lent.take().expect("it is released once").release()
    }

    fn unmount(&self) {
        // Twice is once too often, and harmless.
        let _ = rustix::mount::unmount(self.path(), UnmountFlags::DETACH);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn caches(store: &Store) -> Caches {
    Caches::new(store.clone())
}

fn borrow(caches: &Caches, id: &str) -> Mounted {
    Mounted::new(caches.lend("project:a", id, USER).expect("a cache"))
}

/// Releases a cache with one file in it.
fn leave(caches: &Caches, domain: &str, id: &str, name: &str, bytes: &[u8]) -> Released {
    let lent = caches.lend(domain, id, USER).expect("a cache");
    fs::write(lent.upper().join(name), bytes).expect("a file");
    lent.release().expect("a release")
}

fn find(caches: &Caches, domain: &str, id: &str, name: &str) -> Option<Vec<u8>> {
    let lent = caches.lend(domain, id, USER).expect("a cache");
    let lowers = lent.lowers();
    lowers
        .iter()
        .rev()
        .find_map(|layer| fs::read(layer.join(name)).ok())
}

/// Path, kind, mode, owner, time and content of all that is seen.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut seen = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(at) = left.pop() {
        for entry in fs::read_dir(&at).expect("a directory") {
            let path = entry.expect("an entry").path();
            let Ok(found) = fs::symlink_metadata(&path) else {
                continue;
            };
            let content = if found.is_dir() {
                left.push(path.clone());
                "dir".to_owned()
            } else if found.is_symlink() {
                fs::read_link(&path).expect("a link").display().to_string()
            } else {
                fs::read_to_string(&path).expect("a file")
            };
            let (mode, time) = (found.mode(), found.mtime());
            let line = format!("{mode:o} {}:{} {time} {content}", found.uid(), found.gid());
            seen.insert(
                path.strip_prefix(dir).expect("it is below").to_owned(),
                line,
            );
        }
    }
    seen
}

#[test]
fn what_one_leaves_the_next_finds_whatever_was_done() {
    if !is_root("what_one_leaves_the_next_finds_whatever_was_done") {
        return;
    }
    let (_dir, store) = new_store();
    let bounds = Bounds {
        layers: 3,
        ..Bounds::default()
    };
    let caches = Caches::bounded(store, bounds);
    let mut seed = 1u64;
    let mut dice = |bound: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % bound
    };
    let (mut last, mut most) = (BTreeMap::new(), 0);
    for round in 0..40 {
        let mounted = borrow(&caches, "random");
        let top = mounted.path();
        assert_eq!(snapshot(&top), last, "round {round}");
        for step in 0..dice(12) {
            let names = ["a", "b", "c"];
            let path: PathBuf = (0..1 + dice(3)).map(|_| names[dice(3) as usize]).collect();
            let path = top.join(path);
            // Each may fail where something else is in the way; the snapshot tells what is so.
            match dice(14) {
                0 | 5 | 6 => drop(fs::create_dir_all(&path)),
                1 => drop(fs::remove_dir_all(&path)),
                2 => drop(fs::remove_file(&path)),
                3 => drop(symlink(format!("to-{step}"), &path)),
                4 => drop(fs::set_permissions(
                    &path,
                    fs::Permissions::from_mode(0o750),
                )),
                _ => drop(fs::write(&path, format!("{round}.{step}"))),
            }
        }
        last = snapshot(&top);
        most = most.max(last.len());
        assert_eq!(mounted.release().expect("a release"), Released::Kept);
    }
    assert!(
        most > 8,
        "the test did next to nothing: {most} files at most"
    );
}

#[test]
fn a_borrower_s_writes_are_its_own_until_it_releases() {
    if !is_root("a_borrower_s_writes_are_its_own_until_it_releases") {
        return;
    }
    let (_dir, store) = new_store();
    let caches = caches(&store);
    let first = borrow(&caches, "c");
    fs::write(first.path().join("file"), "one").expect("a file");
    first.release().expect("a release");
    let (one, other) = (borrow(&caches, "c"), borrow(&caches, "c"));
    // Written in place, which a link to one inode would show to the other.
    let mut file = fs::OpenOptions::new();
    let mut file = file
        .append(true)
        .open(one.path().join("file"))
        .expect("the file");
    std::io::Write::write_all(&mut file, b"!").expect("a write");
    drop(file);
    let read = |from: &Mounted| fs::read_to_string(from.path().join("file")).expect("the file");
    assert_eq!(
        (read(&one).as_str(), read(&other).as_str()),
        ("one!", "one")
    );
    assert_eq!(one.release().expect("a release"), Released::Kept);
    assert_eq!(read(&other), "one");
    fs::remove_file(other.path().join("file")).expect("a removal");
    assert_eq!(other.release().expect("a release"), Released::Overtaken);
    assert_eq!(read(&borrow(&caches, "c")), "one!");
}

#[test]
fn what_is_not_released_is_gone_and_leaves_nothing() {
    let (_dir, store) = new_store();
    let caches = caches(&store);
    let lent = caches.lend("project:a", "c", USER).expect("a cache");
    fs::write(lent.upper().join("file"), "x").expect("a file");
    drop(lent);
    assert_eq!(find(&caches, "project:a", "c", "file"), None);
    assert_eq!(names(&store.dir().join("work")), ["trash"]);
}

#[test]
fn caches_of_two_domains_or_names_are_two() {
    let (_dir, store) = new_store();
    let caches = caches(&store);
    let pairs = [
        ("project:a", "c"),
        ("project:b", "c"),
        ("project:a", "../c"),
        ("project:a", "c/../../../layers"),
        ("project:", "ac"),
        ("project", ":ac"),
        ("project:a\nc", ""),
        ("packages", "C"),
        ("packages", "\u{202e}c"),
    ];
    for (domain, id) in pairs {
        assert_eq!(find(&caches, domain, id, "file"), None, "{domain:?} {id:?}");
        let kept = leave(
            &caches,
            domain,
            id,
            "file",
            format!("{domain}|{id}").as_bytes(),
        );
        assert_eq!(kept, Released::Kept);
    }
    for (domain, id) in pairs {
        let text = format!("{domain}|{id}").into_bytes();
        assert_eq!(find(&caches, domain, id, "file"), Some(text));
    }
    assert_eq!(names(&store.dir().join("caches")).len(), pairs.len());
}

#[test]
fn the_directory_is_the_user_s_and_keeps_its_mode() {
    if !is_root("the_directory_is_the_user_s_and_keeps_its_mode") {
        return;
    }
    let (_dir, store) = new_store();
    let caches = caches(&store);
    let lent = caches.lend("project:a", "c", (1000, 100)).expect("a cache");
    let found = fs::metadata(lent.upper()).expect("it is there");
    assert_eq!(
        (found.uid(), found.gid(), found.mode() & 0o7777),
        (1000, 100, 0o755)
    );
    let mode = fs::Permissions::from_mode(0o2700);
    fs::set_permissions(lent.upper(), mode).expect("it is ours");
    fs::write(lent.upper().join("f"), "").expect("a file");
    lent.release().expect("a release");
    let lent = caches.lend("project:a", "c", (0, 0)).expect("a cache");
    let found = fs::metadata(lent.upper()).expect("it is there");
    assert_eq!((found.uid(), found.mode() & 0o7777), (0, 0o2700));
}

#[test]
fn the_least_recently_used_goes_first_and_one_in_use_stays() {
    let (_dir, store) = new_store();
    let bounds = Bounds {
        count: 3,
        ..Bounds::default()
    };
    let caches = Caches::bounded(store.clone(), bounds);
    for id in ["a", "b", "c"] {
        leave(&caches, "d", id, "file", b"x");
    }
    // Used again, with a time that no clock's grain can blur.
    let used = |id: &str, time: i64| {
        let lent = caches.lend("d", id, USER).expect("a cache");
        let layer = lent.lowers().pop().expect("it has a layer");
        let about = layer.parent().expect("a cache's directory").join("about");
        let time = rustix::fs::Timespec {
            tv_sec: time,
            tv_nsec: 0,
        };
        let times = rustix::fs::Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(CWD, about, &times, rustix::fs::AtFlags::empty()).expect("times");
        lent
    };
    drop((used("b", 30), used("c", 20)));
    let kept = used("a", 10);
    leave(&caches, "d", "new", "file", b"x");
    assert_eq!(find(&caches, "d", "b", "file"), Some(b"x".to_vec()));
    assert_eq!(caches.usage().expect("usage").0, 3);
    assert!(
        kept.lowers()[0].join("file").is_file(),
        "one in use was evicted"
    );
    // All in use: the next one has no room, and says so.
    let others = ["b", "new"].map(|id| caches.lend("d", id, USER).expect("a cache"));
    let refused = caches
        .lend("d", "c", USER)
        .expect_err("three are in use")
        .to_string();
    assert!(
        refused.contains("cache") && refused.contains('3'),
        "{refused}"
    );
    drop((others, kept));
    assert!(caches.lend("d", "c", USER).is_ok());
}

#[test]
fn caches_stay_within_their_bytes() {
    let (_dir, store) = new_store();
    let bounds = Bounds {
        bytes: 300_000,
        each_bytes: 200_000,
        ..Bounds::default()
    };
    let caches = Caches::bounded(store, bounds);
    let bytes = vec![1; 120_000];
    for id in ["a", "b", "c"] {
        assert_eq!(leave(&caches, "d", id, "file", &bytes), Released::Kept);
        assert!(caches.usage().expect("usage").1 <= 300_000);
    }
    assert_eq!(caches.usage().expect("usage").0, 2);
    // The same file again is not twice the bytes; another one is too much, and all begins anew.
    assert_eq!(leave(&caches, "d", "c", "file", &bytes), Released::Kept);
    let large = leave(&caches, "d", "c", "other", &bytes);
    assert!(
        matches!(&large, Released::Emptied { why } if why.contains("200000")),
        "{large:?}"
    );
    assert_eq!(find(&caches, "d", "c", "file"), None);
    assert_eq!(leave(&caches, "d", "c", "file", b"small"), Released::Kept);
    assert!(caches.shrink_to(0).expect("room") > 0);
    assert_eq!(caches.usage().expect("usage"), (0, 0));
}

#[test]
fn old_layers_stay_for_those_who_have_them_and_then_go() {
    let (_dir, store) = new_store();
    let bounds = Bounds {
        layers: 2,
        ..Bounds::default()
    };
    let caches = Caches::bounded(store.clone(), bounds);
    leave(&caches, "d", "c", "one", b"1");
    leave(&caches, "d", "c", "two", b"2");
    let slow = caches.lend("d", "c", USER).expect("a cache");
    leave(&caches, "d", "c", "three", b"3");
    assert!(
        slow.lowers().iter().all(|layer| layer.is_dir()),
        "a layer went under its user"
    );
    let cache = slow.lowers()[0].parent().expect("its directory").to_owned();
    assert_eq!(names(&cache).len(), 1 + 3);
    drop(slow);
    assert_eq!(names(&cache).len(), 1 + 1);
    for (name, text) in [("one", b"1"), ("two", b"2"), ("three", b"3")] {
        assert_eq!(find(&caches, "d", "c", name), Some(text.to_vec()));
    }
}

#[test]
fn a_start_after_a_kill_finds_the_last_release_and_no_rubbish() {
    let (dir, store) = new_store();
    let caches = caches(&store);
    leave(&caches, "d", "c", "file", b"kept");
    let lent = caches.lend("d", "c", USER).expect("a cache");
    let cache = lent.lowers()[0].parent().expect("its directory").to_owned();
    fs::write(lent.upper().join("file"), "torn").expect("a file");
    // As if killed: nothing is dropped.
    let work = lent.upper();
    fs::create_dir(cache.join("7-nonsense")).expect("a directory");
    fs::create_dir(cache.join("0-5")).expect("a directory");
    fs::create_dir(store.dir().join("caches/not-a-cache")).expect("a directory");
    let copy = TempDir::new().expect("a directory");
    let to = copy.path().join("store");
    let mut cp = std::process::Command::new("cp");
    let copied = cp.arg("-a").arg(store.dir()).arg(&to).status();
    assert!(copied.expect("cp").success());
    drop((lent, caches, store));
    let store = Store::open(&to).expect("a store");
    let caches = Caches::new(store.clone());
    assert!(
        !to.join("work")
            .join(work.strip_prefix(dir.path()).expect("below"))
            .exists()
    );
    assert_eq!(find(&caches, "d", "c", "file"), Some(b"kept".to_vec()));
    assert_eq!(names(&to.join("caches")).len(), 1);
    let cache = to.join("caches").join(cache.file_name().expect("a name"));
    assert_eq!(
        names(&cache),
        [
            "1-1024-whole".replace("1024", &bytes_of(&cache)),
            "about".into()
        ]
    );
}

/// The bytes that the one layer of a cache says it has.
fn bytes_of(cache: &Path) -> String {
    let names = names(cache);
    names[0].split('-').nth(1).expect("a number").to_owned()
}

#[test]
fn odd_files_in_a_cache_are_kept_or_harmless() {
    if !is_root("odd_files_in_a_cache_are_kept_or_harmless") {
        return;
    }
    let (_dir, store) = new_store();
    let bounds = Bounds {
        layers: 1,
        ..Bounds::default()
    };
    let caches = Caches::bounded(store, bounds);
    let first = borrow(&caches, "odd");
    let top = first.path();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(CWD, top.join("fifo"), fifo, rustix::fs::Mode::RWXU, 0).expect("a FIFO");
    let socket = std::os::unix::net::UnixListener::bind(top.join("socket")).expect("a socket");
    drop(socket);
    symlink("/etc/passwd", top.join("link")).expect("a link");
    fs::create_dir(top.join("closed")).expect("a directory");
    fs::write(top.join("closed/in"), "x").expect("a file");
    fs::set_permissions(top.join("closed"), fs::Permissions::from_mode(0o000)).expect("ours");
    fs::write(top.join(std::ffi::OsStr::new("new\nline")), "x").expect("a file");
    first.release().expect("a release");
    // Poured, since one layer is all there may be.
    let second = borrow(&caches, "odd");
    fs::write(second.path().join("more"), "x").expect("a file");
    second.release().expect("a release");
    let third = borrow(&caches, "odd");
    let found = names(&third.path());
    assert_eq!(
        found,
        ["closed", "fifo", "link", "more", "new\nline", "socket"]
    );
    let closed = fs::metadata(third.path().join("closed")).expect("it is there");
    assert_eq!(closed.mode() & 0o7777, 0);
}

/// The names in a directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<String> = entries
        .map(|e| name(e).into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

#[test]
fn a_cache_that_cannot_be_poured_begins_anew() {
    let (_dir, store) = new_store();
    let bounds = Bounds {
        layers: 1,
        ..Bounds::default()
    };
    let caches = Caches::bounded(store, bounds);
    let lent = caches.lend("d", "c", USER).expect("a cache");
    fs::create_dir(lent.upper().join("dir")).expect("a directory");
    // What a layer of a root may not have, and a step can make.
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(lent.upper().join("dir"), "user.overlay.opaque", b"y", flags)
        .expect("an attribute");
    assert_eq!(lent.release().expect("a release"), Released::Kept);
    let emptied = leave(&caches, "d", "c", "file", b"x");
    assert!(
        matches!(&emptied, Released::Emptied { why } if why.contains("dir")),
        "{emptied:?}"
    );
    assert_eq!(leave(&caches, "d", "c", "file", b"x"), Released::Kept);
    assert_eq!(find(&caches, "d", "c", "file"), Some(b"x".to_vec()));
}

const CHILD_DIR: &str = "CARAVAN_STORE_TEST_CACHES";
const RELEASES: u8 = 4;

#[test]
fn borrower_that_is_killed() {
    // In an ordinary run this is no child and there is nothing to do.
    let Ok(dir) = std::env::var(CHILD_DIR) else {
        return;
    };
    let caches = poured_often(&Store::open(Path::new(&dir)).expect("a store"));
    for number in 0..RELEASES {
        leave(&caches, "d", "c", &format!("f{number}"), &[number; 9]);
        println!("ACK {number}");
    }
    caches.shrink_to(0).expect("room");
    println!("DONE");
}

fn poured_often(store: &Store) -> Caches {
    let bounds = Bounds {
        layers: 2,
        ..Bounds::default()
    };
    Caches::bounded(store.clone(), bounds)
}

#[test]
fn killed_anywhere_a_cache_is_one_of_its_versions() {
    for (kills, crash_at) in (0..).step_by(2).enumerate() {
        let dir = TempDir::new().expect("a directory");
        let output = std::process::Command::new(std::env::current_exe().expect("this test"))
            .args([
                "tests::caching::borrower_that_is_killed",
                "--exact",
                "--nocapture",
            ])
            .env(CHILD_DIR, dir.path())
            .env(crate::crash::ENV, crash_at.to_string())
            .output()
            .expect("the child runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let acknowledged = text.lines().filter(|line| line.starts_with("ACK ")).count();
        let done = text.lines().any(|line| line == "DONE");
        let store = Store::open(dir.path()).expect("a store");
        let caches = poured_often(&store);
        let seen: Vec<bool> = (0..RELEASES)
            .map(|n| find(&caches, "d", "c", &format!("f{n}")) == Some(vec![n; 9]))
            .collect();
        let versions = seen.iter().take_while(|seen| **seen).count();
        assert!(
            !seen[versions..].contains(&true),
            "killed at {crash_at}: {seen:?}"
        );
        let emptied = acknowledged == usize::from(RELEASES) && versions == 0;
        let is_one = versions == acknowledged || versions == acknowledged + 1 || emptied;
        assert!(
            is_one,
            "killed at {crash_at}: {acknowledged} releases, {seen:?}"
        );
        assert_eq!(
            names(&store.dir().join("work")),
            ["trash"],
            "killed at {crash_at}"
        );
        if done {
            assert!(kills > 20, "only {kills} kills");
            return;
        }
    }
}

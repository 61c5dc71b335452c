use std::{
    fs,
    fs::File,
    io::Write as _,
    os::unix::{fs::symlink, net::UnixListener},
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use rustix::{
    fs::{FileType, Mode, OFlags},
    process::{Pid, getpid},
};

use super::*;

fn whole(dirs: &[&Path]) -> (Step, Usage) {
    let dirs: Vec<OwnedFd> = dirs.iter().map(|dir| open_dir(dir).unwrap()).collect();
    let mut walk = Walk::of(&dirs).unwrap();
    loop {
        match walk.step() {
            Step::More => {}
            step => return (step, walk.seen()),
        }
    }
}

fn held(dir: &Path) -> Usage {
    let dirs = [open_dir(dir).unwrap()];
    let mut held = Held::by(Box::new(|| vec![getpid()]), &dirs);
    while held.step() == Step::More {}
    held.seen()
}

fn of_dirs(dir: &Path, count: u64) -> u64 {
    let stat = rustix::fs::stat(dir).unwrap();
    u64::try_from(stat.st_blocks).unwrap() * 512 * count
}

#[test]
fn names_are_counted_each_and_bytes_once() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    fs::create_dir_all(one.join("a/b")).unwrap();
    fs::create_dir(&two).unwrap();
    let empty = whole(&[&one, &two]).1;
    assert_eq!(empty.inodes, 2);
    assert_eq!(empty.bytes, of_dirs(&one.join("a"), 2));
    fs::write(one.join("a/file"), vec![1; 1 << 20]).unwrap();
    for name in ["b/link", "b/other"] {
        fs::hard_link(one.join("a/file"), one.join("a").join(name)).unwrap();
    }
    symlink("/", one.join("a/b/out")).unwrap();
    symlink("../../a", two.join("loop")).unwrap();
    let (step, seen) = whole(&[&one, &two]);
    assert_eq!((step, seen.inodes), (Step::Done, 7));
    let file = seen.bytes - empty.bytes;
    assert!((1 << 20..(1 << 20) + 16_384).contains(&file), "{file}");
}

#[test]
fn a_hole_counts_for_what_is_around_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = File::create(dir.path().join("sparse")).unwrap();
    file.set_len(1 << 40).unwrap();
    assert_eq!(
        whole(&[dir.path()]).1,
        Usage {
            bytes: 0,
            inodes: 1
        }
    );
}

#[test]
fn wide_directories_are_read_piece_by_piece_and_whole() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..3_000 {
        let name = format!("a name that is longer than most, number {n}");
        if n % 3 == 0 {
            fs::create_dir(dir.path().join(name)).unwrap();
        } else {
            File::create(dir.path().join(name)).unwrap();
        }
    }
    assert_eq!(whole(&[dir.path()]).1.inodes, 3_000);
}

#[test]
fn a_directory_that_goes_away_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
    File::create(dir.path().join("z")).unwrap();
    let dirs = [open_dir(dir.path()).unwrap()];
    for steps in 0..12 {
        let _ = fs::create_dir_all(dir.path().join("a/b/c"));
        let mut walk = Walk::of(&dirs).unwrap();
        for _ in 0..steps {
            walk.step();
        }
        fs::remove_dir_all(dir.path().join("a")).unwrap();
        let end = loop {
            match walk.step() {
                Step::More => {}
                end => break end,
            }
        };
        assert_eq!(end, Step::Done, "after {steps}");
    }
}

#[test]
fn a_tree_that_is_moved_away_leads_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("in/a/b")).unwrap();
    fs::create_dir_all(dir.path().join("out")).unwrap();
    fs::write(dir.path().join("out/large"), vec![1; 1 << 20]).unwrap();
    let mut ends = Vec::new();
    for steps in 0..12 {
        let dirs = [open_dir(&dir.path().join("in")).unwrap()];
        let mut walk = Walk::of(&dirs).unwrap();
        for _ in 0..steps {
            walk.step();
        }
        fs::rename(dir.path().join("in/a/b"), dir.path().join("out/b")).unwrap();
        ends.push(loop {
            match walk.step() {
                Step::More => {}
                end => break end,
            }
        });
        assert!(walk.seen().bytes < 1 << 20);
        fs::rename(dir.path().join("out/b"), dir.path().join("in/a/b")).unwrap();
    }
    assert!(
        ends.contains(&Step::Moved) && ends.contains(&Step::Done),
        "{ends:?}"
    );
}

#[test]
fn a_file_without_a_name_is_found_where_it_is_held() {
    let dir = tempfile::tempdir().unwrap();
    let before = held(dir.path());
    let path = dir.path().join("gone");
    let mut file = File::create(&path).unwrap();
    file.write_all(&vec![1; 1 << 20]).unwrap();
    assert_eq!(held(dir.path()), before, "it still has a name");
    fs::remove_file(path).unwrap();
    let twice = file.try_clone().unwrap();
    let now = held(dir.path()).minus(before);
    assert_eq!(now.inodes, 1);
    assert!(
        (1 << 20..(1 << 20) + 16_384).contains(&now.bytes),
        "{now:?}"
    );
    drop((file, twice));
    assert_eq!(held(dir.path()), before);
}

#[test]
fn nothing_is_counted_where_nothing_changes() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        disk_bytes: 1 << 20,
        ..Limits::default()
    };
    let start = Instant::now();
    let dirs = || vec![open_dir(dir.path()).unwrap()];
    let mut disk = Disk::watch(dirs(), &limits, start).unwrap();
    fs::write(dir.path().join("large"), vec![1; 4 << 20]).unwrap();
    // Counted once where the file system bears it out, and twice where others empty it meanwhile.
    let later = start + Duration::from_secs(10);
    let over = loop {
        match disk.look(later, || Box::new(Vec::new)) {
            Look::Again(after) => assert!(after <= crate::limits::DISK_TURN, "it is not counted"),
            Look::Over(limit) => break limit,
        }
        std::thread::yield_now();
    };
    assert_eq!(over, Limit::Disk);
    let mut disk = Disk::watch(dirs(), &Limits::default(), start).unwrap();
    disk.room.mark();
    assert!(!disk.is_due(start + Duration::from_millis(500)));
    assert!(
        !disk.is_due(start + Duration::from_secs(3_600)),
        "nothing has stirred"
    );
}

#[test]
fn a_suspect_job_ends_when_little_is_left_whatever_the_counts_say() {
    let dir = tempfile::tempdir().unwrap();
    let (own, other) = (dir.path().join("own"), dir.path().join("other"));
    fs::create_dir(&own).unwrap();
    let limits = Limits {
        disk_bytes: 1 << 20,
        ..Limits::default()
    };
    let start = Instant::now();
    let look = |left: bool, grown: bool| {
        let mut disk = Disk::watch(vec![open_dir(&own).unwrap()], &limits, start).unwrap();
        if grown {
            let mut file = File::create(&other).unwrap();
            file.write_all(&vec![1; 4 << 20]).unwrap();
            file.sync_all().unwrap();
        }
        if !left {
            disk.room.had_free(u64::MAX);
        }
        let look = disk.look(start, || Box::new(Vec::new));
        let _ = fs::remove_file(&other);
        look
    };
    assert_eq!(look(false, true), Look::Over(Limit::Room));
    assert_ne!(look(true, true), Look::Over(Limit::Room));
    assert_ne!(look(false, false), Look::Over(Limit::Room));
}

#[test]
fn processes_that_come_while_others_are_looked_at_are_looked_at_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gone");
    let before = held(dir.path());
    let _file = File::create(&path).unwrap();
    fs::remove_file(path).unwrap();
    let dirs = [open_dir(dir.path()).unwrap()];
    let nobody = |n: usize| Pid::from_raw((1 << 29) + i32::try_from(n).unwrap()).unwrap();
    let count = |listed: fn(usize) -> bool| {
        let calls = AtomicUsize::new(0);
        let members = move || {
            let calls = calls.fetch_add(1, Ordering::Relaxed);
            let later = listed(calls).then(|| nobody(calls));
            let us = (calls > 0).then(getpid);
            [nobody(0)].into_iter().chain(later).chain(us).collect()
        };
        let mut held = Held::by(Box::new(members), &dirs);
        while held.step() == Step::More {}
        (held.seen().minus(before).inodes, held.is_restless())
    };
    assert_eq!(count(|_| false), (1, false));
    assert_eq!(count(|_| true), (1, true), "it ends all the same");
}

#[test]
fn pipes_and_directories_without_a_name_are_found_and_sockets_count_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let before = held(dir.path());
    let sub = dir.path().join("sub");
    fs::create_dir(&sub).unwrap();
    let open = File::open(&sub).unwrap();
    assert_eq!(held(dir.path()), before, "it still has a name");
    fs::remove_dir(&sub).unwrap();
    let now = held(dir.path()).minus(before);
    assert_eq!((now.inodes, now.bytes), (1, of_dirs(dir.path(), 1)));
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let piped = rustix::fs::open(&pipe, OFlags::PATH, Mode::empty()).unwrap();
    fs::remove_file(&pipe).unwrap();
    assert_eq!(held(dir.path()).minus(before).inodes, 2);
    let socket = UnixListener::bind(dir.path().join("socket")).unwrap();
    fs::remove_file(dir.path().join("socket")).unwrap();
    assert_eq!(held(dir.path()).minus(before).inodes, 3);
    drop((open, piped, socket));
    assert_eq!(held(dir.path()), before);
}

//! The bound on the disk: every way to take more of it ends the job and leaves its sibling alone.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use caravan_sandbox::{Exit, Limit, Sandbox as _, Spec, Status};

use crate::support::{Store, launcher, need_root, output, run, run_well};

const MIB: u64 = 1 << 20;
/// A bomb goes off at full speed, so this is the time from its bound, and some for its fuse.
const SOON_MS: u64 = 5_000;

/// Deeper than what the standard library can remove.
struct Cleared<'a>(&'a Path);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        let _ = Command::new("rm").arg("-rf").arg(self.0).status();
    }
}

fn bomb(store: &Store, name: &str, args: &[&str]) -> Spec {
    let argv: Vec<&str> = ["bombs"].iter().chain(args).copied().collect();
    let mut spec = store.spec(name, &argv);
    spec.limits.disk_bytes = 24 * MIB;
    spec.limits.inodes = 3_000;
    spec.limits.wall_ms = 60_000;
    spec
}

/// Sets a bomb off beside a sibling that must not notice.
fn explode(name: &str, change: impl FnOnce(&mut Spec)) -> Exit {
    let store = Store::new();
    let _cleared = Cleared(store.dir.path());
    let mut sibling = launcher()
        .start(&store.sh("sibling", "echo on; sleep 600"))
        .unwrap();
    let mut spec = bomb(&store, "bomb", &[name]);
    change(&mut spec);
    let (exit, text) = run(&spec).unwrap();
    sibling.kill();
    assert_eq!(output(&mut sibling), "on\n");
    assert_eq!(sibling.wait().unwrap().limit, None);
    assert!(exit.wall_ms < SOON_MS, "{name}: {exit:?} {text}");
    println!("{name}: {exit:?}");
    exit
}

fn killed_for(limit: Limit) -> (Status, Option<Limit>) {
    (Status::Signal(9), Some(limit))
}

macro_rules! bombs {
    ($($test:ident: $name:literal, $limit:ident;)*) => {$(
        #[test]
        fn $test() {
            need_root!();
            let exit = explode($name, |_| ());
            assert_eq!((exit.status, exit.limit), killed_for(Limit::$limit));
        }
    )*};
}

bombs! {
    many_files_of_some_size_meet_the_bound: "fill", Disk;
    what_is_written_through_memory_counts: "map", Disk;
    a_file_that_is_only_mapped_counts: "map-deleted", Disk;
    a_deleted_file_that_is_still_open_counts: "deleted", Disk;
    so_does_one_that_only_a_later_thread_has: "deleted-private", Disk;
    so_does_one_that_only_a_later_thread_has_mapped: "map-private", Disk;
    one_that_goes_from_process_to_process_counts: "deleted-relay", Disk;
    so_does_one_that_is_mapped_behind_a_very_long_path: "map-behind", Disk;
    pipes_without_a_name_meet_the_bound_on_files: "pipes", Inodes;
    many_tiny_files_meet_the_bound_on_their_number: "tiny", Inodes;
    many_directories_do_too: "dirs", Inodes;
    so_do_many_names_of_one_file: "links", Inodes;
    a_tree_that_is_moved_all_the_time_hides_nothing: "moving", Disk;
}

#[test]
fn room_cannot_be_taken_without_writing() {
    need_root!();
    let store = Store::new();
    let (exit, text) = run(&bomb(&store, "reserve", &["fallocate"])).unwrap();
    // C libraries take that for a file system that cannot, and write zeros.
    assert!(text.starts_with("Operation not supported"), "{text}");
    assert_eq!((exit.status, exit.limit), (Status::Code(1), None));
}

#[test]
fn room_cannot_be_taken_by_a_request_to_a_file_either() {
    need_root!();
    let store = Store::new();
    let text = run_well(&bomb(&store, "request", &["fallocate-ioctl"]));
    let refused = format!(" {}", libc::EOPNOTSUPP);
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.lines().all(|line| line.ends_with(&refused)), "{text}");
}

#[test]
fn extended_attributes_count() {
    need_root!();
    let exit = explode("xattrs", |spec| spec.limits.disk_bytes = 4 * MIB);
    assert_eq!((exit.status, exit.limit), killed_for(Limit::Disk));
}

#[test]
fn removed_directories_that_are_still_open_count() {
    need_root!();
    // Each takes an overlay several steps on the disk.
    let exit = explode("dirs-removed", |spec| spec.limits.inodes = 500);
    assert_eq!((exit.status, exit.limit), killed_for(Limit::Inodes));
}

#[test]
fn files_in_the_queue_of_a_socket_count() {
    need_root!();
    let exit = explode("queued", |spec| spec.limits.disk_bytes = 4 * MIB);
    assert_eq!((exit.status, exit.limit), killed_for(Limit::Disk));
}

#[test]
fn one_file_never_gets_longer_than_the_bound() {
    need_root!();
    let exit = explode("one", |_| ());
    assert_eq!(
        (exit.status, exit.limit),
        (Status::Signal(libc::SIGXFSZ), Some(Limit::Disk))
    );
}

#[test]
fn a_directory_of_any_depth_is_counted_to_its_bottom() {
    need_root!();
    let store = Store::new();
    let _cleared = Cleared(store.dir.path());
    let (exit, _) = run(&bomb(&store, "deep", &["deep", "10000"])).unwrap();
    assert_eq!(exit.limit, Some(Limit::Inodes), "{exit:?}");
    let mut spec = bomb(&store, "deeper", &["deep", "10000"]);
    (spec.limits.inodes, spec.limits.disk_bytes) = (10_100, 200 * MIB);
    run_well(&spec);
}

#[test]
fn a_hole_in_a_file_takes_no_room() {
    need_root!();
    let store = Store::new();
    run_well(&bomb(&store, "hole", &["hole", "24"]));
    let (exit, _) = run(&bomb(&store, "longer", &["hole", "25"])).unwrap();
    assert_eq!(exit.limit, Some(Limit::Disk), "{exit:?}");
}

#[test]
fn what_was_written_in_the_last_moment_counts() {
    need_root!();
    let store = Store::new();
    let mut spec = store.sh(
        "quick",
        "for i in 1 2 3; do head -c 3000000 /dev/zero > /etc/$i; done",
    );
    spec.limits.disk_bytes = 8 * MIB;
    let (exit, _) = run(&spec).unwrap();
    assert_eq!(
        (exit.status, exit.limit),
        (Status::Code(0), Some(Limit::Disk))
    );
    let mut spec = store.sh(
        "fits",
        "for i in 1 2; do head -c 3000000 /dev/zero > /etc/$i; done",
    );
    spec.limits.disk_bytes = 8 * MIB;
    run_well(&spec);
}

#[test]
fn what_others_write_is_not_a_job_s_own() {
    need_root!();
    let store = Store::new();
    let mut spec = store.sh("quiet", "echo on; sleep 600");
    spec.limits.disk_bytes = MIB;
    let mut quiet = launcher().start(&spec).unwrap();
    let exit = run_well(&store.sh("loud", "head -c 60000000 /dev/zero > /etc/big; sleep 0.5"));
    assert_eq!(exit, "");
    quiet.kill();
    assert_eq!(output(&mut quiet), "on\n");
    assert_eq!(quiet.wait().unwrap().limit, None);
}

#[test]
fn scratch_in_memory_has_a_bound_on_its_files() {
    need_root!();
    let store = Store::new();
    let mut spec = store.sh(
        "tmp",
        "i=0; while : > /tmp/$i; do i=$((i+1)); done; echo $i",
    );
    spec.limits.inodes = 100;
    let (_, text) = run(&spec).unwrap();
    // The directory itself is one of them.
    assert!(text.contains("/tmp/99: No space left"), "{text}");
}

#[test]
fn a_kill_is_heard_while_a_large_tree_is_counted() {
    need_root!();
    let store = Store::new();
    let _cleared = Cleared(store.dir.path());
    let mut spec = bomb(&store, "large", &["tiny"]);
    spec.limits.inodes = 1_000_000;
    spec.limits.disk_bytes = 4_000 * MIB;
    let mut running = launcher().start(&spec).unwrap();
    let _ = running.take_output();
    std::thread::park_timeout(Duration::from_secs(2));
    let asked = Instant::now();
    running.kill();
    assert_eq!(running.wait().unwrap().status, Status::Signal(9));
    assert!(
        asked.elapsed() < Duration::from_secs(1),
        "{:?}",
        asked.elapsed()
    );
}

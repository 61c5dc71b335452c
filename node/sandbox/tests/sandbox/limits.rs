//! Each bound trips, says which it was, and leaves other jobs alone.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
};

use caravan_sandbox::{Limit, Meter, OutputLimit, Sandbox as _, Status};

use crate::support::{Store, is_rootless, launcher, need_root, output, run, run_well};

fn has(what: &str, ability: impl Fn(&caravan_sandbox::Abilities) -> bool) -> bool {
    let has = caravan_sandbox::probe().is_ok_and(|found| ability(&found));
    if !has {
        println!("SKIPPED: this host cannot bound the {what} of a job as a whole");
    }
    has
}

#[test]
fn a_memory_bomb_is_killed_and_its_sibling_is_not() {
    need_root!();
    if !has("memory", |found| found.memory_limit) {
        return;
    }
    let store = Store::new();
    let mut sibling = launcher()
        .start(&store.sh("sibling", "echo on; sleep 600"))
        .unwrap();
    let mut spec = store.spec("bomb", &["attempts", "eat"]);
    spec.limits.memory_bytes = 64 << 20;
    let (exit, text) = run(&spec).unwrap();
    assert_eq!(
        (exit.status, exit.limit),
        (Status::Signal(9), Some(Limit::Memory)),
        "{text}"
    );
    assert!(text.contains("32\n") && !text.contains("\n80\n"), "{text}");
    assert!(
        (32 << 20..=65 << 20).contains(&exit.peak_memory_bytes),
        "{exit:?}"
    );
    sibling.kill();
    assert_eq!(output(&mut sibling), "on\n");
    assert_eq!(sibling.wait().unwrap().limit, None);
}

#[test]
fn files_in_tmp_count_as_memory() {
    need_root!();
    if !has("memory", |found| found.memory_limit) {
        return;
    }
    let store = Store::new();
    let mut spec = store.spec(
        "tmp",
        &["sh", "-c", "head -c 200000000 /dev/zero > /tmp/big"],
    );
    spec.limits.memory_bytes = 32 << 20;
    let (exit, text) = run(&spec).unwrap();
    assert_ne!(exit.status, Status::Code(0), "{text}");
}

#[test]
fn a_fork_bomb_meets_its_bound_and_all_of_it_dies() {
    need_root!();
    if !has("processes", |found| found.pids_limit) {
        return;
    }
    let store = Store::new();
    let mut spec = store.spec("forks", &["attempts", "fork"]);
    spec.limits.pids = 20;
    let (exit, text) = run(&spec).unwrap();
    // Init and the command are two of them.
    assert_eq!(text, "refused after 18\n");
    assert_eq!(
        (exit.status, exit.limit),
        (Status::Code(0), Some(Limit::Pids))
    );
}

#[test]
fn a_fork_bomb_that_goes_on_against_its_bound_is_ended() {
    need_root!();
    if !has("processes", |found| found.pids_limit) {
        return;
    }
    let store = Store::new();
    let mut spec = store.sh(
        "forks",
        "bomb() { while :; do bomb & done; }; bomb 2>/dev/null",
    );
    spec.limits.pids = 30;
    spec.limits.wall_ms = 60_000;
    let (exit, _) = run(&spec).unwrap();
    assert_eq!(exit.limit, Some(Limit::Pids));
    assert!(exit.wall_ms < 5_000, "{exit:?}");
}

#[test]
fn a_job_that_starts_memory_bombs_anew_is_ended() {
    need_root!();
    if !has("memory", |found| found.memory_limit) {
        return;
    }
    let store = Store::new();
    let mut spec = store.sh("again", "while :; do attempts eat >/dev/null; done");
    spec.limits.memory_bytes = 32 << 20;
    spec.limits.wall_ms = 60_000;
    let (exit, _) = run(&spec).unwrap();
    assert_eq!(
        (exit.status, exit.limit),
        (Status::Signal(9), Some(Limit::Memory))
    );
    assert!(exit.wall_ms < 5_000, "{exit:?}");
}

#[test]
fn processor_time_of_all_processes_together_is_bounded() {
    need_root!();
    let store = Store::new();
    let script = "while :; do :; done & while :; do :; done & while :; do :; done";
    let mut spec = store.sh("busy-three", script);
    spec.limits.cpu_ms = Some(300);
    spec.limits.wall_ms = 60_000;
    let (exit, _) = run(&spec).unwrap();
    assert_eq!(
        (exit.status, exit.limit),
        (Status::Signal(9), Some(Limit::Cpu))
    );
    assert!((300..3_000).contains(&exit.cpu_ms), "{exit:?}");
}

#[test]
fn a_job_that_never_ends_is_killed_when_its_time_is_up() {
    need_root!();
    let store = Store::new();
    let mut spec = store.sh("endless", "sleep 600 & sleep 600");
    spec.limits.wall_ms = 100;
    let (exit, _) = run(&spec).unwrap();
    assert_eq!(
        (exit.status, exit.limit),
        (Status::Signal(9), Some(Limit::WallClock))
    );
    assert!((100..1_100).contains(&exit.wall_ms), "{exit:?}");
}

#[test]
fn a_flood_of_output_kills_its_job_and_the_bound_is_exact() {
    need_root!();
    let store = Store::new();
    let spec = store.sh("flood", "while true; do echo flood; done");
    let mut running = launcher().start(&spec).unwrap();
    let pipe = File::from(running.take_output().unwrap());
    let mut limited = OutputLimit::new(pipe, Meter::new(100_001, running.killer()));
    let mut kept = Vec::new();
    limited.read_to_end(&mut kept).unwrap();
    let exit = limited.into_meter().amend(running.wait().unwrap());
    assert_eq!((kept.len(), exit.limit), (100_001, Some(Limit::Output)));
    // The kill, or the end of the pipe's other side, whichever it meets first.
    let ended = matches!(exit.status, Status::Signal(libc::SIGKILL | libc::SIGPIPE));
    assert!(ended, "{exit:?}");
}

#[test]
fn output_of_exactly_the_bound_is_no_fault() {
    need_root!();
    let store = Store::new();
    let mut running = launcher().start(&store.sh("exact", "echo 123")).unwrap();
    let pipe = File::from(running.take_output().unwrap());
    let mut limited = OutputLimit::new(pipe, Meter::new(4, running.killer()));
    let mut kept = Vec::new();
    limited.read_to_end(&mut kept).unwrap();
    let exit = limited.into_meter().amend(running.wait().unwrap());
    assert_eq!((kept.as_slice(), exit.limit), (b"123\n".as_slice(), None));
}

#[test]
fn a_job_s_watchers_of_files_are_counted_for_itself_alone() {
    need_root!();
    if is_rootless() {
        println!("SKIPPED: jobs of an ordinary user's node are counted for that user");
        return;
    }
    let most = std::fs::read_to_string("/proc/sys/user/max_inotify_instances").unwrap();
    let store = Store::new();
    let mut jobs = Vec::new();
    for name in ["watches", "watches-too"] {
        let mut spec = store.spec(name, &["attempts", "watches"]);
        spec.limits.nofile = 65_536;
        let mut running = launcher().start(&spec).unwrap();
        let mut line = String::new();
        let mut pipe = BufReader::new(File::from(running.take_output().unwrap()));
        pipe.read_line(&mut line).unwrap();
        // As many as if it were alone on the host.
        assert_eq!(line, most);
        jobs.push(running);
    }
    rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::CLOEXEC).unwrap();
    for running in &mut jobs {
        running.kill();
        running.wait().unwrap();
    }
}

#[test]
fn processor_time_is_bounded_and_counted() {
    need_root!();
    if !has("processor time", |found| found.cpu_limit) {
        return;
    }
    let store = Store::new();
    let mut spec = store.sh("busy", "while true; do :; done");
    spec.limits.wall_ms = 1_000;
    spec.limits.cpu_millis = Some(100);
    let (exit, _) = run(&spec).unwrap();
    // A tenth of a second, and a period more for where it began.
    assert!((20..400).contains(&exit.cpu_ms), "{exit:?}");
}

#[test]
fn limits_of_a_process_are_lowered_and_never_raised() {
    need_root!();
    let store = Store::new();
    let mut spec = store.sh("files", "ulimit -n; ulimit -c");
    spec.limits.nofile = 100;
    assert_eq!(run_well(&spec), "100\n0\n");
    let mut spec = store.sh("many", "true");
    spec.limits.nofile = u64::MAX;
    run_well(&spec);
}

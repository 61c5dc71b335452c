//! Nothing outlives what it belongs to: jobs, the helper, the node.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use caravan_sandbox::{Defence, Defences, Error, Launcher, Limit, Sandbox as _, Spec, Status};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::OwnedFd,
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};

use crate::support::{Store, first_tag, is_rootless, launcher, need_root, output, program};

/// Everything that descends from a process, as descriptors that tell of its end.
fn descendants(of: u32) -> Vec<OwnedFd> {
    let mut parents: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let after_name = stat.rsplit_once(')').unwrap().1;
        let parent = after_name
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        parents.entry(parent).or_default().push(pid);
    }
    let (mut all, mut todo) = (Vec::new(), vec![of]);
    while let Some(pid) = todo.pop() {
        let children = parents.remove(&pid).unwrap_or_default();
        all.extend(children.iter().filter_map(|child| watch(*child)));
        todo.extend(children);
    }
    all
}

fn watch(pid: u32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid.try_into().unwrap())?, PidfdFlags::empty()).ok()
}

fn all_end_within(processes: &[OwnedFd], limit: Duration) {
    let end = Instant::now() + limit;
    for process in processes {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(process, PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&left)).unwrap(), 1, "a process is left");
    }
}

/// Directories of control groups with a tag, in every hierarchy.
fn groups_of(tag: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry
                    .file_name()
                    .to_string_lossy()
                    .starts_with(&format!("caravan-{tag}."))
                {
                    found.push(entry.path());
                }
                todo.push(entry.path());
            }
        }
    }
    found
}

/// A node of its own that runs one job, seen to run.
fn node_with(spec: &Spec) -> Child {
    let mut node = Command::new(program())
        .arg("run")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    node.stdin
        .take()
        .unwrap()
        .write_all(&serde_json::to_vec(spec).unwrap())
        .unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(node.stdout.as_mut().unwrap());
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    node
}

#[test]
fn a_killed_job_is_gone_within_a_second_with_all_its_processes() {
    need_root!();
    let store = Store::new();
    // The children leave their session and the parent ignores what it can.
    let script =
        "trap '' TERM HUP INT; for i in 1 2 3; do (sleep 600 &) ; done; echo ready; sleep 600";
    let before = descendants(launcher().helper_id()).len();
    let mut running = launcher().start(&store.sh("killed", script)).unwrap();
    let mut reader = BufReader::new(fs::File::from(running.take_output().unwrap()));
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let inside = descendants(launcher().helper_id());
    assert!(inside.len() >= before, "{} {before}", inside.len());
    let begun = Instant::now();
    running.kill();
    running.kill();
    let exit = running.wait().unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(exit.status, Status::Signal(9));
    // The pipe has ended, so every process that had it is gone.
    assert_eq!(reader.read_line(&mut line).unwrap(), 0);
    running.kill();
    assert_eq!(running.wait().unwrap(), exit);
}

#[test]
fn processes_that_a_command_leaves_behind_end_with_it() {
    need_root!();
    let store = Store::new();
    let begun = Instant::now();
    let mut running = launcher()
        .start(&store.sh("orphans", "(sleep 600 &); exit 3"))
        .unwrap();
    assert_eq!(output(&mut running), "");
    assert_eq!(running.wait().unwrap().status, Status::Code(3));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn all_of_a_job_ends_with_it_by_its_control_group_alone() {
    need_root!();
    if is_rootless() || caravan_sandbox::probe().unwrap().cgroups == "none" {
        println!("SKIPPED: no job without a namespace of processes, or no control groups");
        return;
    }
    let store = Store::new();
    let without = Defences::only(Defence::PidNamespace);
    let launcher = Launcher::spawn_program_without(program(), without).unwrap();
    // Nobody that the first process knows of.
    let away = "(trap '' TERM HUP INT; sleep 600 & sleep 600 &); ";
    let begun = Instant::now();
    let mut timed = store.sh("timed", &format!("{away} sleep 600"));
    timed.limits.wall_ms = 200;
    let mut running = launcher.start(&timed).unwrap();
    assert_eq!(output(&mut running), "");
    assert_eq!(running.wait().unwrap().limit, Some(Limit::WallClock));
    let killed = store.sh("killed-group", &format!("{away} echo ready; sleep 600"));
    let mut running = launcher.start(&killed).unwrap();
    let mut reader = BufReader::new(fs::File::from(running.take_output().unwrap()));
    reader.read_line(&mut String::new()).unwrap();
    running.kill();
    let exit = running.wait().unwrap();
    assert_eq!((exit.status, exit.limit), (Status::Signal(9), None));
    assert_eq!(reader.read_line(&mut String::new()).unwrap(), 0);
    let mut running = launcher
        .start(&store.sh("left", &format!("{away} exit 3")))
        .unwrap();
    assert_eq!(output(&mut running), "");
    let exit = running.wait().unwrap();
    assert_eq!((exit.status, exit.limit), (Status::Code(3), None));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_dropped_job_is_gone_when_the_drop_returns() {
    need_root!();
    let store = Store::new();
    let mut running = launcher().start(&store.sh("dropped", "sleep 600")).unwrap();
    let pipe = running.take_output().unwrap();
    drop(running);
    let mut fds = [PollFd::new(&pipe, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    assert_eq!(poll(&mut fds, Some(&now)).unwrap(), 1, "a writer is left");
}

#[test]
fn after_kill_nine_of_the_node_nothing_is_left() {
    need_root!();
    let store = Store::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut node = node_with(&store.sh("node", "sleep 600 & echo ready; sleep 600"));
    let tag = first_tag(node.id());
    assert!(!groups_of(&tag).is_empty());
    let processes = descendants(node.id());
    // Helper, supervisor, init and the command's three at the least.
    assert!(processes.len() >= 6, "{}", processes.len());
    node.kill().unwrap();
    node.wait().unwrap();
    all_end_within(&processes, Duration::from_secs(5));
    assert_eq!(groups_of(&tag), Vec::<PathBuf>::new());
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts);
    // The store is free at once.
    fs::remove_dir_all(store.dir.path()).unwrap();
}

#[test]
fn after_kill_nine_of_the_helper_jobs_die_and_the_node_is_told() {
    need_root!();
    let store = Store::new();
    let launcher = Launcher::spawn_program(program()).unwrap();
    let mut running = launcher.start(&store.sh("helper", "sleep 600")).unwrap();
    let processes = descendants(launcher.helper_id());
    let helper = Pid::from_raw(launcher.helper_id().try_into().unwrap()).unwrap();
    kill_process(helper, Signal::KILL).unwrap();
    assert!(
        running
            .wait()
            .is_ok_and(|exit| exit.status == Status::Signal(9))
    );
    all_end_within(&processes, Duration::from_secs(5));
    let refused = launcher.start(&store.sh("later", "true"));
    assert!(
        matches!(refused, Err(Error::HelperGone | Error::Lost)),
        "{refused:?}"
    );
}

#[test]
fn a_dropped_launcher_ends_its_jobs_before_it_returns() {
    need_root!();
    let store = Store::new();
    let launcher = Launcher::spawn_program(program()).unwrap();
    let tag = "dropped-launcher".parse().unwrap();
    launcher.clean(&tag).unwrap();
    let mut running = launcher.start(&store.sh("last", "sleep 600")).unwrap();
    assert!(!groups_of("dropped-launcher").is_empty());
    drop(launcher);
    assert_eq!(groups_of("dropped-launcher"), Vec::<PathBuf>::new());
    assert_eq!(running.wait().unwrap().status, Status::Signal(9));
}

#[test]
fn a_supervisor_s_death_is_a_lost_job_and_its_leftovers_are_cleaned() {
    need_root!();
    let store = Store::new();
    let launcher = Launcher::spawn_program(program()).unwrap();
    let tag = "lost-supervisor".parse().unwrap();
    launcher.clean(&tag).unwrap();
    let mut running = launcher.start(&store.sh("lost-one", "sleep 600")).unwrap();
    let pipe = running.take_output().unwrap();
    let is_ours = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "job:lost-one\n")
    };
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    let supervisor = pids.find(is_ours).unwrap();
    kill_process(Pid::from_raw(supervisor as i32).unwrap(), Signal::KILL).unwrap();
    assert!(matches!(running.wait(), Err(Error::Lost)));
    // Init was tied to it: the pipe ends.
    let mut fds = [PollFd::new(&pipe, PollFlags::IN)];
    assert_eq!(
        poll(
            &mut fds,
            Some(&Timespec {
                tv_sec: 5,
                tv_nsec: 0
            })
        )
        .unwrap(),
        1
    );
    let name = format!("caravan-lost-supervisor.{supervisor}");
    let left = || {
        groups_of("lost-supervisor")
            .iter()
            .filter(|dir| dir.ends_with(&name))
            .count()
    };
    assert!(left() > 0 || caravan_sandbox::probe().unwrap().cgroups == "none");
    assert!(launcher.clean(&tag).unwrap() >= left());
    assert_eq!(left(), 0);
}

#[test]
fn a_program_that_does_not_become_a_helper_is_refused() {
    let refused = Launcher::spawn_program(Path::new("/bin/true"));
    assert!(matches!(refused, Err(Error::HelperStart(_))), "{refused:?}");
    let refused = Launcher::spawn_program(Path::new("/nowhere/at/all"));
    assert!(matches!(&refused, Err(Error::HelperStart(what)) if what.contains("/nowhere/at/all")));
}

#[test]
fn many_jobs_run_at_once_and_one_after_the_other() {
    need_root!();
    let store = Store::new();
    let specs: Vec<Spec> = (0..12)
        .map(|n| store.sh(&format!("many-{n}"), &format!("echo {n}")))
        .collect();
    let mut all: Vec<_> = specs
        .iter()
        .map(|spec| launcher().start(spec).unwrap())
        .collect();
    for (number, running) in all.iter_mut().enumerate() {
        assert_eq!(output(running), format!("{number}\n"));
        assert_eq!(running.wait().unwrap().status, Status::Code(0));
    }
}

//! What is left of a job that an OCI runtime has started: nothing, however it ends.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use caravan_sandbox::{Error, Launcher, OciError, OciRuntime, Sandbox as _, Spec, Status};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, kill_process},
};

use super::places::find_runtime;
use crate::support::{Store, can_run, first_tag, output, program};

/// Directories of control groups with a tag, in every hierarchy.
fn groups_of(tag: &str) -> Vec<PathBuf> {
    let (mut found, mut todo) = (Vec::new(), vec![PathBuf::from("/sys/fs/cgroup")]);
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let name = entry.file_name();
                if name
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

fn runtime(name: &str, test: &str) -> Option<OciRuntime> {
    if !can_run(test) {
        return None;
    }
    let path = find_runtime(name, test)?;
    let launcher = Launcher::spawn_program(program()).unwrap();
    Some(OciRuntime::new(launcher, &path).unwrap())
}

/// A node of its own that runs one job, seen to run.
fn node_with(runtime: &Path, spec: &Spec) -> Child {
    let mut node = Command::new(program())
        .args(["run", "--runtime"])
        .arg(runtime)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let bytes = serde_json::to_vec(spec).unwrap();
    node.stdin.take().unwrap().write_all(&bytes).unwrap();
    let mut line = String::new();
    BufReader::new(node.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
    node
}

#[test]
fn a_job_of_a_runtime_leaves_no_group_behind() {
    for name in ["runc", "crun"] {
        let Some(runtime) = runtime(name, "no group is left") else {
            continue;
        };
        let tag = format!("left-{name}-{}", std::process::id());
        runtime.clean(&tag.parse().unwrap()).unwrap();
        let store = Store::new();
        let mut running = runtime.start(&store.sh("short", "echo on")).unwrap();
        assert_eq!(output(&mut running), "on\n");
        assert_eq!(running.wait().unwrap().status, Status::Code(0));
        drop(runtime);
        assert_eq!(groups_of(&tag), Vec::<PathBuf>::new());
    }
}

#[test]
fn after_kill_nine_of_the_node_its_runtime_s_job_is_gone() {
    for name in ["runc", "crun"] {
        let Some(path) = find_runtime(name, "kill nine").filter(|_| can_run("kill nine")) else {
            continue;
        };
        let store = Store::new();
        let script = "sleep 600 & echo ready; sleep 600";
        let mut node = node_with(&path, &store.sh("node", script));
        let tag = first_tag(node.id());
        node.kill().unwrap();
        let mut rest = String::new();
        // Ends when the last process that has the job's output is gone.
        let mut pipe = node.stdout.take().unwrap();
        std::io::Read::read_to_string(&mut pipe, &mut rest).unwrap();
        node.wait().unwrap();
        wait_until_gone(&tag);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(
            !mounts.contains(&*store.dir.path().to_string_lossy()),
            "{mounts}"
        );
        // The store is free at once.
        fs::remove_dir_all(store.dir.path()).unwrap();
    }
}

#[test]
fn a_runtime_s_job_ends_with_its_supervisor() {
    for name in ["runc", "crun"] {
        let Some(runtime) = runtime(name, "a supervisor's death") else {
            continue;
        };
        let job = format!("lost-{name}");
        let store = Store::new();
        let mut running = runtime.start(&store.sh(&job, "sleep 600")).unwrap();
        let pipe = running.take_output().unwrap();
        let comm = format!("job:{job}\n");
        let is_ours = |pid: &i32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == comm)
        };
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let mut pids = pids.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
        let supervisor = Pid::from_raw(pids.find(is_ours).unwrap()).unwrap();
        kill_process(supervisor, Signal::KILL).unwrap();
        assert!(matches!(running.wait(), Err(Error::Lost)));
        let five = Timespec {
            tv_sec: 5,
            tv_nsec: 0,
        };
        let ended = poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&five)).unwrap();
        assert_eq!(ended, 1, "{name}: the job lives on");
    }
}

/// The helper that outlives its node by a moment removes the groups last.
fn wait_until_gone(tag: &str) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while !groups_of(tag).is_empty() {
        assert!(std::time::Instant::now() < end, "{:?}", groups_of(tag));
        std::thread::yield_now();
    }
}

#[test]
fn a_host_with_version_two_alone_is_enough_for_a_runtime() {
    for name in ["runc", "crun"] {
        let Some(path) = find_runtime(name, "version 2").filter(|_| can_run("version 2")) else {
            continue;
        };
        let store = Store::new();
        let script =
            "umount --lazy /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; exec \"$@\"";
        let mut node = Command::new("unshare")
            .args(["--mount", "sh", "-ec", script, "sh"])
            .arg(program())
            .args(["run", "--runtime"])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let tag = first_tag(node.id());
        let spec = store.sh("unified", "cat /proc/self/cgroup; exit 5");
        let bytes = serde_json::to_vec(&spec).unwrap();
        node.stdin.take().unwrap().write_all(&bytes).unwrap();
        let output = node.wait_with_output().unwrap();
        let [said, told] = [&output.stdout, &output.stderr]
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        assert_eq!(output.status.code(), Some(5), "{name}: {told}");
        assert!(said.ends_with("0::/\n"), "{name}: {said}");
        assert!(!said.contains("caravan-"), "{name}: {said}");
        assert_eq!(groups_of(&tag), Vec::<PathBuf>::new());
    }
}

#[test]
fn groups_that_a_dead_runtime_left_are_cleaned_by_the_next() {
    let Some(runtime) = runtime("runc", "left groups") else {
        return;
    };
    let tag = &format!("dead-runtime-{}", std::process::id());
    let parent = Path::new("/sys/fs/cgroup/devices");
    if !parent.join("cgroup.procs").exists() {
        println!("SKIPPED: this host has no version 1 hierarchy of devices");
        return;
    }
    fs::create_dir_all(parent.join(format!("caravan-{tag}.123"))).unwrap();
    assert!(runtime.clean(&tag.parse().unwrap()).unwrap() >= 1);
    assert_eq!(groups_of(tag), Vec::<PathBuf>::new());
}

#[test]
fn groups_of_another_user_keep_no_node_with_a_runtime_from_starting() {
    let Some(runtime) = runtime("runc", "groups of another user") else {
        return;
    };
    let tag = &format!("not-ours-{}", std::process::id());
    let parent = Path::new("/sys/fs/cgroup/devices");
    if !parent.join("cgroup.procs").exists() {
        println!("SKIPPED: this host has no version 1 hierarchy of devices");
        return;
    }
    let theirs = parent.join(format!("theirs-{tag}"));
    let dirs = [
        theirs.clone(),
        theirs.join(format!("caravan-{tag}.1")),
        theirs.join(format!("caravan-{tag}.1/x")),
    ];
    for dir in &dirs {
        fs::create_dir(dir).unwrap();
        std::os::unix::fs::chown(dir, Some(12_345), Some(12_345)).unwrap();
    }
    let cleaned = runtime.clean(&tag.parse().unwrap());
    let there = dirs.iter().all(|dir| dir.is_dir());
    for dir in dirs.iter().rev() {
        let _ = fs::remove_dir(dir);
    }
    assert_eq!(cleaned.unwrap(), 0);
    assert!(there);
}

#[test]
fn a_program_that_is_no_runtime_starts_no_job() {
    if !can_run("no runtime") {
        return;
    }
    let spawn = || Launcher::spawn_program(program()).unwrap();
    let refused = OciRuntime::new(spawn(), Path::new("/bin/true"));
    assert!(
        matches!(refused, Err(OciError::Version { .. })),
        "{refused:?}"
    );
    let refused = OciRuntime::new(spawn(), Path::new("runc"));
    assert!(matches!(refused, Err(OciError::Name(_))), "{refused:?}");
    // It has a version and cannot do more: told by how it ended.
    let store = Store::new();
    let path = store.path("shamc");
    fs::write(
        &path,
        "#!/bin/sh\nif [ $# = 1 ]; then echo shamc version 1; else exit 7; fi\n",
    )
    .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let sham = OciRuntime::new(spawn(), &path).unwrap();
    let failed = sham.start(&store.sh("sham", "true"));
    let Err(caravan_sandbox::Error::Setup(told)) = failed else {
        panic!("{failed:?}");
    };
    assert!(
        told.contains("shamc create") && told.contains("exit status"),
        "{told}"
    );
}

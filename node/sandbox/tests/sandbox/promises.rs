//! A host that lacks something, one thing at a time: it is named, with what to do, and nothing runs
//! with less by itself.
//!
//! Each lack is made in namespaces or by a filter of the program's own, and goes with it.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use caravan_sandbox::{OciRuntime, Promises};

use crate::support::{can_run, launcher, need_root, program};

/// What stops one call and goes on as another program.
fn attempts() -> &'static str {
    env!("CARGO_BIN_EXE_sandbox-attempts")
}

/// What is tried needs root of the host itself.
fn is_root(test: &str) -> bool {
    let root = can_run(test) && caravan_sandbox::probe().is_ok_and(|found| !found.rootless);
    if !root {
        println!("SKIPPED: {test}: it needs root");
    }
    root
}

fn private() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    dir
}

/// Runs a script in mounts of its own; `$0` is the program and `$1` a directory for its trial.
fn in_mounts(script: &str, dir: &Path) -> Output {
    Command::new("unshare")
        .args(["--mount", "sh", "-ec", script])
        .arg(program())
        .arg(dir.join("trial"))
        .arg(attempts())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}{err}")
}

#[test]
fn a_host_that_has_everything_says_who_keeps_it_and_runs_a_trial() {
    need_root!();
    let dir = private();
    let output = in_mounts("exec $0 probe $1", dir.path());
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("system-call-filter: seccomp\n"), "{text}");
    assert!(text.ends_with("a trial job ran well\n"), "{text}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn without_control_groups_each_limit_is_named_and_the_rest_stands() {
    if !is_root("no control groups") {
        return;
    }
    let dir = private();
    let output = in_mounts("umount --lazy /sys/fs/cgroup; exec $0 probe $1", dir.path());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", said(&output));
    let lacking: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("no "))
        .collect();
    assert_eq!(lacking.len(), 3, "{text}");
    for (line, name) in
        lacking
            .iter()
            .zip(["memory-limit", "process-count-limit", "processor-limit"])
    {
        assert!(line.starts_with(&format!("no {name}: ")), "{line}");
        assert!(line.contains("mount control groups"), "{line}");
    }
    assert!(text.ends_with("a trial job ran well\n"), "{text}");
}

#[test]
fn swap_that_no_group_counts_is_named() {
    if !is_root("uncounted swap") {
        return;
    }
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = groups.lines().find_map(|line| {
        let (names, path) = line.split_once(':')?.1.split_once(':')?;
        names
            .split(',')
            .any(|name| name == "memory")
            .then_some(path)
    });
    let Some(own) = own else {
        println!("SKIPPED: this host has no version 1 hierarchy of memory");
        return;
    };
    // A kernel that does not count swap has no file to bound it by.
    let hide = format!("mount -t tmpfs none /sys/fs/cgroup/memory{own}; ");
    let swap = "head -n 1 /proc/swaps > $1; echo '/dev/sdz partition 1024 0 -2' >> $1; \
                mount --bind $1 /proc/swaps; ";
    for (script, named) in [(hide.clone() + swap, true), (swap.to_owned(), false)] {
        let dir = private();
        let output = in_mounts(&(script + "exec $0 probe"), dir.path());
        let text = said(&output);
        assert!(output.status.success(), "{text}");
        let lack = text
            .lines()
            .find(|line| line.starts_with("no memory-limit: "));
        assert_eq!(lack.is_some(), named, "{text}");
        assert!(lack.is_none_or(|line| line.contains("swapoff")), "{text}");
    }
}

#[test]
fn without_user_namespaces_no_job_runs() {
    if !is_root("no user namespaces") {
        return;
    }
    let dir = private();
    // A namespace with all ids, in which no other can be made; the host's own bound stays.
    let script = "read go; exec sh -ec 'echo 0 > /proc/sys/user/max_user_namespaces; exec $0 probe $1' $0 $1";
    let mut child = Command::new("unshare")
        .args(["--user", "sh", "-ec", script])
        .arg(program())
        .arg(dir.path().join("trial"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let proc = PathBuf::from(format!("/proc/{}", child.id()));
    let own = fs::read_link("/proc/self/ns/user").unwrap();
    while fs::read_link(proc.join("ns/user")).is_ok_and(|theirs| theirs == own) {
        std::thread::yield_now();
    }
    for map in ["uid_map", "gid_map"] {
        fs::write(proc.join(map), "0 0 4294967295\n").unwrap();
    }
    let before = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap();
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let text = said(&output);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("user.max_user_namespaces above 0"), "{text}");
    let after = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap();
    assert_eq!(before, after);
}

#[test]
fn without_overlays_no_job_runs() {
    if !is_root("no overlays") {
        return;
    }
    let dir = private();
    let script = "grep -v overlay /proc/filesystems > $1; mount --bind $1 /proc/filesystems; \
                  exec $2 without fsopen $0 probe";
    let output = in_mounts(script, dir.path());
    let text = said(&output);
    assert!(!output.status.success(), "{text}");
    assert!(
        text.contains("mount an overlay") && text.contains("modprobe overlay"),
        "{text}"
    );
}

#[test]
fn without_system_call_filters_no_job_runs() {
    if !is_root("no filters") {
        return;
    }
    let dir = private();
    let output = in_mounts("exec $2 without seccomp $0 probe $1", dir.path());
    let text = said(&output);
    assert!(!output.status.success(), "{text}");
    assert!(
        text.contains("filter system calls") && text.contains("CONFIG_SECCOMP"),
        "{text}"
    );
}

#[test]
fn a_trial_finds_what_no_file_tells() {
    if !is_root("trial") {
        return;
    }
    // An overlay, which cannot map the owners of the layers that are kept on it.
    let dir = private();
    let script = "d=${1%/trial}; mkdir $d/lower $d/upper $d/work $d/on; \
                  mount -t overlay -o lowerdir=$d/lower,upperdir=$d/upper,workdir=$d/work none $d/on; \
                  chmod 700 $d/on; exec $0 probe $d/on/trial";
    let output = in_mounts(script, dir.path());
    let text = said(&output);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("run a trial job in"), "{text}");
    assert!(text.contains("an overlay cannot"), "{text}");
    assert!(!text.contains("ran well"), "{text}");
}

#[test]
fn a_trial_runs_under_every_launcher() {
    need_root!();
    let dir = private();
    caravan_sandbox::trial(launcher(), &dir.path().join("own")).unwrap();
    if !is_root("trial of runtimes") {
        return;
    }
    for name in ["runc", "crun"] {
        let Ok(path) = OciRuntime::find(name) else {
            println!("SKIPPED: {name} is not installed");
            continue;
        };
        let launcher = caravan_sandbox::Launcher::spawn_program(program()).unwrap();
        let runtime = OciRuntime::new(launcher, &path).unwrap();
        caravan_sandbox::trial(&runtime, &dir.path().join(name)).unwrap();
        let abilities = caravan_sandbox::probe().unwrap();
        let promises = Promises::of(&abilities, Some(runtime.version()));
        assert!(
            promises.profile().starts_with(name),
            "{}",
            promises.profile()
        );
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

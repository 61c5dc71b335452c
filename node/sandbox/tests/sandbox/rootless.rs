//! Jobs without root: everything that this program tests once more, as an ordinary user of a private
//! view of this host, whose `/etc` has that user with subordinate ids of its own.

use std::{
    ffi::OsString,
    fs,
    io::Write as _,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use crate::support::{can_run, program};

/// The user, who is not in the host's own files; and the first of its subordinate ids.
const USER: u32 = 58_231;
pub(crate) const FIRST: u32 = 1_700_000_000;
/// Runs `$@` as that user, over a view of `/etc` with the files in `$1`, in the control groups `$4`.
const AS_USER: &str = "mount -t overlay overlay -o \"ro,lowerdir=$1:/etc\" /etc || exit 99
    for group in $4; do echo $$ > $group/cgroup.procs || exit 98; done
    user=$2 home=$3; shift 4
    cd /; HOME=$home TMPDIR=$home; export HOME TMPDIR
    exec setpriv --reuid $user --regid $user --clear-groups -- \"$@\"";
/// Tests of what only root can have: images, ids beyond a job's, a look at what other processes have
/// mapped, other runtimes, and the defences' own holes.
const ABOUT_ROOT: [&str; 8] = [
    "crun::",
    "defences::",
    "isolation::the_host_s_root_is_nobody_inside",
    "leftovers::",
    "mapped",
    "rootless::",
    "runc::",
    "stacks::the_image_is_what_is_mounted_where_the_kernel_takes_it",
];
/// Runs each test that it reads in a process of its own, two at a time: launchers of one process
/// share a tag, and one that goes would take the waiting cells of others with it.
const EACH: &str = "xargs -P 2 -I TEST sh -c '$0 --exact TEST > $HOME/TEST.log 2>&1 || {
    cat $HOME/TEST.log; exit 1; }' $0";
/// Hierarchies of version 1 in which jobs have limits.
const HIERARCHIES: [&str; 4] = ["memory", "pids", "cpu", "cpuacct"];

/// An ordinary user's view of this host; gone when dropped.
pub(crate) struct Ordinary {
    pub(crate) dir: tempfile::TempDir,
    groups: Vec<PathBuf>,
}

impl Drop for Ordinary {
    fn drop(&mut self) {
        // A group can go when the last process in it has gone, and what tests of killed nodes have
        // left in it before.
        let end = Instant::now() + Duration::from_secs(5);
        for group in &self.groups {
            while group.exists() && Instant::now() < end {
                for below in fs::read_dir(group).into_iter().flatten().flatten() {
                    let _ = fs::remove_dir(below.path());
                }
                if fs::remove_dir(group).is_err() {
                    std::thread::yield_now();
                }
            }
        }
    }
}

/// Groups below this process's own that belong to the user, as an administrator delegates them.
fn delegate() -> Vec<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let mut made = Vec::new();
    for name in HIERARCHIES {
        let path = own.lines().find_map(|line| {
            let (names, path) = line.split_once(':')?.1.split_once(':')?;
            names.split(',').any(|n| n == name).then_some(path)
        });
        let Some(path) = path else { continue };
        let parent = Path::new("/sys/fs/cgroup")
            .join(name)
            .join(path.trim_start_matches('/'));
        let group = parent.join(format!("ordinary-{}", std::process::id()));
        if fs::create_dir(&group).is_err() {
            continue;
        }
        for file in ["", "cgroup.procs", "tasks"] {
            chown(group.join(file), Some(USER), Some(USER)).unwrap();
        }
        made.push(group);
    }
    made
}

impl Ordinary {
    /// One with so many subordinate ids.
    pub(crate) fn new(ids: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let etc = dir.path().join("etc");
        fs::create_dir(&etc).unwrap();
        let add = |name: &str, line: String| {
            let host = fs::read_to_string(Path::new("/etc").join(name)).unwrap_or_default();
            fs::write(etc.join(name), host + &line).unwrap();
        };
        add("passwd", format!("ordinary:x:{USER}:{USER}::/:/bin/sh\n"));
        add("group", format!("ordinary:x:{USER}:\n"));
        for name in ["subuid", "subgid"] {
            fs::write(etc.join(name), format!("ordinary:{FIRST}:{ids}\n")).unwrap();
        }
        let home = dir.path().join("home");
        fs::create_dir(&home).unwrap();
        // One of the tests needs a store that others can enter.
        fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).unwrap();
        chown(&home, Some(USER), Some(USER)).unwrap();
        Self {
            dir,
            groups: Vec::new(),
        }
    }

    fn with_groups(mut self) -> Self {
        self.groups = delegate();
        self
    }

    fn words(&self) -> [OsString; 4] {
        let groups: Vec<&str> = self
            .groups
            .iter()
            .map(|group| group.to_str().unwrap())
            .collect();
        [
            self.dir.path().join("etc").into(),
            USER.to_string().into(),
            self.dir.path().join("home").into(),
            groups.join(" ").into(),
        ]
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("unshare");
        command
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                AS_USER,
                "sh",
            ])
            .args(self.words())
            .arg(program);
        command
    }

    /// Runs a program in the user's own namespace.
    pub(crate) fn unshare(&self, words: &[&str]) -> Output {
        self.command(program())
            .arg("unshare")
            .args(words)
            .output()
            .unwrap()
    }
}

/// Whether a user can be made here to try it.
pub(crate) fn can_try(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if is_root && Path::new("/proc/self/uid_map").exists() && is_host() {
        if ["newuidmap", "setpriv", "unshare"]
            .iter()
            .all(|name| has(name))
        {
            return can_run(test);
        }
        println!("SKIPPED: {test}: needs uidmap and util-linux");
        return false;
    }
    println!("SKIPPED: {test}: needs root of the host, to make a user");
    false
}

fn is_host() -> bool {
    caravan_sandbox::Rights::own() == caravan_sandbox::Rights::Root
}

fn has(name: &str) -> bool {
    ["/usr/bin", "/bin"]
        .iter()
        .any(|dir| Path::new(dir).join(name).exists())
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

#[test]
fn all_that_root_can_an_ordinary_user_can() {
    if !can_try("rootless") {
        return;
    }
    let user = Ordinary::new(65_536).with_groups();
    again(&user, |_| true);
}

#[test]
fn without_control_groups_a_job_has_the_limits_of_processes() {
    if !can_try("rootless") {
        return;
    }
    let user = Ordinary::new(65_536);
    again(&user, |test| {
        test.starts_with("conformance::") || test.starts_with("jobs::")
    });
}

/// The tests of this program once more, without root.
fn again(user: &Ordinary, is_wanted: impl Fn(&str) -> bool) {
    let own = std::env::current_exe().unwrap();
    let listed = Command::new(&own)
        .args(["--list", "--format", "terse"])
        .output()
        .unwrap();
    let listed = text(&listed);
    let tests: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .filter(|test| !ABOUT_ROOT.iter().any(|about| test.contains(about)) && is_wanted(test))
        .collect();
    assert!(tests.len() > 20, "{listed}");
    // Its users are root there, as tests of the program want to be.
    let mut running = user
        .command(program())
        .args([
            "unshare",
            "setpriv",
            "--reuid",
            "0",
            "--regid",
            "0",
            "--clear-groups",
            "--",
        ])
        .args(["sh", "-c", EACH])
        .arg(own)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = running.stdin.take().unwrap();
    to.write_all(tests.join("\n").as_bytes()).unwrap();
    drop(to);
    let output = running.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let skipped = |test: &&&str| {
        let log = fs::read(user.dir.path().join(format!("home/{test}.log"))).unwrap();
        !String::from_utf8_lossy(&log).contains("1 passed")
    };
    assert_eq!(tests.iter().filter(skipped).count(), 0, "each was run");
}

#[test]
fn the_node_has_an_id_that_no_job_has() {
    if !can_try("rootless") {
        return;
    }
    let user = Ordinary::new(65_536);
    let output = user.unshare(&["sh", "-c", "id -u; cat /proc/self/uid_map"]);
    let said = text(&output);
    let lines: Vec<Vec<&str>> = said
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    let (first, own) = (FIRST.to_string(), USER.to_string());
    assert_eq!(
        lines,
        [
            vec!["65536"],
            vec!["0", &first, "65536"],
            vec!["65536", &own, "1"]
        ],
        "{said}"
    );
}

#[test]
fn mounts_of_a_namespace_are_not_seen_outside_and_go_with_it() {
    if !can_try("rootless") {
        return;
    }
    let user = Ordinary::new(65_536);
    let home = user.dir.path().join("home");
    let script = "setpriv --reuid 0 --regid 0 --clear-groups mount -t tmpfs none $HOME && \
                  touch $HOME/inside";
    let output = user.unshare(&["sh", "-c", script]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(!home.join("inside").exists());
}

#[test]
fn what_is_missing_is_said_with_the_command_that_mends_it() {
    if !can_try("rootless") {
        return;
    }
    let user = Ordinary::new(65_535);
    let output = user.unshare(&["true"]);
    let said = text(&output);
    assert!(!output.status.success(), "{said}");
    for words in [
        "ordinary has 65535 subordinate user ids in /etc/subuid and needs 65536",
        "ordinary has 65535 subordinate group ids in /etc/subgid and needs 65536",
        "usermod --add-subuids 1700065535-1700131070 ordinary",
        "usermod --add-subgids 1700065535-1700131070 ordinary",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }

    let user = Ordinary::new(65_536);
    let mut forbidden = user.command(Path::new("setpriv"));
    forbidden
        .args(["--no-new-privs", "--"])
        .arg(program())
        .args(["unshare", "true"]);
    let output = forbidden.output().unwrap();
    let said = text(&output);
    assert!(
        !output.status.success() && said.contains("no_new_privs"),
        "{said}"
    );
}

#[test]
fn a_covered_proc_is_told_before_any_job() {
    if !can_try("rootless") {
        return;
    }
    let user = Ordinary::new(65_536);
    let mut command = Command::new("unshare");
    let covered = format!("mount -t tmpfs none /proc/fs && {AS_USER}");
    command
        .args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            &covered,
            "sh",
        ])
        .args(user.words())
        .arg(program())
        .args(["unshare", "true"]);
    let output = command.output().unwrap();
    let said = text(&output);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("mount a /proc of a job's own"), "{said}");
    assert!(said.contains("container"), "{said}");
}

#[test]
fn an_ordinary_user_without_a_namespace_is_told_what_to_do() {
    if !can_try("rootless") {
        return;
    }
    let user = Ordinary::new(65_536);
    let output = user.command(program()).arg("probe").output().unwrap();
    let said = text(&output);
    assert!(!output.status.success(), "{said}");
    assert!(
        said.contains(&USER.to_string()) && said.contains("sudo"),
        "{said}"
    );
}

use std::process::{Command, Stdio};

use rustix::process::Pid;

use super::*;
use crate::{sandbox::Limit, spec::Limits};

const V1: &str = "\
5:devices:/
4:memory:/user/7
3:cpu,cpuacct:/user
8:pids:/docker/x
0::/
";
const V1_MOUNTS: &str = "\
30 20 0:25 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
31 20 0:26 / /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory
32 20 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 20 0:28 /docker/x /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
";

fn parents(places: &Places) -> Vec<(Controller, Version, PathBuf)> {
    let show = |p: &Place| (p.controller, p.version, p.parent.clone());
    places.0.iter().map(show).collect()
}

#[test]
fn version_1_hierarchies_are_found_where_they_are_mounted() {
    let places = Places::parse(V1, V1_MOUNTS, Path::new("/nowhere"));
    let at = |path: &str| Path::new("/nowhere/sys/fs/cgroup").join(path);
    assert_eq!(
        parents(&places),
        [
            (Controller::Memory, Version::V1, at("memory/user/7")),
            (Controller::Pids, Version::V1, at("pids")),
            (Controller::Cpu, Version::V1, at("cpu,cpuacct/user")),
            (Controller::CpuAcct, Version::V1, at("cpu,cpuacct/user")),
        ]
    );
    assert_eq!(places.flavour(), "v1");
    assert_eq!(places.parents().len(), 3);
}

#[test]
fn version_2_climbs_to_a_group_whose_children_have_the_controllers() {
    let root = tempfile::tempdir().unwrap();
    let top = root.path().join("sys/fs/cgroup");
    let own = top.join("system.slice/caravan.service");
    fs::create_dir_all(&own).unwrap();
    fs::write(own.join("cgroup.subtree_control"), "\n").unwrap();
    fs::write(
        top.join("system.slice/cgroup.subtree_control"),
        "cpu memory pids\n",
    )
    .unwrap();
    fs::write(top.join("cgroup.subtree_control"), "cpu io memory pids\n").unwrap();
    let mounts = "30 20 0:25 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n";
    let places = Places::parse("0::/system.slice/caravan.service\n", mounts, root.path());
    assert!(
        places
            .0
            .iter()
            .all(|place| place.parent == top.join("system.slice"))
    );
    assert_eq!((places.0.len(), places.flavour()), (4, "v2"));
}

#[test]
fn version_2_limits_are_written_in_its_own_words() {
    let root = tempfile::tempdir().unwrap();
    let place = |controller| Place {
        controller,
        version: Version::V2,
        parent: root.path().to_owned(),
    };
    let controllers = [
        Controller::Memory,
        Controller::Pids,
        Controller::Cpu,
        Controller::CpuAcct,
    ];
    let places = Places(controllers.map(place).to_vec());
    let group = places.make(&"unit".parse().unwrap()).unwrap();
    let dir = group.dirs[0].clone();
    // The kernel makes them with the group.
    let files = ["memory.max", "memory.swap.max", "pids.max", "cpu.max"];
    for file in files {
        fs::write(dir.join(file), "").unwrap();
    }
    let limits = Limits {
        cpu_millis: Some(1_500),
        memory_bytes: 5 << 20,
        ..Limits::default()
    };
    group.bound(&limits).unwrap();
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    assert_eq!(read("memory.max"), (5 << 20).to_string());
    assert_eq!(read("memory.swap.max"), "0");
    assert_eq!(read("pids.max"), "4096");
    assert_eq!(read("cpu.max"), "150000 100000");
    fs::write(
        dir.join("memory.events"),
        "low 0\noom 3\noom_kill 2\noom_group_kill 1\n",
    )
    .unwrap();
    fs::write(dir.join("memory.peak"), "12345\n").unwrap();
    fs::write(dir.join("cpu.stat"), "usage_usec 7000\nuser_usec 1\n").unwrap();
    assert_eq!(group.ran_out(), Some(Limit::Memory));
    assert_eq!(
        (group.peak_memory(), group.cpu_ms()),
        (Some(12_345), Some(7))
    );
}

#[test]
fn without_control_groups_nothing_is_found_and_nothing_fails() {
    let places = Places::parse("", "", Path::new("/"));
    assert_eq!(places.flavour(), "none");
    let group = places.make(&"none".parse().unwrap()).unwrap();
    group.bound(&Limits::default()).unwrap();
    assert_eq!((group.peak_memory(), group.ran_out()), (None, None));
}

#[test]
fn what_a_killed_node_left_is_killed_and_removed() {
    let places = Places::find();
    if places.0.is_empty() {
        println!("SKIPPED: no control group can be written here");
        return;
    }
    let tag: JobName = "unit-left".parse().unwrap();
    let group = places.make(&tag).unwrap();
    let mut straggler = Command::new("sleep")
        .arg("600")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    group.admit(Pid::from_child(&straggler)).unwrap();
    let dirs = group.dirs.clone();
    std::mem::forget(group);
    assert_eq!(places.clean(&"unit".parse().unwrap()).unwrap(), 0);
    assert!(dirs.iter().all(|dir| dir.is_dir()));
    // The straggler is our own child: a zombie keeps no group.
    assert_eq!(places.clean(&tag).unwrap(), dirs.len());
    assert!(dirs.iter().all(|dir| !dir.exists()));
    assert!(!straggler.wait().unwrap().success());
}

#[test]
fn a_leftover_is_found_although_its_node_ran_in_another_group() {
    let places = Places::find();
    let Some(parent) = places.parents().first().map(|parent| parent.to_path_buf()) else {
        println!("SKIPPED: no control group can be written here");
        return;
    };
    let elsewhere = parent.join("unit-elsewhere");
    let left = elsewhere.join("caravan-unit-other.7");
    fs::create_dir_all(&left).unwrap();
    // As if this process had been started in a group below that of the dead node.
    let deeper = Place {
        parent: elsewhere.clone(),
        ..places.0[0].clone()
    };
    let found = Places(vec![deeper]).clean(&"unit-other".parse().unwrap());
    let sibling = parent.join("unit-sibling");
    fs::create_dir(&sibling).unwrap();
    fs::create_dir(elsewhere.join("caravan-unit-other.8")).unwrap();
    let aside = Place {
        parent: sibling.clone(),
        ..places.0[0].clone()
    };
    let found_aside = Places(vec![aside]).clean(&"unit-other".parse().unwrap());
    fs::remove_dir(sibling).unwrap();
    fs::remove_dir(elsewhere).unwrap();
    assert_eq!((found.unwrap(), found_aside.unwrap()), (1, 1));
}

/// A fake group of version 2 below `/sys/fs/cgroup`.
fn fake_group(root: &Path, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let dir = root.join("sys/fs/cgroup").join(name);
    fs::create_dir_all(&dir).unwrap();
    for (file, text) in files {
        fs::write(dir.join(file), text).unwrap();
    }
    dir
}

const V2_MOUNT: &str = "30 20 0:25 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n";

#[test]
fn a_delegated_group_is_shared_out_and_its_processes_leave_it_first() {
    let root = tempfile::tempdir().unwrap();
    fake_group(
        root.path(),
        "",
        &[("cgroup.subtree_control", "cpu memory pids\n")],
    );
    let own = fake_group(
        root.path(),
        "system.slice/caravan.service",
        &[
            ("cgroup.controllers", "cpu memory pids io\n"),
            ("cgroup.subtree_control", ""),
            ("cgroup.procs", "17\n"),
            ("cgroup.events", "populated 1\n"),
        ],
    );
    let groups = "0::/system.slice/caravan.service\n";
    let home = || Home::find(groups, V2_MOUNT, root.path()).unwrap();
    // Nobody has given it to us: the nearest above that is shared out has room for our jobs.
    assert_eq!(
        home().parent().unwrap().0,
        root.path().join("sys/fs/cgroup")
    );
    home().settle().unwrap();
    assert!(!own.join("caravan-node").exists());
    let marked = ["trusted.delegate", "user.delegate"].iter().any(|name| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&own, *name, b"1", flags).is_ok()
    });
    if !marked {
        println!("SKIPPED: no attribute can be set here");
        return;
    }
    let (parent, mut on) = home().parent().unwrap();
    on.sort_unstable();
    assert_eq!((parent, on), (own.clone(), vec!["cpu", "memory", "pids"]));
    home().settle().unwrap();
    let read = |name: &str| fs::read_to_string(own.join(name)).unwrap();
    assert_eq!(read("caravan-node/cgroup.procs"), "17");
    assert_eq!(read("cgroup.subtree_control"), "+memory +pids +cpu");
    // The kernel would show them without the signs. Started anew, it finds itself moved.
    fs::write(own.join("cgroup.subtree_control"), "cpu memory pids\n").unwrap();
    let moved = "0::/system.slice/caravan.service/caravan-node\n";
    let home = Home::find(moved, V2_MOUNT, root.path()).unwrap();
    home.settle().unwrap();
    assert_eq!(home.parent().unwrap().0, own);
}

#[test]
fn a_container_s_own_group_is_shared_out_and_the_root_without_moving() {
    let files = [
        ("cgroup.controllers", "memory pids\n"),
        ("cgroup.subtree_control", ""),
        ("cgroup.procs", "1\n"),
    ];
    let root = tempfile::tempdir().unwrap();
    let top = fake_group(root.path(), "", &files);
    let home = Home::find("0::/\n", V2_MOUNT, root.path()).unwrap();
    home.settle().unwrap();
    let shared = fs::read_to_string(top.join("cgroup.subtree_control")).unwrap();
    assert_eq!(shared, "+memory +pids");
    assert!(!top.join("caravan-node").exists());
    // Only groups that are not the root of all have events.
    fs::write(top.join("cgroup.events"), "populated 1\n").unwrap();
    fs::write(top.join("cgroup.subtree_control"), "").unwrap();
    home.settle().unwrap();
    let moved = fs::read_to_string(top.join("caravan-node/cgroup.procs")).unwrap();
    assert_eq!(moved, "1");
}

/// A group of the real version 2, if the host has one where groups can be made.
fn real_v2(name: &str) -> Option<PathBuf> {
    let mounts = read_small(Path::new("/proc/self/mountinfo")).unwrap();
    let top = Home::find("0::/\n", &mounts, Path::new("/"))?;
    let dir = top.dir().join(name);
    fs::create_dir(&dir).ok()?;
    Some(dir)
}

fn sleeper() -> std::process::Child {
    let mut command = Command::new("sleep");
    command.arg("600").stdin(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_group_of_the_real_version_2_is_killed_at_once() {
    let Some(dir) = real_v2("unit-kill") else {
        println!("SKIPPED: this host has no version 2");
        return;
    };
    let mut children = [sleeper(), sleeper()];
    for child in &children {
        fs::write(dir.join("cgroup.procs"), child.id().to_string()).unwrap();
    }
    removal::kill_all(&dir);
    for child in &mut children {
        assert!(!child.wait().unwrap().success());
    }
    remove(&dir).unwrap();
}

#[test]
fn a_group_of_the_real_version_2_is_shared_out_although_it_holds_processes() {
    let Some(dir) = real_v2("unit-share") else {
        println!("SKIPPED: this host has no version 2");
        return;
    };
    let there = read_small(&dir.parent().unwrap().join("cgroup.controllers")).unwrap();
    let Some(name) = ["hugetlb", "pids", "memory", "cpu"]
        .into_iter()
        .find(|name| there.split_whitespace().any(|on| on == *name))
    else {
        println!("SKIPPED: this host's version 2 has no controller");
        fs::remove_dir(dir).unwrap();
        return;
    };
    let above = dir.parent().unwrap().join("cgroup.subtree_control");
    let was_on = read_small(&above).unwrap().contains(name);
    fs::write(&above, format!("+{name}")).unwrap();
    let mut child = sleeper();
    fs::write(dir.join("cgroup.procs"), child.id().to_string()).unwrap();
    let home = Home::of(dir.clone());
    home.share(&[name]).unwrap();
    let shared = read_small(&dir.join("cgroup.subtree_control")).unwrap();
    let moved = read_small(&dir.join("caravan-node/cgroup.procs")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    remove(&dir.join("caravan-node")).unwrap();
    remove(&dir).unwrap();
    if !was_on {
        fs::write(&above, format!("-{name}")).unwrap();
    }
    assert_eq!(shared.trim(), name);
    assert_eq!(moved.trim(), child.id().to_string());
}

#[test]
fn the_processes_of_a_job_are_found_with_groups_and_without() {
    let mut shell = Command::new("sh")
        .args(["-c", "sleep 600 & echo $!; wait"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(shell.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    let first = Pid::from_child(&shell);
    let second = Pid::from_raw(line.trim().parse().unwrap()).unwrap();
    let none = Places::default().make(&"unit".parse().unwrap()).unwrap();
    assert_eq!(none.members(first)(), [first, second]);
    let places = Places::find();
    if places.0.is_empty() {
        println!("SKIPPED: no control group can be written here");
    } else {
        let group = places.make(&"unit-members".parse().unwrap()).unwrap();
        group.admit(second).unwrap();
        assert_eq!(group.members(first)(), [second]);
        // Where a runtime would put the command.
        let below = group.dirs[0].join("below/it");
        fs::create_dir_all(&below).unwrap();
        let number = second.as_raw_nonzero().to_string();
        fs::write(below.join("cgroup.procs"), number).unwrap();
        assert_eq!(group.members(first)(), [second]);
        group.admit(second).unwrap();
        fs::remove_dir(&below).unwrap();
        fs::remove_dir(below.parent().unwrap()).unwrap();
        let _ = rustix::process::kill_process(second, rustix::process::Signal::KILL);
        shell.wait().unwrap();
    }
    let _ = rustix::process::kill_process(second, rustix::process::Signal::KILL);
    let _ = shell.wait();
}

#[test]
fn a_group_outside_of_what_is_mounted_is_nobody_s_place() {
    let mount = |root: &str| format!("30 20 0:25 {root} /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    let home = |own: &str, mounts: &str| {
        let groups = format!("0::{own}\n");
        Home::find(&groups, mounts, Path::new("/")).map(|home| home.dir().to_owned())
    };
    // A namespace of groups, in which only the host's mounts are to be seen.
    assert_eq!(home("/", &mount("/../..")), None);
    // Moved out of its namespace.
    assert_eq!(home("/../other", &mount("/")), None);
    assert_eq!(home("/a/../../other", &mount("/a")), None);
    assert_eq!(home("/docker/xy", &mount("/docker/x")), None);
    let top = PathBuf::from("/sys/fs/cgroup");
    assert_eq!(home("/docker/x", &mount("/docker/x")), Some(top.clone()));
    assert_eq!(home("/a/b", &mount("/a")), Some(top.join("b")));
    // Another mount shows it.
    let both = format!(
        "{}31 20 0:25 / /mnt rw - cgroup2 cgroup2 rw\n",
        mount("/../..")
    );
    assert_eq!(home("/b", &both), Some("/mnt/b".into()));
    let v1 = "31 20 0:26 /../.. /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
    assert_eq!(v1_parent("8:pids:/\n", v1, "pids"), None);
}

#[test]
fn groups_of_another_user_are_neither_taken_nor_in_the_way() {
    let places = Places::find();
    let Some(parent) = places.parents().first().map(|parent| parent.to_path_buf()) else {
        println!("SKIPPED: no control group can be written here");
        return;
    };
    let theirs = parent.join("unit-theirs");
    let dirs = [
        theirs.clone(),
        theirs.join("caravan-unit-owner.1"),
        theirs.join("caravan-unit-owner.1/x"),
        theirs.join("deeper"),
        theirs.join("deeper/caravan-unit-owner.2"),
        parent.join("caravan-unit-owner.3"),
    ];
    for dir in &dirs {
        fs::create_dir_all(dir).unwrap();
        std::os::unix::fs::chown(dir, Some(12_345), Some(12_345)).unwrap();
    }
    let found = places.clean(&"unit-owner".parse().unwrap());
    let there: Vec<bool> = dirs.iter().map(|dir| dir.is_dir()).collect();
    for dir in dirs.iter().rev() {
        let _ = fs::remove_dir(dir);
    }
    assert_eq!(found.unwrap(), 0);
    assert_eq!(there, [true; 6]);
}

#[test]
fn no_number_of_groups_of_another_user_hides_a_leftover() {
    // In memory: a disk takes its time for so many.
    let root = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::write(root.path().join("cgroup.procs"), "").unwrap();
    let theirs = root.path().join("theirs");
    for number in 0..=GROUPS_MAX {
        fs::create_dir_all(theirs.join(number.to_string())).unwrap();
    }
    std::os::unix::fs::chown(&theirs, Some(12_345), None).unwrap();
    // Many, as a directory is listed in any order.
    for number in 0..32 {
        let left = format!("own-{number}/caravan-unit-many.1");
        fs::create_dir_all(root.path().join(left)).unwrap();
    }
    assert_eq!(groups_named(root.path(), "caravan-unit-many.").len(), 32);
}

#[test]
fn a_leftover_goes_with_what_is_below_it() {
    let places = Places::find();
    let Some(parent) = places.parents().first().map(|parent| parent.to_path_buf()) else {
        println!("SKIPPED: no control group can be written here");
        return;
    };
    let left = parent.join("caravan-unit-below.1");
    let below = left.join("a/b");
    fs::create_dir_all(&below).unwrap();
    std::os::unix::fs::chown(&below, Some(12_345), None).unwrap();
    let mut child = sleeper();
    fs::write(below.join("cgroup.procs"), child.id().to_string()).unwrap();
    let found = places.clean(&"unit-below".parse().unwrap());
    let there = left.exists();
    let _ = child.kill();
    assert!(!child.wait().unwrap().success());
    for dir in [&below, &left.join("a"), &left] {
        let _ = remove(dir);
    }
    assert_eq!((found.unwrap(), there), (1, false));
}

/// A directory for jobs' memory of each version, with these files in it.
fn memory_at(version: Version, files: &[&str]) -> (tempfile::TempDir, Places) {
    let root = tempfile::tempdir().unwrap();
    for file in files {
        let path = root.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let place = Place {
        controller: Controller::Memory,
        version,
        parent: root.path().to_owned(),
    };
    (root, Places(vec![place]))
}

#[test]
fn swap_is_bounded_where_a_group_counts_it() {
    let cases: [(Version, &[&str], bool); 7] = [
        (Version::V1, &["memory.limit_in_bytes"], false),
        (Version::V1, &["memory.memsw.limit_in_bytes"], true),
        (Version::V2, &["memory.max"], false),
        (Version::V2, &["memory.max", "memory.swap.max"], true),
        // The root of all groups has neither; those below it tell.
        (Version::V2, &["cgroup.procs", "a.slice/memory.max"], false),
        (Version::V2, &["a.slice/memory.swap.max"], true),
        (Version::V2, &["cgroup.procs"], false),
    ];
    for (version, files, counted) in cases {
        let (_dir, places) = memory_at(version, files);
        assert_eq!(places.counts_swap(), counted, "{version:?} {files:?}");
    }
    assert!(!Places::default().counts_swap());
}

#[test]
fn only_a_bound_that_the_kernel_does_not_have_is_left_out() {
    let cases = [
        (
            Version::V1,
            "memory.limit_in_bytes",
            "memory.memsw.limit_in_bytes",
        ),
        (Version::V2, "memory.max", "memory.swap.max"),
    ];
    for (version, always, swap) in cases {
        let (_dir, places) = memory_at(version, &[]);
        let group = places.make(&"unit-swap".parse().unwrap()).unwrap();
        let dir = group.dirs[0].clone();
        let bounded = || group.bound(&Limits::default());
        assert!(bounded().unwrap_err().to_string().contains(always));
        fs::write(dir.join(always), "").unwrap();
        bounded().unwrap();
        // What cannot be written, and not because it is not there.
        fs::create_dir(dir.join(swap)).unwrap();
        assert!(bounded().unwrap_err().to_string().contains(swap));
        fs::remove_dir(dir.join(swap)).unwrap();
        fs::write(dir.join(swap), "").unwrap();
        bounded().unwrap();
        assert_ne!(fs::read_to_string(dir.join(swap)).unwrap(), "");
    }
}

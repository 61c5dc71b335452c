use std::process::{Command, Stdio};

use super::*;

const V1: &str = "\
5:devices:/
4:memory:/user/7
3:cpu,cpuacct:/user
8:pids:/
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
    assert!(group.ran_out_of_memory() && !group.ran_out_of_pids());
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
    assert_eq!(
        (group.peak_memory(), group.ran_out_of_memory()),
        (None, false)
    );
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

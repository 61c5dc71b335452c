//! Each defence can be left out alone, and is seen to be missing then.

use std::{
    fs,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            fs::MetadataExt as _,
            net::{SocketAddr, UnixListener},
        },
    },
    path::Path,
};

use caravan_sandbox::{Defence, Defences, Launcher, Sandbox as _, Spec, Status};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use crate::support::{Store, need_root, output, program};

fn without(defences: Defences) -> Launcher {
    Launcher::spawn_program_without(program(), defences).unwrap()
}

fn set(defences: &[Defence]) -> Defences {
    defences.iter().copied().collect()
}

/// What a job says, whatever becomes of it.
fn said(launcher: &Launcher, spec: &Spec) -> String {
    let mut running = launcher.start(spec).unwrap();
    let text = output(&mut running);
    running.wait().unwrap();
    text
}

/// Whether the kernel has Landlock of at least this version; says so where it has not.
fn has_landlock(version: u32) -> bool {
    let found = caravan_sandbox::probe().map_or(0, |found| found.landlock);
    if found < version {
        println!("SKIPPED: Landlock {version} is not there, but {found}");
    }
    found >= version
}

/// What one script says in a store of its own with all defences but these.
fn said_without(defences: &[Defence], script: &str) -> String {
    let store = Store::new();
    said(&without(set(defences)), &store.sh("job", script))
}

/// The script's answer with every defence, and with all but one.
fn with_and_without(defence: Defence, script: &str) -> (String, String) {
    (said_without(&[], script), said_without(&[defence], script))
}

#[test]
fn a_job_runs_without_any_one_of_them_and_with_only_one() {
    need_root!();
    let sets = Defence::ALL
        .iter()
        .flat_map(|d| [Defences::only(*d), Defences::all_but(*d)]);
    for set in sets.chain([Defences::all()]) {
        let store = Store::new();
        let launcher = without(set);
        let left: Vec<&str> = set.iter().map(Defence::name).collect();
        let started = launcher.start(&store.sh("job", "echo here"));
        let mut running = started.unwrap_or_else(|error| panic!("{error}: {left:?}"));
        let text = output(&mut running);
        assert_eq!(text, "here\n", "{left:?}");
        let exit = running.wait().unwrap();
        assert_eq!(exit.status, Status::Code(0), "{left:?}");
    }
}

#[test]
fn a_helper_that_is_asked_for_more_than_it_knows_does_not_start() {
    need_root!();
    // What a launcher of another program would ask of ours.
    let started = std::process::Command::new(program())
        .args(["caravan-sandbox-helper", "without=something"])
        .stdin(std::process::Stdio::null())
        .status()
        .unwrap();
    assert_eq!(started.code(), Some(1));
}

#[test]
fn each_namespace_is_the_host_s_without_its_defence_and_not_with_it() {
    need_root!();
    let spaces = [
        (Defence::UserNamespace, "user"),
        (Defence::PidNamespace, "pid"),
        (Defence::NetworkNamespace, "net"),
        (Defence::IpcNamespace, "ipc"),
        (Defence::HostNameNamespace, "uts"),
        (Defence::CgroupNamespace, "cgroup"),
    ];
    for (defence, name) in spaces {
        let own = fs::metadata(format!("/proc/self/ns/{name}")).unwrap().ino();
        let script = format!("stat -L -c %i /proc/self/ns/{name}");
        let (with, without) = with_and_without(defence, &script);
        assert_eq!(without.trim(), own.to_string(), "{defence}");
        assert_ne!(with.trim(), own.to_string(), "{defence}");
        assert!(with.trim().parse::<u64>().is_ok(), "{defence}: {with}");
    }
}

#[test]
fn root_inside_is_root_of_the_host_only_without_users_of_its_own() {
    need_root!();
    let (with, without) = with_and_without(Defence::UserNamespace, "echo x > /made");
    assert_eq!((with.as_str(), without.as_str()), ("", ""));
    let owner = |defences: &[Defence]| {
        let store = Store::new();
        let launcher = self::without(set(defences));
        let mut spec = store.sh("job", "cat /proc/self/uid_map; head -c 1 /keep/host");
        let keep = store.layer("keep");
        fs::write(keep.join("host"), "x").unwrap();
        fs::set_permissions(keep.join("host"), fs::Permissions::from_mode(0o600)).unwrap();
        spec.binds.push(caravan_sandbox::Bind {
            source: keep,
            target: "/keep".into(),
            read_only: true,
        });
        said(&launcher, &spec)
    };
    use std::os::unix::fs::PermissionsExt as _;
    let words = |text: &str| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let map = words(&owner(&[]));
    assert_eq!((map[0].as_str(), map[2].as_str()), ("0", "65536"));
    assert!(map[1].parse::<u32>().unwrap() > 1 << 30, "{map:?}");
    assert_eq!(words(&owner(&[Defence::UserNamespace]))[1], "0");
}

#[test]
fn a_chroot_is_left_only_where_the_host_s_mounts_are_behind_it() {
    need_root!();
    // No layer of the job has it.
    let path = "/etc/passwd";
    let left = |defences: &[Defence]| {
        let store = Store::new();
        let spec = store.spec("job", &["attempts", "escape", path]);
        said(&without(set(defences)), &spec)
    };
    assert_eq!(left(&[]), "false\n");
    // Either alone keeps it in: files beneath the root only, and a stage that is for the host's root.
    let open = [Defence::OwnRoot, Defence::UserNamespace, Defence::Landlock];
    if has_landlock(2) {
        assert_eq!(left(&open[..2]), "false\n");
    }
    assert_eq!(left(&[open[0], open[2]]), "false\n");
    assert_eq!(left(&open), "true\n", "{path}");
}

#[test]
fn a_leaked_descriptor_of_the_host_is_of_no_use_under_landlock() {
    need_root!();
    let script = "for fd in /proc/self/fd/*; do head -c 5 $fd/etc/passwd; done";
    let found = |defences: &[Defence]| said_without(defences, script).contains("root:");
    assert!(!found(&[]));
    if has_landlock(2) {
        assert!(!found(&[Defence::ClosedDescriptors]));
    }
    assert!(!found(&[Defence::Landlock]));
    assert!(found(&[Defence::ClosedDescriptors, Defence::Landlock]));
}

/// The job's answer under sets of defences that were left out.
fn answers(argv: &[&str], sets: &[&[Defence]]) -> Vec<String> {
    let answer = |set: &&[Defence]| {
        let store = Store::new();
        said(&without(self::set(set)), &store.spec("job", argv))
    };
    sets.iter().map(answer).collect()
}

#[test]
fn an_abstract_socket_of_the_host_is_out_of_reach_by_network_and_by_landlock() {
    need_root!();
    let name = format!("caravan-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let sets: [&[Defence]; 3] = [
        &[Defence::NetworkNamespace],
        &[Defence::Landlock],
        &[Defence::NetworkNamespace, Defence::Landlock],
    ];
    let told = answers(&["attempts", "abstract", &name], &sets);
    assert_eq!(told[1..], ["false\n", "true\n"]);
    if has_landlock(6) {
        assert_eq!(told[0], "false\n");
    }
}

#[test]
fn a_process_of_the_host_is_out_of_reach_by_its_own_processes_users_and_landlock() {
    need_root!();
    let pid = std::process::id().to_string();
    let open = [
        Defence::PidNamespace,
        Defence::UserNamespace,
        Defence::Landlock,
    ];
    let sets: [&[Defence]; 4] = [&open[..2], &open[1..], &[open[0], open[2]], &open];
    let told = answers(&["attempts", "signal", &pid], &sets);
    assert_eq!(told[1..], ["false\n", "false\n", "true\n"]);
    if has_landlock(6) {
        assert_eq!(told[0], "false\n");
    }
}

#[test]
fn the_mark_of_a_deleted_name_is_refused_by_the_filter_and_by_landlock() {
    need_root!();
    let sets: [&[Defence]; 4] = [
        &[],
        &[Defence::SystemCallFilter],
        &[Defence::Landlock],
        &[Defence::SystemCallFilter, Defence::Landlock],
    ];
    // EPERM of the filter, EACCES of Landlock.
    let second = if has_landlock(2) { "13\n" } else { "0\n" };
    let errors = ["1\n", second, "1\n", "0\n"];
    assert_eq!(answers(&["attempts", "whiteout"], &sets), errors);
}

#[test]
fn what_the_kernel_says_of_a_process_shows_each_of_its_fetters() {
    need_root!();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    for (defence, name, with, off) in [
        (Defence::SystemCallFilter, "Seccomp:", "2", "0"),
        (Defence::NoNewPrivileges, "NoNewPrivs:", "1", "0"),
    ] {
        let (has, lacks) = with_and_without(defence, "cat /proc/self/status");
        assert_eq!(field(&has, name), with, "{defence}");
        assert_eq!(field(&lacks, name), off, "{defence}");
    }
    let (has, lacks) = with_and_without(Defence::Capabilities, "cat /proc/self/status");
    assert_eq!(field(&has, "CapBnd:"), "00000000000401fb");
    // Every one that there is, over its own users.
    let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap();
    let all = (2_u64 << last.trim().parse::<u32>().unwrap()) - 1;
    assert_eq!(field(&lacks, "CapEff:"), format!("{all:016x}"));
}

#[test]
fn set_user_id_programs_work_in_every_job_without_no_new_privileges() {
    need_root!();
    let nosuid = |text: &str| {
        let root = text.lines().find(|line| line.contains(" / / "));
        root.unwrap().contains("nosuid")
    };
    let (with, without) = with_and_without(Defence::NoNewPrivileges, "cat /proc/self/mountinfo");
    assert!(nosuid(&with) && !nosuid(&without), "{with}{without}");
}

#[test]
fn proc_sys_and_dev_are_the_host_s_without_their_defences() {
    need_root!();
    let (with, without) = with_and_without(
        Defence::CoveredProc,
        "head -c 1 /proc/interrupts; cat /proc/self/mountinfo",
    );
    assert!(
        with.contains(" /proc/sys ro,") && !with.starts_with(' '),
        "{with}"
    );
    assert!(
        !without.contains(" /proc/sys ") && without.starts_with(' '),
        "{without}"
    );
    let (with, without) = with_and_without(Defence::EmptySys, "ls /sys");
    assert_eq!(with, "");
    assert!(without.contains("kernel"), "{without}");
    let (with, without) = with_and_without(Defence::OwnDevices, "ls /dev");
    assert!(!with.contains("kmsg") && !with.contains("loop"), "{with}");
    let host = fs::read_dir("/dev").unwrap().count();
    assert_eq!(without.lines().count(), host, "{without}");
}

#[test]
fn a_device_file_of_a_layer_works_only_without_its_defence() {
    need_root!();
    let read = |defences: &[Defence]| {
        let store = Store::new();
        let layer = store.layer("devices");
        let mode = Mode::from_raw_mode(0o666);
        let kind = FileType::CharacterDevice;
        mknodat(CWD, layer.join("zero"), kind, mode, makedev(1, 5)).unwrap();
        let mut spec = store.sh(
            "job",
            "head -c 3 /zero | stat -c %F /dev/stdin; head -c 2 /zero",
        );
        spec.root.lowers.push("devices".into());
        said(&without(set(defences)), &spec)
    };
    assert!(!read(&[]).ends_with("\0\0"));
    assert!(read(&[Defence::DeadDeviceFiles]).ends_with("\0\0"));
}

#[test]
fn init_shows_itself_only_without_its_defence() {
    need_root!();
    let (with, without) = with_and_without(Defence::HiddenInit, "ls -l /proc/1/exe");
    assert!(with.contains("Permission denied"), "{with}");
    assert!(without.contains(" -> "), "{without}");
}

#[test]
fn only_without_a_keyring_of_its_own_is_a_job_in_the_node_s_session() {
    need_root!();
    // Root of the host has one, whether or not a session was made for it.
    let open = [
        Defence::SystemCallFilter,
        Defence::UserNamespace,
        Defence::OwnKeyring,
    ];
    let named = |defences: &[Defence]| {
        let launcher = without(set(defences));
        let store = Store::new();
        let mut ids =
            ["one", "two"].map(|job| said(&launcher, &store.spec(job, &["attempts", "keyring"])));
        ids.sort();
        ids
    };
    let [one, two] = named(&open[..2]);
    assert_ne!(one, two);
    let [one, two] = named(&open);
    assert_eq!(one, two);
    // Nor is it told which it is where there is a filter.
    assert_eq!(named(&[]), ["-1\n", "-1\n"]);
}

#[test]
fn files_in_the_host_s_tmp_are_seen_only_without_scratch_of_its_own() {
    need_root!();
    let marker = tempfile::tempdir_in("/tmp").unwrap();
    let name = marker.path().file_name().unwrap().to_str().unwrap();
    for dir in ["/tmp", "/var/tmp"] {
        let script = format!("test -d {dir}/{name} && echo seen");
        let (with, without) = with_and_without(Defence::PrivateScratch, &script);
        assert_eq!((with.as_str(), without.as_str()), ("", "seen\n"), "{dir}");
    }
}

#[test]
fn process_limits_and_core_dumps_are_the_host_s_without_their_defences() {
    need_root!();
    let limits = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..]
            .split_whitespace()
            .next()
            .unwrap()
            .to_owned()
    };
    let (with, without) = with_and_without(Defence::ProcessLimits, "cat /proc/self/limits");
    assert_eq!(limits(&with, "Max open files"), "16384");
    assert_ne!(
        limits(&without, "Max msgqueue size"),
        limits(&with, "Max msgqueue size").clone() + "0"
    );
    assert_eq!(limits(&with, "Max realtime priority"), "0");
    let (with, without) = with_and_without(Defence::NoCoreDumps, "cat /proc/self/limits");
    assert_eq!(limits(&with, "Max core file size"), "1");
    assert_ne!(limits(&without, "Max core file size"), "1");
}

#[test]
fn a_job_outgrows_a_bound_only_without_it() {
    need_root!();
    if !caravan_sandbox::probe().is_ok_and(|found| found.pids_limit) {
        println!("SKIPPED: this host cannot bound the processes of a job");
        return;
    }
    let forks = |defences: &[Defence]| {
        let store = Store::new();
        let script = "for i in 1 2 3 4 5 6 7 8; do sleep 600 & done; echo all";
        let mut spec = store.sh("job", script);
        spec.limits.pids = 6;
        said(&without(set(defences)), &spec)
    };
    assert!(!forks(&[]).contains("all"));
    assert!(forks(&[Defence::ProcessCountLimit]).contains("all"));
}

#[test]
fn calls_of_other_architectures_end_the_process() {
    need_root!();
    if cfg!(not(target_arch = "x86_64")) {
        return;
    }
    let store = Store::new();
    let launcher = without(Defences::NONE);
    let mut running = launcher
        .start(&store.spec("old", &["attempts", "x86"]))
        .unwrap();
    assert_eq!(output(&mut running), "");
    assert_eq!(running.wait().unwrap().status, Status::Signal(31));
    assert!(Path::new("/proc/self").exists());
}

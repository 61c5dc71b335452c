//! What a hostile job tries, and does not get.

use std::{fs, net::TcpListener};

use caravan_sandbox::Sandbox as _;

use crate::support::{Store, is_rootless, launcher, need_root, output, run_well};

#[test]
fn every_forbidden_call_is_refused() {
    need_root!();
    let store = Store::new();
    let text = run_well(&store.spec("calls", &["attempts", "calls"]));
    let mut seen = 0;
    for line in text.lines() {
        let (name, errno) = line.split_once(' ').unwrap();
        let wanted: &[i32] = match name {
            // A library must fall back to what can be filtered.
            "clone3" | "unknown" | "io_setup" | "landlock" => &[libc::ENOSYS],
            // A family that this kernel does not have; `groupadd` needs just that answer.
            "vsock" | "alg" | "packet" | "raw" | "raw6" | "sctp" | "seqpacket" | "mptcp6"
            | "netfilter" | "audit" => &[libc::EAFNOSUPPORT],
            _ => &[libc::EPERM],
        };
        assert!(wanted.contains(&errno.parse().unwrap()), "{line}");
        seen += 1;
    }
    assert_eq!(seen, 50, "{text}");
}

#[test]
fn the_same_calls_are_refused_where_set_user_id_programs_work() {
    need_root!();
    let store = Store::new();
    let mut spec = store.spec("suid", &["attempts", "calls"]);
    spec.setuid_inside = true;
    assert!(run_well(&spec).lines().all(|line| !line.ends_with(" 0")));
}

#[test]
fn threads_start_although_the_newest_call_for_them_is_unknown() {
    need_root!();
    let store = Store::new();
    assert_eq!(
        run_well(&store.spec("threads", &["attempts", "threads"])),
        "42\n"
    );
}

#[test]
fn no_descriptor_of_the_host_is_inside() {
    need_root!();
    let store = Store::new();
    let text = run_well(&store.spec("fds", &["ls", "-l", "/proc/self/fd"]));
    let targets: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once(" -> ").map(|(_, to)| to))
        .collect();
    assert_eq!(targets.len(), 4, "{text}");
    assert_eq!(targets[0], "/dev/null");
    assert!(
        targets[1].starts_with("pipe:") && targets[1] == targets[2],
        "{text}"
    );
    // The one that `ls` itself opened to look.
    assert!(targets[3].starts_with("/proc/"), "{text}");
}

#[test]
fn init_cannot_be_looked_at() {
    need_root!();
    let store = Store::new();
    let script = "ls /proc/1/fd; ls -l /proc/1/exe; cat /proc/1/environ; cat /proc/1/maps; \
                  head -c 1 /proc/1/mem; ls /proc/1/root; cat /proc/1/cmdline";
    let text = {
        let mut running = launcher().start(&store.sh("init", script)).unwrap();
        output(&mut running)
    };
    // What an ordinary user's node leaves to be seen are the numbers of init's descriptors.
    let refused = if is_rootless() { 5 } else { 6 };
    assert_eq!(text.matches("Permission denied").count(), refused, "{text}");
    assert!(
        text.trim_end_matches('\0')
            .ends_with("sandbox-helper\0caravan-sandbox-helper"),
        "{text}"
    );
}

#[test]
fn processes_mounts_and_groups_of_the_host_are_not_seen() {
    need_root!();
    let store = Store::new();
    let text = run_well(&store.sh(
        "seen",
        "cat /proc/self/mountinfo /proc/self/cgroup; ls /proc",
    ));
    assert!(
        !text.contains(&*store.dir.path().to_string_lossy()),
        "{text}"
    );
    assert!(!text.contains("caravan-"), "{text}");
    let read_only = |at: &str| {
        text.lines()
            .any(|line| line.contains(&format!(" {at} ro,")))
    };
    for at in ["/sys", "/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs"] {
        assert!(read_only(at), "{at}: {text}");
    }
    let pids: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    assert!(
        pids.iter().all(|pid| *pid < 100) && pids.contains(&1),
        "{pids:?}"
    );
}

#[test]
fn what_proc_tells_about_the_host_is_covered() {
    need_root!();
    let store = Store::new();
    let script = "for f in keys timer_list kcore interrupts kallsyms cmdline diskstats locks \
                  partitions swaps softirqs; do \
                  test -e /proc/$f && head -c 1 /proc/$f; done; \
                  echo 1 > /proc/sysrq-trigger; echo x > /proc/sys/kernel/hostname; \
                  echo 1 > /proc/sys/vm/drop_caches; ls /sys; echo x > /sys/x; echo x > /proc/acpi/x; \
                  echo some 150000 1000000 > /proc/pressure/cpu";
    let mut running = launcher().start(&store.sh("proc", script)).unwrap();
    let text = output(&mut running);
    assert_eq!(text.lines().count(), 6, "{text}");
    assert_eq!(text.matches("cannot create").count(), 6, "{text}");
}

#[test]
fn without_network_there_is_only_the_loopback_of_the_job() {
    need_root!();
    let store = Store::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let text = run_well(&store.spec("alone", &["cat", "/proc/net/dev"]));
    let interfaces: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once(':').map(|(name, _)| name.trim()))
        .collect();
    assert_eq!(interfaces, ["lo"]);
    let text = run_well(&store.spec("reach", &["attempts", "connect", &port]));
    // Refused and not unreachable: the job's own loopback is up.
    assert!(text.contains("refused"), "{text}");
}

#[test]
fn the_host_s_root_is_nobody_inside() {
    need_root!();
    let store = Store::new();
    let host = store.layer("host");
    fs::write(host.join("foreign"), "secret").unwrap();
    std::os::unix::fs::chown(host.join("foreign"), Some(70_000), Some(70_000)).unwrap();
    fs::set_permissions(
        host.join("foreign"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    let mut spec = store.sh("foreign", "cat /foreign; chown 0 /foreign; true");
    spec.root.lowers.push("host".into());
    let text = run_well(&spec);
    assert!(!text.contains("secret"), "{text}");
}

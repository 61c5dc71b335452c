//! What a command finds, may do and leaves, whoever starts it.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    time::{Duration, Instant},
};

use caravan_sandbox::{Bind, Error, GATE_PORT, Limit, Network, SecretFile, Status};

use super::places::{Place, each_place};
use crate::support::{is_rootless, opaque, output};

each_place!(
    user_directory_and_variables_are_as_asked,
    codes_signals_and_missing_programs_are_told,
    owners_in_the_upper_directory_are_those_inside,
    what_is_removed_or_replaced_is_marked,
    set_user_id_programs_gain_only_where_it_was_asked_for,
    there_is_no_network_but_a_loopback_that_is_up,
    a_gate_is_served_from_outside,
    secrets_are_for_their_user_alone,
    binds_are_written_only_where_they_may_be,
    scratch_is_empty_private_and_gone,
    too_much_memory_is_told,
    too_many_processes_are_told,
    too_much_disk_is_told,
    processor_time_is_bounded,
    a_kill_ends_all_processes_within_a_second,
    orphans_are_buried_and_end_with_the_command,
    no_forbidden_call_goes_through,
    package_managers_calls_go_through,
    only_three_descriptors_are_open,
    nothing_of_the_host_is_seen,
    init_has_no_mounts_of_the_host,
    no_working_directory_is_a_descriptor,
    processes_have_limits_of_their_own,
    what_cannot_start_is_refused_and_leaves_nothing,
);

fn user_directory_and_variables_are_as_asked(place: &Place) {
    let script = "id -u; id -g; id -G; cat /etc/hostname; \
                  cat /proc/sys/kernel/hostname; echo $0 $1; echo $HOME:$EMPTY:$A; \
                  stat -c '%u %a' /made/for/it; cat /proc/self/uid_map";
    let mut spec = place.store.sh("as-asked", script);
    spec.argv
        .extend(["zero".to_owned(), "a b  'c'\n$d".to_owned()]);
    (spec.uid, spec.gid) = (1_000, 1_001);
    spec.cwd = "/made/for/it".into();
    "the-host".clone_into(&mut spec.hostname);
    spec.env.retain(|(name, _)| name == "PATH");
    let variables = [("HOME", "/h o m e"), ("EMPTY", ""), ("A", "=b\nc")];
    spec.env
        .extend(variables.map(|(k, v)| (k.to_owned(), v.to_owned())));
    let text = place.well(&spec);
    let (rest, map) = text.trim_end().rsplit_once('\n').unwrap();
    let wanted = "1000\n1001\n1001\nthe-host\nthe-host\nzero a b 'c' $d\n/h o m e::=b c\n0 755";
    assert_eq!(rest, wanted, "{text}");
    let map: Vec<&str> = map.split_whitespace().collect();
    // An ordinary user's node has no other ids to give than its namespace's own.
    let base: u32 = map[1].parse().unwrap();
    assert_eq!(map, ["0", &base.to_string(), "65536"]);
    assert_eq!(base == 0, is_rootless());
}

fn codes_signals_and_missing_programs_are_told(place: &Place) {
    let ends = [
        ("seven", "exit 7", Status::Code(7)),
        ("term", "kill -TERM $$; sleep 60", Status::Signal(15)),
        ("kill", "kill -KILL $$; sleep 60", Status::Signal(9)),
        ("int", "kill -INT $$; sleep 60", Status::Signal(2)),
    ];
    for (job, script, wanted) in ends {
        let (exit, text) = place.run(&place.store.sh(job, script));
        assert_eq!((exit.status, exit.limit), (wanted, None), "{job}: {text}");
    }
    let missing = place.store.spec("missing", &["no-such-program"]);
    let (exit, text) = place.run(&missing);
    assert_eq!(exit.status, Status::Code(127), "{text}");
    assert!(
        text.contains("no-such-program") && text.contains("No such file"),
        "{text}"
    );
    let (exit, text) = place.run(&place.store.spec("inert", &["/etc/old"]));
    assert_eq!(exit.status, Status::Code(126), "{text}");
    assert!(text.contains("/etc/old"), "{text}");
    let base = place.store.layer("closed-base");
    fs::create_dir(base.join("shut")).unwrap();
    fs::set_permissions(base.join("shut"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(base.join("mine"), "#!/bin/sh\necho started\n").unwrap();
    fs::set_permissions(base.join("mine"), fs::Permissions::from_mode(0o700)).unwrap();
    for (job, argv, cwd) in [("mine", "/mine", "/"), ("shut", "true", "/shut")] {
        let mut spec = place.store.spec(job, &[argv]);
        spec.root.lowers.push("closed-base".into());
        (spec.uid, spec.gid, spec.cwd) = (1_000, 1_000, cwd.into());
        let (exit, text) = place.run(&spec);
        assert_eq!(exit.status, Status::Code(126), "{job}: {text}");
        assert!(text.contains("Permission denied"), "{job}: {text}");
    }
    let mut nowhere = place.store.sh("nowhere", "true");
    nowhere.cwd = "/etc/old".into();
    let (exit, text) = place.run(&nowhere);
    assert_eq!(exit.status, Status::Code(126), "{text}");
    assert!(text.contains("/etc/old"), "{text}");
}

fn owners_in_the_upper_directory_are_those_inside(place: &Place) {
    let script = "echo a > /etc/a && chown 1000:100 /etc/a && chmod 4755 /etc/a && mkdir -p /srv/b \
                  && chown 65535 /srv/b && stat -c '%u %g' /etc/old";
    assert_eq!(place.well(&place.store.sh("owners", script)), "0 0\n");
    let upper = place.store.upper("owners");
    let a = fs::metadata(upper.join("etc/a")).unwrap();
    assert_eq!((a.uid(), a.gid(), a.mode() & 0o7777), (1000, 100, 0o4755));
    let b = fs::metadata(upper.join("srv/b")).unwrap();
    assert_eq!((b.uid(), b.gid()), (65_535, 0));
    let top: Vec<_> = fs::read_dir(&upper)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(top.len(), 2, "{top:?}");
}

fn what_is_removed_or_replaced_is_marked(place: &Place) {
    fs::create_dir(place.store.path("base/dir")).unwrap();
    fs::write(place.store.path("base/dir/hidden"), "").unwrap();
    let script = "rm /etc/old && rm -r /dir && mkdir /dir && echo x > /dir/seen && ls /dir";
    assert_eq!(place.well(&place.store.sh("marks", script)), "seen\n");
    let upper = place.store.upper("marks");
    let whiteout = fs::symlink_metadata(upper.join("etc/old")).unwrap();
    assert!(whiteout.file_type().is_char_device());
    assert_eq!(whiteout.rdev(), 0);
    let mut value = [0_u8; 8];
    let len = rustix::fs::lgetxattr(upper.join("dir"), opaque(), &mut value);
    assert_eq!(&value[..len.unwrap()], b"y");
    assert!(place.store.path("base/etc/old").exists());
}

fn set_user_id_programs_gain_only_where_it_was_asked_for(place: &Place) {
    let id = place.store.path("base/bin/id");
    fs::set_permissions(&id, fs::Permissions::from_mode(0o4755)).unwrap();
    for (job, setuid_inside, wanted) in [("plain", false, "1000\n"), ("gains", true, "0\n")] {
        let mut spec = place.store.spec(job, &["id", "-u"]);
        (spec.uid, spec.gid) = (1_000, 1_000);
        spec.setuid_inside = setuid_inside;
        assert_eq!(place.well(&spec), wanted, "{job}");
    }
    // The one that gains has no more than root of the job.
    let mut spec = place.store.spec("root", &["attempts", "calls"]);
    spec.setuid_inside = true;
    let text = place.well(&spec);
    assert!(
        text.lines().count() > 40 && text.lines().all(|line| !line.ends_with(" 0")),
        "{text}"
    );
}

fn there_is_no_network_but_a_loopback_that_is_up(place: &Place) {
    let outside = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = outside.local_addr().unwrap().port().to_string();
    let script = format!("attempts connect {port}; cat /proc/net/dev; cat /proc/net/route");
    let text = place.well(&place.store.sh("alone", &script));
    // Refused by the job's own loopback; without one that is up it would be unreachable.
    assert!(text.starts_with("Connection refused"), "{text}");
    let interfaces = text.lines().filter_map(|line| line.split_once(": "));
    let names: Vec<&str> = interfaces.map(|(name, _)| name.trim()).collect();
    assert_eq!(names, ["lo"], "{text}");
}

fn a_gate_is_served_from_outside(place: &Place) {
    let mut spec = place
        .store
        .spec("gate", &["attempts", "say", &GATE_PORT.to_string()]);
    spec.network = Network::Gate;
    let mut running = place.sandbox.start(&spec).unwrap();
    let gate: TcpListener = running.take_gate().unwrap().into();
    let (mut there, _) = gate.accept().unwrap();
    let mut heard = [0; 5];
    there.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
    there.write_all(b"and back").unwrap();
    drop(there);
    assert_eq!(output(&mut running), "and back\n");
    assert_eq!(running.wait().unwrap().status, Status::Code(0));
}

fn secrets_are_for_their_user_alone(place: &Place) {
    let secret = |value: &str| SecretFile {
        target: "/home/me/.secret".into(),
        value: value.as_bytes().to_vec().into(),
    };
    let script = "cat /home/me/.secret; stat -c ' %u %a' /home/me/.secret; \
                  echo x > /home/me/.secret; rm -f /home/me/.secret; mv /home/me/.secret /x";
    let mut spec = place.store.sh("secret", script);
    (spec.uid, spec.gid) = (1_000, 1_000);
    spec.secrets.push(secret("hunter2"));
    let (exit, text) = place.run(&spec);
    assert!(text.starts_with("hunter2 1000 400\n"), "{text}");
    assert_ne!(exit.status, Status::Code(0), "{text}");
    // Only root of the job may become others; the secret is not theirs.
    let script = "attempts as 1000 cat /home/me/.secret; attempts as 1001 cat /home/me/.secret";
    let mut spec = place.store.sh("others", script);
    spec.secrets.push(secret("hunter3"));
    let (_, text) = place.run(&spec);
    assert!(!text.contains("hunter3"), "{text}");
    for job in ["secret", "others"] {
        let upper = place.store.upper(job);
        assert_eq!(fs::read_dir(upper).unwrap().count(), 0, "{job}");
    }
}

fn binds_are_written_only_where_they_may_be(place: &Place) {
    let (input, cache) = (place.store.layer("input"), place.store.layer("cache"));
    fs::write(input.join("file"), "input").unwrap();
    let script = "cat /in/file; echo kept > /home/me/cache/file || exit 9; \
                  echo x > /in/file; echo x > /in/new; rm -f /in/file; chmod 777 /in";
    let mut spec = place.store.sh("binds", script);
    spec.binds = [(&input, "/in", true), (&cache, "/home/me/cache", false)]
        .map(|(source, target, read_only)| Bind {
            source: source.clone(),
            target: target.into(),
            read_only,
        })
        .to_vec();
    let (exit, text) = place.run(&spec);
    assert!(
        text.starts_with("input") && exit.status == Status::Code(1),
        "{text}"
    );
    assert_eq!(text.matches("Read-only file system").count(), 4, "{text}");
    assert_eq!(fs::read_to_string(input.join("file")).unwrap(), "input");
    let kept = fs::metadata(cache.join("file")).unwrap();
    assert_eq!((kept.uid(), kept.gid()), (0, 0));
    assert_eq!(fs::read_dir(place.store.upper("binds")).unwrap().count(), 0);
}

fn scratch_is_empty_private_and_gone(place: &Place) {
    let script = "ls -A /tmp /var/tmp /run | head -c 100; echo x > /tmp/a && echo x > /run/b \
                  && stat -c '%a %u' /tmp /run /dev/shm && echo x > /dev/shm/c";
    let mut spec = place.store.sh("scratch", script);
    let (exit, text) = place.run(&spec);
    assert_eq!(exit.status, Status::Code(0), "{text}");
    assert_eq!(text, "/run:\n\n/tmp:\n\n/var/tmp:\n1777 0\n755 0\n1777 0\n");
    assert_eq!(
        fs::read_dir(place.store.upper("scratch")).unwrap().count(),
        0
    );
    spec = place.store.sh("kept", "echo x > /tmp/a");
    spec.scratch = false;
    place.well(&spec);
    assert!(place.store.upper("kept").join("tmp/a").exists());
}

fn too_much_memory_is_told(place: &Place) {
    if !has("memory", |found| found.memory_limit) {
        return;
    }
    let mut spec = place.store.spec("bomb", &["attempts", "eat"]);
    spec.limits.memory_bytes = 96 << 20;
    let (exit, text) = place.run(&spec);
    assert_eq!(
        (exit.status, exit.limit),
        (Status::Signal(9), Some(Limit::Memory)),
        "{text}"
    );
    assert!(text.contains("64\n") && !text.contains("\n112\n"), "{text}");
    assert!(
        (64 << 20..=97 << 20).contains(&exit.peak_memory_bytes),
        "{exit:?}"
    );
}

fn too_many_processes_are_told(place: &Place) {
    if !has("processes", |found| found.pids_limit) {
        return;
    }
    let mut spec = place.store.spec("forks", &["attempts", "fork"]);
    spec.limits.pids = 20;
    let (exit, text) = place.run(&spec);
    let refused: u64 = text.trim().rsplit_once(' ').unwrap().1.parse().unwrap();
    // Init and the command are two of them. A runtime's own threads are counted until the command
    // runs, so there are some more in its first moment.
    let most = if place.runtime.is_some() { 18 + 32 } else { 18 };
    assert!((18..=most).contains(&refused), "{text}");
    assert_eq!(
        (exit.status, exit.limit),
        (Status::Code(0), Some(Limit::Pids))
    );
}

fn too_much_disk_is_told(place: &Place) {
    let script = "while head -c 1000000 /dev/zero >> /big; do :; done; sleep 600";
    let mut spec = place.store.sh("fill", script);
    spec.limits.disk_bytes = 8 << 20;
    let (exit, text) = place.run(&spec);
    assert_eq!(
        (exit.status, exit.limit),
        (Status::Signal(9), Some(Limit::Disk)),
        "{text}"
    );
}

fn processor_time_is_bounded(place: &Place) {
    if !has("processor time", |found| found.cpu_limit) {
        return;
    }
    let mut spec = place.store.sh("busy", "while true; do :; done");
    spec.limits.wall_ms = 1_000;
    spec.limits.cpu_millis = Some(100);
    let (exit, _) = place.run(&spec);
    assert_eq!(exit.limit, Some(Limit::WallClock));
    // A tenth of a second, a period more for where it began, and what a runtime took to start.
    assert!((20..600).contains(&exit.cpu_ms), "{exit:?}");
}

fn a_kill_ends_all_processes_within_a_second(place: &Place) {
    let script =
        "trap '' TERM HUP INT; for i in 1 2 3; do (sleep 600 &) ; done; echo ready; sleep 600";
    let mut running = place
        .sandbox
        .start(&place.store.sh("killed", script))
        .unwrap();
    let mut reader = BufReader::new(fs::File::from(running.take_output().unwrap()));
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let begun = Instant::now();
    running.kill();
    let exit = running.wait().unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!((exit.status, exit.limit), (Status::Signal(9), None));
    // The pipe has ended, so every process that had it is gone.
    assert_eq!(reader.read_line(&mut line).unwrap(), 0);
}

fn orphans_are_buried_and_end_with_the_command(place: &Place) {
    // A zombie that nobody waits for would show in the last list.
    let script = "(true & true) & wait; (sh -c 'sleep 0.01' &); sleep 0.2; \
                  cat /proc/[0-9]*/stat | head -c 4000; (sleep 600 &); exit 3";
    let begun = Instant::now();
    let (exit, text) = place.run(&place.store.sh("orphans", script));
    assert_eq!(exit.status, Status::Code(3), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert!(!text.contains(") Z "), "{text}");
}

fn no_forbidden_call_goes_through(place: &Place) {
    let text = place.well(&place.store.spec("calls", &["attempts", "calls"]));
    assert!(text.lines().count() > 40, "{text}");
    for line in text.lines() {
        let (name, errno) = line.split_once(' ').unwrap();
        let wanted: &[i32] = match name {
            "clone3" | "unknown" | "io_setup" | "landlock" => &[libc::ENOSYS],
            "vsock" | "alg" | "packet" | "raw" | "raw6" | "sctp" | "seqpacket" | "mptcp6"
            | "netfilter" | "audit" => &[libc::EAFNOSUPPORT],
            _ => &[libc::EPERM],
        };
        assert!(wanted.contains(&errno.parse().unwrap()), "{line}");
    }
}

fn package_managers_calls_go_through(place: &Place) {
    let script = "attempts threads && mkdir /r && chown 5:5 /r && chmod 2775 /r && mv /etc/old /r/new \
                  && stat -c '%u %g %a' /r && ls /dev && cat /dev/null && head -c 1 /dev/zero > /r/z \
                  && echo said > /dev/stdout";
    let text = place.well(&place.store.sh("works", script));
    assert!(text.starts_with("42\n5 5 2775\n"), "{text}");
    assert!(text.ends_with("said\n"), "{text}");
    let devices: Vec<&str> = text
        .lines()
        .skip(2)
        .filter(|line| *line != "said")
        .collect();
    let wanted = [
        "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
        "urandom", "zero",
    ];
    assert_eq!(devices, wanted);
}

fn only_three_descriptors_are_open(place: &Place) {
    let text = place.well(&place.store.spec("fds", &["ls", "-l", "/proc/self/fd"]));
    let targets: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once(" -> ").map(|(_, to)| to))
        .collect();
    // The last is the one that `ls` itself opened to look.
    assert_eq!(targets.len(), 4, "{text}");
    // runc opens it no second time, so that it shows as in the mount of init's that is gone.
    let null = match place.runtime {
        Some("runc") => "/null",
        _ => "/dev/null",
    };
    assert!(targets[0].ends_with(null), "{text}");
    assert!(
        targets[1].starts_with("pipe:") && targets[1] == targets[2],
        "{text}"
    );
    assert!(targets[3].starts_with("/proc/"), "{text}");
}

fn nothing_of_the_host_is_seen(place: &Place) {
    let script = "cat /proc/self/mountinfo /proc/self/cgroup /proc/1/cgroup; ls /sys; \
                  ls /proc/1/root /proc/1/fd; cat /proc/1/environ; \
                  echo 1 > /proc/sysrq-trigger; echo x > /proc/sys/kernel/hostname; \
                  echo numbers; ls /proc";
    let (_, text) = place.run(&place.store.sh("seen", script));
    let store = place.store.dir.path().to_string_lossy().into_owned();
    for secret in [store.as_str(), "caravan-", "runc", "crun"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    // What an ordinary user's node leaves to be seen are the numbers of init's descriptors.
    let refused = if is_rootless() { 2 } else { 3 };
    assert_eq!(text.matches("Permission denied").count(), refused, "{text}");
    assert_eq!(text.matches("cannot create").count(), 2, "{text}");
    for at in ["/sys", "/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs"] {
        let line = text
            .lines()
            .find(|line| line.contains(&format!(" {at} ro,")));
        assert!(line.is_some(), "{at}: {text}");
    }
    let (_, numbers) = text.split_once("numbers\n").unwrap();
    let pids: Vec<u32> = numbers
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    assert!(pids.contains(&1) && pids.len() <= 4, "{pids:?}");
}

fn init_has_no_mounts_of_the_host(place: &Place) {
    let go = place.store.path("go");
    rustix::fs::mkfifoat(rustix::fs::CWD, &go, rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
    let mut spec = place.store.sh("mounts", "cat /go /proc/1/mountinfo");
    spec.binds.push(Bind {
        source: go.clone(),
        target: "/go".into(),
        read_only: true,
    });
    let mut running = place.sandbox.start(&spec).unwrap();
    // Ends the wait of a command that has begun before init was told so.
    fs::write(&go, "mounts\n").unwrap();
    let text = output(&mut running);
    assert_eq!(running.wait().unwrap().status, Status::Code(0), "{text}");
    let (_, mounts) = text.split_once("mounts\n").unwrap();
    assert!(mounts.contains(" / / "), "{mounts}");
    if place.runtime.is_some() {
        assert_eq!(mounts.lines().count(), 1, "{mounts}");
    }
    // What the job was lent shows where it comes from, as far as its own file system.
    let store = place.store.dir.path().to_string_lossy().into_owned();
    let mut others = mounts.lines().filter(|line| !line.contains(" /go "));
    assert!(others.all(|line| !line.contains(&store)), "{mounts}");
}

fn no_working_directory_is_a_descriptor(place: &Place) {
    let base = place.store.layer("ways");
    let mut ways: Vec<_> = (3..40).map(|fd| format!("/proc/self/fd/{fd}")).collect();
    ways.push("/proc/self".into());
    for (index, way) in ways.iter().enumerate() {
        let link = format!("way{index}");
        std::os::unix::fs::symlink(way, base.join(&link)).unwrap();
        for (job, cwd) in [("direct", way.clone()), ("linked", format!("/{link}"))] {
            let mut spec = place.store.sh(&format!("{job}-{index}"), "echo in; ls");
            spec.root.lowers.push("ways".into());
            spec.cwd = cwd.into();
            match (place.sandbox.start(&spec), place.runtime) {
                (Err(Error::Refused(told)), Some(_)) => assert!(told.contains("/proc"), "{told}"),
                (Ok(mut running), None) if way == "/proc/self" => {
                    running.wait().unwrap();
                }
                (Ok(mut running), _) => {
                    let text = output(&mut running);
                    assert!(
                        text.contains("enter the working directory"),
                        "{way}: {text}"
                    );
                    assert_eq!(running.wait().unwrap().status, Status::Code(126), "{text}");
                }
                (other, _) => panic!("{way}: {other:?}"),
            }
            if index % 6 != 0 && way != "/proc/self" {
                break;
            }
        }
    }
}

fn processes_have_limits_of_their_own(place: &Place) {
    let mut spec = place.store.sh("own", "cat /proc/self/limits");
    spec.limits.disk_bytes = 64 << 20;
    spec.limits.cpu_ms = Some(1_500);
    let text = place.well(&spec);
    let limit = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        let mut values = line[name.len()..].split_whitespace();
        values.next().unwrap().to_owned()
    };
    assert_eq!(limit("Max file size"), (64 << 20).to_string(), "{text}");
    assert_eq!(limit("Max cpu time"), "3", "{text}");
}

fn what_cannot_start_is_refused_and_leaves_nothing(place: &Place) {
    let mut spec = place.store.sh("bad-bind", "true");
    spec.binds.push(Bind {
        source: "/no/such/place".into(),
        target: "/in".into(),
        read_only: true,
    });
    let refused = place.sandbox.start(&spec);
    let Err(Error::Refused(told)) = refused else {
        panic!("{refused:?}");
    };
    assert!(told.contains("/no/such/place"), "{told}");
    let mut spec = place.store.sh("little", "true");
    spec.limits.memory_bytes = 8 << 20;
    match (place.runtime, place.sandbox.start(&spec)) {
        (None, Ok(mut running)) => assert_eq!(running.wait().unwrap().status, Status::Code(0)),
        (Some(runtime), Err(Error::Refused(told))) => {
            assert!(told.contains(runtime) && told.contains("MiB"), "{told}");
        }
        (_, other) => panic!("{other:?}"),
    }
    for job in ["bad-bind", "little"] {
        assert_eq!(
            fs::read_dir(place.store.upper(job)).unwrap().count(),
            0,
            "{job}"
        );
    }
}

fn has(what: &str, ability: impl Fn(&caravan_sandbox::Abilities) -> bool) -> bool {
    let has = caravan_sandbox::probe().is_ok_and(|found| ability(&found));
    if !has {
        println!("SKIPPED: this host cannot bound the {what} of a job as a whole");
    }
    has
}

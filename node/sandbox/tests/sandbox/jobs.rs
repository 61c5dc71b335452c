//! What a job sees and leaves: its root, its owners, its upper directory.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink},
};

use caravan_sandbox::{Bind, Error, Status};

use crate::support::{Store, is_rootless, need_root, opaque, run, run_well};

#[test]
fn a_command_s_code_and_output_come_back() {
    need_root!();
    let store = Store::new();
    let (exit, text) = run(&store.sh("code", "echo out; echo err >&2; exit 7")).unwrap();
    assert_eq!(
        (exit.status, text.as_str()),
        (Status::Code(7), "out\nerr\n")
    );
    let (exit, _) = run(&store.sh("signal", "kill -TERM $$")).unwrap();
    assert_eq!(exit.status, Status::Signal(15));
}

#[test]
fn root_inside_is_an_ordinary_user_outside() {
    need_root!();
    let store = Store::new();
    let text = run_well(&store.sh("ids", "id -u; cat /proc/self/uid_map"));
    let map: Vec<&str> = text.split_whitespace().collect();
    let base: u32 = map[2].parse().unwrap();
    assert_eq!(map, ["0", "0", &base.to_string(), "65536"]);
    // An ordinary user's node has no other ids to give than its namespace's own.
    assert_eq!(base == 0, is_rootless());
    assert!(base == 0 || base > 1 << 30, "{base}");
}

#[test]
fn writes_land_in_the_upper_directory_with_inside_owners() {
    need_root!();
    let store = Store::new();
    let script = "echo new > /etc/new && chown 1000:100 /etc/new && chmod 4755 /etc/new \
                  && mkdir -p /srv/a/b && rm /etc/old && ls /etc && cat /bin/true > /dev/null";
    let text = run_well(&store.sh("writes", script));
    assert!(!text.contains("old"), "{text}");
    let upper = store.upper("writes");
    let new = fs::metadata(upper.join("etc/new")).unwrap();
    assert_eq!(
        (new.uid(), new.gid(), new.mode() & 0o7777),
        (1000, 100, 0o4755)
    );
    assert_eq!(fs::metadata(upper.join("srv/a/b")).unwrap().uid(), 0);
    let whiteout = fs::symlink_metadata(upper.join("etc/old")).unwrap();
    assert!(whiteout.file_type().is_char_device());
    assert_eq!(whiteout.rdev(), 0);
    assert_eq!(
        fs::read_to_string(store.path("base/etc/old")).unwrap(),
        "old"
    );
}

#[test]
fn a_replaced_directory_is_opaque_and_nothing_else_is_marked() {
    need_root!();
    let store = Store::new();
    fs::create_dir(store.path("base/dir")).unwrap();
    fs::write(store.path("base/dir/hidden"), "").unwrap();
    run_well(&store.sh("opaque", "rm -r /dir && mkdir /dir && echo x > /dir/seen"));
    let upper = store.upper("opaque");
    let mut value = [0_u8; 8];
    let dir = upper.join("dir");
    let len = rustix::fs::lgetxattr(&dir, opaque(), &mut value).unwrap();
    assert_eq!(&value[..len], b"y");
    let names: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["seen"]);
}

#[test]
fn mount_points_and_scratch_leave_nothing_in_the_upper_directory() {
    need_root!();
    let store = Store::new();
    let cache = store.layer("cache");
    let mut spec = store.sh(
        "clean",
        "echo x > /tmp/a; echo x > /run/b; echo x > /home/me/cache/c",
    );
    let target = "/home/me/cache".into();
    spec.binds.push(Bind {
        source: cache.clone(),
        target,
        read_only: false,
    });
    run_well(&spec);
    assert_eq!(fs::read_dir(store.upper("clean")).unwrap().count(), 0);
    let kept = fs::metadata(cache.join("c")).unwrap();
    assert_eq!((kept.uid(), kept.gid()), (0, 0));
    // Whatever the overlay has left in the work directory, its maker can remove it.
    fs::remove_dir_all(store.path("clean.work")).unwrap();
}

#[test]
fn a_read_only_bind_cannot_be_written() {
    need_root!();
    let store = Store::new();
    let source = store.layer("inputs");
    fs::write(source.join("file"), "input").unwrap();
    let mut spec = store.sh(
        "binds",
        "cat /in/file /one; echo x > /in/file; echo x > /one",
    );
    let bind = |source, target: &str| Bind {
        source,
        target: target.into(),
        read_only: true,
    };
    spec.binds = vec![
        bind(source.clone(), "/in"),
        bind(source.join("file"), "/one"),
    ];
    let (exit, text) = run(&spec).unwrap();
    assert!(
        matches!(exit.status, Status::Code(code) if code != 0),
        "{text}"
    );
    assert!(text.starts_with("inputinput"), "{text}");
    assert_eq!(text.matches("Read-only").count(), 2, "{text}");
    assert_eq!(fs::read_to_string(source.join("file")).unwrap(), "input");
}

#[test]
fn a_bind_through_a_hostile_link_stays_inside() {
    need_root!();
    let store = Store::new();
    fs::create_dir(store.path("base/trap")).unwrap();
    // The host has /var/lib and the root has not.
    symlink("/var", store.path("base/trap/link")).unwrap();
    let source = store.layer("source");
    let mut spec = store.sh("trap", "true");
    let target = "/trap/link/lib".into();
    spec.binds = vec![Bind {
        source,
        target,
        read_only: true,
    }];
    let refused = run(&spec);
    assert!(matches!(&refused, Err(Error::Refused(what)) if what.contains("/trap/link/lib")));
}

#[test]
fn a_root_whose_proc_is_a_link_is_refused() {
    need_root!();
    for name in ["proc", "dev", "sys", "run", "tmp"] {
        let store = Store::new();
        symlink("etc", store.path("base").join(name)).unwrap();
        let refused = run(&store.sh("link", "true"));
        let named = |what: &str| what.contains(&format!("/{name} "));
        assert!(
            matches!(&refused, Err(Error::Refused(what)) if named(what)),
            "{refused:?}"
        );
    }
}

#[test]
fn another_user_has_its_own_files_and_no_capabilities() {
    need_root!();
    let store = Store::new();
    let home = store.path("base/home");
    fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(1000), Some(1000)).unwrap();
    let script = "id -u; id -g; pwd; echo x > /home/mine; echo y > /dev/stdout; \
                  cat /proc/self/status | while read k v; do case $k in CapEff:|CapBnd:|NoNewPrivs:) echo $k $v;; esac; done";
    let mut spec = store.sh("user", script);
    (spec.uid, spec.gid) = (1000, 1000);
    spec.cwd = "/home".into();
    let text = run_well(&spec);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..4], ["1000", "1000", "/home", "y"]);
    assert!(lines.contains(&"CapEff: 0000000000000000"), "{text}");
    assert!(lines.contains(&"NoNewPrivs: 1"), "{text}");
    assert_eq!(
        fs::metadata(store.upper("user").join("home/mine"))
            .unwrap()
            .uid(),
        1000
    );
}

#[test]
fn set_user_id_programs_work_only_where_asked_for() {
    need_root!();
    let store = Store::new();
    let mode = fs::Permissions::from_mode(0o4755);
    fs::set_permissions(store.path("base/bin/id"), mode).unwrap();
    for (job, setuid_inside, user) in [("without", false, "1000\n"), ("with", true, "0\n")] {
        let mut spec = store.spec(job, &["id", "-u"]);
        (spec.uid, spec.gid, spec.setuid_inside) = (1000, 1000, setuid_inside);
        assert_eq!(run_well(&spec), user, "{job}");
    }
}

#[test]
fn two_hundred_layers_stack_in_order() {
    need_root!();
    let store = Store::new();
    let mut spec = store.sh("deep", "cat /same; ls /numbers");
    for number in 0..200 {
        let name = format!("a-layer-with-a-rather-long-name-{number:04}");
        let dir = store.layer(&name);
        fs::write(dir.join("same"), format!("{number}\n")).unwrap();
        fs::create_dir(dir.join("numbers")).unwrap();
        fs::write(dir.join("numbers").join(number.to_string()), "").unwrap();
        spec.root.lowers.push(name.into());
    }
    let text = run_well(&spec);
    assert_eq!(text.lines().next(), Some("199"));
    assert_eq!(text.lines().count(), 201);
}

#[test]
fn upper_and_work_may_be_outside_of_the_store() {
    need_root!();
    let (store, aside) = (Store::new(), Store::new());
    let mut spec = store.sh("aside", "echo x > /etc/new");
    spec.root.upper = aside.layer("up");
    spec.root.work = aside.layer("wk");
    run_well(&spec);
    assert!(aside.path("up/etc/new").is_file());
}

#[test]
fn names_that_look_like_options_are_only_names() {
    need_root!();
    let store = Store::new();
    let odd = "a:b,upperdir=c\\d";
    fs::write(store.layer(odd).join("odd"), "odd").unwrap();
    let mut spec = store.sh("odd", "cat /odd");
    spec.root.lowers.push(odd.into());
    assert_eq!(run_well(&spec), "odd");
}

#[test]
fn a_missing_layer_is_named() {
    need_root!();
    let store = Store::new();
    let mut spec = store.sh("missing", "true");
    spec.root.lowers.push("nowhere".into());
    let refused = run(&spec);
    assert!(matches!(&refused, Err(Error::Refused(what)) if what.contains("layer nowhere")));
}

#[test]
fn a_layer_that_is_a_link_is_refused() {
    need_root!();
    let store = Store::new();
    symlink("/etc", store.path("link")).unwrap();
    let mut spec = store.sh("linked", "true");
    spec.root.lowers.push("link".into());
    let refused = run(&spec);
    assert!(matches!(&refused, Err(Error::Refused(what)) if what.contains("layer link")));
}

#[test]
fn a_store_that_others_can_enter_is_refused() {
    need_root!();
    let store = Store::new();
    fs::set_permissions(store.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let refused = run(&store.sh("open", "true"));
    assert!(matches!(&refused, Err(Error::Refused(what)) if what.contains("chmod 700")));
}

#[test]
fn a_command_that_is_not_there_is_the_command_s_failure() {
    need_root!();
    let store = Store::new();
    let (exit, text) = run(&store.spec("absent", &["no-such-program"])).unwrap();
    assert_eq!(exit.status, Status::Code(127));
    assert!(text.contains("no-such-program"), "{text}");
    let (exit, _) = run(&store.spec("refused", &["/etc/old"])).unwrap();
    assert_eq!(exit.status, Status::Code(126));
}

#[test]
fn a_missing_working_directory_is_made_and_an_impossible_one_is_told() {
    need_root!();
    let store = Store::new();
    let mut spec = store.sh("cwd", "echo x > here");
    spec.cwd = "/src/project".into();
    run_well(&spec);
    assert!(store.upper("cwd").join("src/project/here").is_file());
    let mut spec = store.sh("nocwd", "true");
    spec.cwd = "/etc/old/x".into();
    let (exit, text) = run(&spec).unwrap();
    assert_eq!(exit.status, Status::Code(126));
    assert!(text.contains("/etc/old/x"), "{text}");
}

#[test]
fn host_name_and_hosts_are_the_job_s_own() {
    need_root!();
    let store = Store::new();
    let mut spec = store.sh(
        "names",
        "cat /proc/sys/kernel/hostname /etc/hostname /etc/hosts",
    );
    spec.hostname = "elsewhere".to_owned();
    let text = run_well(&spec);
    assert!(
        text.starts_with("elsewhere\nelsewhere\n127.0.0.1 localhost elsewhere\n"),
        "{text}"
    );
}

#[test]
fn the_environment_is_exactly_what_was_asked_for() {
    need_root!();
    let store = Store::new();
    let mut spec = store.spec("env", &["cat", "/proc/self/environ"]);
    spec.env = vec![("PATH".into(), "/bin".into()), ("A".into(), "b c=d".into())];
    assert_eq!(run_well(&spec), "PATH=/bin\0A=b c=d\0");
}

#[test]
fn a_read_only_bind_works_where_owners_cannot_be_mapped() {
    need_root!();
    let store = Store::new();
    let mut spec = store.sh("unmapped", "cat /version; stat -c %u /version");
    let (source, target) = ("/proc/version".into(), "/version".into());
    spec.binds = vec![Bind {
        source,
        target,
        read_only: true,
    }];
    let text = run_well(&spec);
    assert!(
        text.starts_with("Linux") && text.ends_with("\n65534\n"),
        "{text}"
    );
}

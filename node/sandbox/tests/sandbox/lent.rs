//! What a job is lent beside its root: layered directories and secrets.

use std::{
    fs,
    os::unix::fs::{MetadataExt, chown, symlink},
    path::PathBuf,
};

use caravan_sandbox::{Error, Layered, SecretFile, Spec, Status};

use crate::support::{Store, need_root, opaque, run, run_well};

const VALUE: &str = "correct horse battery staple";

fn secret(target: &str) -> SecretFile {
    SecretFile {
        target: target.into(),
        value: VALUE.as_bytes().to_vec().into(),
    }
}

/// A layered directory whose upper and work directories are new.
fn layered(store: &Store, name: &str, lowers: &[&str], target: &str) -> Layered {
    let upper = store.layer(&format!("{name}-up"));
    chown(upper, Some(1000), Some(1000)).unwrap();
    store.layer(&format!("{name}-wk"));
    Layered {
        lowers: lowers.iter().map(PathBuf::from).collect(),
        upper: format!("{name}-up").into(),
        work: format!("{name}-wk").into(),
        target: target.into(),
    }
}

fn as_user(mut spec: Spec) -> Spec {
    (spec.uid, spec.gid) = (1000, 1000);
    spec
}

fn entries(dir: PathBuf) -> Vec<String> {
    let names = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_secret_is_read_by_the_job_s_user_alone_and_leaves_nothing() {
    need_root!();
    let store = Store::new();
    let targets = [
        "/run/secrets/token",
        "/tmp/t",
        "/home/opam/.netrc",
        "/etc/old",
    ];
    let script = "set -e; for f in /run/secrets/token /tmp/t /home/opam/.netrc /etc/old; do \
                  cat $f; stat -c ' %a %u:%g' $f; done; stat -f -c %T /run/secrets/token; \
                  (echo x > /etc/old) 2>/dev/null && echo written; \
                  rm /etc/old 2>/dev/null && echo removed; cat /run/secrets/token";
    let mut spec = as_user(store.sh("secret", script));
    spec.secrets = targets.map(secret).to_vec();
    let text = run_well(&spec);
    let mut want = format!("{VALUE} 400 1000:1000\n").repeat(4);
    want.push_str(&format!("ramfs\n{VALUE}"));
    assert_eq!(text, want);
    assert_eq!(entries(store.upper("secret")), [""; 0]);
    assert_eq!(
        fs::read_to_string(store.path("base/etc/old")).unwrap(),
        "old"
    );
    // Another user of the job does not see it; its root does.
    let mut spec = store.sh("other", "cat /run/secrets/token && echo yes");
    spec.secrets = vec![secret("/run/secrets/token")];
    assert_eq!(run_well(&spec), format!("{VALUE}yes\n"));
    let mut spec = store.sh("writes", "echo x > /run/secrets/token");
    spec.secrets = vec![secret("/run/secrets/token")];
    let (exit, text) = run(&spec).unwrap();
    assert!(
        exit.status != Status::Code(0) && text.contains("Read-only"),
        "{text}"
    );
}

#[test]
fn a_secret_below_a_link_or_a_directory_made_anew_has_its_place() {
    need_root!();
    let store = Store::new();
    // As Debian has it.
    fs::create_dir(store.path("base/var")).unwrap();
    symlink("/run", store.path("base/var/run")).unwrap();
    let anew = store.layer("anew");
    fs::create_dir(anew.join("home")).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(anew.join("home"), opaque(), b"y", flags).unwrap();
    let mut spec = store.sh("anew", "cat /var/run/secrets/a /home/x/b");
    spec.root.lowers.push("anew".into());
    spec.secrets = vec![secret("/var/run/secrets/a"), secret("/home/x/b")];
    assert_eq!(run_well(&spec), VALUE.repeat(2));
    // The one place that had to be made in the root is empty, and of the job's root.
    let left = fs::metadata(store.upper("anew").join("home/x/b")).unwrap();
    assert_eq!((left.len(), left.uid()), (0, 0));
}

#[test]
fn a_secret_in_the_place_of_a_directory_is_refused_without_its_value() {
    need_root!();
    let store = Store::new();
    let mut spec = store.sh("dir", "true");
    spec.secrets = vec![secret("/etc")];
    let refused = run(&spec).unwrap_err().to_string();
    assert!(
        refused.contains("/etc") && !refused.contains(VALUE),
        "{refused}"
    );
    spec.secrets = vec![secret("/proc/x")];
    assert!(matches!(run(&spec), Err(Error::Spec(_))));
    let large = vec![b'x'; 512 * 1024 + 1];
    spec.secrets = vec![SecretFile {
        target: "/x".into(),
        value: large.into(),
    }];
    assert!(matches!(run(&spec), Err(Error::Spec(_))));
}

#[test]
fn no_core_is_ever_dumped() {
    need_root!();
    let store = Store::new();
    let script = "while read a b c d e f; do [ \"$b\" = core ] && echo $e $f; done \
                  < /proc/self/limits; true";
    let text = run_well(&store.sh("core", script));
    assert_eq!(text.trim(), "1 1 bytes");
}

#[test]
fn a_layered_directory_keeps_what_is_written_apart() {
    need_root!();
    let store = Store::new();
    let version = store.layer("version");
    fs::write(version.join("kept"), "old").unwrap();
    fs::write(version.join("gone"), "old").unwrap();
    fs::write(version.join("changed"), "old").unwrap();
    for name in ["kept", "gone", "changed"] {
        chown(version.join(name), Some(1000), Some(1000)).unwrap();
    }
    let script = "set -e; cd /home/opam/cache; cat kept; echo more >> changed; rm gone; \
                  mkdir -p new/deep; echo x > new/deep/file; stat -c %u:%g . new";
    let mut spec = as_user(store.sh("layered", script));
    spec.layered = vec![layered(&store, "one", &["version"], "/home/opam/cache")];
    assert_eq!(run_well(&spec), "old1000:1000\n1000:1000\n");
    for name in ["kept", "gone", "changed"] {
        assert_eq!(
            fs::read_to_string(version.join(name)).unwrap(),
            "old",
            "{name}"
        );
    }
    assert_eq!(entries(store.upper("layered")), [""; 0]);
    assert_eq!(entries(store.path("one-up")), ["changed", "gone", "new"]);
    assert_eq!(
        fs::read_to_string(store.path("one-up/changed")).unwrap(),
        "oldmore\n"
    );
    assert_eq!(
        fs::metadata(store.path("one-up/new/deep")).unwrap().uid(),
        1000
    );
    // Whatever the overlay has left in the work directory, its maker can remove it.
    fs::remove_dir_all(store.path("one-wk")).unwrap();
    // What one left is a layer of the next.
    let script = "cd /home/opam/cache; ls; cat changed new/deep/file; echo > again";
    let mut spec = as_user(store.sh("next", script));
    spec.layered = vec![layered(
        &store,
        "two",
        &["version", "one-up"],
        "/home/opam/cache",
    )];
    assert_eq!(run_well(&spec), "changed\nkept\nnew\noldmore\nx\n");
}

#[test]
fn layered_directories_may_be_empty_and_many() {
    need_root!();
    let store = Store::new();
    let mut spec = as_user(store.sh(
        "many",
        "for n in 0 1 2 3; do echo $n > /c/$n/f; done; ls /c/0",
    ));
    spec.layered = (0..4)
        .map(|n| layered(&store, &format!("m{n}"), &[], &format!("/c/{n}")))
        .collect();
    assert_eq!(run_well(&spec), "f\n");
    for n in 0..4 {
        let text = fs::read_to_string(store.path(&format!("m{n}-up/f"))).unwrap();
        assert_eq!(text, format!("{n}\n"));
    }
}

#[test]
fn a_layered_directory_outside_of_the_store_is_refused() {
    need_root!();
    let store = Store::new();
    let mut spec = store.sh("out", "true");
    let mut out = layered(&store, "o", &[], "/c");
    out.lowers = vec!["../x".into()];
    spec.layered = vec![out];
    assert!(matches!(run(&spec), Err(Error::Spec(_))));
    spec.layered[0].lowers = vec!["nowhere".into()];
    let refused = run(&spec).unwrap_err().to_string();
    assert!(refused.contains("nowhere"), "{refused}");
}

#[test]
fn without_scratch_directories_a_job_s_tmp_is_in_its_root() {
    need_root!();
    let store = Store::new();
    let script = "stat -c %a /tmp /var/tmp; echo t > /tmp/t; echo r > /run/r";
    let mut spec = store.sh("tmp", script);
    spec.scratch = false;
    assert_eq!(run_well(&spec), "1777\n1777\n");
    assert_eq!(
        fs::read_to_string(store.upper("tmp").join("tmp/t")).unwrap(),
        "t\n"
    );
    assert_eq!(
        fs::read_to_string(store.upper("tmp").join("run/r")).unwrap(),
        "r\n"
    );
}

#[test]
fn the_machine_knows_its_name() {
    need_root!();
    let store = Store::new();
    let text = run_well(&store.sh("host", "cat /etc/hosts"));
    let hosts = "127.0.0.1 localhost builder\n::1 localhost ip6-localhost\n";
    assert_eq!(text, hosts);
}

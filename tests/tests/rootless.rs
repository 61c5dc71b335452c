//! The whole program as an ordinary user of this host: what it builds is what root builds, byte for
//! byte; what is in its way it says; and nothing of it needs root to be gone again.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use caravan_tests::{
    host::{Scratch, obstacle, program, text, until},
    rootfs,
};

/// A user who is not in the host's own files.
const USER: u32 = 58_232;
/// First of its subordinate ids, and of others that it has at another time.
const FIRST: u32 = 1_600_000_000;
const OTHERS: u32 = 1_500_000_000;
/// Runs `$@` as that user, over a view of `/etc` with the files in `$1`.
const AS_USER: &str = "mount -t overlay overlay -o \"ro,lowerdir=$1:/etc\" /etc || exit 99
    home=$2; shift 2; cd $home; HOME=$home; export HOME
    exec setpriv --reuid 58232 --regid 58232 --clear-groups -- \"$@\"";
/// What the root of the tests has.
const TOOLS: [&str; 11] = [
    "bash", "env", "sh", "cat", "chown", "id", "ls", "mkdir", "rm", "sleep", "touch",
];
/// Every way in which a layer can say that something is gone or another's.
const SPEC: &str = r#"((from base)
 (copy (src file) (dst /srv/))
 (run (shell "rm -r /d && mkdir /d && touch /d/new && chown 1000:1000 /d/new && rm /gone"))
 (run (shell "ls /d && id -u && cat /srv/file && chown -h 7:8 /srv && mkdir -m 1777 /open"))
 (user (uid 1000) (gid 1000))
 (run (shell "echo mine > /open/mine && id -u")))"#;
/// A host of tests has no control groups to give to a user.
const CONFIG: &str = "[sandbox]\naccept = [\"landlock\", \"memory-limit\", \
                      \"process-count-limit\", \"processor-limit\"]\n";

/// The user's home, and the view of this host in which the user exists.
struct World {
    scratch: Scratch,
}

impl World {
    fn new(name: &str) -> Self {
        let world = Self {
            scratch: Scratch::new(name),
        };
        let etc = world.path("etc");
        fs::create_dir(&etc).expect("writable");
        for (name, line) in [
            ("passwd", format!("ordinary:x:{USER}:{USER}::/:/bin/sh\n")),
            ("group", format!("ordinary:x:{USER}:\n")),
        ] {
            let host = fs::read_to_string(Path::new("/etc").join(name)).unwrap_or_default();
            fs::write(etc.join(name), host + &line).expect("writable");
        }
        world.give_ids(FIRST);
        let home = world.path("home");
        for dir in ["", "rootfs", "src"] {
            fs::create_dir(home.join(dir)).expect("writable");
        }
        image(&home.join("rootfs"));
        fs::write(home.join("src/file"), "from the context\n").expect("writable");
        fs::write(home.join("it.spec"), SPEC).expect("writable");
        for name in ["data", "roots-data"] {
            fs::create_dir(home.join(name)).expect("writable");
            fs::write(home.join(name).join("config.toml"), CONFIG).expect("writable");
        }
        give(&home);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path(name)
    }

    fn give_ids(&self, first: u32) {
        for name in ["subuid", "subgid"] {
            let line = format!("ordinary:{first}:65536\n");
            fs::write(self.path("etc").join(name), line).expect("writable");
        }
    }

    fn as_user(&self, program: &Path) -> Command {
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
            .args([self.path("etc"), self.path("home")])
            .arg(program)
            .stdin(Stdio::null());
        command
    }

    fn caravan(&self, words: &[&str]) -> Command {
        let mut command = self.as_user(program());
        command.args(["--data", "data"]).args(words);
        command
    }

    fn ok(&self, words: &[&str]) -> String {
        good(words, &self.caravan(words).output().expect("it starts"))
    }

    /// The same as root, in a directory of root's own.
    fn ok_as_root(&self, words: &[&str]) -> String {
        let home = self.path("home");
        let mut command = Command::new(program());
        command
            .current_dir(&home)
            .args(["--data", "roots-data"])
            .args(words)
            .stdin(Stdio::null());
        good(words, &command.output().expect("it starts"))
    }

    fn refused(&self, words: &[&str]) -> String {
        let output = self.caravan(words).output().expect("it starts");
        assert!(
            !output.status.success(),
            "{words:?}: {}",
            text(&output.stdout)
        );
        text(&output.stderr)
    }
}

fn good(words: &[&str], output: &Output) -> String {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{words:?}:\n{out}\n{err}");
    out
}

fn give(dir: &Path) {
    chown(dir, Some(USER), Some(USER)).expect("root may");
    for entry in fs::read_dir(dir).expect("readable") {
        let entry = entry.expect("readable");
        let kind = entry.file_type().expect("readable");
        if kind.is_dir() && entry.file_name() != "roots-data" {
            give(&entry.path());
        } else if kind.is_file() {
            chown(entry.path(), Some(USER), Some(USER)).expect("root may");
        }
    }
}

/// A root of the host's own programs with what they need.
fn image(dir: &Path) {
    rootfs::of_host(dir, &TOOLS);
    for made in ["etc", "d", "srv"] {
        fs::create_dir(dir.join(made)).expect("writable");
    }
    for (name, words) in [
        (
            "etc/passwd",
            "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/:/bin/sh\n",
        ),
        ("d/old", "hidden\n"),
        ("gone", "removed\n"),
    ] {
        fs::write(dir.join(name), words).expect("writable");
    }
}

/// Whether a user can be made here.
fn can_try() -> bool {
    let has = |name: &str| Path::new("/usr/bin").join(name).exists();
    let why = match obstacle() {
        None if has("newuidmap") && has("setpriv") => return true,
        None => "it needs newuidmap, of Debian's uidmap",
        Some(why) => why,
    };
    eprintln!("SKIPPED: {why}");
    false
}

/// The layers that a build names.
fn saved(report: &str) -> Vec<&str> {
    let lines = report
        .lines()
        .filter(|line| line.starts_with("---> saved as"));
    lines.filter_map(|line| line.split('"').nth(1)).collect()
}

#[test]
fn an_ordinary_user_builds_what_root_builds() {
    if !can_try() {
        return;
    }
    let world = World::new("rootless");
    world.ok(&["image", "import", "base", "rootfs"]);
    let build = ["build", "-f", "it.spec", "--project", "same", "src"];
    let report = world.ok(&build);
    assert!(report.contains("\nnew\n0\nfrom the context\n"), "{report}");
    assert!(
        report.ends_with('\n') && report.contains("\n1000\n"),
        "{report}"
    );

    // Root's own base is made of the same files, which are root's then.
    world.ok_as_root(&["image", "import", "base", &mine(&world)]);
    let roots = world.ok_as_root(&build);
    assert_eq!(saved(&report).len(), 4, "{report}");
    assert_eq!(saved(&report), saved(&roots), "equal work, equal layers");

    assert!(
        world.ok(&["store", "check"]).contains("whole"),
        "the store is sound"
    );
    let again = world.ok(&build);
    assert!(
        again.contains("from cache") && saved(&again).is_empty(),
        "{again}"
    );

    // Nothing of it is the host's root's, nor a file of a job the user's.
    let home = world.path("home");
    let key = fs::metadata(home.join("data/identity")).expect("there");
    assert_eq!((key.uid(), key.mode() & 0o777), (USER, 0o600));
    let layers = fs::read_dir(home.join("data/store/layers")).expect("there");
    for layer in layers {
        let layer = layer.expect("readable").metadata().expect("readable");
        assert_eq!(
            layer.uid(),
            FIRST,
            "a job's root is the first subordinate id"
        );
    }

    // Others, and the same user with other ids, are told before anything is touched.
    let mut roots = Command::new(program());
    roots
        .arg("--data")
        .arg(home.join("data"))
        .args(["store", "check"]);
    let output = roots.output().expect("it starts");
    let words = text(&output.stderr);
    assert!(
        !output.status.success() && words.contains("another user"),
        "{words}"
    );
    world.give_ids(OTHERS);
    let words = world.refused(&["store", "check"]);
    assert!(words.contains("other subordinate ids"), "{words}");
    assert!(words.contains("1600000000"), "{words}");
    world.give_ids(FIRST);

    // The user cannot remove it, nor need anybody else: the files are those of jobs.
    let removed = world
        .as_user(Path::new("rm"))
        .args(["-rf", "data"])
        .output();
    assert!(!removed.expect("it starts").status.success());
    world.ok(&["unshare", "rm", "-rf", "data"]);
    assert!(!home.join("data").exists());
}

/// A copy of the root file system that belongs to root.
fn mine(world: &World) -> String {
    let copy = world.path("roots-rootfs");
    let copied = Command::new("cp")
        .args(["-R", "--no-preserve=ownership"])
        .args([world.path("home/rootfs"), copy.clone()])
        .status();
    assert!(copied.expect("cp runs").success());
    for name in TOOLS {
        let path = copy.join("usr/bin").join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("ours");
    }
    copy.to_str().expect("plain").to_owned()
}

/// A node that is killed with all that it started.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_a_killed_node_left_the_next_start_removes() {
    if !can_try() {
        return;
    }
    let world = World::new("rootless-killed");
    world.ok(&["image", "import", "base", "rootfs"]);
    let home = world.path("home");
    let spec = "((from base) (run (shell \"mkdir /left && chown 1000:1000 /left && sleep 600\")))";
    fs::write(home.join("long.spec"), spec).expect("writable");
    let begin = || {
        let build = world
            .caravan(&["build", "-f", "long.spec", "src"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Running(build.expect("it starts"))
    };
    let mut running = begin();
    // As root can see, who is outside of all of it.
    let work = home.join("data/store/work");
    let left = || {
        let entries = fs::read_dir(&work).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path().join("upper/left"))
            .find(|left| {
                left.symlink_metadata()
                    .is_ok_and(|made| made.uid() == FIRST + 1_000)
            })
    };
    until("the job runs", || {
        let ended = running.0.try_wait().expect("it was started");
        assert!(ended.is_none(), "the build has ended: {ended:?}");
        left()
    });
    running.0.kill().expect("it runs");
    running.0.wait().expect("it ran");
    assert!(left().is_some(), "it had no time to clean up");
    until("its lock is free", || {
        let output = world
            .caravan(&["store", "check"])
            .output()
            .expect("it starts");
        output.status.success().then_some(())
    });
    assert_eq!(left(), None);
}

#[test]
fn without_subordinate_ids_the_command_that_gives_them_is_named() {
    if !can_try() {
        return;
    }
    let world = World::new("rootless-no-ids");
    for name in ["subuid", "subgid"] {
        fs::write(world.path("etc").join(name), "").expect("writable");
    }
    let words = world.refused(&["node", "run"]);
    for hint in [
        "hint: as root, run: usermod --add-subuids 100000-165535 ordinary",
        "hint: as root, run: usermod --add-subgids 100000-165535 ordinary",
        "hint: or start it as root, with sudo",
    ] {
        assert!(words.contains(hint), "{hint}: {words}");
    }
    // What needs no sandbox needs no ids.
    let plan = world.ok(&["build", "-f", "it.spec", "--plan"]);
    assert!(plan.contains("base"), "{plan}");
    let words = world.refused(&["node", "status"]);
    assert!(words.contains("none is running"), "{words}");
}

#[test]
fn an_ordinary_user_founds_a_mesh_and_leaves_nothing_of_it() {
    if !can_try() {
        return;
    }
    let world = World::new("rootless-leave");
    let home = world.path("home");
    let config = home.join("data/config.toml");
    fs::remove_file(config).expect("there");
    let said = world.ok(&["node", "init", "--operator", "ann", "--yes"]);
    assert!(said.contains("founded mesh"), "{said}");
    let unit = world.refused(&["node", "init", "--service"]);
    assert!(unit.contains("install a service"), "{unit}");
    // Ids that only root and the user's own namespace can remove.
    let owned = fs::metadata(home.join("data/identity"))
        .expect("there")
        .uid();
    assert_eq!(owned, USER);
    let asked = world.refused(&["node", "leave"]);
    assert!(asked.contains("nobody is there"), "{asked}");
    let said = world.ok(&["node", "leave", "--yes"]);
    assert!(said.contains("nothing of the node is left"), "{said}");
    assert!(!home.join("data").exists());
    let none = world.refused(&["node", "leave", "--yes"]);
    assert!(none.contains("there is no node in"), "{none}");
}

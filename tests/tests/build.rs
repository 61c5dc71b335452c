//! `caravan build` as people use it: specs with every op, in real sandboxes, on an image that is
//! made of this host's own programs, so that nothing comes from a network.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use caravan_tests::host::{NodeProcess, Place, Scratch, obstacle, text, until};
use serde_json::Value;
#[path = "build/shared.rs"]
mod shared;

/// Programs of the image.
const TOOLS: [&str; 12] = [
    "bash", "sh", "env", "cat", "ls", "id", "mkdir", "stat", "sleep", "wc", "chmod", "readlink",
];

/// A root file system of this host's own programs with the libraries that they need.
fn rootfs(dir: &Path) {
    let mut files = BTreeSet::new();
    for tool in TOOLS {
        let found = ["/usr/bin", "/bin"].map(|dir| Path::new(dir).join(tool));
        let path = found.into_iter().find(|path| path.exists());
        let path = path.unwrap_or_else(|| panic!("this host has no {tool}"));
        let listed = Command::new("ldd").arg(&path).output().expect("ldd runs");
        let words = text(&listed.stdout);
        files.extend(
            words
                .split_whitespace()
                .filter(|word| word.starts_with('/'))
                .map(PathBuf::from),
        );
        copy(&path, &dir.join("usr/bin").join(tool));
    }
    for file in files {
        let inside = file.strip_prefix("/").expect("absolute");
        copy(&file, &dir.join(inside));
    }
    std::os::unix::fs::symlink("usr/bin", dir.join("bin")).expect("a link");
    fs::create_dir_all(dir.join("etc")).expect("a directory");
    let users = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";
    fs::write(dir.join("etc/passwd"), users).expect("a file");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().expect("below a root")).expect("a directory");
    fs::copy(from, to).unwrap_or_else(|error| panic!("copy {}: {error}", from.display()));
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).expect("ours");
}

/// A node with the image, and a directory to build from.
struct World {
    scratch: Scratch,
    place: Place,
    src: PathBuf,
}

impl World {
    fn new() -> Self {
        let scratch = Scratch::new("build");
        let root = scratch.path("rootfs");
        rootfs(&root);
        let src = scratch.path("src");
        fs::create_dir(&src).expect("a directory");
        Self {
            place: Place::here(scratch.path("data")),
            src,
            scratch,
        }
    }

    fn file(&self, path: &str, words: &str) {
        let path = self.src.join(path);
        fs::create_dir_all(path.parent().expect("below")).expect("a directory");
        fs::write(path, words).expect("a file");
    }

    fn spec(&self, words: &str) -> String {
        let path = self.scratch.path("it.spec");
        fs::write(&path, words).expect("a file");
        path.to_str().expect("plain").to_owned()
    }

    fn command(&self, spec: &str, more: &[&str]) -> Command {
        let spec = self.spec(spec);
        let mut args = vec!["build", "-f", &spec, self.src.to_str().expect("plain")];
        args.extend(more);
        self.place.command(&args)
    }

    fn build(&self, spec: &str, more: &[&str]) -> Output {
        self.command(spec, more)
            .output()
            .expect("the program starts")
    }

    /// What a build that ends well prints.
    fn ok(&self, spec: &str, more: &[&str]) -> String {
        let output = self.build(spec, more);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{spec}\n{out}\n{err}");
        out
    }

    /// What a build that does not end well says at last.
    fn fails(&self, code: i32, spec: &str, more: &[&str]) -> String {
        let output = self.build(spec, more);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{spec}\n{out}\n{err}");
        err
    }

    fn json(&self, spec: &str) -> Value {
        let output = self.build(spec, &["--json"]);
        serde_json::from_slice(&output.stdout).expect("a report")
    }
}

/// Layers' names are another matter each time: what is said of them without them.
fn plain(log: &str) -> String {
    let line = |line: &str| match line.split('"').collect::<Vec<_>>().as_slice() {
        [before, id, after] if id.len() >= 12 && id.bytes().all(|b| b.is_ascii_hexdigit()) => {
            format!("{before}ID{after}\n")
        }
        _ => format!("{line}\n"),
    };
    log.lines().map(line).collect()
}

#[test]
fn specs_are_built_as_their_authors_know_it() {
    if let Some(why) = obstacle() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let world = World::new();
    let root = world.scratch.path("rootfs");
    let root = root.to_str().expect("plain");
    {
        let _node = node(&world);
        let _ = world.place.ok(&["image", "import", "tools:1", root]);
        the_log_is_obuilders(&world);
        what_went_wrong_is_named_before_anything_runs(&world);
        commands_begin_as_the_spec_says(&world);
        files_are_copied_as_the_spec_says(&world);
        builds_are_nested(&world);
        a_change_begins_where_it_matters(&world);
        a_failed_step_is_tried_again(&world);
        caches_outlive_builds(&world);
        secrets_stay_secret(&world);
        many_steps_that_do_nothing(&world);
        an_interrupted_build_ends(&world);
        shared::steps_are_shared_and_bounded(&world);
    }
    killed_in_the_middle(&world);
    without_a_node(&world);
    left_behind(&world);
}

fn node(world: &World) -> NodeProcess {
    world.place.node(&["--http", "none"])
}

fn the_log_is_obuilders(world: &World) {
    let spec = "((from tools:1) (comment hi) (shell /bin/sh -c)
                 (run (shell \"echo hello; printf end\")) (run (network host) (shell \"echo two\")))";
    let log = |note: &str| {
        format!(
            "(from tools:1)\n---> using ID from cache\n/: (comment hi)\n/: (shell /bin/sh -c)\n\
             /: (run (shell \"echo hello; printf end\"))\nhello\nend\n---> {note}\n\
             /: (run (network host)\n        (shell \"echo two\"))\ntwo\n---> {note}\nGot: ID\n"
        )
    };
    assert_eq!(plain(&world.ok(spec, &[])), log("saved as ID"));
    assert_eq!(plain(&world.ok(spec, &[])), log("using ID from cache"));
    assert_eq!(
        world.json(spec)["run"]["executed"],
        0,
        "something ran twice"
    );
    assert_eq!(plain(&world.ok(spec, &["--rebuild"])), log("saved as ID"));
    assert_eq!(world.json("((from tools:1))")["run"]["state"], "ok");
    let other = world.ok(spec, &["--project", "another"]);
    assert_eq!(plain(&other), log("saved as ID"), "projects share results");

    let listed = world.place.ok(&["job", "list"]);
    assert!(
        listed.contains("it.spec") && listed.contains("2 of 2 steps done"),
        "{listed}"
    );
    let run = world.json(spec)["run"]["id"]
        .as_str()
        .expect("a run")
        .to_owned();
    assert_eq!(world.place.ok(&["log", &run, "1"]), "two\n");
    assert!(
        world
            .place
            .ok(&["job", "show", &run])
            .contains("run: echo two")
    );
}

fn what_went_wrong_is_named_before_anything_runs(world: &World) {
    for (spec, words) in [
        (
            "((from tools:1)\n (rnu (shell x)))",
            "at line 2, column 2: unknown op \"rnu\", did you mean",
        ),
        (
            "((from tools:2) (run (shell x)))",
            "find the image \"tools:2\"",
        ),
        (
            "((from tools:2) (run (shell x)))",
            "caravan image import tools:2 SOURCE",
        ),
        (
            "((from tools:1) (run (network nat) (shell x)))",
            "there is no network [\"nat\"]",
        ),
        (
            "((from tools:1) (user (name ann)) (run (shell x)))",
            "\"ann\" is a name",
        ),
        (
            "((from tools:1) (run (shell \"echo begun\")) (copy (src no) (dst x)))",
            "there is no \"no\" in",
        ),
        (
            "((from tools:1) (copy (src ../x) (dst x)))",
            "may not have `..`",
        ),
        (
            "((from tools:1) (run (secrets (s (target /s))) (shell x)))",
            "find a value for the secret s",
        ),
    ] {
        let said = world.fails(4, spec, &[]);
        assert!(said.contains(words), "{spec}: {said}");
    }
    let said = world.fails(4, "((from tools:1))", &["--secret", "s:/no/such/file"]);
    assert!(
        said.contains("read the secret s from /no/such/file"),
        "{said}"
    );
    let runs = world.place.ok(&["job", "list"]);
    assert!(
        !runs.contains("failed"),
        "a refused request made a run: {runs}"
    );
}

fn commands_begin_as_the_spec_says(world: &World) {
    let out = world.ok(
        "((from tools:1) (env A 1) (env B \"two words\") (env A 3) (workdir /made) (workdir on/the/way)
          (user (uid 1000) (gid 1001))
          (run (shell \"echo $PWD $A $B $HOME $PATH; id -u; id -g\"))
          (shell /bin/sh -e -c) (run (shell \"echo $0 $1\")))",
        &[],
    );
    let usual = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let line = format!("/made/on/the/way 3 two words /home/ann {usual}\n1000\n1001\n");
    assert!(out.contains(&line), "{out}");
    assert!(
        out.contains("/made/on/the/way: (run (shell \"echo $0 $1\"))\n/bin/sh\n"),
        "{out}"
    );
}

fn files_are_copied_as_the_spec_says(world: &World) {
    world.file("a", "one");
    world.file("dir/b", "two");
    world.file("dir/sub/skip", "no");
    world.file("skip", "named outright");
    let mode = |path: &str, mode: u32| {
        fs::set_permissions(world.src.join(path), fs::Permissions::from_mode(mode)).expect("ours");
    };
    mode("a", 0o600);
    mode("dir/b", 0o700);
    std::os::unix::fs::symlink("../a", world.src.join("dir/link")).expect("a link");
    let out = world.ok(
        "((from tools:1) (workdir /w) (user (uid 7) (gid 8))
          (copy (src a dir skip) (dst into/) (exclude skip)) (copy (src a) (dst named))
          (copy (src dir) (dst .)) (user (uid 0) (gid 0))
          (run (shell \"stat -c '%n %a %u:%g %F' into into/* into/dir/* named b sub; cat into/dir/b; readlink into/dir/link\")))",
        &[],
    );
    let listing = "into 755 7:8 directory\ninto/a 644 7:8 regular file\ninto/dir 755 7:8 directory\n\
         into/skip 644 7:8 regular file\ninto/dir/b 755 7:8 regular file\n\
         into/dir/link 777 7:8 symbolic link\ninto/dir/sub 755 7:8 directory\n\
         named 644 7:8 regular file\nb 755 7:8 regular file\nsub 755 7:8 directory\ntwo../a\n";
    assert!(out.contains(listing), "{out}");
}

fn builds_are_nested(world: &World) {
    let spec = "
((build first ((from tools:1) (workdir /made) (run (shell \"mkdir keep; echo 1 > keep/one; echo 2 > two; chmod 700 two\"))))
 (build second ((from tools:1) (copy (from (build first)) (src /made) (dst /got) (exclude two)) (run (shell \"ls /got\"))))
 (from tools:1)
 (copy (from (build first)) (src made/two) (dst /two))
 (copy (from (build second)) (src /got/.) (dst /all/))
 (run (shell \"cat two all/got/keep/one; stat -c '%a %u' two; ls all\")))";
    let out = plain(&world.ok(spec, &[]));
    let expected = [
        "(build \"first\" …)\n(from tools:1)\n",
        "--> finished \"first\"\n(build \"second\" …)\n",
        "(run (shell \"ls /got\"))\nkeep\n---> saved as ID\n--> finished \"second\"\n(from tools:1)\n",
        "\n2\n1\n755 0\ngot\n---> saved as ID\nGot: ID\n",
    ];
    for words in expected {
        assert!(out.contains(words), "{words}\nis not in\n{out}");
    }
    assert_eq!(
        world.json(spec)["run"]["executed"],
        0,
        "something ran twice"
    );
}

fn a_change_begins_where_it_matters(world: &World) {
    world.file("deps", "1");
    world.file("code", "1");
    let spec =
        "((from tools:1) (copy (src deps) (dst ./)) (run (shell \"echo installed > /installed\"))
                 (copy (src deps code) (dst ./)) (run (shell \"cat code\")))";
    assert_eq!(world.json(spec)["run"]["executed"], 4);
    world.file("code", "2");
    assert_eq!(
        world.json(spec)["run"]["executed"],
        2,
        "steps before the change ran again"
    );
    world.file("unrelated", "3");
    assert_eq!(world.json(spec)["run"]["executed"], 0);
}

fn a_failed_step_is_tried_again(world: &World) {
    let spec = "((from tools:1) (run (shell \"echo good\")) (run (shell \"echo bad; exit 7\")) (run (shell x)))";
    for _ in 0..2 {
        let output = world.build(spec, &[]);
        assert_eq!(output.status.code(), Some(1));
        let out = text(&output.stdout);
        assert!(
            out.ends_with("(run (shell \"echo bad; exit 7\"))\nbad\n"),
            "{out}"
        );
        assert_eq!(
            text(&output.stderr),
            "Build step failed: it exited with 7\n"
        );
    }
    let report = world.json(spec);
    assert_eq!(report["result"], Value::Null);
    assert_eq!(
        report["run"]["executed"], 1,
        "a failure was kept, or a pass was not"
    );
    let spec = "((build a ((from tools:1) (run (shell \"sleep 100\"))))
                 (build b ((from tools:1) (run (shell \"echo b is bad; exit 1\")))) (from tools:1))";
    let output = world.build(spec, &[]);
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{out}");
    assert!(
        out.contains("b is bad\n"),
        "the failure is not shown: {out}"
    );
}

fn caches_outlive_builds(world: &World) {
    let spec = |user: u32| {
        format!(
            "((from tools:1) (user (uid {user}) (gid {user}))
              (run (cache (c (target /var/c))) (shell \"stat -c %u /var/c; echo x >> /var/c/log; wc -l < /var/c/log\"))
              (run (shell \"test ! -e /var/c/log && echo gone\")))"
        )
    };
    let first = world.ok(&spec(5), &[]);
    assert!(
        first.contains("\n5\n1\n") && first.contains("\ngone\n"),
        "{first}"
    );
    assert!(world.ok(&spec(5), &["--rebuild"]).contains("\n5\n2\n"));
    let other = world.ok(&spec(5), &["--project", "another"]);
    assert!(
        other.contains("\n5\n1\n"),
        "another project saw the cache: {other}"
    );
}

fn secrets_stay_secret(world: &World) {
    const VALUE: &str = "open-sesame-17";
    let file = world.scratch.path("word");
    let file = file.to_str().expect("plain");
    fs::write(file, VALUE).expect("a file");
    let secret = format!("word:{file}");
    let spec = "((from tools:1) (run (secrets (word (target /run/secrets/word))) (shell \"wc -c < /run/secrets/word; cat /run/secrets/word\"))
                 (run (shell \"test ! -e /run/secrets/word && echo gone\")))";
    let out = world.ok(spec, &["--secret", &secret]);
    assert!(out.contains("\n14\n") && out.contains("\ngone\n"), "{out}");
    assert!(!out.contains(VALUE), "the log shows it: {out}");
    fs::write(file, "another").expect("a file");
    let again = world.ok(spec, &["--secret", &secret]);
    assert!(again.contains("\n14\n"), "its value is in the key: {again}");
    let found = Command::new("grep")
        .args(["-rl", VALUE])
        .arg(world.place.data())
        .output()
        .expect("grep runs");
    assert_eq!(text(&found.stdout), "", "it was written to disk");
}

fn many_steps_that_do_nothing(world: &World) {
    let steps = "(run (shell \"exit 0\"))".repeat(5);
    let spec = format!("((from tools:1) {steps} (run (shell \"echo end\")))");
    assert!(world.ok(&spec, &[]).contains("\nend\n"));
}

fn running(world: &World, id: &str) -> bool {
    world.place.ok(&["job", "show", id]).contains("running")
}

/// Begins a build that waits, and gives the run once its step runs.
fn begin(world: &World, spec: &str) -> (std::process::Child, String) {
    let child = world
        .command(spec, &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.expect("the program starts");
    let run = until("the step runs", || {
        let output = world.place.run(&["job", "list", "--json"]);
        let runs: Value = serde_json::from_slice(&output.stdout).ok()?;
        let run = runs
            .as_array()?
            .iter()
            .find(|run| run["state"] == "running")?;
        let mut steps = run["steps"].as_object()?.values();
        steps
            .any(|step| step["state"] == "running" && step["label"] == "run: sleep 1000")
            .then_some(())?;
        Some(run["id"].as_str()?.to_owned())
    });
    (child, run)
}

fn an_interrupted_build_ends(world: &World) {
    let spec = "((from tools:1) (run (shell \"sleep 1000\")))";
    let (child, run) = begin(world, spec);
    let id = child.id().to_string();
    let _ = Command::new("kill").args(["-INT", &id]).output();
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130));
    until("the run ends", || (!running(world, &run)).then_some(()));
    let shown = world.place.ok(&["job", "show", &run]);
    assert!(shown.contains("cancelled"), "{shown}");
    let (mut child, run) = begin(world, spec);
    let _ = world.place.ok(&["job", "cancel", &run]);
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
}

fn killed_in_the_middle(world: &World) {
    let mut node = node(world);
    let spec = |last: &str| {
        format!("((from tools:1) (run (shell \"echo kept > /kept\")) (run (shell \"{last}\")))")
    };
    let (mut child, _) = begin(world, &spec("sleep 1000"));
    node.kill();
    assert_eq!(child.wait().expect("it ends").code(), Some(3));
    let _node = self::node(world);
    assert_eq!(world.json(&spec("cat /kept"))["run"]["executed"], 1);
}

fn without_a_node(world: &World) {
    let out = world.ok("((from tools:1) (run (shell \"echo alone\")))", &[]);
    assert!(
        plain(&out).ends_with("\nalone\n---> saved as ID\nGot: ID\n"),
        "{out}"
    );
}

fn left_behind(world: &World) {
    let data = world.place.data().display().to_string();
    let mounts = fs::read_to_string("/proc/self/mounts").expect("readable");
    assert!(!mounts.contains(&data), "a mount was left behind");
    let names = |dir: PathBuf| -> Vec<_> {
        let listed = fs::read_dir(dir).expect("the store's").flatten();
        listed.map(|entry| entry.file_name()).collect()
    };
    let work = world.place.data().join("store/work");
    assert_eq!(names(work.clone()), ["trash"], "something was left behind");
    assert!(
        names(work.join("trash")).is_empty(),
        "the trash is not empty"
    );
}

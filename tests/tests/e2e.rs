//! End to end: the program as people run it, on a real OCaml project, in real sandboxes, with
//! Debian's mirror behind it, and a second node behind a network cable of its own.
//!
//! One test tells the whole story in order, because its first chapter (a base, dune from source)
//! costs minutes and everything later stands on it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use caravan_protocol::ids::BlobId;
use caravan_tests::host::{Cable, NodeProcess, Place, Scratch, git, obstacle, root, text, until};
use serde_json::Value;

fn sample(scratch: &Scratch) -> PathBuf {
    let dir = scratch.path("hello");
    let made = Command::new(root().join("samples/make-repo"))
        .arg(&dir)
        .output()
        .expect("it runs");
    assert!(made.status.success(), "{}", text(&made.stderr));
    dir
}

/// `caravan ci --json`: the exit code and the run.
fn ci(place: &Place, project: &Path, more: &[&str]) -> (i32, Value) {
    let project = project.to_str().expect("plain");
    let args: Vec<&str> = ["ci", "--json", project]
        .iter()
        .chain(more)
        .copied()
        .collect();
    let output = place.run(&args);
    let run = serde_json::from_slice(&output.stdout);
    let run = run.unwrap_or_else(|_| panic!("no run: {}", text(&output.stderr)));
    (output.status.code().expect("it ended by itself"), run)
}

fn steps(run: &Value) -> Vec<&Value> {
    run["steps"].as_object().expect("steps").values().collect()
}

/// Labels of the steps that were run and not answered from claims.
fn executed(run: &Value) -> Vec<String> {
    let ran = |step: &&&Value| {
        step["cached"] == false && step["state"] == "ok" || step["state"] == "failed"
    };
    steps(run)
        .iter()
        .filter(ran)
        .map(|step| step["label"].as_str().expect("text").to_owned())
        .collect()
}

fn variant(run: &Value) -> &Value {
    run["policy"]["variants"]
        .as_array()
        .and_then(|all| all.last())
        .expect("a variant")
}

/// What a dead node must not leave: processes, control groups, mounts.
fn left_behind(place: &Place) -> Vec<String> {
    let data = place.data().display().to_string();
    let mut left = Vec::new();
    for item in fs::read_dir("/proc").expect("proc is mounted").flatten() {
        let Ok(words) = fs::read(item.path().join("cmdline")) else {
            continue;
        };
        let words = text(&words).replace('\0', " ");
        if words.contains(&data) {
            left.push(words);
        }
    }
    let mounts = fs::read_to_string("/proc/self/mounts").expect("readable");
    left.extend(
        mounts
            .lines()
            .filter(|line| line.contains(&data))
            .map(str::to_owned),
    );
    left
}

#[test]
fn a_real_project_goes_through_ci_and_a_second_node_helps() {
    if let Some(why) = obstacle() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let scratch = Scratch::new("story");
    let project = sample(&scratch);
    let place = Place::here(scratch.path("data"));
    first_run(&place, &project);
    nothing_is_done_twice(&place, &project);
    a_failure_speaks_for_itself(&place, &project);
    the_infrastructure_is_not_the_project(&place, &project);
    killed_in_the_middle(&place, &project);
    with_a_second_node(&scratch, &place, &project);
    the_store_is_whole(&place);
}

fn first_run(place: &Place, project: &Path) {
    let (code, run) = ci(place, project, &[]);
    assert_eq!(code, 0, "{run:#}");
    assert_eq!(variant(&run)["name"], "debian-12-4.13_opam-2.1");
    assert_eq!(variant(&run)["state"], "ok");
    let ran = executed(&run);
    // One sandbox for each package of the solution, one for the switch, one for the project; the
    // rest are fetches.
    let sandboxes: Vec<&String> = ran
        .iter()
        .filter(|label| !label.starts_with("fetch "))
        .collect();
    let packages = sandboxes.iter().filter(|label| label.contains('.')).count();
    assert_eq!(sandboxes.len(), packages + 2, "{sandboxes:?}");
    for package in ["dune.2.9.3", "alcotest.1.6.0", "ocaml-system.4.13.1"] {
        assert!(
            ran.iter().any(|label| label == package),
            "{package} was not built: {ran:?}"
        );
    }
    assert_eq!(run["executed"].as_u64(), Some(ran.len() as u64));
}

fn nothing_is_done_twice(place: &Place, project: &Path) {
    let (code, again) = ci(place, project, &[]);
    assert_eq!(
        (code, &again["executed"]),
        (0, &Value::from(0)),
        "{again:#}"
    );
    let said = place.ok(&["ci", project.to_str().expect("plain")]);
    assert!(said.contains("nothing had to be done"), "{said}");

    let source = project.join("src/hello.ml");
    let old = fs::read_to_string(&source).expect("the sample has it");
    fs::write(&source, format!("(* one line *)\n{old}")).expect("writable");
    git(project, &["commit", "-qam", "Change one line"]);
    let (code, changed) = ci(place, project, &[]);
    assert_eq!(
        (code, executed(&changed)),
        (0, vec!["build and test".to_owned()])
    );
}

fn a_failure_speaks_for_itself(place: &Place, project: &Path) {
    let args = ["ci", project.to_str().expect("plain"), "--ref", "broken"];
    let failed = place.run(&args);
    let said = text(&failed.stdout);
    assert_eq!(failed.status.code(), Some(1), "{said}");
    assert!(
        said.contains("[FAIL]") && said.contains("Expected:"),
        "the test's own words: {said}"
    );
    assert!(
        said.contains("docker build") && said.contains("dune build"),
        "how to do it by hand: {said}"
    );

    // The same failure is known now; a compiler's words are next.
    let (code, again) = ci(place, project, &["--ref", "broken"]);
    assert_eq!((code, &again["executed"]), (1, &Value::from(0)));
    git(project, &["checkout", "-qb", "unbound", "main"]);
    fs::write(project.join("src/hello.ml"), "let greet = no_such_value\n").expect("writable");
    git(project, &["commit", "-qam", "Break the build"]);
    let (code, run) = ci(place, project, &[]);
    let message = variant(&run)["message"].as_str().expect("words").to_owned();
    assert!(
        code == 1 && message.contains("Unbound value no_such_value"),
        "{message}"
    );
    git(project, &["checkout", "-q", "main"]);
}

/// An archive that is not what its package says cannot be had: tried again, then said to be no
/// failure of the project, and forgotten.
fn the_infrastructure_is_not_the_project(place: &Place, project: &Path) {
    git(project, &["checkout", "-qb", "wrong", "main"]);
    let path = project.join("opam/packages/astring/astring.0.8.5/opam");
    let opam = fs::read_to_string(&path).expect("the overlay has it");
    let at = opam.find("sha256=").expect("a checksum") + "sha256=".len();
    let wrong = format!("{}{}{}", &opam[..at], "0".repeat(64), &opam[at + 64..]);
    fs::write(&path, wrong).expect("writable");
    git(project, &["commit", "-qam", "Name another archive"]);
    let (code, run) = ci(place, project, &[]);
    let message = variant(&run)["message"].as_str().expect("words").to_owned();
    assert_eq!(code, 3, "{message}");
    assert!(
        message.contains("infrastructure failure, not the project's"),
        "{message}"
    );
    assert!(
        message.contains(&"0".repeat(64)),
        "it says which archive: {message}"
    );
    let step = steps(&run)
        .into_iter()
        .find(|step| step["infra"] == true)
        .expect("a step");
    assert_eq!(step["label"], "fetch astring.0.8.5");
    git(project, &["checkout", "-q", "main"]);
}

/// Makes stand-in packages take a while, so that their layers and those above are new work.
fn slow_down(project: &Path, branch: &str, seconds: u32, packages: &[&str]) {
    git(project, &["checkout", "-qb", branch, "main"]);
    for package in packages {
        let dir = project.join("opam/packages").join(package);
        for version in fs::read_dir(dir).expect("the overlay has it").flatten() {
            let path = version.path().join("opam");
            let old = fs::read_to_string(&path).expect("readable");
            let slow =
                format!("{old}install: [\"sh\" \"-c\" \"echo {branch}; sleep {seconds}\"]\n");
            fs::write(path, slow).expect("writable");
        }
    }
    git(project, &["commit", "-qam", branch]);
    git(project, &["checkout", "-q", "main"]);
}

fn status(place: &Place) -> Option<Value> {
    let output = place.run(&["node", "status", "--json"]);
    output
        .status
        .success()
        .then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
}

/// The newest run's running steps, with who runs them.
fn running(place: &Place) -> Vec<(String, String)> {
    let Some(status) = status(place) else {
        return Vec::new();
    };
    let Some(run) = status["runs"].get(0) else {
        return Vec::new();
    };
    let of = |step: &&Value| {
        let node = step["node"].as_str()?.to_owned();
        (step["state"] == "running")
            .then(|| (step["label"].as_str().unwrap_or("").to_owned(), node))
    };
    steps(run).iter().filter_map(of).collect()
}

fn killed_in_the_middle(place: &Place, project: &Path) {
    slow_down(project, "slow", 600, &["seq"]);
    let mut child = place
        .command(&["ci", project.to_str().expect("plain"), "--ref", "slow"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    until("a slow step runs", || {
        running(place)
            .iter()
            .any(|(label, _)| label == "seq.base")
            .then_some(())
    });
    child.kill().expect("kill -9");
    child.wait().expect("it is dead");
    until("nothing is left of a killed node", || {
        left_behind(place).is_empty().then_some(())
    });
    // The next start cleans up what only it can, and carries on with what was finished.
    let (code, run) = ci(place, project, &[]);
    assert_eq!((code, &run["executed"]), (0, &Value::from(0)), "{run:#}");
    let work = fs::read_dir(place.data().join("store/work")).expect("readable");
    let left: Vec<_> = work
        .flatten()
        .filter(|item| item.file_name() != "trash")
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(groups(place), Vec::<PathBuf>::new());
}

/// Control groups of this directory's node that are still there; another's are none of our business.
fn groups(place: &Place) -> Vec<PathBuf> {
    let data = place.data().canonicalize().expect("there");
    let tag = BlobId::of(data.as_os_str().as_encoded_bytes()).fmt_short();
    let prefix = format!("caravan-n{tag}");
    let mut left = Vec::new();
    let mut open = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
    while let Some((dir, depth)) = open.pop() {
        for item in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = item.path();
            if !path.is_dir() || path.is_symlink() {
                continue;
            }
            if item.file_name().to_string_lossy().starts_with(&prefix) {
                left.push(path);
            } else if depth < 3 {
                open.push((path, depth + 1));
            }
        }
    }
    left
}

/// A founding node with one slot and a donor that joined it, on two hosts.
struct Pair {
    _cable: Cable,
    founder: NodeProcess,
    donor: NodeProcess,
    /// The donor's id.
    other: String,
}

fn pair(scratch: &Scratch, place: &Place) -> Pair {
    let cable = Cable::new();
    let first = place.on(cable.host(0));
    let second = Place::here(scratch.path("second")).on(cable.host(1));
    let founder = first.node(&["--slots", "1", "--port", "4100", "--http", "127.0.0.1:0"]);
    let token = until("it knows its addresses", || {
        let output = place.run(&["invite", "--operator", "bob"]);
        output
            .status
            .success()
            .then(|| text(&output.stdout).trim().to_owned())
    });
    let _ = second.ok(&["join", &token]);
    let third = Place::here(scratch.path("third")).on(cable.host(1));
    let used = text(&third.run(&["join", &token]).stderr);
    assert!(used.contains("used before"), "{used}");
    let donor = second.node(&["--port", "4100", "--http", "none"]);
    let other = until("the second node is up", || {
        let nodes = status(place)?["nodes"].as_array()?.clone();
        let up = |node: &&Value| node["here"] == false && node["connected"] == true;
        Some(nodes.iter().find(up)?["node"].as_str()?.to_owned())
    });
    Pair {
        _cable: cable,
        founder,
        donor,
        other,
    }
}

fn with_a_second_node(scratch: &Scratch, place: &Place, project: &Path) {
    slow_down(
        project,
        "wide",
        5,
        &["seq", "stdlib-shims", "ocaml-syntax-shims"],
    );
    slow_down(
        project,
        "lost",
        20,
        &["seq", "stdlib-shims", "ocaml-syntax-shims"],
    );
    let mut pair = pair(scratch, place);
    a_second_node_helps(place, project, &pair.other);
    a_lost_node_costs_a_retry(place, project, &mut pair);
    let _ = place.ok(&["node", "revoke", &pair.other]);
    let nodes = status(place).expect("it is up")["nodes"].clone();
    assert!(
        !nodes.to_string().contains(&pair.other),
        "a revoked node is still a member: {nodes:#}"
    );
    drop(pair.donor);
    pair.founder.interrupt();
    until("nothing is left of a stopped node", || {
        left_behind(place).is_empty().then_some(())
    });
}

/// Three slow packages and one slot here: the others go to the second node, which must fetch the
/// base and the layers below first.
fn a_second_node_helps(place: &Place, project: &Path, other: &str) {
    let (code, run) = ci(place, project, &["--ref", "wide"]);
    assert_eq!(code, 0, "{run:#}");
    let there: Vec<&Value> = steps(&run)
        .into_iter()
        .filter(|step| step["node"] == other)
        .collect();
    assert!(!there.is_empty(), "the second node ran nothing: {run:#}");
    for step in &there {
        assert_eq!(
            step["level"], "Claimed",
            "a donor's word counts as L1: {step:#}"
        );
        assert!(
            step["output"].is_string() && step["log"].is_string(),
            "not all came: {step:#}"
        );
    }
    let label = there[0]["label"].as_str().expect("text");
    let log = place.ok(&["log", run["id"].as_str().expect("text"), label]);
    assert!(log.contains("wide"), "the log of {label} came back: {log}");
}

fn a_lost_node_costs_a_retry(place: &Place, project: &Path, pair: &mut Pair) {
    let project = project.to_str().expect("plain");
    let mut command = place.command(&["ci", "--json", project, "--ref", "lost"]);
    let started = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let works = || {
        running(place)
            .iter()
            .any(|(_, node)| *node == pair.other)
            .then_some(())
    };
    until("the second node works", works);
    pair.donor.kill();
    let output = started.wait_with_output().expect("it ends");
    let run: Value = serde_json::from_slice(&output.stdout).expect("a run");
    assert_eq!(output.status.code(), Some(0), "{run:#}");
    let lost = steps(&run)
        .into_iter()
        .filter(|step| step["node"] == pair.other.as_str())
        .count();
    assert_eq!(lost, 0, "a killed node's step counts as done: {run:#}");
}

fn the_store_is_whole(place: &Place) {
    let said = place.ok(&["store", "check"]);
    assert!(said.contains("the store is whole"), "{said}");
    let stat: Value = serde_json::from_str(&place.ok(&["store", "stat", "--json"])).expect("JSON");
    assert!(stat["claims"].as_u64() > Some(30), "{stat}");
}

//! Elected policies on a mesh of real nodes: the node that holds a project's CI is killed, or drained,
//! in the middle of a run, and the run goes on elsewhere as if nothing was. The project is built by an
//! `opam` that is a shell script on an image of this host's own programs, so nothing comes from a
//! network.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use caravan_tests::{
    host::{NodeProcess, Place, Scratch, git, obstacle, text},
    hosts::Lan,
    rootfs,
};
use serde_json::Value;

/// Longest until another node holds what a killed one held.
const TAKEN: Duration = Duration::from_secs(5);
/// The same of one that drains.
const HANDED: Duration = Duration::from_secs(1);
/// Longest for anything else.
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(50);

/// Programs of the image.
const TOOLS: [&str; 17] = [
    "bash", "sh", "env", "cat", "mkdir", "rm", "cp", "ln", "find", "sed", "grep", "mktemp",
    "nproc", "chmod", "sleep", "ls", "tr",
];

/// Does what the recipes of steps ask of opam, and sleeps as long as a package's definition says.
const OPAM: &str = r#"#!/bin/sh
set -eu
state=$HOME/.opam/default/.opam-switch
case "$1" in
init | switch) mkdir -p "$state/install" "$state/packages" ;;
install)
    for package in "$@"; do
        name=${package%%.*}
        found=$(find -L "$HOME/.opam/repo/default/packages/$name" -name opam 2>/dev/null | grep "$package/" || true)
        [ -n "$found" ] || continue
        echo "installing $package"
        sleep "$(sed -n 's/^x-sleep: *"\(.*\)"$/\1/p' "$found" | grep . || echo 0)"
        mkdir -p "$state/install" "$state/packages/$package"
        printf 'opam-version: "2.0"\nadded: []\n' > "$state/install/$name.changes"
        printf 'opam-version: "2.0"\n' > "$state/packages/$package/opam"
    done
    ;;
esac
"#;

fn file(path: &Path, words: &str) {
    fs::create_dir_all(path.parent().expect("below a root")).expect("a directory");
    fs::write(path, words).expect("writable");
}

fn image(dir: &Path) {
    rootfs::of_host(dir, &TOOLS);
    file(&dir.join("usr/bin/opam"), OPAM);
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(dir.join("usr/bin/opam"), executable).expect("ours");
    let users = "root:x:0:0::/root:/bin/sh\nopam:x:1000:1000::/home/opam:/bin/sh\n";
    file(&dir.join("etc/passwd"), users);
    file(
        &dir.join("etc/os-release"),
        "ID=debian\nVERSION_ID=\"12\"\n",
    );
    for name in ["tmp", "caravan/sources"] {
        fs::create_dir_all(dir.join(name)).expect("a directory");
    }
    fs::set_permissions(dir.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("ours");
    fs::create_dir_all(dir.join("home/opam")).expect("a directory");
    chown(dir.join("home/opam"), Some(1000), Some(1000)).expect("root may");
}

/// A repository with a compiler and packages that take so many seconds each.
fn repository(dir: &Path, packages: &[(&str, u32)]) {
    file(&dir.join("repo"), "opam-version: \"2.0\"\n");
    let package = |name: &str, version: &str, more: &str| {
        let path = dir.join(format!("packages/{name}/{name}.{version}/opam"));
        file(&path, &format!("opam-version: \"2.0\"\n{more}"));
    };
    package("ocaml-system", "5.3.0", "");
    package("ocaml", "5.3.0", "depends: [\"ocaml-system\"]\n");
    for (name, sleep) in packages {
        let more = format!("depends: [\"ocaml\"]\nx-sleep: \"{sleep}\"\n");
        package(name, "1", &more);
    }
}

fn project(dir: &Path, packages: &[&str]) {
    let new = !dir.exists();
    let depends: Vec<String> = packages.iter().map(|name| format!("\"{name}\"")).collect();
    let words = format!(
        "opam-version: \"2.0\"\ndepends: [\"ocaml\" {}]\n",
        depends.join(" ")
    );
    file(&dir.join("it.opam"), &words);
    if new {
        git(dir, &["init", "-q", "-b", "main"]);
    }
    git(dir, &["add", "."]);
    git(dir, &["commit", "-q", "-m", "Need other packages"]);
}

/// A founder that runs no jobs and asks for runs, and donors that do what it asks for.
struct Mesh {
    nodes: Vec<Option<NodeProcess>>,
    places: Vec<Place>,
    ids: Vec<String>,
    project: PathBuf,
    repository: PathBuf,
    scratch: Scratch,
    _lan: Lan,
}

impl Mesh {
    fn new(name: &str, donors: usize) -> Self {
        let (scratch, lan) = (Scratch::new(name), Lan::new(donors + 1));
        let place = |host| Place::here(scratch.path(&format!("data{host}"))).on(lan.host(host));
        let places: Vec<Place> = (0..=donors).map(place).collect();
        let (project, repository) = (scratch.path("it"), scratch.path("repository"));
        let mut mesh = Self {
            nodes: Vec::new(),
            places,
            ids: Vec::new(),
            project,
            repository,
            scratch,
            _lan: lan,
        };
        for host in 0..=donors {
            if host > 0 {
                let token = mesh.invite(host);
                let _ = mesh.places[host].ok(&["join", &token]);
            }
            let slots = if host == 0 { "0" } else { "2" };
            let args = ["--slots", slots, "--http", "none", "--port", "4100"];
            mesh.nodes.push(Some(mesh.places[host].node(&args)));
            let status = json(&mesh.places[host], &["node", "status"]).expect("it runs");
            mesh.ids
                .push(status["node"].as_str().expect("an id").to_owned());
        }
        let root = mesh.scratch.path("rootfs");
        image(&root);
        let image = root.to_str().expect("plain").to_owned();
        let facts = [
            "--fact",
            "ocaml=5.3.0",
            "--fact",
            "opam=2.3.0",
            "--fact",
            "os-family=debian",
        ];
        let import = ["image", "import", "tiny", &image];
        let import: Vec<&str> = import.iter().chain(&facts).copied().collect();
        let _ = mesh.places[0].ok(&import);
        let all: BTreeSet<&str> = mesh.ids.iter().map(String::as_str).collect();
        for place in &mesh.places {
            await_that("all see all", PATIENCE, || {
                let nodes = json(place, &["nodes"]).unwrap_or_default();
                let nodes = nodes.as_array().cloned().unwrap_or_default();
                let here = nodes.iter().filter(|node| node["connected"] == true);
                let here: BTreeSet<&str> = here.filter_map(|node| node["node"].as_str()).collect();
                (here == all).then_some(()).ok_or(format!("{here:?}"))
            });
        }
        mesh
    }

    fn invite(&self, host: usize) -> String {
        let operator = format!("operator{host}");
        await_that("the founder knows its addresses", PATIENCE, || {
            let said = self.places[0].run(&["invite", "--operator", &operator]);
            let token = text(&said.stdout).trim().to_owned();
            said.status
                .success()
                .then_some(token)
                .ok_or(text(&said.stderr))
        })
    }

    /// Asks the founder for a run whose steps are not done by `not_on`.
    fn ci(&self, not_on: Option<&str>) -> Child {
        let project = self.project.to_str().expect("plain");
        let repository = self.repository.to_str().expect("plain");
        let mut args = vec![
            "ci",
            "--json",
            "--base",
            "tiny",
            "--opam-repository",
            repository,
        ];
        args.extend(not_on.iter().flat_map(|node| ["--not-on", *node]));
        args.push(project);
        let mut command = self.places[0].command(&args);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the program starts")
    }

    /// The role's row as a host sees it.
    fn role(&self, host: usize) -> Result<Value, String> {
        let roles = json(&self.places[host], &["roles"])?;
        let roles = roles.as_array().cloned().unwrap_or_default();
        let open = roles.iter().find(|role| role["run"].is_string());
        open.or(roles.first()).cloned().ok_or("no role".to_owned())
    }

    fn host(&self, id: &Value) -> usize {
        let found = self.ids.iter().position(|known| id == known);
        found.unwrap_or_else(|| panic!("no such node: {id}"))
    }

    /// Steps of the newest run that are in this state, as the founder shows it.
    fn steps(&self, state: &str) -> Result<usize, String> {
        let status = json(&self.places[0], &["node", "status"])?;
        let steps = status["runs"][0]["steps"].as_object().cloned();
        let steps = steps.unwrap_or_default();
        Ok(steps.values().filter(|step| step["state"] == state).count())
    }

    /// Actions that were executed on the hosts that are up.
    fn executed(&self) -> u64 {
        let up = self
            .nodes
            .iter()
            .zip(&self.places)
            .filter(|(node, _)| node.is_some());
        up.filter_map(|(_, place)| json(place, &["node", "status"]).ok())
            .filter_map(|status| status["counters"]["executed"].as_u64())
            .sum()
    }
}

fn json(place: &Place, args: &[&str]) -> Result<Value, String> {
    let args: Vec<&str> = args.iter().chain(&["--json"]).copied().collect();
    let said = place.run(&args);
    if !said.status.success() {
        return Err(text(&said.stderr));
    }
    serde_json::from_slice(&said.stdout).map_err(|error| error.to_string())
}

fn await_that<T>(what: &str, most: Duration, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(why) => assert!(began.elapsed() < most, "{what}: not within {most:?}: {why}"),
        }
        thread::park_timeout(LOOK);
    }
}

fn ended(child: Child) -> Value {
    let output = child.wait_with_output().expect("it ends");
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}\n{err}");
    serde_json::from_slice(&output.stdout).expect("a run")
}

/// Begins a run of which nothing is done yet, on a mesh whose nodes have what it stands on; gives the
/// command line, the holder's host and what was executed before.
fn begin(mesh: &Mesh) -> (Child, usize, u64) {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    // Some are done by then, and others go on for longer than it takes to be replaced.
    let takes = [0, 2, 2, 9, 9, 9, 9, 9];
    let packages: Vec<(&str, u32)> = names.into_iter().zip(takes).collect();
    repository(&mesh.repository, &packages);
    project(&mesh.project, &names[..1]);
    let first = ended(mesh.ci(None));
    assert_eq!(first["state"], "ok", "{first:#}");
    let holder = mesh.host(&mesh.role(0).expect("a role")["holder"]);
    assert_ne!(holder, 0, "a node without slots was elected");
    project(&mesh.project, &names);
    let before = mesh.executed();
    let child = mesh.ci(Some(&mesh.ids[holder]));
    await_that("it is in the middle", PATIENCE, || {
        let (ok, running) = (mesh.steps("ok")?, mesh.steps("running")?);
        let role = mesh.role(0)?;
        let held = role["state"] == "held" && mesh.host(&role["holder"]) == holder;
        let is_so = held && ok >= 6 && running >= 2;
        is_so
            .then_some(())
            .ok_or(format!("{ok} ok, {running} running; {role}"))
    });
    (child, holder, before)
}

/// Waits until another host than `holder` holds the run; which, and how long that took.
fn moved(mesh: &Mesh, holder: usize, most: Duration) -> (usize, Duration) {
    let began = Instant::now();
    let next = await_that("another holds it", most, || {
        let role = mesh.role(0)?;
        let now = mesh.host(&role["holder"]);
        let is_so = role["state"] == "held" && now != holder;
        is_so.then_some(now).ok_or(role.to_string())
    });
    (next, began.elapsed())
}

/// The run ends well, and each step of it was executed once.
fn once(mesh: &Mesh, child: Child, before: u64) {
    let run = ended(child);
    assert_eq!(run["state"], "ok", "{run:#}");
    let steps = run["steps"].as_object().expect("steps");
    assert!(steps.values().all(|step| step["state"] == "ok"), "{run:#}");
    // The packages but for the first, and the project itself.
    assert_eq!(mesh.executed() - before, 8, "{run:#}");
}

#[test]
#[ignore = "one direction between the requester and the holder stalls once a base was fetched over it"]
fn a_killed_holder_is_replaced_and_nothing_is_built_twice() {
    if let Some(why) = obstacle() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let mut mesh = Mesh::new("roles-killed", 4);
    let (child, holder, before) = begin(&mesh);
    let of_holder = {
        let status = json(&mesh.places[holder], &["node", "status"]).expect("it runs");
        status["counters"]["executed"].as_u64().expect("a number")
    };
    mesh.nodes[holder].take().expect("it runs").kill();
    let (next, took) = moved(&mesh, holder, TAKEN);
    eprintln!("killed {holder}: {next} holds it after {took:?}");
    once(&mesh, child, before - of_holder);
}

#[test]
#[ignore = "one direction between the requester and the holder stalls once a base was fetched over it"]
fn a_holder_that_drains_hands_over_within_a_second() {
    if let Some(why) = obstacle() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let mesh = Mesh::new("roles-drained", 4);
    let (child, holder, before) = begin(&mesh);
    let drain = mesh.places[holder]
        .command(&["node", "drain"])
        .stdout(Stdio::null())
        .spawn();
    let (next, took) = moved(&mesh, holder, HANDED);
    eprintln!("drained {holder}: {next} holds it after {took:?}");
    let drained = drain.expect("the program starts").wait().expect("it ends");
    assert!(drained.success());
    once(&mesh, child, before);
}

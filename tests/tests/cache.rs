//! One cache for a mesh: what a member has built is not built again by another, also after the member
//! has gone when another has its layers; a layer that is nowhere is made again. Real nodes on the
//! loopback interface, with free ports.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Output, Stdio},
};

use caravan_tests::{
    host::{NodeProcess, Place, Scratch, obstacle, text, until},
    rootfs,
};
use serde_json::Value;

/// What every node here is run with.
const RUN: [&str; 4] = ["--listen", "/ip4/127.0.0.1/tcp/0", "--http", "none"];
/// Programs of the image.
const TOOLS: [&str; 5] = ["bash", "sh", "env", "cat", "sleep"];

/// Two steps; what the first makes is another each time that it is run.
const BASE: &str = "((from tools:1) (run (shell \"echo $RANDOM$RANDOM > /drawn\"))
                     (run (shell \"cat /drawn; echo built > /second\")))";
/// The same with one more.
const MORE: &str = "((from tools:1) (run (shell \"echo $RANDOM$RANDOM > /drawn\"))
                     (run (shell \"cat /drawn; echo built > /second\"))
                     (run (shell \"cat /drawn /second; echo three > /third\")))";
/// And one more.
const MOST: &str = "((from tools:1) (run (shell \"echo $RANDOM$RANDOM > /drawn\"))
                     (run (shell \"cat /drawn; echo built > /second\"))
                     (run (shell \"cat /drawn /second; echo three > /third\"))
                     (run (shell \"cat /drawn /third\")))";

struct Mesh {
    scratch: Scratch,
    places: Vec<Place>,
    nodes: Vec<Option<NodeProcess>>,
}

impl Mesh {
    /// A mesh of members that know each other and have one image.
    fn new(name: &str, operators: &[&str]) -> Self {
        let scratch = Scratch::new(name);
        let root = scratch.path("rootfs");
        image(&root);
        fs::create_dir(scratch.path("src")).expect("a directory");
        let founder = Place::here(scratch.path("founder"));
        let mut nodes = vec![Some(founder.node(&RUN))];
        let mut places = vec![founder];
        for operator in operators {
            let place = Place::here(scratch.path(operator));
            let token = places[0].ok(&["invite", "--operator", operator]);
            let _ = place.ok(&["join", token.lines().next().expect("a token")]);
            nodes.push(Some(place.node(&RUN)));
            places.push(place);
        }
        let trees: BTreeSet<String> = places.iter().map(|place| import(place, &root)).collect();
        assert_eq!(trees.len(), 1, "one image everywhere");
        let mesh = Self {
            scratch,
            places,
            nodes,
        };
        mesh.meet();
        mesh
    }

    /// Waits until those that run see each other.
    fn meet(&self) {
        let running = self.nodes.iter().flatten().count();
        for (place, _) in self.running() {
            until("all are here", || {
                let status = status(place)?;
                let is_up = |node: &&Value| node["mode"] == "open" && node["connected"] == true;
                let up = status["nodes"].as_array()?.iter().filter(is_up).count();
                (up >= running).then_some(())
            });
        }
    }

    fn running(&self) -> impl Iterator<Item = (&Place, &NodeProcess)> {
        let pairs = self.places.iter().zip(&self.nodes);
        pairs.filter_map(|(place, node)| Some((place, node.as_ref()?)))
    }

    fn id(&self, number: usize) -> String {
        let status = until("a node answers", || status(&self.places[number]));
        status["node"].as_str().expect("an id").to_owned()
    }

    fn try_build(&self, number: usize, spec: &str) -> Output {
        let path = self.scratch.path(&format!("{number}.spec"));
        fs::write(&path, spec).expect("a file");
        let src = self.scratch.path("src");
        let (path, src) = (path.to_str().expect("plain"), src.to_str().expect("plain"));
        let id = self.id(number);
        let args = [
            "build",
            "-f",
            path,
            src,
            "--project",
            "p",
            "--on",
            &id,
            "--json",
        ];
        self.places[number].run(&args)
    }

    /// The run of a build that ends well, with its own steps at that node.
    fn build(&self, number: usize, spec: &str) -> Value {
        let output = self.try_build(number, spec);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{out}\n{err}");
        let report: Value = serde_json::from_str(&out).expect("a report");
        report["run"].clone()
    }

    /// As when the machine is gone, and the others know.
    fn vanish(&mut self, number: usize) {
        let id = self.id(number);
        self.nodes[number] = None;
        for (place, _) in self.running() {
            until("it is found dead", || {
                let status = status(place)?;
                let nodes = status["nodes"].as_array()?;
                let node = nodes.iter().find(|node| node["node"] == id.as_str())?;
                (node["connected"] == false).then_some(())
            });
        }
    }
}

fn status(place: &Place) -> Option<Value> {
    let output = place.run(&["node", "status", "--json"]);
    serde_json::from_slice(&output.stdout).ok()
}

/// The layers of a run's steps, and the nodes that made them.
fn made(run: &Value) -> Vec<(String, String)> {
    let steps = run["steps"].as_object().expect("steps");
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    steps
        .values()
        .map(|step| (word(&step["output"]), word(&step["node"])))
        .collect()
}

fn import(place: &Place, root: &Path) -> String {
    let root = root.to_str().expect("plain");
    let told = place.ok(&["image", "import", "--json", "tools:1", root]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let tree = told.pointer("/Imported/base/tree").and_then(Value::as_str);
    tree.unwrap_or_else(|| panic!("no tree in {told:#}"))
        .to_owned()
}

/// A root file system of this host's own programs with the libraries that they need.
fn image(dir: &Path) {
    rootfs::of_host(dir, &TOOLS);
    fs::create_dir_all(dir.join("etc")).expect("a directory");
    fs::write(dir.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").expect("a file");
}

#[test]
fn what_one_has_built_nobody_builds_again() {
    if let Some(why) = obstacle() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let mut mesh = Mesh::new("cache", &["bob", "cy"]);
    // Told shortly after it is done. A build that comes before does the steps itself: then others are
    // tried, told apart by `n`.
    let spec = |spec: &str, n: u32| spec.replace("> /drawn", &format!("> /drawn; : {n}"));
    let (n, first, known) = (0..50)
        .find_map(|n| {
            let first = mesh.build(1, &spec(BASE, n));
            assert_eq!(first["executed"], 2);
            let known = [0, 2].map(|number| (number, mesh.build(number, &spec(BASE, n))));
            let same = known.iter().all(|(_, run)| made(run) == made(&first));
            same.then_some((n, first, known))
        })
        .expect("what one has built is known to the others");
    for (number, again) in known {
        assert_eq!(again["executed"], 0, "node {number} built it again");
        // Its log is with whoever has run it, and is read here.
        let run = again["id"].as_str().expect("an id");
        let log = mesh.places[number].ok(&["log", run]);
        assert!(log.trim().parse::<u64>().is_ok(), "{log:?}");
    }

    // One more step at another node, on layers that are brought there.
    let more = mesh.build(2, &spec(MORE, n));
    assert_eq!(more["executed"], 1);
    assert_eq!(made(&more)[..2], made(&first)[..]);
    assert_eq!(made(&more)[2].1, mesh.id(2));

    // Who has built it goes, and who has brought it stays.
    mesh.vanish(1);
    let most = until("the layers are found where they are", || {
        let run = mesh.build(0, &spec(MOST, n));
        (made(&run)[..3] == made(&more)[..]).then_some(run)
    });
    assert_eq!(most["executed"], 1, "{most:#}");
}

#[test]
fn a_log_is_read_live_where_it_is_not_written() {
    if let Some(why) = obstacle() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let mesh = Mesh::new("live-log", &["bob"]);
    let path = mesh.scratch.path("live.spec");
    let spec = "((from tools:1) (run (shell \"echo begun; sleep 6; echo over\")))";
    fs::write(&path, spec).expect("a file");
    let src = mesh.scratch.path("src");
    let (path, src) = (path.to_str().expect("plain"), src.to_str().expect("plain"));
    let id = mesh.id(1);
    let args = ["build", "-f", path, src, "--project", "p", "--on", &id];
    let child = mesh.places[0].command(&args).stdout(Stdio::piped()).spawn();
    let mut child = child.expect("the program starts");
    let out = BufReader::new(child.stdout.take().expect("piped"));
    let mut seen = Vec::new();
    for line in out.lines() {
        let line = line.expect("text");
        if line == "begun" {
            let status = status(&mesh.places[0]).expect("it answers");
            let steps = &status["runs"][0]["steps"];
            assert!(
                steps.to_string().contains("running"),
                "it has ended: {steps}"
            );
        }
        seen.push(line);
    }
    assert!(child.wait().expect("it ends").success(), "{seen:?}");
    let at = |word: &str| seen.iter().filter(|line| *line == word).count();
    assert_eq!((at("begun"), at("over")), (1, 1), "{seen:?}");
}

#[test]
fn a_layer_that_is_nowhere_is_made_again() {
    if let Some(why) = obstacle() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let mesh = Mesh::new("lost-layer", &["bob"]);
    let steps = |n: u32, more: &str| {
        format!("((from tools:1) (run (shell \"echo same{n} > /same\")) {more})")
    };
    // A build that is asked for before the claim has come around does the step itself: then another.
    let (n, first) = (0..50)
        .find_map(|n| {
            let first = mesh.build(1, &steps(n, ""));
            assert_eq!(first["executed"], 1);
            let run = mesh.build(0, &steps(n, ""));
            (run["executed"] == 0 && made(&run) == made(&first)).then_some((n, first))
        })
        .expect("what one has built is known to the other");
    // Its only holder has lost it, and does not know yet.
    lose_objects(mesh.places[1].data(), &format!("same{n}\n"));
    let more = "(run (shell \"cat /same; echo on > /on\"))";
    let second = mesh.build(0, &steps(n, more));
    assert_eq!(second["state"], "ok", "{second:#}");
    assert_eq!(made(&second)[0].0, made(&first)[0].0);
}

#[test]
fn a_layer_that_comes_out_otherwise_fails_no_build_of_the_next() {
    if let Some(why) = obstacle() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let mesh = Mesh::new("other-layer", &["bob"]);
    let drawn = "(run (shell \"echo drawn$RANDOM$RANDOM > /drawn; cat /drawn\"))";
    let first = mesh.build(1, &format!("((from tools:1) {drawn})"));
    let run = first["id"].as_str().expect("an id");
    let log = mesh.places[1].ok(&["log", run]);
    lose_objects(mesh.places[1].data(), &log);
    let both = format!("((from tools:1) {drawn} (run (shell \"cat /drawn\")))");
    let output = mesh.try_build(0, &both);
    let said = text(&output.stdout) + &text(&output.stderr);
    if !output.status.success() {
        assert!(
            said.contains("infrastructure failure, not the project's"),
            "{said}"
        );
        assert!(said.contains("made again it is another"), "{said}");
    }
    let again = mesh.build(0, &both);
    assert_eq!(again["state"], "ok", "{again:#}");
}

/// Removes the objects with these bytes from a store.
fn lose_objects(data: &Path, bytes: &str) {
    let mut lost = 0;
    let mut dirs = vec![data.join("store")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("a directory").flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => dirs.push(path),
                Ok(kind)
                    if kind.is_file()
                        && fs::read(&path).is_ok_and(|read| read == bytes.as_bytes()) =>
                {
                    fs::remove_file(path).expect("removed");
                    lost += 1;
                }
                _ => {}
            }
        }
    }
    assert!(lost > 0, "nothing of these bytes is there");
}

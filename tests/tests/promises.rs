//! What a node says at its start of the defences that its host lacks, and that it runs nothing with
//! less unless its configuration names it. Real nodes, and hosts that lack something in mounts of
//! their own; also a node whose steps are started by an OCI runtime.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use caravan_tests::{
    host::{Place, Scratch, obstacle, program, text},
    rootfs,
};
use serde_json::Value;

/// Programs of the image.
const TOOLS: [&str; 3] = ["sh", "cat", "id"];
/// Hides all control groups from the program that it becomes.
const NO_GROUPS: &str = "umount --lazy /sys/fs/cgroup; exec \"$@\"";

/// A node's directory with a configuration.
struct World {
    place: Place,
}

/// A node on such a host; killed when dropped.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl World {
    fn configure(&self, words: &str) {
        fs::create_dir_all(self.place.data()).expect("a directory");
        fs::write(self.place.data().join("config.toml"), words).expect("a file");
    }

    /// A node as it is configured, where there are control groups or not.
    fn command(&self, groups: bool) -> Command {
        let mut command = Command::new("unshare");
        let script = if groups { "exec \"$@\"" } else { NO_GROUPS };
        command
            .args(["--mount", "sh", "-ec", script, "sh"])
            .arg(program())
            .arg("--data")
            .arg(self.place.data())
            .args(["node", "run", "--http", "none"])
            .stdin(Stdio::null());
        command
    }

    /// What a node says that does not start.
    fn refuses(&self, groups: bool, code: i32) -> String {
        let output = self.command(groups).output().expect("the program starts");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        said
    }

    fn start(&self, groups: bool) -> Started {
        let mut command = self.command(groups);
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let out = child.stdout.take().expect("piped");
        let node = Started(child);
        let mut first = String::new();
        BufReader::new(out)
            .read_line(&mut first)
            .expect("it says something");
        assert!(
            first.starts_with("node "),
            "the node did not start: {first:?}"
        );
        node
    }

    fn sandbox(&self) -> Value {
        let status = self.place.ok(&["node", "status", "--json"]);
        let status: Value = serde_json::from_str(&status).expect("a status");
        status["sandbox"].clone()
    }
}

#[test]
fn a_node_runs_with_less_only_where_its_configuration_names_it() {
    if let Some(why) = obstacle() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let scratch = Scratch::new("promises");
    let world = World {
        place: Place::here(scratch.path("data")),
    };
    world.configure("");
    let said = world.refuses(false, 3);
    let names = ["memory-limit", "process-count-limit", "processor-limit"];
    for name in names {
        assert!(said.contains(&format!("no {name}: ")), "{said}");
    }
    let accept = names.map(|name| format!("\"{name}\"")).join(", ");
    assert!(said.contains(&format!("accept = [{accept}]")), "{said}");
    world.configure("[sandbox]\naccept = [\"memory-limit\", \"processor-limit\"]\n");
    let said = world.refuses(false, 3);
    assert!(
        said.contains("accept = [\"process-count-limit\"]"),
        "{said}"
    );
    world.configure(&format!("[sandbox]\naccept = [{accept}]\n"));
    {
        let _node = world.start(false);
        let shown = world.place.ok(&["node", "status"]);
        assert!(shown.contains("sandbox  own\n"), "{shown}");
        assert!(
            names
                .iter()
                .all(|name| shown.contains(&format!("no {name}: "))),
            "{shown}"
        );
        let profile = world.sandbox()["profile"]
            .as_str()
            .expect("a text")
            .to_owned();
        assert!(
            profile.ends_with(&format!("own, without {}", names.join(", "))),
            "{profile}"
        );
    }
    for (words, part) in [
        ("accept = [\"user-namespace\"]", "no job runs without it"),
        (
            "accept = [\"everything\"]",
            "there is no defence of that name",
        ),
    ] {
        world.configure(&format!("[sandbox]\n{words}\n"));
        let said = world.refuses(true, 4);
        assert!(
            said.contains(part) && said.contains("config.toml"),
            "{said}"
        );
    }
    world.configure("[sandbox]\nruntime = \"no-such-runtime\"\n");
    let said = world.refuses(true, 3);
    assert!(
        said.contains("no-such-runtime") && said.contains("apt-get install"),
        "{said}"
    );
}

#[test]
fn an_oci_runtime_starts_the_steps_of_a_node_that_names_it() {
    if let Some(why) = obstacle() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    for name in ["runc", "crun"] {
        if Command::new(name).arg("--version").output().is_err() {
            eprintln!("SKIPPED: {name} is not installed");
            continue;
        }
        let scratch = Scratch::new(&format!("runtime-{name}"));
        let world = World {
            place: Place::here(scratch.path("data")),
        };
        world.configure(&format!("[sandbox]\nruntime = \"{name}\"\n"));
        let said = world.refuses(true, 3);
        assert!(
            said.contains("no landlock: ") && said.contains("an OCI runtime"),
            "{said}"
        );
        world.configure(&format!(
            "[sandbox]\nruntime = \"{name}\"\naccept = [\"landlock\"]\n"
        ));
        let root = scratch.path("rootfs");
        rootfs::of_host(&root, &TOOLS);
        let src = scratch.path("src");
        fs::create_dir(&src).expect("a directory");
        fs::write(src.join("file"), "copied\n").expect("a file");
        let spec = scratch.path("it.spec");
        let words = "((from tools:1) (shell /bin/sh -c) (user (uid 1000) (gid 1000)) (workdir /src)
                      (copy (src file) (dst ./)) (run (shell \"id -u; cat file /proc/1/cmdline\")))";
        fs::write(&spec, words).expect("a file");
        let _node = world.start(true);
        let plain = |path: &Path| path.to_str().expect("plain").to_owned();
        let _ = world
            .place
            .ok(&["image", "import", "tools:1", &plain(&root)]);
        let log = world
            .place
            .ok(&["build", "-f", &plain(&spec), &plain(&src)]);
        assert!(log.contains("1000\ncopied\n"), "{log}");
        let runtime = world.sandbox()["runtime"]
            .as_str()
            .expect("a text")
            .to_owned();
        assert!(
            runtime.starts_with(&format!("{name} version ")),
            "{runtime}"
        );
    }
}

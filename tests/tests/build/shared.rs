//! One step that two ask for at once: done once, seen by both from its beginning, and stopped only
//! by the last of them. And a step that its node does not allow.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use caravan_tests::host::{Place, text, until};
use serde_json::Value;

use super::World;

/// The runs that have a running step of this label.
fn running(world: &World, label: &str) -> Vec<String> {
    let output = world.place.run(&["job", "list", "--json"]);
    let runs: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let runs = runs.as_array().cloned().unwrap_or_default();
    let is_running = |run: &&Value| {
        let steps = run["steps"].as_object().into_iter().flatten();
        steps
            .map(|(_, step)| step)
            .any(|step| step["state"] == "running" && step["label"] == label)
    };
    let ids = runs.iter().filter(is_running);
    ids.filter_map(|run| Some(run["id"].as_str()?.to_owned()))
        .collect()
}

fn begin(world: &World, spec: &str) -> Child {
    let mut command = world.command(spec, &[]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

fn interrupt(child: &Child) {
    let _ = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
}

/// Two builds, the second begun while the step of the first runs.
fn two(world: &World, script: &str) -> [Child; 2] {
    let spec = format!("((from tools:1) (run (shell \"{script}\")))");
    let label = format!("run: {script}");
    let both = [1, 2].map(|count| {
        let child = begin(world, &spec);
        until("the step runs", || {
            (running(world, &label).len() == count).then_some(())
        });
        child
    });
    assert_eq!(jobs(world), 1, "the step runs once");
    both
}

/// Work places that the node's steps have now.
fn jobs(world: &World) -> usize {
    let dir = world.place.data().join("store/work");
    let listed = std::fs::read_dir(dir).expect("the store's").flatten();
    listed.filter(|entry| entry.file_name() != "trash").count()
}

pub(super) fn steps_are_shared_and_bounded(world: &World) {
    a_step_is_shared(world);
    a_node_that_allows_less_refuses(world);
}

fn a_step_is_shared(world: &World) {
    let [first, second] = two(world, "echo begun; sleep 5; echo over");
    interrupt(&first);
    let gone = first.wait_with_output().expect("it ends");
    assert_eq!(gone.status.code(), Some(130));
    assert!(text(&gone.stdout).contains("\nbegun\n"), "{gone:?}");
    let done = second.wait_with_output().expect("it ends");
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert!(text(&done.stdout).contains("\nbegun\nover\n"), "{done:?}");

    let [first, second] = two(world, "echo endless; sleep 1000");
    for child in [first, second] {
        assert_eq!(jobs(world), 1, "somebody still wants it");
        interrupt(&child);
        let output = child.wait_with_output().expect("it ends");
        assert!(text(&output.stdout).contains("\nendless\n"), "{output:?}");
    }
    let left = Instant::now();
    until("the step is gone", || (jobs(world) == 0).then_some(()));
    assert!(
        left.elapsed() < Duration::from_secs(1),
        "{:?}",
        left.elapsed()
    );
}

fn a_node_that_allows_less_refuses(world: &World) {
    let place = Place::here(world.scratch.path("small"));
    let root = world.scratch.path("rootfs");
    let _ = place.ok(&["image", "import", "tools:1", root.to_str().expect("plain")]);
    let config = place.data().join("config.toml");
    std::fs::write(config, "[limits]\nmemory = \"1GiB\"\n").expect("a file");
    let spec = world.spec("((from tools:1) (run (shell \"echo begun\")))");
    let output = place.run(&["build", "-f", &spec, world.src.to_str().expect("plain")]);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_ne!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("it asks for 8 GiB of memory and this node allows 1 GiB of memory"),
        "{said}"
    );
    assert!(!said.contains("\nbegun"), "{said}");
}

//! Whether nodes take work, told from one to the other by real nodes: pauses, cordons, drains,
//! revocations, renewed certificates, and two machines with one directory. All on the loopback
//! interface, with free ports.

use std::{fs, path::Path, process::Command};

use caravan_tests::host::{NodeProcess, Place, Scratch, obstacle, text, until};
use serde_json::Value;

/// What every node here is run with.
const RUN: [&str; 4] = ["--listen", "/ip4/127.0.0.1/tcp/0", "--http", "none"];

/// A founding node and others that have joined it.
struct Mesh {
    scratch: Scratch,
    founder: Place,
    /// Running, unless a test says otherwise.
    running: Option<NodeProcess>,
}

impl Mesh {
    /// A founding node that runs, with this in its configuration.
    fn new(name: &str, config: &str) -> Self {
        let scratch = Scratch::new(name);
        let founder = Place::here(scratch.path("founder"));
        fs::create_dir_all(founder.data()).expect("a directory");
        fs::write(founder.data().join("config.toml"), config).expect("a file");
        let running = Some(founder.node(&RUN));
        Self {
            scratch,
            founder,
            running,
        }
    }

    /// A directory that has joined.
    fn joined(&self, operator: &str) -> Place {
        let place = Place::here(self.scratch.path(operator));
        let token = self.founder.ok(&["invite", "--operator", operator]);
        let token = token.lines().next().expect("a token");
        let _ = place.ok(&["join", token]);
        place
    }
}

fn status(place: &Place) -> Option<Value> {
    let output = place.run(&["node", "status", "--json"]);
    serde_json::from_slice(&output.stdout).ok()
}

fn id(place: &Place) -> String {
    let status = until("a node answers", || status(place));
    status["node"].as_str().expect("an id").to_owned()
}

/// A node as another sees it.
fn seen(by: &Place, node: &str) -> Option<Value> {
    let nodes = status(by)?["nodes"].as_array()?.clone();
    nodes.into_iter().find(|seen| seen["node"] == node)
}

/// Waits until a node is seen in this mode, and gives the reason that it says.
fn mode(by: &Place, node: &str, mode: &str) -> String {
    until(&format!("{node} is seen as {mode}"), || {
        let seen = seen(by, node)?;
        let why = seen["why"].as_str().unwrap_or_default().to_owned();
        (seen["mode"] == mode).then_some(why)
    })
}

fn skipped() -> bool {
    let obstacle = obstacle();
    if let Some(why) = obstacle {
        eprintln!("SKIPPED: {why}");
    }
    obstacle.is_some()
}

#[test]
fn what_a_node_is_told_reaches_the_others_and_outlives_a_kill() {
    if skipped() {
        return;
    }
    let mesh = Mesh::new("standing", "");
    let (donor, other) = (mesh.joined("ann"), mesh.joined("bob"));
    let mut running = donor.node(&RUN);
    let others = other.node(&RUN);
    let (node, second) = (id(&donor), id(&other));
    assert_eq!(mode(&mesh.founder, &node, "open"), "");
    a_pause(&mesh, &donor, &node, &mut running);
    a_cordon(&mesh, &donor, &node, &mut running);
    machines_are_known(&mesh.founder, &node);
    a_drain(&mesh, &donor, &node, &other, running);
    a_revocation(&mesh, &second, others);
}

fn a_pause(mesh: &Mesh, donor: &Place, node: &str, running: &mut NodeProcess) {
    let said = donor.ok(&["node", "pause", "lunch"]);
    assert!(said.contains("paused by ann: lunch"), "{said}");
    assert_eq!(mode(&mesh.founder, node, "paused"), "paused by ann: lunch");
    running.kill();
    *running = donor.node(&RUN);
    assert_eq!(mode(donor, node, "paused"), "paused by ann: lunch");
    let _ = donor.ok(&["node", "resume"]);
    assert_eq!(mode(&mesh.founder, node, "open"), "");
}

/// The council's word reaches a node that was away when it was said.
fn a_cordon(mesh: &Mesh, donor: &Place, node: &str, running: &mut NodeProcess) {
    let refused = donor.run(&["node", "cordon", &id(&mesh.founder)]);
    assert!(
        !refused.status.success() && text(&refused.stderr).contains("founding node"),
        "a donor cordons others: {}",
        text(&refused.stderr)
    );
    running.kill();
    let _ = mesh.founder.ok(&["node", "cordon", node, "a new disk"]);
    *running = donor.node(&RUN);
    let why = mode(donor, node, "cordoned");
    assert_eq!(why, "cordoned by the council (local): a new disk");
    until("its own words reach the founding node", || {
        (mode(&mesh.founder, node, "cordoned") == why).then_some(())
    });
    running.kill();
    *running = donor.node(&RUN);
    assert_eq!(mode(donor, node, "cordoned"), why, "it was forgotten");
    let resumed = donor.ok(&["node", "resume"]);
    assert!(resumed.contains("cordoned"), "it freed itself: {resumed}");
    let _ = mesh.founder.ok(&["node", "uncordon", node]);
    assert_eq!(mode(donor, node, "open"), "");
    assert_eq!(mode(&mesh.founder, node, "open"), "");
}

fn machines_are_known(by: &Place, node: &str) {
    let seen = seen(by, node).expect("it is here");
    for figure in ["cores", "memory_bytes", "disk_bytes", "since", "expires"] {
        assert!(seen[figure].as_u64() > Some(0), "no {figure}: {seen:#}");
    }
    let offers = seen["offers"].as_array().expect("what it builds for");
    assert!(offers.iter().any(|offer| offer["emulated"] == false));
    let abilities = seen["abilities"].as_array().expect("names");
    assert!(abilities.contains(&Value::from("system-call-filter")));
}

fn a_drain(mesh: &Mesh, donor: &Place, node: &str, other: &Place, mut running: NodeProcess) {
    let _ = donor.ok(&["node", "drain"]);
    until("a drained node ends", || running.ended());
    assert_eq!(mode(&mesh.founder, node, "left"), "it left in order");
    assert_eq!(mode(other, node, "left"), "it left in order");
    running = donor.node(&RUN);
    assert_eq!(mode(&mesh.founder, node, "open"), "", "it came back");
    drop(running);
}

fn a_revocation(mesh: &Mesh, node: &str, mut running: NodeProcess) {
    let witness = mesh.joined("eve");
    let mut watching = witness.node(&RUN);
    assert_eq!(mode(&witness, node, "open"), "");
    let _ = mesh.founder.ok(&["node", "revoke", node]);
    let begun = std::time::Instant::now();
    let gone = |by: &Place| status(by).is_some() && seen(by, node).is_none();
    until("a third node knows", || gone(&witness).then_some(()));
    assert!(
        begun.elapsed().as_secs() < 10,
        "it took {:?}",
        begun.elapsed()
    );
    watching.kill();
    let _ = mesh.founder.ok(&["node", "stop"]);
    // Nobody is there to tell it again.
    watching = witness.node(&RUN);
    assert!(gone(&witness), "it was forgotten");
    running.kill();
    drop(watching);
}

#[test]
fn certificates_are_renewed_while_the_founding_node_comes_and_goes() {
    if skipped() {
        return;
    }
    let config = "[membership]\ncertificate_life = \"24s\"\n";
    let mut mesh = Mesh::new("renewal", config);
    let donor = mesh.joined("ann");
    let running = donor.node(&RUN);
    let node = id(&donor);
    let expires = |place: &Place| seen(place, &node)?["expires"].as_u64();
    assert_eq!(mode(&mesh.founder, &node, "open"), "");
    let first = until("it is a member", || expires(&donor));
    // Away when half of its life is over, and back before the end.
    mesh.running.take().expect("it ran").kill();
    until("half of its life is over", || {
        let left = first.checked_sub(now_ms())?;
        (left < 10_000).then_some(())
    });
    mesh.running = Some(mesh.founder.node(&RUN));
    let mut last = first;
    for round in 0..2 {
        let next = until("the next certificate", || {
            expires(&donor).filter(|next| *next > last)
        });
        assert!(now_ms() < last, "there was a gap in round {round}");
        last = next;
    }
    until("the founder shows it as well", || {
        expires(&mesh.founder).filter(|known| *known >= last)
    });
    assert_eq!(mode(&mesh.founder, &node, "open"), "");
    drop(running);
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.expect("after 1970").as_millis()).expect("small")
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.expect("cp runs").success());
}

#[test]
fn a_copied_directory_is_said_by_those_who_run_it() {
    if skipped() {
        return;
    }
    let mesh = Mesh::new("twins", "");
    let donor = mesh.joined("ann");
    let twin = Place::here(mesh.scratch.path("copy"));
    copy(donor.data(), twin.data());

    // Told from each other by their machines, before a word is said.
    let mark = twin.data().join("machine");
    if let Ok(machine) = fs::read_to_string(&mark) {
        fs::write(&mark, "another\n").expect("writable");
        let refused = twin.run(&["node", "run", "--http", "none"]);
        let said = text(&refused.stderr);
        assert!(!refused.status.success(), "{said}");
        assert!(
            said.contains("another machine") && said.contains("invite"),
            "{said}"
        );
        fs::write(&mark, machine).expect("writable");
    }

    // Machines that cannot be told apart are, by what they say.
    let both = [donor.node(&RUN), twin.node(&RUN)];
    let told = |place: &Place| {
        let status = status(place)?;
        let told = status["notices"].to_string() + status["standing"].as_str().unwrap_or_default();
        (told.contains("two machines") || told.contains("another machine")).then_some(())
    };
    until("the founding node knows", || told(&mesh.founder));
    until("one of them knows", || told(&donor).or_else(|| told(&twin)));
    drop(both);
}

#[test]
fn a_node_without_a_network_waits_and_says_so_and_a_taken_port_is_named() {
    if skipped() {
        return;
    }
    let mesh = Mesh::new("alone", "");
    let donor = mesh.joined("ann");
    let _ = mesh.founder.ok(&["node", "stop"]);
    let running = donor.node(&RUN);
    let told = until("it says that it waits", || {
        let notices = status(&donor)?["notices"].to_string();
        (notices.len() > 2).then_some(notices)
    });
    assert!(told.contains("reach") || told.contains("network"), "{told}");
    drop(running);

    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let listen = format!("/ip4/127.0.0.1/tcp/{port}");
    let refused = donor.run(&["node", "run", "--listen", &listen, "--http", "none"]);
    let said = text(&refused.stderr);
    assert!(!refused.status.success());
    assert!(
        said.contains("taken") && said.contains(&port.to_string()),
        "{said}"
    );
}

/// A base of one static program.
fn tools(mesh: &Mesh) -> bool {
    let program = Path::new("/bin/busybox");
    if !program.exists() {
        eprintln!("SKIPPED: this host has no static busybox");
        return false;
    }
    let bin = mesh.scratch.path("rootfs/bin");
    fs::create_dir_all(&bin).expect("a directory");
    fs::create_dir_all(mesh.scratch.path("src")).expect("a directory");
    for name in ["sh", "sleep"] {
        fs::copy(program, bin.join(name)).expect("a copy");
    }
    let root = mesh.scratch.path("rootfs");
    let root = root.to_str().expect("plain");
    let _ = mesh.founder.ok(&["image", "import", "tools:1", root]);
    true
}

/// Builds a step that nobody has built before.
fn build(mesh: &Mesh, words: &str, more: &[&str]) -> Command {
    let spec = mesh.scratch.path("it.spec");
    let text = format!("((from tools:1) (shell /bin/sh -c) (run (shell \"{words}\")))");
    fs::write(&spec, text).expect("a file");
    let (spec, src) = (spec.display().to_string(), mesh.scratch.path("src"));
    let src = src.display().to_string();
    let args: Vec<&str> = ["build", "-f", &spec, &src]
        .into_iter()
        .chain(more.iter().copied())
        .collect();
    mesh.founder.command(&args)
}

/// Who ran the steps of the newest run.
fn ran_on(by: &Place) -> Vec<String> {
    let status = status(by).expect("it runs");
    let steps = status["runs"][0]["steps"].as_object().expect("steps");
    let nodes = steps.values().map(|step| step["node"].as_str());
    nodes.map(|node| node.expect("it ran").to_owned()).collect()
}

#[test]
fn a_step_runs_where_it_is_asked_for_and_a_drain_ends_it_first() {
    if skipped() {
        return;
    }
    let mesh = Mesh::new("placed", "");
    if !tools(&mesh) {
        return;
    }
    let donor = mesh.joined("ann");
    let mut running = donor.node(&RUN);
    let (here, there) = (id(&mesh.founder), id(&donor));
    assert_eq!(mode(&mesh.founder, &there, "open"), "");
    for (number, (flag, node, ran)) in [
        ("--on", &there, &there),
        ("--on", &here, &here),
        ("--not-on", &here, &there),
        ("--not-on", &there, &here),
    ]
    .into_iter()
    .enumerate()
    {
        let done = build(&mesh, &format!("echo {number}"), &[flag, node]).output();
        let done = done.expect("it starts");
        assert!(done.status.success(), "{}", text(&done.stderr));
        assert_eq!(
            ran_on(&mesh.founder),
            std::slice::from_ref(ran),
            "{flag} {node}"
        );
    }

    let mut slow = build(&mesh, "sleep 3; echo slept", &["--on", &there]);
    let mut slow = slow.spawn().expect("it starts");
    until("it runs there", || {
        let seen = seen(&donor, &there)?;
        (seen["running"].as_u64() > Some(0)).then_some(())
    });
    let _ = donor.ok(&["node", "drain"]);
    until("a drained node ends", || running.ended());
    assert!(slow.wait().expect("it ends").success(), "it was given up");
    assert_eq!(ran_on(&mesh.founder), std::slice::from_ref(&there));

    let refused = build(&mesh, "echo gone", &["--on", &there]).output();
    let said = text(&refused.expect("it starts").stderr);
    assert!(said.contains("it is not here: it left in order"), "{said}");
}

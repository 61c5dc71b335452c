//! Joining and leaving, with the program as people run it: on hosts of a network of their own, with
//! nothing but what the README says.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use caravan_tests::{
    host::{NodeProcess, Place, Scratch, obstacle, text},
    hosts::Lan,
};
use serde_json::Value;

#[path = "joining/alone.rs"]
mod alone;

/// What the README promises for three hosts, each.
const JOIN_MAX: Duration = Duration::from_secs(60);

/// Runs it and wants this exit code and all of these words.
fn refused(place: &Place, args: &[&str], code: i32, words: &[&str]) {
    let output = place.run(args);
    let said = text(&output.stderr) + &text(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{args:?} should say {word:?}: {said}");
    }
}

fn members(place: &Place) -> Vec<Value> {
    let output = place.run(&["nodes", "--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// Waits until so many members are open, as this node sees it.
fn until_open(place: &Place, count: usize) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let all = members(place);
        let open = all.iter().filter(|node| node["mode"] == "open").count();
        if open == count {
            return all;
        }
        let all = Value::from(all);
        assert!(
            begun.elapsed() < JOIN_MAX,
            "{open} of {count} are open: {all:#}"
        );
    }
}

fn invite(place: &Place, operator: &str) -> String {
    let said = place.ok(&["invite", "--operator", operator, "--tier", "donor"]);
    said.trim().to_owned()
}

/// Small enough for any machine that tests run on.
const LENDS: [&str; 7] = [
    "--cores", "1", "--memory", "1GiB", "--disk", "8GiB", "--yes",
];

fn join(place: &Place, token: &str) -> String {
    place.ok(&[&["join", token][..], &LENDS].concat())
}

fn found(place: &Place, operator: &str) -> NodeProcess {
    let said = place.ok(&[&["node", "init", "--operator", operator][..], &LENDS].concat());
    assert!(
        said.contains("founded mesh") && said.contains("caravan invite"),
        "{said}"
    );
    place.node(&["--http", "none"])
}

#[test]
fn three_hosts_are_joined_in_under_a_minute_each() {
    if let Some(why) = obstacle() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let scratch = Scratch::new("three");
    let lan = Lan::new(3);
    let place =
        |number: usize| Place::here(scratch.path(&format!("node{number}"))).on(lan.host(number));
    let begun = Instant::now();
    let _first = found(&place(0), "ann");
    eprintln!("founded in {:.1} s", begun.elapsed().as_secs_f64());
    let mut nodes = Vec::new();
    for number in 1..3 {
        let begun = Instant::now();
        let token = invite(&place(0), "bob");
        assert!(token.len() < 120, "{} characters: {token}", token.len());
        let said = join(&place(number), &token);
        assert!(
            said.contains("joined mesh") && said.contains("operator bob, donor"),
            "{said}"
        );
        assert!(
            said.contains("start it: caravan ") && said.contains("node leave"),
            "{said}"
        );
        nodes.push(place(number).node(&["--http", "none"]));
        until_open(&place(0), number + 1);
        let took = begun.elapsed();
        assert!(took < JOIN_MAX, "host {number} took {took:?}");
        let length = token.len();
        eprintln!(
            "host {number} joined in {:.1} s, token of {length}",
            took.as_secs_f64()
        );
    }
    for number in 0..3 {
        let all = until_open(&place(number), 3);
        for node in &all {
            assert!(
                node["cores"].as_u64().is_some_and(|cores| cores > 0),
                "no facts: {node:#}"
            );
        }
        let table = place(number).ok(&["nodes"]);
        assert!(
            table.starts_with("NODE ") && table.lines().count() == 4,
            "{table}"
        );
    }
    one_operator_tells_its_node_what_to_do(&place(1), &place(0));
    what_was_used_stays_used(&place, &scratch, &lan);
    a_donor_leaves_without_a_trace(&place(2), nodes.pop().expect("two"), &place(0));
}

/// Pause, resume, cordon and uncordon, and what the others see of it.
fn one_operator_tells_its_node_what_to_do(donor: &Place, founder: &Place) {
    let id = |place: &Place| {
        let all = members(place);
        let own = all.iter().find(|node| node["here"] == true);
        own.and_then(|node| node["node"].as_str())
            .expect("an id")
            .to_owned()
    };
    let donor_id = id(donor);
    let seen = |word: &str, why: &str| {
        let begun = Instant::now();
        loop {
            let all = members(founder);
            let found = all.iter().find(|node| node["node"] == *donor_id).cloned();
            let node = found.unwrap_or_default();
            if node["mode"] == word && node["why"].as_str().unwrap_or_default().contains(why) {
                return;
            }
            assert!(
                begun.elapsed() < JOIN_MAX,
                "never {word} because {why:?}: {node:#}"
            );
        }
    };
    let said = donor.ok(&["node", "pause", "my", "thesis"]);
    assert!(said.contains("my thesis"), "{said}");
    seen("paused", "");
    let _ = donor.ok(&["node", "resume"]);
    seen("open", "");
    let _ = founder.ok(&["node", "cordon", &donor_id[..12], "its", "fan"]);
    seen("cordoned", "its fan");
    let _ = founder.ok(&["node", "uncordon", &donor_id[..12]]);
    seen("open", "");
    refused(
        founder,
        &["node", "cordon", "zzzz"],
        4,
        &["there is none", "caravan nodes"],
    );
}

fn what_was_used_stays_used(place: &impl Fn(usize) -> Place, scratch: &Scratch, lan: &Lan) {
    let founder = place(0);
    let other = Place::here(scratch.path("other")).on(lan.host(1));
    let token = invite(&founder, "carol");
    join(&other, &token);
    let again = join(&other, &token);
    assert!(
        again.contains("a member of mesh") && again.contains("already"),
        "{again}"
    );
    let third = Place::here(scratch.path("third")).on(lan.host(1));
    refused(
        &third,
        &["join", &token, "--yes"],
        3,
        &["used before", "caravan invite"],
    );
    let list = founder.ok(&["invite", "--list"]);
    assert!(list.contains("used by"), "{list}");

    let withdrawn = invite(&founder, "dave");
    let open = founder.ok(&["invite", "--list", "--json"]);
    let open: Value = serde_json::from_str(&open).expect("JSON");
    let open = open
        .as_array()
        .and_then(|all| all.iter().find(|one| one["operator"] == "dave"));
    let id = open
        .and_then(|one| one["id"].as_str())
        .expect("it is listed");
    let _ = founder.ok(&["invite", "--withdraw", &id[..8]]);
    refused(
        &third,
        &["join", &withdrawn, "--yes"],
        3,
        &["does not know this invite"],
    );
    refused(
        &founder,
        &["invite", "--withdraw", &withdrawn],
        3,
        &["none that is still open"],
    );
    refused(
        &place(1),
        &["invite", "--operator", "eve"],
        3,
        &["founding node"],
    );
    refused(
        &founder,
        &["invite", "--operator", "a b"],
        3,
        &["letters, digits"],
    );

    // A founder of another mesh is a member of its own.
    let token = invite(&founder, "frank");
    let own = Place::here(scratch.path("own"));
    let _ = own.ok(&["node", "init", "--operator", "own", "--yes"]);
    refused(
        &own,
        &["join", &token, "--yes"],
        4,
        &["a mesh of its own", "node leave --keep-store"],
    );
    let _ = own.ok(&["node", "leave", "--yes", "--keep-store"]);
    let joined = join(&own.on(lan.host(1)), &token);
    assert!(joined.contains("joined mesh"), "{joined}");
}

fn a_donor_leaves_without_a_trace(donor: &Place, mut node: NodeProcess, founder: &Place) {
    let _ = until_open(founder, 3);
    let said = donor.ok(&["node", "leave", "--yes"]);
    assert!(said.contains("nothing of the node is left"), "{said}");
    assert!(!donor.data().exists());
    assert_eq!(traces(donor.data()), Vec::<String>::new());
    node.interrupt();
    let begun = Instant::now();
    loop {
        let now = members(founder);
        let of = |mode: &str| now.iter().filter(|node| node["mode"] == mode).count();
        if (of("open"), of("left")) == (2, 1) {
            break;
        }
        let now = Value::from(now);
        assert!(
            begun.elapsed() < JOIN_MAX,
            "the one that left is still there: {now:#}"
        );
    }
    refused(
        donor,
        &["node", "leave", "--yes"],
        4,
        &["there is no node in"],
    );
}

/// What of a node is anywhere on this machine: processes, mounts, control groups, units.
fn traces(data: &Path) -> Vec<String> {
    let name = data.display().to_string();
    let mut found = Vec::new();
    for item in fs::read_dir("/proc").expect("proc is mounted").flatten() {
        let words = fs::read(item.path().join("cmdline")).unwrap_or_default();
        let words = text(&words).replace('\0', " ");
        if words.contains(&name) {
            found.push(words);
        }
    }
    let mounts = fs::read_to_string("/proc/self/mounts").expect("readable");
    found.extend(
        mounts
            .lines()
            .filter(|line| line.contains(&name))
            .map(str::to_owned),
    );
    let tag = caravan_protocol::ids::BlobId::of(name.as_bytes()).fmt_short();
    let groups = Command::new("find")
        .args(["/sys/fs/cgroup", "-type", "d", "-name"])
        .arg(format!("caravan-n{tag}*"))
        .output()
        .expect("find runs");
    found.extend(text(&groups.stdout).lines().map(str::to_owned));
    for directory in ["/etc/systemd/system", "/etc/passwd"] {
        let units = Command::new("grep")
            .args(["-rls", &name, directory])
            .output()
            .expect("grep runs");
        found.extend(text(&units.stdout).lines().map(str::to_owned));
    }
    found
}

#[test]
fn joining_may_be_killed_anywhere_and_done_again() {
    if let Some(why) = obstacle() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let scratch = Scratch::new("killed");
    let lan = Lan::new(2);
    let founder = Place::here(scratch.path("founder")).on(lan.host(0));
    let _node = found(&founder, "ann");
    let token = invite(&founder, "bob");
    let place = Place::here(scratch.path("data")).on(lan.host(1));
    let words = [&["join", token.as_str()][..], &LENDS].concat();
    for mark in [
        "store",
        "identity.partial",
        "identity",
        "joined",
        "config.toml.partial",
    ] {
        let mut command = place.command(&words);
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the program starts");
        let path = place.data().join(mark);
        while !path.exists() && child.try_wait().expect("ours").is_none() {}
        child.kill().expect("ours");
        child.wait().expect("ours");
    }
    let said = join(&place, &token);
    assert!(said.contains("mesh"), "{said}");
    assert!(place.data().join("config.toml").exists() && place.data().join("joined").exists());
    let _second = place.node(&["--http", "none"]);
    until_open(&founder, 2);
}

#[test]
fn what_keeps_a_node_from_its_mesh_is_said() {
    if let Some(why) = obstacle() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let scratch = Scratch::new("kept");
    let mut lan = Lan::new(3);
    let founder = Place::here(scratch.path("founder")).on(lan.host(0));
    let first = found(&founder, "ann");
    let donor = Place::here(scratch.path("donor")).on(lan.host(1));
    join(&donor, &invite(&founder, "bob"));

    // The port is taken.
    let taken = lan.on(1, || {
        std::net::TcpListener::bind("0.0.0.0:4100").expect("free")
    });
    refused(
        &donor,
        &["node", "run", "--http", "none"],
        3,
        &["port is taken", "4100"],
    );
    drop(taken);

    // A copy of the directory on another machine.
    let machine = donor.data().join("machine");
    if let Ok(here) = fs::read_to_string(&machine) {
        fs::write(&machine, "another\n").expect("writable");
        refused(&donor, &["node", "run", "--http", "none"], 3, &["machine"]);
        fs::write(&machine, here).expect("writable");
    }

    // No network when it starts: it says so, waits, and is there when the network is.
    lan.partition(&[&[0, 2], &[1]]);
    let second = donor.node(&["--http", "none"]);
    let begun = Instant::now();
    while !donor
        .ok(&["node", "status"])
        .contains("no member is reached")
    {
        assert!(
            begun.elapsed() < JOIN_MAX,
            "{}",
            donor.ok(&["node", "status"])
        );
    }
    lan.heal();
    until_open(&donor, 2);
    drop(second);

    // Nobody answers at the invite's address, or somebody else.
    let token = invite(&founder, "carol");
    drop(first);
    let stranger = Place::here(scratch.path("stranger")).on(lan.host(0));
    let _other = found(&stranger, "eve");
    let third = Place::here(scratch.path("third")).on(lan.host(2));
    refused(
        &third,
        &["join", &token, "--yes"],
        3,
        &["another node answers"],
    );
}

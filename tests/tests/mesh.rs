//! Meshes of real nodes on hosts of their own: they join by token, know each other, learn of deaths,
//! partitions and revocations, and find each other again. Nothing is waited for longer than it may
//! take.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use caravan_tests::{
    host::{NodeProcess, Place, Scratch, obstacle, text},
    hosts::{Lan, Link},
};
use serde_json::Value;

/// Longest until nodes that can reach each other see each other.
const MEET: Duration = Duration::from_secs(40);
/// Longest until a death is known everywhere.
const DEATH: Duration = Duration::from_secs(30);
/// How long a network stays cut in two.
const APART: Duration = Duration::from_secs(12);
/// Longest until a revocation is known wherever it can be.
const REVOKED: Duration = Duration::from_secs(10);
/// Pause between two looks: a look takes processor time from those that are looked at.
const LOOK: Duration = Duration::from_millis(100);

fn skipped() -> bool {
    if let Some(why) = obstacle() {
        eprintln!("SKIPPED: {why}");
        return true;
    }
    false
}

/// Nodes, the first of which has founded their mesh.
struct Mesh {
    // Ended before their hosts go.
    nodes: Vec<Option<NodeProcess>>,
    places: Vec<Place>,
    ids: Vec<String>,
    more: &'static [&'static str],
    lan: Lan,
    _scratch: Scratch,
}

impl Mesh {
    /// One node on each host, all of them members that run.
    fn of(name: &str, lan: Lan, more: &'static [&'static str]) -> Self {
        let scratch = Scratch::new(name);
        let place = |host| Place::here(scratch.path(&format!("data{host}"))).on(lan.host(host));
        let places: Vec<Place> = (0..lan.hosts()).map(place).collect();
        let mut mesh = Self {
            nodes: Vec::new(),
            places,
            ids: Vec::new(),
            more,
            lan,
            _scratch: scratch,
        };
        let founder = mesh.run(0);
        mesh.nodes.push(Some(founder));
        let tokens: Vec<String> = (1..mesh.places.len())
            .map(|host| mesh.invite(host))
            .collect();
        let rest: Vec<NodeProcess> = thread::scope(|scope| {
            let mesh = &mesh;
            let hosts = tokens.iter().zip(1..);
            let joining: Vec<_> = hosts
                .map(|(token, host)| {
                    scope.spawn(move || {
                        let _ = mesh.places[host].ok(&["join", token]);
                        mesh.run(host)
                    })
                })
                .collect();
            let joined = joining.into_iter().map(|thread| thread.join());
            joined
                .map(|node| node.expect("it joins and starts"))
                .collect()
        });
        mesh.nodes.extend(rest.into_iter().map(Some));
        for place in &mesh.places {
            let status = status(place).expect("it runs");
            mesh.ids
                .push(status["node"].as_str().expect("an id").to_owned());
        }
        mesh
    }

    fn invite(&self, host: usize) -> String {
        let operator = format!("operator{host}");
        await_that("the founder knows its addresses", MEET, || {
            let said = self.places[0].run(&["invite", "--operator", &operator]);
            let token = text(&said.stdout).trim().to_owned();
            if said.status.success() {
                Ok(token)
            } else {
                Err(text(&said.stderr))
            }
        })
    }

    fn run(&self, host: usize) -> NodeProcess {
        let all = ["--slots", "0", "--http", "none", "--port", "4100"];
        let all: Vec<&str> = all.iter().chain(self.more).copied().collect();
        self.places[host].node(&all)
    }

    /// Whom a host's node sees, by host, each with its mode.
    fn seen(&self, by: usize) -> Result<BTreeMap<usize, String>, String> {
        let status = status(&self.places[by])?;
        let nodes = status["nodes"].as_array().ok_or("a status without nodes")?;
        let host = |id: &Value| self.ids.iter().position(|known| id == known);
        let word = |node: &Value| node["mode"].as_str().unwrap_or_default().to_owned();
        Ok(nodes
            .iter()
            .filter_map(|node| Some((host(&node["node"])?, word(node))))
            .collect())
    }

    /// Waits until each of `viewers` sees exactly `alive` of all hosts; how long that took.
    fn agree(&self, what: &str, viewers: &[usize], alive: &[usize], most: Duration) -> Duration {
        let began = Instant::now();
        let mut left = viewers.to_vec();
        await_that(what, most, || {
            left.retain(|viewer| self.living(*viewer).as_deref() != Ok(alive));
            if left.is_empty() {
                return Ok(());
            }
            let behind = left
                .iter()
                .map(|viewer| format!("{viewer} sees {:?}", self.seen(*viewer)));
            Err(behind.collect::<Vec<_>>().join("; "))
        });
        let took = began.elapsed();
        eprintln!("{what}: {took:?}");
        took
    }

    fn living(&self, by: usize) -> Result<Vec<usize>, String> {
        let is_alive = |mode: &str| !matches!(mode, "left" | "away" | "dead" | "revoked");
        let seen = self.seen(by)?.into_iter();
        Ok(seen
            .filter(|(_, mode)| is_alive(mode))
            .map(|(host, _)| host)
            .collect())
    }

    fn kill(&mut self, host: usize) {
        self.nodes[host].take().expect("it runs").kill();
    }

    fn start(&mut self, host: usize) {
        self.nodes[host] = Some(self.run(host));
    }
}

fn status(place: &Place) -> Result<Value, String> {
    let said = place.run(&["node", "status", "--json"]);
    if !said.status.success() {
        return Err(text(&said.stderr));
    }
    serde_json::from_slice(&said.stdout).map_err(|error| error.to_string())
}

/// Asks until the answer is there, or for too long.
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

#[test]
fn five_hosts_know_each_other_through_deaths_pauses_partitions_and_revocation() {
    if skipped() {
        return;
    }
    let mut mesh = Mesh::of("mesh-five", Lan::new(5), &[]);
    let all = [0, 1, 2, 3, 4];
    mesh.agree("all know all", &all, &all, MEET);

    mesh.kill(4);
    mesh.agree("a death is known", &[0, 1, 2, 3], &[0, 1, 2, 3], DEATH);
    mesh.start(4);
    mesh.agree("it is back", &all, &all, MEET);

    mesh.nodes[3].as_ref().expect("it runs").pause();
    mesh.agree(
        "a node that hangs is known",
        &[0, 1, 2, 4],
        &[0, 1, 2, 4],
        DEATH,
    );
    mesh.nodes[3].as_ref().expect("it runs").resume();
    mesh.agree("it goes on", &all, &all, MEET);

    mesh.lan.partition(&[&[0, 1], &[2, 3, 4]]);
    // Whether a side buries the other depends on who watches whom: a node most of whose probes fail
    // doubts itself. Its own side it must not lose.
    let sides: [&[usize]; 2] = [&[0, 1], &[2, 3, 4]];
    let began = Instant::now();
    while began.elapsed() < APART {
        for side in sides {
            for viewer in side {
                let living = mesh.living(*viewer).expect("it answers");
                let has_all = side.iter().all(|own| living.contains(own));
                assert!(has_all, "{viewer} sees {:?}", mesh.seen(*viewer));
            }
        }
        thread::park_timeout(LOOK);
    }
    mesh.lan.heal();
    mesh.agree("views converge", &all, &all, MEET);

    let revoked = mesh.ids[2].clone();
    let _ = mesh.places[0].ok(&["node", "revoke", &revoked]);
    await_that("all others know of the revocation", REVOKED, || {
        for viewer in [0, 1, 3, 4] {
            match mesh.seen(viewer)?.get(&2).map(String::as_str) {
                None | Some("revoked") => {}
                Some(mode) => return Err(format!("{viewer} says it is {mode}")),
            }
        }
        Ok(())
    });
    mesh.agree("the others stay", &[0, 1, 3, 4], &[0, 1, 3, 4], MEET);
}

#[test]
fn a_bad_network_kills_nobody() {
    if skipped() {
        return;
    }
    let mesh = Mesh::of("mesh-bad", Lan::new(4), &[]);
    let all = [0, 1, 2, 3];
    mesh.agree("all know all", &all, &all, MEET);
    let shim = mesh.lan.shim(Link {
        delay: Duration::from_millis(60),
        jitter: Duration::from_millis(40),
        loss_permille: 50,
        seed: 5,
    });
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(12) {
        for viewer in all {
            let living = mesh.living(viewer);
            assert_eq!(
                living.as_deref(),
                Ok(&all[..]),
                "{viewer}, {:?}",
                began.elapsed()
            );
        }
        thread::park_timeout(LOOK);
    }
    drop(shim);
}

#[test]
fn a_member_behind_a_router_is_seen_by_all_and_sees_all() {
    if skipped() {
        return;
    }
    let mut lan = Lan::new(2);
    let _ = lan.add_behind_nat();
    let mesh = Mesh::of("mesh-nat", lan, &[]);
    mesh.agree("all know all", &[0, 1, 2], &[0, 1, 2], MEET);
}

#[test]
fn members_on_one_cable_find_each_other_at_new_addresses() {
    if skipped() {
        return;
    }
    let mut mesh = Mesh::of("mesh-mdns", Lan::new(2), &["--mdns"]);
    mesh.agree("they know each other", &[0, 1], &[0, 1], MEET);
    for host in [0, 1] {
        mesh.kill(host);
    }
    for host in [0, 1] {
        let other = mesh.lan.add();
        mesh.places[host] = mesh.places[host].on(mesh.lan.host(other));
        mesh.start(host);
    }
    mesh.agree("they find each other", &[0, 1], &[0, 1], MEET);
}

//! Nodes behind NAT, and one without a network: each is a process of its own in a network namespace
//! of its own, which is this test program again with a role. Needs root and `ip` and `iptables`, and
//! says so where they are not there. Everything made goes away with its owner.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use super::kit::{Kit, MemBlobs, key};
use crate::{Event, Wanted};

const ROLE: &str = "CARAVAN_TEST_ROLE";
const PATIENCE: Duration = Duration::from_secs(45);

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(args)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{program} {args:?}: {words}"))
}

/// Network namespaces, each named after this process, that go away at the end.
struct Spaces(Vec<String>);

impl Spaces {
    fn new(names: &[&str]) -> Result<Self, String> {
        // Those of an earlier run that was killed go first.
        for old in std::fs::read_dir("/run/netns")
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = old.file_name().to_string_lossy().into_owned();
            let owner: String = name
                .strip_prefix("cvnat")
                .unwrap_or("")
                .chars()
                .take_while(char::is_ascii_digit)
                .collect();
            if !owner.is_empty() && !std::path::Path::new(&format!("/proc/{owner}")).exists() {
                let _ = run("ip", &["netns", "del", &name]);
            }
        }
        let mut spaces = Self(Vec::new());
        for name in names {
            let name = format!("cvnat{}{name}", std::process::id());
            run("ip", &["netns", "add", &name])?;
            spaces.0.push(name);
            let at = spaces.0.len() - 1;
            spaces.run(at, "ip link set lo up")?;
        }
        Ok(spaces)
    }

    fn path(&self, at: usize) -> String {
        format!("--net=/run/netns/{}", self.0[at])
    }

    fn run(&self, at: usize, command: &str) -> Result<(), String> {
        let path = self.path(at);
        let mut args = vec![path.as_str()];
        args.extend(command.split(' '));
        run("nsenter", &args)
    }

    /// A cable between two of them.
    fn link(
        &self,
        (a, a_address): (usize, &str),
        (b, b_address): (usize, &str),
    ) -> Result<(), String> {
        let (a_name, b_name) = (format!("v{b}"), format!("v{a}"));
        let command = format!(
            "ip link add {a_name} type veth peer name {b_name} netns {}",
            self.0[b]
        );
        self.run(a, &command)?;
        for (at, name, address) in [(a, &a_name, a_address), (b, &b_name, b_address)] {
            self.run(at, &format!("ip addr add {address} dev {name}"))?;
            self.run(at, &format!("ip link set {name} up"))?;
        }
        Ok(())
    }

    /// This test program with a role, in one of them.
    fn spawn(&self, at: usize, role: &str) -> Role {
        let mut child = Command::new("nsenter")
            .arg(self.path(at))
            .arg(std::env::current_exe().expect("it runs"))
            .args([
                "--exact",
                "tests::nat::role",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("nsenter was there before");
        let stdin = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Role {
            child,
            _stdin: stdin,
            lines,
        }
    }
}

impl Drop for Spaces {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = run("ip", &["netns", "del", name]);
        }
    }
}

/// A process with a role. It ends when its standard input does.
struct Role {
    child: Child,
    _stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
}

impl Role {
    /// Waits for a line that begins so; the rest of it.
    fn says(&mut self, beginning: &str) -> String {
        let begun = Instant::now();
        let mut said = Vec::new();
        while let Ok(line) = self
            .lines
            .recv_timeout(PATIENCE.saturating_sub(begun.elapsed()))
        {
            if let Some(rest) = line.strip_prefix(beginning) {
                return rest.trim().to_owned();
            }
            said.push(line);
        }
        panic!("it did not say {beginning:?} but {said:?}");
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An internet (0) with two routers that masquerade (1, 2) and a host behind each (3, 4).
fn two_nats() -> Result<Spaces, String> {
    let spaces = Spaces::new(&["i", "ra", "rb", "a", "b"])?;
    spaces.link((0, "198.51.100.1/24"), (1, "198.51.100.2/24"))?;
    spaces.link((0, "203.0.113.1/24"), (2, "203.0.113.2/24"))?;
    spaces.link((1, "10.1.0.1/24"), (3, "10.1.0.2/24"))?;
    spaces.link((2, "10.2.0.1/24"), (4, "10.2.0.2/24"))?;
    for (at, gateway) in [
        (1, "198.51.100.1"),
        (2, "203.0.113.1"),
        (3, "10.1.0.1"),
        (4, "10.2.0.1"),
    ] {
        spaces.run(at, &format!("ip route add default via {gateway}"))?;
    }
    for at in 0..3 {
        spaces.run(at, "sysctl -qw net.ipv4.ip_forward=1")?;
    }
    for at in 1..3 {
        spaces.run(at, "iptables -t nat -A POSTROUTING -o v0 -j MASQUERADE")?;
        // What nobody inside asked for stays outside.
        spaces.run(at, "iptables -P FORWARD DROP")?;
        spaces.run(
            at,
            "iptables -A FORWARD -m state --state ESTABLISHED,RELATED -j ACCEPT",
        )?;
        spaces.run(at, &format!("iptables -A FORWARD -i v{} -j ACCEPT", at + 2))?;
        spaces.run(at, "iptables -P INPUT DROP")?;
    }
    Ok(spaces)
}

#[test]
fn members_behind_two_nats_meet_through_a_relay_and_then_directly() {
    let spaces = match two_nats() {
        Ok(spaces) => spaces,
        Err(reason) => return eprintln!("SKIPPED: no network namespaces here: {reason}"),
    };
    let mut relay = spaces.spawn(0, "relay 198.51.100.1");
    relay.says("ready");
    let mut a = spaces.spawn(3, "a 198.51.100.1");
    let mut b = spaces.spawn(4, "b 203.0.113.1");
    // Each is reached though nobody outside can begin a connection with it.
    assert_eq!(a.says("met 3"), "");
    assert_eq!(b.says("met 2"), "");
    // The way through both NATs is found, and what a relay does not carry goes over it.
    a.says("direct 3");
    b.says("direct 2");
    assert_eq!(b.says("fetched"), "1");
}

#[test]
fn node_without_a_network_listens_says_so_and_goes_on_when_there_is_one() {
    let spaces = match Spaces::new(&["n"]) {
        Ok(spaces) => spaces,
        Err(reason) => return eprintln!("SKIPPED: no network namespaces here: {reason}"),
    };
    spaces.run(0, "ip link set lo down").expect("it was made");
    let mut alone = spaces.spawn(0, "alone 192.0.2.1");
    alone.says("ready");
    assert!(alone.says("waiting").contains("no network"), "it says why");
    spaces.run(0, "ip link set lo up").expect("it was made");
    spaces
        .run(0, "ip link add v0 type veth peer name v1")
        .expect("it was made");
    spaces
        .run(0, "ip addr add 192.0.2.7/24 dev v0")
        .expect("it was made");
    spaces.run(0, "ip link set v0 up").expect("it was made");
    spaces.run(0, "ip link set v1 up").expect("it was made");
    assert!(alone.says("listening /ip4/192.0.2.7/").contains("7000"));
}

/// What the processes of these tests do.
#[test]
#[ignore = "run by the tests of this file, in a network namespace"]
fn role() {
    let role = std::env::var(ROLE).expect("this is run by the tests of this file");
    // The test program has begun a line of its own.
    println!();
    // Whoever started it is gone when this ends.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let (name, relay) = role.split_once(' ').expect("a role and an address");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime is made");
    runtime.block_on(play(name, relay));
}

async fn play(name: &str, relay: &str) {
    let kit = Kit::new("/ip4/0.0.0.0/tcp/7000");
    let number = match name {
        "relay" => 1,
        "a" => 2,
        _ => 3,
    };
    let blobs = MemBlobs::of([vec![number]]);
    let relay_peer = crate::address_with_node(&format!("/ip4/{relay}/tcp/7000"), key(1).node());
    let mut node = kit
        .start_with(number, |config| {
            config
                .listen
                .push("/ip4/0.0.0.0/udp/7000/quic-v1".to_owned());
            config.source = blobs;
            if number != 1 {
                config.seeds = vec![relay_peer.expect("a good address")];
            }
        })
        .await;
    println!("ready");
    let mut met = Vec::new();
    loop {
        let changed = tokio::select! {
            event = node.events.recv() => event,
            changed = node.handle.members_changed() => changed.ok().and(None),
        };
        match changed {
            Some(Event::Waiting { reason }) => println!("waiting {reason}"),
            Some(Event::Listening { address }) => println!("listening {address}"),
            _ => {}
        }
        for other in 1..=3u8 {
            let Some(member) = node.handle.member(key(other).node()) else {
                continue;
            };
            let told = (other, member.relayed);
            if other == number || !member.connected || met.contains(&told) {
                continue;
            }
            if !met.iter().any(|(known, _)| *known == other) {
                println!("met {other}");
            }
            met.push(told);
            if !member.relayed {
                println!("direct {other}");
                let sink = Arc::new(MemBlobs::default());
                let id = MemBlobs::of([vec![other]]).ids()[0];
                let wanted = vec![Wanted::at_most(id, 10)];
                let fetched = node.handle.fetch(&[key(other).node()], wanted, sink).await;
                if let Ok(fetched) = fetched
                    && number == 3
                    && other == 2
                {
                    println!("fetched {}", fetched.blobs);
                }
            }
        }
    }
}

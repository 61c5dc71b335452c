//! Hosts on one network: a namespace each, joined by cables to a bridge in a namespace of its own,
//! so that nothing of it is seen outside. A partition moves cables to other bridges: no host is told
//! of it, as with real networks.

use std::{
    fs::{self, File},
    net::Ipv4Addr,
    os::fd::AsFd,
    process::{Command, Stdio},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{Link, Mark, Shim};
use crate::host::text;

/// Most hosts of one network.
const HOSTS_MAX: usize = 200;

/// Hosts with cables to one bridge. All of it goes when this is dropped, with the programs that run
/// there.
#[derive(Debug)]
pub struct Lan {
    mark: Mark,
    hub: String,
    hosts: Vec<Host>,
    /// Bridges so far; the first is everybody's.
    bridges: usize,
}

#[derive(Debug)]
struct Host {
    name: String,
    address: Ipv4Addr,
}

impl Lan {
    /// So many hosts that all reach each other: 192.0.2.1 and so on (RFC 5737, for documentation).
    ///
    /// # Panics
    /// If the machine does not let it, or for more than 200 hosts.
    #[must_use]
    pub fn new(hosts: usize) -> Self {
        let mark = Mark::new();
        let hub = mark.name("hub");
        ip(&format!("netns add {hub}"));
        let mut lan = Self {
            mark,
            hub,
            hosts: Vec::new(),
            bridges: 0,
        };
        lan.bridge();
        for _ in 0..hosts {
            lan.add();
        }
        lan
    }

    /// One more host; its number.
    pub fn add(&mut self) -> usize {
        let number = self.hosts.len();
        assert!(number < HOSTS_MAX, "a network of {HOSTS_MAX} hosts is full");
        let last = u8::try_from(number + 1).expect("bounded just now");
        let address = Ipv4Addr::new(192, 0, 2, last);
        let name = self.namespace(&format!("h{number}"));
        self.cable(number, &name, address);
        self.hosts.push(Host { name, address });
        number
    }

    /// One more host, behind a router that translates addresses and lets in only what answers;
    /// its number. It can reach the others, and only then they it.
    pub fn add_behind_nat(&mut self) -> usize {
        let number = self.hosts.len();
        assert!(number < HOSTS_MAX, "a network of {HOSTS_MAX} hosts is full");
        let last = u8::try_from(number + 1).expect("bounded just now");
        let router = self.namespace(&format!("r{number}"));
        self.cable(number, &router, Ipv4Addr::new(192, 0, 2, last));
        let name = self.namespace(&format!("h{number}"));
        ip(&format!(
            "-n {router} link add in0 type veth peer name eth0 netns {name}"
        ));
        ip(&format!("-n {router} addr add 10.0.0.1/24 dev in0"));
        ip(&format!("-n {router} link set in0 up"));
        ip(&format!("-n {name} addr add 10.0.0.2/24 dev eth0"));
        ip(&format!("-n {name} link set eth0 up"));
        ip(&format!("-n {name} route add default via 10.0.0.1"));
        enter(&router, || fs::write("/proc/sys/net/ipv4/ip_forward", "1"))
            .expect("a router may forward");
        let out = "-t nat -A POSTROUTING -o eth0 -j MASQUERADE";
        let known = "-A FORWARD -i eth0 -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP";
        for rule in [out, known] {
            let words: Vec<&str> = ["iptables"].into_iter().chain(rule.split(' ')).collect();
            inside(&router, &words);
        }
        let address = Ipv4Addr::new(10, 0, 0, 2);
        self.hosts.push(Host { name, address });
        number
    }

    /// How many hosts there are.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// The name of a host's namespace, for [`crate::host::Place::on`].
    #[must_use]
    pub fn host(&self, number: usize) -> &str {
        &self.hosts[number].name
    }

    /// A host's own address.
    #[must_use]
    pub fn address(&self, number: usize) -> Ipv4Addr {
        self.hosts[number].address
    }

    /// Does something on a host, as far as the network is concerned: sockets that are opened there
    /// stay there.
    pub fn on<T: Send>(&self, number: usize, work: impl FnOnce() -> T + Send) -> T {
        enter(self.host(number), work)
    }

    /// Bounds what goes through a host's cable, each way.
    pub fn rate(&self, number: usize, mbit_s: u32) {
        let shape = format!("root tbf rate {mbit_s}mbit burst 64kb latency 100ms");
        let host = self.host(number);
        tc(&format!("-n {host} qdisc replace dev eth0 {shape}"));
        tc(&format!(
            "-n {} qdisc replace dev {} {shape}",
            self.hub,
            port(number)
        ));
    }

    /// Cuts the network into groups that hear nothing of each other; a host that is in no group is
    /// left with those of the first.
    pub fn partition(&mut self, groups: &[&[usize]]) {
        while self.bridges < groups.len() {
            self.bridge();
        }
        for number in 0..self.hosts.len() {
            let group = groups.iter().position(|group| group.contains(&number));
            self.plug(number, group.unwrap_or(0));
        }
    }

    /// Ends a partition.
    pub fn heal(&self) {
        for number in 0..self.hosts.len() {
            self.plug(number, 0);
        }
    }

    /// Delays and loses what the hosts send, until the result is dropped.
    #[must_use]
    pub fn shim(&self, link: Link) -> Shim {
        let names: Vec<&str> = self.hosts.iter().map(|host| host.name.as_str()).collect();
        Shim::new(&names, link)
    }

    /// A namespace that carries the mark of this network.
    fn namespace(&self, what: &str) -> String {
        let name = self.mark.name(what);
        ip(&format!("netns add {name}"));
        ip(&format!("-n {name} link set lo up"));
        name
    }

    fn bridge(&mut self) {
        let (hub, name) = (&self.hub, bridge(self.bridges));
        ip(&format!(
            "-n {hub} link add {name} type bridge mcast_snooping 0"
        ));
        ip(&format!("-n {hub} link set {name} up"));
        self.bridges += 1;
    }

    fn cable(&self, number: usize, name: &str, address: Ipv4Addr) {
        let (hub, port) = (&self.hub, port(number));
        ip(&format!(
            "-n {hub} link add {port} type veth peer name eth0 netns {name}"
        ));
        ip(&format!("-n {name} addr add {address}/24 brd + dev eth0"));
        ip(&format!("-n {name} link set eth0 up"));
        ip(&format!("-n {hub} link set {port} up"));
        self.plug(number, 0);
    }

    fn plug(&self, number: usize, into: usize) {
        let (hub, port, bridge) = (&self.hub, port(number), bridge(into));
        ip(&format!("-n {hub} link set {port} master {bridge}"));
    }
}

fn port(number: usize) -> String {
    format!("p{number}")
}

fn bridge(number: usize) -> String {
    format!("br{number}")
}

fn ip(words: &str) {
    let words: Vec<&str> = words.split(' ').collect();
    run("ip", &words);
}

fn tc(words: &str) {
    let words: Vec<&str> = words.split(' ').collect();
    run("tc", &words);
}

/// Does something on a thread of its own that is in a namespace.
pub(super) fn enter<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    let place = File::open(format!("/run/netns/{namespace}")).expect("the namespace has a name");
    thread::scope(|scope| {
        let inside = scope.spawn(move || {
            move_into_link_name_space(place.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("root may enter namespaces");
            work()
        });
        inside
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs a program with the network of a namespace.
pub(super) fn inside(namespace: &str, words: &[&str]) {
    let network = format!("--net=/run/netns/{namespace}");
    let all: Vec<&str> = [network.as_str()].iter().chain(words).copied().collect();
    run("nsenter", &all);
}

fn run(program: &str, words: &[&str]) {
    let path = std::env::var("PATH").unwrap_or_default();
    let done = Command::new(program)
        .args(words)
        // Programs for root are not in every path.
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .stdin(Stdio::null())
        .output();
    let done = done.unwrap_or_else(|error| panic!("{program} does not start: {error}"));
    assert!(
        done.status.success(),
        "{program} {}: {}",
        words.join(" "),
        text(&done.stderr)
    );
}

//! What a node is told at its start. `bootstrap` reads it from flags and `config.toml`; nothing in
//! here is ever asked of a peer.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, time::Duration};

use caravan_protocol::{action::Limits, limits, offer::Resources};

pub mod hours;
pub mod machine;
pub mod sandbox;

/// Longest attempt that a node allows if nothing else is said, milliseconds.
const WALL_MS_MOST: u64 = 24 * 3_600_000;
/// Most processes of an attempt.
const PIDS_MOST: u32 = 32_768;

/// A node's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Everything that the node keeps is below this directory.
    pub data: PathBuf,
    /// Who runs the node: counted once in every quorum.
    pub operator: String,
    /// Cores that jobs get together: as many usual ones run at once.
    pub slots: u32,
    /// Memory that jobs get together, bytes: those that declare none share what there is.
    pub memory_bytes: u64,
    /// Multiaddresses to listen on; none for a node that lives for one command.
    pub listen: Vec<String>,
    /// Multiaddresses of members to dial.
    pub peers: Vec<String>,
    /// Whether members are looked for on the local network.
    pub mdns: bool,
    /// Where the read-only pages are served, if anywhere.
    pub http: Option<SocketAddr>,
    /// opam repositories of projects that name none: paths, archives or git URLs.
    pub repositories: Vec<String>,
    /// opam archive mirrors, asked when a package's own sources fail.
    pub archive_mirrors: Vec<String>,
    /// Bases to test on, by name; imported when first needed.
    pub bases: Vec<String>,
    /// When the store is collected, and how far.
    pub store: caravan_store::Marks,
    /// The most that an attempt may ask for.
    pub most: Limits,
    /// Processor time per wall time that an attempt gets, in thousandths of a core; all there is if
    /// nothing is said.
    pub cpu_millis: Option<u64>,
    /// What steps with a network may reach.
    pub egress: caravan_egress::Config,
    /// The proxy that this host itself reaches the world through, if it has one.
    pub upstream: Option<caravan_egress::Upstream>,
    /// What starts the commands of jobs.
    pub runtime: sandbox::Runtime,
    /// The defences that this host may lack.
    pub accept: caravan_sandbox::Defences,
    /// The hours of the day in which work is taken; all of them if nothing is said.
    pub hours: Option<hours::Hours>,
    /// Words about the node, such as `rack=3`, that other members are told.
    pub labels: BTreeSet<String>,
    /// How long certificates live that this node signs, if it is the one to do so: never longer than
    /// certificates may. Shorter ones are for tests.
    pub cert_life: Duration,
    /// The program to re-execute as the sandbox helper, where it is not this one.
    pub helper: Option<PathBuf>,
}

impl Config {
    /// The defaults of a node that keeps its things in `data`.
    #[must_use]
    pub fn new(data: PathBuf) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (memory, disk) = (machine::memory_bytes(), machine::disk_bytes(&data));
        Self {
            data,
            operator: "local".to_owned(),
            slots: u32::try_from(cores).unwrap_or(1),
            memory_bytes: memory,
            listen: Vec::new(),
            peers: Vec::new(),
            mdns: false,
            http: None,
            repositories: Vec::new(),
            archive_mirrors: Vec::new(),
            bases: vec!["debian-12".to_owned()],
            store: caravan_store::Marks::default(),
            most: most_of(memory, disk),
            cpu_millis: None,
            egress: caravan_egress::Config::default(),
            upstream: None,
            runtime: sandbox::Runtime::Own,
            accept: caravan_sandbox::Defences::NONE,
            hours: None,
            labels: BTreeSet::new(),
            cert_life: Duration::from_millis(limits::CERT_LIFE_MS),
            helper: None,
        }
    }

    /// What jobs get together.
    #[must_use]
    pub fn resources(&self) -> Resources {
        Resources {
            cpu_millis: u64::from(self.slots) * 1000,
            memory_bytes: self.memory_bytes,
        }
    }

    /// The socket by which the CLI talks to the node.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.data.join("control.sock")
    }
}

/// The most that a machine of this size allows: whatever it has, half of its disk, and never less
/// than what everybody asks for, since nobody uses up all that it asks for.
fn most_of(memory: u64, disk: u64) -> Limits {
    let usual = Limits::default();
    Limits {
        wall_ms: WALL_MS_MOST,
        memory_bytes: memory.max(usual.memory_bytes),
        pids: PIDS_MOST.max(usual.pids),
        log_bytes: usual.log_bytes,
        disk_bytes: (disk / 2).max(usual.disk_bytes),
        inodes: usual.inodes.saturating_mul(4),
        cpu_ms: usual.cpu_ms.saturating_mul(16),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_machine_is_too_small_for_what_everybody_asks_for() {
        let usual = Limits::default();
        assert_eq!(usual.within(&most_of(0, 0)), Ok(()));
        let large = most_of(1 << 40, 1 << 42);
        assert_eq!((large.memory_bytes, large.disk_bytes), (1 << 40, 1 << 41));
    }

    #[test]
    fn this_machine_has_memory_and_a_disk() {
        assert!(machine::memory_bytes() > 0);
        assert!(machine::disk_bytes(std::path::Path::new("/not/there/yet")) > 0);
    }
}

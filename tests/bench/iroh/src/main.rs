//! Drives the simulator of iroh-gossip and tells how many messages it delivers in a second of
//! processor time. It changes nothing of it and looks only at its own counters.
//!
//! `caravan-bench-iroh NODES SEED ROUNDS`: NODES join (the first ten each other, the rest one of
//! them), then once in a virtual second a random node broadcasts to all, ROUNDS times; its own
//! scenario `GossipMulti`, without the bookkeeping of rounds, which would count against it. It
//! prints one line of JSON for each of both parts.

use std::{
    env, fs,
    process::ExitCode,
    time::{Duration, Instant},
};

use bytes::Bytes;
use iroh_gossip::proto::{
    Command, Config, Scope, TopicId,
    sim::{BootstrapMode, LatencyConfig, NetworkConfig, Simulator, SimulatorConfig},
};

/// The one topic of the simulator.
const TOPIC: TopicId = TopicId::from_bytes([0; 32]);
/// Nodes that everybody else joins through.
const BOOTSTRAP: u64 = 10;
/// Between two broadcasts, virtual time.
const ROUND: Duration = Duration::from_secs(1);

/// Seconds that this process has run on a processor.
fn processor_s() -> f64 {
    let text = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let ns: Option<f64> = text.split(' ').next().and_then(|ns| ns.parse().ok());
    ns.unwrap_or(f64::NAN) / 1e9
}

fn peak_mib() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().split(' ').next());
    kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// All messages that its nodes have received, of every kind.
fn delivered(simulator: &Simulator) -> usize {
    let states = simulator.network.peer_states();
    let topics = states.flat_map(|state| state.states());
    topics
        .map(|(_, topic)| topic.stats().messages_received)
        .sum()
}

struct Part {
    name: &'static str,
    wall: Instant,
    processor_s: f64,
    virtual_time: Duration,
    delivered: usize,
}

impl Part {
    fn begin(name: &'static str, simulator: &Simulator) -> Self {
        Self {
            name,
            wall: Instant::now(),
            processor_s: processor_s(),
            virtual_time: simulator.network.elapsed(),
            delivered: delivered(simulator),
        }
    }

    fn end(self, simulator: &Simulator) {
        let wall_s = self.wall.elapsed().as_secs_f64();
        let processor_s = processor_s() - self.processor_s;
        let delivered = delivered(simulator) - self.delivered;
        println!(
            "{{\"part\":\"{}\",\"nodes\":{},\"virtual_s\":{:.1},\"wall_s\":{wall_s:.2},\"processor_s\":{processor_s:.2},\"deliveries\":{delivered},\"deliveries_per_processor_s\":{:.0},\"peak_mib\":{}}}",
            self.name,
            simulator.peer_count(),
            (simulator.network.elapsed() - self.virtual_time).as_secs_f64(),
            delivered as f64 / processor_s,
            peak_mib(),
        );
    }
}

fn main() -> ExitCode {
    let numbers: Vec<u64> = env::args()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    let [nodes, seed, rounds] = numbers[..] else {
        eprintln!("usage: caravan-bench-iroh NODES SEED ROUNDS");
        return ExitCode::from(2);
    };
    let network = NetworkConfig {
        // Ours has the same.
        latency: LatencyConfig::random_ms(10, 50),
        proto: Config::default(),
    };
    let config = SimulatorConfig {
        rng_seed: seed,
        peers: usize::try_from(nodes).unwrap_or(usize::MAX),
        gossip_round_timeout: ROUND,
    };
    let mut simulator = Simulator::new(config, network);
    let part = Part::begin("join", &simulator);
    simulator.bootstrap(BootstrapMode::Set { count: BOOTSTRAP });
    part.end(&simulator);
    // What its nodes told their users meanwhile is of no use to anybody.
    simulator.network.events().for_each(drop);
    let part = Part::begin("gossip", &simulator);
    for round in 0..rounds {
        let from = simulator.random_peer();
        let message = Bytes::from(format!("m{round}"));
        let broadcast = Command::Broadcast(message, Scope::Swarm);
        simulator.network.command(from, TOPIC, broadcast);
        simulator.network.run_duration(ROUND);
        simulator.network.events().for_each(drop);
    }
    part.end(&simulator);
    ExitCode::SUCCESS
}

//! What a run is made of: machines, the network's habits, what they do and what goes wrong, all of
//! it decided before the run begins and from one seed.

use std::time::Duration;

use caravan_protocol::{
    ids::NodeId,
    member::{Mode, Tuning},
};

use crate::{
    dice::{Dice, mix},
    flaw::Flaw,
};

mod storm;
mod town;

pub use town::Workload;

/// How a machine goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// Its program is killed: its host closes the connections and refuses new ones.
    Killed,
    /// Its power fails, or its cable is cut: silence.
    Silent,
    /// Silence, and its disk is lost but for key and certificate.
    Wiped,
}

/// Something that happens to a mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A machine that was not there joins through another.
    Join(usize),
    /// A machine says farewell.
    Leave(usize),
    /// The founder revokes a machine.
    Revoke(usize),
    /// The founder renews a machine's certificate.
    Renew(usize),
    /// A machine says something new about itself.
    Say(usize, Mode),
    /// A machine goes down, for a while or for ever.
    Crash {
        /// Which.
        host: usize,
        /// How.
        down: Down,
        /// How long.
        for_ms: Option<u64>,
    },
    /// A machine stands still, with all that comes to it waiting.
    Pause {
        /// Which.
        host: usize,
        /// How long.
        for_ms: u64,
    },
    /// A machine gets so little of its processor that it runs only now and then.
    Starve {
        /// Which.
        host: usize,
        /// How long.
        for_ms: u64,
        /// Once in so many milliseconds.
        every_ms: u64,
    },
    /// The network falls into two parts.
    Divide {
        /// Whether each machine is in the second part.
        apart: Vec<bool>,
        /// How long.
        for_ms: u64,
    },
    /// What these machines send is lost; what is sent to them arrives.
    Mute {
        /// Whether each machine is one of them.
        muted: Vec<bool>,
        /// How long.
        for_ms: u64,
    },
    /// A hostile machine tries something.
    Attack(usize),
    /// A hostile machine tells everybody that another does not answer.
    Accuse(usize, usize),
}

/// A machine as it is planned.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its name.
    pub id: NodeId,
    /// Who runs it.
    pub operator: u32,
    /// How long its first certificate is valid.
    pub cert_ms: u64,
    /// Its wall clock is that much ahead.
    pub skew_ms: u64,
    /// Whether its certificate is one that nobody of the mesh has signed.
    pub is_stranger: bool,
    /// What is wrong with its program.
    pub flaw: Flaw,
    /// Whether it is there, and known to all, when the run begins.
    pub is_settled: bool,
}

/// Everything that is decided before a run begins. The first machine is the founder.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed of all else.
    pub seed: u64,
    /// The machines.
    pub machines: Vec<Machine>,
    /// How the mesh watches itself.
    pub tuning: Tuning,
    /// Least and most time a message is on its way, by the pair of machines, milliseconds.
    pub latency_ms: (u64, u64),
    /// What a single message may take longer.
    pub jitter_ms: u64,
    /// Messages lost, of a thousand.
    pub loss: u64,
    /// Messages doubled, of a thousand.
    pub doubled: u64,
    /// Messages that take seconds, of a thousand.
    pub delayed: u64,
    /// What happens, and when.
    pub faults: Vec<(u64, Fault)>,
    /// When everything is well again, milliseconds.
    pub calm_ms: u64,
    /// Whether all engines share one directory: for thousands of machines. Otherwise each owns its
    /// own, as in life.
    pub shared: bool,
    /// Whether messages cross as bytes; otherwise they are handed over as they are.
    pub as_bytes: bool,
}

/// The name of machine `index`.
#[must_use]
pub fn node(index: usize) -> NodeId {
    let mut bytes = [0; 32];
    for (at, chunk) in bytes.chunks_mut(8).enumerate() {
        let number = mix(index as u64 * 4 + at as u64);
        chunk.copy_from_slice(&number.to_be_bytes());
    }
    NodeId::from_bytes(bytes)
}

impl Plan {
    /// Machines that know each other, of one operator each, without faults.
    #[must_use]
    pub fn quiet(seed: u64, machines: usize) -> Self {
        let machine = |index: usize| Machine {
            id: node(index),
            operator: u32::try_from(index).expect("few machines"),
            cert_ms: 7 * 24 * 3_600_000,
            skew_ms: SKEW_MS_MAX,
            is_stranger: false,
            flaw: Flaw::None,
            is_settled: true,
        };
        Self {
            seed,
            machines: (0..machines).map(machine).collect(),
            tuning: Tuning::default(),
            latency_ms: (10, 50),
            jitter_ms: 3,
            loss: 0,
            doubled: 0,
            delayed: 0,
            faults: Vec::new(),
            calm_ms: 0,
            shared: false,
            as_bytes: true,
        }
    }

    /// Adds something that happens.
    pub fn at(&mut self, at: Duration, fault: Fault) {
        let at_ms = u64::try_from(at.as_millis()).expect("within a run");
        self.faults.push((at_ms, fault));
    }

    /// The seed's own source of choices.
    #[must_use]
    pub const fn dice(&self) -> Dice {
        Dice::new(self.seed ^ 0x706c_616e)
    }
}

/// Wall clocks are that much ahead of the founder's where nothing is wrong with them; in storms
/// between nothing and twice as much.
pub const SKEW_MS_MAX: u64 = 60_000;

//! The corpus of attempts to get out of the sandbox, to harm its host or another job, and to leave
//! what harms whoever collects it; and the driver that makes them here and in other sandboxes.
//!
//! `corpus-attempts` runs inside and prints a verdict for each attempt. The driver makes a pretend host
//! with canaries in namespaces of its own, runs that program in each place, and lays the verdicts side
//! by side. Nothing here touches the machine: what is aimed at was planted for it, and goes with the
//! pretend host. Never part of a node.

pub mod attempt;
pub mod attempts;
pub mod bombs;
pub mod collect;
pub mod driver;
pub mod gate;
pub mod ground;
pub mod host;
pub mod leavings;
pub mod places;
pub mod plant;
pub mod raw;
pub mod report;

pub use attempts::CANARY_NAME;

/// What can go wrong with the driver itself; a verdict is never an error.
pub type Failure = Box<dyn std::error::Error>;

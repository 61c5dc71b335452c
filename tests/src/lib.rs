//! The simulator: many nodes of the very engine that the program runs, on a seeded clock and a
//! seeded network with faults, watched by invariants. An equal seed gives an equal run, so a
//! failure is replayed by its number. Nothing here knows how the engine works inside.
#![warn(missing_docs)]

pub mod host;
pub mod hosts;
pub mod invariants;
pub mod rootfs;
pub mod sim;

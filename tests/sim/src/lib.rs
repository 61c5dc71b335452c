//! The simulator of membership: thousands of the very engines that the program runs, on one seeded
//! clock and one seeded network with faults, watched by invariants. An equal seed gives an equal
//! run, so a failure is replayed by its number. Nothing here knows how an engine works inside.
//!
//! It is made to be fast: time is a ring of milliseconds, a message is moved and not copied, all
//! engines of a large mesh share one directory of names and records, and signatures are counted
//! instead of paid. A run is one thread and never looks at a clock of this machine.
#![warn(missing_docs)]

pub mod bounds;
pub mod commons;
pub mod dice;
pub mod flaw;
pub mod host;
pub mod invariants;
pub mod ledger;
pub mod plan;
pub mod run;
pub mod wheel;
pub mod world;

//! Meshes of hosts for tests of whole programs: network namespaces on one bridge, with cables that
//! have a rate, a delay and losses, partitions, and hosts behind address translation.
//!
//! Whoever makes a [`Lan`] owns it: what it has put on the machine goes when it is dropped, and what
//! a killed test has left goes when the next one is made, for all of it carries the mark of the
//! process that made it. Nothing here knows what the programs say to each other.

mod lan;
mod mark;
mod queue;
mod shim;

pub use lan::Lan;
pub use mark::{Mark, sweep};
pub use shim::{Link, Shim};

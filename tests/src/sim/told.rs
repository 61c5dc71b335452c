//! A run told step by step, for people.

use super::{Note, World};
use crate::invariants::Invariant;

/// Prints everything that is seen.
#[derive(Debug, Default)]
pub struct Told;

impl Invariant for Told {
    fn name(&self) -> &'static str {
        "told"
    }

    fn note(&mut self, world: &World, note: &Note) -> Result<(), String> {
        let (at_ms, host) = (world.now_ms(), note.host);
        println!("{at_ms:>8} host {host:>2} {:?}", note.what);
        Ok(())
    }
}

//! Every decoder of bytes that nobody vouches for, as one table: what fuzzers drive and tests replay.
//! Bytes come from other nodes, registries, jobs, projects, and files that another program could
//! have written.
//!
//! A [`Target`] takes any bytes. It refuses them, or answers what it read as it would be written
//! again; [`Target::check`] says what must be true of that. Nothing here keeps state or touches more
//! than the decoder at hand.

mod mutate;
mod policies;
mod protocol;
mod rooms;

#[cfg(feature = "node")]
mod node;

pub use mutate::{Dice, mutated};

/// What must be true of bytes that were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// They are written again as the very same bytes.
    Exact,
    /// They are written again in a form of ours, which is read as the same thing.
    Settled,
    /// Whatever was read is good; it is not written again.
    Sound,
}

/// One decoder.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, which is also that of its corpus and of its fuzzing program.
    pub name: &'static str,
    /// Whom its bytes come from.
    pub from: &'static str,
    /// Bound of the bytes that it is given.
    pub bytes_max: usize,
    /// What is true of what it takes.
    pub promise: Promise,
    /// The decoder, and the encoder behind it.
    pub run: fn(&[u8]) -> Option<Vec<u8>>,
}

impl Target {
    /// Gives the decoder these bytes; whether it took them. Panics where its promise is broken.
    pub fn check(&self, bytes: &[u8]) -> bool {
        let Some(again) = (self.run)(bytes) else {
            return false;
        };
        match self.promise {
            Promise::Exact => assert_eq!(again, bytes, "{}: other bytes are written", self.name),
            Promise::Settled => {
                let settled = (self.run)(&again);
                assert_eq!(
                    settled.as_deref(),
                    Some(again.as_slice()),
                    "{}: what is written is read as something else",
                    self.name
                );
            }
            Promise::Sound => {}
        }
        true
    }
}

const fn target(
    name: &'static str,
    from: &'static str,
    bytes_max: usize,
    promise: Promise,
    run: fn(&[u8]) -> Option<Vec<u8>>,
) -> Target {
    Target {
        name,
        from,
        bytes_max,
        promise,
        run,
    }
}

/// All decoders, by name.
#[must_use]
pub fn targets() -> Vec<Target> {
    let mut all = Vec::new();
    all.extend(protocol::TARGETS);
    all.extend(policies::TARGETS);
    all.extend(rooms::TARGETS);
    #[cfg(feature = "node")]
    all.extend(node::TARGETS);
    all.sort_by_key(|target| target.name);
    all
}

/// The decoder of this name.
#[must_use]
pub fn find(name: &str) -> Option<Target> {
    targets().into_iter().find(|target| target.name == name)
}

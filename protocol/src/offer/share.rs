//! In whose name a job waits, and what part of the whole that one is due.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Names what shares the queue of an owner: a project, whatever its runs and branches. Sixteen
/// bytes of the BLAKE3 of its name, so that a million waiting jobs do not hold a million names.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct ProjectKey([u8; 16]);

impl ProjectKey {
    /// What belongs to no project.
    pub const NONE: Self = Self([0; 16]);

    /// The key of a project of this name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let hash = blake3::Hasher::new_derive_key("caravan queue project v1")
            .update(name.as_bytes())
            .finalize();
        let mut key = [0; 16];
        key.copy_from_slice(&hash.as_bytes()[..16]);
        Self(key)
    }
}

impl fmt::Display for ProjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.iter();
        bytes.take(5).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// How much of a queue a project is due beside others, in thousandths: who has twice the rate has
/// twice as much done while both have jobs that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rate(u32);

impl Rate {
    /// What everybody has.
    pub const USUAL: Self = Self(1000);
    /// Least of all, thousandths.
    pub const MILLIS_MIN: u32 = 10;
    /// Most of all, thousandths.
    pub const MILLIS_MAX: u32 = 100_000;

    /// A rate of so many thousandths, or the nearest that there is.
    #[must_use]
    pub fn of_millis(millis: u32) -> Self {
        Self(millis.clamp(Self::MILLIS_MIN, Self::MILLIS_MAX))
    }

    /// In thousandths.
    #[must_use]
    pub const fn millis(self) -> u32 {
        self.0
    }
}

impl Default for Rate {
    fn default() -> Self {
        Self::USUAL
    }
}

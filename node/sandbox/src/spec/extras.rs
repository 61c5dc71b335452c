//! What a job is lent beside its root: directories with layers of their own, and secrets.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{SpecError, at_most, check_target, relative};
use crate::limits::{LOWERS_MAX, SECRET_BYTES_MAX};

/// A directory inside that is an overlay of its own: what the job finds there comes from `lowers`
/// and is never changed, what it leaves there is in `upper`, and none of it is in the root's upper
/// directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layered {
    /// Layers relative to the root's store, the bottom one first; may be none.
    pub lowers: Vec<PathBuf>,
    /// Takes what the job writes; relative to the store. Its own owner and mode are those of the
    /// directory inside.
    pub upper: PathBuf,
    /// Empty directory on the same file system as `upper`; relative to the store.
    pub work: PathBuf,
    /// Absolute path inside; made like that of a bind.
    pub target: PathBuf,
}

impl Layered {
    pub(super) fn check(&self) -> Result<(), SpecError> {
        at_most("layers", self.lowers.len(), LOWERS_MAX)?;
        let lowers = self.lowers.iter().map(|lower| ("layer", lower));
        let own = [
            ("upper directory", &self.upper),
            ("work directory", &self.work),
        ];
        for (what, path) in lowers.chain(own) {
            relative(what, path)?;
        }
        if self.upper.starts_with(&self.work) || self.work.starts_with(&self.upper) {
            return Err(SpecError::Path {
                what: "work directory",
                path: self.work.clone(),
                rule: "upper and work are two directories, neither inside the other",
            });
        }
        check_target("layered directory", &self.target)
    }
}

/// A file inside that only the job's user reads and nobody writes: in memory that is never swapped
/// to a disk, and gone with the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretFile {
    /// Absolute path inside; made like that of a bind.
    pub target: PathBuf,
    /// What it holds; never part of an encoding.
    #[serde(skip)]
    pub value: SecretBytes,
}

impl SecretFile {
    pub(super) fn check(&self) -> Result<(), SpecError> {
        at_most("bytes of a secret", self.value.0.len(), SECRET_BYTES_MAX)?;
        check_target("secret", &self.target)
    }
}

/// Bytes that are overwritten when they are dropped, and never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// The bytes themselves.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// So many bytes, written where they stay.
    pub(crate) fn fill<E>(
        len: usize,
        write: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut bytes = Zeroizing::new(vec![0; len]);
        write(&mut bytes)?;
        Ok(Self(bytes))
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(..)")
    }
}

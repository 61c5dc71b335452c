//! Digests as OCI writes them, and taps: what flows through one is hashed and counted.

use std::{
    cell::{Cell, RefCell},
    fmt,
    io::{self, Read, Write},
    str::FromStr,
};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest as _, Sha256, Sha512};

use crate::error::{ImageError, Result};

/// How bytes are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// What everybody uses.
    Sha256,
    /// What may be used too.
    Sha512,
}

/// The name of some bytes, as `sha256:` and lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

/// Why a text is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read {text:?} as a digest: want sha256: or sha512: and lower-case hexadecimal digits")]
pub struct ParseDigestError {
    text: String,
}

impl Algorithm {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }
}

impl Digest {
    /// The SHA-256 of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let tap = Tap::new(Algorithm::Sha256);
        tap.add(bytes);
        tap.digest()
    }

    /// How it was made.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its digits.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// Where a layout keeps the bytes.
    #[must_use]
    pub fn path(&self) -> String {
        format!("blobs/{}/{}", self.algorithm.name(), self.hex)
    }

    /// The first digits, for words.
    #[must_use]
    pub fn fmt_short(&self) -> String {
        format!("{}:{}", self.algorithm.name(), &self.hex[..12])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> std::result::Result<Self, ParseDigestError> {
        let refuse = || ParseDigestError {
            text: text.chars().take(160).collect(),
        };
        let (name, hex) = text.split_once(':').ok_or_else(refuse)?;
        let (algorithm, digits) = match name {
            "sha256" => (Algorithm::Sha256, 64),
            "sha512" => (Algorithm::Sha512, 128),
            _ => return Err(refuse()),
        };
        // It becomes part of paths and URLs.
        let plain = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if hex.len() != digits || !hex.bytes().all(plain) {
            return Err(refuse());
        }
        Ok(Self {
            algorithm,
            hex: hex.to_owned(),
        })
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

/// Hashes and counts the bytes that pass. It is borrowed by what they pass through, so that it can
/// be asked when that is gone.
pub(crate) struct Tap {
    hasher: RefCell<Hasher>,
    count: Cell<u64>,
}

impl Tap {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let hasher = match algorithm {
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(Sha512::new()),
        };
        Self {
            hasher: RefCell::new(hasher),
            count: Cell::new(0),
        }
    }

    pub(crate) fn add(&self, bytes: &[u8]) {
        match &mut *self.hasher.borrow_mut() {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
        self.count.set(self.count.get() + bytes.len() as u64);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.get()
    }

    /// The digest of what has passed so far.
    pub(crate) fn digest(&self) -> Digest {
        let (algorithm, hex) = match &*self.hasher.borrow() {
            Hasher::Sha256(hasher) => (
                Algorithm::Sha256,
                HEXLOWER.encode(&hasher.clone().finalize()),
            ),
            Hasher::Sha512(hasher) => (
                Algorithm::Sha512,
                HEXLOWER.encode(&hasher.clone().finalize()),
            ),
        };
        Digest { algorithm, hex }
    }

    /// Refuses what passed unless it is `expected`.
    pub(crate) fn check(&self, what: &str, expected: &Digest) -> Result<()> {
        let found = self.digest();
        if found == *expected {
            return Ok(());
        }
        Err(ImageError::Mismatch {
            what: what.to_owned(),
            expected: expected.to_string(),
            found: found.to_string(),
        })
    }
}

/// A reader whose bytes are tapped.
pub(crate) struct Tapped<'a, R> {
    pub(crate) inner: R,
    pub(crate) tap: &'a Tap,
}

impl<R: Read> Read for Tapped<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.tap.add(&buffer[..read]);
        Ok(read)
    }
}

impl<W: Write> Write for Tapped<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.tap.add(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_what_could_be_a_path_is_refused() {
        let digest = Digest::of(b"");
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        for bad in [
            "",
            "sha256:",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "sha256:../../../../etc/passwd",
            &text.to_uppercase(),
            &text[..70],
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad:?} was taken");
        }
    }
}

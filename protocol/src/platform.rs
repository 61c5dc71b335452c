//! Platforms: what a node offers and an action asks for.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Operating system and architecture that an action runs on, as in `linux-x86_64`. Two nodes of
/// one platform can do each other's work; the distribution is a property of the base, not of the
/// node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "UncheckedPlatform")]
pub struct Platform {
    os: String,
    arch: String,
}

/// A platform as it comes from elsewhere.
#[derive(Deserialize)]
struct UncheckedPlatform {
    os: String,
    arch: String,
}

impl TryFrom<UncheckedPlatform> for Platform {
    type Error = ParsePlatformError;

    fn try_from(from: UncheckedPlatform) -> Result<Self, ParsePlatformError> {
        Self::new(&from.os, &from.arch)
    }
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read {text:?} as a platform: want OS-ARCH such as linux-x86_64")]
pub struct ParsePlatformError {
    text: String,
}

impl Platform {
    /// The platform of an operating system and an architecture, named as opam names them
    /// (`linux`, `x86_64`, `arm64`, `riscv64`, ...).
    pub fn new(os: &str, arch: &str) -> Result<Self, ParsePlatformError> {
        let plain = |part: &str| {
            !part.is_empty()
                && part.len() <= 32
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        if plain(os) && plain(arch) {
            Ok(Self {
                os: os.to_owned(),
                arch: arch.to_owned(),
            })
        } else {
            Err(ParsePlatformError {
                text: format!("{os}-{arch}").chars().take(80).collect(),
            })
        }
    }

    /// The platform of this program.
    #[must_use]
    pub fn here() -> Self {
        let arch = match std::env::consts::ARCH {
            "aarch64" => "arm64",
            "powerpc64" => "ppc64",
            "x86" => "x86_32",
            other => other,
        };
        Self {
            os: std::env::consts::OS.to_owned(),
            arch: arch.to_owned(),
        }
    }

    /// opam's name of the operating system.
    #[must_use]
    pub fn os(&self) -> &str {
        &self.os
    }

    /// opam's name of the architecture.
    #[must_use]
    pub fn arch(&self) -> &str {
        &self.arch
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.os, self.arch)
    }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    fn from_str(text: &str) -> Result<Self, ParsePlatformError> {
        let (os, arch) = text.split_once('-').ok_or_else(|| ParsePlatformError {
            text: text.to_owned(),
        })?;
        Self::new(os, arch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_odd_text_is_refused() {
        let here = Platform::here();
        assert_eq!(here.to_string().parse(), Ok(here));
        for bad in ["linux", "linux-", "-x86_64", "Linux-x86", "linux-x86/64"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad:?} was taken");
        }
    }
}

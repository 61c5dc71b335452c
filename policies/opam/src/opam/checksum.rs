//! Checksums of sources, as `sha256=..`.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// A checksum of a source. The digits are kept in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Checksum {
    /// MD5, which still names most sources and proves nothing.
    Md5(Box<str>),
    /// SHA-256.
    Sha256(Box<str>),
    /// SHA-512.
    Sha512(Box<str>),
}

/// A text that is no checksum.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("read checksum {0:?}: expected md5=, sha256= or sha512= and the digits it needs")]
pub struct ChecksumError(pub String);

impl Checksum {
    /// The word before the `=`.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Md5(_) => "md5",
            Self::Sha256(_) => "sha256",
            Self::Sha512(_) => "sha512",
        }
    }

    /// The hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> &str {
        match self {
            Self::Md5(hex) | Self::Sha256(hex) | Self::Sha512(hex) => hex,
        }
    }

    /// Whether the checksum still proves which bytes it names.
    #[must_use]
    pub fn is_strong(&self) -> bool {
        !matches!(self, Self::Md5(_))
    }
}

impl FromStr for Checksum {
    type Err = ChecksumError;

    fn from_str(text: &str) -> Result<Self, ChecksumError> {
        // Digits alone are an MD5, as in old files.
        let (algorithm, digits) = text.split_once('=').unwrap_or(("md5", text));
        let hex: Box<str> = digits.to_ascii_lowercase().into();
        let (length, checksum) = match algorithm {
            "md5" => (32, Self::Md5(hex)),
            "sha256" => (64, Self::Sha256(hex)),
            "sha512" => (128, Self::Sha512(hex)),
            _ => return Err(ChecksumError(text.to_owned())),
        };
        if digits.len() == length && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            Ok(checksum)
        } else {
            Err(ChecksumError(text.to_owned()))
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.algorithm(), self.hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_read_in_lower_case_and_wrong_lengths_are_refused() {
        let md5 = "D41D8CD98F00B204E9800998ECF8427E";
        let bare: Checksum = md5.parse().unwrap();
        assert_eq!(bare, format!("md5={md5}").parse().unwrap());
        assert_eq!(bare.to_string(), format!("md5={}", md5.to_lowercase()));
        for text in [
            "",
            "md5=",
            "sha256=00",
            "sha1=00",
            "md5=zz1d8cd98f00b204e9800998ecf8427e",
        ] {
            assert!(text.parse::<Checksum>().is_err(), "{text}");
        }
    }
}

//! Identifiers: 32-byte values that name content, keys or records, each its own type so that one
//! cannot stand in for another. In text they are 64 lower-case hexadecimal digits.

use std::{borrow::Cow, fmt, str::FromStr};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read {text:?} as a {kind}: want 64 lower-case hexadecimal digits")]
pub struct ParseIdError {
    kind: &'static str,
    text: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        // Digits where people read it, bytes on the wire.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                if to.is_human_readable() {
                    to.collect_str(self)
                } else {
                    self.0.serialize(to)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                if from.is_human_readable() {
                    let text = <Cow<'de, str>>::deserialize(from)?;
                    text.parse().map_err(D::Error::custom)
                } else {
                    <[u8; 32]>::deserialize(from).map(Self)
                }
            }
        }

        impl $name {
            /// The id with these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The bytes of the id.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first ten hexadecimal digits, for tables and logs.
            #[must_use]
            pub fn fmt_short(&self) -> String {
                HEXLOWER.encode(&self.0[..5])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.fmt_short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let refuse = || ParseIdError { kind: $kind, text: text.chars().take(80).collect() };
                let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| refuse())?;
                bytes.try_into().map(Self).map_err(|_| refuse())
            }
        }
    };
}

id! {
    /// Names the bytes of a blob: their BLAKE3 hash, nothing else.
    BlobId, "blob id"
}
id! {
    /// Names a tree or layer: the BLAKE3 hash of its canonical encoding, which is also the
    /// [`BlobId`] of that encoding (a tree travels as a blob).
    TreeId, "tree id"
}
id! {
    /// Names an action by all its inputs.
    ActionKey, "action key"
}
id! {
    /// Names a claim: BLAKE3 of its signed bytes.
    ClaimId, "claim id"
}
id! {
    /// Names a mesh: BLAKE3 of its genesis record.
    MeshId, "mesh id"
}
id! {
    /// Names a node: its Ed25519 public key.
    NodeId, "node id"
}
id! {
    /// Names one wanted run of a policy over one subject (a commit, say).
    RunId, "run id"
}
id! {
    /// Names a role of a project: BLAKE3 of the role's name and the project.
    RoleId, "role id"
}

impl BlobId {
    /// The id of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl TreeId {
    /// The blob that holds this tree's canonical encoding.
    #[must_use]
    pub const fn blob(self) -> BlobId {
        BlobId(self.0)
    }
}

impl From<BlobId> for TreeId {
    fn from(blob: BlobId) -> Self {
        Self(blob.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_other_text_is_refused() {
        let id = BlobId::of(b"caravan");
        assert_eq!(id.to_string().parse::<BlobId>(), Ok(id));
        let mut long = id.to_string();
        long.push('0');
        for bad in ["", "xyz", long.as_str(), &id.to_string().to_uppercase()] {
            assert!(bad.parse::<BlobId>().is_err(), "{bad:?} was taken");
        }
    }
}

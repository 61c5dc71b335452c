//! Invites: single-use tokens by which a stranger's node asks to be admitted. The founding node
//! keeps only the hash of the secret.
//!
//! A token is copied by people, so it is short: no founding record, which the answer brings, but
//! enough of a hash of the founder's key to recognise the founder before the secret is shown, and a
//! check sum, so that a token that was cut off or mistyped is told from a wrong one before any
//! network is used. It is `cvn1` and the base 58 spelling of
//!
//! | bytes | what |
//! |---|---|
//! | 16 | the founder, as [`FounderHint`] |
//! | 16 | the seed of the secret |
//! | 4 | when it expires, seconds since 1970, big-endian |
//! | 7 or more | the addresses: see [`place`] |
//! | 4 | the beginning of a hash of all that |

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    identity::Tier,
    ids::{BlobId, NodeId},
    time::Stamp,
};

mod base58;
mod place;

/// First characters of every token; the digit is the version of what follows.
const PREFIX: &str = "cvn1";
/// What tokens of the versions before this one began with.
const OLD_PREFIX: &str = "caravan-invite-";
/// Longest token, bytes behind the prefix once decoded.
const TOKEN_BYTES_MAX: usize = 720;
/// The same in characters: base 58 takes less than seven for five bytes.
const TOKEN_CHARS_MAX: usize = TOKEN_BYTES_MAX * 7 / 5;
/// Most addresses that a token names.
pub const ADDRESSES_MAX: usize = 8;

const HINT_BYTES: usize = 16;
const SEED_BYTES: usize = 16;
const EXPIRES_BYTES: usize = 4;
const SUM_BYTES: usize = 4;
const FIXED_BYTES: usize = HINT_BYTES + SEED_BYTES + EXPIRES_BYTES;

/// Why a text is not an invite.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseInviteError {
    /// It is something else.
    #[error(
        "read the invite: it does not begin with `{PREFIX}`; give what `caravan invite` printed"
    )]
    Foreign,
    /// It was made before tokens were short.
    #[error(
        "read the invite: an older version of caravan made it; update that node and ask for a new one"
    )]
    Old,
    /// It is far too long.
    #[error("read the invite: it is too long; give one token, as `caravan invite` printed it")]
    TooLong,
    /// It holds what no token holds.
    #[error(
        "read the invite: no invite holds the character {0:?}; copy what `caravan invite` printed"
    )]
    Character(char),
    /// Part of it is missing or wrong.
    #[error(
        "read the invite: it is damaged or cut off, for its check sum does not match; copy the whole \
         of what `caravan invite` printed"
    )]
    Damaged,
    /// Its parts make no sense, though it came through whole.
    #[error("read the invite: another version of caravan made it; bring both to the same version")]
    Version,
}

/// Enough of a hash of the founder's key to tell the founder from everybody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FounderHint([u8; HINT_BYTES]);

impl FounderHint {
    /// The hint at a founder.
    #[must_use]
    pub fn of(founder: NodeId) -> Self {
        let mut bytes = b"caravan/invite-founder/1\0".to_vec();
        bytes.extend_from_slice(founder.as_bytes());
        let mut hint = [0; HINT_BYTES];
        hint.copy_from_slice(&blake3::hash(&bytes).as_bytes()[..HINT_BYTES]);
        Self(hint)
    }

    /// Whether `node` is the founder meant.
    #[must_use]
    pub fn is(self, node: NodeId) -> bool {
        self == Self::of(node)
    }
}

/// What a token says: who made it, where that node is, and the secret that opens the mesh once.
#[derive(Clone, PartialEq, Eq)]
pub struct Invite {
    /// The founder of the mesh, who made the invite.
    pub founder: FounderHint,
    /// Multiaddresses of the founder.
    pub addresses: Vec<String>,
    /// What the secret is made of.
    pub seed: [u8; SEED_BYTES],
    /// Until when it may be used, to the second.
    pub expires: Stamp,
}

/// What the inviting node remembers of an invite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invited {
    /// Who will run the node.
    pub operator: String,
    /// What the node may do.
    pub tier: Tier,
    /// Until when the invite may be used.
    pub expires: Stamp,
}

impl Invite {
    /// Proves that the bearer was invited.
    #[must_use]
    pub fn secret(&self) -> [u8; 32] {
        let mut bytes = b"caravan/invite-secret/1\0".to_vec();
        bytes.extend_from_slice(&self.seed);
        *blake3::hash(&bytes).as_bytes()
    }

    /// What the inviting node keeps to recognise the secret.
    #[must_use]
    pub fn secret_hash(secret: &[u8; 32]) -> BlobId {
        let mut bytes = b"caravan/invite/1\0".to_vec();
        bytes.extend_from_slice(secret);
        BlobId::of(&bytes)
    }

    /// The name by which the inviting node knows the invite.
    #[must_use]
    pub fn id(&self) -> BlobId {
        Self::secret_hash(&self.secret())
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(&self.founder.0);
        bytes.extend_from_slice(&self.seed);
        let seconds = u32::try_from(self.expires.as_ms() / 1000).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&seconds.to_be_bytes());
        place::encode(&self.addresses, &mut bytes);
        let sum = sum(&bytes);
        bytes.extend_from_slice(&sum);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, ParseInviteError> {
        let damaged = ParseInviteError::Damaged;
        let body = bytes.len().checked_sub(SUM_BYTES).ok_or(damaged.clone())?;
        let (bytes, shown) = bytes.split_at(body);
        if sum(bytes) != shown {
            return Err(damaged);
        }
        let version = ParseInviteError::Version;
        let (fixed, places) = bytes.split_at_checked(FIXED_BYTES).ok_or(version.clone())?;
        let (hint, rest) = fixed.split_at(HINT_BYTES);
        let (seed, expires) = rest.split_at(SEED_BYTES);
        let seconds = u32::from_be_bytes(expires.try_into().map_err(|_| version.clone())?);
        Ok(Self {
            founder: FounderHint(hint.try_into().map_err(|_| version.clone())?),
            addresses: place::decode(places).ok_or(version.clone())?,
            seed: seed.try_into().map_err(|_| version)?,
            expires: Stamp::from_ms(u64::from(seconds) * 1000),
        })
    }
}

/// Tells a token that came through whole from one that did not.
fn sum(bytes: &[u8]) -> [u8; SUM_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"caravan/invite-sum/1\0");
    hasher.update(bytes);
    let mut sum = [0; SUM_BYTES];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..SUM_BYTES]);
    sum
}

impl fmt::Debug for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invite")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", base58::encode(&self.encode()))
    }
}

impl FromStr for Invite {
    type Err = ParseInviteError;

    fn from_str(text: &str) -> Result<Self, ParseInviteError> {
        if text.len() > 2 * TOKEN_CHARS_MAX {
            return Err(ParseInviteError::TooLong);
        }
        // Mail and terminals break long lines.
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        if text.starts_with(OLD_PREFIX) {
            return Err(ParseInviteError::Old);
        }
        let body = text.strip_prefix(PREFIX).ok_or(ParseInviteError::Foreign)?;
        if body.len() > TOKEN_CHARS_MAX {
            return Err(ParseInviteError::TooLong);
        }
        let bytes = base58::decode(body).map_err(ParseInviteError::Character)?;
        Self::decode(&bytes)
    }
}

#[cfg(test)]
mod tests;

//! Invites: single-use tokens by which a stranger's node asks to be admitted. The founding node
//! keeps only the hash of the secret.

use std::{fmt, str::FromStr};

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};

use crate::{
    codec,
    identity::{Genesis, Tier},
    ids::BlobId,
    time::Stamp,
};

const PREFIX: &str = "caravan-invite-";
const TOKEN_BYTES_MAX: usize = 2048;
const ADDRESSES_MAX: usize = 8;

/// Why a text is not an invite.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read the invite: {0}; copy the whole line that `caravan invite` printed")]
pub struct ParseInviteError(&'static str);

/// What a token says: where the mesh is and the secret that opens it once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// The mesh's founding record.
    pub genesis: Genesis,
    /// Multiaddresses of the inviting node.
    pub addresses: Vec<String>,
    /// Proves that the bearer was invited.
    pub secret: [u8; 32],
    /// Until when it may be used.
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
    /// What the inviting node keeps to recognise the secret.
    #[must_use]
    pub fn secret_hash(secret: &[u8; 32]) -> BlobId {
        let mut bytes = b"caravan/invite/1\0".to_vec();
        bytes.extend_from_slice(secret);
        BlobId::of(&bytes)
    }
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
        let bytes = codec::encode::<TOKEN_BYTES_MAX>(self).map_err(|_| fmt::Error)?;
        let check = blake3::hash(&bytes);
        let mut all = check.as_bytes()[..4].to_vec();
        all.extend(bytes);
        write!(f, "{PREFIX}{}", BASE32_NOPAD.encode(&all).to_lowercase())
    }
}

impl FromStr for Invite {
    type Err = ParseInviteError;

    fn from_str(text: &str) -> Result<Self, ParseInviteError> {
        let body = text
            .trim()
            .strip_prefix(PREFIX)
            .ok_or(ParseInviteError("it does not begin with `caravan-invite-`"))?;
        if body.len() > TOKEN_BYTES_MAX * 2 {
            return Err(ParseInviteError("it is too long"));
        }
        let all = BASE32_NOPAD
            .decode(body.to_uppercase().as_bytes())
            .map_err(|_| ParseInviteError("it holds a character that no invite has"))?;
        if all.len() < 4 || blake3::hash(&all[4..]).as_bytes()[..4] != all[..4] {
            return Err(ParseInviteError("its check sum does not match"));
        }
        let invite: Self = codec::decode::<TOKEN_BYTES_MAX, _>(&all[4..])
            .map_err(|_| ParseInviteError("it was made by another version"))?;
        if invite.addresses.len() > ADDRESSES_MAX {
            return Err(ParseInviteError("it names too many addresses"));
        }
        Ok(invite)
    }
}

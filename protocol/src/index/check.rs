//! Whether a claim is fit for the index and for use: signed by a member, final, and about what it is
//! said to be about.

use super::Announced;
use crate::{
    claim::{Claim, Verdict},
    codec,
    identity::{Refused, Roster, Signed},
    ids::{ActionKey, BlobId, NodeId, TreeId},
    limits,
    time::Stamp,
};

/// Why a claim is passed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is not believed.
    #[error("take a claim")]
    Refused(#[from] Refused),
    /// It is not final.
    #[error("take a claim of {signer}: an infrastructure failure says nothing")]
    Infra {
        /// Who signed.
        signer: NodeId,
    },
    /// It is of a time at which its signer was no member.
    #[error("take a claim of {signer}: {reason}")]
    Dates {
        /// Who signed.
        signer: NodeId,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// A claim whose signature held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// What it is about.
    pub action: ActionKey,
    /// The layer or tree that it names.
    pub output: Option<TreeId>,
    /// When what it tells of began.
    pub started: Stamp,
    /// Who runs the node that signed it.
    pub operator: String,
    /// As it was signed.
    pub claim: Signed<Claim>,
    /// Whether whoever told of it has what it names.
    pub holds: bool,
    /// Names these very bytes: a copy with another signature is another claim.
    pub id: BlobId,
    /// Its size, bytes.
    pub bytes: usize,
}

/// Checks a claim that somebody told of, by the members that are known here. It does not matter who
/// told.
pub fn check(roster: &Roster, now: Stamp, told: &Announced) -> Result<Checked, Unfit> {
    let signer = told.claim.signer();
    let stranger = Refused::Stranger { signer };
    // First what costs nothing.
    let cert = roster.vouches(signer).ok_or(stranger)?;
    let dates = |reason| Err(Unfit::Dates { signer, reason });
    let claim = told.claim.open(roster.mesh())?;
    if claim.verdict == Verdict::Infra {
        return Err(Unfit::Infra { signer });
    }
    let skew = limits::CLOCK_SKEW_MS;
    if claim.started.as_ms() > now.as_ms().saturating_add(skew) {
        return dates("it is of a time that is still to come; compare the two machines' clocks");
    }
    if claim.started.as_ms() >= cert.expires.as_ms().saturating_add(skew) {
        return dates("its certificate had expired by then");
    }
    let bytes = codec::encode::<{ 2 * limits::CLAIM_BYTES_MAX }>(&told.claim)
        .map_err(|error| Unfit::Refused(Refused::Codec(error)))?;
    Ok(Checked {
        action: claim.action,
        output: claim.output,
        started: claim.started,
        operator: cert.operator.clone(),
        claim: told.claim.clone(),
        holds: told.holds,
        id: BlobId::of(&bytes),
        bytes: bytes.len(),
    })
}

//! Results: claims are made here of what was built, and what others report is checked here.

use caravan_protocol::{
    claim::{Claim, Environment},
    codec,
    identity::Signed,
    ids::{ActionKey, BlobId, NodeId},
    limits,
};
use caravan_store::{LogError, LogReader, Store};
use serde::{Deserialize, Serialize};

use super::{Driver, index, jobs, weigh::Scales};
use crate::build::Built;

/// A claim as it travels: with the words that people want and nobody signs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Reported {
    /// What the node says.
    pub(crate) claim: Signed<Claim>,
    /// The words of a failure.
    pub(crate) words: Option<String>,
}

/// A result of another node whose log and output have come here.
pub(crate) struct Landed {
    pub(crate) claim: Signed<Claim>,
    pub(crate) words: Option<String>,
    pub(crate) bytes: u64,
    /// Keeps what has come until the claim is kept.
    pub(crate) _held: caravan_store::Hold,
}

const REPORT_BYTES_MAX: usize = limits::CLAIM_BYTES_MAX + 32 * 1024;

impl Reported {
    pub(crate) fn encode(&self) -> Vec<u8> {
        // A claim is far below the bound; an empty report is refused by its reader.
        codec::encode::<REPORT_BYTES_MAX>(self).unwrap_or_default()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        codec::decode::<REPORT_BYTES_MAX, _>(bytes).ok()
    }
}

impl Driver {
    /// Signs what was built here.
    pub(crate) fn report(&self, action: ActionKey, built: &Built) -> Option<Reported> {
        if let Some(claim) = built.claim.clone() {
            return Some(Reported {
                claim,
                words: jobs::words(built),
            });
        }
        let claim = Claim {
            mesh: self.membership.roster.mesh(),
            action,
            verdict: built.verdict,
            // Of an infrastructure failure: the layer that was nowhere to be had.
            output: built.output,
            outputs: built.outputs.clone(),
            log: built.log,
            started: jobs::began(built.wall_ms),
            wall_ms: built.wall_ms,
            cpu_ms: built.cpu_ms,
            environment: Environment {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                sandbox: self.shared.sandbox.profile.clone(),
                kernel: rustix::system::uname()
                    .release()
                    .to_string_lossy()
                    .into_owned(),
            },
        };
        let claim = Signed::sign(&self.shared.home.key, &claim).ok()?;
        Some(Reported {
            claim,
            words: jobs::words(built),
        })
    }

    /// Keeps a claim and the words beside it. Infrastructure failures are never kept.
    pub(crate) fn keep(&mut self, action: ActionKey, claim: &Signed<Claim>, words: Option<&str>) {
        let store = &self.shared.home.store;
        self.note_result(action, claim);
        let kept = store.put_claim(action, claim).and_then(|()| match words {
            Some(words) => store.put_record("words", &claim.id().to_string(), words.as_bytes()),
            None => Ok(()),
        });
        if let Err(error) = kept {
            tracing::warn!(%error, action = %action.fmt_short(), "could not keep a claim");
            return;
        }
        self.index_kept(action);
    }

    /// What claims are weighed with, by the members known now; everything that they name is here.
    pub(crate) fn scales(&self) -> Scales<'_> {
        Scales::new(&self.shared, &self.membership.roster)
    }

    /// Checks a report that a node sent: a claim of its own about this very action.
    pub(crate) fn believe(
        &self,
        key: ActionKey,
        node: NodeId,
        bytes: &[u8],
    ) -> Result<(Reported, Claim), String> {
        let report = Reported::decode(bytes).ok_or("its report is damaged")?;
        let claim = report
            .claim
            .open(self.membership.roster.mesh())
            .map_err(|refused| refused.to_string())?;
        if report.claim.signer() != node {
            return Err("it handed over a claim of somebody else".to_owned());
        }
        if claim.action != key {
            return Err("its claim is about another action".to_owned());
        }
        Ok((report, claim))
    }
}

/// A step's log: the blob where the step is done, else the live one. Another node may have written
/// the blob.
pub(crate) fn open_log(
    store: &Store,
    name: &str,
    log: Option<BlobId>,
) -> Result<Option<LogReader>, LogError> {
    match log {
        Some(blob) => store.open_log(blob, limits::LOG_BYTES_MAX).map(Some),
        None => Ok(store.log(name).or_else(|| store.log(&index::copy_of(name)))),
    }
}

//! Results: claims are made here of what was built, and what claims say is weighed here before it
//! is used.

use std::collections::BTreeMap;

use caravan_protocol::{
    action::{Action, Work},
    claim::{Claim, Environment, Verdict},
    codec,
    identity::Signed,
    ids::{ActionKey, BlobId, NodeId},
    level::{Level, Vouched, judge},
    limits,
    policy::Outcome,
};
use caravan_store::{LogError, LogReader, Store};
use serde::{Deserialize, Serialize};

use super::{Driver, jobs};
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
            output: built.output,
            outputs: built.outputs.clone(),
            log: built.log,
            started: jobs::began(built.wall_ms),
            wall_ms: built.wall_ms,
            cpu_ms: built.cpu_ms,
            environment: Environment {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                sandbox: caravan_protocol::action::SANDBOX_PROFILE.to_owned(),
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
    pub(crate) fn keep(&self, action: ActionKey, claim: &Signed<Claim>, words: Option<&str>) {
        let store = &self.shared.home.store;
        self.note_result(action, claim);
        let kept = store.put_claim(action, claim).and_then(|()| match words {
            Some(words) => store.put_record("words", &claim.id().to_string(), words.as_bytes()),
            None => Ok(()),
        });
        if let Err(error) = kept {
            tracing::warn!(%error, action = %action.fmt_short(), "could not keep a claim");
        }
    }

    /// What the claims at hand say about an action, if that can be used: believed, and everything
    /// that it names is here. With `rebuild`, failures are not believed.
    pub(crate) fn claimed(
        &self,
        key: ActionKey,
        action: &Action,
        rebuild: bool,
    ) -> Option<Outcome> {
        let mut outcome = self.weigh(key)?;
        outcome.cached = true;
        match (&action.work, outcome.verdict) {
            (_, Verdict::Fail) => (!rebuild).then_some(outcome),
            (_, Verdict::Infra) => None,
            (Work::Run(run), Verdict::Pass) if !run.keep_layer => Some(outcome),
            (_, Verdict::Pass) => outcome.output.is_some().then_some(outcome),
        }
    }

    /// The outcome that the claims kept here come to: those whose results are here.
    pub(crate) fn weigh(&self, key: ActionKey) -> Option<Outcome> {
        let kept = self.kept(key);
        let vouched: Vec<Vouched> = kept.iter().map(|(vouched, _)| vouched.clone()).collect();
        let judged = judge(&vouched, self.shared.home.key.node())?;
        let (_, id) = kept.iter().find(|(known, _)| known == judged.vouched)?;
        self.outcome(judged.vouched, *id, judged.level)
    }

    /// The outcome of an attempt that has just ended on `node`. It counts whatever others claim:
    /// what they say decides only how far it can be relied on.
    pub(crate) fn ended(&self, key: ActionKey, node: NodeId) -> Option<Outcome> {
        let kept = self.kept(key);
        let of_node = kept.iter().filter(|(vouched, _)| vouched.cert.node == node);
        let (vouched, id) = of_node.max_by_key(|(vouched, _)| vouched.claim.started)?;
        let own = node == self.shared.home.key.node();
        let least = if own { Level::Local } else { Level::Claimed };
        let weighed = self.weigh(key).filter(|weighed| {
            (weighed.verdict, weighed.output) == (vouched.claim.verdict, vouched.claim.output)
        });
        self.outcome(vouched, *id, weighed.map_or(least, |weighed| weighed.level))
    }

    /// Claims about an action by members, past or present, whose results are here.
    fn kept(&self, key: ActionKey) -> Vec<(Vouched, BlobId)> {
        let store = &self.shared.home.store;
        let roster = &self.membership.roster;
        let claims = store.claims(key).unwrap_or_default();
        let open = |signed: &Signed<Claim>| {
            let claim = signed.open(roster.mesh()).ok()?;
            let cert = roster.vouches(signed.signer())?.clone();
            (claim.action == key && is_here(store, &claim))
                .then(|| (Vouched { cert, claim }, signed.id()))
        };
        claims.iter().filter_map(open).collect()
    }

    fn outcome(&self, vouched: &Vouched, id: BlobId, level: Level) -> Option<Outcome> {
        let store = &self.shared.home.store;
        let claim = &vouched.claim;
        let words = store.record("words", &id.to_string()).ok().flatten();
        Some(Outcome {
            action: claim.action,
            verdict: claim.verdict,
            output: claim.output,
            outputs: outputs(store, claim)?,
            log: claim.log,
            level,
            node: vouched.cert.node,
            cached: false,
            wall_ms: claim.wall_ms,
            message: words.map(|words| String::from_utf8_lossy(&words).into_owned()),
        })
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

/// Whether everything that a claim names as its result is in the store.
fn is_here(store: &Store, claim: &Claim) -> bool {
    let whole = |tree| store.missing(tree).is_ok_and(|missing| missing.is_empty());
    claim.output.is_none_or(whole)
        && claim
            .outputs
            .values()
            .all(|blob| store.has_blob(*blob).unwrap_or(false))
}

/// The bytes of a claim's named outputs, or nothing where one of them is not here.
fn outputs(store: &Store, claim: &Claim) -> Option<BTreeMap<String, Vec<u8>>> {
    let read = |(name, blob): (&String, &BlobId)| {
        Some((
            name.clone(),
            store.read_blob(*blob, limits::OUTPUT_BYTES_MAX).ok()?,
        ))
    };
    claim
        .outputs
        .iter()
        .take(limits::OUTPUTS_MAX)
        .map(read)
        .collect()
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
        None => Ok(store.log(name)),
    }
}

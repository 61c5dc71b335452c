//! What claims say, weighed before it is used: believed, and everything that it names is here, or
//! with a member that is, where that is good enough. The driver weighs with the members that it knows; a policy's own thread with those that it was told
//! of. It owns the claims that were opened before and never keeps or changes one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use caravan_protocol::{
    action::{Action, Work},
    claim::{Claim, Verdict},
    codec,
    identity::{Roster, Signed},
    ids::{ActionKey, BlobId, MeshId, NodeId, TreeId},
    level::{Level, Vouched, judge},
    limits,
    policy::Outcome,
};
use caravan_store::Store;

use super::{Shared, index};
use crate::build::chain;

/// Claims that are remembered as opened; when there are more, all are forgotten.
const OPENED_MAX: usize = 4096;
/// A signed claim with its signer and signature.
const SIGNED_BYTES_MAX: usize = limits::CLAIM_BYTES_MAX + 1024;

/// Which results that are there already are as good as new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// All of them.
    Any,
    /// Those that passed: a failure is tried again.
    Passed,
    /// None: every step is run again.
    Nothing,
}

/// Claims whose signatures were found to hold, by all their bytes: a copy with another signature is
/// another claim.
#[derive(Debug, Default)]
pub(crate) struct Opened(Mutex<BTreeMap<BlobId, Claim>>);

impl Opened {
    /// What a claim says. To check a signature takes longer than all else that a cached step needs.
    pub(crate) fn open(&self, signed: &Signed<Claim>, mesh: MeshId) -> Option<Claim> {
        let id = BlobId::of(&codec::encode::<SIGNED_BYTES_MAX>(signed).ok()?);
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().get(&id).filter(|claim| claim.mesh == mesh).cloned();
        if known.is_some() {
            return known;
        }
        let claim = signed.open(mesh).ok()?;
        let mut opened = lock();
        if opened.len() >= OPENED_MAX {
            opened.clear();
        }
        opened.insert(id, claim.clone());
        Some(claim)
    }
}

/// What claims are weighed with.
pub(crate) struct Scales<'a> {
    shared: &'a Shared,
    roster: &'a Roster,
    me: NodeId,
    /// Whether a layer that a member has is as good as one that is here.
    anywhere: bool,
}

impl<'a> Scales<'a> {
    /// The scales of a node that knows these members.
    pub(crate) fn new(shared: &'a Shared, roster: &'a Roster) -> Self {
        Self {
            shared,
            roster,
            me: shared.home.key.node(),
            anywhere: false,
        }
    }

    /// The same for what is only asked how it ended, or is brought before it is used: claims count
    /// that index nodes have told, and layers that are with members.
    pub(crate) const fn anywhere(mut self) -> Self {
        self.anywhere = true;
        self
    }

    const fn store(&self) -> &'a Store {
        &self.shared.home.store
    }

    /// What the claims at hand say about an action, if that can be used.
    pub(crate) fn claimed(&self, key: ActionKey, action: &Action, reuse: Reuse) -> Option<Outcome> {
        if reuse == Reuse::Nothing {
            return None;
        }
        let mut outcome = self.weigh(&self.kept(key))?;
        outcome.cached = true;
        match (&action.work, outcome.verdict) {
            (_, Verdict::Fail) => (reuse == Reuse::Any).then_some(outcome),
            (_, Verdict::Infra) => None,
            (Work::Run(run), Verdict::Pass) if !run.keep_layer => Some(outcome),
            (_, Verdict::Pass) => outcome.output.is_some().then_some(outcome),
        }
    }

    /// The outcome of an attempt that has just ended on `node`. It counts whatever others claim:
    /// what they say decides only how far it can be relied on.
    pub(crate) fn ended(&self, key: ActionKey, node: NodeId) -> Option<Outcome> {
        let kept = self.kept(key);
        let of_node = kept.iter().filter(|(vouched, _)| vouched.cert.node == node);
        let (vouched, id) = of_node.max_by_key(|(vouched, _)| vouched.claim.started)?;
        let least = match node == self.me {
            true => Level::Local,
            false => Level::Claimed,
        };
        let weighed = self.weigh(&kept).filter(|weighed| {
            (weighed.verdict, weighed.output) == (vouched.claim.verdict, vouched.claim.output)
        });
        self.outcome(vouched, *id, weighed.map_or(least, |weighed| weighed.level))
    }

    /// The outcome that these claims come to.
    fn weigh(&self, kept: &[(Vouched, BlobId)]) -> Option<Outcome> {
        let vouched: Vec<Vouched> = kept.iter().map(|(vouched, _)| vouched.clone()).collect();
        let judged = judge(&vouched, self.me)?;
        let (_, id) = kept.iter().find(|(known, _)| known == judged.vouched)?;
        self.outcome(judged.vouched, *id, judged.level)
    }

    /// Claims about an action by members, past or present, whose results are here.
    fn kept(&self, key: ActionKey) -> Vec<(Vouched, BlobId)> {
        let mut claims = self.store().claims(key).unwrap_or_else(|error| {
            let (key, error) = (key.fmt_short(), chain(&error));
            tracing::warn!(%key, error, "could not read the claims about an action; it is done anew");
            Vec::new()
        });
        if self.anywhere {
            let gathered = self.shared.gathered.claims(key).into_iter();
            let news: Vec<_> = gathered.filter(|claim| !claims.contains(claim)).collect();
            claims.extend(news);
        }
        let open = |signed: &Signed<Claim>| {
            let cert = self.roster.vouches(signed.signer())?.clone();
            let claim = self.shared.opened.open(signed, self.roster.mesh())?;
            (claim.action == key && self.is_to_be_had(&claim))
                .then(|| (Vouched { cert, claim }, signed.id()))
        };
        claims.iter().filter_map(open).collect()
    }

    /// Whether what a claim names can be used.
    fn is_to_be_had(&self, claim: &Claim) -> bool {
        let is_near = |tree| {
            let missing = self.store().missing(tree);
            missing.is_ok_and(|missing| missing.is_empty())
                || (self.anywhere && !index::live(self.shared, self.holders(tree)).is_empty())
        };
        claim.output.is_none_or(is_near) && has_outputs(self.store(), claim)
    }

    fn holders(&self, tree: TreeId) -> BTreeSet<NodeId> {
        self.shared.gathered.holders(tree)
    }

    fn outcome(&self, vouched: &Vouched, id: BlobId, level: Level) -> Option<Outcome> {
        let claim = &vouched.claim;
        let words = self.store().record("words", &id.to_string()).ok().flatten();
        Some(Outcome {
            action: claim.action,
            verdict: claim.verdict,
            output: claim.output,
            outputs: outputs(self.store(), claim)?,
            log: claim.log,
            level,
            node: vouched.cert.node,
            cached: false,
            wall_ms: claim.wall_ms,
            message: words.map(|words| String::from_utf8_lossy(&words).into_owned()),
        })
    }
}

/// Whether everything that a claim names as its result is in the store.
pub(super) fn is_here(store: &Store, claim: &Claim) -> bool {
    let whole = |tree| store.missing(tree).is_ok_and(|missing| missing.is_empty());
    claim.output.is_none_or(whole) && has_outputs(store, claim)
}

fn has_outputs(store: &Store, claim: &Claim) -> bool {
    let mut blobs = claim.outputs.values();
    blobs.all(|blob| store.has_blob(*blob).unwrap_or(false))
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

#[cfg(test)]
mod tests {
    use caravan_protocol::{
        claim::Environment,
        codec,
        identity::{Key, Signed},
        time::Stamp,
    };

    use super::*;

    const MESH: MeshId = MeshId::from_bytes([7; 32]);

    fn claim(wall_ms: u64) -> Claim {
        Claim {
            mesh: MESH,
            action: ActionKey::from_bytes([1; 32]),
            verdict: Verdict::Pass,
            output: None,
            outputs: BTreeMap::new(),
            log: None,
            started: Stamp::from_ms(1),
            wall_ms,
            cpu_ms: 0,
            environment: Environment {
                version: "1".to_owned(),
                sandbox: "s".to_owned(),
                kernel: "k".to_owned(),
            },
        }
    }

    #[test]
    fn a_forged_copy_of_an_opened_claim_is_refused() {
        let key = Key::from_secret(&[1; 32]);
        let signed = Signed::sign(&key, &claim(1)).expect("small");
        let other = Signed::sign(&key, &claim(2)).expect("small");
        let opened = Opened::default();
        for _ in 0..2 {
            assert_eq!(opened.open(&signed, MESH), Some(claim(1)));
        }
        // The same words under the signature of others.
        type Parts = (NodeId, ([u8; 32], [u8; 32]), Vec<u8>);
        let parts = |signed: &Signed<Claim>| {
            let bytes = codec::encode::<SIGNED_BYTES_MAX>(signed).expect("small");
            codec::decode::<SIGNED_BYTES_MAX, Parts>(&bytes).expect("its parts")
        };
        let forged = (parts(&signed).0, parts(&other).1, parts(&signed).2);
        let bytes = codec::encode::<SIGNED_BYTES_MAX>(&forged).expect("small");
        let forged: Signed<Claim> = codec::decode::<SIGNED_BYTES_MAX, _>(&bytes).expect("a claim");
        assert_eq!(forged.id(), signed.id());
        assert_eq!(opened.open(&forged, MESH), None);
        assert_eq!(opened.open(&signed, MeshId::from_bytes([8; 32])), None);
    }

    #[test]
    fn opened_claims_are_few() {
        let key = Key::from_secret(&[1; 32]);
        let opened = Opened::default();
        let filler = |n: usize| (BlobId::of(&n.to_le_bytes()), claim(0));
        opened
            .0
            .lock()
            .expect("nobody panicked")
            .extend((0..OPENED_MAX).map(filler));
        let signed = Signed::sign(&key, &claim(1)).expect("small");
        assert_eq!(opened.open(&signed, MESH), Some(claim(1)));
        assert_eq!(opened.0.lock().expect("nobody panicked").len(), 1);
    }
}

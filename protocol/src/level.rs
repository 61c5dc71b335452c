//! Levels: what claims add up to. Trust is asked here, when a result is about to be used, and is
//! never a property of the cache.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

use crate::{
    claim::{Claim, Verdict},
    identity::{NodeCert, Tier},
    ids::NodeId,
};

/// How much a result can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Level {
    /// L0: this node ran it.
    Local,
    /// L1: a member claims it.
    Claimed,
    /// L2: two operators agree, or one trusted node says so.
    Confirmed,
    /// L3: a trusted node ran it and every input is precious too.
    Precious,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "L0",
            Self::Claimed => "L1",
            Self::Confirmed => "L2",
            Self::Precious => "L3",
        })
    }
}

/// A claim whose signature held, with the certificate of its signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched {
    /// Who signed.
    pub cert: NodeCert,
    /// What it says.
    pub claim: Claim,
}

/// What a set of claims about one action comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement<'a> {
    /// How far it can be relied on.
    pub level: Level,
    /// A claim that says it: this node's own where there is one, else the earliest.
    pub vouched: &'a Vouched,
}

/// What the claims about one action come to for node `me`, or nothing where none is usable or
/// where equally good ones contradict each other. `infra` verdicts never count, and an operator
/// counts once whatever number of nodes it runs.
#[must_use]
pub fn judge(claims: &[Vouched], me: NodeId) -> Option<Judgement<'_>> {
    let claims = newest(claims);
    let mut best: Option<Judgement<'_>> = None;
    let mut contested = false;
    for &vouched in &claims {
        let level = level_of(&claims, vouched, me);
        let Some(held) = &best else {
            best = Some(Judgement { level, vouched });
            continue;
        };
        if agree(held.vouched, vouched) {
            if rank(vouched, me) < rank(held.vouched, me) {
                best = Some(Judgement { level, vouched });
            }
        } else {
            let (new, old) = (
                strength(level, vouched, me),
                strength(held.level, held.vouched, me),
            );
            if new > old {
                contested = false;
                best = Some(Judgement { level, vouched });
            } else if new == old {
                contested = true;
            }
        }
    }
    best.filter(|_| !contested)
}

/// Each node's last word: one that ran an action again, after a flaky failure say, has changed its
/// mind. Infrastructure failures are no word at all.
fn newest(claims: &[Vouched]) -> Vec<&Vouched> {
    let final_ones = claims
        .iter()
        .filter(|vouched| vouched.claim.verdict != Verdict::Infra);
    let mut last: BTreeMap<NodeId, &Vouched> = BTreeMap::new();
    for vouched in final_ones {
        let known = last.entry(vouched.cert.node).or_insert(vouched);
        if vouched.claim.started >= known.claim.started {
            *known = vouched;
        }
    }
    last.into_values().collect()
}

/// What goes before what where claims contradict each other: confirmation first, then what this
/// node saw itself, then another's word.
fn strength(level: Level, vouched: &Vouched, me: NodeId) -> u8 {
    match level {
        Level::Precious => 3,
        Level::Confirmed => 2,
        _ if own(vouched, me) => 1,
        Level::Local | Level::Claimed => 0,
    }
}

fn level_of(claims: &[&Vouched], vouched: &Vouched, me: NodeId) -> Level {
    let with = || claims.iter().filter(|other| agree(other, vouched));
    let operators: BTreeSet<&str> = with().map(|other| other.cert.operator.as_str()).collect();
    if operators.len() >= 2 || with().any(|other| other.cert.tier >= Tier::Trusted) {
        Level::Confirmed
    } else if with().all(|other| other.cert.node == me) {
        Level::Local
    } else {
        Level::Claimed
    }
}

fn agree(a: &Vouched, b: &Vouched) -> bool {
    let said = |vouched: &Vouched| (vouched.claim.verdict, vouched.claim.output);
    said(a) == said(b) && a.claim.outputs == b.claim.outputs
}

fn own(vouched: &Vouched, me: NodeId) -> bool {
    vouched.cert.node == me
}

fn rank(vouched: &Vouched, me: NodeId) -> (bool, u64, NodeId) {
    (
        !own(vouched, me),
        vouched.claim.started.as_ms(),
        vouched.cert.node,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        claim::Environment,
        ids::{ActionKey, MeshId, TreeId},
        time::Stamp,
    };

    const ME: u8 = 1;

    fn vouched(node: u8, operator: &str, tier: Tier, verdict: Verdict, output: u8) -> Vouched {
        let mesh = MeshId::from_bytes([0; 32]);
        Vouched {
            cert: NodeCert {
                mesh,
                node: NodeId::from_bytes([node; 32]),
                operator: operator.to_owned(),
                tier,
                platforms: Vec::new(),
                not_before: Stamp::from_ms(0),
                expires: Stamp::from_ms(1),
            },
            claim: Claim {
                mesh,
                action: ActionKey::from_bytes([0; 32]),
                verdict,
                output: Some(TreeId::from_bytes([output; 32])),
                outputs: Default::default(),
                log: None,
                started: Stamp::from_ms(u64::from(node)),
                wall_ms: 0,
                cpu_ms: 0,
                environment: Environment::default(),
            },
        }
    }

    fn level(claims: &[Vouched]) -> Option<(Level, u8)> {
        let judged = judge(claims, NodeId::from_bytes([ME; 32]))?;
        Some((judged.level, judged.vouched.cert.node.as_bytes()[0]))
    }

    #[test]
    fn levels_follow_the_rules() {
        use Tier::{Donor, Trusted};
        use Verdict::{Fail, Infra, Pass};
        let own = vouched(ME, "me", Donor, Pass, 7);
        let ann = vouched(2, "ann", Donor, Pass, 7);
        let ann_too = vouched(3, "ann", Donor, Pass, 7);
        let bob = vouched(4, "bob", Donor, Pass, 7);
        let liar = vouched(5, "eve", Donor, Pass, 8);
        let trusted = vouched(6, "cy", Trusted, Pass, 7);
        let infra = vouched(7, "di", Trusted, Infra, 7);
        let failed = vouched(8, "ed", Donor, Fail, 0);
        assert_eq!(level(&[]), None);
        assert_eq!(
            level(&[infra]),
            None,
            "an infrastructure failure was taken for a result"
        );
        assert_eq!(level(std::slice::from_ref(&own)), Some((Level::Local, ME)));
        assert_eq!(level(std::slice::from_ref(&ann)), Some((Level::Claimed, 2)));
        assert_eq!(
            level(&[ann_too, ann.clone()]),
            Some((Level::Claimed, 2)),
            "two nodes of one operator counted twice"
        );
        assert_eq!(
            level(&[ann.clone(), bob.clone()]),
            Some((Level::Confirmed, 2))
        );
        assert_eq!(level(&[trusted]), Some((Level::Confirmed, 6)));
        assert_eq!(
            level(&[ann.clone(), liar.clone()]),
            None,
            "a contradiction was resolved by luck"
        );
        assert_eq!(level(&[ann.clone(), failed]), None);
        assert_eq!(
            level(&[liar.clone(), ann.clone(), bob]),
            Some((Level::Confirmed, 2))
        );
        assert_eq!(
            level(&[liar.clone(), own.clone(), ann]),
            Some((Level::Confirmed, ME))
        );
        let alone = level(&[liar, own.clone()]);
        assert_eq!(
            alone,
            Some((Level::Local, ME)),
            "a stranger's word went before our own"
        );
        let mut flaky = own.clone();
        flaky.claim.verdict = Fail;
        flaky.claim.started = Stamp::from_ms(0);
        assert_eq!(
            level(&[own, flaky]),
            Some((Level::Local, ME)),
            "the older word won"
        );
    }
}

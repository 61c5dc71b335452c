//! The index: a simulated mesh of engines, and what a hostile member can do to one.

use std::collections::BTreeMap;

use super::*;
use crate::{
    claim::{Claim, Environment, Verdict},
    identity::{Genesis, Key, NodeCert, Roster, Signed, Tier},
    ids::{ActionKey, MeshId, NodeId, TreeId},
    time::{Stamp, Time},
};

mod hostile;
mod mesh;

/// Keys of members, by number; 0 is the founder's.
fn key(n: u16) -> Key {
    let mut secret = [7; 32];
    secret[..2].copy_from_slice(&n.to_le_bytes());
    Key::from_secret(&secret)
}

fn action(n: u64) -> ActionKey {
    ActionKey::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes())
}

const NOW: Stamp = Stamp::from_ms(1_000_000_000);

fn genesis() -> Genesis {
    Genesis {
        founder: key(0).node(),
        created: Stamp::from_ms(1),
        nonce: [3; 32],
    }
}

fn mesh_id() -> MeshId {
    genesis().mesh().expect("small")
}

/// So many hours from now.
fn hours(n: i64) -> Stamp {
    Stamp::from_ms(NOW.as_ms().saturating_add_signed(n * 3_600_000))
}

fn cert(n: u16, operator: &str, (not_before, expires): (Stamp, Stamp)) -> Signed<NodeCert> {
    let cert = NodeCert {
        mesh: mesh_id(),
        node: key(n).node(),
        operator: operator.to_owned(),
        tier: Tier::Donor,
        platforms: Vec::new(),
        not_before,
        expires,
    };
    Signed::sign(&key(0), &cert).expect("small")
}

/// A roster of members 1 to `count`, three to an operator.
fn roster(count: u16) -> Roster {
    let mut roster = Roster::new(genesis()).expect("small");
    for n in 1..=count {
        let dates = (hours(-1), hours(1));
        roster
            .admit(&cert(n, &operator(n), dates), NOW)
            .expect("a member");
    }
    roster
}

fn operator(n: u16) -> String {
    format!("operator-{}", n / 3)
}

fn claim(n: u64, verdict: Verdict, started: Stamp) -> Claim {
    Claim {
        mesh: mesh_id(),
        action: action(n),
        verdict,
        output: Some(TreeId::from_bytes(*action(n).as_bytes())),
        outputs: BTreeMap::new(),
        log: None,
        started,
        wall_ms: 1,
        cpu_ms: 1,
        environment: Environment::default(),
    }
}

fn announced(signer: u16, n: u64) -> Announced {
    let claim = claim(n, Verdict::Pass, NOW);
    Announced {
        claim: Signed::sign(&key(signer), &claim).expect("small"),
        holds: true,
    }
}

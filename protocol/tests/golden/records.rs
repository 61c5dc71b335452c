//! What is signed, and what is made of it.

use std::collections::{BTreeMap, BTreeSet};

use caravan_protocol::{
    claim::{Claim, Environment, Verdict},
    codec,
    facts::{Facts, Offered},
    identity::{NodeCert, Record, Seat, Signed, Tier, cordon::Cordon},
    ids::{ActionKey, BlobId, TreeId},
    limits,
    member::{Alert, Incarnation, Mode, Obituary, Presence, RECORD_BYTES_MAX, Revocation},
    platform::Platform,
    time::Stamp,
};

use super::{Kind, encoded, key, mesh, node, platform};

fn facts() -> Facts {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Facts {
        platforms: BTreeSet::from([
            Offered {
                platform: platform(),
                emulated: false,
            },
            Offered {
                platform: Platform::new("linux", "s390x").expect("good"),
                emulated: true,
            },
        ]),
        cores: 2,
        memory_bytes: 3,
        disk_bytes: 4,
        disk_free_bytes: 5,
        slots: 6,
        variant: "v3".to_owned(),
        sandbox: words(&["own", "seccomp"]),
        version: "0.1.0".to_owned(),
        labels: words(&["rack=3"]),
        up_since: Stamp::from_ms(7),
        why: "paused".to_owned(),
    }
}

fn alert() -> Alert {
    Alert {
        mesh: mesh(),
        subject: node(3),
        incarnation: Incarnation::new(4),
        observer: node(2),
        at: Stamp::from_ms(5),
    }
}

fn presence(mode: Mode) -> Presence {
    Presence {
        mesh: mesh(),
        node: node(2),
        incarnation: Incarnation::new(3),
        addresses: vec!["/ip4/192.0.2.7/tcp/7450".to_owned()],
        facts: facts(),
        mode,
        issued: Stamp::from_ms(4),
    }
}

fn cert(tier: Tier) -> NodeCert {
    NodeCert {
        mesh: mesh(),
        node: node(2),
        operator: "alice".to_owned(),
        tier,
        platforms: vec![platform()],
        not_before: Stamp::from_ms(3),
        expires: Stamp::from_ms(4),
    }
}

fn claim(verdict: Verdict) -> Claim {
    let passed = verdict == Verdict::Pass;
    Claim {
        mesh: mesh(),
        action: ActionKey::from_bytes([1; 32]),
        verdict,
        output: passed.then(|| TreeId::from(BlobId::of(b"out"))),
        outputs: BTreeMap::from([
            ("a".to_owned(), BlobId::of(b"a")),
            ("b".to_owned(), BlobId::of(b"b")),
        ]),
        log: passed.then(|| BlobId::of(b"log")),
        started: Stamp::from_ms(2),
        wall_ms: 3,
        cpu_ms: 4,
        environment: Environment {
            version: "0.1.0".to_owned(),
            sandbox: "ns-1".to_owned(),
            kernel: "6.1".to_owned(),
        },
    }
}

/// A record as its signer sends it. Signatures of this kind are always the same for the same key.
fn signed<T: Record>(what: &'static str, values: &[(&'static str, T)]) -> Kind {
    let name = T::DOMAIN.strip_prefix("caravan/").expect("a name of ours");
    let values = values.iter().map(|(name, record)| {
        let signed = Signed::sign(&key(1), record).expect("small");
        assert!(signed.open(mesh()).is_ok(), "{name}");
        (*name, encoded(&signed))
    });
    Kind {
        file: name.replace('/', "-"),
        what,
        values: values.collect(),
        again: |bytes| {
            let signed: Signed<T> =
                codec::decode::<{ limits::MESSAGE_BYTES_MAX }, _>(bytes).ok()?;
            signed.open(mesh()).ok()?;
            Some(encoded(&signed))
        },
    }
}

pub(super) fn records() -> Vec<Kind> {
    let at = Stamp::from_ms(3);
    let modes = [
        ("open", Mode::Open),
        ("paused", Mode::Paused),
        ("draining", Mode::Draining),
        ("leaving", Mode::Leaving),
        ("left", Mode::Left),
    ];
    let tiers = [
        ("donor", Tier::Donor),
        ("trusted", Tier::Trusted),
        ("council", Tier::Council),
    ];
    let verdicts = [
        ("pass", Verdict::Pass),
        ("fail", Verdict::Fail),
        ("infra", Verdict::Infra),
    ];
    let seat = Seat {
        mesh: mesh(),
        role: "ci".to_owned(),
        holder: node(1),
        epoch: 2,
        since: at,
    };
    let revocation = Revocation {
        mesh: mesh(),
        node: node(2),
        at,
    };
    let cordon = Cordon {
        mesh: mesh(),
        node: node(2),
        on: true,
        why: "its disk is full".to_owned(),
        at,
    };
    vec![
        signed(
            "the right of a node to speak",
            &tiers.map(|(name, tier)| (name, cert(tier))),
        ),
        signed("the holder of a role", &[("ci", seat)]),
        signed("a node is out", &[("revocation", revocation)]),
        signed("a node takes no work", &[("cordon", cordon)]),
        signed("a role's run", &[("charge", super::roles::charge())]),
        signed(
            "a node's word about itself",
            &modes.map(|(name, mode)| (name, presence(mode))),
        ),
        signed("a node does not answer", &[("alert", alert())]),
        signed(
            "an action gave that output",
            &verdicts.map(|(name, verdict)| (name, claim(verdict))),
        ),
    ]
}

pub(super) fn obituaries() -> Kind {
    let alerts = vec![Signed::sign(&key(2), &alert()).expect("small")];
    Kind {
        file: "member-1-obituary".to_owned(),
        what: "alerts of several observers about one node",
        values: vec![("obituary", encoded(&Obituary { alerts }))],
        again: |bytes| {
            let obituary: Obituary = codec::decode::<RECORD_BYTES_MAX, _>(bytes).ok()?;
            Some(encoded(&obituary))
        },
    }
}

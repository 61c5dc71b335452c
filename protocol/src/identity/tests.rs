use std::time::Duration;

use super::*;
use crate::claim::{Claim, Environment, Verdict};

fn key(seed: u8) -> Key {
    Key::from_secret(&[seed; 32])
}

fn genesis() -> Genesis {
    Genesis {
        founder: key(1).node(),
        created: Stamp::from_ms(1000),
        nonce: [9; 32],
    }
}

fn cert(node: NodeId) -> NodeCert {
    let mesh = genesis().mesh().expect("small");
    NodeCert {
        mesh,
        node,
        operator: "ann".to_owned(),
        tier: Tier::Donor,
        platforms: vec![Platform::here()],
        not_before: Stamp::from_ms(1000),
        expires: Stamp::from_ms(5000),
    }
}

#[test]
fn a_certificate_is_taken_once_signed_by_the_founder_and_while_it_lasts() {
    let mut roster = Roster::new(genesis()).expect("small");
    let node = key(2).node();
    let signed = Signed::sign(&key(1), &cert(node)).expect("small");
    assert!(roster.admit(&signed, Stamp::from_ms(2000)).is_ok());
    assert!(roster.member(node, Stamp::from_ms(2000)).is_some());
    assert!(
        roster.member(node, Stamp::from_ms(5000)).is_none(),
        "an expired member was kept"
    );
    for now in [0, 5000, 9000] {
        let refused = roster.check(&signed, Stamp::from_ms(now));
        assert!(
            matches!(refused, Err(Refused::Expired { .. })),
            "{refused:?} at {now}"
        );
    }
}

#[test]
fn an_expired_members_word_counts_and_a_revoked_ones_does_not() {
    let mut roster = Roster::new(genesis()).expect("small");
    let node = key(2).node();
    let signed = Signed::sign(&key(1), &cert(node)).expect("small");
    roster.recall(&signed).expect("the council signed it");
    assert!(roster.vouches(node).is_some());
    assert!(
        roster.member(node, Stamp::from_ms(9000)).is_none(),
        "an expired node may speak"
    );
    roster.revoke(node, Stamp::from_ms(9001));
    assert!(roster.vouches(node).is_none());
    let by_another = Signed::sign(&key(2), &cert(node)).expect("small");
    assert!(roster.recall(&by_another).is_err());
}

#[test]
fn forged_foreign_and_endless_certificates_are_refused() {
    let roster = Roster::new(genesis()).expect("small");
    let now = Stamp::from_ms(2000);
    let node = key(2).node();

    let by_another = Signed::sign(&key(2), &cert(node)).expect("small");
    assert_eq!(
        roster.check(&by_another, now),
        Err(Refused::NotCouncil { signer: node })
    );

    let mut renamed = by_another;
    renamed.signer = key(1).node();
    assert!(matches!(
        roster.check(&renamed, now),
        Err(Refused::Forged { .. })
    ));

    let mut foreign = cert(node);
    foreign.mesh = MeshId::from_bytes([3; 32]);
    let foreign = Signed::sign(&key(1), &foreign).expect("small");
    assert!(matches!(
        roster.check(&foreign, now),
        Err(Refused::OtherMesh { .. })
    ));

    let mut endless = cert(node);
    endless.expires = endless
        .not_before
        .after(Duration::from_millis(limits::CERT_LIFE_MS + 1));
    let endless = Signed::sign(&key(1), &endless).expect("small");
    assert!(matches!(
        roster.check(&endless, now),
        Err(Refused::Expired { .. })
    ));

    let mut altered = Signed::sign(&key(1), &cert(node)).expect("small");
    let last = altered.bytes.len() - 1;
    altered.bytes[last] ^= 1;
    assert!(matches!(
        roster.check(&altered, now),
        Err(Refused::Forged { .. })
    ));
}

#[test]
fn a_revoked_node_stays_out_whatever_certificate_it_shows() {
    let mut roster = Roster::new(genesis()).expect("small");
    let node = key(2).node();
    let signed = Signed::sign(&key(1), &cert(node)).expect("small");
    roster.admit(&signed, Stamp::from_ms(2000)).expect("valid");
    roster.revoke(node, Stamp::from_ms(2001));
    assert_eq!(
        roster.admit(&signed, Stamp::from_ms(2002)),
        Err(Refused::Revoked { node })
    );
    assert_eq!(roster.members(Stamp::from_ms(2002)).count(), 0);
}

#[test]
fn a_signature_of_one_kind_does_not_pass_for_another() {
    let mesh = genesis().mesh().expect("small");
    let claim = Claim {
        mesh,
        action: crate::ids::ActionKey::from_bytes([1; 32]),
        verdict: Verdict::Pass,
        output: None,
        outputs: Default::default(),
        log: None,
        started: Stamp::from_ms(1),
        wall_ms: 1,
        cpu_ms: 1,
        environment: Environment::default(),
    };
    let claim = Signed::sign(&key(1), &claim).expect("small");
    let as_cert: Signed<NodeCert> = Signed {
        signer: claim.signer,
        signature: claim.signature,
        bytes: claim.bytes.clone(),
        kind: PhantomData,
    };
    assert!(matches!(as_cert.open(mesh), Err(Refused::Forged { .. })));
    assert!(claim.open(mesh).is_ok());
}

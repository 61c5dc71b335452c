//! Records as real keys sign them.

use super::super::{
    Alert, Crypto, Incarnation, Kind, Mode, Notary, Obituary, Opened, Presence, Revocation, Sealed,
};
use crate::{
    facts::Facts,
    identity::{Genesis, Key, NodeCert, Refused, Roster, Signed, Tier},
    ids::NodeId,
    time::Stamp,
};

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

fn notary(seed: u8) -> Notary {
    Notary::new(key(seed), Roster::new(genesis()).expect("small"))
}

/// One that knows these members.
fn judge(known: &[u8]) -> Notary {
    let mut judge = notary(7);
    for seed in known {
        let body = cert(key(*seed).node());
        let signed = Signed::sign(&key(1), &body).expect("small");
        let sealed = Notary::seal_cert(&signed, &body).expect("small");
        judge.open(&sealed, now()).expect("a member");
    }
    judge
}

fn now() -> Stamp {
    Stamp::from_ms(2_000_000)
}

fn presence(node: NodeId, incarnation: u32) -> Presence {
    Presence {
        mesh: genesis().mesh().expect("small"),
        node,
        incarnation: Incarnation::new(incarnation),
        addresses: vec!["/ip4/10.0.0.1/tcp/7000".to_owned()],
        facts: Facts::default(),
        mode: Mode::Open,
        issued: now(),
    }
}

fn alert(observer: u8, subject: NodeId) -> Alert {
    Alert {
        mesh: genesis().mesh().expect("small"),
        subject,
        incarnation: Incarnation::new(3),
        observer: key(observer).node(),
        at: now(),
    }
}

fn cert(node: NodeId) -> NodeCert {
    NodeCert {
        mesh: genesis().mesh().expect("small"),
        node,
        operator: "ann".to_owned(),
        tier: Tier::Donor,
        platforms: Vec::new(),
        not_before: Stamp::from_ms(1_000_000),
        expires: Stamp::from_ms(9_000_500),
    }
}

#[test]
fn what_one_notary_signs_another_believes() {
    let word = notary(2)
        .presence(&presence(key(2).node(), 4))
        .expect("bounded");
    let opened = notary(3).open(&word, now()).expect("it is signed");
    assert!(matches!(&*opened, Opened::Presence(said) if said.incarnation.number() == 4));

    let alerts: Vec<Sealed> = [4, 5, 6]
        .iter()
        .map(|by| {
            notary(*by)
                .alert(&alert(*by, key(2).node()))
                .expect("small")
        })
        .collect();
    let obituary = notary(3).obituary(&alerts).expect("three alerts fit");
    let opened = judge(&[4, 5, 6]).open(&obituary, now());
    let opened = opened.expect("all are signed");
    assert!(matches!(&*opened, Opened::Obituary(alerts) if alerts.len() == 3));
}

#[test]
fn nobody_speaks_for_another() {
    // Node 2 signs a presence of node 3, and an alert in the name of node 3.
    let foreign = notary(2)
        .presence(&presence(key(3).node(), 4))
        .expect("bounded");
    assert!(judge(&[2, 3]).open(&foreign, now()).is_err());
    let foreign = notary(2).alert(&alert(3, key(4).node())).expect("small");
    assert!(judge(&[2, 3]).open(&foreign, now()).is_err());
    let suicide = notary(2).alert(&alert(2, key(2).node())).expect("small");
    assert!(
        judge(&[2, 3]).open(&suicide, now()).is_err(),
        "an alert about oneself"
    );
}

#[test]
fn a_label_that_does_not_fit_its_bytes_is_refused() {
    let word = notary(2)
        .presence(&presence(key(2).node(), 4))
        .expect("bounded");
    let other = key(3).node();
    for bad in [
        Sealed {
            version: 5,
            ..word.clone()
        },
        Sealed {
            subject: other,
            ..word.clone()
        },
        Sealed {
            kind: Kind::Alert,
            ..word.clone()
        },
        Sealed {
            kind: Kind::Cert,
            ..word.clone()
        },
        Sealed {
            bytes: word.bytes[1..].into(),
            ..word.clone()
        },
        Sealed {
            bytes: Vec::new().into(),
            ..word
        },
    ] {
        assert!(notary(5).open(&bad, now()).is_err(), "{bad:?} was believed");
    }
}

#[test]
fn an_observer_counts_once_in_an_obituary() {
    let subject = key(2).node();
    let once = notary(4).alert(&alert(4, subject)).expect("small");
    let twice = notary(3).obituary(&[once.clone(), once]).expect("it fits");
    assert!(notary(5).open(&twice, now()).is_err());
    let mixed = [
        notary(4).alert(&alert(4, subject)).expect("small"),
        notary(5).alert(&alert(5, key(6).node())).expect("small"),
    ];
    let mixed = notary(3).obituary(&mixed).expect("it fits");
    assert!(
        notary(5).open(&mixed, now()).is_err(),
        "two subjects in one"
    );
    let none = crate::codec::encode::<100>(&Obituary { alerts: Vec::new() }).expect("small");
    let none = Sealed {
        kind: Kind::Obituary,
        subject,
        version: 3,
        bytes: none.into(),
    };
    assert!(notary(5).open(&none, now()).is_err(), "nobody's word");
}

#[test]
fn certificates_and_revocations_count_only_from_the_founder_and_enter_the_roster() {
    let node = key(2).node();
    let signed = Signed::sign(&key(1), &cert(node)).expect("small");
    let sealed = Notary::seal_cert(&signed, &cert(node)).expect("small");
    assert_eq!(sealed.version, 9000, "the second of its expiry");
    let mut notary = notary(5);
    assert!(notary.open(&sealed, now()).is_ok());
    assert!(notary.roster().member(node, now()).is_some());

    let revocation = Revocation {
        mesh: cert(node).mesh,
        node,
        at: now(),
    };
    let forged = Signed::sign(&key(3), &revocation).expect("small");
    let forged = Notary::seal_revocation(&forged, &revocation).expect("small");
    assert!(notary.open(&forged, now()).is_err());
    assert!(notary.roster().member(node, now()).is_some());
    let signed = Signed::sign(&key(1), &revocation).expect("small");
    let signed = Notary::seal_revocation(&signed, &revocation).expect("small");
    assert!(notary.open(&signed, now()).is_ok());
    assert!(notary.roster().is_revoked(node));
    assert!(
        notary.open(&sealed, now()).is_err(),
        "a revoked node's certificate"
    );

    let founder = Revocation {
        node: key(1).node(),
        ..revocation
    };
    let suicide = Signed::sign(&key(1), &founder).expect("small");
    let suicide = Notary::seal_revocation(&suicide, &founder).expect("small");
    assert!(
        notary.open(&suicide, now()).is_err(),
        "the founder was revoked"
    );
}

#[test]
fn a_presence_out_of_bounds_is_neither_signed_nor_believed() {
    let node = key(2).node();
    let many = Presence {
        addresses: vec!["/ip4/10.0.0.1".to_owned(); super::super::ADDRESSES_MAX + 1],
        ..presence(node, 4)
    };
    assert!(notary(2).presence(&many).is_none());
    let signed = Signed::sign(&key(2), &many).expect("it has an encoding");
    let bytes = crate::codec::encode::<8192>(&signed).expect("it has an encoding");
    let sealed = Sealed {
        kind: Kind::Presence,
        subject: node,
        version: 4,
        bytes: bytes.into(),
    };
    assert!(notary(3).open(&sealed, now()).is_err());
    assert!(
        notary(2).presence(&presence(node, 0)).is_none(),
        "no incarnation is before the first"
    );
}

#[test]
fn alerts_of_keys_that_are_no_members_are_refused_before_their_signatures_are_checked() {
    let subject = key(9).node();
    let mut judge = judge(&[3]);
    let stranger = notary(50).alert(&alert(50, subject)).expect("small");
    let made = notary(2).obituary(std::slice::from_ref(&stranger));
    for record in [&stranger, &made.expect("in its bounds")] {
        let refused = judge.open(record, now());
        assert!(matches!(refused, Err(Refused::Stranger { .. })));
    }
    // Beside a member's it does no harm, and counts for nothing.
    let member = notary(3).alert(&alert(3, subject)).expect("small");
    let made = notary(2).obituary(&[stranger, member]);
    let opened = judge.open(&made.expect("in its bounds"), now());
    let opened = opened.expect("one of its observers is known");
    assert!(matches!(&*opened, Opened::Obituary(alerts) if alerts.len() == 1));
}

#[test]
fn what_was_said_too_long_ago_is_refused_and_what_must_last_lasts() {
    let (node, founder) = (key(2).node(), key(1));
    let revocation = Revocation {
        mesh: genesis().mesh().expect("small"),
        node,
        at: now(),
    };
    let signed = Signed::sign(&founder, &revocation).expect("small");
    let revocation = Notary::seal_revocation(&signed, &revocation).expect("small");
    let word = notary(2).presence(&presence(node, 4)).expect("bounded");
    let alert = notary(3).alert(&alert(3, node)).expect("small");
    let obituary = notary(3).obituary(std::slice::from_ref(&alert));
    let obituary = obituary.expect("one alert fits");
    let week_ms = crate::limits::CERT_LIFE_MS;
    for record in [&word, &alert, &obituary, &revocation] {
        // Any certificate that was valid then has ended by then.
        let lasts = Stamp::from_ms(now().as_ms() + week_ms + 1);
        assert!(judge(&[3]).open(record, lasts).is_ok(), "{record:?}");
        let late = Stamp::from_ms(now().as_ms() + 2 * week_ms);
        let refused = judge(&[3]).open(record, late);
        assert!(
            matches!(refused, Err(Refused::Expired { .. })),
            "{record:?} is replayed: {refused:?}"
        );
    }
    // What is kept here holds for good.
    let mut keeper = notary(5);
    keeper.roster_mut().revoked_by(&signed).expect("signed");
    assert!(keeper.roster().is_revoked(node));
}

#[test]
fn a_word_from_far_in_the_future_is_refused_and_an_order_of_the_council_is_not() {
    let ahead = Stamp::from_ms(now().as_ms() + crate::limits::CERT_LIFE_MS);
    let node = key(2).node();
    let word = |issued| {
        let said = Presence {
            issued,
            ..presence(node, 4)
        };
        notary(2).presence(&said).expect("bounded")
    };
    assert!(notary(3).open(&word(ahead), now()).is_ok());
    for far in [ahead.as_ms() + 1, u64::MAX] {
        let refused = notary(3).open(&word(Stamp::from_ms(far)), now());
        assert!(matches!(refused, Err(Refused::Expired { .. })), "{far}");
    }
    let revocation = Revocation {
        mesh: genesis().mesh().expect("small"),
        node,
        at: Stamp::from_ms(u64::MAX),
    };
    let signed = Signed::sign(&key(1), &revocation).expect("small");
    let sealed = Notary::seal_revocation(&signed, &revocation).expect("small");
    assert!(notary(3).open(&sealed, now()).is_ok());
}

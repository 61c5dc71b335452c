//! What a member that lies, floods or withholds gains: nothing.

use super::*;

fn up(engine: &mut Engine, n: u16, operator: &str) {
    let event = Event::Up {
        node: key(n).node(),
        operator: operator.to_owned(),
        life: Stamp::from_ms(1),
    };
    engine.handle(Time::from_ms(0), event, &mut Vec::new());
}

#[test]
fn only_final_claims_of_members_are_fit() {
    let mut roster = roster(3);
    let good = announced(1, 1);
    assert!(check(&roster, NOW, &good).is_ok());

    let said = |unfit: Result<Checked, Unfit>| {
        let error = unfit.expect_err("it was taken");
        format!(
            "{error}: {:?}",
            std::error::Error::source(&error).map(ToString::to_string)
        )
    };
    let stranger = said(check(&roster, NOW, &announced(9, 1)));
    assert!(stranger.contains("no member"), "{stranger}");

    let sign = |n: u16, claim: &Claim| Announced {
        claim: Signed::sign(&key(n), claim).expect("small"),
        holds: true,
    };
    let infra = sign(1, &claim(1, Verdict::Infra, NOW));
    assert!(matches!(
        check(&roster, NOW, &infra),
        Err(Unfit::Infra { .. })
    ));
    let early = sign(1, &claim(1, Verdict::Pass, hours(1)));
    assert!(said(check(&roster, NOW, &early)).contains("clock"));
    let mut elsewhere = claim(1, Verdict::Pass, NOW);
    elsewhere.mesh = MeshId::from_bytes([9; 32]);
    let elsewhere = sign(1, &elsewhere);
    assert!(matches!(
        check(&roster, NOW, &elsewhere),
        Err(Unfit::Refused(_))
    ));
    // The signature of one claim under the words of another.
    let (one, other) = (announced(1, 1), announced(1, 2));
    let forged = graft(&one.claim, &other.claim);
    let forged = Announced {
        claim: forged,
        holds: true,
    };
    assert!(said(check(&roster, NOW, &forged)).contains("signature"));

    roster.revoke(key(1).node(), NOW);
    let revoked = said(check(&roster, NOW, &good));
    assert!(revoked.contains("no member"), "{revoked}");
}

/// The words of one signed claim with the signature of another.
fn graft(words: &Signed<Claim>, signature: &Signed<Claim>) -> Signed<Claim> {
    use crate::codec;
    type Parts = (NodeId, ([u8; 32], [u8; 32]), Vec<u8>);
    let parts = |signed: &Signed<Claim>| {
        let bytes = codec::encode::<INDEX_BYTES_MAX>(signed).expect("small");
        codec::decode::<INDEX_BYTES_MAX, Parts>(&bytes).expect("its parts")
    };
    let (words, signature) = (parts(words), parts(signature));
    let bytes = codec::encode::<INDEX_BYTES_MAX>(&(words.0, signature.1, words.2)).expect("small");
    codec::decode::<INDEX_BYTES_MAX, _>(&bytes).expect("a claim of some sort")
}

#[test]
fn a_claim_of_after_its_signer_s_certificate_is_stale() {
    let mut roster = roster(1);
    let over = cert(5, "eve", (hours(-9), hours(-8)));
    roster.recall(&over).expect("a member once");
    let sign = |started| Announced {
        claim: Signed::sign(&key(5), &claim(1, Verdict::Pass, started)).expect("small"),
        holds: true,
    };
    assert!(
        check(&roster, NOW, &sign(hours(-9))).is_ok(),
        "it was a member then"
    );
    assert!(matches!(
        check(&roster, NOW, &sign(hours(-7))),
        Err(Unfit::Dates { .. })
    ));
}

/// A claim that is counted as if it had so many bytes.
fn heavy(roster: &Roster, signer: u16, n: u64, bytes: usize) -> Checked {
    let mut checked = check(roster, NOW, &announced(signer, n)).expect("fit");
    checked.bytes = bytes;
    checked
}

#[test]
fn who_floods_the_index_loses_its_own_claims_only() {
    let roster = roster(6);
    let mut engine = Engine::new(key(1).node());
    for n in 1..=6 {
        up(&mut engine, n, &operator(n));
    }
    let tell = |engine: &mut Engine, from: u16, claims: Vec<Checked>| {
        let from = key(from).node();
        let event = Event::Announced { from, claims };
        engine.handle(Time::from_ms(0), event, &mut Vec::new());
    };
    let honest: Vec<Checked> = (0..50).map(|n| heavy(&roster, 1, n, 1000)).collect();
    tell(&mut engine, 1, honest);
    // Operators of nodes 3 and 6 each say more than fits in all.
    let large = 400 * 1024;
    for n in 1000..1160 {
        tell(&mut engine, 3, vec![heavy(&roster, 3, n, large)]);
        tell(&mut engine, 6, vec![heavy(&roster, 6, 5000 + n, large)]);
    }
    let (all, eve) = engine.sizes(&operator(3));
    assert!(all <= SHELF_BYTES_MAX && eve <= SHARE_BYTES_MAX);
    let found = engine.known(&(0..50).map(action).collect::<Vec<_>>());
    assert_eq!(
        found.len(),
        50,
        "an honest operator's claims were pushed out"
    );
    // The flood's last are there, its first are not.
    assert_eq!(engine.known(&[action(1000)]).len(), 0);
    assert_eq!(engine.known(&[action(1159)]).len(), 1);
}

#[test]
fn one_operator_cannot_crowd_an_action() {
    let roster = roster(30);
    let mut engine = Engine::new(key(1).node());
    for n in 1..=30 {
        up(&mut engine, n, &operator(n));
    }
    for n in 1..=30 {
        let claims = vec![check(&roster, NOW, &announced(n, 7)).expect("fit")];
        let from = key(n).node();
        let event = Event::Announced { from, claims };
        engine.handle(Time::from_ms(0), event, &mut Vec::new());
    }
    let found = engine.known(&[action(7)]);
    let claims = &found[0].claims;
    let mut of: BTreeMap<String, usize> = BTreeMap::new();
    for claim in claims {
        let cert = roster.vouches(claim.signer()).expect("a member");
        *of.entry(cert.operator.clone()).or_default() += 1;
    }
    assert!(claims.len() <= CLAIMS_MAX && found[0].holders.len() <= HOLDERS_MAX);
    assert!(
        of.values().all(|count| *count <= OPERATOR_CLAIMS_MAX),
        "{of:?}"
    );
    assert!(of.len() >= 8, "few operators were heard: {of:?}");
}

#[test]
fn an_older_word_of_a_signer_does_not_replace_its_last() {
    let roster = roster(3);
    let mut engine = Engine::new(key(1).node());
    up(&mut engine, 1, "a");
    let say = |engine: &mut Engine, verdict, started| {
        let claim = claim(1, verdict, started);
        let told = Announced {
            claim: Signed::sign(&key(2), &claim).expect("small"),
            holds: false,
        };
        let claims = vec![check(&roster, NOW, &told).expect("fit")];
        let from = key(1).node();
        let event = Event::Announced { from, claims };
        engine.handle(Time::from_ms(0), event, &mut Vec::new());
        told.claim
    };
    let last = say(&mut engine, Verdict::Pass, NOW);
    say(&mut engine, Verdict::Fail, hours(-1));
    let found = engine.known(&[action(1)]);
    assert_eq!(found[0].claims, [last]);
    assert!(found[0].holders.is_empty(), "nobody said that it has it");
}

#[test]
fn strangers_tell_nothing() {
    let roster = roster(3);
    let mut engine = Engine::new(key(1).node());
    up(&mut engine, 1, "a");
    let claims = vec![check(&roster, NOW, &announced(2, 1)).expect("fit")];
    // Node 2 is known by its certificate, but is not here.
    let event = Event::Announced {
        from: key(2).node(),
        claims,
    };
    engine.handle(Time::from_ms(0), event, &mut Vec::new());
    assert!(engine.known(&[action(1)]).is_empty());
}

#[test]
fn messages_beyond_their_bounds_are_refused() {
    let one = announced(1, 1);
    let many = Question::Announce(vec![one.clone(); ANNOUNCED_MAX + 1]);
    assert!(many.encode().is_err());
    let twice = Question::Find(vec![action(1); 2]);
    assert!(twice.encode().is_err());
    let keys = (0..=KEYS_MAX as u64).map(action).collect();
    assert!(Question::Find(keys).encode().is_err());
    let found = Found {
        action: action(1),
        claims: vec![one.claim; CLAIMS_MAX + 1],
        holders: Vec::new(),
    };
    assert!(Answer::Found(vec![found.clone()]).encode().is_err());
    let few = Found {
        claims: Vec::new(),
        ..found
    };
    assert!(Answer::Found(vec![few.clone(); 2]).encode().is_err());
    assert!(Answer::Found(vec![few]).encode().is_ok());
    // The same by hand: what another program writes is checked when it is read.
    let bytes = crate::codec::encode::<INDEX_BYTES_MAX>(&twice).expect("small");
    assert!(Question::decode(&bytes).is_err());
}

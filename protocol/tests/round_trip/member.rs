//! Membership's messages, and what nodes sign.

use caravan_protocol::{
    claim::{Claim, Environment},
    facts::{Facts, Offered},
    identity::{Key, NodeCert, Signed, Tier},
    ids::{ActionKey, BlobId, MeshId, NodeId},
    member::{
        BUCKETS, Batch, Doubt, Incarnation, Kind as RecordKind, Line, Message as Member, Mode,
        Page, Presence, Sealed,
    },
    time::Stamp,
};
use proptest::{collection::vec, prelude::*};

use super::{check, coded, id, platform, tree_id, verdict, word};

fn facts() -> impl Strategy<Value = Facts> {
    let words = prop::collection::btree_set("[a-z=0-9]{1,12}", 0..5);
    let offered =
        (platform(), any::<bool>()).prop_map(|(platform, emulated)| Offered { platform, emulated });
    let numbers = any::<(u32, u64, u64, u64, u32, u64)>();
    (
        prop::collection::btree_set(offered, 0..4),
        numbers,
        words.clone(),
        words,
        word(),
    )
        .prop_map(|(platforms, numbers, sandbox, labels, why)| Facts {
            platforms,
            cores: numbers.0,
            memory_bytes: numbers.1,
            disk_bytes: numbers.2,
            disk_free_bytes: numbers.3,
            slots: numbers.4,
            variant: "v2".to_owned(),
            sandbox,
            version: "1".to_owned(),
            labels,
            up_since: Stamp::from_ms(numbers.5),
            why,
        })
}

fn member() -> impl Strategy<Value = Member> {
    let kind = prop_oneof![
        Just(RecordKind::Cert),
        Just(RecordKind::Presence),
        Just(RecordKind::Revocation),
        Just(RecordKind::Alert),
        Just(RecordKind::Obituary),
    ];
    let sealed = (kind, id(), any::<u32>(), vec(any::<u8>(), 0..200)).prop_map(
        |(kind, subject, version, bytes)| Sealed {
            kind,
            subject: NodeId::from_bytes(subject),
            version,
            bytes: bytes.into(),
        },
    );
    let batch = vec(sealed, 0..8).prop_map(|records| Batch(records.into()));
    let doubt = (id(), any::<u32>()).prop_map(|(subject, incarnation)| {
        Box::new(Doubt {
            subject: NodeId::from_bytes(subject),
            incarnation: Incarnation::new(incarnation),
        })
    });
    let line = any::<(u64, u32, u32, bool, bool)>().prop_map(|line| Line {
        seed: line.0,
        cert: line.1,
        incarnation: Incarnation::new(line.2),
        dead: line.3,
        revoked: line.4,
    });
    let batch = batch.boxed();
    let doubt = doubt.boxed();
    prop_oneof![
        any::<(u32, u64)>().prop_map(|(number, view)| Member::Probe { number, view }),
        any::<(u32, u64)>().prop_map(|(number, view)| Member::Ack { number, view }),
        batch.clone().prop_map(Member::Records),
        doubt.clone().prop_map(Member::Doubt),
        doubt.prop_map(Member::Vouch),
        any::<u64>().prop_map(|after| Member::Fetch { after }),
        (batch, any::<Option<u64>>())
            .prop_map(|(records, next)| Member::Page(Box::new(Page { records, next }))),
        vec(any::<u64>(), BUCKETS).prop_map(|hashes| Member::Compare(hashes.into())),
        (any::<u64>(), vec(line, 0..40)).prop_map(|(covers, lines)| Member::Lines {
            covers,
            lines: lines.into(),
        }),
        vec(any::<u64>(), 0..40).prop_map(|seeds| Member::Want(seeds.into())),
    ]
}

fn cert() -> impl Strategy<Value = NodeCert> {
    let tier = prop_oneof![Just(Tier::Donor), Just(Tier::Trusted), Just(Tier::Council)];
    (
        id(),
        word(),
        tier,
        vec(platform(), 0..4),
        any::<(u64, u64)>(),
    )
        .prop_map(|(node, operator, tier, platforms, (from, to))| NodeCert {
            mesh: MeshId::from_bytes([9; 32]),
            node: NodeId::from_bytes(node),
            operator,
            tier,
            platforms,
            not_before: Stamp::from_ms(from),
            expires: Stamp::from_ms(to),
        })
}

fn claim() -> impl Strategy<Value = Claim> {
    let outputs = prop::collection::btree_map(word(), id().prop_map(BlobId::from_bytes), 0..5);
    let ids = (id(), prop::option::of(tree_id()), prop::option::of(id()));
    (ids, verdict(), outputs, any::<(u64, u64, u64)>(), word()).prop_map(
        |((action, output, log), verdict, outputs, numbers, kernel)| Claim {
            mesh: MeshId::from_bytes([9; 32]),
            action: ActionKey::from_bytes(action),
            verdict,
            output,
            outputs,
            log: log.map(BlobId::from_bytes),
            started: Stamp::from_ms(numbers.0),
            wall_ms: numbers.1,
            cpu_ms: numbers.2,
            environment: Environment {
                kernel,
                ..Environment::default()
            },
        },
    )
}

proptest! {
    #[test]
    fn messages_of_membership(value in member(), at: prop::sample::Index) {
        check(&value, Member::encode, Member::decode, at)?;
    }

    #[test]
    fn facts_and_presences(facts in facts(), at: prop::sample::Index) {
        coded(&facts, at)?;
        let presence = Presence {
            mesh: MeshId::from_bytes([9; 32]),
            node: NodeId::from_bytes([1; 32]),
            incarnation: Incarnation::new(1),
            addresses: vec!["a".to_owned()],
            facts,
            mode: Mode::Paused,
            issued: Stamp::from_ms(2),
        };
        coded(&presence, at)?;
    }

    #[test]
    fn certificates_and_claims(cert in cert(), claim in claim(), at: prop::sample::Index) {
        coded(&cert, at)?;
        coded(&claim, at)?;
        let signed = Signed::sign(&Key::from_secret(&[1; 32]), &claim).expect("small");
        coded(&signed, at)?;
        prop_assert_eq!(signed.open(claim.mesh), Ok(claim));
    }
}

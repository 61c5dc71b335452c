//! What members say to each other, and how a mesh begins and grows.

use caravan_protocol::{
    codec,
    identity::{
        Genesis,
        invite::{FounderHint, Invite},
    },
    member::{
        BUCKETS, Batch, Doubt, Incarnation, Kind as RecordKind, Line, Message as Member, Page,
        Sealed,
    },
    time::Stamp,
};

use super::{Kind, encoded, node};

pub(super) fn members() -> Kind {
    let doubt = Box::new(Doubt {
        subject: node(1),
        incarnation: Incarnation::new(2),
    });
    let records = Batch(
        [
            RecordKind::Cert,
            RecordKind::Presence,
            RecordKind::Revocation,
            RecordKind::Alert,
            RecordKind::Obituary,
        ]
        .map(|kind| Sealed {
            kind,
            subject: node(1),
            version: 3,
            bytes: [4, 5].into(),
        })
        .into(),
    );
    let line = Line {
        seed: 6,
        cert: 7,
        incarnation: Incarnation::new(8),
        dead: true,
        revoked: false,
    };
    let page = |next| {
        Member::Page(Box::new(Page {
            records: records.clone(),
            next,
        }))
    };
    let values = [
        ("probe", Member::Probe { number: 1, view: 2 }),
        ("ack", Member::Ack { number: 1, view: 2 }),
        ("records", Member::Records(records.clone())),
        ("doubt", Member::Doubt(doubt.clone())),
        ("vouch", Member::Vouch(doubt)),
        ("fetch", Member::Fetch { after: 3 }),
        ("page", page(Some(4))),
        ("last-page", page(None)),
        (
            "compare",
            Member::Compare((0..BUCKETS as u64).collect::<Vec<u64>>().into()),
        ),
        (
            "lines",
            Member::Lines {
                covers: 5,
                lines: [line].into(),
            },
        ),
        ("want", Member::Want([6, 7].into())),
    ];
    Kind {
        file: "member-1-message".to_owned(),
        what: "membership, on /caravan/member/1",
        values: values
            .map(|(name, message)| (name, message.encode().expect("good")))
            .to_vec(),
        again: |bytes| Member::decode(bytes).ok()?.encode().ok(),
    }
}

fn genesis() -> Genesis {
    Genesis {
        founder: node(1),
        created: Stamp::from_ms(2),
        nonce: [3; 32],
    }
}

pub(super) fn geneses() -> Kind {
    let id = genesis().mesh().expect("small");
    Kind {
        file: "genesis-1".to_owned(),
        what: "the founding of a mesh, and behind it the id of the mesh",
        values: vec![(
            "genesis",
            [encoded(&genesis()), id.as_bytes().to_vec()].concat(),
        )],
        again: |bytes| {
            let (genesis, id) = bytes.split_last_chunk::<32>()?;
            let genesis: Genesis = codec::decode::<1024, _>(genesis).ok()?;
            let mesh = genesis.mesh().ok()?;
            (mesh.as_bytes() == id).then(|| [encoded(&genesis), id.to_vec()].concat())
        },
    }
}

pub(super) fn invites() -> Kind {
    let invite = |addresses: &[&str]| {
        let invite = Invite {
            founder: FounderHint::of(node(1)),
            addresses: addresses.iter().map(|text| (*text).to_owned()).collect(),
            seed: [2; 16],
            expires: Stamp::from_ms(1_700_000_000_000),
        };
        invite.to_string().into_bytes()
    };
    let many = [
        "/ip4/192.0.2.7/tcp/7450",
        "/ip4/192.0.2.7/udp/7450/quic-v1",
        "/ip6/2001:db8::7/tcp/7450",
    ];
    Kind {
        file: "invite-1".to_owned(),
        what: "tokens that people copy, in the bytes of their characters",
        values: vec![("one", invite(&many[..1])), ("many", invite(&many))],
        again: |bytes| {
            let invite: Invite = std::str::from_utf8(bytes).ok()?.parse().ok()?;
            Some(invite.to_string().into_bytes())
        },
    }
}

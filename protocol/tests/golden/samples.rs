//! One value at least of each variant of everything that travels, is signed or is hashed.

use std::collections::{BTreeMap, BTreeSet};

use caravan_protocol::{
    action::{
        Action, Cache, Copy, CopyFrom, CopyTo, Declared, Fetch, Input, Limits, NamedOutput,
        Network, Profile, Run, Secret, Source, TrustDomain, Work,
    },
    claim::{Claim, Environment, Verdict},
    codec,
    facts::{Facts, Offered},
    identity::{
        Genesis, Key, NodeCert, Record, Seat, Signed, Tier,
        cordon::Cordon,
        invite::{FounderHint, Invite},
    },
    ids::{ActionKey, BlobId, MeshId, NodeId, TreeId},
    limits,
    member::{
        Alert, BUCKETS, Batch, Doubt, Incarnation, Kind as RecordKind, Line, Message as Member,
        Mode, Obituary, Page, Presence, RECORD_BYTES_MAX, Revocation, Sealed,
    },
    offer::{Digest, Head, JobId, Message, Priority, Progress},
    platform::Platform,
    policy::Base,
    time::Stamp,
    tree::{Entry, Kind as FileKind, Tree},
};
use serde::{Serialize, de::DeserializeOwned};

/// Everything of one form and version.
pub(crate) struct Kind {
    /// Name of its file: what it is, and its version.
    pub(crate) file: String,
    /// A few words.
    pub(crate) what: &'static str,
    /// Values by name, in their bytes.
    pub(crate) values: Vec<(&'static str, Vec<u8>)>,
    /// Reads bytes and writes what was read.
    pub(crate) again: fn(&[u8]) -> Option<Vec<u8>>,
}

const MAX: usize = 64 * 1024;

fn again<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<Vec<u8>> {
    let value: T = codec::decode::<MAX, _>(bytes).ok()?;
    codec::encode::<MAX>(&value).ok()
}

fn encoded(value: &impl Serialize) -> Vec<u8> {
    codec::encode::<MAX>(value).expect("small")
}

pub(crate) fn all() -> Vec<Kind> {
    let mut all = vec![
        messages(),
        digests(),
        members(),
        actions(),
        action_keys(),
        trees(),
        geneses(),
        invites(),
        bases(),
        obituaries(),
    ];
    all.extend(records());
    all
}

fn key(number: u8) -> Key {
    Key::from_secret(&[number; 32])
}

fn node(number: u8) -> NodeId {
    key(number).node()
}

fn mesh() -> MeshId {
    MeshId::from_bytes([9; 32])
}

fn job(number: u8) -> JobId {
    JobId::from(ActionKey::from_bytes([number; 32]))
}

fn platform() -> Platform {
    Platform::new("linux", "x86_64").expect("good")
}

/// Each bound another number.
fn bounds() -> Limits {
    Limits {
        wall_ms: 1,
        memory_bytes: 2,
        pids: 3,
        log_bytes: 4,
        disk_bytes: 5,
        inodes: 6,
        cpu_ms: 7,
    }
}

fn messages() -> Kind {
    let (job, number) = (job(7), 3);
    let values = [
        (
            "bid",
            Message::Bid {
                nonce: 5,
                job,
                eta_ms: 600,
                most: bounds(),
            },
        ),
        (
            "award",
            Message::Award {
                nonce: 5,
                job,
                number,
                lease_ms: 30_000,
                action: vec![1, 2],
            },
        ),
        ("decline", Message::Decline { nonce: 5 }),
        ("refuse", Message::Refuse { job, number }),
        (
            "beat",
            Message::Beat {
                attempts: vec![Progress {
                    job,
                    number,
                    log_bytes: 9,
                }],
            },
        ),
        (
            "renew",
            Message::Renew {
                attempts: vec![(job, number)],
            },
        ),
        ("cancel", Message::Cancel { job, number }),
        (
            "result",
            Message::Result {
                job,
                number,
                verdict: Verdict::Infra,
                outcome: vec![8],
            },
        ),
        ("ack", Message::Ack { job, number }),
    ];
    Kind {
        file: "control-1-message".to_owned(),
        what: "the market's messages, in batches of /caravan/control/1",
        values: values
            .map(|(name, message)| (name, message.encode().expect("good")))
            .to_vec(),
        again: |bytes| Message::decode(bytes).ok()?.encode().ok(),
    }
}

fn digests() -> Kind {
    let head = |number, priority| Head {
        job: job(number),
        priority,
        cost_ms: 5,
        waited_ms: 6,
        needs: bounds(),
    };
    let digest = |jobs| {
        let digest = Digest {
            owner: node(1),
            seq: 4,
            jobs,
        };
        digest.encode().expect("good")
    };
    let two = vec![head(7, Priority::Urgent), head(8, Priority::Normal)];
    Kind {
        file: "offers-1-digest".to_owned(),
        what: "what an owner gossips about its jobs",
        values: vec![("empty", digest(Vec::new())), ("two", digest(two))],
        again: |bytes| Digest::decode(bytes).ok()?.encode().ok(),
    }
}

fn members() -> Kind {
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

fn declared() -> Vec<Declared> {
    let sums = [
        format!("md5={}", "1".repeat(32)),
        format!("sha256={}", "2".repeat(64)),
        format!("sha512={}", "3".repeat(128)),
    ];
    vec![Declared {
        checksums: sums.map(|sum| sum.parse().expect("good")).to_vec(),
    }]
}

fn run(network: Network, profile: Profile) -> Work {
    let tree = |number| TreeId::from(BlobId::of(&[number]));
    Work::Run(Run {
        base: tree(1),
        layers: vec![tree(2), tree(3)],
        inputs: vec![Input {
            tree: tree(4),
            target: "/src".to_owned(),
        }],
        argv: vec!["sh".to_owned(), "-c".to_owned(), "true".to_owned()],
        env: vec![("A".to_owned(), "b".to_owned())],
        user: (1000, 1001),
        workdir: "/src".to_owned(),
        network,
        keep_layer: true,
        outputs: vec![NamedOutput {
            name: "out".to_owned(),
            path: "/out".to_owned(),
        }],
        secrets: vec![Secret {
            id: "s".to_owned(),
            target: "/run/s".to_owned(),
        }],
        profile,
    })
}

fn works() -> Vec<(&'static str, Work)> {
    let tree = |number| TreeId::from(BlobId::of(&[number]));
    let copy = |from, dst| {
        Work::Copy(Copy {
            from,
            src: vec!["a".to_owned()],
            dst,
            exclude: vec![".git".to_owned()],
            user: (0, 0),
        })
    };
    let root = CopyFrom::Root {
        base: tree(1),
        layers: vec![tree(2)],
    };
    vec![
        ("run", run(Network::None, Profile::Strict)),
        ("run-host", run(Network::Host, Profile::Spec)),
        (
            "run-fetch",
            run(Network::Fetch(declared()), Profile::Strict),
        ),
        ("fetch", Work::Fetch(Fetch { files: declared() })),
        (
            "copy-tree",
            copy(CopyFrom::Tree(tree(5)), CopyTo::Into("/d".to_owned())),
        ),
        ("copy-root", copy(root, CopyTo::As("/d".to_owned()))),
    ]
}

fn action(work: Work) -> Action {
    Action {
        platform: platform(),
        domain: TrustDomain::project("p"),
        work,
        limits: bounds(),
        sources: vec![vec![
            Source::Url("https://example.org/a.tar".to_owned()),
            Source::Debian {
                package: "ocaml".to_owned(),
                suite: "bookworm".to_owned(),
            },
        ]],
        caches: vec![Cache {
            id: "c".to_owned(),
            target: "/cache".to_owned(),
        }],
    }
}

fn actions() -> Kind {
    let values = works().into_iter();
    Kind {
        file: "action-3".to_owned(),
        what: "actions, in awards",
        values: values
            .map(|(name, work)| (name, action(work).encode().expect("good")))
            .collect(),
        again: |bytes| Action::decode(bytes).ok()?.encode().ok(),
    }
}

fn action_keys() -> Kind {
    let values = works().into_iter();
    Kind {
        file: "action-3-key".to_owned(),
        what: "the keys of the same actions",
        values: values
            .map(|(name, work)| {
                let key = action(work).key().expect("good");
                (name, key.as_bytes().to_vec())
            })
            .collect(),
        again: again::<ActionKey>,
    }
}

fn trees() -> Kind {
    let blob = BlobId::of(b"x");
    let mut tagged = Entry::file(b"a.b", 0o4755, blob, 1);
    tagged.xattrs = BTreeMap::from([
        (b"user.a".to_vec(), vec![0, 255]),
        (b"user.b".to_vec(), Vec::new()),
    ]);
    let mut opaque = Entry::dir(b"d", 0o700);
    opaque.kind = FileKind::Dir { opaque: true };
    let mut gone = Entry::dir(b"gone", 0);
    gone.kind = FileKind::Whiteout;
    let mut owned = Entry::symlink(b"l", b"../..//etc");
    (owned.uid, owned.gid) = (1000, 65_535);
    let entries = vec![
        Entry::dir(b"a", 0o755),
        Entry::file(b"a/\xff\xfe", 0o644, blob, 1 << 33),
        tagged,
        opaque,
        gone,
        owned,
    ];
    let seal = |entries| Tree::new(entries).expect("good").seal().expect("small");
    let ((empty_id, empty), (id, all)) = (seal(Vec::new()), seal(entries));
    assert_eq!(empty_id.blob(), BlobId::of(&empty));
    assert_eq!(id.blob(), BlobId::of(&all));
    Kind {
        file: "tree-1".to_owned(),
        what: "trees and layers; their hashes are their ids",
        values: vec![("empty", empty), ("all", all)],
        again: |bytes| Tree::decode(bytes).ok()?.encode().ok(),
    }
}

fn genesis() -> Genesis {
    Genesis {
        founder: node(1),
        created: Stamp::from_ms(2),
        nonce: [3; 32],
    }
}

fn geneses() -> Kind {
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

fn invites() -> Kind {
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

fn bases() -> Kind {
    let base = Base {
        name: "debian-12".to_owned(),
        platform: platform(),
        tree: TreeId::from(BlobId::of(b"base")),
        facts: BTreeMap::from([
            ("opam".to_owned(), "2.1".to_owned()),
            ("os-version".to_owned(), "12".to_owned()),
        ]),
        env: vec![("PATH".to_owned(), "/bin".to_owned())],
    };
    Kind {
        file: "control-1-base".to_owned(),
        what: "a base, in answers to questions",
        values: vec![("base", encoded(&base))],
        again: again::<Base>,
    }
}

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

fn records() -> Vec<Kind> {
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

fn obituaries() -> Kind {
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

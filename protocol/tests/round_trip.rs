//! Whatever a value holds, it is read as it was written, its bytes are the only ones for it, and
//! bytes that were cut or followed by others are no value at all.

use std::{collections::BTreeSet, fmt::Debug};

use caravan_protocol::{
    action::{
        Action, Cache, Copy, CopyFrom, CopyTo, Declared, Fetch, Input, Limits, NamedOutput,
        Network, Profile, Run, Secret, Source, TrustDomain, Work,
    },
    claim::{Claim, Environment, Verdict},
    codec,
    facts::{Facts, Offered},
    identity::{Key, NodeCert, Signed, Tier},
    ids::{ActionKey, BlobId, MeshId, NodeId, TreeId},
    member::{
        BUCKETS, Batch, Doubt, Incarnation, Kind as RecordKind, Line, Message as Member, Mode,
        Page, Presence, Sealed,
    },
    offer::{Digest, Head, JobId, Message, Priority, Progress},
    platform::Platform,
    time::Stamp,
    tree::{Entry, Kind, Tree},
};
use proptest::{collection::vec, prelude::*};

const MAX: usize = 1 << 20;

fn check<T: PartialEq + Debug, E: Debug>(
    value: &T,
    encode: impl Fn(&T) -> Result<Vec<u8>, E>,
    decode: impl Fn(&[u8]) -> Result<T, E>,
    at: prop::sample::Index,
) -> Result<(), TestCaseError> {
    let bytes = encode(value).expect("within its bounds");
    let read = decode(&bytes).expect("it was written so");
    prop_assert_eq!(&read, value);
    prop_assert_eq!(&encode(&read).expect("as before"), &bytes);
    prop_assert!(
        decode(&bytes[..at.index(bytes.len())]).is_err(),
        "a cut value was taken"
    );
    let mut longer = bytes.clone();
    longer.push(0);
    prop_assert!(decode(&longer).is_err(), "bytes behind a value were taken");
    let mut changed = bytes;
    let at = at.index(changed.len());
    changed[at] ^= 1;
    if let Ok(other) = decode(&changed) {
        prop_assert!(&other != value, "two encodings of one value");
        prop_assert_eq!(encode(&other).expect("it was read"), changed);
    }
    Ok(())
}

fn word() -> impl Strategy<Value = String> {
    "[a-z0-9/é]{0,12}"
}

fn id() -> impl Strategy<Value = [u8; 32]> {
    any::<[u8; 32]>()
}

fn job() -> impl Strategy<Value = JobId> {
    id().prop_map(|bytes| JobId::from(ActionKey::from_bytes(bytes)))
}

fn tree_id() -> impl Strategy<Value = TreeId> {
    id().prop_map(TreeId::from_bytes)
}

fn platform() -> impl Strategy<Value = Platform> {
    ("[a-z]{1,8}", "[a-z0-9_]{1,8}").prop_map(|(os, arch)| Platform::new(&os, &arch).expect("good"))
}

fn bounds() -> impl Strategy<Value = Limits> {
    any::<(u64, u64, u32, u64, u64, u64, u64)>().prop_map(|all| Limits {
        wall_ms: all.0,
        memory_bytes: all.1,
        pids: all.2,
        log_bytes: all.3,
        disk_bytes: all.4,
        inodes: all.5,
        cpu_ms: all.6,
    })
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Pass),
        Just(Verdict::Fail),
        Just(Verdict::Infra)
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let number = 1..u32::MAX;
    prop_oneof![
        (any::<u64>(), job(), any::<u64>(), bounds()).prop_map(|(nonce, job, eta_ms, most)| {
            Message::Bid {
                nonce,
                job,
                eta_ms,
                most,
            }
        }),
        (
            any::<u64>(),
            job(),
            number.clone(),
            1..u64::MAX,
            vec(any::<u8>(), 0..600)
        )
            .prop_map(|(nonce, job, number, lease_ms, action)| Message::Award {
                nonce,
                job,
                number,
                lease_ms,
                action,
            }),
        any::<u64>().prop_map(|nonce| Message::Decline { nonce }),
        (job(), number.clone()).prop_map(|(job, number)| Message::Refuse { job, number }),
        vec((job(), any::<u32>(), any::<u64>()), 0..40).prop_map(|attempts| Message::Beat {
            attempts: attempts
                .into_iter()
                .map(|(job, number, log_bytes)| Progress {
                    job,
                    number,
                    log_bytes
                })
                .collect(),
        }),
        vec((job(), any::<u32>()), 0..40).prop_map(|attempts| Message::Renew { attempts }),
        (job(), number.clone()).prop_map(|(job, number)| Message::Cancel { job, number }),
        (job(), number.clone(), verdict(), vec(any::<u8>(), 0..600)).prop_map(
            |(job, number, verdict, outcome)| Message::Result {
                job,
                number,
                verdict,
                outcome
            }
        ),
        (job(), number).prop_map(|(job, number)| Message::Ack { job, number }),
    ]
}

fn digest() -> impl Strategy<Value = Digest> {
    let head = (any::<bool>(), any::<u64>(), any::<u64>(), bounds());
    (
        id(),
        any::<u64>(),
        prop::collection::btree_map(id(), head, 0..20),
    )
        .prop_map(|(owner, seq, heads)| Digest {
            owner: NodeId::from_bytes(owner),
            seq,
            jobs: heads
                .into_iter()
                .map(|(key, (urgent, cost_ms, waited_ms, needs))| Head {
                    job: JobId::from(ActionKey::from_bytes(key)),
                    priority: if urgent {
                        Priority::Urgent
                    } else {
                        Priority::Normal
                    },
                    cost_ms,
                    waited_ms,
                    needs,
                })
                .collect(),
        })
}

fn declared() -> impl Strategy<Value = Vec<Declared>> {
    let sum = prop_oneof![
        "[0-9a-f]{32}".prop_map(|hex| format!("md5={hex}")),
        "[0-9a-f]{64}".prop_map(|hex| format!("sha256={hex}")),
        "[0-9a-f]{128}".prop_map(|hex| format!("sha512={hex}")),
    ];
    let sum = sum.prop_map(|text| text.parse().expect("good"));
    vec(
        vec(sum, 1..4).prop_map(|checksums| Declared { checksums }),
        1..4,
    )
}

fn path() -> impl Strategy<Value = String> {
    "/[a-z]{1,8}(/[a-z]{1,8}){0,2}"
}

fn run() -> impl Strategy<Value = Work> {
    let network = prop_oneof![
        Just(Network::None),
        Just(Network::Host),
        declared().prop_map(Network::Fetch),
    ];
    let things = (
        vec(tree_id(), 0..5),
        vec((tree_id(), path()), 0..3),
        vec(word(), 0..4),
    );
    let more = (
        vec(("[A-Z]{1,5}", word()), 0..4),
        0..65_536u32,
        0..65_536u32,
        path(),
    );
    let rest = (
        network,
        any::<bool>(),
        vec((word(), path()), 0..3),
        any::<bool>(),
    );
    (tree_id(), things, more, rest).prop_map(|(base, things, more, rest)| {
        let mut argv = vec!["sh".to_owned()];
        argv.extend(things.2);
        Work::Run(Run {
            base,
            layers: things.0,
            inputs: things
                .1
                .into_iter()
                .map(|(tree, target)| Input { tree, target })
                .collect(),
            argv,
            env: more.0,
            user: (more.1, more.2),
            workdir: more.3,
            network: rest.0,
            keep_layer: rest.1,
            outputs: rest
                .2
                .into_iter()
                .map(|(name, path)| NamedOutput { name, path })
                .collect(),
            secrets: vec![Secret {
                id: "s".to_owned(),
                target: "/run/s".to_owned(),
            }],
            profile: if rest.3 {
                Profile::Spec
            } else {
                Profile::Strict
            },
        })
    })
}

fn work() -> impl Strategy<Value = Work> {
    let from = prop_oneof![
        tree_id().prop_map(CopyFrom::Tree),
        (tree_id(), vec(tree_id(), 0..4))
            .prop_map(|(base, layers)| CopyFrom::Root { base, layers }),
    ];
    let copy = (from, "[a-z]{1,8}", path(), any::<bool>(), vec(word(), 0..3)).prop_map(
        |(from, src, dst, is_into, exclude)| {
            Work::Copy(Copy {
                from,
                src: vec![src],
                dst: if is_into {
                    CopyTo::Into(dst)
                } else {
                    CopyTo::As(dst)
                },
                exclude,
                user: (0, 0),
            })
        },
    );
    let fetch = declared().prop_map(|files| Work::Fetch(Fetch { files }));
    prop_oneof![run(), fetch, copy]
}

fn action() -> impl Strategy<Value = Action> {
    let source = prop_oneof![
        word().prop_map(Source::Url),
        (word(), word()).prop_map(|(package, suite)| Source::Debian { package, suite }),
    ];
    (
        platform(),
        word(),
        work(),
        bounds(),
        vec(vec(source, 0..3), 0..3),
        path(),
    )
        .prop_map(
            |(platform, project, work, limits, sources, target)| Action {
                platform,
                domain: TrustDomain::project(&project),
                work,
                limits,
                sources,
                caches: vec![Cache {
                    id: "c".to_owned(),
                    target,
                }],
            },
        )
}

fn tree() -> impl Strategy<Value = Tree> {
    let kind = prop_oneof![
        any::<bool>().prop_map(|opaque| Kind::Dir { opaque }),
        (id(), 0..1u64 << 34).prop_map(|(blob, size)| Kind::File {
            blob: BlobId::from_bytes(blob),
            size,
        }),
        vec(1..255u8, 1..20).prop_map(|target| Kind::Symlink { target }),
        Just(Kind::Whiteout),
    ];
    let xattrs = prop::collection::btree_map(
        "user\\.[a-n]{1,6}".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..20),
        0..4,
    );
    let name = vec(any::<u8>(), 1..12).prop_filter("a good name", |name| {
        !name.contains(&0) && !name.contains(&b'/') && name != b"." && name != b".."
    });
    let entry = (
        name,
        any::<bool>(),
        0..0o10000u16,
        any::<u32>(),
        any::<u32>(),
        xattrs,
        kind,
    );
    vec(entry, 0..30).prop_map(|entries| {
        let mut all = vec![Entry::dir(b"d", 0o755)];
        let mut known = BTreeSet::from([b"d".to_vec()]);
        for (name, is_below, mode, uid, gid, xattrs, kind) in entries {
            let path = if is_below {
                [b"d/".as_slice(), &name].concat()
            } else {
                name
            };
            if known.insert(path.clone()) {
                all.push(Entry {
                    path,
                    mode,
                    uid,
                    gid,
                    xattrs,
                    kind,
                });
            }
        }
        Tree::new(all).expect("good entries")
    })
}

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

fn coded<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + Debug>(
    value: &T,
    at: prop::sample::Index,
) -> Result<(), TestCaseError> {
    check(
        value,
        |value| codec::encode::<MAX>(value),
        codec::decode::<MAX, T>,
        at,
    )
}

proptest! {
    #[test]
    fn messages_of_the_market(value in message(), at: prop::sample::Index) {
        check(&value, Message::encode, Message::decode, at)?;
    }

    #[test]
    fn digests(value in digest(), at: prop::sample::Index) {
        check(&value, Digest::encode, Digest::decode, at)?;
    }

    #[test]
    fn messages_of_membership(value in member(), at: prop::sample::Index) {
        check(&value, Member::encode, Member::decode, at)?;
    }

    #[test]
    fn actions(value in action(), at: prop::sample::Index) {
        check(&value, Action::encode, Action::decode, at)?;
        let again = Action::decode(&value.encode().expect("good")).expect("good");
        prop_assert_eq!(again.key().expect("good"), value.key().expect("good"));
    }

    #[test]
    fn trees(value in tree(), at: prop::sample::Index) {
        check(&value, Tree::encode, Tree::decode, at)?;
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

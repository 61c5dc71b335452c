//! Actions and trees.

use std::collections::BTreeSet;

use caravan_protocol::{
    action::{
        Action, Cache, Copy, CopyFrom, CopyTo, Declared, Fetch, Input, NamedOutput, Network,
        Profile, Run, Secret, Source, TrustDomain, Work,
    },
    ids::BlobId,
    tree::{Entry, Kind, Tree},
};
use proptest::{collection::vec, prelude::*};

use super::{bounds, check, id, platform, tree_id, word};

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

proptest! {
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
}

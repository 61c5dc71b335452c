//! What is built, and of what: actions, their keys, trees and bases.

use std::collections::BTreeMap;

use caravan_protocol::{
    action::{
        Action, Cache, Copy, CopyFrom, CopyTo, Declared, Fetch, Input, NamedOutput, Network,
        Profile, Run, Secret, Source, TrustDomain, Work,
    },
    ids::{ActionKey, BlobId, TreeId},
    policy::Base,
    tree::{Entry, Kind as FileKind, Tree},
};

use super::{Kind, again, bounds, encoded, platform};

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

pub(super) fn actions() -> Kind {
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

pub(super) fn action_keys() -> Kind {
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

pub(super) fn trees() -> Kind {
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

pub(super) fn bases() -> Kind {
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

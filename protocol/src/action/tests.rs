use super::*;

fn run() -> Action {
    Action {
        platform: Platform::new("linux", "x86_64").expect("good"),
        domain: TrustDomain::packages(),
        work: Work::Run(Run {
            base: TreeId::from_bytes([1; 32]),
            layers: vec![TreeId::from_bytes([2; 32])],
            inputs: vec![Input {
                tree: TreeId::from_bytes([3; 32]),
                target: "/in".to_owned(),
            }],
            argv: vec!["true".to_owned()],
            env: vec![("HOME".to_owned(), "/".to_owned())],
            user: (1000, 1000),
            workdir: "/".to_owned(),
            network: Network::None,
            keep_layer: true,
            outputs: Vec::new(),
            secrets: Vec::new(),
            profile: Profile::Strict,
        }),
        limits: Limits::default(),
        sources: Vec::new(),
        caches: Vec::new(),
    }
}

fn with(change: impl FnOnce(&mut Run)) -> Action {
    let mut action = run();
    if let Work::Run(run) = &mut action.work {
        change(run);
    }
    action
}

fn secret(id: &str, target: &str) -> Secret {
    Secret {
        id: id.to_owned(),
        target: target.to_owned(),
    }
}

fn copy(change: impl FnOnce(&mut Copy)) -> Action {
    let mut copy = Copy {
        from: CopyFrom::Tree(TreeId::from_bytes([1; 32])),
        src: vec!["a".to_owned()],
        dst: CopyTo::Into("/b".to_owned()),
        exclude: Vec::new(),
        user: (0, 0),
    };
    change(&mut copy);
    Action {
        work: Work::Copy(copy),
        ..run()
    }
}

#[test]
fn every_input_of_a_copy_changes_the_key_and_its_platform_does_not() {
    let root = |layers| CopyFrom::Root {
        base: TreeId::from_bytes([1; 32]),
        layers,
    };
    let mut keys = vec![copy(|_| ()).key().expect("good")];
    for action in [
        copy(|copy| copy.from = root(Vec::new())),
        copy(|copy| copy.from = root(vec![TreeId::from_bytes([2; 32])])),
        copy(|copy| copy.src.push("b".to_owned())),
        copy(|copy| copy.dst = CopyTo::As("/b".to_owned())),
        copy(|copy| copy.exclude.push("b".to_owned())),
        copy(|copy| copy.user = (0, 1)),
    ] {
        let key = action.key().expect("good");
        assert!(!keys.contains(&key), "the key of {action:?} is not its own");
        keys.push(key);
    }
    let there = Action {
        platform: Platform::new("linux", "arm64").expect("good"),
        domain: TrustDomain::project("p"),
        ..copy(|_| ())
    };
    assert_eq!(there.key(), copy(|_| ()).key());
}

#[test]
fn bad_copies_are_refused_before_they_get_a_key() {
    for action in [
        copy(|copy| copy.src.clear()),
        copy(|copy| copy.src[0] = "/etc/passwd".to_owned()),
        copy(|copy| copy.src[0] = "a/../../b".to_owned()),
        copy(|copy| copy.src[0] = "a\0b".to_owned()),
        copy(|copy| copy.dst = CopyTo::Into("relative".to_owned())),
        copy(|copy| copy.dst = CopyTo::As("/a/../b".to_owned())),
        copy(|copy| copy.user = (65_536, 0)),
        copy(|copy| {
            copy.src.push("b".to_owned());
            copy.dst = CopyTo::As("/b".to_owned());
        }),
        copy(|copy| copy.exclude = vec!["x".to_owned(); limits::COPY_NAMES_MAX + 1]),
    ] {
        assert!(
            matches!(action.key(), Err(ActionError::Invalid(_))),
            "{action:?}"
        );
        assert!(action.encode().is_err(), "{action:?}");
    }
}

#[test]
fn every_input_changes_the_key() {
    let mut keys = vec![run().key().expect("good")];
    let changed = [
        with(|run| run.base = TreeId::from_bytes([9; 32])),
        with(|run| run.layers.push(TreeId::from_bytes([9; 32]))),
        with(|run| run.inputs[0].tree = TreeId::from_bytes([9; 32])),
        with(|run| run.inputs[0].target.push('x')),
        with(|run| run.argv.push("x".to_owned())),
        with(|run| run.env[0].1.push('x')),
        with(|run| run.user = (0, 0)),
        with(|run| run.workdir.push('x')),
        with(|run| run.network = Network::Host),
        with(|run| run.keep_layer = false),
        with(|run| run.profile = Profile::Spec),
        with(|run| run.secrets.push(secret("a", "/a"))),
        with(|run| run.secrets.push(secret("b", "/a"))),
        with(|run| run.secrets.push(secret("a", "/b"))),
        with(|run| {
            run.outputs.push(NamedOutput {
                name: "a".into(),
                path: "/a".into(),
            })
        }),
        Action {
            domain: TrustDomain::project("p"),
            ..run()
        },
        Action {
            platform: Platform::new("linux", "arm64").expect("good"),
            ..run()
        },
    ];
    for action in changed {
        let key = action.key().expect("good");
        assert!(!keys.contains(&key), "the key of {action:?} is not its own");
        keys.push(key);
    }
}

#[test]
fn sources_and_caches_are_beside_the_key_and_limits_are_in_it() {
    let key = run().key();
    let sources = vec![vec![Source::Url("https://example.org/a".to_owned())]];
    assert_eq!(Action { sources, ..run() }.key(), key);
    let caches = vec![Cache {
        id: "a".to_owned(),
        target: "/a".to_owned(),
    }];
    assert_eq!(Action { caches, ..run() }.key(), key);
    let changes: [fn(&mut Limits); 7] = [
        |limits| limits.wall_ms += 1,
        |limits| limits.memory_bytes += 1,
        |limits| limits.pids += 1,
        |limits| limits.log_bytes += 1,
        |limits| limits.disk_bytes += 1,
        |limits| limits.inodes += 1,
        |limits| limits.cpu_ms += 1,
    ];
    let mut keys = vec![key];
    for change in changes {
        let mut action = run();
        change(&mut action.limits);
        let key = action.key();
        assert!(!keys.contains(&key), "{:?}", action.limits);
        keys.push(key);
    }
}

#[test]
fn whatever_is_above_what_is_allowed_is_named() {
    let most = Limits::default();
    assert_eq!(most.within(&most), Ok(()));
    assert_eq!(Limits::NOTHING.within(&Limits::NOTHING), Ok(()));
    let said = |change: fn(&mut Limits)| {
        let mut asked = most;
        change(&mut asked);
        asked.within(&most).expect_err("too much").to_string()
    };
    let node = "and this node allows";
    assert_eq!(
        said(|l| l.memory_bytes = 9 << 30),
        format!("it asks for 9 GiB of memory {node} 8 GiB of memory")
    );
    assert_eq!(
        said(|l| l.disk_bytes += 1),
        format!("it asks for 17179869185 bytes of disk {node} 16 GiB of disk")
    );
    assert_eq!(
        said(|l| l.inodes += 1),
        format!("it asks for 2000001 files {node} 2000000 files")
    );
    assert_eq!(
        said(|l| l.pids += 1),
        format!("it asks for 4097 processes {node} 4096 processes")
    );
    assert_eq!(
        said(|l| l.wall_ms += 500),
        format!("it asks for 3600500 ms {node} 3600 s")
    );
    assert!(said(|l| l.cpu_ms += 1000).contains("86401 s of processor time"));
    assert!(said(|l| l.log_bytes += 1 << 20).contains("MiB of log"));
}

#[test]
fn files_of_a_network_are_in_the_key_and_bounded() {
    let file = |sum: &str| Declared {
        checksums: vec![sum.parse().expect("good")],
    };
    let [one, two] = ["1", "2"].map(|digit| file(&format!("md5={}", digit.repeat(32))));
    let fetching = |files: &[Declared]| {
        let network = Network::Fetch(files.to_vec());
        with(|run| run.network = network)
    };
    let key = fetching(std::slice::from_ref(&one)).key().expect("good");
    for other in [
        fetching(std::slice::from_ref(&two)),
        fetching(&[one.clone(), two]),
        run(),
    ] {
        assert_ne!(other.key().expect("good"), key);
    }
    let mut sourced = fetching(std::slice::from_ref(&one));
    sourced.sources = vec![vec![Source::Url("http://a.test/x".to_owned())]];
    assert_eq!(sourced.key().expect("beside the key"), key);
    assert_eq!(
        Action::decode(&sourced.encode().expect("good")).expect("good"),
        sourced
    );
    let bare = Declared {
        checksums: Vec::new(),
    };
    let many = vec![one; limits::FETCH_FILES_MAX + 1];
    for files in [&[][..], &[bare], &many] {
        assert!(matches!(
            fetching(files).key(),
            Err(ActionError::Invalid(_))
        ));
    }
}

#[test]
fn only_commands_ask_for_room() {
    assert_eq!(run().needs(), Limits::default());
    assert_eq!(copy(|_| ()).needs(), Limits::NOTHING);
}

#[test]
fn a_fetch_is_one_work_for_every_platform() {
    let checksum: Checksum = format!("md5={}", "a".repeat(32)).parse().expect("good");
    let work = Work::Fetch(Fetch {
        files: vec![Declared {
            checksums: vec![checksum],
        }],
    });
    let here = Action { work, ..run() };
    let there = Action {
        platform: Platform::new("linux", "arm64").expect("good"),
        ..here.clone()
    };
    assert_eq!(here.key(), there.key());
}

#[test]
fn golden_key_of_version_3() {
    assert_eq!(
        run().key().expect("good").to_string(),
        "f144b4a5799477a310669f184e933bd51184ad07f10b36c9761ab72114013793"
    );
}

#[test]
fn bad_actions_are_refused_before_they_get_a_key() {
    let bad = [
        with(|run| run.argv.clear()),
        with(|run| run.argv.push("a\0b".to_owned())),
        with(|run| run.workdir = "relative".to_owned()),
        with(|run| run.inputs[0].target = "/a/../../etc".to_owned()),
        with(|run| run.user = (70_000, 0)),
        with(|run| run.secrets.push(secret("", "/a"))),
        with(|run| run.secrets.push(secret("a", "a"))),
        with(|run| run.secrets = vec![secret("a", "/a"); limits::SECRETS_MAX + 1]),
        with(|run| run.env.push(("A=B".to_owned(), String::new()))),
        with(|run| run.layers = vec![TreeId::from_bytes([0; 32]); limits::LAYERS_MAX + 1]),
        Action {
            work: Work::Fetch(Fetch { files: Vec::new() }),
            ..run()
        },
    ];
    for action in bad {
        assert!(action.key().is_err(), "{action:?} was taken");
    }
}

#[test]
fn encoding_round_trips_and_damage_is_an_error() {
    let bytes = run().encode().expect("good");
    assert_eq!(Action::decode(&bytes), Ok(run()));
    for at in 0..bytes.len() {
        let _ = Action::decode(&bytes[..at]).expect_err("a torn action was taken");
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x80;
        // Any answer will do, as long as it is an answer.
        let _ = Action::decode(&flipped);
    }
}

#[test]
fn checksums_are_read_as_opam_writes_them() {
    let text = format!("sha256={}", "Ab".repeat(32));
    let checksum: Checksum = text.parse().expect("good");
    assert_eq!(checksum.to_string(), text.to_lowercase());
    assert_eq!(
        checksum.cache_path(),
        format!("sha256/ab/{}", "ab".repeat(32))
    );
    for bad in ["", "md5=12", "sha1=aa", &text[..60], "sha256=zz"] {
        assert!(bad.parse::<Checksum>().is_err(), "{bad:?} was taken");
    }
}

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
        }),
        limits: Limits::default(),
        sources: Vec::new(),
    }
}

fn with(change: impl FnOnce(&mut Run)) -> Action {
    let mut action = run();
    if let Work::Run(run) = &mut action.work {
        change(run);
    }
    action
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
fn sources_are_beside_the_key_and_limits_are_in_it() {
    let key = run().key();
    let sources = vec![vec![Source::Url("https://example.org/a".to_owned())]];
    assert_eq!(Action { sources, ..run() }.key(), key);
    let limits = Limits {
        wall_ms: 1,
        ..Limits::default()
    };
    assert_ne!(Action { limits, ..run() }.key(), key);
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
fn golden_key_of_version_1() {
    assert_eq!(
        run().key().expect("good").to_string(),
        "d6bd169a417f61ab18bbc8de9f5a73011ada29912c3a10b4ab5c6d445816633e"
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

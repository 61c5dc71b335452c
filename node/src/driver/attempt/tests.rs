//! What is refused before it can join a run or be answered by an earlier one.

use caravan_protocol::{
    action::{Profile, Run, Secret, TrustDomain},
    platform::Platform,
};

use super::*;

fn step(secrets: Vec<Secret>, network: Network) -> Action {
    Action {
        platform: Platform::here(),
        domain: TrustDomain::project("p"),
        work: Work::Run(Run {
            base: TreeId::from_bytes([1; 32]),
            layers: Vec::new(),
            inputs: Vec::new(),
            argv: vec!["true".to_owned()],
            env: Vec::new(),
            user: (0, 0),
            workdir: "/".to_owned(),
            network,
            keep_layer: true,
            outputs: Vec::new(),
            secrets,
            profile: Profile::Strict,
        }),
        limits: Limits::default(),
        sources: Vec::new(),
        caches: Vec::new(),
    }
}

fn secret() -> Vec<Secret> {
    vec![Secret {
        id: "token".to_owned(),
        target: "/run/token".to_owned(),
    }]
}

/// What a stranger is told that sends these bytes under the key of that action.
fn told(sent: &Action, offered: &Action) -> Option<String> {
    let key = offered.key().expect("a key");
    refusal(&sent.encode().expect("small"), key, &Limits::ALL, false)
}

#[test]
fn plain_work_is_done_for_strangers() {
    let plain = step(Vec::new(), Network::None);
    assert_eq!(told(&plain, &plain), None);
}

#[test]
fn the_key_of_a_step_with_a_secret_cannot_be_had_with_other_bytes() {
    let plain = step(Vec::new(), Network::None);
    for precious in [
        step(secret(), Network::None),
        step(Vec::new(), Network::Host),
    ] {
        let own_words = told(&precious, &precious).expect("refused");
        assert!(own_words.contains("not its network"), "{own_words}");
        let why = told(&plain, &precious).expect("refused");
        assert!(why.contains("not the one that was offered"), "{why}");
    }
}

#[test]
fn bytes_that_are_no_action_are_refused_at_once() {
    let key = step(secret(), Network::None).key().expect("a key");
    assert!(refusal(b"nothing", key, &Limits::ALL, false).is_some());
    assert!(refusal(&[], key, &Limits::ALL, true).is_some());
}

#[test]
fn others_are_lent_no_more_than_four_hours() {
    let mut long = step(Vec::new(), Network::None);
    long.limits.wall_ms = LENT_WALL_MS_MAX + 1;
    assert!(told(&long, &long).is_some());
    assert_eq!(lent(&Limits::ALL).wall_ms, LENT_WALL_MS_MAX);
    let key = long.key().expect("a key");
    let encoded = long.encode().expect("small");
    assert_eq!(refusal(&encoded, key, &Limits::ALL, true), None);
}

//! What index nodes are asked and answer.

use std::collections::BTreeMap;

use caravan_protocol::{
    claim::{Claim, Environment, Verdict},
    identity::Signed,
    ids::{ActionKey, TreeId},
    index::{Announced, Answer, Found, Question},
    time::Stamp,
};

use super::{Kind, key, mesh, node};

fn claim() -> Signed<Claim> {
    let claim = Claim {
        mesh: mesh(),
        action: ActionKey::from_bytes([1; 32]),
        verdict: Verdict::Pass,
        output: Some(TreeId::from_bytes([2; 32])),
        outputs: BTreeMap::new(),
        log: None,
        started: Stamp::from_ms(3),
        wall_ms: 4,
        cpu_ms: 5,
        environment: Environment::default(),
    };
    Signed::sign(&key(6), &claim).expect("small")
}

pub(super) fn questions() -> Kind {
    let told = Announced {
        claim: claim(),
        holds: true,
    };
    let keys = [7, 8].map(|n| ActionKey::from_bytes([n; 32]));
    let values = [
        ("announce", Question::Announce(vec![told])),
        ("find", Question::Find(keys.into())),
    ];
    Kind {
        file: "index-1-question".to_owned(),
        what: "questions of the index, on /caravan/control/2",
        values: values
            .map(|(name, question)| (name, question.encode().expect("good")))
            .to_vec(),
        again: |bytes| Question::decode(bytes).ok()?.encode().ok(),
    }
}

pub(super) fn answers() -> Kind {
    let found = Found {
        action: ActionKey::from_bytes([1; 32]),
        claims: vec![claim()],
        holders: vec![node(9)],
    };
    let values = [
        ("taken", Answer::Taken),
        ("found", Answer::Found(vec![found])),
    ];
    Kind {
        file: "index-1-answer".to_owned(),
        what: "answers of the index, on /caravan/control/2",
        values: values
            .map(|(name, answer)| (name, answer.encode().expect("good")))
            .to_vec(),
        again: |bytes| Answer::decode(bytes).ok()?.encode().ok(),
    }
}

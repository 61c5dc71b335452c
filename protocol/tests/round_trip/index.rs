//! Questions and answers of the index.

use caravan_protocol::{
    claim::{Claim, Environment},
    identity::{Key, Signed},
    ids::{ActionKey, MeshId, NodeId, TreeId},
    index::{Announced, Answer, Found, Question},
    time::Stamp,
};
use proptest::{
    collection::{btree_set, vec},
    prelude::*,
};

use super::{check, id, verdict};

fn claim() -> impl Strategy<Value = Signed<Claim>> {
    (id(), id(), verdict(), any::<u64>()).prop_map(|(action, output, verdict, wall_ms)| {
        let claim = Claim {
            mesh: MeshId::from_bytes([1; 32]),
            action: ActionKey::from_bytes(action),
            verdict,
            output: Some(TreeId::from_bytes(output)),
            outputs: Default::default(),
            log: None,
            started: Stamp::from_ms(wall_ms),
            wall_ms,
            cpu_ms: 0,
            environment: Environment::default(),
        };
        Signed::sign(&Key::from_secret(&action), &claim).expect("small")
    })
}

fn question() -> impl Strategy<Value = Question> {
    let told = (claim(), any::<bool>()).prop_map(|(claim, holds)| Announced { claim, holds });
    let keys = btree_set(id().prop_map(ActionKey::from_bytes), 0..20);
    prop_oneof![
        vec(told, 0..4).prop_map(Question::Announce),
        keys.prop_map(|keys| Question::Find(keys.into_iter().collect())),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    let holders = vec(id().prop_map(NodeId::from_bytes), 0..4);
    let found = (id(), vec(claim(), 0..3), holders).prop_map(|(action, claims, holders)| Found {
        action: ActionKey::from_bytes(action),
        claims,
        holders,
    });
    prop_oneof![
        Just(Answer::Taken),
        vec(found, 0..4).prop_map(Answer::Found)
    ]
}

proptest! {
    #[test]
    fn questions_of_the_index(value in question(), at: prop::sample::Index) {
        check(&value, Question::encode, Question::decode, at)?;
    }

    #[test]
    fn answers_of_the_index(value in answer(), at: prop::sample::Index) {
        check(&value, Answer::encode, Answer::decode, at)?;
    }

    #[test]
    fn nothing_makes_the_index_s_decoders_panic(bytes: Vec<u8>) {
        let _ = (Question::decode(&bytes), Answer::decode(&bytes));
    }
}

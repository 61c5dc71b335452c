//! The market's messages and digests.

use caravan_protocol::{
    ids::{ActionKey, NodeId},
    offer::{Digest, Head, JobId, Message, Priority, Progress},
};
use proptest::{collection::vec, prelude::*};

use super::{bounds, check, id, job, verdict};

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

proptest! {
    #[test]
    fn messages_of_the_market(value in message(), at: prop::sample::Index) {
        check(&value, Message::encode, Message::decode, at)?;
    }

    #[test]
    fn digests(value in digest(), at: prop::sample::Index) {
        check(&value, Digest::encode, Digest::decode, at)?;
    }
}

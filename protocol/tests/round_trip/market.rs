//! The market's messages and digests.

use caravan_protocol::{
    ids::{ActionKey, NodeId, RoleId},
    offer::{
        AttemptId, Digest, Head, JobId, Layer, Message, Offer, Phase, Priority, Progress,
        Reluctance,
    },
};
use proptest::{collection::vec, prelude::*};

use super::{bounds, check, id, job, platform, tree_id, verdict};

fn phase() -> impl Strategy<Value = Phase> {
    prop_oneof![
        any::<u64>().prop_map(|bytes| Phase::Fetching { bytes }),
        any::<(u64, u64)>().prop_map(|(log_bytes, cpu_ms)| Phase::Running { log_bytes, cpu_ms }),
        Just(Phase::Keeping),
    ]
}

fn role() -> impl Strategy<Value = RoleId> {
    id().prop_map(RoleId::from_bytes)
}

fn attempt() -> impl Strategy<Value = AttemptId> {
    (id(), job(), 1..u32::MAX).prop_map(|(owner, job, number)| AttemptId {
        owner: NodeId::from_bytes(owner),
        job,
        number,
    })
}

fn bid() -> impl Strategy<Value = Message> {
    let times = any::<(u64, u64)>();
    (any::<u64>(), job(), times, bounds(), any::<bool>()).prop_map(
        |(nonce, job, (eta_ms, wait_ms), most, offered)| Message::Bid {
            nonce,
            job,
            eta_ms,
            wait_ms,
            most,
            offered,
        },
    )
}

fn award() -> impl Strategy<Value = Message> {
    let attempt = (any::<u64>(), job(), 1..u32::MAX, 1..u64::MAX);
    let holders = vec(id().prop_map(NodeId::from_bytes), 0..8);
    let rest = (bounds(), vec(any::<u8>(), 0..600), holders);
    (attempt, rest, proptest::option::of(role())).prop_map(
        |((nonce, job, number, lease_ms), (needs, action, holders), role)| Message::Award {
            nonce,
            job,
            number,
            lease_ms,
            needs,
            action,
            holders,
            role,
        },
    )
}

fn offer() -> impl Strategy<Value = Offer> {
    let layer = (tree_id(), any::<u64>()).prop_map(|(tree, bytes)| Layer { tree, bytes });
    let head = (job(), platform(), any::<bool>(), any::<u64>());
    (head, bounds(), vec(layer, 0..16), any::<u8>()).prop_map(
        |((job, platform, urgent, cost_ms), needs, lineage, candidates)| Offer {
            job,
            platform,
            priority: match urgent {
                true => Priority::Urgent,
                false => Priority::Normal,
            },
            cost_ms,
            needs,
            lineage,
            candidates,
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    let number = 1..u32::MAX;
    prop_oneof![
        bid(),
        award(),
        offer().prop_map(|offer| Message::Offer(Box::new(offer))),
        (job(), any::<bool>(), bounds()).prop_map(|(job, unfit, most)| {
            let why = match unfit {
                true => Reluctance::Unfit,
                false => Reluctance::Busy,
            };
            Message::Pass { job, why, most }
        }),
        (role(), vec(attempt(), 0..40))
            .prop_map(|(role, attempts)| Message::Resume { role, attempts }),
        (attempt(), number.clone(), 1..u64::MAX).prop_map(|(of, number, lease_ms)| {
            Message::Adopt {
                of,
                number,
                lease_ms,
            }
        }),
        attempt().prop_map(|of| Message::Release { of }),
        any::<u64>().prop_map(|nonce| Message::Decline { nonce }),
        (job(), number.clone()).prop_map(|(job, number)| Message::Refuse { job, number }),
        vec((job(), any::<u32>(), phase()), 0..40).prop_map(|attempts| Message::Beat {
            attempts: attempts
                .into_iter()
                .map(|(job, number, phase)| Progress { job, number, phase })
                .collect(),
        }),
        vec((job(), any::<u32>()), 0..40).prop_map(|attempts| Message::Renew { attempts }),
        (job(), number.clone()).prop_map(|(job, number)| Message::Cancel { job, number }),
        (
            (job(), number.clone(), any::<bool>()),
            verdict(),
            vec(any::<u8>(), 0..600)
        )
            .prop_map(|((job, number, room), verdict, outcome)| Message::Result {
                job,
                number,
                verdict,
                outcome,
                room,
            }),
        (job(), number).prop_map(|(job, number)| Message::Ack { job, number }),
    ]
}

fn digest() -> impl Strategy<Value = Digest> {
    let top = (tree_id(), any::<u64>()).prop_map(|(tree, bytes)| Layer { tree, bytes });
    let top = prop::option::of(top);
    let head = (any::<bool>(), any::<u64>(), any::<u64>(), bounds(), top);
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
                .map(|(key, (urgent, cost_ms, waited_ms, needs, top))| Head {
                    job: JobId::from(ActionKey::from_bytes(key)),
                    priority: if urgent {
                        Priority::Urgent
                    } else {
                        Priority::Normal
                    },
                    cost_ms,
                    waited_ms,
                    needs,
                    top,
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

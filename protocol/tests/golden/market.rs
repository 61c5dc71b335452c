//! What the market says: its messages and its digests.

use caravan_protocol::{
    claim::Verdict,
    offer::{Digest, Head, Message, Priority, Progress},
};

use super::{Kind, bounds, job, node};

pub(super) fn messages() -> Kind {
    let (job, number) = (job(7), 3);
    let values = [
        (
            "bid",
            Message::Bid {
                nonce: 5,
                job,
                eta_ms: 600,
                most: bounds(),
            },
        ),
        (
            "award",
            Message::Award {
                nonce: 5,
                job,
                number,
                lease_ms: 30_000,
                action: vec![1, 2],
            },
        ),
        ("decline", Message::Decline { nonce: 5 }),
        ("refuse", Message::Refuse { job, number }),
        (
            "beat",
            Message::Beat {
                attempts: vec![Progress {
                    job,
                    number,
                    log_bytes: 9,
                }],
            },
        ),
        (
            "renew",
            Message::Renew {
                attempts: vec![(job, number)],
            },
        ),
        ("cancel", Message::Cancel { job, number }),
        (
            "result",
            Message::Result {
                job,
                number,
                verdict: Verdict::Infra,
                outcome: vec![8],
            },
        ),
        ("ack", Message::Ack { job, number }),
    ];
    Kind {
        file: "control-1-message".to_owned(),
        what: "the market's messages, in batches of /caravan/control/1",
        values: values
            .map(|(name, message)| (name, message.encode().expect("good")))
            .to_vec(),
        again: |bytes| Message::decode(bytes).ok()?.encode().ok(),
    }
}

pub(super) fn digests() -> Kind {
    let head = |number, priority| Head {
        job: job(number),
        priority,
        cost_ms: 5,
        waited_ms: 6,
        needs: bounds(),
    };
    let digest = |jobs| {
        let digest = Digest {
            owner: node(1),
            seq: 4,
            jobs,
        };
        digest.encode().expect("good")
    };
    let two = vec![head(7, Priority::Urgent), head(8, Priority::Normal)];
    Kind {
        file: "offers-1-digest".to_owned(),
        what: "what an owner gossips about its jobs",
        values: vec![("empty", digest(Vec::new())), ("two", digest(two))],
        again: |bytes| Digest::decode(bytes).ok()?.encode().ok(),
    }
}

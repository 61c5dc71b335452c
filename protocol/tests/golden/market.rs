//! What the market says: its messages and its digests.

use caravan_protocol::{
    claim::Verdict,
    ids::{RoleId, TreeId},
    offer::{
        AttemptId, Digest, Head, JobId, Layer, Message, Offer, Phase, Priority, Progress,
        Reluctance,
    },
};

use super::{Kind, bounds, job, node};

fn offer(job: JobId) -> Offer {
    Offer {
        job,
        platform: "linux-arm64".parse().expect("good"),
        priority: Priority::Urgent,
        cost_ms: 90,
        needs: bounds(),
        lineage: vec![Layer {
            tree: TreeId::from_bytes([9; 32]),
            bytes: 1 << 33,
        }],
        candidates: 4,
    }
}

/// What is said of an attempt from its bid to its end.
fn attempt(job: JobId, number: u32, role: RoleId) -> Vec<(&'static str, Message)> {
    vec![
        (
            "bid",
            Message::Bid {
                nonce: 5,
                job,
                eta_ms: 600,
                wait_ms: 70,
                most: bounds(),
                offered: true,
            },
        ),
        (
            "award",
            Message::Award {
                nonce: 5,
                job,
                number,
                lease_ms: 30_000,
                needs: bounds(),
                action: vec![1, 2],
                holders: vec![node(3)],
                role: Some(role),
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
                    phase: Phase::Running {
                        log_bytes: 9,
                        cpu_ms: 7,
                    },
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
    ]
}

/// What is said of its result, of offers, and when a role has gone elsewhere.
fn bargain(of: AttemptId, role: RoleId) -> Vec<(&'static str, Message)> {
    let (job, number) = (of.job, of.number);
    vec![
        (
            "result",
            Message::Result {
                job,
                number,
                verdict: Verdict::Infra,
                outcome: vec![8],
                room: true,
            },
        ),
        ("ack", Message::Ack { job, number }),
        ("offer", Message::Offer(Box::new(offer(job)))),
        (
            "pass",
            Message::Pass {
                job,
                why: Reluctance::Unfit,
                most: bounds(),
            },
        ),
        (
            "resume",
            Message::Resume {
                role,
                attempts: vec![of],
            },
        ),
        (
            "adopt",
            Message::Adopt {
                of,
                number: 4,
                lease_ms: 30_000,
            },
        ),
        ("release", Message::Release { of }),
    ]
}

pub(super) fn messages() -> Kind {
    let (job, number) = (job(7), 3);
    let role = RoleId::from_bytes([6; 32]);
    let of = AttemptId {
        owner: node(2),
        job,
        number,
    };
    let mut values = attempt(job, number, role);
    values.extend(bargain(of, role));
    Kind {
        file: "control-2-message".to_owned(),
        what: "the market's messages, in batches of /caravan/control/2",
        values: values
            .into_iter()
            .map(|(name, message)| (name, message.encode().expect("good")))
            .collect(),
        again: |bytes| Message::decode(bytes).ok()?.encode().ok(),
    }
}

pub(super) fn digests() -> Kind {
    let head = |number, priority, top| Head {
        job: job(number),
        priority,
        cost_ms: 5,
        waited_ms: 6,
        needs: bounds(),
        top,
    };
    let digest = |jobs| {
        let digest = Digest {
            owner: node(1),
            seq: 4,
            jobs,
        };
        digest.encode().expect("good")
    };
    let top = Layer {
        tree: TreeId::from_bytes([9; 32]),
        bytes: 1 << 33,
    };
    let two = vec![
        head(7, Priority::Urgent, Some(top)),
        head(8, Priority::Normal, None),
    ];
    Kind {
        file: "offers-2-digest".to_owned(),
        what: "what an owner gossips about its jobs",
        values: vec![("empty", digest(Vec::new())), ("two", digest(two))],
        again: |bytes| Digest::decode(bytes).ok()?.encode().ok(),
    }
}

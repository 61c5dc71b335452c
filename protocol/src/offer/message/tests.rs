use super::*;
use crate::{action::Limits, ids::ActionKey};

fn job(byte: u8) -> JobId {
    JobId::from(ActionKey::from_bytes([byte; 32]))
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// Each bound another number.
fn bounds() -> Limits {
    Limits {
        wall_ms: 1,
        memory_bytes: 2,
        pids: 3,
        log_bytes: 4,
        disk_bytes: 5,
        inodes: 6,
        cpu_ms: 7,
    }
}

const BOUNDS: &str = "0100000000000000020000000000000003000000\
    0400000000000000050000000000000006000000000000000700000000000000";

/// One of each message, with its bytes as released; `J` stands for a job's 32 bytes of 07,
/// `M` for the bounds.
fn golden() -> Vec<(Message, &'static str)> {
    let (job, number) = (job(7), 3);
    vec![
        (
            Message::Bid {
                nonce: 5,
                job,
                eta_ms: 600,
                most: bounds(),
            },
            "000000000500000000000000J5802000000000000M",
        ),
        (
            Message::Award {
                nonce: 5,
                job,
                number,
                lease_ms: 30_000,
                action: vec![1, 2],
            },
            "010000000500000000000000J03000000307500000000000002000000000000000102",
        ),
        (Message::Decline { nonce: 5 }, "020000000500000000000000"),
        (Message::Refuse { job, number }, "03000000J03000000"),
        (
            Message::Beat {
                attempts: vec![Progress {
                    job,
                    number,
                    log_bytes: 9,
                }],
            },
            "040000000100000000000000J030000000900000000000000",
        ),
        (
            Message::Renew {
                attempts: vec![(job, number)],
            },
            "050000000100000000000000J03000000",
        ),
        (Message::Cancel { job, number }, "06000000J03000000"),
        (
            Message::Result {
                job,
                number,
                verdict: Verdict::Infra,
                outcome: vec![8],
            },
            "07000000J0300000002000000010000000000000008",
        ),
        (Message::Ack { job, number }, "08000000J03000000"),
    ]
}

fn golden_digest() -> (Digest, String) {
    let digest = Digest {
        owner: NodeId::from_bytes([1; 32]),
        seq: 4,
        jobs: vec![Head {
            job: job(7),
            priority: Priority::Normal,
            cost_ms: 5,
            waited_ms: 6,
            needs: bounds(),
        }],
    };
    let bytes = format!(
        "{}04000000000000000100000000000000{}0100000005000000000000000600000000000000{BOUNDS}",
        "01".repeat(32),
        "07".repeat(32)
    );
    (digest, bytes)
}

#[test]
fn golden_bytes_of_every_message_stay_the_same() {
    for (message, golden) in golden() {
        let bytes = message.encode().expect("within limits");
        let golden = golden.replace('J', &"07".repeat(32)).replace('M', BOUNDS);
        assert_eq!(hex(&bytes), golden);
        assert_eq!(Message::decode(&bytes), Ok(message));
    }
    let (digest, golden) = golden_digest();
    let bytes = digest.encode().expect("within limits");
    assert_eq!(hex(&bytes), golden);
    assert_eq!(Digest::decode(&bytes), Ok(digest));
}

#[test]
fn the_largest_messages_fit() {
    let head = |n: u16| {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&n.to_be_bytes());
        Head {
            job: JobId::from(ActionKey::from_bytes(key)),
            priority: Priority::Urgent,
            cost_ms: u64::MAX,
            waited_ms: u64::MAX,
            needs: Limits::ALL,
        }
    };
    let count = u16::try_from(limits::DIGEST_JOBS_MAX).expect("small");
    let mut digest = Digest {
        owner: NodeId::from_bytes([1; 32]),
        seq: u64::MAX,
        jobs: (0..count).map(head).collect(),
    };
    assert!(digest.encode().is_ok());
    digest.jobs.push(head(count));
    assert!(digest.encode().is_err(), "one job too many was encoded");
    let progress = Progress {
        job: job(7),
        number: 1,
        log_bytes: u64::MAX,
    };
    let attempts = vec![progress; limits::SLOTS_MAX as usize];
    assert!(Message::Beat { attempts }.encode().is_ok());
    let award = Message::Award {
        nonce: 1,
        job: job(7),
        number: 1,
        lease_ms: 1,
        action: vec![0; limits::ACTION_BYTES_MAX],
    };
    assert!(award.encode().is_ok());
}

#[test]
fn attempts_are_counted_from_one() {
    let number = 0;
    let zero = Message::Ack {
        job: job(7),
        number,
    };
    assert!(zero.encode().is_err());
    let mut bytes = Message::Ack {
        job: job(7),
        number: 1,
    }
    .encode()
    .expect("small");
    let last = bytes.len() - 4;
    bytes[last] = 0;
    assert!(Message::decode(&bytes).is_err());
}

/// A small generator: the same damage on every machine.
struct Damage(u64);

impl Damage {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % end.max(1)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).expect("below 256")
    }
}

#[test]
fn decoders_never_panic_and_what_they_take_has_one_encoding() {
    let mut damage = Damage(1);
    let mut seeds: Vec<Vec<u8>> = golden()
        .iter()
        .map(|(message, _)| message.encode().expect("within limits"))
        .collect();
    seeds.push(golden_digest().0.encode().expect("within limits"));
    let mut taken = 0;
    for round in 0..20_000 {
        let mut bytes = seeds[round % seeds.len()].clone();
        for _ in 0..damage.below(4) {
            let at = damage.below(bytes.len());
            match damage.below(4) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, damage.byte()),
                _ if bytes.is_empty() => {}
                _ => bytes[at] = damage.byte(),
            }
        }
        if let Ok(message) = Message::decode(&bytes) {
            taken += 1;
            assert_eq!(message.encode(), Ok(bytes.clone()));
        }
        if let Ok(digest) = Digest::decode(&bytes) {
            assert_eq!(digest.encode(), Ok(bytes));
        }
    }
    assert!(taken > 1000, "only {taken} survived: nothing was tested");
}

#[test]
fn a_length_that_is_not_there_is_refused_without_allocating_it() {
    let mut bytes = vec![4, 0, 0, 0];
    bytes.extend_from_slice(&(1u64 << 40).to_le_bytes());
    assert!(matches!(
        Message::decode(&bytes),
        Err(MessageError::Codec(_))
    ));
}

use super::*;
use crate::{
    action::Limits,
    ids::{ActionKey, TreeId},
    offer::Phase,
};

fn job(byte: u8) -> JobId {
    JobId::from(ActionKey::from_bytes([byte; 32]))
}

/// One of each message, as released nodes speak it.
fn released() -> Vec<Vec<u8>> {
    let kept = [
        include_str!("../../../tests/golden/control-2-message.hex"),
        include_str!("../../../tests/golden/offers-2-digest.hex"),
    ];
    let lines = kept.iter().flat_map(|file| file.lines().skip(1));
    lines
        .map(|line| {
            let (_, hex) = line.split_once(' ').expect("a name and its bytes");
            let hex = data_encoding::HEXLOWER.decode(hex.as_bytes());
            hex.expect("golden bytes")
        })
        .collect()
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
            top: Some(Layer {
                tree: TreeId::from_bytes([255; 32]),
                bytes: u64::MAX,
            }),
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
        phase: Phase::Running {
            log_bytes: u64::MAX,
            cpu_ms: u64::MAX,
        },
    };
    let attempts = vec![progress; limits::SLOTS_MAX as usize];
    assert!(Message::Beat { attempts }.encode().is_ok());
    let award = Message::Award {
        nonce: 1,
        job: job(7),
        number: 1,
        lease_ms: 1,
        needs: Limits::default(),
        action: vec![0; limits::ACTION_BYTES_MAX],
        holders: Vec::new(),
        role: None,
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
    let seeds = released();
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

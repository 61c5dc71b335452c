//! Bytes from anywhere.

use proptest::prelude::*;

use super::super::{
    BUCKETS, Batch, Doubt, Incarnation, Kind, LINES_MAX, Line, MEMBER_BYTES_MAX, Message,
    MessageError, Page, RECORD_BYTES_MAX, RECORDS_MAX, Sealed,
};
use crate::ids::NodeId;

fn sealed(size: usize) -> Sealed {
    Sealed {
        kind: Kind::Presence,
        subject: NodeId::from_bytes([3; 32]),
        version: 5,
        bytes: vec![7; size].into(),
    }
}

fn line(seed: u64) -> Line {
    Line {
        seed,
        cert: 4,
        incarnation: Incarnation::new(3),
        dead: true,
        revoked: false,
    }
}

fn all() -> Vec<Message> {
    let doubt = Doubt {
        subject: NodeId::from_bytes([2; 32]),
        incarnation: Incarnation::new(9),
    };
    vec![
        Message::Probe { number: 1, view: 2 },
        Message::Ack { number: 1, view: 2 },
        Message::Records(Batch(vec![sealed(3)].into())),
        Message::Doubt(Box::new(doubt)),
        Message::Vouch(Box::new(doubt)),
        Message::Fetch { after: 6 },
        Message::Page(Box::new(Page {
            records: Batch(vec![sealed(1), sealed(2)].into()),
            next: Some(8),
        })),
        Message::Compare(vec![1; BUCKETS].into()),
        Message::Lines {
            covers: 5,
            lines: vec![line(1), line(2)].into(),
        },
        Message::Want(vec![1, 2].into()),
    ]
}

#[test]
fn every_message_is_read_as_it_was_written() {
    for message in all() {
        let bytes = message.encode().expect("within the bounds");
        assert_eq!(Message::decode(&bytes), Ok(message));
    }
}

#[test]
fn the_bytes_of_a_probe_stay_the_same() {
    let bytes = Message::Probe { number: 1, view: 2 }
        .encode()
        .expect("small");
    assert_eq!(bytes, [1, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn another_version_is_named_and_an_empty_message_refused() {
    let mut bytes = Message::Fetch { after: 1 }.encode().expect("small");
    bytes[0] = 2;
    assert_eq!(Message::decode(&bytes), Err(MessageError::Version(2)));
    assert!(Message::decode(&[]).is_err());
}

#[test]
fn messages_beyond_the_bounds_are_neither_written_nor_read() {
    let wide = Message::Records(Batch(vec![sealed(1); RECORDS_MAX + 1].into()));
    let long = Message::Records(Batch(vec![sealed(RECORD_BYTES_MAX + 1)].into()));
    let lines = Message::Lines {
        covers: 0,
        lines: vec![line(1); LINES_MAX + 1].into(),
    };
    let want = Message::Want(vec![0; LINES_MAX + 1].into());
    let buckets = Message::Compare(vec![0; BUCKETS - 1].into());
    for message in [wide, long, lines, want, buckets] {
        assert!(message.encode().is_err(), "{message:?} was written");
    }
    assert!(Message::decode(&vec![1; MEMBER_BYTES_MAX + 1]).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_and_never_read_as_two_things(
        mut bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        for version in [1, 0, 200] {
            if let Some(first) = bytes.first_mut() {
                *first = version;
            }
            if let Ok(message) = Message::decode(&bytes) {
                prop_assert_eq!(message.encode().ok(), Some(bytes.clone()));
            }
        }
    }

    #[test]
    fn a_message_with_a_flipped_bit_is_another_one_or_refused(
        which in 0..10_usize, at in any::<prop::sample::Index>(), bit in 0..8,
    ) {
        let message = &all()[which];
        let mut bytes = message.encode().expect("within the bounds");
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        let read = Message::decode(&bytes);
        prop_assert_ne!(read.as_ref(), Ok(message));
    }
}

#[test]
fn what_is_passed_around_by_value_is_small() {
    use std::mem::size_of;
    assert!(size_of::<Message>() <= 32, "{}", size_of::<Message>());
    let event = size_of::<super::super::Event>();
    assert!(event <= 64, "{event}");
    let command = size_of::<super::super::Command>();
    assert!(command <= 64, "{command}");
}

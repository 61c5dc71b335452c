//! Doors for tests and fuzzers to this room's decoders of bytes that nobody vouches for. Each takes
//! such bytes, and answers what was read of them as it would be written again, or nothing where they
//! are refused. Nothing else calls them; they keep no state.

use caravan_protocol::{
    identity::{Genesis, Key, NodeCert, Signed, Tier},
    ids::{BlobId, MeshId},
    limits::MESSAGE_BYTES_MAX,
    member::Revocation,
    platform::Platform,
    time::Stamp,
};
use futures::executor::block_on;
use libp2p::{StreamProtocol, request_response::Codec as _};

use crate::{
    bulk::words::{self, Ask, Standing, Tell},
    event::{Contact, Refusal, Welcome},
    frames::Frames,
    limits::{BULK_WORD_BYTES_MAX, CONTROL_BYTES_MAX, GREETING_BYTES_MAX},
    names,
    wire::{self, Admit, Answer, Control, ControlAnswer, Greeting, Hello},
};

/// Largest word on a bulk stream, bytes.
pub const BLOBS_MAX: usize = BULK_WORD_BYTES_MAX;
/// Largest greeting and its answer, bytes.
pub const GREETING_MAX: usize = GREETING_BYTES_MAX;
/// Largest frame of the control protocol and its answer, bytes.
pub const CONTROL_MAX: usize = CONTROL_BYTES_MAX;

const _: () = assert!(CONTROL_BYTES_MAX > MESSAGE_BYTES_MAX);

/// What strangers may say.
#[must_use]
pub fn greeting(bytes: &[u8]) -> Option<Vec<u8>> {
    Greeting::decode(bytes).ok()?.encode().ok()
}

/// What is answered to it.
#[must_use]
pub fn answer(bytes: &[u8]) -> Option<Vec<u8>> {
    Answer::decode(bytes).ok()?.encode().ok()
}

/// A frame of the control protocol.
#[must_use]
pub fn control(bytes: &[u8]) -> Option<Vec<u8>> {
    Control::decode(bytes).map(|frame| frame.encode())
}

/// What is answered to it.
#[must_use]
pub fn control_answer(bytes: &[u8]) -> Option<Vec<u8>> {
    ControlAnswer::decode(bytes).map(|answer| answer.encode())
}

/// Bytes with their length before them, and nothing behind.
#[must_use]
pub fn frame(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut frames = Frames {
        bytes_max: CONTROL_BYTES_MAX,
    };
    let protocol = StreamProtocol::new(wire::CONTROL);
    let mut from = bytes;
    let read = block_on(frames.read_request(&protocol, &mut from)).ok()?;
    if !from.is_empty() {
        return None;
    }
    let mut again = futures::io::Cursor::new(Vec::new());
    block_on(frames.write_request(&protocol, &mut again, read)).ok()?;
    Some(again.into_inner())
}

/// What is asked on a bulk stream.
#[must_use]
pub fn blobs(bytes: &[u8]) -> Option<Vec<u8>> {
    let word = words::decode::<Ask>(bytes).ok()?;
    let frame = words::frame(&word).ok().filter(|_| word.is_good())?;
    Some(frame[4..].to_vec())
}

/// What is answered on one.
#[must_use]
pub fn blobs_answer(bytes: &[u8]) -> Option<Vec<u8>> {
    let word = words::decode::<Tell>(bytes).ok()?;
    Some(words::frame(&word).ok()?[4..].to_vec())
}

/// The name of a topic, of the mesh whose id is all zeros.
#[must_use]
pub fn topic(bytes: &[u8]) -> Option<Vec<u8>> {
    let mesh = MeshId::from_bytes([0; 32]);
    let platform = wire::platform_of(mesh, std::str::from_utf8(bytes).ok()?)?;
    Some(wire::topic(mesh, &platform).into_bytes())
}

/// An address that another node says it has.
#[must_use]
pub fn address(bytes: &[u8]) -> Option<Vec<u8>> {
    let address = names::parse_address(std::str::from_utf8(bytes).ok()?).ok()?;
    Some(address.to_string().into_bytes())
}

/// The name of a topic as [`topic`] reads it.
#[must_use]
pub fn topic_of(platform: &Platform) -> String {
    wire::topic(MeshId::from_bytes([0; 32]), platform)
}

/// One of each greeting and of each answer, by the door that takes it. They are the same each time.
#[must_use]
pub fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let key = Key::from_secret(&[1; 32]);
    let platform = Platform::new("linux", "x86_64").expect("a good name");
    let cert = NodeCert {
        mesh: MeshId::from_bytes([9; 32]),
        node: key.node(),
        operator: "alice".to_owned(),
        tier: Tier::Donor,
        platforms: vec![platform.clone()],
        not_before: Stamp::from_ms(3),
        expires: Stamp::from_ms(4),
    };
    let cert = Signed::sign(&key, &cert).expect("it is small");
    let contact = Contact {
        cert: cert.clone(),
        addresses: vec!["/ip4/192.0.2.7/tcp/7450".to_owned()],
    };
    let revocation = Revocation {
        mesh: MeshId::from_bytes([9; 32]),
        node: key.node(),
        at: Stamp::from_ms(10),
    };
    let hello = Hello {
        meeting: 5,
        life: 11,
        now: Stamp::from_ms(12),
        cert: cert.clone(),
        addresses: contact.addresses.clone(),
        contacts: vec![contact.clone()],
        revoked: vec![Signed::sign(&key, &revocation).expect("it is small")],
    };
    let admit = Admit {
        node: key.node(),
        secret: [6; 32],
        platforms: vec![platform],
    };
    let greetings = [Greeting::Hello(hello.clone()), Greeting::Admit(admit)];
    let answers = [
        Answer::Hello(hello),
        Answer::Unwelcome("no".to_owned()),
        Answer::Welcome(Welcome {
            genesis: Genesis {
                founder: key.node(),
                created: Stamp::from_ms(7),
                nonce: [8; 32],
            },
            now: Stamp::from_ms(9),
            cert,
            contacts: vec![contact],
        }),
        Answer::Refused(Refusal::Unknown),
        Answer::Refused(Refusal::Used),
        Answer::Refused(Refusal::Expired),
        Answer::Refused(Refusal::Other("no".to_owned())),
    ];
    let greetings = greetings.iter().map(|one| ("mesh_greeting", one.encode()));
    let answers = answers.iter().map(|one| ("mesh_answer", one.encode()));
    let all = greetings.chain(answers);
    let all = all.map(|(door, bytes)| (door, bytes.expect("it is small")));
    all.chain(bulk_samples()).collect()
}

/// One of each word on a bulk stream.
fn bulk_samples() -> Vec<(&'static str, Vec<u8>)> {
    let blob = BlobId::from_bytes([1; 32]);
    let blobs = vec![blob, BlobId::from_bytes([2; 32])];
    let asks = [
        Ask::Watch { number: 1, blob },
        Ask::Outline { number: 2, blob },
        Ask::Piece {
            number: 3,
            blob,
            piece: 4,
            groups: 5,
        },
        Ask::Blobs { number: 6, blobs },
        Ask::Cancel { number: 7 },
    ];
    let standing = |standing| Tell::Standing {
        number: 1,
        standing,
    };
    let tells = [
        standing(Standing::Absent),
        standing(Standing::Whole { size: 8 }),
        standing(Standing::Part {
            size: 9,
            have: vec![10, 11],
        }),
        Tell::Have {
            number: 12,
            pieces: vec![13, 14],
        },
        Tell::Outline { number: 15 },
        Tell::Piece { number: 16 },
        Tell::Blobs { number: 17 },
        Tell::No { number: 18 },
    ];
    let asks = asks.iter().map(|ask| ("mesh_blobs", words::frame(ask)));
    let tells = tells
        .iter()
        .map(|tell| ("mesh_blobs_answer", words::frame(tell)));
    let all = asks.chain(tells);
    all.map(|(door, frame)| (door, frame.expect("it is small")[4..].to_vec()))
        .collect()
}

/// The names of the protocols, for which golden bytes are kept: of greetings, control, blobs and
/// membership.
#[must_use]
pub const fn protocols() -> [&'static str; 4] {
    [wire::ADMIT, wire::CONTROL, wire::BLOBS, wire::MEMBER]
}

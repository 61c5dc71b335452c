//! Doors for tests and fuzzers to this room's decoders of bytes that nobody vouches for. Each takes
//! such bytes, and answers what was read of them as it would be written again, or nothing where they
//! are refused. Nothing else calls them; they keep no state.

use crate::{Root, SecretFile, Spec, oci::Program, wire};

/// What a supervisor says to the launcher: a cell that a job has taken over could say anything.
#[must_use]
pub fn reply(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut from = bytes;
    let reply: wire::Reply = wire::receive(&mut from).ok()?;
    let mut again = wire::frame(&reply).ok()?;
    again.extend_from_slice(from);
    Some(again)
}

/// What a cell says to its supervisor.
#[must_use]
pub fn word(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut from = bytes;
    let word: wire::Word = wire::receive(&mut from).ok()?;
    let mut again = wire::frame(&word).ok()?;
    again.extend_from_slice(from);
    Some(again)
}

/// A job with its secrets.
#[must_use]
pub fn request(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut from = bytes;
    let request = wire::receive_request(&mut from).ok()?;
    let mut again = wire::frame(&request).ok()?;
    wire::send_secrets(&mut again, &request.spec).ok()?;
    again.extend_from_slice(from);
    Some(again)
}

/// An order to the helper.
#[must_use]
pub fn order(bytes: &[u8]) -> Option<Vec<u8>> {
    Program::decode(bytes).map(|program| program.name().as_bytes().to_vec())
}

/// A job with a secret, as [`request`] takes it.
#[must_use]
pub fn a_request() -> Vec<u8> {
    let root = Root {
        store: "/store".into(),
        lowers: vec!["base".into()],
        upper: "upper".into(),
        work: "work".into(),
    };
    let name = "job".parse().expect("a good name");
    let mut spec = Spec::new(name, root, vec!["sh".to_owned()]);
    spec.secrets.push(SecretFile {
        target: "/s".into(),
        value: vec![1, 2].into(),
    });
    let mut bytes = wire::frame(&wire::Request { spec: spec.clone() }).expect("it is small");
    wire::send_secrets(&mut bytes, &spec).expect("memory takes all");
    bytes
}

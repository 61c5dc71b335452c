//! The driver's part of the crate's doors for tests and fuzzers.

use caravan_protocol::{codec, limits, view::RunView};

use super::{
    outcome::Reported,
    questions::{Answer, Question},
    runs,
};

/// A question of a member.
#[must_use]
pub fn question(bytes: &[u8]) -> Option<Vec<u8>> {
    let question: Question = codec::decode::<{ limits::MESSAGE_BYTES_MAX }, _>(bytes).ok()?;
    codec::encode::<{ limits::MESSAGE_BYTES_MAX }>(&question).ok()
}

/// A member's answer to a question.
#[must_use]
pub fn answer(bytes: &[u8]) -> Option<Vec<u8>> {
    let answer: Answer = codec::decode::<{ limits::MESSAGE_BYTES_MAX }, _>(bytes).ok()?;
    codec::encode::<{ limits::MESSAGE_BYTES_MAX }>(&answer).ok()
}

/// How an attempt ended, as its worker reports it.
#[must_use]
pub fn report(bytes: &[u8]) -> Option<Vec<u8>> {
    Reported::decode(bytes).map(|report| report.encode())
}

/// A run as it is kept.
#[must_use]
pub fn run(bytes: &[u8]) -> Option<Vec<u8>> {
    let run: RunView = runs::decode(bytes).ok()?;
    codec::encode::<{ limits::MESSAGE_BYTES_MAX }>(&run).ok()
}

//! Tests of the spec language: what it accepts, what it says, how it looks. The printed forms and
//! Dockerfiles are what OBuilder makes of the same specs.

use super::{
    Copy, Dockerfile, Error, Escape, Image, Mount, Name, Op, Position, Problem, Run, Source, Spec,
    User,
};

mod dockerfiles;
mod examples;
mod hostile;
mod needs;
mod printed;
mod refused;
mod round_trip;

fn parse(text: &str) -> Spec {
    Spec::parse(text.as_bytes()).expect("a spec")
}

/// The only op of a spec.
fn op(text: &str) -> Op {
    let spec = parse(&format!("((from base) {text})"));
    assert_eq!(spec.ops().len(), 1, "{text}");
    spec.ops()[0].clone()
}

fn error(text: impl AsRef<[u8]>) -> Error {
    Spec::parse(text.as_ref()).expect_err("no spec")
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

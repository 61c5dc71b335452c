//! Tests over snapshots of a real opam repository. They are data beside the checkout, not in it: where
//! they are absent, each test says so loudly and passes.

#![expect(
    clippy::unwrap_used,
    reason = "a test may fail by panicking, helpers included"
)]

mod available;
mod data;
mod snapshot;
mod solves;

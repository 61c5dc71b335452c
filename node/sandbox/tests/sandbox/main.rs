//! The sandbox as its users see it: real jobs as root, skipped loudly where they cannot run.

#![expect(
    clippy::unwrap_used,
    reason = "a test whose ground is missing must stop at once"
)]

mod conformance;
mod death;
mod defences;
mod disk;
mod emulation;
mod gate;
mod hostile;
mod isolation;
mod jobs;
mod lent;
mod limits;
mod promises;
mod rootless;
mod stacks;
mod support;

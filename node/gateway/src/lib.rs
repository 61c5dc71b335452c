//! The read-only gateway: pages, JSON, badges and metrics of what a node knows. It owns no state
//! and holds no key; it reads snapshots and logs through [`Source`] and can change nothing. All of
//! it works without scripts; what it shows was written by strangers and is treated so.
#![warn(missing_docs)]

mod ansi;
mod answer;
mod badge;
#[doc(hidden)]
pub mod doors;
mod drawing;
mod limits;
mod log;
mod metrics;
mod page;
mod routes;
mod server;
mod slug;
mod source;
mod text;

pub use server::serve;
pub use source::{FixedSource, LogChunk, Source};
